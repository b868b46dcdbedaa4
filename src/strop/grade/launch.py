"""Local judges that strop starts for the time it needs them: a `command` prints its base URL, then serves."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from strop.errors import OutsideServiceError
from strop.grade.child import Spawner

_START_S = 60.0


class Launcher:
    """Start commands; `close` ends them all. They end with this process in any case."""

    def __init__(self) -> None:
        self._spawner: Spawner | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._drains: list[threading.Thread] = []

    def launch(self, name: str, command: Sequence[str], folder: Path) -> str:
        """Start a command in a folder and return the base URL, its first line of output.

        `{python}` is this interpreter. Raises OutsideServiceError, with what it said, where there is none.
        """
        self._spawner = self._spawner or Spawner()
        command = [sys.executable if part == "{python}" else part for part in command]
        with tempfile.TemporaryFile() as stderr:
            child = self._spawner.start(
                command,
                cwd=folder,
                env=dict(os.environ),
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                launcher=True,
            )
            self._children.append(child)
            assert child.stdout is not None
            url, drain = _first_line(child.stdout)
            self._drains.append(drain)
            if not url.startswith(("http://", "https://")):
                stderr.seek(0)
                said = stderr.read()[-300:].decode(errors="replace").strip()
                raise OutsideServiceError(
                    f"judge {name} did not print its base URL: {said or url or 'no output'}",
                    where=" ".join(command),
                )
        return url

    def close(self) -> None:
        """Stop what was started here."""
        for child in self._children:
            child.terminate()
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children = []
        for drain in self._drains:
            drain.join(timeout=5)
        self._drains = []
        if self._spawner is not None:
            self._spawner.close()
            self._spawner = None


def _first_line(stdout: IO[bytes]) -> tuple[str, threading.Thread]:
    # The thread goes on reading: a judge that logs to stdout must not block on a full pipe.
    lines: queue.Queue[bytes] = queue.Queue()

    def drain() -> None:
        with stdout:
            lines.put(stdout.readline())
            for _ in stdout:
                pass

    thread = threading.Thread(target=drain, daemon=True, name="strop-judge-output")
    thread.start()
    try:
        return lines.get(timeout=_START_S).decode(errors="replace").strip(), thread
    except queue.Empty:
        return "", thread
