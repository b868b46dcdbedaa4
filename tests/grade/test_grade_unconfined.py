"""A grader on a platform that can't confine it: refused, unless its owner says otherwise."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "aarch64"),
    reason="takes system calls away, by their numbers on Linux",
)

HARMLESS = "def grade(rollout, ground_truth):\n    return 0.5\n"
WRITER = """
def grade(rollout, ground_truth):
    open("note", "w").write("x")
    return 0.5
"""
DIALLER = """
import socket

def grade(rollout, ground_truth):
    socket.create_connection(("127.0.0.1", 9), timeout=1)
    return 0.5
"""


def without(missing: str, tmp_path: Path, grader: str, *flags: str) -> dict[str, Any]:
    (tmp_path / "grader.py").write_text(grader)
    program = Path(__file__).with_name("bare_platform.py")
    done = subprocess.run(
        [sys.executable, program, missing, tmp_path / "grader.py", *flags],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_without_both_layers_the_grader_is_refused_with_the_way_on(tmp_path: Path) -> None:
    said = without("seccomp,landlock", tmp_path, HARMLESS)
    assert "can't confine" in said["refused"]
    assert "strop doctor" in said["fix"] and "--unsafe-local-grader" in said["fix"]


def test_the_owner_may_run_it_all_the_same(tmp_path: Path) -> None:
    said = without("seccomp,landlock", tmp_path, HARMLESS, "unsafe")
    assert said == {"layers": {"seccomp": 0, "landlock": 0}, "score": 0.5, "error": None}


def test_seccomp_alone_makes_the_file_system_read_only(tmp_path: Path) -> None:
    said = without("landlock", tmp_path, WRITER)
    assert said["layers"] == {"seccomp": 1, "landlock": 0}
    assert said["error"].startswith("raised PermissionError")


def test_landlock_alone_keeps_the_network_out_where_its_version_can(tmp_path: Path) -> None:
    said = without("seccomp", tmp_path, DIALLER)
    if "refused" in said:
        assert "can't confine" in said["refused"]  # a kernel before Landlock's fourth version
        return
    assert said["layers"]["seccomp"] == 0 and said["layers"]["landlock"] >= 4
    assert said["error"].startswith("raised PermissionError")
