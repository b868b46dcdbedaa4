"""Two commands at once on a fresh project."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from strop.store import open_database
from strop.store.traces import source_counts


def opened(url: str, gate: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    db = open_database(url, "default")
    assert source_counts(db) == {}
    db.close()


def test_a_fresh_store_may_be_opened_by_several_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for attempt in range(3):
        gate = context.Barrier(4)
        url = f"sqlite:///{tmp_path / f'{attempt}.db'}"
        children = [context.Process(target=opened, args=(url, gate)) for _ in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0] * 4
