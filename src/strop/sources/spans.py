"""A span as every tracing platform knows it, with plain Python attribute values."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from strop.records import JsonObject


class SpanEvent(msgspec.Struct, frozen=True):
    """Something that happened at a moment inside a span."""

    name: str
    at: int
    attributes: JsonObject = {}


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
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value
