"""A span as every tracing platform knows it, with plain Python attribute values."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import msgspec

from strop.records import JsonObject
from strop.sources.files.json_values import decode_json

EVALUATION = "gen_ai.evaluation.result"
LATEST = 1 << 63  # ns; later times are damage, and no database holds them
_MAX_TUPLE = 1 << 20  # characters of a Python tuple in a string that are parsed
_MAX_NESTING = 16
# Attribute families that some exporters send as objects inside each other instead of dotted keys.
_NESTED = {
    "gen_ai", "llm", "openinference", "session", "user", "agent", "tool", "ai", "traceloop", "langfuse",
}  # fmt: skip


class SpanEvent(msgspec.Struct, frozen=True):
    """Something that happened at a moment inside a span."""

    name: str
    at: int
    attributes: JsonObject = {}


class LogEvent(msgspec.Struct, frozen=True):
    """An event that came apart from its span, as a log record. Ids are hex strings, `size` is in bytes."""

    trace_id: str
    span_id: str
    event: SpanEvent
    size: int = 0


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One timed operation. Ids are hex strings, times UTC ns; `size` is its payload in bytes."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    name: str = ""
    started_at: int = 0
    ended_at: int = 0
    status: Literal["ok", "error"] = "ok"
    error: str | None = None
    attributes: JsonObject = {}
    resource: JsonObject = {}
    events: tuple[SpanEvent, ...] = ()
    size: int = 0

    def text(self, *keys: str) -> str | None:
        """Return the first of these attributes that is set, as a string."""
        for key in keys:
            value = self.attributes.get(key)
            if value is not None and value != "":
                return value if isinstance(value, str) else str(value)
        return None


def decoded(value: Any) -> Any:
    """Return the JSON value inside a string attribute, or the value itself where it is no JSON.

    Big and decimal numbers stay what they were: only containers are decoded.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return decode_json(value.encode())
        except (msgspec.DecodeError, ValueError, RecursionError):
            return value
    return value


def listed(value: Any) -> list[Any]:
    """Return an array attribute as a list: a list, JSON, or the Python tuple that Azure Monitor stores."""
    value = decoded(value)
    if isinstance(value, list | tuple):
        return list(cast("Sequence[Any]", value))
    if isinstance(value, str) and value[:1] == "(" and value[-1:] == ")" and len(value) <= _MAX_TUPLE:
        try:
            found = ast.literal_eval(value)
            msgspec.json.encode(found, enc_hook=str)
        except (
            ValueError,
            SyntaxError,
            RecursionError,
            MemoryError,
        ):  # half a surrogate pair is a ValueError
            return []
        return list(cast("tuple[Any, ...]", found)) if isinstance(found, tuple) else []
    return []


def dotted(attributes: JsonObject) -> JsonObject:
    """Return attributes with the nested objects of the known families as dotted keys."""
    if not any(isinstance(v, dict) and _is_nested(k, cast(JsonObject, v)) for k, v in attributes.items()):
        return attributes
    out: JsonObject = {}
    for key, value in attributes.items():
        if isinstance(value, dict) and _is_nested(key, cast(JsonObject, value)):
            _flatten(key, cast(JsonObject, value), out, 0)
        else:
            out[key] = value
    return out


def _is_nested(key: str, value: JsonObject) -> bool:
    return key in _NESTED or (key in ("input", "output") and "value" in value)


def _flatten(prefix: str, value: JsonObject, out: JsonObject, depth: int) -> None:
    for key, inner in value.items():
        name = f"{prefix}.{key}"
        if isinstance(inner, dict) and inner and depth < _MAX_NESTING and not str(key).isdigit():
            _flatten(name, cast(JsonObject, inner), out, depth + 1)
        else:
            out.setdefault(name, inner)


def with_events(spans: Sequence[Span], logs: Iterable[LogEvent]) -> list[Span]:
    """Join log events of one trace to their spans, by span id.

    An evaluation whose span is not here goes to the root; anything else becomes a span of its own.
    """
    by_id = {s.span_id: i for i, s in enumerate(spans)}
    out = list(spans)
    root = next((i for i, s in enumerate(spans) if s.parent_id is None), 0)
    joined: dict[int, dict[bytes, SpanEvent]] = {}  # by the event's JSON: some come in both ways
    orphans: dict[str, list[LogEvent]] = {}
    for log in logs:
        at = by_id.get(log.span_id)
        if at is None and out and log.event.name == EVALUATION:
            at = root
        if at is None:
            orphans.setdefault(log.span_id, []).append(log)
        else:
            joined.setdefault(at, {})[msgspec.json.encode(log.event)] = log.event
    for at, events in joined.items():
        known = {msgspec.json.encode(e) for e in out[at].events}
        new = (event for text, event in events.items() if text not in known)
        out[at] = msgspec.structs.replace(out[at], events=(*out[at].events, *new))
    for span_id, events in orphans.items():
        if not span_id.strip("0") or all(e.event.name == EVALUATION for e in events):
            continue
        times = [e.event.at for e in events]
        out.append(
            Span(
                trace_id=events[0].trace_id,
                span_id=span_id,
                parent_id=spans[root].span_id if spans else None,
                name=events[0].event.name,
                started_at=min(times),
                ended_at=max(times),
                events=tuple(e.event for e in events),
                size=sum(e.size for e in events),
            )
        )
    return out
