"""Run an app: in the foreground until a signal, or in a thread for as long as a block lasts."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from strop.errors import ConfigError, OutsideServiceError

_DRAIN_S = 10  # how long answers in progress may take once the server is asked to stop


def run(app: FastAPI, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM (returns) or SIGINT (raises KeyboardInterrupt), finishing answers in progress.

    port 0 takes a free one. announce gets the base URL once callers can connect.
    """
    with _listen(host, port) as listener:
        server = _server(app)
        announce(base_url(listener))
        # uvicorn raises the signal again after its shutdown; a process that was asked to end ends well.
        before = signal.signal(signal.SIGTERM, _already_handled)
        try:
            server.run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)
    if not server.started:
        raise OutsideServiceError("the server did not start", where=f"{host}:{port}")


@contextmanager
def running(app: FastAPI, *, host: str = "127.0.0.1", port: int = 0) -> Generator[str]:
    """Serve from a background thread; yield the base URL, and shut down in order at the end."""
    with _listen(host, port) as listener:
        server = _server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="strop-serve")
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise OutsideServiceError("the server did not start", where=f"{host}:{port}")
                time.sleep(0.01)
            yield base_url(listener)
        finally:
            server.should_exit = True
            thread.join()


def base_url(listener: socket.socket) -> str:
    """Return what a client is given as base_url; an address for all interfaces is named by loopback."""
    bound: tuple[str, int] = listener.getsockname()[:2]
    host, port = bound
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"the server can't listen: {error.strerror or error}",
            where=f"{host}:{port}",
            fix="free the port, or choose another: serve.port in strop.toml (0 takes a free one)",
        ) from error
    listener.listen(128)
    return listener


def _already_handled(_number: int, _frame: FrameType | None) -> None:
    pass


def _server(app: FastAPI) -> uvicorn.Server:
    settings = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    return uvicorn.Server(settings)
