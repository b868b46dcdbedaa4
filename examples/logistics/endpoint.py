"""A small OpenAI-compatible endpoint on loopback, for the company's offline services.

Serves POST /v1/chat/completions (not streaming) and GET /v1/models. The first line on stdout is the
base URL.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """One assistant message, what it counts, and headers that describe how it was modelled."""

    message: dict[str, Any]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    headers: dict[str, str]


class BadRequestError(Exception):
    """The request is not one that this endpoint can answer."""


Respond = Callable[[dict[str, Any]], Reply]


def server(respond: Respond, model: str, port: int = 0) -> ThreadingHTTPServer:
    """Bind an endpoint to loopback (port 0: any free one) without starting it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # one packet a reply

        def do_GET(self) -> None:
            if self.path == "/v1/models":
                self._send(200, {"object": "list", "data": [{"id": model, "object": "model"}]})
            else:
                self._send(404, _error("no such path"))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path != "/v1/chat/completions":
                self._send(404, _error("no such path"))
                return
            try:
                request = json.loads(body)
                if not isinstance(request, dict) or request.get("stream"):  # pyright: ignore[reportUnknownMemberType]
                    raise BadRequestError("a JSON object without stream is expected")
                reply = respond(request)  # pyright: ignore[reportUnknownArgumentType]
            except (ValueError, KeyError, TypeError, AttributeError, BadRequestError) as error:
                self._send(400, _error(f"{type(error).__name__}: {error}"))
                return
            self._send(200, _completion(reply, model), reply.headers)

        def log_message(self, format: str, *args: Any) -> None:
            return

        def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            data = json.dumps(body, ensure_ascii=False).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def run(respond: Respond, model: str, port: int) -> None:
    """Serve until the process is told to end; the base URL is the first line on stdout."""
    http = server(respond, model, port)
    print(f"http://127.0.0.1:{http.server_address[1]}/v1", flush=True)
    try:
        http.serve_forever()
    except KeyboardInterrupt:
        http.server_close()


def asked(request: dict[str, Any]) -> str:
    """Return the text of the last user message. Raises BadRequestError where there is none."""
    for message in reversed(request.get("messages") or []):
        if message["role"] == "user" and isinstance(message["content"], str):
            return message["content"]
    raise BadRequestError("no user message with text")


def count_tokens(text: str) -> int:
    """Estimate tokens: one for every three bytes of UTF-8, rounded up (JSON, digits and German run dense)."""
    return -(-len(text.encode()) // 3)


def _completion(reply: Reply, model: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-offline",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": reply.message, "finish_reason": reply.finish_reason}],
        "usage": {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        },
    }


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}
