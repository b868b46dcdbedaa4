"""Chat completions as OpenAI's clients send and read them.

What can't be honoured is refused, never ignored: several choices, images and audio, forced tool calls,
log probabilities, stop sequences, sampling other than by temperature. `response_format` is accepted but
not enforced. Unknown keys are let through, since official clients grow new ones.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from strop.models.chat import ChatReply
from strop.records import JsonObject, Message, Tool, Usage
from strop.serve.refusal import invalid

_TEXT_PARTS = ("text", "refusal")


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A chat completion as asked. None: the caller left it to the server."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stream: bool = False
    include_usage: bool = False
    wants_json: bool = False
    one_call: bool = False
    metadata: dict[str, str] = {}
    raw: JsonObject = {}


def read_request(body: bytes) -> ChatRequest:
    """Read the JSON body of a chat completion. Raises Refusal 400 naming the parameter, never its value."""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise invalid("The request body is not valid JSON.") from None
    if not isinstance(raw, dict):
        raise invalid("The request body must be a JSON object.")
    _refuse_unsupported(raw)
    model = raw.get("model")
    if not isinstance(model, str) or not model:
        raise invalid("You must provide a model parameter.", "model")
    return ChatRequest(
        model=model,
        messages=_messages(raw.get("messages")),
        tools=_tools(raw),
        temperature=_number(raw, "temperature", 0, 2),
        max_tokens=_integer(raw, "max_completion_tokens", 1) or _integer(raw, "max_tokens", 1),
        seed=_integer(raw, "seed", -(2**63), 2**63 - 1),
        stream=_boolean(raw, "stream"),
        include_usage=_object(raw, "stream_options").get("include_usage") is True,
        wants_json=_wants_json(raw),
        one_call=raw.get("parallel_tool_calls") is False,
        metadata={k: v for k, v in _object(raw, "metadata").items() if isinstance(v, str)},
        raw=raw,
    )


def _refuse_unsupported(raw: JsonObject) -> None:
    if raw.get("n") not in (None, 1):
        raise invalid("This server makes one choice: n must be 1.", "n", "unsupported_value")
    for key in ("logprobs", "top_logprobs", "stop", "logit_bias", "presence_penalty", "frequency_penalty"):
        if raw.get(key):
            raise invalid(f"{key} is not supported by this server.", key, "unsupported_parameter")
    if raw.get("top_p") not in (None, 1) and raw.get("temperature") != 0:
        raise invalid("top_p other than 1 is not supported by this server.", "top_p", "unsupported_value")
    for key in ("functions", "function_call"):
        if raw.get(key):
            raise invalid(f"{key} is not supported: use tools.", key, "unsupported_parameter")
    for key in ("audio", "web_search_options"):
        if raw.get(key) is not None:
            raise invalid(f"{key} is not supported by this server.", key, "unsupported_parameter")
    if raw.get("modalities") not in (None, ["text"]):
        raise invalid("This server answers in text only.", "modalities", "unsupported_value")


def _messages(raw: Any) -> tuple[Message, ...]:
    if not isinstance(raw, list) or not raw:
        raise invalid("messages must be a non-empty array.", "messages")
    return tuple(_message(item, f"messages[{i}]") for i, item in enumerate(raw))


def _message(raw: Any, where: str) -> Message:
    if not isinstance(raw, dict):
        raise invalid("A message must be an object.", where)
    content = raw.get("content")
    if isinstance(content, list):
        for i, part in enumerate(content):
            if not isinstance(part, dict) or part.get("type") not in _TEXT_PARTS:
                raise invalid("This server reads text only.", f"{where}.content[{i}]", "unsupported_value")
    elif content is not None and not isinstance(content, str):
        raise invalid("content must be a string, an array of text parts or null.", f"{where}.content")
    for key in ("tool_call_id", "name"):
        if not isinstance(raw.get(key), str | None):
            raise invalid(f"{key} must be a string.", f"{where}.{key}")
    if not isinstance(raw.get("tool_calls"), list | None):
        raise invalid("tool_calls must be an array.", f"{where}.tool_calls")
    if raw.get("role") == "tool" and raw.get("tool_call_id") is None:
        raise invalid("A tool message must name its tool_call_id.", f"{where}.tool_call_id")
    try:
        return Message.from_openai(raw)
    except ValueError:
        raise invalid("The message has an unknown role or an unreadable tool call.", where) from None


def _tools(raw: JsonObject) -> tuple[Tool, ...]:
    """Return the tools the model may call: none under tool_choice "none"."""
    items = raw.get("tools") or []
    if not isinstance(items, list):
        raise invalid("tools must be an array.", "tools")
    tools: list[Tool] = []
    for i, item in enumerate(items):
        inner = item.get("function") if isinstance(item, dict) and item.get("type") == "function" else None
        if not isinstance(inner, dict):
            raise invalid("A tool must be of type function.", f"tools[{i}]", "unsupported_value")
        for key, fits in (
            ("name", isinstance(inner.get("name"), str)),
            ("description", isinstance(inner.get("description"), str | None)),
            ("parameters", isinstance(inner.get("parameters"), dict | None)),
        ):
            if not fits:
                raise invalid(f"{key} of a function has the wrong type.", f"tools[{i}].function.{key}")
        tools.append(Tool.from_openai(item))
    choice = raw.get("tool_choice")
    if choice not in (None, "auto", "none"):
        raise invalid('tool_choice must be "auto" or "none".', "tool_choice", "unsupported_value")
    return () if choice == "none" else tuple(tools)


def _wants_json(raw: JsonObject) -> bool:
    kind = _object(raw, "response_format").get("type", "text")
    if kind not in ("text", "json_object", "json_schema"):
        raise invalid("Unknown response_format.", "response_format.type", "unsupported_value")
    return kind != "text"


def _number(raw: JsonObject, key: str, low: float, high: float) -> float | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise invalid(f"{key} must be a number from {low} to {high}.", key)
    return float(value)


def _integer(raw: JsonObject, key: str, low: int, high: int | None = None) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high and value > high):
        raise invalid(f"{key} must be an integer in its range.", key)
    return value


def _boolean(raw: JsonObject, key: str) -> bool:
    value = raw.get(key)
    if not isinstance(value, bool | None):
        raise invalid(f"{key} must be true or false.", key)
    return bool(value)


def _object(raw: JsonObject, key: str) -> JsonObject:
    value = raw.get(key)
    if not isinstance(value, dict | None):
        raise invalid(f"{key} must be an object.", key)
    return value or {}


class Envelope(msgspec.Struct, frozen=True):
    """What all parts of one answer share. created: unix seconds."""

    id: str
    created: int
    model: str

    def completion(self, reply: ChatReply) -> JsonObject:
        """Return the whole answer."""
        message = {**reply.message.to_openai(), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": _usage(reply.usage)}

    def chunk(self, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
        """Return one event of a streamed answer."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self, usage: Usage) -> JsonObject:
        """Return the event after the last choice, for stream_options.include_usage."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": _usage(usage)}

    def closing_chunks(self, reply: ChatReply, shown: int) -> list[JsonObject]:
        """Return the events after the first `shown` characters of content: rest, tool calls, finish."""
        chunks: list[JsonObject] = []
        rest = (reply.message.content or "")[shown:]
        if rest:
            chunks.append(self.chunk({"content": rest}))
        for i, call in enumerate(reply.message.tool_calls):
            head = {"name": call.name, "arguments": ""}
            chunks.append(
                self.chunk(
                    {"tool_calls": [{"index": i, "id": call.id, "type": "function", "function": head}]}
                )
            )
            body = {"index": i, "function": {"arguments": call.arguments}}
            chunks.append(self.chunk({"tool_calls": [body]}))
        chunks.append(self.chunk({}, reply.finish_reason))
        return chunks

    def _head(self, kind: Literal["chat.completion", "chat.completion.chunk"]) -> JsonObject:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def event(data: JsonObject | str) -> bytes:
    """Return a server-sent event."""
    return b"data: " + (data.encode() if isinstance(data, str) else msgspec.json.encode(data)) + b"\n\n"


def _usage(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
