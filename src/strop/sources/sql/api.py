"""Traces, or their outcomes, in a tenant's own tables: any SELECT on PostgreSQL or SQLite.

`sql` is the SELECT, and it alone says which rows are read. Where it names :start and :end (UTC, ISO 8601
text), it is asked window by window, each for good a day after its end: name them over the column that says
when a row became complete, or was written, and what comes late is read too. Where it names neither, it is
read whole once a pull, whatever `since` says. Rows come in the order of their id over a server-side cursor,
so that a page holds whole traces and a pull goes on after the last id. Rows without any conversation are
outcomes: scores for the traces of other sources, found by trace id, workflow id or session id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import msgspec

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import JsonObject
from strop.sources.platform import Capabilities, LateScore, Made, Page, Window, iso
from strop.sources.sql.rows import TOO_LARGE, Mapped, assemble_rows, mapped, outcome_scores
from strop.store.source_query import SourceDatabase, binds_of

_PAGE_ROWS = 500
_PAGE_BYTES = 8 << 20


class Sql:
    """A SELECT as a source. user and key: the database's user and password."""

    def __init__(self, source: Source, *, user: str | None, key: str | None) -> None:
        if not source.url or not source.sql:
            raise ConfigError(
                f"source {source.name} needs url and sql",
                where="strop.toml, [[sources]]",
                fix='url = "postgresql://host/database" and sql = "SELECT ..."',
            )
        self._source, self._sql = source, source.sql
        self._binds = binds_of(source.sql)
        if len(self._binds) == 1:
            raise ConfigError(
                f"source {source.name}: sql names one of :start and :end",
                where="strop.toml, [[sources]]",
                fix="name both, as in WHERE closed_at >= :start AND closed_at < :end, or neither",
            )
        self._database = SourceDatabase(source.url, user=user, password=key, timeout_s=source.timeout_s)
        self._columns: Mapped | None = None
        self._was_read = False

    def probe(self) -> Capabilities:
        """Look at the server and at the query's columns. Raises ConfigError, OutsideServiceError."""
        columns = self._mapped()
        notes: list[str] = []
        if not self._binds:
            notes.append("the query names no :start and :end: it is read whole at each pull")
        if columns.outcomes:
            notes.append("no column holds a conversation: the rows are outcomes of other sources' traces")
        return Capabilities(self._database.dialect, self._database.version(), "sql", tuple(notes))

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield pages of whole traces; the cursor is the last id. Raises TooLarge, OutsideServiceError."""
        columns = self._mapped()
        if self._is_over():
            return
        if columns.outcomes:
            yield from self._unusable(window, columns)
            return
        key = columns.fields["id"]
        after = None if cursor is None else _after(cursor)
        order = (key, *([columns.fields["started_at"]] if columns.by_message else []))
        page: list[JsonObject] = []
        size = 0
        last: object = None
        for group in self._groups(self._rows(window, order, after), key):
            if last is not None and (len(page) >= _PAGE_ROWS or size >= _PAGE_BYTES):
                yield Page(page, _cursor(last), whole=True)
                page, size = [], 0
            page += group
            size += _size(group)
            last = last if group[0][key] is None else group[0][key]
        yield Page(page, None, whole=True)

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of the query's rows."""
        return msgspec.structs.replace(assemble_rows(rows, self._mapped(), self._source), chosen=True)

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield the outcomes of a window."""
        columns = self._mapped()
        if columns.outcomes and not self._is_over():
            for row in self._rows(window, (), None):
                yield from outcome_scores(row, columns)
        self._was_read = True

    def close(self) -> None:
        """Let go of the connections."""
        self._database.close()

    def _is_over(self) -> bool:
        """Say whether a query that has no windows was read by this pull."""
        return self._was_read and not self._binds

    def _mapped(self) -> Mapped:
        if self._columns is None:
            self._columns = mapped(self._source, self._database.columns(self._sql))
        return self._columns

    def _groups(self, rows: Iterator[JsonObject], key: str) -> Iterator[list[JsonObject]]:
        """Yield the rows of each id; where they are too large, one row that says so."""
        limit = int(self._source.max_trace_mb * (1 << 20))
        group: list[JsonObject] = []
        size = 0
        for row in rows:
            if group and (row[key] is None or row[key] != group[0][key]):
                yield group
                group, size = [], 0
            size += _size([row])
            if size <= limit:
                group.append(row)
            else:
                group = [{key: row[key], TOO_LARGE: True}]
        if group:
            yield group

    def _unusable(self, window: Window, columns: Mapped) -> Iterator[Page]:
        """Outcomes that name nothing they could belong to: `assemble` counts them as skipped."""
        ids = tuple(columns.fields[f] for f in ("id", "workflow_id", "session_id") if f in columns.fields)
        for row in self._rows(window, (), None, only_null=ids):
            yield Page([row], None, whole=True)

    def _rows(
        self,
        window: Window,
        order: tuple[str, ...],
        after: str | int | float | None,
        only_null: tuple[str, ...] = (),
    ) -> Iterator[JsonObject]:
        values = {"start": iso(window.start), "end": iso(window.end)}
        try:
            yield from self._database.rows(self._sql, values, order=order, after=after, only_null=only_null)
        except TooLarge as error:
            if self._binds:
                raise
            raise OutsideServiceError(
                f"source {self._source.name}: {error.what}",
                where=error.where,
                fix="name :start and :end in sources.sql, or raise timeout_s",
            ) from error


def _size(rows: Sequence[JsonObject]) -> int:
    return sum(len(json.dumps(row, default=str)) for row in rows)


def _cursor(last: object) -> str:
    return msgspec.json.encode(last if isinstance(last, int | float) else str(last)).decode()


def _after(cursor: str) -> str | int | float | None:
    try:
        return msgspec.json.decode(cursor, type=str | int | float)
    except msgspec.DecodeError:
        return None  # a cursor of another release: the window is read from its start
