"""A server around a fake model, for the tests of this folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strop.config import Config
from strop.models.chat import ChatReply
from strop.records import Message, Tool, ToolCall, Usage

KEY = "sk-test-0123456789"
AUTH = {"authorization": f"Bearer {KEY}"}
MODEL_ID = "a" * 64
TOOL = {
    "type": "function",
    "function": {
        "name": "lookup_tracking",
        "description": "Events of a shipment",
        "parameters": {"type": "object", "properties": {"tracking_number": {"type": "string"}}},
    },
}


def config(root: Path, **serve: Any) -> Config:
    return Config.model_validate({"root": root, "serve": serve})


def text(content: str, **more: Any) -> ChatReply:
    return ChatReply(
        message=Message(role="assistant", content=content), usage=Usage(11, 7), seconds=0.5, **more
    )


def call(
    name: str = "lookup_tracking", arguments: str = '{"tracking_number":"00340434161094015902"}'
) -> ChatReply:
    message = Message(role="assistant", tool_calls=(ToolCall("call_0", name, arguments),))
    return ChatReply(message=message, usage=Usage(20, 9), finish_reason="tool_calls", seconds=0.25)


@dataclass
class FakeModel:
    """Answers from a script (its last entry for ever), and remembers what it was asked."""

    script: list[ChatReply | Exception] = field(
        default_factory=lambda: [text('{"final_status":"delivered"}')]
    )
    delay_s: float = 0.0
    hold: threading.Event | None = None  # generation goes on, token by token, until this is set
    asked: list[dict[str, Any]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    concurrent: int = 0
    most_concurrent: int = 0

    def chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        *,
        max_new_tokens: int = 160,
        temperature: float = 0.0,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
    ) -> ChatReply:
        self.concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self.concurrent)
        try:
            limits = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
            self.asked.append({"messages": tuple(messages), "tools": tuple(tools), **limits})
            time.sleep(self.delay_s)
            return self._generate(on_text)
        finally:
            self.concurrent -= 1

    def _generate(self, on_text: Callable[[str], None] | None) -> ChatReply:
        reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(reply, Exception):
            raise reply
        try:
            for piece in (reply.message.content or "").split(" "):
                if on_text and piece:
                    on_text(piece if piece == (reply.message.content or "").split(" ")[0] else f" {piece}")
            while self.hold is not None and not self.hold.is_set():
                time.sleep(0.002)
                if on_text:
                    on_text("")
        except BaseException:
            self.stopped.set()
            raise
        return reply


def body(content: str = "Where is 00340434161094015902?", **more: Any) -> dict[str, Any]:
    return {"model": "champion", "messages": [{"role": "user", "content": content}], **more}
