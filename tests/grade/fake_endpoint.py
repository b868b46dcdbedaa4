"""An OpenAI-compatible endpoint on loopback that answers as a test tells it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], Any]


def result(value: object) -> str:
    """What a grading model writes."""
    return json.dumps({"steps": [], "result": value})


def said(verdict: object) -> str:
    """What a judge writes."""
    return json.dumps({"verdict": verdict, "reason": "because"})


class FakeEndpoint(ThreadingHTTPServer):
    """answer: from a request's body to the content of the completion, or to the whole reply as a dict."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.answer, self.status = answer, 200
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def prompts(self) -> list[str]:
        """Return the last message of each request."""
        return [request["messages"][-1]["content"] for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    server: FakeEndpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        self.server.paths.append(self.path)
        said = self.server.answer(body)
        reply = said if isinstance(said, dict) else {"choices": [{"message": {"content": said}}]}
        data = json.dumps(reply).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(answer: Answer) -> Iterator[FakeEndpoint]:
    """Serve until the block ends."""
    server = FakeEndpoint(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
