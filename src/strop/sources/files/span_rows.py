"""Spans as table rows (Parquet): what Phoenix's dataframes and ClickHouse's OTel tables export.

A row is a span. Columns are found under the names of OTLP, of Phoenix (`context.span_id`,
`attributes.llm...`) and of the collector's ClickHouse exporter (`SpanId`, `SpanAttributes`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from strop.records import JsonObject
from strop.sources.platform import ns
from strop.sources.spans.span import Span, SpanEvent, decoded

_TRACE = ("trace_id", "context.trace_id", "traceId", "TraceId")
_SPAN = ("span_id", "context.span_id", "spanId", "SpanId")
_PARENT = ("parent_id", "parent_span_id", "parentSpanId", "ParentSpanId")
_NAME = ("name", "span_name", "SpanName")
_START = ("start_time", "start_time_unix_nano", "startTimeUnixNano", "Timestamp")
_END = ("end_time", "end_time_unix_nano", "endTimeUnixNano")
_STATUS = ("status_code", "StatusCode", "status")
_ATTRIBUTES = ("attributes", "SpanAttributes")
_RESOURCE = ("resource", "resource_attributes", "ResourceAttributes")
_KINDS = {"LLM", "TOOL", "AGENT", "CHAIN", "RETRIEVER", "EMBEDDING", "RERANKER", "GUARDRAIL", "EVALUATOR"}


def read_span(row: JsonObject) -> Span:
    """Read one row. Raises ValueError or TypeError where it is no span."""
    trace_id, span_id = str(_of(row, _TRACE) or ""), str(_of(row, _SPAN) or "")
    if not trace_id.strip("0") or not span_id.strip("0"):
        raise ValueError("the row has no trace id and span id")
    attributes = _attributes(_of(row, _ATTRIBUTES))
    for key, value in row.items():
        if key.startswith("attributes.") and value is not None:
            attributes[key.removeprefix("attributes.")] = value
    kind = row.get("span_kind")
    if isinstance(kind, str) and kind.upper() in _KINDS:
        attributes.setdefault("openinference.span.kind", kind.upper())
    started = _time(_of(row, _START))
    ended = _time(_of(row, _END)) or started + int(row.get("Duration") or 0)  # ns
    failed = str(_of(row, _STATUS) or "").upper() in ("ERROR", "STATUS_CODE_ERROR", "2")
    parent = str(_of(row, _PARENT) or "")
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent if parent.strip("0") else None,
        name=str(_of(row, _NAME) or ""),
        started_at=started,
        ended_at=ended,
        status="error" if failed else "ok",
        error=str(row.get("status_message") or row.get("StatusMessage") or "error") if failed else None,
        attributes=attributes,
        resource=_attributes(_of(row, _RESOURCE)),
        events=tuple(_events(row.get("events")) or _apart(row)),
        size=len(msgspec.json.encode(attributes, enc_hook=str)),
    )


def _of(row: JsonObject, names: tuple[str, ...]) -> Any:
    return next((row[n] for n in names if row.get(n) is not None), None)


def _attributes(raw: Any) -> JsonObject:
    """Read a struct, its JSON, or a list of key and value as Arrow keeps maps; nulls are left out."""
    value = decoded(raw)
    if isinstance(value, dict):
        return {str(k): v for k, v in cast(JsonObject, value).items() if v is not None}
    if isinstance(value, list):
        pairs = [p for p in cast("list[Any]", value) if isinstance(p, dict) and "key" in p]
        return {str(p["key"]): p.get("value") for p in pairs if p.get("value") is not None}
    return {}


def _events(raw: Any) -> list[SpanEvent]:
    value = decoded(raw)
    if not isinstance(value, list):
        return []
    found = [cast(JsonObject, e) for e in cast("list[Any]", value) if isinstance(e, dict)]
    return [
        SpanEvent(str(e.get("name") or ""), _time(e.get("timestamp")), _attributes(e.get("attributes")))
        for e in found
    ]


def _apart(row: JsonObject) -> list[SpanEvent]:
    """Events as ClickHouse keeps them: a column for the names, one for the times, one for the attributes."""
    columns = [row.get(f"Events.{name}") for name in ("Name", "Timestamp", "Attributes")]
    if not all(isinstance(column, list) for column in columns):
        return []
    together = zip(*cast("list[list[Any]]", columns), strict=True)
    return [SpanEvent(str(name or ""), _time(at), _attributes(given)) for name, at, given in together]


def _time(value: Any) -> int:
    """UTC ns of a datetime, an ISO 8601 text, or a number since 1970 in s, ms, us or ns by its size."""
    if value is None:
        return 0
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
    if isinstance(value, int | float):
        for limit, unit in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1000)):
            if abs(value) < limit:
                return int(value * unit)
        return int(value)
    text = str(value)
    return _time(int(text)) if text.isdigit() else ns(text)
