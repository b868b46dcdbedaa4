"""What kinds of file there are, whatever is in them: JSON Lines, JSON, Parquet, each plain or packed.

A row is the bytes of one JSON value, or one Parquet row. Behind each row comes a cursor from which reading
goes on: for plain lines the byte offset and a digest of the line in front of it, so that a file that has
grown is continued and one that was written anew is not; for everything else how many rows of a file of that
size are done, because what is packed or in a list can't be continued.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import os
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import msgspec

from strop.errors import ConfigError
from strop.records import JsonObject
from strop.sources.files.json_values import is_json, json_values

_PACKED = (".gz", ".zst")
_KNOWN = (".jsonl", ".ndjson", ".json", ".parquet", ".pb", ".binpb")
_PARQUET_ROWS = 500  # read at a time
_ZSTD = ("compression.zstd", "backports.zstd")
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n\0"  # a file that was cut while it was written to begins with zeros
_MARKED = 4096  # bytes at the end of a line by which a cursor knows its file
_MAX_TABLE = 1 << 30  # bytes of a Parquet file that is read whole, packed or in an object store


class File(msgspec.Struct, frozen=True):
    """A file somewhere. name: of its window; label: in messages; stem: begins the ids of its rows.

    size: bytes as stored. path: where it lies, None in an object store.
    """

    name: str
    label: str
    stem: str
    size: int
    open: Callable[[], BinaryIO]
    path: Path | None = None


class Row(msgspec.Struct, frozen=True):
    """One row: `data` (JSON) or `value` (decoded), or why there is none. position: byte or row number.

    unfinished: it is the last one and does not end, so that it may still be being written.
    """

    position: int
    cursor: str
    data: bytes | None = None
    value: JsonObject | None = None
    fault: str | None = None
    unfinished: bool = False


def local_file(path: Path, *, name: str | None = None, stem: str | None = None) -> File:
    """Make a File of a path on this machine."""
    label = _storable(path.name)
    return File(
        _storable(name or str(path)),
        label,
        _storable(stem or stem_of(label)),
        path.stat().st_size,
        lambda: path.open("rb"),
        path,
    )


def _storable(name: str) -> str:
    """Return a file's name as text that a database takes: Linux allows any bytes in it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def stem_of(name: str) -> str:
    """Return a file's name without the endings of its container and packing: they may change later."""
    path = PurePosixPath(name)
    if path.suffix in _PACKED:
        path = path.with_suffix("")
    return str(path.with_suffix("")) if path.suffix else str(path)


def is_known(name: str) -> bool:
    """Say whether a file in a folder is one of the kinds that are read here."""
    return ending(name) in _KNOWN


def ending(name: str) -> str:
    """Return a name's ending without that of its packing."""
    path = PurePosixPath(name.lower())
    return (path.with_suffix("") if path.suffix in _PACKED else path).suffix


def is_packed(name: str) -> bool:
    """Say whether a file is compressed, by its name."""
    return PurePosixPath(name.lower()).suffix in _PACKED


@contextmanager
def unpacked(file: File) -> Generator[BinaryIO]:
    """Open a file for reading, unpacked. Raises ConfigError where a library is missing."""
    with file.open() as stream:
        match PurePosixPath(file.label.lower()).suffix:
            case ".gz":
                with gzip.GzipFile(fileobj=stream, mode="rb") as packed:
                    yield cast(BinaryIO, packed)
            case ".zst":
                with zstd().ZstdFile(stream, "rb") as packed:
                    yield cast(BinaryIO, packed)
            case _:
                yield stream


def zstd() -> Any:
    """Return the module that reads Zstandard: Python's own since 3.14, else its backport."""
    for name in _ZSTD:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ConfigError(
        "Zstandard files can't be read here",
        where="sources in strop.toml",
        fix="pip install 'strop[objects]'",
    )


def damage() -> tuple[type[Exception], ...]:
    """Return what unpacking raises on a damaged file."""
    found = (sys.modules.get(name) for name in _ZSTD)
    return (*_DAMAGE, *(cast("type[Exception]", m.ZstdError) for m in found if m is not None))


def rows(file: File, cursor: str, limit: int) -> Iterator[Row]:
    """Yield the rows of a file from a cursor on ("" or "0": all). Rows over `limit` bytes are faults, and so
    is a file that can't be opened or read to its end.
    """
    at = cursor
    try:
        for row in _rows(file, cursor, limit):
            yield row
            at = row.cursor
    except OSError as error:
        yield Row(-1, at or "0", fault=unreadable(error))


def unreadable(error: OSError) -> str:
    """Return why a file can't be read, without its name."""
    return f"the file can't be read: {error.strerror or type(error).__name__}"


def _rows(file: File, cursor: str, limit: int) -> Iterator[Row]:
    if ending(file.label) == ".parquet":
        yield from _counted(file, cursor, _parquet(file, limit))
        return
    with unpacked(file) as stream:
        document = is_document(file, stream, limit)
        if document is None:
            yield Row(-1, str(file.size), fault="the packed file is damaged")
        elif document:
            yield from _counted(file, cursor, _document(stream, limit))
        elif is_packed(file.label):
            yield from _counted(file, cursor, _packed_lines(stream, limit))
        else:
            stream.seek(_start(stream, cursor))
            for row in lines(stream, limit):
                yield msgspec.structs.replace(row, cursor=f"{row.cursor}|{_mark(row.data or b'')}")


def _start(stream: BinaryIO, cursor: str) -> int:
    """Return the offset of a cursor, or 0 where the line in front of it is not the one that was read."""
    offset, _, mark = cursor.partition("|")
    if not offset.isdigit():
        return 0
    first = max(0, int(offset) - 2 * _MARKED)
    stream.seek(first)
    before = stream.read(int(offset) - first)
    if len(before) < int(offset) - first:
        return 0
    return int(offset) if mark in ("", _mark(b""), _mark(_last_line(before))) else 0


def _last_line(data: bytes) -> bytes:
    return data.strip(_BLANK).rpartition(b"\n")[2].removeprefix(_BOM).strip(_BLANK)


def _mark(line: bytes) -> str:
    return hashlib.blake2b(line[-_MARKED:], digest_size=8).hexdigest()


def is_document(file: File, stream: BinaryIO, limit: int) -> bool | None:
    """Tell a JSON document from lines, and leave the stream at its beginning; None where it is damaged.

    A list is a document whatever the file is called; in a .json file a first line that is no JSON by itself
    is the beginning of one.
    """
    try:
        head = stream.read(64).removeprefix(_BOM).lstrip()
        stream.seek(0)
        if head[:1] == b"[" or ending(file.label) != ".json":
            return head[:1] == b"["
        line = stream.readline(limit + 1)
        stream.seek(0)
    except damage():
        return None
    return not is_json(line)


def lines(stream: BinaryIO, limit: int) -> Iterator[Row]:
    """Yield the lines of a stream from where it stands; the cursor is the byte offset behind each."""
    start = stream.tell()
    while True:
        line, length = _line(stream, limit)
        if not length:
            return
        end = start + length
        text = (line if start else line.removeprefix(_BOM)).strip(_BLANK)
        if len(line) != length:
            yield Row(start, str(end), fault=f"the line is larger than {_mb(limit)}")
        elif text:
            yield Row(start, str(end), text, unfinished=not line.endswith(b"\n"))
        start = end


def _line(stream: BinaryIO, limit: int) -> tuple[bytes, int]:
    """Read one line and its length; of a line over `limit` bytes nothing is kept."""
    line = stream.readline(limit + 1)
    length = len(line)
    if length <= limit:
        return line, length
    while line and not line.endswith(b"\n"):
        line = stream.readline(1 << 20)
        length += len(line)
    return b"", length


def _packed_lines(stream: BinaryIO, limit: int) -> Iterator[Row]:
    try:
        yield from lines(stream, limit)
    except damage():
        yield Row(stream.tell(), "", fault="the packed file is damaged")


def _document(stream: BinaryIO, limit: int) -> Iterator[Row]:
    try:
        for offset, data in json_values(stream, limit):
            fault = f"the item is larger than {_mb(limit)}" if data is None else None
            yield Row(offset, "", data, fault=fault)
    except (ValueError, *damage()) as error:
        reason = str(error) if isinstance(error, ValueError) else type(error).__name__
        yield Row(-1, "", fault=f"no JSON: {reason}")


def _parquet(file: File, limit: int) -> Iterator[Row]:
    import polars as pl

    try:
        if file.path is not None and not is_packed(file.label):
            table = pl.scan_parquet(file.path, glob=False)
        else:
            with unpacked(file) as stream:
                data = stream.read(_MAX_TABLE + 1)
            if len(data) > _MAX_TABLE:
                yield Row(
                    -1, "", fault=f"the file is larger than {_mb(_MAX_TABLE)}: unpack it on this machine"
                )
                return
            table = pl.read_parquet(io.BytesIO(data)).lazy()
        binary = "Binary" in str(table.collect_schema())
        height = int(table.select(pl.len()).collect().item())
        for first in range(0, height, _PARQUET_ROWS):
            batch = table.slice(first, _PARQUET_ROWS).collect()
            for i, row in enumerate(batch.iter_rows(named=True)):
                value = cast(JsonObject, _as_text(row)) if binary else row
                large = len(msgspec.json.encode(value, enc_hook=str)) > limit
                fault = f"the row is larger than {_mb(limit)}" if large else None
                yield Row(first + i, "", value=None if large else value, fault=fault)
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
        RecursionError,
        *damage(),
    ) as error:
        yield Row(-1, "", fault=f"no Parquet: {type(error).__name__}")


def _as_text(value: Any) -> Any:
    """Return a value with its bytes as text: some writers do not mark their text as such."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {k: _as_text(v) for k, v in cast(JsonObject, value).items()}
    return [_as_text(v) for v in cast("list[Any]", value)] if isinstance(value, list) else value


def _counted(file: File, cursor: str, found: Iterator[Row]) -> Iterator[Row]:
    """Give rows cursors that count them: "n/size", and the size alone behind the last one."""
    count, _, size = cursor.partition("/")
    done = int(count) if size == str(file.size) and count.isdigit() else 0
    waiting: Row | None = None
    for n, row in enumerate(found, 1):
        if waiting is not None:
            yield waiting
        waiting = None
        if n > done:
            waiting = msgspec.structs.replace(row, cursor=f"{n}/{file.size}", unfinished=False)
    if waiting is not None:
        yield msgspec.structs.replace(waiting, cursor=str(file.size))


def _mb(limit: int) -> str:
    return f"{limit / (1 << 20):g} MB"
