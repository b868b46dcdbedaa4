"""OTLP/HTTP bodies (protobuf or JSON, gzip or plain) -> spans and log events -> traces.

https://opentelemetry.io/docs/specs/otlp/: in OTLP/JSON ids are hex and 64-bit integers are strings. Ids in
base64, as protobuf's own JSON mapping writes them, are read too. A span that can't be read is refused by
itself; an export of which nothing can be read is an error.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar, cast

import msgspec

from strop.errors import InputError
from strop.records import JsonObject
from strop.sources.files.json_values import decode_json
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import LogEvent, Span, SpanEvent

__all__ = [
    "BodyTooLarge",
    "Export",
    "Span",
    "assemble",
    "decode",
    "from_json",
    "from_protobuf",
    "read_export",
]

T = TypeVar("T")

_REQUESTS = ("resourceSpans", "resourceLogs", "resourceMetrics", "resourceProfiles")
_DAMAGE = (AttributeError, TypeError, KeyError, ValueError, RecursionError, OverflowError)


class BodyTooLarge(InputError):
    """An export is larger than the receiver takes (HTTP 413)."""


class Export(msgspec.Struct):
    """What one export held. refused: why each span or record that can't be used was left out."""

    spans: list[Span] = msgspec.field(default_factory=lambda: list[Span]())
    logs: list[LogEvent] = msgspec.field(default_factory=lambda: list[LogEvent]())
    refused: list[str] = msgspec.field(default_factory=lambda: list[str]())


def decode(
    body: bytes,
    content_type: str = "application/x-protobuf",
    content_encoding: str = "",
    max_bytes: int = 64 << 20,
) -> list[Span]:
    """Decode one export of traces: `read_export`, for whoever needs the spans only."""
    return read_export(body, content_type, content_encoding, max_bytes).spans


def read_export(
    body: bytes,
    content_type: str = "application/x-protobuf",
    content_encoding: str = "",
    max_bytes: int = 64 << 20,
    *,
    logs: bool = False,
) -> Export:
    """Decode one export, of logs if `logs`, else of traces.

    Raises BodyTooLarge past `max_bytes` (unpacked), InputError on damage.
    """
    raw = _unpack(body, content_encoding, max_bytes)
    if "json" in content_type:
        return from_json(raw)
    if "protobuf" in content_type or not content_type:
        return from_protobuf(raw, logs=logs)
    raise InputError(f"content type {content_type!r} is not OTLP", fix="send protobuf or JSON")


def from_json(raw: bytes) -> Export:
    """Decode one OTLP/JSON request, of traces or of logs. Raises InputError where nothing can be read."""
    out = Export()
    try:
        request = decode_json(raw)
        if request and not any(name in request for name in _REQUESTS):
            raise InputError(f"the export is no OTLP request: it has none of {', '.join(_REQUESTS[:2])}")
        for resource_spans in request.get("resourceSpans") or []:
            resource = _json_attributes((resource_spans.get("resource") or {}).get("attributes"))
            for scope in resource_spans.get("scopeSpans") or []:
                for span in scope.get("spans") or []:
                    _add(out.spans, partial(_json_span, span, resource), out)
        for resource_logs in request.get("resourceLogs") or []:
            for scope in resource_logs.get("scopeLogs") or []:
                for record in scope.get("logRecords") or []:
                    _add(out.logs, partial(_json_log, record), out)
    except (msgspec.DecodeError, *_DAMAGE) as error:
        raise InputError(f"the export is no OTLP JSON: {type(error).__name__}") from error
    return _unless_empty(out)


def from_protobuf(raw: bytes, *, logs: bool = False) -> Export:
    """Decode one OTLP protobuf request. Raises InputError where nothing can be read."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    out = Export()
    try:
        if logs:
            for resource_logs in ExportLogsServiceRequest.FromString(raw).resource_logs:
                for scope in resource_logs.scope_logs:
                    for record in scope.log_records:
                        _add(out.logs, partial(_protobuf_log, record), out)
        else:
            for resource_spans in ExportTraceServiceRequest.FromString(raw).resource_spans:
                resource = _plain_attributes(resource_spans.resource.attributes)
                for scope in resource_spans.scope_spans:
                    for span in scope.spans:
                        _add(out.spans, partial(_protobuf_span, span, resource), out)
    except DecodeError as error:
        raise InputError("the export is no OTLP protobuf") from error
    return _unless_empty(out)


def _add(into: list[T], make: Callable[[], T | None], out: Export) -> None:
    try:
        made = make()
    except _DAMAGE as error:
        out.refused.append(str(error) if isinstance(error, _Refused) else f"damaged: {type(error).__name__}")
        return
    if made is not None:
        into.append(made)


class _Refused(ValueError):
    """A span or record without what it needs; the message is for the sender."""


def _unless_empty(out: Export) -> Export:
    if out.refused and not out.spans and not out.logs:
        raise InputError(f"nothing in the export can be used: {out.refused[0]}")
    return out


def _unpack(body: bytes, encoding: str, limit: int) -> bytes:
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "deflate"):
        raise InputError(f"content encoding {encoding!r} is not supported", fix="send gzip or plain")
    if encoding in ("gzip", "deflate"):
        try:
            body = _inflate(body, encoding, limit)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"the export does not unpack: {error}") from error
    if len(body) > limit:
        raise BodyTooLarge(f"the export is larger than {limit >> 20} MB", fix="send smaller batches")
    return body


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Unpack at most one byte more than `limit`."""
    if encoding == "gzip":
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
            return packed.read(limit + 1)
    unpacker = zlib.decompressobj()
    out = unpacker.decompress(body, limit + 1)
    if not unpacker.eof and len(out) <= limit:
        raise EOFError("it is truncated")
    return out


def _ids(trace_id: str, span_id: str) -> tuple[str, str]:
    if not trace_id.strip("0") or not span_id.strip("0"):
        raise _Refused("a span without a valid trace id and span id")
    return trace_id, span_id


def _protobuf_span(span: Any, resource: JsonObject) -> Span:
    trace_id, span_id = _ids(span.trace_id.hex(), span.span_id.hex())
    failed = span.status.code == 2
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_parent(span.parent_span_id.hex()),
        name=span.name,
        started_at=span.start_time_unix_nano,
        ended_at=span.end_time_unix_nano,
        status="error" if failed else "ok",
        error=(span.status.message or "error") if failed else None,
        attributes=_plain_attributes(span.attributes),
        resource=resource,
        events=tuple(
            SpanEvent(e.name, e.time_unix_nano, _plain_attributes(e.attributes)) for e in span.events
        ),
        size=span.ByteSize(),
    )


def _protobuf_log(record: Any) -> LogEvent | None:
    return _log(
        _plain_attributes(record.attributes),
        _plain(record.body),
        name=getattr(record, "event_name", ""),
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        at=record.time_unix_nano or record.observed_time_unix_nano,
        size=record.ByteSize(),
    )


def _log(
    attributes: JsonObject, body: Any, *, name: str, trace_id: str, span_id: str, at: int, size: int
) -> LogEvent | None:
    """Make an event of a log record; None for the records that are about something else."""
    name = name or str(attributes.get("event.name") or "")
    if not name and isinstance(body, str):  # Azure Monitor's exporter
        name = body
    if not name.startswith("gen_ai."):
        return None
    if not trace_id.strip("0"):
        raise _Refused("a log record without a trace id")
    if isinstance(body, dict) or (isinstance(body, str) and body != name):
        attributes = {**attributes, "body": body}
    return LogEvent(trace_id, span_id, SpanEvent(name, at, attributes), size)


def _parent(span_id: str) -> str | None:
    return span_id if span_id.strip("0") else None


def _plain_attributes(pairs: Any) -> JsonObject:
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_plain(v) for v in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return value.bytes_value.decode("utf-8", "replace")
    return getattr(value, kind)


def _json_span(span: JsonObject, resource: JsonObject) -> Span:
    trace_id, span_id = _ids(_json_id(span.get("traceId"), 16), _json_id(span.get("spanId"), 8))
    status = span.get("status") or {}
    failed = status.get("code") in (2, "2", "STATUS_CODE_ERROR")
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_parent(_json_id(span.get("parentSpanId"), 8)),
        name=str(span.get("name") or ""),
        started_at=int(span.get("startTimeUnixNano") or 0),
        ended_at=int(span.get("endTimeUnixNano") or 0),
        status="error" if failed else "ok",
        error=str(status.get("message") or "error") if failed else None,
        attributes=_json_attributes(span.get("attributes")),
        resource=resource,
        events=tuple(_json_events(span.get("events") or [])),
        size=len(msgspec.json.encode(span)),
    )


def _json_events(events: Any) -> Iterator[SpanEvent]:
    for e in events:
        at = int(e.get("timeUnixNano") or 0)
        yield SpanEvent(str(e.get("name") or ""), at, _json_attributes(e.get("attributes")))


def _json_log(record: JsonObject) -> LogEvent | None:
    return _log(
        _json_attributes(record.get("attributes")),
        _json_value(record.get("body")),
        name=str(record.get("eventName") or ""),
        trace_id=_json_id(record.get("traceId"), 16),
        span_id=_json_id(record.get("spanId"), 8),
        at=int(record.get("timeUnixNano") or record.get("observedTimeUnixNano") or 0),
        size=len(msgspec.json.encode(record)),
    )


def _json_id(value: Any, size: int) -> str:
    """Return an id of `size` bytes as hex; base64 is told from hex by its length."""
    text = str(value or "")
    if len(text) == (size + 2) // 3 * 4:
        try:
            return base64.b64decode(text, validate=True).hex()
        except binascii.Error:
            return text.lower()
    return text.lower()


def _json_attributes(pairs: Any) -> JsonObject:
    return {str(p["key"]): _json_value(p.get("value")) for p in cast("list[JsonObject]", pairs or [])}


def _json_value(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    for kind, inner in cast(JsonObject, value).items():
        if inner is None:
            continue
        if kind == "intValue":
            return int(inner)
        if kind == "doubleValue":
            return float(inner)
        if kind == "arrayValue":
            return [_json_value(v) for v in inner.get("values") or []]
        if kind == "kvlistValue":
            return _json_attributes(inner.get("values"))
        return inner
    return None
