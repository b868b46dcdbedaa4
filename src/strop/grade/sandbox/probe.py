"""Find out by trying what a confined worker can't do on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from strop.errors import StropError
from strop.grade.load import load_grader
from strop.grade.sandbox.pool import Limits, Sandbox

_LIMIT_MB = 512
# Each attempt is a component of the grade.
_GRADER = f"""
import os, socket

def denied(attempt):
    try:
        attempt()
    except (OSError, MemoryError):
        return 1.0
    return 0.0

def fork():
    if os.fork() == 0:
        os._exit(0)

def grade(rollout, ground_truth):
    sockets = denied(lambda: socket.socket().close())
    processes = denied(fork)
    reading = denied(lambda: open("/etc/passwd").close())
    writing = denied(lambda: open(rollout["outside"], "w").close())
    memory = denied(lambda: bytearray({2 * _LIMIT_MB} << 20))
    return 0.1 * sockets + 0.1 * processes + 0.1 * reading + 0.1 * writing + 0.1 * memory
"""


def probe() -> dict[str, bool]:
    """Return which layers hold here: seccomp, landlock, and what a worker was really denied.

    Denied: sockets, processes, reading and writing outside its folder, memory over the limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grader.py"
        path.write_text(_GRADER)
        outside = str(Path(folder) / "outside")
        names = ("sockets", "processes", "reading", "writing", "memory")
        try:
            with Sandbox(load_grader(path), Limits(workers=1, memory_mb=_LIMIT_MB)) as sandbox:
                grade = sandbox.run([({"outside": outside}, {})])[0]
                layers = {layer: version > 0 for layer, version in sandbox.layers.items()}
        except StropError:
            return dict.fromkeys(("seccomp", "landlock", *names), False)
    return {**layers, **{name: grade.components.get(name) == 1.0 for name in names}}
