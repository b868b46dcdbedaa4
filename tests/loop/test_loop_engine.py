"""The engine's contract: finished steps never repeat, whatever dies and whenever."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from strop.errors import ConfigError
from strop.loop.engine.dbos_engine import runs
from strop.loop.engine.dbos_engine import signal as send
from strop.loop.engine.lock import FolderLock

CHILD = Path(__file__).with_name("engine_child.py")


def start(state: Path, run_id: str = "r1", options: str = "{}") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(state), run_id, options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(state: Path, run_id: str = "r1", options: str = "{}") -> tuple[int, str, str]:
    child = start(state, run_id, options)
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


def calls(state: Path) -> list[str]:
    return (state / "calls.txt").read_text().split("\n")[:-1]


def test_a_run_killed_at_every_boundary_ends_as_if_undisturbed(tmp_path: Path) -> None:
    flags = [f"kill{when}-{step}" for step in "abc" for when in ("", "-after")]
    for flag in flags:
        (tmp_path / flag).touch()
    for _ in flags:
        assert run(tmp_path)[0] == -signal.SIGKILL
    code, out, err = run(tmp_path)
    assert (code, json.loads(out)) == (0, {"sum": 3}), err
    # One repeat of the step that was in progress at each kill; none of a finished one.
    assert calls(tmp_path) == [f"{what} {s}" for s in "abc" for what in ("begin", "begin", "end")]
    assert [(s.run_id, s.state) for s in runs(tmp_path)] == [("r1", "done")]


def test_an_answer_of_no_keeps_its_class_and_is_asked_once(tmp_path: Path) -> None:
    (tmp_path / "AnswerIsNo-b").touch()
    code, _, err = run(tmp_path)
    assert code == 1
    assert "AnswerIsNo b says no" in err
    assert "next:  now" in err
    assert calls(tmp_path).count("begin b") == 1
    (status,) = runs(tmp_path)
    assert (status.state, status.retryable, status.steps[-1].error) == ("failed", False, "b says no")


def test_a_silent_service_is_asked_three_times_then_the_run_continues_at_that_step(tmp_path: Path) -> None:
    (tmp_path / "OutsideServiceError-b").touch()
    code, _, err = run(tmp_path)
    assert (code, "OutsideServiceError b says no" in err) == (3, True)
    assert calls(tmp_path).count("begin b") == 3
    assert runs(tmp_path)[0].retryable
    (tmp_path / "OutsideServiceError-b").unlink()
    code, out, _ = run(tmp_path, "another")
    assert (code, json.loads(out)) == (0, {"sum": 3})
    assert calls(tmp_path).count("begin a") == 1
    assert [s.run_id for s in runs(tmp_path)] == ["r1"]


def test_a_crash_in_a_step_is_one_message_and_its_traceback_a_file(tmp_path: Path) -> None:
    (tmp_path / "ValueError-a").touch()
    code, _, err = run(tmp_path)
    assert code == 1
    assert "step count failed: ValueError: a says no" in err
    assert "Traceback" not in err
    assert "ValueError: a says no" in (tmp_path / "runs" / "r1" / "error.log").read_text()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    (tmp_path / "slow-a").touch()
    first = start(tmp_path)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "calls.txt").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        code, _, err = run(tmp_path)
        assert code == 2
        assert f"process {first.pid}" in err
        assert calls(tmp_path) == ["begin a"]
    finally:
        first.kill()
        first.communicate()


def test_a_run_waits_for_approval_across_processes_and_the_first_answer_counts(tmp_path: Path) -> None:
    for _ in range(2):
        code, _, err = run(tmp_path, options='{"approval": true}')
        assert code == 75, err
    assert runs(tmp_path)[0].state == "unfinished"
    send(tmp_path, "r1", "approval", {"why": "looks good"})
    send(tmp_path, "r1", "approval", {"why": "too late"})
    code, out, _ = run(tmp_path)
    assert (code, json.loads(out)) == (0, {"sum": 3, "approved": {"why": "looks good"}})
    assert calls(tmp_path).count("begin c") == 1


def test_a_folder_without_runs_has_none(tmp_path: Path) -> None:
    assert runs(tmp_path) == []


@pytest.fixture
def held(tmp_path: Path) -> Iterator[FolderLock]:
    lock = FolderLock(tmp_path / "x.lock")
    lock.acquire()
    yield lock
    lock.release()


def test_a_lock_is_free_once_released(held: FolderLock, tmp_path: Path) -> None:
    other = FolderLock(tmp_path / "x.lock")
    with pytest.raises(ConfigError, match="another strop works in this folder: process"):
        other.acquire()
    held.release()
    other.acquire()
    other.release()
