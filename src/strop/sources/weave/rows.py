"""Weave's rows that were OTel spans -> spans: calls imported over OTLP, and the agents' store.

A call imported over OTLP carries its span (`attributes.otel_span`, on newer servers `otel_dump`), a row of
the agents' store its `raw_span_dump`: taken apart at the dots of the attribute names (a list becomes an
object with the keys "0", "1") and with JSON text decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, cast

from strop.records import JsonObject
from strop.sources.platform import ns
from strop.sources.spans.conventions import number
from strop.sources.spans.messages import as_text
from strop.sources.spans.span import Span, SpanEvent, decoded

# Attributes that are text, and JSON inside it: their structure is not part of the attribute's name.
_TEXT_LEAVES = {
    "content", "arguments", "parameters", "json_schema", "value", "result", "metadata", "messages", "args",
    "definitions", "system_instructions", "invocation_parameters", "toolCalls",
}  # fmt: skip
_TEXT_KEYS = {"traceloop.entity.input", "traceloop.entity.output", "ai.prompt", "ai.prompt.tools"}


def ids_of(row: JsonObject) -> tuple[str, str]:
    """Return a row's trace id and span id. Raises ValueError with the reason."""
    trace_id, span_id = row.get("trace_id"), row.get("span_id", row.get("id"))
    if not isinstance(trace_id, str) or not trace_id:
        raise ValueError("the row has no trace id")
    if not isinstance(span_id, str) or not span_id:
        raise ValueError("the row has no id")
    return trace_id, span_id


def inner(value: Any, *path: str) -> Any:
    """Return what lies at a path of keys, or None."""
    for key in path:
        value = cast(JsonObject, value).get(key) if isinstance(value, dict) else None
    return value


def span_dump(row: JsonObject) -> JsonObject | None:
    """Return the OTel span inside a row, if it has one."""
    for found in (row.get("otel_dump"), inner(row, "attributes", "otel_span"), row.get("raw_span_dump")):
        value = decoded(found)
        if isinstance(value, dict) and value:
            return cast(JsonObject, value)
    return None


def times(start: Any, end: Any) -> tuple[int, int]:
    """Return UTC ns; a time without a zone is UTC, a call that has not ended lasts no time.

    Raises ValueError for what is no time.
    """
    try:
        began = ns(start)
        return began, ns(end) if end else began
    except (ValueError, OverflowError):
        raise ValueError("a call's time can't be read") from None


def imported(row: JsonObject, dump: JsonObject) -> Span:
    """Read a row by the OTel span inside it. Raises ValueError with the reason."""
    trace_id, span_id = ids_of(row)
    start, end = times(
        dump.get("start_time") or row.get("started_at"), dump.get("end_time") or row.get("ended_at")
    )
    attributes = dict(flat(dump.get("attributes")))
    cost = cost_of(row)
    if cost is not None:
        attributes.setdefault("gen_ai.usage.cost", cost)
    failed = inner(dump, "status", "code") in ("ERROR", 2)
    message = inner(dump, "status", "message") or row.get("exception")
    events = dump.get("events")
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=text_of(dump.get("parent_id") or row.get("parent_id") or row.get("parent_span_id")),
        name=str(dump.get("name") or row.get("op_name") or ""),
        started_at=start,
        ended_at=end,
        status="error" if failed else "ok",
        error=(text_of(message) or "error") if failed else None,
        attributes=attributes,
        resource=dict(flat(inner(dump, "resource", "attributes"))),
        events=tuple(_events(cast("list[Any]", events) if isinstance(events, list) else [], start)),
    )


def _events(events: Iterable[Any], otherwise: int) -> Iterator[SpanEvent]:
    for event in events:
        if isinstance(event, dict):
            item = cast(JsonObject, event)
            at = item.get("timestamp")  # ns, or ISO 8601
            if not isinstance(at, int):
                try:
                    at = ns(at)
                except (ValueError, OverflowError):
                    at = otherwise
            yield SpanEvent(str(item.get("name") or ""), at, dict(flat(item.get("attributes"))))


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Put nested attributes together again: names with dots, and what was JSON text as text."""
    if not isinstance(value, dict):
        return
    for name, part in cast(JsonObject, value).items():
        key = prefix + name
        if name in _TEXT_LEAVES or key in _TEXT_KEYS:
            yield key, json.dumps(part, ensure_ascii=False) if isinstance(part, dict | list) else part
        elif isinstance(part, dict) and part:
            yield from flat(cast(JsonObject, part), key + ".")
        else:
            yield key, cast(Any, part)


def agent_span(row: JsonObject) -> Span:
    """Read a row of the agents' store without its dump: its columns, whose messages are only text.

    Raises ValueError with the reason.
    """
    trace_id, span_id = ids_of(row)
    start, end = times(row.get("started_at"), row.get("ended_at"))
    attributes: JsonObject = {
        "gen_ai.operation.name": row.get("operation_name"),
        "gen_ai.agent.name": row.get("agent_name"),
        "gen_ai.conversation.id": row.get("conversation_id"),
        "gen_ai.request.model": row.get("request_model"),
        "gen_ai.response.model": row.get("response_model"),
        "gen_ai.input.messages": row.get("input_messages"),
        "gen_ai.output.messages": row.get("output_messages"),
        "gen_ai.system_instructions": _instructions(row.get("system_instructions")),
        "gen_ai.tool.definitions": row.get("tool_definitions"),
        "gen_ai.tool.name": row.get("tool_name"),
        "gen_ai.tool.call.id": row.get("tool_call_id"),
        "gen_ai.tool.call.arguments": row.get("tool_call_arguments"),
        "gen_ai.tool.call.result": row.get("tool_call_result"),
        "gen_ai.usage.input_tokens": row.get("input_tokens"),
        "gen_ai.usage.output_tokens": row.get("output_tokens"),
        "gen_ai.usage.cost": row.get("total_cost_usd"),
    }
    attributes = {k: v for k, v in attributes.items() if v not in (None, "", [], 0)}
    for kind in ("string", "int", "float", "bool"):
        custom = row.get(f"custom_attrs_{kind}")
        if isinstance(custom, dict):
            attributes.update(cast(JsonObject, custom))
    failed = row.get("status_code") == "ERROR"
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=text_of(row.get("parent_span_id")),
        name=str(row.get("span_name") or ""),
        started_at=start,
        ended_at=max(start, end),
        status="error" if failed else "ok",
        error=(text_of(row.get("status_message")) or "error") if failed else None,
        attributes=attributes,
    )


def _instructions(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [{"type": "text", "content": as_text(v)} for v in cast("list[Any]", value)]


def cost_of(row: JsonObject) -> float | None:
    """Return the dollars at which the server priced a call (`include_costs`), or None."""
    costs = inner(row, "summary", "weave", "costs")
    if not isinstance(costs, dict):
        return None
    amounts = [
        number(amount)
        for cost in cast(JsonObject, costs).values()
        if isinstance(cost, dict)
        for name, amount in cast(JsonObject, cost).items()
        if name.endswith("_total_cost")
    ]
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def text_of(value: Any) -> str | None:
    """Return a value as text; None for nothing."""
    return str(value) if value is not None and value != "" else None
