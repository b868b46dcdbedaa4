"""Rows of a tenant's table -> traces: one row a trace, or one row a message. Pure.

The fields that a column can be mapped to are `FIELDS` and `scores.<name>`; a column that is named like a
field needs no mapping, and every other column becomes an attribute. A conversation is `messages` (JSON in
any dialect of chat messages), or `prompt` and `answer` with `tool_calls` between them, or rows with `role`
and `content`, tool calls as `tool_name` and `tool_arguments` with their `tool_result`.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from strop.config import Source
from strop.errors import ConfigError
from strop.records import JsonObject, Score, Skipped, Trace
from strop.sources.platform import SECOND, LateScore, Made, ns
from strop.sources.spans.bounded import trace_of
from strop.sources.spans.messages import as_text
from strop.sources.spans.span import Span, decoded

FIELDS = (
    "id", "messages", "prompt", "input", "answer", "output", "tools", "tool_calls", "customer", "workflow_id",
    "session_id", "started_at", "ended_at", "model", "agent", "prompt_tokens", "completion_tokens",
    "ground_truth", "tags", "error", "role", "content", "tool_name", "tool_arguments", "tool_result",
    "tool_call_id",
)  # fmt: skip
TOO_LARGE = "strop.too_large"  # a row that stands for rows which are not read
_CONVERSATION = ("messages", "prompt", "input", "answer", "output", "tool_calls", "role", "tool_name")
_SCORES = "scores."


class Mapped(msgspec.Struct, frozen=True):
    """Which column holds which field, and which columns hold scores; the rest are attributes."""

    fields: dict[str, str]
    scores: dict[str, str]

    @property
    def by_message(self) -> bool:
        """Say whether a row is a message: the rows of one id are a trace."""
        return "role" in self.fields or ("tool_name" in self.fields and "messages" not in self.fields)

    @property
    def outcomes(self) -> bool:
        """Say whether the rows hold no conversation, only what became of one."""
        return not any(f in self.fields for f in _CONVERSATION)

    def get(self, row: Mapping[str, Any], field: str) -> Any:
        """Return a field's value in a row; None where it has no column or is empty."""
        column = self.fields.get(field)
        value = row.get(column) if column is not None else None
        return None if value == "" else value

    def text(self, row: Mapping[str, Any], field: str) -> str | None:
        """Return a field's value as text."""
        value = self.get(row, field)
        return None if value is None else as_text(value)

    def rest(self, row: Mapping[str, Any]) -> JsonObject:
        """Return the columns that are neither fields nor scores."""
        known = {*self.fields.values(), *self.scores.values()}
        return {k: v for k, v in row.items() if k not in known and v is not None}


def mapped(source: Source, columns: Sequence[str]) -> Mapped:
    """Check a source's mapping against the columns that its query has. Raises ConfigError."""
    fields = {c: c for c in columns if c in FIELDS}
    scores = {c.removeprefix(_SCORES): c for c in columns if c.startswith(_SCORES)}
    if source.customer_key in columns:
        fields.setdefault("customer", source.customer_key)
    for field, column in source.columns.items():
        if field not in FIELDS and not (field.startswith(_SCORES) and field != _SCORES):
            near = difflib.get_close_matches(field, FIELDS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"source {source.name}: columns maps {field!r}, which is no field of a trace",
                where="strop.toml, [[sources]] columns",
                fix=f"{hint}fields: {', '.join(FIELDS)}, scores.<name>",
            )
        if column not in columns:
            raise ConfigError(
                f"source {source.name}: the query has no column {column!r} (columns.{field})",
                where="strop.toml, [[sources]] columns",
                fix=f"its columns: {', '.join(columns)}",
            )
        if field.startswith(_SCORES):
            scores[field.removeprefix(_SCORES)] = column
        else:
            fields[field] = column
    found = Mapped(fields, scores)
    needed = ("id", "workflow_id", "session_id") if found.outcomes else ("id",)
    if not any(f in fields for f in needed):
        raise _missing(source, " or ".join(needed), columns)
    if not found.outcomes and "started_at" not in fields:
        raise _missing(source, "started_at", columns)
    return found


def assemble_rows(rows: Iterable[Mapping[str, Any]], columns: Mapped, source: Source) -> Made:
    """Make traces of rows: in any order, a row that comes twice counts once."""
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    traces: list[Trace] = []
    skipped: list[Skipped] = []
    for row in rows:
        key = columns.text(row, "id")
        if key is None:
            missing = "neither id, workflow_id nor session_id" if columns.outcomes else "no id"
            skipped.append(Skipped("pull", f"{source.name}:row", f"a row has {missing}"))
            continue
        groups.setdefault(key, {}).setdefault(json.dumps(row, sort_keys=True, default=str), row)
    for key, group in groups.items():
        item = f"{source.name}:{key}"
        if any(TOO_LARGE in row for row in group.values()):
            skipped.append(Skipped("pull", item, f"the trace is larger than {source.max_trace_mb:g} MB"))
            continue
        try:
            made, refused = _trace(key, _in_time(list(group.values()), columns), columns, source)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            # The value may be somebody's; a reason of our own is told, any other only by its kind.
            own = isinstance(error, _Unreadable)
            why = str(error) if own else f"the row can't be understood: {type(error).__name__}"
            made, refused = None, [Skipped("assemble", item, why)]
        traces += [made] if made is not None else []
        skipped += refused
    return Made(traces, skipped)


def outcome_scores(row: Mapping[str, Any], columns: Mapped) -> list[LateScore]:
    """Return what a row says of a trace or a workflow: `ground_truth`, and the mapped scores.

    Without a column for it, the ground truth is the JSON of the columns that are no field.
    """
    trace_id, workflow_id = columns.text(row, "id"), columns.text(row, "workflow_id")
    session_id = columns.text(row, "session_id")
    if trace_id is None and workflow_id is None and session_id is None:
        return []
    scores = _scores(row, columns)
    rest = columns.rest(row)
    if "ground_truth" not in columns.fields and rest and not columns.scores:
        scores.append(Score("ground_truth", json.dumps(rest, ensure_ascii=False, sort_keys=True), "code"))
    if trace_id is not None:
        return [LateScore(s, trace_id=trace_id) for s in scores]
    if workflow_id is not None:
        return [LateScore(s, workflow_id=workflow_id) for s in scores]
    return [LateScore(s, session_id=session_id) for s in scores]


def time_ns(value: Any) -> int:
    """Return the UTC ns of a time: ISO 8601, or seconds (or milliseconds and finer) since 1970.

    Raises ValueError.
    """
    if isinstance(value, bool) or value is None:
        raise _Unreadable("a time is missing or no time")
    number: float | int | None = value if isinstance(value, int | float) else None
    if number is None:
        try:
            return ns(value)
        except ValueError:
            number = _numeric(str(value))
    if not math.isfinite(number):
        raise _Unreadable("a time is not finite")
    unit = SECOND  # past the year 5138 in seconds, it is a finer unit
    while abs(number) * unit >= 1e20 and unit > 1:
        unit //= 1000
    at = number * unit if isinstance(number, int) else round(number * unit)
    if abs(at) >= 1 << 63:
        raise _Unreadable("a time is out of range")
    return at


class _Unreadable(ValueError):
    """A reason that quotes nothing of the row."""


def _numeric(text: str) -> float | int:
    try:
        return int(text) if text.strip().lstrip("-").isdigit() else float(text)
    except ValueError as error:
        raise _Unreadable("a time is neither ISO 8601 nor seconds since 1970") from error


def _missing(source: Source, field: str, columns: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"source {source.name}: no column is mapped to {field}",
        where="strop.toml, [[sources]] columns",
        fix=f"map one of the query's columns: {', '.join(columns)}",
    )


def _in_time(rows: list[Mapping[str, Any]], columns: Mapped) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda r: time_ns(columns.get(r, "started_at")))


def _trace(
    key: str, rows: Sequence[Mapping[str, Any]], columns: Mapped, source: Source
) -> tuple[Trace | None, list[Skipped]]:
    problems = (
        [] if columns.by_message or len(rows) == 1 else ["several rows have this id: the first is read"]
    )
    rows = rows if columns.by_message else rows[:1]
    starts = [time_ns(columns.get(r, "started_at")) for r in rows]
    ends = [time_ns(e) for r in rows if (e := columns.get(r, "ended_at")) is not None]
    given = _by_message(rows, columns) if columns.by_message else _by_row(rows[0], columns)
    said = [given.pop()] if given and given[-1].get("role") in ("assistant", "ai", "model") else []
    error = _first(rows, columns, "error")
    span = Span(
        trace_id=f"row {key}",  # an id of zeros is one, and no span's
        span_id="row",
        name="row",
        started_at=starts[0],
        ended_at=max([*starts, *ends]),
        status="error" if error else "ok",
        error=error,
        attributes=_attributes(rows, columns, given, said),
        size=sum(len(json.dumps(r, default=str)) for r in rows),
    )
    made, skipped = trace_of([span], source, problems=problems)
    if made is None:
        return None, [Skipped(s.stage, f"{source.name}:{key}", s.reason) for s in skipped]
    rest: JsonObject = {}
    scores: dict[str, Score] = {}
    for row in rows:
        rest = columns.rest(row) | rest
        scores |= {s.name: s for s in _scores(row, columns)}
    people = {k: as_text(v) for k, v in rest.items() if k.startswith(("user.", "user_"))}
    return msgspec.structs.replace(
        made,
        source_id=key,
        customer=_first(rows, columns, "customer"),
        agent=_first(rows, columns, "agent"),
        tags=_tags(rows, columns),
        scores=tuple(scores.values()),
        attributes=rest,
        identities=people,
    ), skipped


def _attributes(
    rows: Sequence[Mapping[str, Any]], columns: Mapped, given: list[JsonObject], said: list[JsonObject]
) -> JsonObject:
    tools = decoded(next((t for r in rows if (t := columns.get(r, "tools")) is not None), None))
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": given,
        "gen_ai.output.messages": said,
        "gen_ai.tool.definitions": tools,
        "gen_ai.request.model": _first(rows, columns, "model"),
        "gen_ai.conversation.id": _first(rows, columns, "session_id"),
        "workflow.id": _first(rows, columns, "workflow_id"),
        "gen_ai.usage.input_tokens": _sum(rows, columns, "prompt_tokens"),
        "gen_ai.usage.output_tokens": _sum(rows, columns, "completion_tokens"),
    }


def _by_row(row: Mapping[str, Any], columns: Mapped) -> list[JsonObject]:
    whole = decoded(columns.get(row, "messages"))
    if whole is not None:
        if not isinstance(whole, list):
            raise _Unreadable("messages is no JSON list")
        return [{"role": "user", "content": m} if isinstance(m, str) else m for m in cast("list[Any]", whole)]
    asked = next((v for f in ("prompt", "input") if (v := columns.get(row, f)) is not None), None)
    messages = _messages_in(asked) or ([] if asked is None else [_said("user", asked)])
    messages += _calls(decoded(columns.get(row, "tool_calls")))
    answer = next((v for f in ("answer", "output") if (v := columns.get(row, f)) is not None), None)
    if answer is not None:
        messages += _messages_in(answer) or [_said("assistant", answer)]
    return messages


def _messages_in(value: Any) -> list[JsonObject]:
    """Return the chat messages that a prompt's or an answer's JSON is; nothing where it is a text."""
    found = decoded(value)
    if isinstance(found, list) and found:
        items = cast("list[Any]", found)
        if all(isinstance(m, dict) and ("role" in m or "parts" in m) for m in items):
            return items
    return []


def _calls(raw: Any) -> list[JsonObject]:
    """Return a row's tool calls as one assistant turn, with the results that stand beside them."""
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise _Unreadable("tool_calls is no JSON list")
    calls: list[JsonObject] = []
    results: list[JsonObject] = []
    for i, item in enumerate(cast("list[Any]", raw)):
        if not isinstance(item, dict):
            raise _Unreadable("a tool call is no JSON object")
        call = cast(JsonObject, item)
        call_id = as_text(call.get("id") or call.get("tool_call_id") or f"call_{i}")
        calls.append({**call, "id": call_id})
        result = next((call[k] for k in ("result", "output") if call.get(k) is not None), None)
        if result is not None:
            results.append({"role": "tool", "tool_call_id": call_id, "content": as_text(result)})
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results] if calls else []


def _by_message(rows: Sequence[Mapping[str, Any]], columns: Mapped) -> list[JsonObject]:
    messages: list[JsonObject] = []
    open_calls: list[str] = []
    for i, row in enumerate(rows):
        role = columns.text(row, "role") or ("assistant" if columns.get(row, "tool_name") else "user")
        name, result = columns.text(row, "tool_name"), columns.get(row, "tool_result")
        call_id = columns.text(row, "tool_call_id")
        if role in ("tool", "function"):
            text = result if result is not None else columns.get(row, "content")
            belongs = call_id or (open_calls[0] if open_calls else None)
            open_calls = [c for c in open_calls if c != belongs]
            messages.append({"role": "tool", "tool_call_id": belongs, "content": _text(text)})
            continue
        message: JsonObject = {"role": role, "content": _text(columns.get(row, "content"))}
        calls = decoded(columns.get(row, "tool_calls"))
        if name is not None:
            call_id = call_id or f"call_{i}"
            arguments = columns.get(row, "tool_arguments")
            body = {"name": name, "arguments": "{}" if arguments is None else as_text(arguments)}
            message["tool_calls"] = [{"id": call_id, "type": "function", "function": body}]
            open_calls.append(call_id)
        elif isinstance(calls, list):
            message["tool_calls"] = calls
        messages.append(message)
        if name is not None and result is not None:
            open_calls.remove(cast(str, call_id))
            messages.append({"role": "tool", "tool_call_id": call_id, "content": as_text(result)})
    return messages


def _said(role: str, value: Any) -> JsonObject:
    return {"role": role, "content": as_text(value)}


def _text(value: Any) -> str | None:
    return None if value is None else as_text(value)


def _first(rows: Sequence[Mapping[str, Any]], columns: Mapped, field: str) -> str | None:
    return next((t for r in rows if (t := columns.text(r, field)) is not None), None)


def _sum(rows: Sequence[Mapping[str, Any]], columns: Mapped, field: str) -> int:
    total = 0
    for row in rows:
        value = columns.get(row, field)
        number = _numeric(value) if isinstance(value, str) else value
        if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number):
            total += max(0, int(number))
    return total


def _tags(rows: Sequence[Mapping[str, Any]], columns: Mapped) -> tuple[str, ...]:
    raw = decoded(next((t for r in rows if (t := columns.get(r, "tags")) is not None), None))
    if raw is None:
        return ()
    return tuple(as_text(t) for t in cast("list[Any]", raw)) if isinstance(raw, list) else (as_text(raw),)


def _scores(row: Mapping[str, Any], columns: Mapped) -> list[Score]:
    scores: list[Score] = []
    for name, column in columns.scores.items():
        value = row.get(column)
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(value, bool | str) or (isinstance(value, float) and math.isfinite(value)):
            scores.append(Score(name, value, "code"))
    truth = columns.get(row, "ground_truth")
    if truth is not None:
        scores.append(Score("ground_truth", as_text(truth), "code"))
    return scores
