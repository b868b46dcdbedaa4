"""Files of OTLP exports, as the OpenTelemetry collector's file exporter writes them -> traces.

One ExportTraceServiceRequest (or ExportLogsServiceRequest) in JSON a line; or protobuf, each message behind
its length in four bytes, big-endian, and possibly Zstandard-packed; or one request as the whole file; or
Parquet with a row a span. https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/

The spans of a trace may be spread over lines and, where the exporter rotates, over files: the files of a
source are read in order of their names as one stream. A trace is handed on once an hour of later spans has
gone by, at the end, or when memory is full. The cursor never passes the first line of a trace that may still
grow. It knows its file by the first bytes, so that a rotated (renamed) one is found again.
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import msgspec

from strop.config import Source
from strop.errors import InputError
from strop.records import Skipped, Trace
from strop.sources.files.containers import (
    File,
    damage,
    ending,
    is_document,
    is_packed,
    lines,
    rows,
    unpacked,
    unreadable,
    zstd,
)
from strop.sources.files.json_values import is_json, json_values
from strop.sources.files.span_rows import read_span
from strop.sources.otlp.wire import Export, from_json, from_protobuf
from strop.sources.platform import HOUR
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import LogEvent, Span

Item = Trace | Skipped
Position = tuple[int, int]  # number of the file, offset (or row) in it

_MAX_EXPORT = 64 << 20  # bytes of one line or message
_TOO_LARGE = f"the export is larger than {_MAX_EXPORT >> 20} MB"
_MAX_HELD = 256 << 20
_OVERHEAD = 1024  # bytes of Python objects around a span's payload, roughly
_HEAD = 4096  # bytes by which a file is known: exports of one program begin alike
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PROTOBUF = (".pb", ".binpb", ".proto", ".bin")


class Frame(msgspec.Struct):
    """One export out of a file, from `start` on, or why it can't be used."""

    start: Position
    end: Position
    export: Export | None = None
    fault: str = ""


class _Open(msgspec.Struct):
    """A trace that may still grow."""

    first: Position
    touched: int
    spans: list[Span] = msgspec.field(default_factory=lambda: list[Span]())
    logs: list[LogEvent] = msgspec.field(default_factory=lambda: list[LogEvent]())
    size: int = 0
    handed_on: bool = False


def read_otlp(
    files: Sequence[File], source: Source, cursor: str = "", *, max_held: int = _MAX_HELD
) -> Iterator[tuple[str, Item]]:
    """Yield (cursor, trace) of the exports in some files; what can't be used is Skipped.

    max_held: bytes of spans of open traces in memory; past it the oldest are handed on as they are.
    """
    yield from _Reading(files, source, max_held).items(cursor)


class _Reading:
    def __init__(self, files: Sequence[File], source: Source, max_held: int) -> None:
        self._files, self._source, self._max_held = files, source, max_held
        self._limit = int(source.max_trace_mb * (1 << 20))
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._oversize: set[str] = set()
        self._held = 0
        self._now = 0
        self._end: Position = (0, 0)
        self._heads: dict[int, str] = {}

    def items(self, cursor: str) -> Iterator[tuple[str, Item]]:
        waiting: tuple[str, Item] | None = None  # the last item carries the cursor of the end
        for item in self._made(self._start(cursor)):
            if waiting is not None:
                yield waiting
            waiting = self._cursor(), item
        if waiting is not None:
            yield f"{sum(f.size for f in self._files)}|{self._cursor()}", waiting[1]

    def _made(self, start: Position) -> Iterator[Item]:
        for frame in self._frames(start):
            self._end = frame.end
            if frame.export is None:
                yield Skipped("pull", self._where(frame.start), frame.fault)
                continue
            for i, reason in enumerate(frame.export.refused):
                yield Skipped("pull", f"{self._where(frame.start)}:{i}", reason)
            for item in (*frame.export.spans, *frame.export.logs):
                skipped = self._add(item, frame.start)
                if skipped is not None:
                    yield skipped
            yield from self._settled()
        for held in list(self._open.values()):
            if not held.handed_on:
                yield from self._assembled(held)

    def _frames(self, start: Position) -> Iterator[Frame]:
        for i in range(start[0], len(self._files)):
            yield from frames(self._files[i], i, start[1] if i == start[0] else 0)

    def _add(self, item: Span | LogEvent, at: Position) -> Skipped | None:
        trace_id = item.trace_id
        if trace_id in self._oversize:
            return None
        held = self._open.get(trace_id)
        if held is None:
            held = self._open[trace_id] = _Open(first=at, touched=0)
        if isinstance(item, Span):
            held.spans.append(item)
            self._now = max(self._now, item.started_at) if item.started_at < 1 << 63 else self._now
        else:
            held.logs.append(item)
        held.touched, held.handed_on = self._now, False
        held.size += item.size + _OVERHEAD
        self._held += item.size + _OVERHEAD
        self._open.move_to_end(trace_id)
        if held.size <= self._limit:
            return None
        self._forget(trace_id)
        self._oversize.add(trace_id)
        reason = f"the trace is larger than {self._source.max_trace_mb:g} MB"
        return Skipped("pull", f"{self._source.name}:{trace_id}", reason)

    def _settled(self) -> Iterator[Item]:
        """Hand on the traces that nothing was added to for an hour, and the oldest ones past the memory."""
        while self._open:
            trace_id, held = next(iter(self._open.items()))
            if held.touched > self._now - HOUR and self._held <= self._max_held:
                return
            self._forget(trace_id)
            yield from self._assembled(held)

    def _forget(self, trace_id: str) -> None:
        self._held -= self._open.pop(trace_id).size

    def _assembled(self, held: _Open) -> list[Item]:
        held.handed_on = True
        traces, skipped = assemble(
            held.spans, source=self._source.name, customer_key=self._source.customer_key, logs=held.logs
        )
        return [*traces, *skipped]

    def _where(self, at: Position) -> str:
        return f"{self._source.name}:{self._files[at[0]].label}:{at[1]}"

    def _cursor(self) -> str:
        """Name the place from which nothing that is still open would be missed."""
        number, offset = min([h.first for h in self._open.values()], default=self._end)
        if number >= len(self._files):
            return ""
        if number not in self._heads:
            head = _head(self._files[number], _HEAD)
            self._heads[number] = f"{len(head)}:{_digest(head)}"
        return f"{self._heads[number]}:{offset}"

    def _start(self, cursor: str) -> Position:
        """Find the file that a cursor stands in, under whatever name; the beginning where it is gone."""
        length, _, rest = cursor.rpartition("|")[2].partition(":")
        digest, _, offset = rest.partition(":")
        if not (length.isdigit() and offset.isdigit()):
            return 0, 0
        for i, file in enumerate(self._files):
            head = _head(file, int(length))
            if len(head) == int(length) and _digest(head) == digest:
                return i, int(offset)
        return 0, 0


def frames(file: File, number: int, start: int) -> Iterator[Frame]:
    """Yield the exports of one file from an offset (or row) on."""
    if ending(file.label) == ".parquet":
        yield from _table(file, number, start)
        return
    try:
        with unpacked(file) as stream:
            if _is_protobuf(file, stream):
                yield from _messages(stream, number, start)
            elif is_document(file, stream, _MAX_EXPORT):
                yield from _document(stream, number, start)
            else:
                _skip(stream, start, packed=is_packed(file.label))
                yield from _lines(stream, number)
    except damage():
        here = (number, file.size)
        yield Frame(here, here, fault="the packed file is damaged")
    except OSError as error:
        yield Frame((number, start), (number, start), fault=unreadable(error))


def _is_protobuf(file: File, stream: BinaryIO) -> bool:
    head = stream.read(5)
    stream.seek(0)
    length = int.from_bytes(head[:4], "big")  # 0 is no message: a file that was cut begins with zeros
    return ending(file.label) in _PROTOBUF or (len(head) > 4 and 0 < length <= _MAX_EXPORT)


def _skip(stream: BinaryIO, start: int, *, packed: bool) -> None:
    if not packed:
        stream.seek(start)
        return
    while start > 0 and (data := stream.read(min(start, 1 << 20))):
        start -= len(data)


def _lines(stream: BinaryIO, number: int) -> Iterator[Frame]:
    for row in lines(stream, _MAX_EXPORT):
        at, end = (number, row.position), (number, int(row.cursor))
        if row.data is None:
            yield Frame(at, end, fault=row.fault or "")
            continue
        frame = _decoded(row.data, at, end)
        if frame.export is None and row.unfinished and not is_json(row.data):
            frame = Frame(at, at, fault="the last line is truncated")
        yield frame


def _document(stream: BinaryIO, number: int, start: int) -> Iterator[Frame]:
    try:
        for offset, data in json_values(stream, _MAX_EXPORT):
            at = (number, offset)
            if offset < start:
                continue
            if data is None:
                yield Frame(at, at, fault=_TOO_LARGE)
            else:
                yield _decoded(data, at, (number, offset + len(data)))
    except ValueError as error:
        yield Frame((number, start), (number, start), fault=f"no JSON: {error}")


def _messages(stream: BinaryIO, number: int, start: int) -> Iterator[Frame]:
    """Read length-delimited messages; a file that is one request without a length is one, too."""
    head = stream.read(1)
    stream.seek(0)
    if head == b"\x0a":  # the tag of field 1 of a request; as a length it would mean 160 MB
        data = stream.read(_MAX_EXPORT + 1)
        if len(data) > _MAX_EXPORT:
            yield Frame((number, 0), (number, 0), fault=_TOO_LARGE)
        elif start == 0:
            yield _decoded(data, (number, 0), (number, len(data)), protobuf=True)
        return
    _skip(stream, start, packed=True)
    at = start
    while prefix := stream.read(4):
        length = int.from_bytes(prefix, "big")
        place = (number, at)
        if length > _MAX_EXPORT:
            yield Frame(place, place, fault=f"no length-delimited protobuf, or over {_MAX_EXPORT >> 20} MB")
            return
        data = stream.read(length)
        if len(prefix) < 4 or len(data) < length:
            yield Frame(place, place, fault="the last message is truncated")
            return
        at += 4 + length
        if data.startswith(_ZSTD_MAGIC):
            try:
                data = _unzstd(data)
            except damage():
                yield Frame(place, (number, at), fault="the packed export is damaged")
                continue
        if len(data) > _MAX_EXPORT:
            yield Frame(place, (number, at), fault=_TOO_LARGE)
            continue
        protobuf = not data[:64].lstrip().startswith(b"{")
        yield _decoded(data, place, (number, at), protobuf=protobuf)


def _unzstd(data: bytes) -> bytes:
    """Unpack at most one byte more than the largest export."""
    with zstd().ZstdFile(io.BytesIO(data), "rb") as packed:
        return cast(bytes, packed.read(_MAX_EXPORT + 1))


def _decoded(data: bytes, at: Position, end: Position, *, protobuf: bool = False) -> Frame:
    try:
        return Frame(at, end, from_protobuf(data) if protobuf else from_json(data))
    except InputError as error:
        return Frame(at, end, fault=error.what)


def _table(file: File, number: int, start: int) -> Iterator[Frame]:
    for row in rows(file, f"{start}/{file.size}", _MAX_EXPORT):
        at = (number, max(row.position, 0))
        if row.value is None:
            yield Frame(at, at, fault=row.fault or "")
            continue
        try:
            export = Export(spans=[read_span(row.value)])
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            yield Frame(at, at, fault=f"no span: {type(error).__name__}")
            continue
        yield Frame(at, (number, row.position + 1), export)


def _head(file: File, size: int) -> bytes:
    try:
        with file.open() as stream:
            return stream.read(min(size, file.size))
    except OSError:  # counted where the file is read
        return b""


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()
