"""Curation's scratch paper: the light rows of all traces on disk, gone when curation ends.

A million traces are a few numbers each in memory; what has letters stays here: hashes, keys, names. Ranks
among sorted names stand for the names, so that what is decided by order is decided by numbers too.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from strop.records import JsonObject

_CHUNK = 500
_BLOCK = 4096

_TABLES = """
CREATE TABLE traces (
  n INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, trace_id TEXT NOT NULL, workflow_id TEXT, customer TEXT,
  ended_at INTEGER NOT NULL, first TEXT NOT NULL, second TEXT, problem TEXT, outcome INTEGER NOT NULL,
  about INTEGER NOT NULL, tools INTEGER NOT NULL, failed INTEGER NOT NULL, scored TEXT, truth INTEGER
);
CREATE TABLE keys (rank INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE customers (rank INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
"""
_KINDS = (np.int32,) * 3 + (np.int64,) * 4 + (np.bool_,) * 3 + (np.int64,)


class Light(msgspec.Struct, frozen=True, kw_only=True):
    """What curation keeps of a trace in place of its body.

    keys: its group and what ties it to others, one or two. outcome, about, tools: 64-bit hashes
    (`curate.likeness`). scored: the ground truth that a score on the trace carries.
    """

    trace_hash: str
    trace_id: str
    workflow_id: str | None
    customer: str | None
    ended_at: int
    keys: tuple[str, ...]
    problem: str | None
    outcome: int
    about: int
    tools: int
    failed: bool
    scored: JsonObject | None = None


class Readable(msgspec.Struct, frozen=True):
    """What is needed to find a row's ground truth."""

    trace_hash: str
    trace_id: str
    workflow_id: str | None
    ended_at: int
    scored: JsonObject | None


class Columns(msgspec.Struct, frozen=True):
    """The same rows as numbers, in the order of time; of absent names -1, of absent truths 0."""

    customers: NDArray[np.int32]
    keys: NDArray[np.int32]
    ends: NDArray[np.int64]
    outcomes: NDArray[np.int64]
    abouts: NDArray[np.int64]
    tools: NDArray[np.int64]
    failed: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    truths: NDArray[np.int64]
    hashes: NDArray[np.int32]


class Worksheet:
    """Rows in the order they are added, numbered from 0. A context: what it wrote is gone at its end."""

    def __init__(self, folder: Path, width: int) -> None:
        """folder: where it may write. width: numbers in a signature."""
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix="curate.", dir=folder))
        self._sheet = sqlite3.connect(own / "rows.db", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", "cache_size=-16000"):
            self._sheet.execute(f"PRAGMA {pragma}")
        self._sheet.executescript(_TABLES)
        self._sheet.execute("BEGIN")
        self._signatures: BinaryIO = (own / "signatures").open("w+b")
        shutil.rmtree(own)  # open files need no names, and so nothing stays behind, not even after a kill
        self._width = width
        self.size = 0

    def __enter__(self) -> Worksheet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sheet.close()
        self._signatures.close()

    def add(self, rows: Sequence[Light], signatures: NDArray[np.uint32]) -> int:
        """Add rows whose hash is new, with their signatures; return the number of the others.

        Of those only the ground truth that a score carries is taken, where the first one has none.
        """
        taken: list[int] = []
        for i, row in enumerate(rows):
            scored = None if row.scored is None else msgspec.json.encode(row.scored).decode()
            values = (
                self.size, row.trace_hash, row.trace_id, row.workflow_id, row.customer, row.ended_at,
                row.keys[0], row.keys[1] if len(row.keys) > 1 else None, row.problem, row.outcome, row.about,
                row.tools, row.failed, scored,
            )  # fmt: skip
            marks = ", ".join("?" * len(values))
            added = self._sheet.execute(f"INSERT OR IGNORE INTO traces VALUES ({marks}, NULL)", values)  # noqa: S608
            if added.rowcount == 1:
                taken.append(i)
                self.size += 1
            elif scored is not None:
                self._sheet.execute(
                    "UPDATE traces SET scored = ?2 WHERE hash = ?1 AND scored IS NULL",
                    (row.trace_hash, scored),
                )
        if len(signatures):
            self._signatures.write(signatures[taken].tobytes())
        return len(rows) - len(taken)

    def problems(self) -> Iterator[str]:
        """Yield the problem of each row that has one."""
        for (problem,) in self._sheet.execute(
            "SELECT problem FROM traces WHERE problem IS NOT NULL ORDER BY n"
        ):
            yield problem

    def readable(self, size: int) -> Iterator[list[Readable]]:
        """Yield the rows without a problem, `size` at a time."""
        query = (
            "SELECT n, hash, trace_id, workflow_id, ended_at, scored FROM traces "
            "WHERE problem IS NULL AND n >= ? ORDER BY n LIMIT ?"
        )
        at = 0
        while rows := self._sheet.execute(query, (at, size)).fetchall():
            yield [
                Readable(*row, scored=None if scored is None else msgspec.json.decode(scored))
                for _, *row, scored in rows
            ]
            at = rows[-1][0] + 1

    def label(self, truths: Iterable[tuple[str, int]]) -> None:
        """Note which rows have ground truth: (trace hash, hash of the truth)."""
        self._sheet.executemany("UPDATE traces SET truth = ?2 WHERE hash = ?1", truths)

    def columns(self) -> Columns:
        """Return all rows as numbers. Call it once all rows are added."""
        rank = "INSERT INTO {0} (name) SELECT {1} FROM traces WHERE {1} IS NOT NULL GROUP BY 1 ORDER BY 1"
        self._sheet.execute(rank.format("customers", "customer"))
        self._sheet.execute(
            "INSERT INTO keys (name) SELECT first FROM traces UNION "
            "SELECT second FROM traces WHERE second IS NOT NULL ORDER BY 1"
        )
        query = (
            "SELECT coalesce(c.rank, 0) - 1, a.rank - 1, coalesce(b.rank, 0) - 1, ended_at, outcome, about, "
            "tools, failed, problem IS NULL, truth IS NOT NULL, coalesce(truth, 0) FROM traces AS t "
            "JOIN keys AS a ON a.name = t.first LEFT JOIN keys AS b ON b.name = t.second "
            "LEFT JOIN customers AS c ON c.name = t.customer ORDER BY n"
        )
        columns: list[Any] = [np.empty(self.size, dtype=kind) for kind in _KINDS]
        at = 0
        for block in _blocks(self._sheet.execute(query)):
            for column, values in zip(columns, np.array(block, dtype=np.int64).T, strict=True):
                column[at : at + len(block)] = values
            at += len(block)
        hashes = np.empty(self.size, dtype=np.int32)
        at = 0
        for block in _blocks(self._sheet.execute("SELECT n FROM traces ORDER BY hash")):
            hashes[[n for (n,) in block]] = np.arange(at, at + len(block))
            at += len(block)
        customers, first, second, ends, outcomes, abouts, tools, failed, readable, labelled, truths = columns
        return Columns(
            customers, np.stack((first, second), axis=1), ends, outcomes, abouts, tools,
            failed, readable, labelled, truths, hashes,
        )  # fmt: skip

    def customers(self) -> list[str]:
        """Return the customers' names by rank."""
        return [name for (name,) in self._sheet.execute("SELECT name FROM customers ORDER BY rank")]

    def keys(self) -> Iterator[str]:
        """Yield the keys by rank."""
        for (name,) in self._sheet.execute("SELECT name FROM keys ORDER BY rank"):
            yield name

    def rank_keys(self, names: Sequence[str]) -> list[int | None]:
        """Return the ranks of keys, None of those that no row has."""
        found = self._found("SELECT name, rank - 1 FROM keys WHERE name IN ", names)
        return [found.get(name) for name in names]

    def rows_of(self, hashes: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows with these trace hashes, ascending; hashes that no row has are passed over."""
        rows: list[NDArray[np.int64]] = []
        for chunk in chunked(hashes, _CHUNK):
            found = self._found("SELECT hash, n FROM traces WHERE hash IN ", chunk)
            rows.append(np.array(list(found.values()), dtype=np.int64))
        return np.unique(np.concatenate(rows)) if rows else np.empty(0, dtype=np.int64)

    def hashes_of(self, rows: Sequence[int]) -> list[str]:
        """Return the trace hashes of at most 500 rows."""
        found = self._found("SELECT n, hash FROM traces WHERE n IN ", rows)
        return [found[row] for row in rows]

    def decided(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield (trace hash, group, problem) of all rows in order."""
        yield from self._sheet.execute("SELECT hash, first, problem FROM traces ORDER BY n")

    def signature_blocks(self) -> Iterator[NDArray[np.uint32]]:
        """Yield the signatures of all rows in order, a few thousand at a time."""
        self._signatures.flush()
        size = _BLOCK * self._width * 4
        for at in range(0, self.size * self._width * 4, size):
            yield self._read(at, size)

    def signatures_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Return the signatures of rows."""
        self._signatures.flush()
        wide = self._width * 4
        return np.concatenate([self._read(row * wide, wide) for row in rows.tolist()])

    def _read(self, at: int, size: int) -> NDArray[np.uint32]:
        data = os.pread(self._signatures.fileno(), size, at)
        return np.frombuffer(data, dtype=np.uint32).reshape(-1, self._width)

    def _found(self, query: str, values: Sequence[Any]) -> dict[Any, Any]:
        return dict(self._sheet.execute(f"{query} ({', '.join('?' * len(values))})", list(values)).fetchall())


def chunked(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of at most `size` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _blocks(cursor: sqlite3.Cursor) -> Iterator[list[tuple[int, ...]]]:
    while block := cursor.fetchmany(_BLOCK):
        yield block
