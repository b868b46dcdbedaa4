"""One chat completion: the local model, the fallback where its answer is of no use, and capture."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from strop.config import Config
from strop.errors import InputError
from strop.models.chat import ChatModel, ChatReply
from strop.records import Message
from strop.serve.capture import Call, Capture
from strop.serve.context import read_context
from strop.serve.fallback import Fallback, problem_of
from strop.serve.refusal import Refusal, invalid
from strop.serve.turns import Turns
from strop.serve.wire import ChatRequest, Envelope, event

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Answers:
    """What all answers of a server share: the line before the model, capture and fallback."""

    def __init__(self, config: Config, capture: Capture | None, fallback: Fallback | None) -> None:
        self.config, self.capture, self.fallback = config, capture, fallback
        self.turns = Turns(max_waiting=config.serve.max_waiting, max_wait_s=config.serve.max_wait_s)
        keys = [s.customer_key for s in config.sources if s.kind == "otlp"]
        self.customer_key = keys[0] if keys else "customer.id"

    async def answer(
        self, request: Request, asked: ChatRequest, model_id: str, model: ChatModel, size: int
    ) -> Response:
        """Answer one call, whole or streamed. size: bytes of its body. Raises Refusal."""
        answer = _Answer(self, request, asked, model_id, model, size)
        # A fallback is only known at the end, and its header comes first: then nothing streams early.
        if asked.stream and self.fallback is None:
            return await answer.streamed()
        return await _unless_gone(request, answer.whole())

    async def close(self) -> None:
        """End the model's thread, and land what capture holds."""
        self.turns.close()
        if self.fallback is not None:
            await self.fallback.close()
        if self.capture is not None:
            report = await asyncio.to_thread(self.capture.close)
            if report.dropped or report.failed:
                _log.warning(
                    "capture: of %d served calls %d were dropped (queue full) and %d could not be stored",
                    report.calls,
                    report.dropped,
                    report.failed,
                )


class _Answer:
    """One chat completion on its way."""

    def __init__(
        self,
        shared: Answers,
        request: Request,
        asked: ChatRequest,
        model_id: str,
        model: ChatModel,
        size: int,
    ) -> None:
        self.shared, self.request, self.asked = shared, request, asked
        self.model, self.size = model, size
        self.started_at = time.time_ns()
        self.envelope = Envelope(f"chatcmpl-{secrets.token_hex(12)}", self.started_at // 10**9, model_id)
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue()

    async def whole(self) -> Response:
        """Answer at once, after the fallback where it is needed."""
        reply = await self._ask()
        fallback = self.shared.fallback
        headers: dict[str, str] = {}
        if fallback is not None and problem_of(reply, self.asked):
            other = await fallback.ask(self.asked)
            if other is None:
                _log.warning("the fallback gave no readable answer")
            else:
                reply, headers = other, {"x-strop-fallback": "1"}
                self.envelope = msgspec.structs.replace(self.envelope, model=fallback.model)
        self._capture(reply, fallback=bool(headers))
        if self.asked.stream:
            return StreamingResponse(
                self._closing(reply, 0, first=True), media_type="text/event-stream", headers=headers
            )
        return JSONResponse(self.envelope.completion(reply), headers=headers)

    async def streamed(self) -> Response:
        """Answer piece by piece. What fails before the first piece is still a plain error."""
        task = asyncio.create_task(self._ask(self.pieces.put_nowait))
        task.add_done_callback(lambda _: self.pieces.put_nowait(None))
        try:
            first = await _unless_gone(self.request, self.pieces.get())
            if first is None:
                await task
        except BaseException:
            task.cancel()
            raise
        return StreamingResponse(self._events(task, first), media_type="text/event-stream")

    async def _events(self, task: asyncio.Task[ChatReply], piece: str | None) -> AsyncIterator[bytes]:
        shown = 0
        try:
            yield event(self.envelope.chunk({"role": "assistant", "content": ""}))
            while piece is not None:
                shown += len(piece)
                yield event(self.envelope.chunk({"content": piece}))
                piece = await self.pieces.get()
            reply = await task
        except Refusal as refusal:
            yield event(refusal.body())
            return
        finally:
            task.cancel()
        self._capture(reply, fallback=False)
        async for part in self._closing(reply, shown, first=False):
            yield part

    async def _closing(self, reply: ChatReply, shown: int, *, first: bool) -> AsyncIterator[bytes]:
        if first:
            yield event(self.envelope.chunk({"role": "assistant", "content": ""}))
        for chunk in self.envelope.closing_chunks(reply, shown):
            yield event(chunk)
        if self.asked.include_usage:
            yield event(self.envelope.usage_chunk(reply.usage))
        yield event("[DONE]")

    async def _ask(self, on_text: Callable[[str], None] | None = None) -> ChatReply:
        """Ask the local model. What the caller leaves open is as in the comparison: greedy, same limit."""
        asked, limits = self.asked, self.shared.config.train
        try:
            reply = await self.shared.turns.chat(
                self.model,
                asked.messages,
                asked.tools,
                max_new_tokens=min(asked.max_tokens or limits.max_new_tokens, limits.max_tokens),
                temperature=asked.temperature or 0.0,
                seed=secrets.randbits(31) if asked.seed is None else asked.seed,
                on_text=on_text,
            )
        except Refusal:
            raise
        except InputError as error:
            raise invalid(error.what, "messages", "context_length_exceeded") from None
        except Exception as error:
            _log.exception("the model failed")
            raise Refusal(500, "The model failed to answer.", code="model_error") from error
        return _as_asked(reply, asked)

    def _capture(self, reply: ChatReply, *, fallback: bool) -> None:
        if self.shared.capture is None:
            return
        config = self.shared.config
        context = read_context(
            self.request.headers,
            self.asked.metadata,
            customer_key=self.shared.customer_key,
            identity_fields=config.redact.identity_fields,
        )
        self.shared.capture.record(
            Call(
                context=context,
                messages=self.asked.messages,
                tools=self.asked.tools,
                reply=reply,
                model=self.envelope.model,
                fallback=fallback,
                started_at=self.started_at,
                ended_at=time.time_ns(),
                size=self.size,
            )
        )


def _as_asked(reply: ChatReply, asked: ChatRequest) -> ChatReply:
    """Hold the model to what the protocol promises: unique call ids, one call where one is asked for."""
    message = reply.message
    calls = tuple(
        msgspec.structs.replace(call, id=f"call_{secrets.token_hex(12)}") for call in message.tool_calls
    )
    finish = reply.finish_reason
    if calls and not asked.tools:  # none may be called: what the model wrote is then just not there
        message, calls, finish = Message(role="assistant", content=message.content or ""), (), "stop"
    if asked.one_call:
        calls = calls[:1]
    message = msgspec.structs.replace(message, tool_calls=calls)
    return msgspec.structs.replace(reply, message=message, finish_reason=finish)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Await the work, but stop it when the client goes away. Raises Refusal 499, which nobody reads."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(499, "The client closed the connection.")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
