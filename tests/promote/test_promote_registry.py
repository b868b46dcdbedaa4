from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from promote_arms import CONFIG, arm, right_in

from strop.errors import AnswerIsNo, InputError
from strop.loop.promote import promote as judge
from strop.promote.compare import compare
from strop.promote.registry import champion, previous, promote, register, rollback
from strop.records import Candidate
from strop.store import Database, open_database
from strop.store.registry import alias_history, load_candidate, load_candidates, load_verdicts


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path}/strop.db", "default")
    yield database
    database.close()


def candidate(name: str) -> Candidate:
    return Candidate(
        candidate_id=name,
        path=f"models/{name}",
        created_at=f"2026-11-0{len(name)}T00:00:00Z",
        lineage={"grader_hash": "abc", "parent": None, "steps": 7},
    )


def test_a_candidate_keeps_its_lineage_and_is_kept_once(db: Database) -> None:
    assert register(db, candidate("a"))
    assert not register(db, candidate("a"))
    assert load_candidate(db, "a") == candidate("a")
    assert load_candidates(db) == [candidate("a")]
    assert load_candidate(db, "b") is None


def test_promotion_and_rollback(db: Database) -> None:
    for name in ("a", "bb"):
        register(db, candidate(name))
    assert champion(db) is None
    promote(db, "a", "first")
    promote(db, "a", "first, repeated")
    promote(db, "bb", "second")
    assert (champion(db), previous(db)) == (candidate("bb"), candidate("a"))
    assert rollback(db, "latency") == candidate("a")
    assert (champion(db), previous(db)) == (candidate("a"), candidate("bb"))
    assert rollback(db) == candidate("bb")
    changes = [(c.alias, c.candidate_id, c.why) for c in alias_history(db)]
    assert changes[:4] == [
        ("previous", None, "first"),
        ("champion", "a", "first"),
        ("previous", "a", "second"),
        ("champion", "bb", "second"),
    ]
    assert len(changes) == 8


def test_rollback_without_a_previous_model_says_so(db: Database) -> None:
    with pytest.raises(AnswerIsNo, match="no previous model"):
        rollback(db)
    register(db, candidate("a"))
    promote(db, "a", "first")
    with pytest.raises(AnswerIsNo, match="champion a"):
        rollback(db)


def test_an_unknown_candidate_is_not_promoted(db: Database) -> None:
    with pytest.raises(InputError, match="no candidate x"):
        promote(db, "x", "why")


def test_projects_do_not_see_each_other(db: Database, tmp_path: Path) -> None:
    register(db, candidate("a"))
    promote(db, "a", "first")
    other = open_database(f"sqlite:///{tmp_path}/strop.db", "other")
    assert champion(other) is None
    assert load_candidates(other) == []
    assert alias_history(other) == []
    other.close()


def test_only_the_answer_promote_moves_the_champion(db: Database) -> None:
    teacher, good = arm("teacher", right_in(0.75, 400)), arm("candidate", right_in(0.95, 400))
    yes = compare([teacher, good], CONFIG)
    no = compare([teacher, arm("candidate", right_in(0.5, 400))], CONFIG)
    assert judge(CONFIG, db, no, "run-1", candidate("a")).decision == "reject"
    assert champion(db) is None
    first = judge(CONFIG, db, yes, "run-2", candidate("bb"))
    assert judge(CONFIG, db, yes, "run-2", candidate("bb")) == first
    assert champion(db) == candidate("bb")
    kept = load_verdicts(db)
    assert [(run, v.decision) for run, v in kept] == [("run-1", "reject"), ("run-2", "promote")]
    assert kept[1][1] == first
    assert load_verdicts(db, "bb") == kept[1:]
