"""Candidates, aliases as a history, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from sqlalchemy import insert, select

from strop.records import Candidate, JsonObject, Verdict
from strop.store.database import Database
from strop.store.schema import aliases, candidates, verdicts


class AliasChange(msgspec.Struct, frozen=True, kw_only=True):
    """One row of an alias's history; candidate_id None means that the alias points nowhere."""

    alias: str
    candidate_id: str | None
    at: str
    why: str


def add_candidate(db: Database, candidate: Candidate) -> bool:
    """Keep a candidate with its lineage; one that is already there stays. Returns whether it is new."""
    row = {
        "candidate_id": candidate.candidate_id,
        "path": candidate.path,
        "created_at": candidate.created_at,
        "lineage": msgspec.json.encode(candidate.lineage).decode(),
    }
    with db.engine.begin() as connection:
        return db.upsert(connection, candidates, [row]) == 1


def load_candidate(db: Database, candidate_id: str) -> Candidate | None:
    """Return a candidate by its id."""
    query = select(candidates).where(
        candidates.c.project == db.project, candidates.c.candidate_id == candidate_id
    )
    with db.engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    return None if row is None else _candidate(dict(row))


def load_candidates(db: Database) -> list[Candidate]:
    """Return all candidates of the project, oldest first."""
    query = (
        select(candidates)
        .where(candidates.c.project == db.project)
        .order_by(candidates.c.created_at, candidates.c.candidate_id)
    )
    with db.engine.connect() as connection:
        return [_candidate(dict(row)) for row in connection.execute(query).mappings()]


def own_models(db: Database) -> frozenset[str]:
    """Return the names under which the project's own models answered: their ids and all aliases."""
    ids = (candidate.candidate_id for candidate in load_candidates(db))
    with db.engine.connect() as connection:
        query = select(aliases.c.alias).where(aliases.c.project == db.project).distinct()
        return frozenset((*ids, *connection.scalars(query)))


def point_aliases(db: Database, targets: Sequence[tuple[str, str | None]], why: str) -> None:
    """Point several aliases at candidates (None: nowhere) in one transaction."""
    at = _now()
    rows = [
        {"project": db.project, "alias": alias, "candidate_id": target, "at": at, "why": why}
        for alias, target in targets
    ]
    with db.engine.begin() as connection:
        connection.execute(insert(aliases), rows)


def alias_target(db: Database, alias: str) -> str | None:
    """Return the id of the candidate that an alias points at."""
    query = (
        select(aliases.c.candidate_id)
        .where(aliases.c.project == db.project, aliases.c.alias == alias)
        .order_by(aliases.c.seq.desc())
        .limit(1)
    )
    with db.engine.connect() as connection:
        return connection.execute(query).scalar()


def alias_history(db: Database) -> list[AliasChange]:
    """Return all changes of all aliases, oldest first."""
    query = (
        select(aliases.c.alias, aliases.c.candidate_id, aliases.c.at, aliases.c.why)
        .where(aliases.c.project == db.project)
        .order_by(aliases.c.seq)
    )
    with db.engine.connect() as connection:
        return [AliasChange(**dict(row)) for row in connection.execute(query).mappings()]


def save_verdict(db: Database, run_id: str, verdict: Verdict) -> None:
    """Keep a verdict; the same one of the same run is kept once, so that a step can be repeated."""
    body = msgspec.json.encode(verdict).decode()
    same = select(verdicts.c.seq).where(
        verdicts.c.project == db.project, verdicts.c.run_id == run_id, verdicts.c.body == body
    )
    row = {
        "project": db.project,
        "run_id": run_id,
        "candidate_id": verdict.candidate_id,
        "decision": verdict.decision,
        "body": body,
        "at": _now(),
    }
    with db.engine.begin() as connection:
        if connection.execute(same).first() is None:
            connection.execute(insert(verdicts), row)


def load_verdicts(db: Database, candidate_id: str | None = None) -> list[tuple[str, Verdict]]:
    """Return (run id, verdict) of all verdicts, or of one candidate's, oldest first."""
    query = select(verdicts.c.run_id, verdicts.c.body).where(verdicts.c.project == db.project)
    if candidate_id is not None:
        query = query.where(verdicts.c.candidate_id == candidate_id)
    with db.engine.connect() as connection:
        rows = connection.execute(query.order_by(verdicts.c.seq)).all()
    return [(row.run_id, msgspec.json.decode(row.body, type=Verdict)) for row in rows]


def _candidate(row: Mapping[str, str]) -> Candidate:
    return Candidate(
        candidate_id=row["candidate_id"],
        path=row["path"],
        created_at=row["created_at"],
        lineage=msgspec.json.decode(row["lineage"], type=JsonObject),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
