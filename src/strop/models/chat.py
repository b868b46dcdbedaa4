"""What everything that serves or samples expects of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from strop.records import Message, Tool, Usage


class ChatReply(msgspec.Struct, frozen=True, kw_only=True):
    """One assistant message with its cost. finish_reason "length": cut off at max_new_tokens.

    seconds: wall time of the generation, waiting excluded.
    """

    message: Message
    usage: Usage = Usage()
    finish_reason: Literal["stop", "tool_calls", "length"] = "stop"
    seconds: float = 0.0


class ChatModel(Protocol):
    """A model that answers a conversation. Implementations need not be thread-safe: callers queue."""

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
        """Answer with one assistant message.

        Text of messages is data: control tokens written in it are encoded as plain characters.
        A call that can't be parsed stays in `content` as text. temperature 0 is greedy.
        on_text gets the pieces of `content` as they appear, tool call markup never, and "" for a
        token that shows nothing yet; what it raises stops the generation and passes through.
        Raises InputError where the conversation is longer than the model's context.
        """
        ...
