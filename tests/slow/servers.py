"""Real servers for tests: started on free loopback ports, stopped with all that they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

REPO = Path(__file__).resolve().parents[2]
START_S = 900.0  # on a machine whose cores are taken; 25 s on an idle one


@contextmanager
def serving(
    command: Sequence[str | Path],
    port: int,
    ready_url: str,
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = START_S,
) -> Iterator[str]:
    """Run a server in `folder` until the block ends; yield its address once `ready_url` answers 200.

    It sees PATH, HOME (the folder) and `environment`, nothing else; its output is in server.log there.
    """
    given = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), **(environment or {})}
    log = folder / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, cwd=folder, env=given, stdout=out, stderr=out, start_new_session=True
        )
    try:
        what = f"{Path(command[0]).name} does not start: {log}"
        until(lambda: server.poll() is not None or answers(ready_url), seconds, what)
        assert server.poll() is None, log.read_text()[-4000:]
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(server)


def program(variable: str, default: str) -> Path:
    """Return the program that an environment variable names, or skip the test with the reason."""
    path = Path(os.environ.get(variable) or REPO / default)
    if not path.exists():
        pytest.skip(f"no {path.name} at {path}: make test-slow installs it, or set {variable}")
    return path


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server with all that it started: it leads its own process group."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, how)
            server.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    server.wait(20)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def answers(url: str) -> bool:
    """Say whether a GET is answered with 200."""
    try:
        return httpx2.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait until something is true."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"{otherwise} within {seconds:g} s"
        time.sleep(1.0)
