"""A job runs once, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strop.errors import StropError
from strop.loop.jobs import run_job, stop
from strop.store.files import write_atomically

CHILD = str(Path(__file__).with_name("job_child.py"))
ARGV = [sys.executable, CHILD, "child"]


def start_parent(folder: Path, pace: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, CHILD, "parent", str(folder)],
        env={**os.environ, "PACE": str(pace)},
        stdout=subprocess.PIPE,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_line(folder: Path) -> bool:
    progress = folder / "progress.jsonl"
    return progress.exists() and b"\n" in progress.read_bytes()


def starts(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "starts").read_text().split()]


def test_a_job_returns_its_result_and_its_progress(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    assert run_job(tmp_path / "train", ARGV, on_progress=lines.append) == {"steps": 10}
    assert lines == [{"step": n} for n in range(1, 11)]
    assert run_job(tmp_path / "train", ARGV) == {"steps": 10}
    assert len(starts(tmp_path / "train")) == 1


def test_a_killed_parent_leaves_the_child_at_work_and_the_next_attaches(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, pace=0.2)
    wait_for(lambda: has_line(tmp_path))
    parent.kill()
    parent.communicate()
    lines: list[dict[str, Any]] = []
    assert run_job(tmp_path, ARGV, on_progress=lines.append) == {"steps": 10}
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert len(starts(tmp_path)) == 1


def test_a_killed_child_starts_again_from_its_checkpoint(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, pace=0.1)
    wait_for(lambda: has_line(tmp_path))
    os.kill(starts(tmp_path)[0], signal.SIGKILL)
    out, _ = parent.communicate(timeout=30)
    assert json.loads(out) == {"steps": 10}
    assert len(starts(tmp_path)) == 2


def test_a_child_killed_after_its_parent_starts_again_under_the_next(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, pace=0.1)
    wait_for(lambda: has_line(tmp_path))
    parent.kill()
    parent.communicate()
    os.kill(starts(tmp_path)[0], signal.SIGKILL)
    assert run_job(tmp_path, ARGV) == {"steps": 10}
    assert len(starts(tmp_path)) == 2


def test_two_parents_share_one_child(tmp_path: Path) -> None:
    parents = [start_parent(tmp_path, pace=0.1) for _ in range(2)]
    assert [json.loads(p.communicate(timeout=30)[0]) for p in parents] == [{"steps": 10}] * 2
    assert len(starts(tmp_path)) == 1


def test_a_child_that_fails_by_itself_is_not_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "fail").touch()
    with pytest.raises(StropError, match=r"train failed \(exit 1\): no good"):
        run_job(folder, ARGV)
    assert len(starts(folder)) == 1


def test_a_child_that_is_always_killed_is_given_up(tmp_path: Path) -> None:
    suicide = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    with pytest.raises(StropError, match="killed 3 times without getting further"):
        run_job(tmp_path / "train", suicide)


def test_stop_ends_the_child_and_never_a_stranger(tmp_path: Path) -> None:
    parent = start_parent(tmp_path, pace=5)
    wait_for(lambda: (tmp_path / "starts").exists())
    wait_for(lambda: (tmp_path / "job.json").exists())
    parent.kill()
    parent.communicate()
    assert stop(tmp_path)
    assert not stop(tmp_path)
    write_atomically(tmp_path / "job.json", {"pid": os.getpid(), "started": "1"})
    assert not stop(tmp_path)
