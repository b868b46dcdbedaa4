"""Files of Langfuse's scheduled blob export: JSONL, CSV and Parquet, plain or gzipped, and JSON arrays.

Tables are told by their folder (`observations_v2/`, `observations/`, `traces/`, `scores/`), else by their
columns. A trace's rows may lie anywhere, in one file or several: a first pass counts the rows of each
trace, a second builds a trace when its last row has come. So what is held is the payload of the traces that
are open at once, and for every trace of the export its id, its scores and (of `traces/`) its own fields.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec

from strop.config import Source
from strop.records import JsonObject, Skipped, Trace
from strop.sources.files import containers
from strop.sources.langfuse.rows import named, text
from strop.sources.langfuse.traces import build

_TABLES = {
    "observations_v2": "observations",
    "observations": "observations",
    "traces": "traces",
    "scores": "scores",
}
_IDS = ("trace_id", "traceId")

Row = tuple[int, JsonObject | str, int]
"""Where the row stands in its file, the row or the reason why it is none, its size in bytes."""


class _Export:
    """What is known of a whole export before its observations are read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.heads: dict[str, JsonObject] = {}
        self.scores: dict[str, list[JsonObject]] = {}
        self.session_scores: dict[str, list[JsonObject]] = {}


def read_blob(paths: Iterable[Path], source: Source) -> Iterator[Trace | Skipped]:
    """Yield the traces of an export's files. What can't be read is Skipped with its reason."""
    limit = int(source.max_trace_mb * (1 << 20))
    export = _Export()
    observed: list[Path] = []
    for path in sorted(paths):
        table = _table(path, limit)
        if table is None:
            yield Skipped("pull", f"{source.name}:{path.name}", "no file of a Langfuse export")
        elif table == "observations":
            observed.append(path)
            export.counts.update(_trace_ids(path, limit))
        else:
            yield from _index(path, table, limit, export, source)
    yield from _traces(observed, limit, export, source)
    for trace_id in export.heads:
        yield Skipped("pull", f"{source.name}:{trace_id}", "the export has no observations of the trace")
    lost = sum(map(len, export.scores.values())) + sum(map(len, export.session_scores.values()))
    if lost:
        yield Skipped("score", f"{source.name}:scores", f"{lost} scores belong to no trace of the export")


def _table(path: Path, limit: int) -> str | None:
    for folder in reversed(path.parent.parts):
        if folder in _TABLES:
            return _TABLES[folder]
    row = next((row for _, row, _ in rows(path, limit) if isinstance(row, dict)), None)
    if row is None:
        return None
    columns = set(named(row))
    if {"value", "source"} <= columns:
        return "scores"
    if "traceId" in columns and "type" in columns:
        return "observations"
    return "traces" if {"id", "timestamp"} <= columns else None


class _Ids(msgspec.Struct):
    trace_id: str | int | None = None
    traceId: str | int | None = None


def _trace_ids(path: Path, limit: int) -> Iterator[str]:
    """Yield each row's trace, and read as little else as the format lets; faults are told later."""
    if containers.ending(path.name) == ".parquet":
        found = _parquet_ids(path)
    elif containers.ending(path.name) == ".csv":
        found = (row for _, row, _ in _csv(path, limit) if isinstance(row, dict))
    else:
        found = _json_ids(path, limit)
    yield from (key for row in found if (key := _trace_id(row)) is not None)


def _parquet_ids(path: Path) -> Iterator[JsonObject]:
    import polars as pl

    try:
        table = pl.scan_parquet(path, glob=False)
        names = [c for c in table.collect_schema().names() if c in _IDS]
        yield from table.select(names).collect().iter_rows(named=True)
    except (pl.exceptions.PolarsError, OSError):
        return


def _json_ids(path: Path, limit: int) -> Iterator[JsonObject]:
    decoder = msgspec.json.Decoder(_Ids)
    for row in containers.rows(containers.local_file(path), "", limit):
        try:
            yield msgspec.structs.asdict(decoder.decode(row.data or b""))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            continue


def _trace_id(row: JsonObject) -> str | None:
    return text(row.get("trace_id") or row.get("traceId"))


def _index(path: Path, table: str, limit: int, export: _Export, source: Source) -> Iterator[Skipped]:
    for at, row, _ in rows(path, limit):
        where = f"{source.name}:{path.name}:{at}"
        if isinstance(row, str):
            yield Skipped("pull", where, row)
            continue
        row = named(row)
        if table == "traces":
            key = text(row.get("id"))
            if key is None:
                yield Skipped("pull", where, "the row names no trace")
            else:
                export.heads[key] = {k: v for k, v in row.items() if k not in ("input", "output")}
            continue
        trace_id, session_id = text(row.get("traceId")), text(row.get("sessionId"))
        if trace_id is not None:
            export.scores.setdefault(trace_id, []).append(row)
        elif session_id is not None:
            export.session_scores.setdefault(session_id, []).append(row)
        else:
            yield Skipped("pull", where, "the score belongs to no trace or session")


def _traces(paths: list[Path], limit: int, export: _Export, source: Source) -> Iterator[Trace | Skipped]:
    groups: dict[str, list[JsonObject]] = {}
    sizes: Counter[str] = Counter()
    sessions: set[str] = set()
    for path in paths:
        for at, row, size in rows(path, limit):
            key = _trace_id(row) if isinstance(row, dict) else None
            if isinstance(row, str) or key is None:
                reason = row if isinstance(row, str) else "the row names no trace"
                yield Skipped("pull", f"{source.name}:{path.name}:{at}", reason)
                continue
            group = groups.setdefault(key, [])
            sizes[key] += size
            if sizes[key] <= limit:
                group.append(row)
            export.counts[key] -= 1
            if export.counts[key] == 0:
                yield _made(key, groups.pop(key), sizes.pop(key) > limit, export, source, sessions)
    for key, group in groups.items():
        yield _made(key, group, sizes[key] > limit, export, source, sessions)
    for session in sessions:
        export.session_scores.pop(session, None)


def _made(
    key: str, group: list[JsonObject], too_large: bool, export: _Export, source: Source, sessions: set[str]
) -> Trace | Skipped:
    where = f"{source.name}:{key}"
    scores = export.scores.pop(key, [])
    head = export.heads.pop(key, {})
    if too_large:
        return Skipped("pull", where, f"the trace is larger than {source.max_trace_mb:g} MB")
    session = next((s for r in (head, *group) if (s := text(named(r).get("sessionId")))), None)
    if session is not None and session in export.session_scores:
        sessions.add(session)
        scores = scores + export.session_scores[session]
    trace = {**head, "id": key, "scores": scores}
    return build(trace, group, source=source.name, customer_key=source.customer_key, where=where)


def rows(path: Path, limit: int) -> Iterator[Row]:
    """Yield the rows of one file. limit: of one row, in bytes."""
    if containers.ending(path.name) == ".csv":
        yield from _csv(path, limit)
        return
    for row in containers.rows(containers.local_file(path), "", limit):
        if row.fault is not None:
            yield row.position, row.fault, 0
        elif row.data is None:
            plain = cast(JsonObject, _plain(row.value or {}))
            yield row.position, plain, sum(len(v) for v in plain.values() if isinstance(v, str))
        else:
            yield row.position, _object(row.data, row.unfinished), len(row.data)


def _object(data: bytes, unfinished: bool) -> JsonObject | str:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "the last row is truncated" if unfinished else "the row is no JSON"
    return cast(JsonObject, value) if isinstance(value, dict) else "the row is no object"


def _csv(path: Path, limit: int) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    try:
        with (
            containers.unpacked(containers.local_file(path)) as file,
            io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines,
        ):
            for at, row in enumerate(csv.DictReader(lines), 1):
                size = sum(len(v) for v in row.values() if isinstance(v, str))
                yield at, {k: v for k, v in row.items() if isinstance(k, str) and v not in ("", "\\N")}, size
    except (OSError, csv.Error, UnicodeDecodeError, *containers.damage()) as error:
        yield 0, f"the file is damaged: {type(error).__name__}", 0


def _plain(value: Any) -> Any:
    """Turn Parquet values into JSON ones: times into ISO 8601, maps (lists of key and value) into objects."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in cast(JsonObject, value).items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if items and all(isinstance(i, dict) and set(cast(JsonObject, i)) == {"key", "value"} for i in items):
            return {str(i["key"]): _plain(i["value"]) for i in items}
        return [_plain(i) for i in items]
    return value
