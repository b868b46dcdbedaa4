"""Rows of Application Insights' tables -> spans: the reverse of what Azure Monitor's exporters did to them.

Attributes arrive as text, lists as Python tuples in text, session and user in columns of their own, a span's
events as rows of another table, and since 2026-09-30 the seven content attributes as pointers into the table
AppGenAIContent. What was cut on the way (8192 characters a value, 64 KB a row) is reported as a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec

from strop.records import JsonObject
from strop.sources.platform import ns
from strop.sources.spans.span import Span, SpanEvent

# Content attribute -> column of AppGenAIContent.
_CONTENT = {
    "gen_ai.input.messages": "InputMessages",
    "gen_ai.output.messages": "OutputMessages",
    "gen_ai.system_instructions": "SystemInstructions",
    "gen_ai.tool.definitions": "ToolDefinitions",
    "gen_ai.tool.call.arguments": "ToolCallArguments",
    "gen_ai.tool.call.result": "ToolCallResult",
    "gen_ai.evaluation.explanation": "EvaluationExplanation",
}
_JSON_CONTENT = ("messages", "system_instructions", "definitions")
_POINTER = "_MS.GenAIContentId"
_CUT = 8192
_LOST = 65_500  # ingestion leaves 65,532 characters of a row's properties
_NUMERIC = re.compile(r"gen_ai\.(usage\..+|evaluation\.score\.value)|llm\.(token_count|cost)\..+")
_INTEGER = re.compile(r"-?\d{1,18}")
_ITEM = r"""(?:'[^'\\]*'|"[^"\\]*")"""
_TUPLE = re.compile(rf"\({_ITEM}(?:, {_ITEM})*,?\)")
_OPERATIONS = ("chat", "execute_tool", "invoke_agent", "generate_content", "text_completion")
_TWIN = "tools/call "


class Content:
    """The rows of AppGenAIContent of one trace, found by their own id or by their span's."""

    def __init__(self, rows: Iterable[JsonObject]) -> None:
        self._by_id: dict[str, JsonObject] = {}
        self._by_span: dict[str, list[JsonObject]] = {}
        for row in rows:
            self._by_id[str(row.get("ContentId") or "")] = row
            self._by_span.setdefault(str(row.get("SpanId") or ""), []).append(row)
        self._by_id.pop("", None)

    def restored(self, attributes: JsonObject, span_id: str) -> tuple[JsonObject, list[str]]:
        """Return attributes with their content put in, and problems where there is only a pointer."""
        pointer = str(attributes.get(_POINTER) or "")
        own = [self._by_id[pointer]] if pointer in self._by_id else []
        rows = own + self._by_span.get(span_id, [])
        out = {k: v for k, v in attributes.items() if not k.startswith("_MS.")}
        problems: list[str] = []
        for key, column in _CONTENT.items():
            found = next((r[column] for r in rows if r.get(column)), None)
            if isinstance(found, str) and (key in out or "evaluation" not in key):
                out[key] = found
            elif key in out and _is_pointer(key, out[key], pointer):
                del out[key]
                problems.append(
                    "content lies in AppGenAIContent, where it could not be read "
                    "(role Privileged Monitoring Data Reader?)"
                )
        return out, problems


def _is_pointer(key: str, value: Any, pointer: str) -> bool:
    if not isinstance(value, str):
        return False
    if "AppGenAIContent" in value or (pointer and pointer in value):
        return True
    return bool(pointer) and key.endswith(_JSON_CONTENT) and value.lstrip()[:1] not in ("[", "{")


def ids_of(row: JsonObject) -> tuple[str, str]:
    """Return a span row's trace id and span id. Raises ValueError with the reason."""
    trace_id, span_id = row.get("TraceId"), row.get("SpanId")
    if not isinstance(trace_id, str) or not trace_id:
        raise ValueError("the row has no operation id")
    if not isinstance(span_id, str) or not span_id:
        raise ValueError("the row has no span id")
    return trace_id, span_id


def spans_of(rows: Sequence[JsonObject], content: Sequence[JsonObject]) -> tuple[list[Span], list[str]]:
    """Return the spans of one trace's rows of kind span and event, and the problems in words."""
    stored = Content(content)
    problems: list[str] = []
    events: dict[str, list[SpanEvent]] = {}
    for row in rows:
        if row.get("Kind") == "event":
            event, found = _event(row, stored)
            problems += found
            events.setdefault(str(row.get("ParentId") or ""), []).append(event)
    spans: list[Span] = []
    for row in rows:
        if row.get("Kind") != "span":
            continue
        try:
            span, found = _span(row, stored, events.pop(str(row.get("SpanId")), []))
        except ValueError as error:
            problems.append(str(error))
            continue
        spans.append(span)
        problems += found
    # An event of a span that is not there (sampled away) still says something about the run.
    left = [event for some in events.values() for event in some]
    if left and spans:
        spans[0] = msgspec.structs.replace(spans[0], events=(*spans[0].events, *left))
    return _without_twins(spans), list(dict.fromkeys(problems))


def _span(row: JsonObject, content: Content, events: Sequence[SpanEvent]) -> tuple[Span, list[str]]:
    trace_id, span_id = ids_of(row)
    name = str(row.get("Name") or "")
    start = time_of(row)
    properties, problems = _properties(row)
    attributes, missing = content.restored(properties, span_id)
    if not properties and name.partition(" ")[0] in _OPERATIONS:
        attributes["gen_ai.operation.name"] = name.partition(" ")[0]
    attributes = {k: _plain(k, v) for k, v in attributes.items()}
    for column, key in (("SessionId", "session.id"), ("UserAuthenticatedId", "enduser.id")):
        if row.get(column):
            attributes.setdefault(key, str(row[column]))
    failed = str(row.get("Success")).lower() in ("false", "0")
    parent = str(row.get("ParentId") or "")
    sampled = row.get("ItemCount")
    if isinstance(sampled, int) and sampled > 1:
        missing.append(f"sampled: this is one of {sampled} spans, the others were not kept")
    role = row.get("AppRoleName")
    span = Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent if parent not in ("", trace_id) else None,
        name=name,
        started_at=start,
        ended_at=start + _duration(row),
        status="error" if failed else "ok",
        error=_error(row, attributes) if failed else None,
        attributes=attributes,
        resource={"service.name": role} if role else {},
        events=tuple(sorted(events, key=lambda e: (e.at, e.name))),
    )
    return span, problems + missing + _cut(attributes)


def _event(row: JsonObject, content: Content) -> tuple[SpanEvent, list[str]]:
    properties, problems = _properties(row)
    attributes, missing = content.restored(properties, str(row.get("ParentId") or ""))
    attributes = {k: _plain(k, v) for k, v in attributes.items()}
    try:
        at = time_of(row)
    except ValueError:
        at = 0
    name = event_name(row, attributes)
    return SpanEvent(name, at, attributes), problems + missing + _cut(attributes)


def event_name(row: JsonObject, attributes: JsonObject) -> str:
    """Return what happened: an event's name, also where a log record carries it as an attribute."""
    name = str(row.get("Name") or "")
    return name if name.startswith("gen_ai.") else str(attributes.get("event.name") or name)


def time_of(row: JsonObject) -> int:
    """Return a row's UTC ns. Raises ValueError."""
    try:
        return ns(row.get("TimeGenerated"))
    except (ValueError, OverflowError):
        raise ValueError("a row's time can't be read") from None


def _duration(row: JsonObject) -> int:
    value = row.get("DurationMs")
    ms = value if isinstance(value, int | float) and 0 <= value < 1e12 else 0
    return round(ms * 1e6)


def _error(row: JsonObject, attributes: JsonObject) -> str:
    code = row.get("ResultCode")
    kind = attributes.get("error.type") or (code if code and code != "0" else None)
    return str(kind or "error")


def read_properties(row: JsonObject) -> JsonObject:
    """Return a row's attributes; empty where they can't be read."""
    return _properties(row)[0]


def _properties(row: JsonObject) -> tuple[JsonObject, list[str]]:
    """A row's property bag, a JSON object in text, and whether some of it was lost."""
    raw: Any = row.get("Properties")
    if raw is None or raw == "":
        return {}, []
    lost = ["content was lost: a row's properties were cut at 64 KB"]
    if isinstance(raw, str):
        long = len(raw) >= _LOST
        try:
            raw = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return {}, lost if long else ["a row's properties can't be read"]
        if isinstance(raw, dict) and long:
            return cast(JsonObject, raw), lost
    if not isinstance(raw, dict):
        return {}, ["a row's properties can't be read"]
    return cast(JsonObject, raw), []


def _plain(key: str, value: Any) -> Any:
    """The value that an attribute had before it became text."""
    if not isinstance(value, str) or key in _CONTENT:
        return value
    if _NUMERIC.fullmatch(key):
        try:
            return int(value) if _INTEGER.fullmatch(value) else float(value)
        except ValueError:
            return value
    if value.startswith("(") and _TUPLE.fullmatch(value):
        return [item[1:-1] for item in re.findall(_ITEM, value)]
    return value


def _cut(attributes: JsonObject) -> list[str]:
    cut = [k for k, v in attributes.items() if isinstance(v, str) and len(v) == _CUT]
    return [f"content was cut at {_CUT} characters: {key}" for key in cut]


def _without_twins(spans: Sequence[Span]) -> list[Span]:
    """Leave one span for each tool run: MCP clients write an empty `tools/call` beside `execute_tool`."""
    runs = [s for s in spans if _tool(s) is not None and not s.name.startswith(_TWIN)]
    twins = {s.span_id: s for s in spans if _tool(s) is not None and s.name.startswith(_TWIN)}
    merged: dict[str, JsonObject] = {}
    for twin in list(twins.values()):
        run = next((r for r in runs if _same_run(r, twin)), None)
        if run is None:
            del twins[twin.span_id]
        else:
            merged[run.span_id] = {**twin.attributes, **merged.get(run.span_id, {}), **run.attributes}
    return [_merged(s, twins, merged) for s in spans]


def _merged(span: Span, twins: dict[str, Span], merged: dict[str, JsonObject]) -> Span:
    if span.span_id in twins:
        kept = {k: v for k, v in span.attributes.items() if not k.startswith("gen_ai.")}
        return msgspec.structs.replace(span, attributes=kept)
    return msgspec.structs.replace(span, attributes=merged.get(span.span_id, span.attributes))


def _tool(span: Span) -> str | None:
    if span.attributes.get("gen_ai.operation.name") != "execute_tool":
        return None
    return span.text("gen_ai.tool.name") or span.name.rpartition(" ")[2]


def _same_run(run: Span, twin: Span) -> bool:
    if _tool(run) != _tool(twin):
        return False
    if twin.parent_id == run.span_id or run.parent_id == twin.span_id:
        return True
    together = run.started_at <= twin.ended_at and twin.started_at <= run.ended_at
    return run.parent_id == twin.parent_id and together


def unique(rows: Iterable[JsonObject]) -> Iterator[JsonObject]:
    """Yield rows, each once: workspace and classic names of one table can both be there."""
    seen: set[bytes] = set()
    for row in rows:
        face = msgspec.json.encode(row, order="deterministic")
        if face not in seen:
            seen.add(face)
            yield row
