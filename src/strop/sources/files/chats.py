"""Chat logs: one conversation an object, OpenAI's messages with whatever was known about the run.

    {"messages": [...], "tools": [...], "id": "...", "customer": "...", "workflow_id": "...",
     "session_id": "...", "started_at": ..., "ended_at": ..., "model": "...", "scores": {"reward": 1.0},
     "ground_truth": {...}, "metadata": {...}}

Only `messages` is needed. Times are ISO 8601, or seconds, milliseconds, microseconds or nanoseconds since
1970, told apart by their size; without them lines are in order.
`metadata` may hold any of the other keys; the rest of it becomes attributes. `ground_truth` becomes a
score of that name: `[labels] score = "ground_truth"` hands it to the grader.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from strop.config import Source
from strop.records import Episode, JsonObject, Message, Score, Trace, Usage
from strop.sources.spans.conventions import count
from strop.sources.spans.messages import read_tools
from strop.sources.spans.span import LATEST, decoded

_FIELDS = (
    "id", "customer", "workflow_id", "session_id", "started_at", "ended_at", "model", "agent", "scores",
    "ground_truth", "tags", "usage", "timestamp", "created",
)  # fmt: skip
_UNITS = ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1000), (math.inf, 1))
_NESTED = ("messages", "tools", "metadata", "scores", "ground_truth", "tags", "usage")


def read_chat(raw: Any, *, source: Source, fallback_id: str, position: int) -> Trace:
    """Read one chat. Raises ValueError, TypeError or AttributeError for what is none.

    fallback_id: for chats without an id. position: where it stands in its file, for those without a time.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("messages"), list):
        raise ValueError("there is no list of messages")
    line = cast(JsonObject, raw)
    metadata: JsonObject = line.get("metadata") or {}
    given = {k: line.get(k, metadata.get(k)) for k in _FIELDS}
    attributes = {k: v for k, v in metadata.items() if k not in _FIELDS and k != source.customer_key}
    customer = given["customer"] or metadata.get(source.customer_key) or line.get(source.customer_key)
    started = given["started_at"] or given["timestamp"] or given["created"]
    start = position if started is None else _time(started)
    usage: JsonObject = given["usage"] or {}
    tags = given["tags"] or ()
    return Trace(
        source=source.name,
        source_id=str(given["id"] or fallback_id),
        episodes=(
            Episode(
                messages=tuple(_message(m) for m in line["messages"]),
                tools=read_tools(line.get("tools")),
            ),
        ),
        customer=_optional(customer),
        workflow_id=_optional(given["workflow_id"]),
        session_id=_optional(given["session_id"]),
        started_at=start,
        ended_at=start if given["ended_at"] is None else max(start, _time(given["ended_at"])),
        model=_optional(given["model"]),
        agent=_optional(given["agent"]),
        usage=Usage(count(usage, ("prompt_tokens",)), count(usage, ("completion_tokens",))),
        scores=_scores(given["scores"], given["ground_truth"]),
        tags=(tags,) if isinstance(tags, str) else tuple(str(t) for t in tags),
        attributes=attributes,
        identities={k: str(v) for k, v in attributes.items() if k.startswith(("user.", "user_"))},
    )


def from_row(row: JsonObject) -> JsonObject:
    """Return a Parquet row as a chat: absent values left out, JSON text in columns decoded."""
    return {k: decoded(v) if k in _NESTED else v for k, v in row.items() if v is not None}


def _message(raw: Any) -> Message:
    message = Message.from_openai(raw)
    for value in (message.tool_call_id, message.name):
        if value is not None and not isinstance(cast(Any, value), str):
            raise ValueError("a message's tool_call_id or name is no text")
    return message


def _scores(scores: Any, truth: Any) -> tuple[Score, ...]:
    out: list[Score] = []
    for name, value in (scores or {}).items():
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(value, int | float | str) or (is_number and not math.isfinite(float(value))):
            raise ValueError("a score is no finite number, text or truth value")
        out.append(Score(str(name), value, "code"))
    if truth is not None:
        out.append(Score("ground_truth", msgspec.json.encode(truth).decode(), "code"))
    return tuple(out)


def _optional(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _time(value: Any) -> int:
    """UTC nanoseconds of an ISO 8601 time or of a number since 1970, whose size tells its unit."""
    if isinstance(value, int | float):
        unit = next(unit for limit, unit in _UNITS if abs(value) < limit)
        at = int(value * unit)
    else:
        moment = datetime.fromisoformat(str(value))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        at = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
    if not 0 <= at < LATEST:
        raise ValueError("a time is before 1970 or after 2262")
    return at
