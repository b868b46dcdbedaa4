"""The server's routes: chat completions and models as OpenAI has them, and OTLP traces in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from strop.config import Config
from strop.errors import InputError
from strop.models.chat import ChatModel
from strop.serve.access import Gate, read_body
from strop.serve.answer import Answers
from strop.serve.capture import Capture
from strop.serve.fallback import Fallback
from strop.serve.refusal import Refusal, invalid
from strop.serve.wire import read_request
from strop.sources.otlp.wire import BodyTooLarge

MAX_CHAT_BYTES = 4 << 20
MAX_TRACES_BYTES = 32 << 20  # as sent; the receiver has its own limit for what unpacks from it
_OTLP_TYPES = ("application/x-protobuf", "application/json")

_log = logging.getLogger(__name__)

Receive: TypeAlias = Callable[[bytes, str, str], tuple[bytes, str]]


class TraceReceiver(Protocol):
    """Takes OTLP exports: `strop.sources.otlp.receiver.Receiver`."""

    def receive(self, body: bytes, content_type: str, content_encoding: str = "") -> tuple[bytes, str]:
        """Take one export and return OTLP's answer. Raises BodyTooLarge or InputError."""
        ...

    def receive_logs(self, body: bytes, content_type: str, content_encoding: str = "") -> tuple[bytes, str]:
        """Take one export of log records, likewise."""
        ...

    def flush(self) -> None:
        """Hand on everything that waits."""
        ...


def build(
    config: Config,
    models: Mapping[str, ChatModel],
    *,
    aliases: Mapping[str, str] | None = None,
    key: str | None,
    receiver: TraceReceiver | None = None,
    capture: Capture | None = None,
    fallback: Fallback | None = None,
) -> FastAPI:
    """Return the server's app.

    models: by id; aliases: further names -> id. key: what callers must send, None only on loopback.
    The app closes capture, receiver and fallback when it shuts down; `app.state.capture` stays
    readable for its report.
    """
    server = _Server(config, models, aliases or {}, receiver, capture, fallback)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await server.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.capture = capture
    app.add_api_route("/healthz", server.health, methods=["GET"])
    app.add_api_route("/v1/models", server.list_models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", server.one_model, methods=["GET"])
    app.add_api_route("/v1/chat/completions", server.chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/traces", server.traces, methods=["POST"], response_model=None)
    app.add_api_route("/v1/logs", server.logs, methods=["POST"], response_model=None)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_crash)
    app.add_middleware(Gate, key=key)
    return app


class _Server:
    def __init__(
        self,
        config: Config,
        models: Mapping[str, ChatModel],
        aliases: Mapping[str, str],
        receiver: TraceReceiver | None,
        capture: Capture | None,
        fallback: Fallback | None,
    ) -> None:
        self.models, self.aliases = models, aliases
        self.receiver = receiver
        self.created = int(time.time())
        self.answers = Answers(config, capture, fallback)
        self.receiving = ThreadPoolExecutor(1, "strop-receive")

    async def close(self) -> None:
        self.receiving.shutdown()
        if self.receiver is not None:
            await asyncio.to_thread(self.receiver.flush)
        await self.answers.close()

    async def health(self) -> dict[str, str]:
        return {"status": "ok"}

    async def list_models(self) -> dict[str, Any]:
        return {"object": "list", "data": [self._card(name) for name in (*self.models, *self.aliases)]}

    async def one_model(self, name: str) -> dict[str, Any]:
        self._resolve(name)
        return self._card(name)

    async def traces(self, request: Request) -> Response:
        return await self._export(request, None if self.receiver is None else self.receiver.receive)

    async def logs(self, request: Request) -> Response:
        return await self._export(request, None if self.receiver is None else self.receiver.receive_logs)

    async def _export(self, request: Request, receive: Receive | None) -> Response:
        if receive is None:
            raise Refusal(404, "This server receives no traces.", code="unknown_url")
        kind = request.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() not in _OTLP_TYPES:
            raise Refusal(415, f"OTLP comes as {' or '.join(_OTLP_TYPES)}.", code="unsupported_content_type")
        body = await read_body(request, MAX_TRACES_BYTES)
        encoding = request.headers.get("content-encoding", "")
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self.receiving, receive, body, kind.lower(), encoding)
        except BodyTooLarge as error:
            raise Refusal(413, error.what, code="request_too_large") from None
        except InputError as error:
            raise invalid(error.what) from None
        except Exception as error:
            _log.exception("an export could not be stored")
            raise Refusal(503, "The traces could not be stored; send them again.", retry_after_s=5) from error
        return Response(answer[0], media_type=answer[1])

    async def chat(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, "Send application/json.", code="unsupported_content_type")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, "Send the request body uncompressed.", code="unsupported_content_encoding")
        body = await read_body(request, MAX_CHAT_BYTES)
        asked = read_request(body)
        model_id = self._resolve(asked.model)
        return await self.answers.answer(request, asked, model_id, self.models[model_id], len(body))

    def _resolve(self, name: str) -> str:
        model_id = self.aliases.get(name, name)
        if model_id not in self.models:
            named = f"The model `{name[:100]}` does not exist"
            known = ", ".join((*self.models, *self.aliases)) or "none is promoted yet"
            raise Refusal(404, f"{named} here (there is: {known}).", param="model", code="model_not_found")
        return model_id

    def _card(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self.created, "owned_by": "strop"}


async def _on_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return Refusal(404, f"Unknown request URL: {request.method}.", code="unknown_url").response()
    if error.status_code == 405:
        refusal = Refusal(405, f"{request.method} is not allowed here.", code="method_not_allowed")
        return refusal.response(error.headers)
    return Refusal(error.status_code, str(error.detail)).response(error.headers)


async def _on_crash(_: Request, error: Exception) -> Response:
    return Refusal(500, "The server failed to answer.", code="internal_error").response()
