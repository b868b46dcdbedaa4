"""Span attributes -> model calls, tool runs and agents, in every generation of the conventions in use.

What a span is comes from the attribute that says so, most explicit first; where its messages are is in
`dialects`. A span that looks like a model call of no known kind is named, never passed over.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, cast

import msgspec

from strop.records import JsonObject, Message, Tool, Usage
from strop.sources.files.json_values import decode_json, is_json
from strop.sources.spans.dialects import read_dialects, read_transcript
from strop.sources.spans.messages import (
    as_text,
    bedrock_blocks,
    blocks_text,
    indexed,
    joined,
    read_messages,
    read_tools,
    result_text,
    with_call_ids,
)
from strop.sources.spans.span import Span, SpanEvent, decoded, listed

Kind: TypeAlias = Literal["model", "tool", "agent", "other", "unknown"]

DETAILS = "gen_ai.client.inference.operation.details"
_MODEL_EVENTS = {DETAILS, "gen_ai.content.prompt", "gen_ai.content.completion"}
_MESSAGE_EVENTS = {
    "gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.choice",
}  # fmt: skip
_KINDS: dict[str, dict[str, Kind]] = {
    "langfuse.observation.type": {"generation": "model", "tool": "tool", "agent": "agent"},
    "gen_ai.operation.name": {
        "chat": "model", "generate_content": "model", "text_completion": "model", "completion": "model",
        "generate": "model", "execute_tool": "tool", "invoke_agent": "agent", "create_agent": "agent",
        "invoke_workflow": "agent", "embeddings": "other", "retrieval": "other", "plan": "other",
        "chain": "other",
    },
    "openinference.span.kind": {"llm": "model", "tool": "tool", "agent": "agent"},
    "mlflow.spanType": {"chat_model": "model", "llm": "model", "tool": "tool", "agent": "agent"},
    "langsmith.span.kind": {"llm": "model", "tool": "tool"},
    "traceloop.span.kind": {"tool": "tool", "agent": "agent"},
    "genkit:metadata:subtype": {"model": "model", "tool": "tool", "tool.v2": "tool"},
}  # fmt: skip
# These say what every span is, so that a value that is not listed means neither model, tool nor agent.
_COMPLETE = {"langfuse.observation.type", "openinference.span.kind", "mlflow.spanType", "langsmith.span.kind"}
_VERCEL = (
    "ai.generateText.doGenerate", "ai.streamText.doStream", "ai.generateObject.doGenerate",
    "ai.streamObject.doStream",
)  # fmt: skip
_MODEL_NAMES = (
    "gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "llm.response.model",
    "ai.response.model", "ai.model.id", "langfuse.observation.model.name", "mlflow.llm.model",
    "llm.request.model", "model_name",
)  # fmt: skip
_GENERATION = ("langfuse.observation.model.name", "langfuse.observation.usage_details")
_LOOKS = (
    "gen_ai.request.", "gen_ai.response.", "gen_ai.usage.", "gen_ai.prompt", "gen_ai.completion",
    "gen_ai.input.messages", "gen_ai.output.messages", "llm.", "gen_ai.choice",
)  # fmt: skip
_TOOL_RESULTS = (
    "gen_ai.tool.call.result", "gen_ai.tool.message", "tool_response", "ai.toolCall.result",
    "ai.toolCall.output", "gcp.vertex.agent.tool_response", "langfuse.observation.output",
    "mlflow.spanOutputs", "output.value", "traceloop.entity.output", "genkit:output",
)  # fmt: skip
_QUOTED = ("ai.toolCall.result", "ai.toolCall.output", "mlflow.spanOutputs")  # JSON, of a text too
_TOOL_ARGUMENTS = (
    "gen_ai.tool.call.arguments", "tool_arguments", "ai.toolCall.args", "ai.toolCall.input",
    "gcp.vertex.agent.tool_call_args", "langfuse.observation.input", "mlflow.spanInputs", "input.value",
    "tool.parameters", "traceloop.entity.input",
)  # fmt: skip
_TOOL_NAMES = ("gen_ai.tool.name", "tool.name", "ai.toolCall.name", "traceloop.entity.name")
_TOOL_IDS = ("gen_ai.tool.call.id", "tool_call.id", "tool.id", "ai.toolCall.id", "tool_call_id")
_COSTS = ("llm.cost.total", "gen_ai.usage.cost", "operation.cost", "gen_ai.usage.total_cost")


class ModelCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model: what went in, what came out. problems: what was not understood, in words."""

    span: Span
    given: tuple[Message, ...]
    said: tuple[Message, ...]
    tools: tuple[Tool, ...]
    model: str | None
    usage: Usage
    problems: tuple[str, ...] = ()


class ToolRun(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a tool. `arguments` and `result` are text as recorded."""

    span: Span
    name: str
    call_id: str | None
    result: str | None
    arguments: str | None = None


def kind_of(span: Span) -> Kind:
    """Say what a span is; "unknown" is what looks like a model call of no known convention."""
    a = span.attributes
    for key, kinds in _KINDS.items():
        value = span.text(key)
        if value is None:
            continue
        kind = kinds.get(value.strip('"').lower())
        if kind is not None:
            return kind
        unsaid = value.strip('"').lower() == "unknown" or any(k in a for k in _GENERATION)
        if key in _COMPLETE and not unsaid:
            return "other"
    vercel = _operation(span)
    if vercel.startswith("ai."):
        if vercel.startswith(_VERCEL):
            return "model"
        return "tool" if vercel.startswith("ai.toolCall") else "other"
    if span.text("gen_ai.tool.name", "gen_ai.tool.call.id", "ai.toolCall.id") is not None:
        return "tool"
    if span.text("agent_name", "gen_ai.agent.name", "pydantic_ai.all_messages", "all_messages_events"):
        return "agent"
    if span.text("llm.request.type") not in (None, "chat", "completion"):
        return "other"
    if any(k in a for k in _GENERATION) or _has_content(span):
        return "model"
    return "unknown" if _looks_like_model(span) else "other"


def looks_like(span: Span) -> str:
    """Name the attributes (keys only) by which an unknown span looks like a model call."""
    keys = [k for k in span.attributes if k.startswith(_LOOKS) or k in _MODEL_NAMES]
    return ", ".join(sorted(keys)[:3])


def read_model_call(span: Span) -> ModelCall:
    """Read a model span. Raises ValueError with the reason where its messages can't be understood."""
    attributes = _with_details(span)
    read = read_dialects(attributes, span.events)
    tools, problems = _tools(attributes, read.tools)
    return ModelCall(
        span=span,
        given=with_call_ids(joined(read.given or [])),
        said=tuple(read.said or ()),
        tools=tools,
        model=_first(attributes, _MODEL_NAMES),
        usage=_usage(attributes),
        problems=(*read.problems, *problems),
    )


def read_agent(span: Span) -> ModelCall | None:
    """Read an agent's own span as one call, for agents whose model calls were not recorded.

    The transcript that Pydantic AI keeps there, else the agent's input and output; None without either.
    Raises ValueError.
    """
    attributes = _with_details(span)
    given = read_transcript(attributes)
    said: list[Message] = []
    problems: tuple[str, ...] = ()
    if not given:
        read = read_dialects(attributes, span.events)
        given, said = read.given or [], read.said or []
        problems = ("no model call has messages: the agent's own input and output are taken",)
    if not given or not any(m.role == "assistant" for m in (*given, *said)):
        return None
    tools, faults = _tools(attributes, None)
    return ModelCall(
        span=span,
        given=with_call_ids(joined(given)),
        said=tuple(said),
        tools=tools,
        model=_first(attributes, _MODEL_NAMES),
        usage=_usage(attributes),
        problems=(*problems, *faults),
    )


def read_tool_run(span: Span) -> ToolRun:
    """Read a tool span."""
    raw = _first_value(_unquoted(span.attributes), _TOOL_RESULTS)
    if raw is None:
        raw = _told(span.events)
    if raw is None and span.status == "error":
        raw = {"error": span.error or "the tool failed"}
    arguments = _first_value(span.attributes, _TOOL_ARGUMENTS)
    return ToolRun(
        span=span,
        name=span.text(*_TOOL_NAMES) or _bare(span.name),
        call_id=span.text(*_TOOL_IDS) or _message_id(raw),
        result=_result(raw),
        arguments=None if arguments is None else as_text(arguments),
    )


def cost_of(span: Span) -> float | None:
    """Return what a model call cost in US dollars, where the platform says so."""
    for key in _COSTS:
        cost = number(span.attributes.get(key))
        if cost is not None:
            return cost
    details = decoded(span.attributes.get("langfuse.observation.cost_details"))
    if not isinstance(details, dict):
        return None
    costs = cast(JsonObject, details)
    return number(costs["total"]) if "total" in costs else _sum(costs)


def number(value: Any) -> float | None:
    """Return a finite number, also where it was stored as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _result(raw: Any) -> str | None:
    """What the model read of a tool's output: frameworks put their own envelopes around it."""
    value = decoded(raw)
    if isinstance(value, dict):
        body = cast(JsonObject, value)
        if body.get("type") == "tool" and "content" in body:  # LangChain's ToolMessage
            return result_text(body["content"])
        if set(body) == {"output", "kwargs"}:  # OpenLLMetry's
            return _result(body["output"])
    text = blocks_text(value)
    if text is not None or raw is None:
        return text
    return as_text(raw)


def _unquoted(attributes: JsonObject) -> JsonObject:
    out = attributes
    for key in _QUOTED:
        value = attributes.get(key)
        if isinstance(value, str) and value[:1] == '"' and is_json(value.encode()):
            out = {**out, key: decode_json(value.encode())}
    return out


def _message_id(raw: Any) -> str | None:
    value = decoded(raw)
    call_id = value.get("tool_call_id") if isinstance(value, dict) else None
    return str(call_id) if call_id else None


def _told(events: tuple[SpanEvent, ...]) -> Any:
    """What a tool's events say that it gave back. Beside a choice, the tool's message is its input."""
    bodies: dict[str, JsonObject] = {}
    for event in events:
        body = decoded(event.attributes.get("body", event.attributes.get("gen_ai.event.content")))
        bodies[event.name] = cast(JsonObject, body) if isinstance(body, dict) else event.attributes
    answer = bodies.get(DETAILS, {}).get("gen_ai.output.messages")
    if answer is not None:
        try:
            return next((m.content for m in read_messages(answer) if m.role == "tool"), None)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return None
    if "gen_ai.choice" in bodies:
        return bedrock_blocks(decoded(bodies["gen_ai.choice"].get("message")))
    return bodies.get("gen_ai.tool.message", {}).get("content")


def _bare(name: str) -> str:
    """The tool's name in a span's name ("execute_tool look", "running tool: look")."""
    for start in ("execute_tool ", "running tool: ", "tool: "):
        name = name.removeprefix(start)
    return name


def _operation(span: Span) -> str:
    """The Vercel AI operation: some set it only in the name, and some put a function id behind it."""
    return span.text("ai.operationId", "operation.name") or span.name


def _has_content(span: Span) -> bool:
    a = span.attributes
    if any(k in a for k in ("llm.request.type", "gen_ai.prompt.0.role", "gen_ai.completion.0.role")):
        return True
    if a.get("gcp.vertex.agent.llm_request") not in (None, "", "{}"):
        return True
    names = {e.name for e in span.events}
    if names & (_MODEL_EVENTS | _MESSAGE_EVENTS):
        return True
    kept = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt", "gen_ai.completion", "events")
    return any(k in a for k in kept) and any(k in a for k in _MODEL_NAMES)


def _looks_like_model(span: Span) -> bool:
    a = span.attributes
    content = any(k.startswith(("gen_ai.input.", "gen_ai.output.", "gen_ai.prompt", "llm.prompt")) for k in a)
    tokens = any("token" in k and k.startswith(("gen_ai.", "llm.")) for k in a)
    return content or tokens or any(k in a for k in ("gen_ai.request.model", "gen_ai.response.model"))


def _with_details(span: Span) -> JsonObject:
    attributes = dict(span.attributes)
    for event in span.events:
        if event.name in _MODEL_EVENTS:
            attributes.update(event.attributes)
            body = decoded(event.attributes.get("body"))
            if isinstance(body, dict):  # log records of 1.37 kept it in their body
                attributes.update(cast(JsonObject, body))
    return attributes


def _tools(attributes: JsonObject, offered: list[Any] | None) -> tuple[tuple[Tool, ...], list[str]]:
    raw = _offered(attributes) or offered or []
    tools: list[Tool] = []
    problems: list[str] = []
    for item in raw:
        try:
            tools += read_tools([item]) if item else ()
        except (ValueError, TypeError, AttributeError, RecursionError):
            problems.append("a tool definition could not be read")
    return tuple(tools), problems


def _offered(a: JsonObject) -> list[Any]:
    for key in ("gen_ai.tool.definitions", "ai.prompt.tools", "mlflow.chat.tools", "gen_ai.request.tools"):
        value = decoded(a.get(key))
        found = list(cast(JsonObject, value).values()) if isinstance(value, dict) else listed(value)
        if found:
            return found
    schemas = [_schema(t) for t in indexed(a, "llm.tools")]
    if schemas:
        return schemas
    request = decoded(a.get("model_request_parameters"))  # Pydantic AI
    if isinstance(request, dict) and isinstance(request.get("function_tools"), list):
        return cast("list[Any]", request["function_tools"])
    return indexed(a, "llm.request.functions")


def _schema(raw: Any) -> Any:
    item = cast(JsonObject, raw) if isinstance(raw, dict) else {}
    inner = item.get("tool")
    return cast(JsonObject, inner if isinstance(inner, dict) else item).get(
        "json_schema", item.get("tool.json_schema")
    )


def _usage(a: JsonObject) -> Usage:
    given = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt",
             "llm.usage.prompt_tokens", "ai.usage.inputTokens", "ai.usage.promptTokens")  # fmt: skip
    said = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion",
            "llm.usage.completion_tokens", "ai.usage.outputTokens", "ai.usage.completionTokens")  # fmt: skip
    prompt, completion = count(a, given), count(a, said)
    if not prompt and not completion:
        for key in ("langfuse.observation.usage_details", "mlflow.chat.tokenUsage"):
            details = decoded(a.get(key))
            if isinstance(details, dict):
                counts = cast(JsonObject, details)
                prompt = count(counts, ("input", "input_tokens", "prompt_tokens"))
                completion = count(counts, ("output", "output_tokens", "completion_tokens"))
    return Usage(prompt, completion)


def count(attributes: JsonObject, keys: tuple[str, ...]) -> int:
    """Return the first of these attributes that is a possible number of tokens; 0 without any."""
    for key in keys:
        found = number(attributes.get(key))
        if found is not None and 0 <= found < 1 << 53:
            return int(found)
    return 0


def _sum(costs: JsonObject) -> float | None:
    known = [c for c in map(number, costs.values()) if c is not None]
    return sum(known) if known else None


def _first_value(attributes: JsonObject, keys: tuple[str, ...]) -> Any:
    return next((attributes[k] for k in keys if attributes.get(k) is not None), None)


def _first(attributes: JsonObject, keys: tuple[str, ...]) -> str | None:
    value = next((attributes[k] for k in keys if attributes.get(k) not in (None, "")), None)
    return None if value is None else str(value).strip('"')
