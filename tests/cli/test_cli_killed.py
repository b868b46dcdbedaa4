"""kill -9 in the middle of pulling and grading; the same command goes on to the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from strop.cli import cli
from strop.config import load
from strop.grade.scorer import Scorer
from strop.records import Episode, Grade, Message, Score, Trace
from strop.store import Database, open_database
from strop.store.grades import load_grades
from strop.store.traces import iter_records, source_counts

ROWS = 1500
TOML = """
[[sources]]
name = "agent"
kind = "jsonl"
path = "traces.jsonl"
[labels]
score = "truth"
[grade]
workers = 1
"""
GRADER = """
import time
def grade(rollout, ground_truth):
    time.sleep(0.003)
    return ground_truth["n"] / 1500
"""


def trace(number: int) -> Trace:
    text = (
        f"Where is parcel {number}? Erika Mustermann, erika{number}@example.de "
        + "the parcel is not here " * 20
    )
    return Trace(
        source="agent",
        source_id=f"t{number}",
        episodes=(Episode((Message("user", text), Message("assistant", f"It is on its way: {number}."))),),
        customer=f"c{number % 40}",
        workflow_id=f"w{number}",
        started_at=number * 10**9,
        ended_at=number * 10**9 + 5,
        scores=(Score("truth", json.dumps({"n": number}), "code"),),
    )


def project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "strop.toml").write_text(TOML)
    (folder / "grader.py").write_text(GRADER)
    (folder / "traces.jsonl").write_bytes(
        b"".join(msgspec.json.encode(trace(n)) + b"\n" for n in range(ROWS))
    )
    return folder


def strop(folder: Path, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli, [*arguments, "--json", "-C", str(folder)])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def killed(folder: Path, *arguments: str, when: Callable[[Path], bool]) -> None:
    """Start the command in a process of its own, and kill it where `when` becomes true."""
    code = "from strop.cli import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "-C", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "STROP_REDACTION_KEY": "x" * 32},
    )
    while child.poll() is None and not when(folder):
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was over before it could be killed"


@contextmanager
def store(folder: Path) -> Generator[Database]:
    config = load(folder, environ={})
    db = open_database(config.store_url, config.project.name)
    try:
        yield db
    finally:
        db.close()


def stored(folder: Path) -> int:
    if not (folder / ".strop" / "strop.db").exists():
        return 0
    with store(folder) as db:
        return sum(source_counts(db).values())


def rows(folder: Path) -> list[tuple[str, bytes]]:
    with store(folder) as db:
        return [(digest, msgspec.json.encode(record)) for digest, record in iter_records(db)]


def grades(folder: Path) -> dict[str, Grade]:
    with store(folder) as db, Scorer(load(folder, environ={}), db) as scorer:
        return load_grades(db, scorer.grader_hash)


def test_a_killed_pull_and_a_killed_grading_go_on_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STROP_REDACTION_KEY", "x" * 32)
    calm, hit = project(tmp_path / "calm"), project(tmp_path / "hit")
    killed(hit, "pull", when=lambda folder: stored(folder) >= 200)
    assert 200 <= stored(hit) < ROWS
    pulled = strop(hit, "pull")
    assert pulled["sources"]["agent"]["read"] <= ROWS - 200  # what had landed is not read again
    assert strop(calm, "pull")["total"] == pulled["total"] == ROWS
    assert rows(hit) == rows(calm)

    assert strop(hit, "curate") == strop(calm, "curate")
    killed(hit, "grade", when=lambda folder: len(grades(folder)) >= 220)
    before = grades(hit)
    assert 220 <= len(before) < ROWS
    resumed, whole = strop(hit, "grade"), strop(calm, "grade")
    same = ("total", "graded", "failed", "mean", "distribution", "components", "splits")
    assert {k: resumed[k] for k in same} == {k: whole[k] for k in same}
    after = grades(hit)
    assert before.items() <= after.items()
    assert after == grades(calm)
    assert len(after) == resumed["graded"]
