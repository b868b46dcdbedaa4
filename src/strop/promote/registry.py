"""Which model is in force: aliases `champion` and `previous`, with a way back."""

from __future__ import annotations

from strop.errors import AnswerIsNo, InputError
from strop.records import Candidate
from strop.store import Database
from strop.store.registry import add_candidate, alias_target, load_candidate, point_aliases

CHAMPION, PREVIOUS = "champion", "previous"


def register(db: Database, candidate: Candidate) -> bool:
    """Keep a candidate with its lineage. Returns whether it is new."""
    return add_candidate(db, candidate)


def champion(db: Database) -> Candidate | None:
    """Return the model in force, or None before the first promotion."""
    return _target(db, CHAMPION)


def previous(db: Database) -> Candidate | None:
    """Return the model that a rollback would bring back."""
    return _target(db, PREVIOUS)


def promote(db: Database, candidate_id: str, why: str) -> Candidate:
    """Make a registered candidate the champion; the champion before becomes `previous`.

    Promoting the champion again changes nothing. Raises InputError for an unknown candidate.
    """
    candidate = load_candidate(db, candidate_id)
    if candidate is None:
        raise InputError(
            f"there is no candidate {candidate_id}", where=f"project {db.project}", fix="strop status"
        )
    before = alias_target(db, CHAMPION)
    if before != candidate_id:
        point_aliases(db, [(PREVIOUS, before), (CHAMPION, candidate_id)], why)
    return candidate


def rollback(db: Database, why: str = "rollback") -> Candidate:
    """Swap `champion` and `previous`, so that a second rollback undoes the first.

    Returns the new champion. Raises AnswerIsNo where there is no previous model.
    """
    now, before = alias_target(db, CHAMPION), previous(db)
    if before is None:
        raise AnswerIsNo(
            "there is no previous model to roll back to",
            where=f"project {db.project}, champion {now or 'none'}",
            fix="strop promote   # a model is previous once a later one has taken its place",
        )
    point_aliases(db, [(PREVIOUS, now), (CHAMPION, before.candidate_id)], why)
    return before


def _target(db: Database, alias: str) -> Candidate | None:
    target = alias_target(db, alias)
    return None if target is None else load_candidate(db, target)
