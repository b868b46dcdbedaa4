"""Conversations in OpenAI's chat format, frozen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import msgspec

from strop.records.canonical import canonical_json

JsonObject: TypeAlias = dict[str, Any]


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call as the model wrote it; `arguments` is the JSON text, untouched."""

    id: str
    name: str
    arguments: str

    def parsed(self) -> JsonObject | None:
        """Return the arguments as an object, or None where they are not a JSON object."""
        try:
            value = msgspec.json.decode(self.arguments or "{}")
        except (msgspec.DecodeError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def key(self) -> str:
        """Return the replay key: tool name and canonical arguments (raw text where unparsable)."""
        parsed = self.parsed()
        arguments = self.arguments if parsed is None else canonical_json(parsed).decode()
        return f"{self.name} {arguments}"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One chat message. `tool_call_id` and `name` only on tool messages."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    def to_openai(self) -> JsonObject:
        """Return the message as OpenAI's chat API takes it."""
        out: JsonObject = {"role": self.role, "content": self.content}
        if self.tool_calls:
            out["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in self.tool_calls
            ]
        if self.tool_call_id is not None:
            out["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            out["name"] = self.name
        return out

    @classmethod
    def from_openai(cls, raw: JsonObject) -> Message:
        """Read one message of OpenAI's chat API.

        Text parts are joined; parts of other kinds become `[image_url]` and the like.
        Raises ValueError with the reason for anything that is no chat message.
        """
        role = raw.get("role")
        if role == "function":
            role = "tool"
        if role not in ("system", "developer", "user", "assistant", "tool"):
            raise ValueError(f"unknown role {role!r}")
        calls: list[ToolCall] = []
        for i, call in enumerate(raw.get("tool_calls") or []):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise ValueError(f"tool call {i} has no function name")
            arguments = function.get("arguments", "{}")
            if not isinstance(arguments, str):
                arguments = canonical_json(arguments).decode()
            calls.append(ToolCall(str(call.get("id") or f"call_{i}"), function["name"], arguments))
        return cls(
            role=role,
            content=_text(raw.get("content")),
            tool_calls=tuple(calls),
            tool_call_id=raw.get("tool_call_id"),
            name=raw.get("name"),
        )


class Tool(msgspec.Struct, frozen=True):
    """A tool that was offered: name, description and the JSON schema of its parameters."""

    name: str
    description: str = ""
    parameters: JsonObject = {}

    def to_openai(self) -> JsonObject:
        """Return the tool as OpenAI's chat API takes it."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": self.parameters},
        }

    @classmethod
    def from_openai(cls, raw: JsonObject) -> Tool:
        """Read one tool of OpenAI's chat API, wrapped in `function` or flat."""
        inner = raw.get("function", raw)
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise ValueError("tool without a name")
        return cls(inner["name"], inner.get("description") or "", inner.get("parameters") or {})


class Episode(msgspec.Struct, frozen=True):
    """One agent's conversation inside a trace, the recorded tool results among its messages."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    def prompt(self) -> tuple[Message, ...]:
        """Return the messages before the first assistant turn: what a Task asks."""
        for i, message in enumerate(self.messages):
            if message.role == "assistant":
                return self.messages[:i]
        return self.messages


def tool_calls_of(messages: Iterable[Message]) -> list[ToolCall]:
    """Return all tool calls of the assistant turns, in order."""
    return [call for m in messages if m.role == "assistant" for call in m.tool_calls]


def _text(content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        parts: list[str] = []
        for part in content:
            if isinstance(part, str):
                parts.append(part)
            elif isinstance(part, dict):
                text = part.get("text")
                parts.append(text if isinstance(text, str) else f"[{part.get('type', 'part')}]")
        return "".join(parts)
    return canonical_json(content).decode()
