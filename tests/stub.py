"""A loopback server whose answers a function gives: what connectors talk to in tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

Reply = tuple[int, dict[str, str], bytes]
SILENCE: Reply = (0, {}, b"")  # the request is taken, and never answered


class Asked(msgspec.Struct, frozen=True):
    """One request, its body decoded."""

    path: str
    query: dict[str, list[str]]
    body: Any
    headers: dict[str, str]

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]


def ok(value: Any) -> Reply:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def answering(reply: Callable[[Asked], Reply]) -> Iterator[tuple[str, list[Asked]]]:
    """Serve until the block ends; yield the address and the requests so far."""
    seen: list[Asked] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(
                unquote(parts.path), parse_qs(parts.query), json.loads(raw or b"null"), dict(self.headers)
            )
            seen.append(asked)
            status, headers, body = reply(asked)
            if status == 0:
                over.wait(30)
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
