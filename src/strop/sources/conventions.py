"""Span attributes -> model calls and tool runs, in every generation of the conventions in use.

OTel GenAI (current JSON attributes, the details event, per-message events up to 1.36), OpenInference,
OpenLLMetry's flat keys, Vercel AI.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import msgspec

from strop.records import JsonObject, Message, Tool, Usage
from strop.sources.messages import as_text, read_messages, read_tools, unflatten, with_call_ids
from strop.sources.spans import Span, decoded

_MODEL_OPERATIONS = {"chat", "generate_content", "text_completion"}
_MODEL_EVENTS = {
    "gen_ai.client.inference.operation.details",
    "gen_ai.content.prompt",
    "gen_ai.content.completion",
}


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model: what went in, what came out."""

    span: Span
    given: tuple[Message, ...]
    said: tuple[Message, ...]
    tools: tuple[Tool, ...]
    model: str | None
    usage: Usage


class ToolRun(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a tool."""

    span: Span
    name: str
    call_id: str | None
    result: str | None


def kind_of(span: Span) -> Literal["model", "tool", "agent", "other"]:
    """Say what a span is."""
    operation = span.text("gen_ai.operation.name")
    if operation in _MODEL_OPERATIONS:
        return "model"
    if operation == "execute_tool":
        return "tool"
    if operation in ("invoke_agent", "create_agent", "invoke_workflow"):
        return "agent"
    inference = (span.text("openinference.span.kind") or "").upper()
    if inference in ("LLM", "TOOL", "AGENT"):
        return cast("Literal['model', 'tool', 'agent']", {"LLM": "model"}.get(inference, inference.lower()))
    traceloop = span.text("traceloop.span.kind")
    if traceloop in ("tool", "agent"):
        return traceloop
    if span.name in ("ai.generateText.doGenerate", "ai.streamText.doStream", "ai.generateObject.doGenerate"):
        return "model"
    if span.name == "ai.toolCall":
        return "tool"
    if any(
        k in span.attributes for k in ("llm.request.type", "gen_ai.prompt.0.role", "gen_ai.completion.0.role")
    ):
        return "model"
    return "other"


def read_model_call(span: Span) -> ModelCall:
    """Read a model span. Raises ValueError with the reason where its messages can't be understood."""
    attributes = _with_details(span)
    given, said = _messages(attributes, span)
    return ModelCall(
        span=span,
        given=with_call_ids(given),
        said=tuple(said),
        tools=_tools(attributes),
        model=span.text(
            "gen_ai.response.model",
            "gen_ai.request.model",
            "llm.model_name",
            "llm.response.model",
            "ai.model.id",
        ),
        usage=Usage(
            _count(
                attributes,
                "gen_ai.usage.input_tokens",
                "gen_ai.usage.prompt_tokens",
                "llm.token_count.prompt",
            ),
            _count(
                attributes,
                "gen_ai.usage.output_tokens",
                "gen_ai.usage.completion_tokens",
                "llm.token_count.completion",
            ),
        ),
    )


def read_tool_run(span: Span) -> ToolRun:
    """Read a tool span."""
    result: Any = None
    for key in ("gen_ai.tool.call.result", "gen_ai.tool.message", "output.value", "ai.toolCall.result",
                "traceloop.entity.output"):  # fmt: skip
        if span.attributes.get(key) is not None:
            result = span.attributes[key]
            break
    if result is None and span.status == "error":
        result = {"error": span.error or "the tool failed"}
    return ToolRun(
        span=span,
        name=span.text("gen_ai.tool.name", "tool.name", "ai.toolCall.name", "traceloop.entity.name")
        or span.name,
        call_id=span.text("gen_ai.tool.call.id", "tool_call.id", "tool.id", "ai.toolCall.id"),
        result=None if result is None else as_text(result),
    )


def _with_details(span: Span) -> JsonObject:
    attributes = dict(span.attributes)
    for event in span.events:
        if event.name in _MODEL_EVENTS:
            attributes.update(event.attributes)
    return attributes


def _messages(attributes: JsonObject, span: Span) -> tuple[list[Message], list[Message]]:
    if "gen_ai.input.messages" in attributes or "gen_ai.output.messages" in attributes:
        system = _system(attributes.get("gen_ai.system_instructions"))
        given = read_messages(_structured(attributes, "gen_ai.input.messages"), role="user")
        said = read_messages(_structured(attributes, "gen_ai.output.messages"), role="assistant")
        if any(m.role in ("system", "developer") for m in given):
            system = []
        return system + given, said
    given_raw = unflatten(attributes, "llm.input_messages") or unflatten(attributes, "gen_ai.prompt")
    said_raw = unflatten(attributes, "llm.output_messages") or unflatten(attributes, "gen_ai.completion")
    if given_raw or said_raw:
        given = read_messages([_inference(m) for m in given_raw], role="user")
        return given, read_messages([_inference(m) for m in said_raw], role="assistant")
    if "ai.prompt.messages" in attributes:
        return read_messages(attributes["ai.prompt.messages"]), _vercel_answer(attributes)
    return _from_events(span)


def _structured(attributes: JsonObject, key: str) -> Any:
    """An attribute that must hold JSON messages: text that doesn't parse is damage, not a message."""
    value = decoded(attributes.get(key))
    if isinstance(value, str) and value:
        raise ValueError(f"{key} is no JSON (truncated?)")
    return value


def _system(raw: Any) -> list[Message]:
    value = decoded(raw)
    if not value:
        return []
    if isinstance(value, list) and all(
        isinstance(v, dict) and "role" not in v for v in cast("list[Any]", value)
    ):
        value = [{"role": "system", "parts": value}]
    return read_messages(value, role="system")


def _tools(attributes: JsonObject) -> tuple[Tool, ...]:
    raw: Any = decoded(attributes.get("gen_ai.tool.definitions"))
    if not raw:
        raw = [t.get("tool", {}).get("json_schema") for t in unflatten(attributes, "llm.tools")]
        raw = raw or unflatten(attributes, "llm.request.functions") or attributes.get("ai.prompt.tools")
    return read_tools([t for t in cast("list[Any]", raw) if t] if isinstance(raw, list) else raw)


def _inference(raw: Any) -> JsonObject:
    """One OpenInference (`message.*`) or OpenLLMetry (flat) message as OpenAI's."""
    if not isinstance(raw, dict):
        raise ValueError("a message is not an object")
    item = cast(JsonObject, raw)
    inner = item.get("message")
    message = cast(JsonObject, inner) if isinstance(inner, dict) else item
    calls: list[Any] = [c.get("tool_call", c) for c in message.get("tool_calls") or [] if isinstance(c, dict)]
    out: JsonObject = {k: v for k, v in message.items() if k not in ("contents", "tool_calls")}
    if calls:
        out["tool_calls"] = calls
    if "contents" in message and "content" not in message:
        parts = [c.get("message_content", c) for c in message["contents"] if isinstance(c, dict)]
        out["content"] = parts
    return out


def _vercel_answer(attributes: JsonObject) -> list[Message]:
    answer: JsonObject = {"role": "assistant", "content": attributes.get("ai.response.text")}
    if attributes.get("ai.response.toolCalls"):
        answer["tool_calls"] = decoded(attributes["ai.response.toolCalls"])
    if answer["content"] is None and "tool_calls" not in answer:
        return []
    return read_messages([answer], role="assistant")


def _from_events(span: Span) -> tuple[list[Message], list[Message]]:
    given: list[Message] = []
    said: list[Message] = []
    for event in span.events:
        body = {k.removeprefix("gen_ai.event."): decoded(v) for k, v in event.attributes.items()}
        if isinstance(body.get("body"), dict):
            body = {**body, **body["body"]}
        if event.name == "gen_ai.choice":
            choice = body.get("message")
            message = cast(JsonObject, choice) if isinstance(choice, dict) else body
            said += read_messages([{**message, "role": "assistant"}], role="assistant")
        elif event.name.startswith("gen_ai.") and event.name.endswith(".message"):
            role = event.name.removeprefix("gen_ai.").removesuffix(".message")
            given += read_messages([{**body, "role": role}])
    return given, said


def _count(attributes: JsonObject, *keys: str) -> int:
    for key in keys:
        value = attributes.get(key)
        if isinstance(value, bool) or value is None:
            continue
        try:
            return int(value)
        except (TypeError, ValueError):
            continue
    return 0
