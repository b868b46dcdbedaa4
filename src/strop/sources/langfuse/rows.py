"""The rows of one Langfuse trace: fields by one set of names, metadata looked up, duplicates joined.

A row of the v1 API, of the v2 API (v4 servers) and of export files differ in names (`model`,
`providedModelName`, `provided_model_name`) and in metadata (nested, or flat with dotted keys).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

from strop.records import JsonObject, canonical_json
from strop.sources.langfuse.parts import first, opened
from strop.sources.platform import ns
from strop.sources.spans.conventions import number
from strop.sources.spans.messages import as_text

# The server cuts metadata values to so many characters where it isn't asked to expand them.
CUT = 200
WORKFLOW_KEYS = ("workflow.id", "workflow_id", "temporal.workflow.id", "temporalWorkflowID")
_TRACE_FIELDS = ("userId", "sessionId", "release", "version", "environment", "projectId")
_SNAKE = {
    "trace_id": "traceId", "parent_observation_id": "parentObservationId", "start_time": "startTime",
    "end_time": "endTime", "status_message": "statusMessage", "provided_model_name": "model",
    "providedModelName": "model", "usage_details": "usageDetails", "cost_details": "costDetails",
    "total_cost": "totalCost", "created_at": "createdAt", "updated_at": "updatedAt", "user_id": "userId",
    "session_id": "sessionId", "trace_name": "traceName", "project_id": "projectId",
    "tool_calls": "toolCalls", "tool_call_names": "toolCallNames", "tool_definitions": "toolDefinitions",
    "is_root_observation": "isRootObservation", "model_parameters": "modelParameters",
}  # fmt: skip


def named(row: JsonObject) -> JsonObject:
    """Return a row under the API's names; of two spellings of a field the one that is set wins."""
    out: JsonObject = {}
    for key, value in row.items():
        name = _SNAKE.get(key, key)
        if out.get(name) in (None, ""):
            out[name] = value
    return out


def text(value: Any) -> str | None:
    """Return an id or name as a string; None for an empty one and for what is neither text nor a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None


def unique(rows: Iterable[JsonObject]) -> list[JsonObject]:
    """Keep one row for each id: v4 servers keep a span that was sent twice twice. The newest wins."""
    found: dict[str, JsonObject] = {}
    for i, row in enumerate(rows):
        row = named(row)
        key = text(row.get("id")) or f"row {i}"
        other = found.get(key)
        if other is None or _age(row) > _age(other):
            kind = row.get("type")
            found[key] = {**row, "id": key, "type": kind.upper() if isinstance(kind, str) else None}
    return list(found.values())


def _age(row: JsonObject) -> tuple[str, str, bytes]:
    return str(row.get("updatedAt") or ""), str(row.get("endTime") or ""), canonical_json(row)


def times(row: JsonObject, default: int) -> tuple[int, int, bool]:
    """Return a row's start and end in UTC ns, and whether both could be read."""
    start = default
    try:
        start = ns(first(row, "startTime", "timestamp"), default)
        return start, ns(row.get("endTime") or None, start), True
    except (ValueError, OverflowError):
        return start, start, False


def cost(rows: Iterable[JsonObject]) -> float | None:
    """Sum the cost of a trace's rows in USD: a root's own cost is null, not the sum of the others."""
    known = [c for c in map(_row_cost, rows) if c is not None]
    return math.fsum(known) if known else None


def _row_cost(row: JsonObject) -> float | None:
    details = opened(row.get("costDetails"))
    listed = cast(JsonObject, details) if isinstance(details, dict) else {}
    for value in (row.get("totalCost"), listed.get("total"), row.get("calculatedTotalCost")):
        if (known := _number(value)) is not None:
            return known
    parts = [n for n in map(_number, listed.values()) if n is not None]
    return math.fsum(parts) if parts else None


def _number(value: Any) -> float | None:
    known = number(value)
    return known if known is not None and known >= 0 else None


def tokens(row: JsonObject) -> tuple[int, int]:
    """Return a generation's input and output tokens; 0 where they are not known."""
    usage = opened(row.get("usageDetails")) or row.get("usage")
    counted = cast(JsonObject, usage) if isinstance(usage, dict) else {}
    given = first(counted, "input", "prompt_tokens", "input_tokens", "promptTokens")
    said = first(counted, "output", "completion_tokens", "output_tokens", "completionTokens")
    pair = [_number(given if given is not None else first(row, "inputUsage", "promptTokens")),
            _number(said if said is not None else first(row, "outputUsage", "completionTokens"))]  # fmt: skip
    return int(pair[0] or 0), int(pair[1] or 0)


class Metadata:
    """A row's metadata, whatever its shape: nested objects, JSON in strings, or flat dotted keys."""

    def __init__(self, raw: Any) -> None:
        value = opened(raw)
        self._own = cast(JsonObject, value) if isinstance(value, dict) else {}

    def get(self, key: str) -> Any:
        """Return a value by its key, an OTel attribute's name or a dotted path; None where there is none."""
        own = self._own
        for place in (key, f"attributes.{key}", f"resourceAttributes.{key}"):
            if own.get(place) is not None:
                return own[place]
        for group in ("attributes", "resourceAttributes"):
            inner = opened(own.get(group))
            if isinstance(inner, dict) and cast(JsonObject, inner).get(key) is not None:
                return cast(JsonObject, inner)[key]
        head, dot, rest = key.partition(".")
        inner = opened(own.get(head)) if dot else None
        return Metadata(cast(JsonObject, inner)).get(rest) if isinstance(inner, dict) else None

    def attributes(self) -> JsonObject:
        """Return the span attributes that an OTel exporter's metadata holds."""
        inner = opened(self._own.get("attributes"))
        nested = dict(cast(JsonObject, inner)) if isinstance(inner, dict) else {}
        flat = {k.removeprefix("attributes."): v for k, v in self._own.items() if k.startswith("attributes.")}
        return {**nested, **flat}


class Head:
    """What belongs to the trace as a whole: whose run it was, which customer, which workflow."""

    def __init__(self, trace: JsonObject, rows: Sequence[JsonObject]) -> None:
        """Take the trace's own fields first, then its rows', parentless rows before the others."""
        roots = sorted(
            rows, key=lambda r: (bool(text(r.get("parentObservationId"))), str(r.get("startTime")))
        )
        self._bodies = [named(trace), *roots]
        self._metadata = [Metadata(b.get("metadata")) for b in self._bodies]
        self.problems: list[str] = []

    def field(self, name: str) -> str | None:
        """Return the first value of a field."""
        return next((t for b in self._bodies if (t := text(b.get(name))) is not None), None)

    def tags(self) -> list[str]:
        """Return the tags of the first body that has some."""
        for body in self._bodies:
            tags = opened(body.get("tags"))
            if isinstance(tags, list) and tags:
                return [as_text(t) for t in cast("list[Any]", tags) if t is not None]
        return []

    def meta(self, key: str) -> str | None:
        """Return a metadata value as text, and note where the server may have cut it."""
        for metadata in self._metadata:
            value = metadata.get(key)
            if isinstance(value, float) and math.isfinite(value):
                value = str(value)
            found = text(opened(value))
            if found is not None:
                if len(found) == CUT:
                    self.problems.append(
                        f"metadata {key} has exactly {CUT} characters: the server may have cut it"
                    )
                return found
        return None

    def customer(self, key: str) -> str | None:
        """Find the customer: in metadata, as a field of the trace, or in a tag ("customer:acme")."""
        found = self.meta(key) or self.meta(key.removeprefix("metadata."))
        if found is None and key.replace("_", "").lower() in {f.lower() for f in _TRACE_FIELDS}:
            found = next(
                (self.field(f) for f in _TRACE_FIELDS if f.lower() == key.replace("_", "").lower()), None
            )
        if found is None:
            for tag in self.tags():
                if tag.startswith((f"{key}:", f"{key}=")) and len(tag) > len(key) + 1:
                    return tag[len(key) + 1 :].strip()
        return found

    def attributes(self, customer_key: str) -> JsonObject:
        """Return the trace's fields as attributes of its root span."""
        out: JsonObject = {
            "user.id": self.field("userId") or self.meta("user.id"),
            "session.id": self.field("sessionId")
            or self.meta("session.id")
            or self.meta("gen_ai.conversation.id"),
            "workflow.id": next((v for k in WORKFLOW_KEYS if (v := self.meta(k)) is not None), None),
            "tag.tags": self.tags() or None,
            "langfuse.environment": self.field("environment"),
            "langfuse.release": self.field("release"),
            "langfuse.version": self.field("version"),
            "langfuse.trace.name": self.field("traceName") or text(self._bodies[0].get("name")),
        }
        out[customer_key] = self.customer(customer_key) or out.get(customer_key)
        return {k: v for k, v in out.items() if v is not None}
