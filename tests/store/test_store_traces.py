"""Traces, skipped items, windows, identities and decisions in the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strop.records import Episode, Message, Skipped, Trace, trace_hash
from strop.store import Database, open_database
from strop.store.curated import iter_kept, iter_splits, load_curated, save_curated, save_labels
from strop.store.traces import (
    add_skipped,
    add_traces,
    iter_records,
    iter_traces,
    save_identities,
    save_window,
    skipped_counts,
    source_counts,
    traces_with_identity,
    window_cursor,
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'strop.db'}", "default")
    yield database
    database.close()


def trace(source_id: str, text: str = "q", turns: int = 1, **extra: Any) -> Trace:
    messages = (Message(role="user", content=text),) + (Message(role="assistant", content="a"),) * turns
    fields: dict[str, Any] = {"source": "s", "started_at": 0, "ended_at": 1, **extra}
    return Trace(source_id=source_id, episodes=(Episode(messages=messages),), **fields)


def test_the_same_run_is_one_row(db: Database) -> None:
    assert add_traces(db, [trace("1"), trace("1"), trace("2")]) == 2
    assert add_traces(db, [trace("1"), trace("3")]) == 1
    assert source_counts(db) == {"s": 3}


def test_a_fuller_record_replaces_and_a_poorer_one_does_not(db: Database) -> None:
    add_traces(db, [trace("1")])
    assert add_traces(db, [trace("1", turns=2)]) == 0
    add_traces(db, [trace("1", text="other")])
    ((_, stored),) = iter_records(db)
    assert stored == trace("1", turns=2)


def test_copies_share_a_hash_and_are_read_once(db: Database) -> None:
    add_traces(db, [trace("2", started_at=5), trace("1", started_at=9), trace("3", text="z")])
    assert len(list(iter_records(db))) == 3
    assert [t.source_id for _, t in iter_traces(db)] == ["3", "2"]


def test_more_rows_than_one_statement_takes(db: Database) -> None:
    many = [trace(str(i), text=str(i), started_at=i) for i in range(1300)]
    assert add_traces(db, many) == 1300
    assert add_traces(db, many) == 0
    assert [t.source_id for _, t in iter_traces(db)] == [str(i) for i in range(1300)]


def test_projects_do_not_see_each_other(db: Database, tmp_path: Path) -> None:
    other = open_database(f"sqlite:///{tmp_path / 'strop.db'}", "other")
    add_traces(db, [trace("1")])
    add_skipped(db, [Skipped("pull", "x", "bad")])
    assert (source_counts(other), skipped_counts(other), list(iter_traces(other))) == ({}, {}, [])
    other.close()


def test_skipped_items_are_counted_once_by_reason(db: Database) -> None:
    for _ in range(2):
        add_skipped(
            db, [Skipped("pull", "1", "bad"), Skipped("pull", "2", "bad"), Skipped("redact", "1", "odd")]
        )
    assert skipped_counts(db) == {"pull: bad": 2, "redact: odd": 1}


def test_windows_and_identities(db: Database) -> None:
    assert window_cursor(db, "s", "f") == (None, False)
    with db.engine.begin() as connection:
        save_window(connection, db, "s", "f", "17", done=False)
        save_window(connection, db, "s", "f", "99", done=True)
        save_identities(connection, db, [{"hmac": "h", "kind": "EMAIL", "trace_hash": "t"}] * 2)
    assert window_cursor(db, "s", "f") == ("99", True)
    assert traces_with_identity(db, "h") == ["t"]


def test_curated_traces_carry_their_truth(db: Database) -> None:
    first, second = trace("1", started_at=1), trace("2", text="z", started_at=2)
    add_traces(db, [first, second, trace("1b", started_at=3)])
    hashes = [trace_hash(first), trace_hash(second)]
    rows = [
        {"trace_hash": hashes[0], "kept": True, "reason": "", "group_id": "g", "split": "train"},
        {"trace_hash": hashes[1], "kept": False, "reason": "odd", "group_id": "h", "split": "test"},
    ]
    save_labels(db, {hashes[0]: {"status": "old"}})
    save_labels(db, {hashes[0]: {"status": "delivered"}})
    save_curated(db, rows, {"g": "train", "h": "test"})
    save_curated(db, rows, {"g": "test"})
    assert dict(iter_splits(db)) == {"g": "train", "h": "test"}
    (kept,) = load_curated(db)
    assert (kept.trace, kept.ground_truth, kept.split, kept.group) == (
        first,
        {"status": "delivered"},
        "train",
        "g",
    )
    assert [c.reason for c in load_curated(db, kept_only=False)] == ["", "odd"]
    assert [c.trace_hash for c in load_curated(db, {"test"}, kept_only=False)] == [hashes[1]]
    assert (list(iter_kept(db, "train")), list(iter_kept(db, "test"))) == ([hashes[0]], [])
