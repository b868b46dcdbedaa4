"""What curation reads of the store, row by row: bodies, grades, and who occurs in which split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import and_, case, false, func, select, true

from strop.store import schema
from strop.store.database import Database
from strop.store.traces import CAPTURE

_AHEAD = 20  # bodies held at once by the connection


def iter_stored(db: Database) -> Iterator[tuple[str, bytes, bool, bool]]:
    """Yield (hash, JSON of the trace, captured, twin) of every stored record, oldest first.

    captured: the server recorded it. twin: and the agent's own record of the same run is there too.
    """
    t = schema.traces
    other = t.alias()
    agents = select(other.c.source_id).where(other.c.project == db.project, other.c.source != CAPTURE)
    captured = t.c.source == CAPTURE
    query = (
        select(t.c.trace_hash, t.c.body, captured, case((captured, t.c.source_id.in_(agents)), else_=false()))
        .where(t.c.project == db.project)
        .order_by(t.c.started_at, t.c.source, t.c.source_id)
    )
    with db.engine.connect() as connection:
        rows = connection.execution_options(yield_per=_AHEAD).execute(query)
        for trace_hash, body, by_server, twin in rows:
            yield trace_hash, body, bool(by_server), bool(twin)


def bodies(db: Database, hashes: Sequence[str]) -> dict[str, bytes]:
    """Return the JSON of the traces with these hashes, at most some hundred; copies say the same."""
    t = schema.traces
    query = select(t.c.trace_hash, t.c.body).where(t.c.project == db.project, t.c.trace_hash.in_(hashes))
    with db.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def iter_graded_below(db: Database, score: float) -> Iterator[str]:
    """Yield the hashes of the traces that the newest grader gave less than `score`."""
    g, t = schema.grades, schema.graders
    newest = select(t.c.grader_hash).where(t.c.project == db.project).order_by(t.c.seq.desc()).limit(1)
    query = select(g.c.subject).where(
        g.c.project == db.project, g.c.grader_hash == newest.scalar_subquery(), g.c.score < score
    )
    with db.engine.connect() as connection:
        for (subject,) in connection.execution_options(yield_per=500).execute(query):
            yield subject


def shared_identities(db: Database, splits: Sequence[str]) -> list[tuple[tuple[bool, ...], int]]:
    """Return (in which of `splits` they occur, how many) for the identities of kept traces."""
    i, c = schema.identities, schema.curated
    inside = [func.max(case((c.c.split == split, 1), else_=0)).label(split) for split in splits]
    people = (
        select(i.c.hmac, *inside)
        .join(c, and_(c.c.project == i.c.project, c.c.trace_hash == i.c.trace_hash))
        .where(i.c.project == db.project, c.c.kept == true())
        .group_by(i.c.hmac)
        .subquery()
    )
    flags = [people.c[split] for split in splits]
    query = select(*flags, func.count()).group_by(*flags)
    with db.engine.connect() as connection:
        return [(tuple(bool(flag) for flag in row[:-1]), row[-1]) for row in connection.execute(query)]
