"""Files of requests and responses in OpenAI's formats (`openai_logs`), of a gateway or of the Batch API.

A batch's requests and answers lie in two files, and a response may go on from an earlier one: such lines
wait for each other, until the end or until memory is full. All others are read as they come.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from strop.config import Source
from strop.records import JsonObject, Skipped, Trace
from strop.sources.files.chats import from_row
from strop.sources.files.containers import File, Row, rows
from strop.sources.files.json_values import decode_json

_MAX_GATHERED = 256 << 20  # bytes of lines that wait for what belongs to them


def read_logs(files: Sequence[File], source: Source) -> Iterator[Trace | Skipped]:
    """Yield the conversations in some files. What can't be read is Skipped."""
    waiting: list[tuple[Any, str]] = []
    size = 0
    for file in files:
        for row in rows(file, "", int(source.max_trace_mb * (1 << 20))):
            name = f"{file.stem}:{max(row.position, 0)}"
            value = _value(row)
            if isinstance(value, _Unusable):
                yield Skipped("pull", f"{source.name}:{name}", value.reason)
            elif _may_belong(value):
                waiting.append((value, name))
                size += (
                    len(row.data) if row.data is not None else len(msgspec.json.encode(value, enc_hook=str))
                )
                if size > _MAX_GATHERED:
                    yield from _together(waiting, source)
                    waiting, size = [], 0
            else:
                yield _made(value, source, name, max(row.position, 0))
    yield from _together(waiting, source)


class _Unusable(msgspec.Struct):
    reason: str


def _value(row: Row) -> Any:
    if row.fault is not None:
        return _Unusable(row.fault)
    if row.data is None:
        return from_row(row.value or {})
    try:
        return decode_json(row.data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        truncated = "the last line is truncated"
        return _Unusable(truncated if row.unfinished else f"no JSON: {type(error).__name__}")


def reason_of(error: Exception) -> str:
    """Return why a row can't be read, up to what the message quotes: that may be somebody's data."""
    words = re.split("['\"]", str(error), maxsplit=1)[0].strip(" :")[:120]
    return words if words and type(error) is ValueError else f"{type(error).__name__}: {words}".strip(" :")


def _made(value: Any, source: Source, name: str, position: int) -> Trace | Skipped:
    read_line = importlib.import_module("strop.sources.openai.logs").read_log_line
    try:
        return cast(Trace, read_line(value, source=source, fallback_id=name, position=position))
    except ValueError as error:
        return Skipped("pull", f"{source.name}:{name}", f"no request and response: {reason_of(error)}")


def _together(waiting: Sequence[tuple[Any, str]], source: Source) -> Iterator[Trace | Skipped]:
    """Join the lines that belong together; a joined one has the place of its first line."""
    join = importlib.import_module("strop.sources.openai.logs").joined
    names = {id(value): name for value, name in waiting}
    for n, value in enumerate(cast("list[Any]", join([value for value, _ in waiting]))):
        yield _made(value, source, names.get(id(value), f"joined:{n}"), n)


def _may_belong(value: Any) -> bool:
    """Tell what another line may complete: Batch API lines, and responses of the Responses API."""
    if not isinstance(value, dict):
        return False
    line = cast(JsonObject, value)
    nested = (line, line.get("request"), line.get("response"), line.get("body"))
    found = [cast(JsonObject, o) for o in nested if isinstance(o, dict)]
    going_on = any(o.get("object") == "response" or o.get("previous_response_id") for o in found)
    return "custom_id" in line or going_on
