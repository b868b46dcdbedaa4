"""Children that don't outlive the process that started them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

# Sets PR_SET_PDEATHSIG to SIGKILL, then becomes the command; the setting survives execve.
_LAUNCHER = (
    "import ctypes,os,sys;"
    "sys.platform.startswith('linux') and ctypes.CDLL(None).prctl(1, ctypes.c_ulong(9));"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


class Spawner:
    """Start children from one thread that lives as long as they do.

    The kernel's "die with parent" means the parent's thread: a worker that a short-lived thread
    started would be killed with it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="strop-spawn")

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path | str,
        env: Mapping[str, str] | None,
        stdin: int,
        stderr: IO[bytes] | int,
        launcher: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a command with its stdout in a pipe; launcher=True makes any program die with us."""
        if launcher:
            command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]

        def popen() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                command, cwd=cwd, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, close_fds=True
            )

        return self._thread.submit(popen).result()

    def close(self) -> None:
        """End the thread; children that still run end with it."""
        self._thread.shutdown(wait=True)
