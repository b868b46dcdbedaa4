"""Two commands at once on a fresh project; a store of an earlier release."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

from strop.records import Grade
from strop.store import open_database
from strop.store.grades import load_grades, load_judgements, save_grades, save_judgements
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


def test_a_store_of_the_first_release_is_brought_up_to_date_and_keeps_its_grades(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'strop.db'}"
    db = open_database(url, "default")
    save_grades(db, "g", {"old": Grade(score=0.5, components={"a": 0.5})})
    paid = {"judge": "tone", "reason": "", "latency_s": 0.5, "usd": 0.01}
    save_judgements(db, [{"request_hash": "yes", "verdict": True, **paid}])
    db.close()
    with sqlite3.connect(tmp_path / "strop.db") as old:  # as the first release left it
        old.execute("ALTER TABLE grades DROP COLUMN feedback")
        old.execute("ALTER TABLE judgements DROP COLUMN value")
        old.execute("DELETE FROM migrations WHERE number > 1")
    old.close()
    db = open_database(url, "default")
    new = Grade(score=0.25, components={"a": 0.25}, feedback={"a": "two of four"})
    save_grades(db, "g", {"new": new})
    assert load_grades(db, "g") == {"old": Grade(score=0.5, components={"a": 0.5}), "new": new}
    save_judgements(db, [{"request_hash": "four", "value": 4.0, **paid}])
    assert load_judgements(db, ["yes", "four", "none"]) == {"yes": True, "four": 4.0}
    db.close()
