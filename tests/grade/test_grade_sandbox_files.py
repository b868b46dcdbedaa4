"""Hostile grader files: while they load, what a rubric hands back, what is left in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from strop.errors import StropError
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox
from strop.grade.sandbox.folder import empty, overfull
from strop.grade.sandbox.probe import probe
from strop.records import Grade, JsonObject

HOLDS = probe()
pytestmark = pytest.mark.skipif(
    not (HOLDS["seccomp"] and HOLDS["landlock"]), reason="needs seccomp and Landlock"
)
LIMITS = Limits(timeout_s=20, cpu_s=20, workers=1)


def graded(sandbox: Sandbox, rollouts: list[JsonObject]) -> list[Grade]:
    return sandbox.run([(rollout, {}) for rollout in rollouts])


def test_folders_are_emptied_whatever_lies_in_them(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for made in (folder, outside):
        made.mkdir()
    (outside / "canary").write_text("unharmed")
    (folder / "link").symlink_to(outside)
    (folder / "closed").mkdir(mode=0)
    os.mkfifo(folder / "pipe")
    at = os.open(folder, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d" * 200, dir_fd=at)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    assert overfull(str(folder), 64)
    assert empty(str(folder)) and list(folder.iterdir()) == []
    assert not overfull(str(folder), 64)
    (tmp_path / "planted").symlink_to(outside)
    assert not empty(str(tmp_path / "planted"))
    assert (outside / "canary").read_text() == "unharmed"


RUBRIC = """
import math
from strop.grade.rubric import Component, Rubric, Scored

def odd(rollout, ground_truth):
    value = eval(rollout["value"])
    return Scored(0.5, value) if isinstance(value, str) else value

rubric = Rubric(Component("odd", odd))
"""


def test_a_rubrics_feedback_is_cut_and_its_values_are_checked(tmp_path: Path) -> None:
    (tmp_path / "grader.py").write_text(RUBRIC)
    values = [
        "'x' * 10**8",
        "0.25",
        "math.inf",
        "type('S', (str,), {'__getitem__': lambda s, i: 7})('x')",
        "0.5",
    ]
    with Sandbox(load_grader(tmp_path / "grader.py"), LIMITS) as opened:
        long, good, infinite, odd, last = graded(opened, [{"value": value} for value in values])
    assert long.score == 0.5 and len(long.feedback["odd"]) == 400
    assert (good.score, last.score) == (0.25, 0.5)
    assert infinite.error is not None and "[0, 1]" in infinite.error
    assert odd.score == 0.5 and odd.feedback == {"odd": "x"}


@pytest.mark.parametrize(
    "code",
    [
        "os._exit(3)",
        "os.kill(os.getpid(), 9)",
        'write(b\'{"layers": {}, "error": null}\')\nos._exit(0)',
        "write(b'nonsense')\nos._exit(0)",
        "write(b'[' * 100000)",
        "import signal; signal.raise_signal(40)",
        "import time, threading; threading.Thread(target=time.sleep, args=(60,)).start(); 1 / 0",
    ],
)
def test_abuse_while_loading_is_an_error_of_the_file(tmp_path: Path, code: str) -> None:
    path = tmp_path / "grader.py"
    path.write_text(
        "import os, struct\n"
        "def write(body):\n    for fd in range(3, 64):\n"
        "        try: os.write(fd, struct.pack('<I', len(body)) + body)\n        except OSError: pass\n"
        f"def grade(rollout, ground_truth): return 0.5\n{code}\n"
    )
    try:
        with Sandbox(load_grader(path), LIMITS) as opened:
            (grade,) = graded(opened, [{}])
    except StropError as refused:
        assert "does not load" in refused.what or "can't confine" in refused.what
    else:
        assert grade.error is not None


def test_nothing_of_the_file_runs_before_it_is_refused(tmp_path: Path) -> None:
    # On a platform without confinement the file's top level must not run either.
    canary = tmp_path / "canary"
    grader = tmp_path / "grader.py"
    grader.write_text(
        f"open({str(canary)!r}, 'w').write('ran')\ndef grade(rollout, ground_truth): return 0.5\n"
    )
    program = Path(__file__).with_name("bare_platform.py")
    done = subprocess.run(
        [sys.executable, program, "seccomp,landlock", grader], capture_output=True, text=True, check=True
    )
    assert "can't confine" in done.stdout and not canary.exists()
