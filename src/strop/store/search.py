"""Search all files of a folder for texts, byte by byte: what must not be on the disk.

Thousands of texts in gigabytes: a table of three-byte groups leaves the few places where a text may
begin, and those are compared.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import msgspec
import numpy as np
from numpy.typing import NDArray

_CHUNK = 16 << 20
_PREFIX = 6  # two groups of three bytes


class Found(msgspec.Struct, frozen=True):
    """texts: by each text that was found, the files it stands in. files, bytes: what was searched."""

    texts: dict[str, list[Path]]
    files: int
    bytes: int


def search(folder: Path, texts: Iterable[str]) -> Found:
    """Look for texts of at least 6 bytes in every file below a folder.

    Each in every form that a program may have written it: UTF-8, UTF-16, escaped as JSON (also inside
    JSON), quoted as in URLs. Raises ValueError for a shorter text.
    """
    wanted: dict[bytes, dict[bytes, str]] = defaultdict(dict)
    for text in texts:
        for form in forms(text):
            if len(form) < _PREFIX:
                raise ValueError("a text to search for has fewer than 6 bytes")
            wanted[form[:_PREFIX]][form] = text
    tables = [np.zeros(1 << 24, dtype=np.bool_) for _ in range(2)]
    for prefix in wanted:
        tables[0][int.from_bytes(prefix[:3])] = True
        tables[1][int.from_bytes(prefix[3:])] = True
    longest = max((len(form) for group in wanted.values() for form in group), default=_PREFIX)
    found: dict[str, list[Path]] = {}
    files = size = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        files += 1
        size += path.stat().st_size
        for text in sorted(_in_file(path, wanted, tables, longest)):
            found.setdefault(text, []).append(path)
    return Found(found, files, size)


def forms(text: str) -> set[bytes]:
    """Return the byte strings that a text may have been written as."""
    escaped = json.dumps(text)[1:-1]
    twice = json.dumps(escaped)[1:-1]
    written = {text, escaped, twice, quote(text, safe=""), quote(text), quote_plus(text)}
    return {w.encode() for w in written} | {text.encode("utf-16-le"), text.encode("utf-16-be")}


def _in_file(
    path: Path, wanted: dict[bytes, dict[bytes, str]], tables: list[NDArray[np.bool_]], longest: int
) -> set[str]:
    hits: set[str] = set()
    for data in _chunks(path, longest):
        for at in _candidates(data, tables):
            group = wanted.get(data[at : at + _PREFIX])
            for form, text in group.items() if group else ():
                if data.startswith(form, at):
                    hits.add(text)
    return hits


def _chunks(path: Path, overlap: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_CHUNK):
            yield tail + block
            tail = (tail + block)[-overlap:]


def _candidates(data: bytes, tables: list[NDArray[np.bool_]]) -> list[int]:
    if len(data) < _PREFIX:
        return []
    b = np.frombuffer(data, dtype=np.uint8).astype(np.uint32)
    groups = (b[:-2] << 16) | (b[1:-1] << 8) | b[2:]
    begins = np.flatnonzero(tables[0][groups[:-3]])
    return begins[tables[1][groups[begins + 3]]].tolist()
