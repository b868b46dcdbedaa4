"""Curation's worksheet: rows become ranks, names come back, nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strop.store.worksheet import Light, Worksheet

WIDTH = 4


def light(n: int, **fields: Any) -> Light:
    given: dict[str, Any] = {
        "trace_hash": f"{n * 7919 % 1000:064x}",
        "trace_id": str(n),
        "workflow_id": None,
        "customer": None,
        "ended_at": n,
        "keys": (f"workflow:{n % 3}",),
        "problem": None,
        "outcome": -n,
        "about": 2**62 + n,
        "tools": n % 2,
        "failed": n % 2 == 0,
        **fields,
    }
    return Light(**given)


def signed(count: int, first: int = 0) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.arange(first * WIDTH, (first + count) * WIDTH, dtype=np.uint32).reshape(count, WIDTH)


@pytest.fixture
def sheet(tmp_path: Path) -> Iterator[Worksheet]:
    with Worksheet(tmp_path / "state", WIDTH) as sheet:
        assert list((tmp_path / "state").iterdir()) == []  # even a killed curation leaves nothing
        yield sheet


def test_rows_become_numbers(sheet: Worksheet) -> None:
    rows = [
        light(0, customer="b", keys=("workflow:z", "session:1")),
        light(1, customer="é"),
        light(2, customer="a", problem="no answer"),
        light(3, customer="Z", scored={"reward": 1.0}),
    ]
    assert sheet.add(rows, signed(4)) == 0
    sheet.label([(rows[3].trace_hash, 77), ("unknown", 5)])
    columns = sheet.columns()
    names = sheet.customers()
    assert names == sorted(["b", "é", "a", "Z"])
    assert [names[c] for c in columns.customers.tolist()] == ["b", "é", "a", "Z"]
    keys = list(sheet.keys())
    assert keys == sorted({"workflow:z", "session:1", "workflow:1", "workflow:2", "workflow:0"})
    assert [[keys[k] for k in own if k >= 0] for own in columns.keys.tolist()] == [list(r.keys) for r in rows]
    assert columns.ends.tolist() == [0, 1, 2, 3]
    assert columns.outcomes.tolist() == [0, -1, -2, -3]
    assert columns.abouts.tolist() == [2**62 + n for n in range(4)]
    assert columns.failed.tolist() == [True, False, True, False]
    assert columns.readable.tolist() == [True, True, False, True]
    assert columns.labelled.tolist() == [False, False, False, True]
    assert columns.truths.tolist() == [0, 0, 0, 77]
    assert columns.hashes.argsort().tolist() == sorted(range(4), key=lambda n: rows[n].trace_hash)
    assert list(sheet.problems()) == ["no answer"]
    assert sheet.rank_keys(["session:1", "session:2"]) == [keys.index("session:1"), None]


def test_copies_are_counted_and_signatures_stay_with_their_rows(sheet: Worksheet) -> None:
    assert sheet.add([light(0), light(0), light(1)], signed(3)) == 1
    assert sheet.add([light(1), light(2)], signed(2, first=3)) == 1
    assert sheet.size == 3
    assert np.concatenate(list(sheet.signature_blocks())).tolist() == [
        [0, 1, 2, 3], [8, 9, 10, 11], [16, 17, 18, 19],
    ]  # fmt: skip
    assert sheet.signatures_of(np.array([2, 0])).tolist() == [[16, 17, 18, 19], [0, 1, 2, 3]]
    assert sheet.hashes_of([2, 0]) == [light(2).trace_hash, light(0).trace_hash]


def test_rows_are_found_by_hash_in_any_number(sheet: Worksheet) -> None:
    rows = [light(n) for n in range(900)]
    sheet.add(rows, np.empty((0, WIDTH), np.uint32))
    wanted = (row.trace_hash for row in reversed(rows[100:]))
    assert sheet.rows_of([*wanted, "unknown"]).tolist() == list(range(100, 900))
    assert sheet.rows_of([]).tolist() == []


def test_readable_rows_come_in_pieces_while_they_are_labelled(sheet: Worksheet) -> None:
    rows = [light(n, problem="odd" if n % 10 == 0 else None, scored={"n": n}) for n in range(95)]
    sheet.add(rows, np.empty((0, WIDTH), np.uint32))
    seen: list[int] = []
    for piece in sheet.readable(20):
        assert len(piece) <= 20
        sheet.label((row.trace_hash, 1) for row in piece)
        seen += [row.scored["n"] for row in piece if row.scored is not None]
    assert seen == [n for n in range(95) if n % 10]
    assert int(sheet.columns().labelled.sum()) == len(seen)
    assert [(d[0], d[2]) for d in sheet.decided()] == [(r.trace_hash, r.problem) for r in rows]


def test_an_empty_sheet_has_empty_columns(sheet: Worksheet) -> None:
    columns = sheet.columns()
    assert columns.keys.shape == (0, 2)
    assert list(sheet.signature_blocks()) == []
