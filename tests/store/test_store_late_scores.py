"""Scores apart from their traces: each finds its own, in any number; the others wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from strop.records import Episode, Message, Score, Trace
from strop.store import Database, open_database
from strop.store.late_scores import attach_late_scores, save_late_scores
from strop.store.traces import add_traces, iter_records

Kind = Literal["trace", "session", "workflow"]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = open_database(f"sqlite:///{tmp_path}/strop.db", "default")
    yield db
    db.close()


def trace(n: int, source: str = "desk") -> Trace:
    return Trace(
        source=source,
        source_id=f"t{n}",
        episodes=(Episode((Message("user", f"q{n}"), Message("assistant", source))),),
        session_id=f"s{n // 2}",
        started_at=n,
        ended_at=n + 1,
    )


def late(db: Database, source: str, kind: Kind, target: str, value: float) -> None:
    with db.engine.begin() as connection:
        save_late_scores(connection, db, source, [((kind, target), Score("reward", value, "human"))])


def scores(db: Database) -> dict[tuple[str, str], list[float | str]]:
    return {(t.source, t.source_id): [s.value for s in t.scores] for _, t in iter_records(db)}


def test_a_thousand_find_their_traces_and_the_others_wait(db: Database) -> None:
    add_traces(db, [trace(n) for n in range(0, 1000, 2)])
    with db.engine.begin() as connection:
        save_late_scores(
            connection, db, "desk", [(("trace", f"t{n}"), Score("reward", float(n))) for n in range(1000)]
        )
    assert attach_late_scores(db) == {"attached": 500, "waiting": 500}
    add_traces(db, [trace(n) for n in range(1, 1000, 2)])
    assert attach_late_scores(db) == {"attached": 500, "waiting": 0}
    assert attach_late_scores(db) == {"attached": 0, "waiting": 0}
    assert scores(db) == {("desk", f"t{n}"): [float(n)] for n in range(1000)}


def test_a_session_scores_all_its_traces_and_a_source_its_own(db: Database) -> None:
    add_traces(db, [trace(0), trace(1), trace(2), trace(2, "other")])
    late(db, "desk", "session", "s0", 1.0)
    late(db, "desk", "trace", "t2", 2.0)
    late(db, "table", "trace", "t2", 3.0)
    late(db, "table", "workflow", "none", 4.0)
    assert attach_late_scores(db) == {"attached": 3, "waiting": 1}
    assert scores(db) == {
        ("desk", "t0"): [1.0], ("desk", "t1"): [1.0], ("desk", "t2"): [3.0], ("other", "t2"): [3.0],
    }  # fmt: skip
