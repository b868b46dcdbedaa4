"""Submit or attach: a long child process that outlives its parent and is never doubled.

A job is a folder. Its lock is inherited by the child, so that the kernel drops it at the moment the
child is dead, however it died and whoever else died before; no process id has to be believed.

    lock             held from submission until the child is dead
    job.json         argv, process id and its start time: whom to stop
    progress.jsonl   lines the child appends; parents follow them
    result.json      written by the child, atomically, as its last act: the job is done
    output.log       what the child printed

The child finds its folder in STROP_JOB_DIR. A child that was killed is started again and is expected to
resume from its checkpoint; a child that exits by itself without a result has failed.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strop.errors import ConfigError, OutsideServiceError, StropError
from strop.store.files import write_atomically

FOLDER_VARIABLE = "STROP_JOB_DIR"
MAX_DEATHS = 3  # restarts of a child that was killed without any progress in between
_POLL_S = 0.2


def run_job(
    folder: Path,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_progress: Callable[[dict[str, Any]], None] = lambda line: None,
) -> dict[str, Any]:
    """Submit the job, or attach to the one that runs or ran in this folder, and return its result.

    Every progress line reaches `on_progress`, those from before an attach included. Raises StropError
    where the child fails by itself, or is killed three times without progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tail = _Tail(folder / "progress.jsonl", on_progress)
    deaths, seen = 0, 0
    while True:
        lock = _take(folder)
        if lock is None:
            tail.drain()
            time.sleep(_POLL_S)
            continue
        try:
            tail.drain()
            done = _result(folder)
            if done is not None:
                return done
            child = _submit(folder, argv, env, cwd, lock)
        finally:
            os.close(lock)
        while child.poll() is None:
            tail.drain()
            time.sleep(_POLL_S)
        tail.drain()
        if _result(folder) is None:
            deaths = deaths + 1 if tail.lines == seen else 1
            seen = tail.lines
            _judge(child.returncode, deaths, folder)


def stop(folder: Path, *, patience_s: float = 5.0) -> bool:
    """End a job's child: politely, then for good. Returns whether there was one."""
    try:
        job = json.loads((folder / "job.json").read_text())
        pid, started = int(job["pid"]), job["started"]
    except (OSError, ValueError, KeyError):
        return False
    if _start_time(pid) != started:  # dead, or another process has its number by now
        return False
    os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while _start_time(pid) == started and time.monotonic() < deadline:
        time.sleep(0.05)
    if _start_time(pid) == started:
        os.killpg(pid, signal.SIGKILL)
    return True


def stop_all(run_folder: Path) -> int:
    """End the children of all jobs of a run; return how many there were."""
    return sum(stop(job.parent) for job in sorted(run_folder.glob("*/job.json")))


def _take(folder: Path) -> int | None:
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _submit(
    folder: Path, argv: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, lock: int
) -> subprocess.Popen[bytes]:
    with (folder / "output.log").open("ab") as output:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env={**(os.environ if env is None else env), FOLDER_VARIABLE: str(folder.resolve())},
            start_new_session=True,
            pass_fds=(lock,),
        )
    job = {"argv": list(argv), "pid": child.pid, "started": _start_time(child.pid)}
    write_atomically(folder / "job.json", job)
    return child


def _result(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _judge(code: int, deaths: int, folder: Path) -> None:
    """Raise unless the child was killed and may be started again."""
    log = folder / "output.log"
    if code >= 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        kind = {2: ConfigError, 3: OutsideServiceError}.get(code, StropError)
        raise kind(
            f"{folder.name} failed (exit {code}): {lines[-1]}",
            where=str(log),
            fix="see the log; the same command continues from the last checkpoint",
        )
    if deaths >= MAX_DEATHS:
        raise StropError(
            f"{folder.name} was killed {deaths} times without getting further (signal {-code})",
            where=str(log),
            fix="signal 9 is often a lack of memory: lower train.grpo_group or train.sft_batch",
        )


def _start_time(pid: int) -> str | None:
    """Return the start time of a live process in clock ticks since boot; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


class _Tail:
    """Follows a file of JSON lines; a line that isn't complete yet waits for the next look."""

    def __init__(self, path: Path, on_line: Callable[[dict[str, Any]], None]) -> None:
        self._path, self._on_line = path, on_line
        self._offset = 0
        self.lines = 0

    def drain(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as source:
            source.seek(self._offset)
            for line in source:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                try:
                    value = json.loads(line)
                except ValueError:  # torn by a kill, then appended to
                    continue
                self.lines += 1
                self._on_line(value)
