"""One trace's spans as MLflow keeps them -> spans with plain attributes.

Read are both shapes: the stored one (attributes are an object of JSON texts) and protobuf's JSON (a list
of key and value). Ids are base64 or hex.
"""

from __future__ import annotations

import base64
import binascii
import json
import string
from typing import Any, cast

import msgspec

from strop.records import JsonObject
from strop.sources.spans.messages import as_text
from strop.sources.spans.span import Span, SpanEvent, decoded

_READ = {
    "mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.chat.tools",
    "mlflow.chat.tokenUsage", "mlflow.llm.model",
}  # fmt: skip
_TRACE_KEYS = {"mlflow.trace.session": "session.id", "mlflow.trace.user": "user.id"}


def trace_id_of(row: JsonObject) -> str | None:
    """Return the OTel trace id, hex, of "tr-<hex>" or "trace:/<place>/<hex>"; other ids as they are."""
    own = _object(row.get("trace_info")).get("trace_id")
    if not isinstance(own, str) or not own:
        return None
    return own.removeprefix("tr-") if own.startswith("tr-") else own.rpartition("/")[2] or own


def read_spans(row: JsonObject, trace_id: str) -> tuple[list[Span], list[tuple[str, str]]]:
    """Return the spans of {"trace_info", "spans"}, and (place, reason) of those that can't be read.

    The trace's tags and metadata, and whose session it was, stand at the root.
    """
    spans: dict[str, Span] = {}
    unreadable: list[tuple[str, str]] = []
    raw = row.get("spans")
    for position, item in enumerate(cast("list[Any]", raw) if isinstance(raw, list) else []):
        try:
            span = _span(_object(item), trace_id)
        except ValueError as error:
            unreadable.append((str(position), str(error)))
            continue
        spans[span.span_id] = span
    if not spans:
        return [], unreadable
    first = min(spans.values(), key=lambda s: (s.parent_id is not None, s.started_at, s.span_id))
    beside = _beside(_object(row.get("trace_info")))
    out: list[Span] = []
    for span in spans.values():
        attributes = _settled(span)
        if span is first:
            attributes = {**beside, **attributes}
        out.append(msgspec.structs.replace(span, attributes=attributes))
    return out, unreadable


def _span(raw: JsonObject, trace_id: str) -> Span:
    """Read one span. Raises ValueError with a reason that quotes nothing."""
    status = _object(raw.get("status"))
    failed = status.get("code") in ("STATUS_CODE_ERROR", "ERROR")
    started = _nanoseconds(raw, "start_time_unix_nano")
    parent = raw.get("parent_span_id")
    return Span(
        trace_id=trace_id,
        span_id=_hex(raw.get("span_id")),
        parent_id=_hex(parent) if parent else None,
        name=str(raw.get("name") or ""),
        started_at=started,
        ended_at=_nanoseconds(raw, "end_time_unix_nano") if raw.get("end_time_unix_nano") else started,
        status="error" if failed else "ok",
        error=(str(status.get("message") or "") or "error") if failed else None,
        attributes=_attributes(raw.get("attributes")),
        events=_events(raw.get("events")),
        size=len(msgspec.json.encode(raw)),
    )


def _hex(value: Any) -> str:
    """Return a span id as hex, of hex or base64 (8 bytes, as protobuf's JSON writes them)."""
    if not isinstance(value, str) or not value:
        raise ValueError("a span without an id")
    if len(value) == 16 and all(c in string.hexdigits for c in value):
        return value.lower()
    try:
        return base64.b64decode(value, validate=True).hex()
    except (binascii.Error, ValueError):
        raise ValueError("a span's id is neither hex nor base64") from None


def _nanoseconds(row: JsonObject, key: str) -> int:
    value = row.get(key)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"{key} is no time")
    return value


def _events(raw: Any) -> tuple[SpanEvent, ...]:
    if raw is not None and not isinstance(raw, list):
        raise ValueError("events are no list")
    events: list[SpanEvent] = []
    for item in cast("list[Any]", raw or []):
        event = _object(item)
        given = event.get("attributes") or {}
        attributes = _listed(given) if isinstance(given, list) else _object(given)
        at = _nanoseconds(event, "time_unix_nano")
        events.append(SpanEvent(str(event.get("name") or ""), at, attributes))
    return tuple(events)


def _attributes(raw: Any) -> JsonObject:
    if raw is None:
        return {}
    if isinstance(raw, dict):
        stored = cast(JsonObject, raw)
        return {k: _stored(v) if isinstance(v, str) else _kept(v) for k, v in stored.items()}
    if isinstance(raw, list):
        return {key: _kept(value) for key, value in _listed(cast("list[Any]", raw)).items()}
    raise ValueError("attributes are neither an object nor a list")


def _stored(text: str) -> Any:
    """Return the value of a JSON text; a container stays the text that it is."""
    if text.lstrip()[:1] in ("{", "["):
        return text
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


def _kept(value: Any) -> Any:
    """Turn a container back into text."""
    return as_text(value) if isinstance(value, dict | list) else value


def _listed(pairs: list[Any]) -> JsonObject:
    out: JsonObject = {}
    for pair in pairs:
        item = _object(pair)
        if isinstance(item.get("key"), str):
            out[item["key"]] = _any_value(item.get("value"))
    return out


def _any_value(raw: Any) -> Any:
    """Read OTLP's AnyValue in protobuf's JSON with its own field names."""
    for kind, inner in _object(raw).items():
        if kind == "array_value":
            values = _object(inner).get("values")
            return [_any_value(v) for v in cast("list[Any]", values)] if isinstance(values, list) else []
        if kind == "kvlist_value":
            values = _object(inner).get("values")
            return _listed(cast("list[Any]", values)) if isinstance(values, list) else {}
        if kind == "int_value" and isinstance(inner, str) and inner.removeprefix("-").isdecimal():
            return int(inner)
        return inner
    return None


def _beside(info: JsonObject) -> JsonObject:
    """What the trace itself says of its run: session, user, and the tags and metadata that people set."""
    metadata = _object(info.get("trace_metadata"))
    found = {key: metadata[name] for name, key in _TRACE_KEYS.items() if metadata.get(name)}
    for key, value in {**metadata, **_object(info.get("tags"))}.items():
        if not key.startswith("mlflow.") and isinstance(value, str):
            found.setdefault(key, value)
    return found


def _settled(span: Span) -> JsonObject:
    """Keep of MLflow's own attributes those that the conventions know; the rest is its bookkeeping."""
    given = span.attributes
    kept = {k: v for k, v in given.items() if not k.startswith("mlflow.") or k in _READ}
    kind = given.get("mlflow.spanType")
    if kind == "UNKNOWN":  # MLflow could not tell: another attribute may
        del kept["mlflow.spanType"]
    elif kind == "AGENT":
        kept.setdefault("gen_ai.agent.name", given.get("agent.name") or span.name)
    cost = _object(decoded(given.get("mlflow.llm.cost"))).get("total_cost")
    if cost is not None:
        kept.setdefault("gen_ai.usage.cost", cost)
    return kept


def _object(value: Any) -> JsonObject:
    return cast(JsonObject, value) if isinstance(value, dict) else {}
