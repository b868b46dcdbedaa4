"""One call at a time: the local models share the machine's cores, so callers stand in line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from strop.models.chat import ChatModel, ChatReply
from strop.records import Message, Tool
from strop.serve.refusal import Refusal


class Abandoned(Exception):
    """Nobody waits for this answer any more."""


class Turns:
    """A line of bounded length and bounded waiting before one thread of computation."""

    def __init__(self, *, max_waiting: int, max_wait_s: float) -> None:
        self.max_waiting = max_waiting
        self.max_wait_s = max_wait_s
        self._free = asyncio.Lock()
        self._waiting = 0
        self._last_s = 1.0
        self._thread = ThreadPoolExecutor(1, "strop-model")

    async def chat(
        self,
        model: ChatModel,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        on_text: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Ask the model when its turn comes; on_text is called in the event loop.

        Cancelling stops the generation at its next token; the turn ends when the thread is free again.
        Raises Refusal 429 (line full) or 503 (waited too long), and what the model raises.
        """
        await self._turn()
        loop = asyncio.get_running_loop()
        abandoned = threading.Event()

        def relay(text: str) -> None:
            if abandoned.is_set():
                raise Abandoned
            if text and on_text is not None:
                loop.call_soon_threadsafe(on_text, text)

        def free(_: Future[ChatReply]) -> None:
            with suppress(RuntimeError):  # the loop has closed: nobody is left in line
                loop.call_soon_threadsafe(self._free.release)

        job = self._thread.submit(
            model.chat,
            messages,
            tools,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            on_text=relay,
        )
        job.add_done_callback(free)
        try:
            reply = await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            abandoned.set()
            raise
        self._last_s = reply.seconds
        return reply

    def close(self) -> None:
        """Let the thread end after the call in progress."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _turn(self) -> None:
        if self._free.locked() and self._waiting >= self.max_waiting:
            raise Refusal(
                429,
                "Too many calls are waiting for the model.",
                code="rate_limit_exceeded",
                retry_after_s=self._retry_after_s(),
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self.max_wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Refusal(
                503,
                f"The model was not free within {self.max_wait_s:g} seconds.",
                code="overloaded",
                retry_after_s=self._retry_after_s(),
            ) from None
        finally:
            self._waiting -= 1

    def _retry_after_s(self) -> int:
        return min(60, 1 + round(self._waiting * self._last_s))
