"""Traces in files: which files a source has, and what is in them.

A source's path is a file, a glob (`**` crosses folders), a folder, or an address in an object store. The
containers (JSON Lines, JSON, Parquet, plain or packed) are read row by row, never whole; each kind says what
a row is:
    jsonl           a canonical trace
    openai-chat     a conversation with OpenAI's messages (`chats`)
    langfuse-file   a trace exported from Langfuse's interface, with its observations
    temporal-file   the history of a workflow, as Temporal's command line exports it
Three kinds read all their files together, because what belongs to one trace may lie in several of them:
otlp-file (`otlp_files`), langfuse-blob, and openai-logs, requests with their responses as gateways and the
Batch API write them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import msgspec

from strop.config import Source
from strop.errors import InputError
from strop.records import JsonObject, Skipped, Trace
from strop.sources.files.chats import from_row, read_chat
from strop.sources.files.containers import File, Row, is_known, local_file, rows, stem_of, unreadable
from strop.sources.files.json_values import decode_json, is_json
from strop.sources.files.logs import read_logs, reason_of
from strop.sources.files.objects import is_address, objects
from strop.sources.langfuse.traces import read_exports
from strop.sources.otlp.files import read_otlp
from strop.sources.spans.span import LATEST

Item = Trace | Skipped

_TOGETHER = ("otlp-file", "langfuse-blob", "openai-logs")
_UNREADABLE = (
    msgspec.DecodeError, ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError,
    OverflowError,
)  # fmt: skip
_trace = msgspec.json.Decoder(Trace)


class Part(msgspec.Struct, frozen=True):
    """What of a source is read, and can be resumed, by itself: a file, or all files of the kinds above.

    name: of its window. size: bytes as stored, in sum.
    """

    name: str
    size: int
    source: Source
    files: tuple[File, ...]

    def is_done(self, cursor: str | None) -> bool:
        """Say whether a cursor stands behind everything that there is now."""
        return bool(cursor) and str(cursor).partition("|")[0] == str(self.size)

    def read(self, cursor: str | None = None) -> Iterator[tuple[str, Item]]:
        """Yield (cursor after the item, item) from a cursor on. What can't be read is Skipped."""
        match self.source.kind:
            case "otlp-file":
                return read_otlp(self.files, self.source, cursor or "")
            case "langfuse-blob":
                return _blob(self)
            case "openai-logs":
                return _finished(read_logs(self.files, self.source), self.size)
            case _:
                return _file(self.source, self.files[0], cursor or "")


def parts(source: Source, root: Path) -> list[Part]:
    """Return what there is to read of a source. Raises InputError where there is nothing.

    Raises ConfigError and OutsideServiceError for object stores that can't be opened.
    """
    found = found_files(source, root)
    if source.kind in _TOGETHER:
        return [Part(source.path or "", sum(f.size for f in found), source, tuple(found))]
    return [Part(f.name, f.size, source, (f,)) for f in found]


def found_files(source: Source, root: Path) -> list[File]:
    """Return the files of a source, sorted by name. Raises InputError where there are none."""
    pattern = source.path or ""
    if is_address(pattern):
        found = objects(source, pattern)
        if not found:
            raise _nothing(source, pattern)
        return found
    folder, _ = _split(source, root)
    try:
        return [_named(path, root, folder) for path in paths(source, root)]
    except OSError as error:
        raise InputError(
            f"source {source.name}: {unreadable(error)}", where=pattern, fix="check the rights of its folders"
        ) from error


def paths(source: Source, root: Path) -> list[Path]:
    """Return the local files of a source, sorted. Raises InputError where there are none."""
    path = root / _local(source.path or "")
    folder, pattern = _split(source, root)
    found: list[Path] = []
    if path.is_file():
        found = [path]
    elif pattern:
        found = sorted(p for p in folder.glob(pattern) if p.is_file())
    elif source.path:
        found = sorted(p for p in folder.rglob("*") if p.is_file() and is_known(p.name))
    if not found:
        raise _nothing(source, str(root))
    return found


def read(source: Source, root: Path) -> Iterator[Item]:
    """Yield everything in a source's files."""
    for part in parts(source, root):
        for _, item in part.read():
            yield item


def _nothing(source: Source, where: str) -> InputError:
    return InputError(
        f"source {source.name}: there is no file {source.path or ''!r}",
        where=where,
        fix="correct sources.path in strop.toml",
    )


def _local(pattern: str) -> str:
    return unquote(urlsplit(pattern).path) if pattern.startswith("file://") else pattern


def _split(source: Source, root: Path) -> tuple[Path, str]:
    """Take a path apart into the fixed folder, from which its files are named, and the glob below it."""
    parts = Path(_local(source.path or "")).parts
    fixed = list(takewhile(lambda part: not any(c in part for c in "*?["), parts))
    rest = parts[len(fixed) :]
    if rest and rest[-1] == "**":  # before Python 3.13 this means folders only
        rest = (*rest, "*")
    return root.joinpath(*fixed), "/".join(rest)


def _named(path: Path, root: Path, folder: Path) -> File:
    """Ids begin with the path below the fixed folder: files of one name in two folders stay apart."""
    name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
    below = (
        path.relative_to(folder).as_posix() if path != folder and path.is_relative_to(folder) else path.name
    )
    return local_file(path, name=name, stem=stem_of(below))


def _file(source: Source, file: File, cursor: str) -> Iterator[tuple[str, Item]]:
    read_row = _row_reader(source, file)
    behind = cursor or "0"
    for row in rows(file, cursor, int(source.max_trace_mb * (1 << 20))):
        where = (
            f"{source.name}:{file.label}:{row.position}"
            if row.position >= 0
            else f"{source.name}:{file.label}"
        )
        if row.fault is not None:
            behind = row.cursor
            yield behind, Skipped("pull", where, row.fault)
            continue
        try:
            items = read_row(row)
        except _UNREADABLE as error:
            if row.unfinished and not is_json(row.data or b""):
                yield behind, Skipped("pull", where, "the last line is truncated")
                return
            items = [Skipped("pull", where, f"no {_what(source)}: {reason_of(error)}")]
        yield from ((behind, item) for item in items[:-1])
        behind = row.cursor
        yield from ((behind, item) for item in items[-1:])


def _row_reader(source: Source, file: File) -> Callable[[Row], Sequence[Item]]:
    match source.kind:
        case "jsonl":
            return lambda row: [msgspec.structs.replace(_canonical(row), source=source.name)]
        case "langfuse-file":
            return lambda row: _langfuse(source, file, row)
        case "temporal-file":
            read_history = importlib.import_module("strop.sources.workflows.temporal_history").read_history
            return lambda row: [
                read_history(_value(row), source, where=f"{source.name}:{_fallback(file, row)}")
            ]
        case _:
            return lambda row: [_chat(source, file, row)]


def _chat(source: Source, file: File, row: Row) -> Trace:
    position = max(row.position, 0)
    return read_chat(_value(row), source=source, fallback_id=_fallback(file, row), position=position)


def _fallback(file: File, row: Row) -> str:
    return f"{file.stem}:{max(row.position, 0)}"


def _langfuse(source: Source, file: File, row: Row) -> Sequence[Item]:
    where = f"{source.name}:{file.label}" + (f":{row.position}" if row.position > 0 else "")
    return read_exports(_value(row), source=source.name, customer_key=source.customer_key, where=where)


def _value(row: Row) -> Any:
    return from_row(row.value or {}) if row.data is None else decode_json(row.data)


def _canonical(row: Row) -> Trace:
    trace = _decoded(row)
    if not (0 <= trace.started_at < LATEST and 0 <= trace.ended_at < LATEST):
        raise ValueError("a time is before 1970 or after 2262")
    return trace


def _decoded(row: Row) -> Trace:
    if row.data is not None:
        return _trace.decode(row.data)
    nested = ("episodes", "usage", "scores", "tags", "attributes", "problems", "identities")
    value: JsonObject = {k: v for k, v in (row.value or {}).items() if v is not None}
    for key in nested:
        if isinstance(value.get(key), str):
            value[key] = msgspec.json.decode(cast(str, value[key]))
    return msgspec.convert(_without_nulls(value), Trace)


def _without_nulls(value: Any) -> Any:
    """Leave out absent fields: in a table every row has every other row's."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in cast(JsonObject, value).items() if v is not None}
    return [_without_nulls(v) for v in cast("list[Any]", value)] if isinstance(value, list) else value


def _what(source: Source) -> str:
    names = {"jsonl": "trace", "langfuse-file": "Langfuse export", "temporal-file": "workflow history"}
    return names.get(source.kind, "chat")


def _blob(part: Part) -> Iterator[tuple[str, Item]]:
    read_blob = importlib.import_module("strop.sources.langfuse.blob").read_blob
    local = _local_paths(part.files, part.source)
    return _finished(cast("Iterator[Item]", read_blob(local, part.source)), part.size)


def _finished(items: Iterator[Item], size: int) -> Iterator[tuple[str, Item]]:
    """Give the last item the cursor of the end, and the others that of the beginning."""
    waiting: Item | None = None
    for item in items:
        if waiting is not None:
            yield "0", waiting
        waiting = item
    if waiting is not None:
        yield str(size), waiting


def _local_paths(files: Sequence[File], source: Source) -> list[Path]:
    found = [f.path for f in files if f.path is not None]
    if len(found) < len(files):
        raise InputError(
            f"source {source.name}: langfuse-blob reads files on this machine only",
            where=source.path or "",
            fix="copy or mount the export, and name its folder in sources.path",
        )
    return found
