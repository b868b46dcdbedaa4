"""Traces in files: canonical JSONL, OpenAI chat logs (JSONL), Langfuse exports (JSON).

Files are read line by line, never whole (exports excepted), and every item comes with the byte offset
after it, so that a pull can go on where it stopped and a file that has grown is continued.

A chat log has one JSON object a line:
    {"messages": [...], "tools": [...], "id": "...", "customer": "...", "workflow_id": "...",
     "session_id": "...", "started_at": ..., "ended_at": ..., "model": "...", "scores": {"reward": 1.0},
     "ground_truth": {...}, "metadata": {...}}
Only `messages` is needed. Times are ISO 8601 or seconds since 1970; without them lines are in order.
`metadata` may hold any of the other keys; the rest of it becomes attributes. `ground_truth` becomes a
score of that name: `[labels] score = "ground_truth"` hands it to the grader.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from strop.config import Source
from strop.errors import InputError
from strop.records import Episode, JsonObject, Message, Score, Skipped, Tool, Trace, Usage
from strop.sources import langfuse

Item = Trace | Skipped

_trace = msgspec.json.Decoder(Trace)
_FIELDS = (
    "id", "customer", "workflow_id", "session_id", "started_at", "ended_at", "model", "agent", "scores",
    "ground_truth", "tags", "usage", "timestamp", "created",
)  # fmt: skip


def paths(source: Source, root: Path) -> list[Path]:
    """Return the files of a source, sorted. Raises InputError where there are none."""
    pattern = source.path or ""
    path = root / pattern
    found = [path] if path.is_file() else []
    if pattern and not found:
        base = Path(path.anchor)
        found = sorted(p for p in base.glob(str(path.relative_to(base))) if p.is_file())
    if not found:
        raise InputError(
            f"source {source.name}: there is no file {pattern!r}",
            where=str(root),
            fix="correct sources.path in strop.toml",
        )
    return found


def read(source: Source, root: Path) -> Iterator[Item]:
    """Yield everything in a source's files."""
    for path in paths(source, root):
        for _, item in read_file(source, path):
            yield item


def read_file(source: Source, path: Path, offset: int = 0) -> Iterator[tuple[str, Item]]:
    """Yield (offset after the item, item) from a byte offset on. What can't be read is Skipped."""
    limit = int(source.max_trace_mb * (1 << 20))
    if source.kind == "langfuse-file":
        yield from _export(source, path, limit)
        return
    with path.open("rb") as file:
        file.seek(offset)
        while True:
            start = file.tell()
            line, too_long = _line(file, limit)
            end = file.tell()
            if end == start:
                return
            where = f"{source.name}:{path.name}:{start}"
            if too_long:
                yield str(end), Skipped("pull", where, f"the line is larger than {source.max_trace_mb:g} MB")
            elif line.strip():
                item = _read_line(source, path, start, line, where)
                unfinished = isinstance(item, Skipped) and not line.endswith(b"\n")
                yield str(start if unfinished else end), item


def _line(file: BinaryIO, limit: int) -> tuple[bytes, bool]:
    """Read one line of at most `limit` bytes; a longer one is passed over in pieces."""
    line = file.readline(limit + 1)
    if len(line) <= limit:
        return line, False
    while line and not line.endswith(b"\n"):
        line = file.readline(1 << 20)
    return b"", True


def _read_line(source: Source, path: Path, start: int, line: bytes, where: str) -> Item:
    try:
        if source.kind == "jsonl":
            return msgspec.structs.replace(_trace.decode(line), source=source.name)
        return _chat(source, f"{path.stem}:{start}", start, msgspec.json.decode(line))
    except (msgspec.DecodeError, ValueError, TypeError, AttributeError, RecursionError) as error:
        if not line.endswith(b"\n"):
            return Skipped("pull", where, "the last line is truncated")
        return Skipped("pull", where, f"no {'trace' if source.kind == 'jsonl' else 'chat'}: {_short(error)}")


def _short(error: Exception) -> str:
    """The reason without the data in it: what a message quotes may be somebody's."""
    return f"{type(error).__name__}: {str(error)[:120]}"


def _chat(source: Source, fallback_id: str, position: int, raw: Any) -> Trace:
    if not isinstance(raw, dict) or not isinstance(raw.get("messages"), list):
        raise ValueError("there is no list of messages")
    line = cast(JsonObject, raw)
    metadata: JsonObject = line.get("metadata") or {}
    given = {k: line.get(k, metadata.get(k)) for k in _FIELDS}
    attributes = {k: v for k, v in metadata.items() if k not in _FIELDS and k != source.customer_key}
    customer = given["customer"] or metadata.get(source.customer_key) or line.get(source.customer_key)
    started = given["started_at"] or given["timestamp"] or given["created"]
    start = position if started is None else _time(started)
    usage = given["usage"] or {}
    return Trace(
        source=source.name,
        source_id=str(given["id"] or fallback_id),
        episodes=(
            Episode(
                messages=tuple(Message.from_openai(m) for m in line["messages"]),
                tools=tuple(Tool.from_openai(t) for t in line.get("tools") or []),
            ),
        ),
        customer=_optional(customer),
        workflow_id=_optional(given["workflow_id"]),
        session_id=_optional(given["session_id"]),
        started_at=start,
        ended_at=start if given["ended_at"] is None else _time(given["ended_at"]),
        model=_optional(given["model"]),
        agent=_optional(given["agent"]),
        usage=Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)),
        scores=_scores(given["scores"], given["ground_truth"]),
        tags=tuple(str(t) for t in given["tags"] or ()),
        attributes=attributes,
        identities={k: str(v) for k, v in attributes.items() if k.startswith(("user.", "user_"))},
    )


def _scores(scores: Any, truth: Any) -> tuple[Score, ...]:
    out = [Score(str(name), value, "code") for name, value in (scores or {}).items()]
    if truth is not None:
        out.append(Score("ground_truth", msgspec.json.encode(truth).decode(), "code"))
    return tuple(out)


def _optional(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _time(value: Any) -> int:
    """UTC nanoseconds of an ISO 8601 time or of seconds since 1970."""
    if isinstance(value, int | float):
        return int(value) * 1_000_000_000 if isinstance(value, int) else int(value * 1e9)
    moment = datetime.fromisoformat(str(value))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def _export(source: Source, path: Path, limit: int) -> Iterator[tuple[str, Item]]:
    size = path.stat().st_size
    where = f"{source.name}:{path.name}"
    if size > limit:
        yield str(size), Skipped("pull", where, f"the export is larger than {source.max_trace_mb:g} MB")
        return
    try:
        exports = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, RecursionError) as error:
        yield str(size), Skipped("pull", where, f"no JSON: {_short(error)}")
        return
    listed = cast("list[Any]", exports) if isinstance(exports, list) else [exports]
    for i, export in enumerate(listed):
        item = langfuse.read_export(export, source=source.name, customer_key=source.customer_key, where=where)
        yield str(size if i == len(listed) - 1 else 0), item
