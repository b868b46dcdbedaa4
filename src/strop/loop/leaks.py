"""Search everything that is stored for texts that must not be there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from strop.config import Config
from strop.curate.leak_check import Sought
from strop.errors import InputError
from strop.store import Database
from strop.store.traces import iter_bodies

CHUNK = 4 << 20


class Found(msgspec.Struct, frozen=True):
    """texts: by each text that was found, the files it stands in. files, bytes: what was searched."""

    texts: dict[str, list[Path]]
    files: int
    bytes: int


def search(folder: Path, known: Iterable[str], chunk: int = CHUNK) -> Found:
    """Look for known values in the names and bytes of all files below a folder.

    chunk: how many bytes are read at once. Raises InputError for a file that can't be read.
    """
    return _search(folder, Sought(known), chunk)


def leak_check(config: Config, db: Database, file: Path) -> dict[str, Any]:
    """Look for each line of a file in all of `.strop/` and in the stored traces.

    Returns {"searched": {...}, "leaks": [{"line", "files", "traces"}]}: lines by their number, so that the
    report repeats none of them; traces by the beginning of their hash. Raises InputError.
    """
    lines = {text: number for number, text in reversed(list(_lines(file)))}
    sought = Sought(lines)
    if not sought.values:
        raise InputError(
            "there is nothing to look for: no line has three letters or digits",
            where=str(file),
            fix="write one name, address or number a line",
        )
    found = _search(config.state, sought, CHUNK)
    traces: dict[str, set[str]] = {}
    for trace_hash, body in iter_bodies(db):  # in a file of SQLite a long text lies in pieces
        for text in sought.found(body):
            traces.setdefault(text, set()).add(trace_hash[:12])
    leaks = [
        {
            "line": lines[text],
            "files": [str(p.relative_to(config.state)) for p in found.texts.get(text, ())],
            "traces": sorted(traces.get(text, ())),
        }
        for text in {**found.texts, **traces}
    ]
    return {
        "searched": {
            "texts": len(sought.values),
            "too_short": len(lines) - len(sought.values),
            "files": found.files,
            "bytes": found.bytes,
        },
        "leaks": sorted(leaks, key=lambda leak: leak["line"]),
    }


def _search(folder: Path, sought: Sought, chunk: int) -> Found:
    found: dict[str, list[Path]] = {}
    files = size = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        hits = sought.found(str(path.relative_to(folder)).encode("utf-8", "replace"))
        try:
            for data, begin, end in _chunks(path, chunk, sought.reach):
                hits |= sought.found(data, begin, end)
                size += end - begin
        except FileNotFoundError:  # another process is done with its log
            continue
        except OSError as error:
            raise InputError(
                f"a file can't be searched: {error.strerror}", where=str(path), fix="make it readable"
            ) from error
        files += 1
        for text in sorted(hits):
            found.setdefault(text, []).append(path)
    return Found(found, files, size)


def _chunks(path: Path, chunk: int, reach: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (data, begin, end): each byte is once between begin and end, with its surroundings in data."""
    with path.open("rb") as file:
        before, block = b"", file.read(chunk)
        while block:
            following = file.read(max(chunk, reach))
            yield before + block + following[:reach], len(before), len(before) + len(block)
            before, block = (before + block)[-reach:], following


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list can't be read: {error}", where=str(file)) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()
