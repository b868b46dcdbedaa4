"""OTLP/HTTP bodies (protobuf or JSON, gzip or plain) -> spans -> traces."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from strop.errors import InputError
from strop.records import JsonObject
from strop.sources.assemble import assemble
from strop.sources.spans import Span, SpanEvent

__all__ = ["BodyTooLarge", "Span", "assemble", "decode"]


class BodyTooLarge(InputError):
    """An export is larger than the receiver takes (HTTP 413)."""


def decode(
    body: bytes,
    content_type: str = "application/x-protobuf",
    content_encoding: str = "",
    max_bytes: int = 64 << 20,
) -> list[Span]:
    """Decode one export. Raises BodyTooLarge past `max_bytes` (unpacked), InputError on damage."""
    raw = _unpack(body, content_encoding, max_bytes)
    if "json" in content_type:
        return list(_json_spans(raw))
    if "protobuf" in content_type or not content_type:
        return list(_protobuf_spans(raw))
    raise InputError(f"content type {content_type!r} is not OTLP", fix="send protobuf or JSON")


def _unpack(body: bytes, encoding: str, limit: int) -> bytes:
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "deflate"):
        raise InputError(f"content encoding {encoding!r} is not supported", fix="send gzip or plain")
    if encoding in ("gzip", "deflate"):
        unpacker = zlib.decompressobj(wbits=47)
        try:
            body = unpacker.decompress(body, limit + 1)
        except zlib.error as error:
            raise InputError(f"the export does not unpack: {error}") from error
        if not unpacker.eof and len(body) <= limit:
            raise InputError("the packed export is truncated")
    if len(body) > limit:
        raise BodyTooLarge(f"the export is larger than {limit >> 20} MB", fix="send smaller batches")
    return body


def _protobuf_spans(raw: bytes) -> Iterator[Span]:
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        request = ExportTraceServiceRequest.FromString(raw)
    except DecodeError as error:
        raise InputError(f"the export is no OTLP protobuf: {error}") from error
    for resource_spans in request.resource_spans:
        resource = _plain_attributes(resource_spans.resource.attributes)
        for scope in resource_spans.scope_spans:
            for span in scope.spans:
                failed = span.status.code == 2
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex() or None,
                    name=span.name,
                    started_at=span.start_time_unix_nano,
                    ended_at=span.end_time_unix_nano,
                    status="error" if failed else "ok",
                    error=(span.status.message or "error") if failed else None,
                    attributes=_plain_attributes(span.attributes),
                    resource=resource,
                    events=tuple(
                        SpanEvent(e.name, e.time_unix_nano, _plain_attributes(e.attributes))
                        for e in span.events
                    ),
                    size=span.ByteSize(),
                )


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


def _json_spans(raw: bytes) -> Iterator[Span]:
    try:
        request = msgspec.json.decode(raw)
        for resource_spans in request.get("resourceSpans") or []:
            resource = _json_attributes((resource_spans.get("resource") or {}).get("attributes"))
            for scope in resource_spans.get("scopeSpans") or []:
                for span in scope.get("spans") or []:
                    yield _json_span(span, resource)
    except (msgspec.DecodeError, AttributeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise InputError(f"the export is no OTLP JSON: {type(error).__name__}: {error}") from error


def _json_span(span: JsonObject, resource: JsonObject) -> Span:
    status = span.get("status") or {}
    failed = status.get("code") in (2, "STATUS_CODE_ERROR")
    return Span(
        trace_id=str(span["traceId"]).lower(),
        span_id=str(span["spanId"]).lower(),
        parent_id=str(span.get("parentSpanId") or "").lower() or None,
        name=str(span.get("name") or ""),
        started_at=int(span.get("startTimeUnixNano") or 0),
        ended_at=int(span.get("endTimeUnixNano") or 0),
        status="error" if failed else "ok",
        error=(status.get("message") or "error") if failed else None,
        attributes=_json_attributes(span.get("attributes")),
        resource=resource,
        events=tuple(
            SpanEvent(
                str(e.get("name")), int(e.get("timeUnixNano") or 0), _json_attributes(e.get("attributes"))
            )
            for e in span.get("events") or []
        ),
        size=len(msgspec.json.encode(span)),
    )


def _json_attributes(pairs: Any) -> JsonObject:
    return {pair["key"]: _json_value(pair.get("value")) for pair in cast("list[JsonObject]", pairs or [])}


def _json_value(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    for kind, inner in cast(JsonObject, value).items():
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
