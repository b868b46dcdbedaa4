"""Weave's native calls -> spans: what a call is must be read off its op and the shape of its values.

An op that is a model call has a request in its inputs and an answer in its output, in the dialect of the
provider. An op named like a tool that a model called is that tool's run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import unquote

from strop.records import JsonObject
from strop.sources.spans.messages import read_messages
from strop.sources.spans.span import Span
from strop.sources.weave.rows import cost_of, flat, ids_of, inner, text_of, times

_OP_NAME = re.compile(r"/op/([^/:]+)")
# Only what a server takes for a reference: asking for other text (a person may type anything) is an error.
_OBJECT_REF = re.compile(
    r"(?:weave:///[^/\s]+/|weave-trace-internal:///)[^/\s]+/object/[^/:\s]+:[^/:\s]+"
    r"(?:/(?:attr|key|id)/[^/\s]+|/index/\d+)*"
)
_DEEPEST = 100  # containers inside each other that are searched for references
_MODEL_OPS = re.compile(
    r"(?i)^(openai|anthropic|litellm|mistral|google|vertexai|cohere|groq|bedrock|huggingface|together|instructor)"
    r".*(chat|completion|messages|responses|generate_content|converse)"
)


def native_spans(rows: Sequence[JsonObject]) -> tuple[list[Span], list[str]]:
    """Return the spans of one trace's native calls, and what is wrong with them."""
    models = _exchanges(rows)
    called = {name for exchange in models.values() for name in exchange.called()}
    spans: list[Span] = []
    problems: list[str] = []
    for row in rows:
        try:
            spans.append(_native(row, models.get(str(row["id"])), called))
        except ValueError as error:
            problems.append(str(error))
    if any(row.get("ended_at") is None for row in rows):
        problems.append("a call has not ended")
    if any(True for row in rows for _ in object_refs([row.get("inputs"), row.get("output")])):
        problems.append("a value is a reference that Weave did not resolve")
    return spans, problems


class _Exchange:
    """What a native model call was asked and answered, in any provider's dialect."""

    def __init__(self, given: Any, said: Any, system: Any, tools: Any) -> None:
        self.given, self.said, self.system, self.tools = given, said, system, tools

    def called(self) -> set[str]:
        """Return the names of the tools that the answer calls."""
        try:
            return {c.name for m in read_messages(self.said, role="assistant") for c in m.tool_calls}
        except (ValueError, TypeError, AttributeError):
            return set()


def _exchanges(rows: Sequence[JsonObject]) -> dict[str, _Exchange]:
    """Find the model calls: the innermost ones, as a wrapper has the shape of what it wraps."""
    found = {str(r["id"]): e for r in rows if (e := _exchange(r)) is not None}
    parents = {str(r["id"]): r.get("parent_id") for r in rows}
    wrappers: set[str] = set()
    for call_id in found:
        parent = parents.get(call_id)
        while isinstance(parent, str) and parent not in wrappers and parent in parents:
            wrappers.add(parent)
            parent = parents[parent]
    return {k: e for k, e in found.items() if k not in wrappers}


def _exchange(row: JsonObject) -> _Exchange | None:
    inputs, output = row.get("inputs"), row.get("output")
    asked = cast(JsonObject, inputs) if isinstance(inputs, dict) else {}
    answer = cast(JsonObject, output) if isinstance(output, dict) else {}
    messages, choices = asked.get("messages"), answer.get("choices")
    named = _MODEL_OPS.match(op_name(row)) is not None
    tools = asked.get("tools")
    if isinstance(messages, list) and isinstance(choices, list):
        said = [c for c in cast("list[Any]", choices)[:1] if isinstance(c, dict) and c.get("message")]
        return _Exchange(messages, said, asked.get("system"), tools)
    if isinstance(messages, list) and answer.get("role") == "assistant" and "content" in answer:
        return _Exchange(messages, [answer], asked.get("system"), tools)
    items, candidates = answer.get("output"), answer.get("candidates")
    if "input" in asked and isinstance(items, list):
        return _Exchange(_items(asked["input"], "user"), _items(items, "assistant"),
                         asked.get("instructions"), tools)  # fmt: skip
    if "contents" in asked and isinstance(candidates, list):
        said = [c.get("content") for c in cast("list[Any]", candidates)[:1] if isinstance(c, dict)]
        return _Exchange(_items(asked["contents"], "user"), said, None, tools)
    return _Exchange(messages, [], asked.get("system"), tools) if named else None


def _items(items: Any, role: str) -> Any:
    """Items of OpenAI's Responses API as chat messages; calls of one turn are one message."""
    if isinstance(items, str):
        return [{"role": role, "content": items}]
    if not isinstance(items, list):
        return items
    out: list[Any] = []
    for item in cast("list[Any]", items):
        kind = inner(item, "type")
        if kind == "function_call":
            call = {"id": item.get("call_id"), "name": item.get("name"), "arguments": item.get("arguments")}
            if out and isinstance(out[-1], dict) and out[-1].get("role") == "assistant":
                out[-1] = {**out[-1], "tool_calls": [*(out[-1].get("tool_calls") or []), call]}
            else:
                out.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            out.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})
        elif kind != "reasoning":
            out.append({"role": role, **item, "type": "message"} if isinstance(item, dict) else item)
    return out


def _native(row: JsonObject, exchange: _Exchange | None, called: set[str]) -> Span:
    trace_id, span_id = ids_of(row)
    start, end = times(row.get("started_at"), row.get("ended_at"))
    name = op_name(row)
    given = row.get("attributes")
    own = (
        {k: v for k, v in cast(JsonObject, given).items() if k != "weave"} if isinstance(given, dict) else {}
    )
    attributes = dict(flat(own))
    if row.get("thread_id") and not {"session.id", "gen_ai.conversation.id"} & attributes.keys():
        attributes["session.id"] = str(row["thread_id"])
    kind = inner(row, "attributes", "weave", "kind")
    if exchange is not None:
        attributes.update(_model_attributes(row, exchange))
    elif kind == "tool" or name.rsplit(".", 1)[-1] in called:
        attributes.update(_tool_attributes(row, name.rsplit(".", 1)[-1]))
    elif kind == "agent":
        attributes.update({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name})
    error = text_of(row.get("exception"))
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=text_of(row.get("parent_id")),
        name=name,
        started_at=start,
        ended_at=end,
        status="error" if error else "ok",
        error=error,
        attributes=attributes,
    )


def _model_attributes(row: JsonObject, exchange: _Exchange) -> JsonObject:
    usage = inner(row, "output", "usage")
    if not isinstance(usage, dict):
        by_model = inner(row, "summary", "usage")
        usage = next(iter(cast(JsonObject, by_model).values()), None) if isinstance(by_model, dict) else None
    counts = cast(JsonObject, usage) if isinstance(usage, dict) else {}
    found: JsonObject = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": inner(row, "inputs", "model"),
        "gen_ai.response.model": inner(row, "output", "model"),
        "gen_ai.input.messages": exchange.given,
        "gen_ai.output.messages": exchange.said,
        "gen_ai.system_instructions": _system(exchange.system),
        "gen_ai.tool.definitions": exchange.tools,
        "gen_ai.usage.input_tokens": counts.get("prompt_tokens") or counts.get("input_tokens"),
        "gen_ai.usage.output_tokens": counts.get("completion_tokens") or counts.get("output_tokens"),
        "gen_ai.usage.cost": cost_of(row),
    }
    return {k: v for k, v in found.items() if v is not None}


def _system(value: Any) -> Any:
    return [{"type": "text", "content": value}] if isinstance(value, str) and value else value


def _tool_attributes(row: JsonObject, name: str) -> JsonObject:
    inputs = row.get("inputs")
    arguments = cast(JsonObject, inputs) if isinstance(inputs, dict) else {}
    found: JsonObject = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": arguments.get("tool_call_id"),
        "gen_ai.tool.call.arguments": {
            k: v for k, v in arguments.items() if k not in ("self", "tool_call_id")
        },
        "gen_ai.tool.call.result": row.get("output"),
    }
    return {k: v for k, v in found.items() if v is not None}


def op_name(row: JsonObject) -> str:
    """Return the name of a call's op, which is a name or a reference to the op's code."""
    name = str(row.get("op_name") or "")
    found = _OP_NAME.search(name)
    return unquote(found[1]) if found else name


def object_refs(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the references to stored objects inside a value."""
    if isinstance(value, str):
        if _OBJECT_REF.fullmatch(value):
            yield value
    elif isinstance(value, dict | list) and depth < _DEEPEST:
        for part in cast(JsonObject, value).values() if isinstance(value, dict) else cast("list[Any]", value):
            yield from object_refs(part, depth + 1)


def replaced(value: Any, objects: dict[str, Any], depth: int = 0) -> Any:
    """Return a value with the references that are known put in."""
    if isinstance(value, str):
        return objects.get(value, value)
    if isinstance(value, dict) and depth < _DEEPEST:
        return {k: replaced(v, objects, depth + 1) for k, v in cast(JsonObject, value).items()}
    if isinstance(value, list) and depth < _DEEPEST:
        return [replaced(v, objects, depth + 1) for v in cast("list[Any]", value)]
    return value
