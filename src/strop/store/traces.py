"""Traces as they land, items that could not be used, and where each pull stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from strop.records import Skipped, Trace, trace_hash
from strop.store import schema
from strop.store.database import Database
from strop.store.late_scores import joined

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Trace).decode
_CHUNK = 400
CAPTURE = "capture"  # the source of what strop's own server recorded


def add_traces(db: Database, traces: Sequence[Trace], connection: Connection | None = None) -> int:
    """Store redacted traces by (source, source_id); return how many rows are new.

    A run that is known stays as it is, unless this record of it holds more messages (a late span or a later
    turn completed it) or other scores.
    """
    if connection is None:
        with db.engine.begin() as own:
            return add_traces(db, traces, own)
    best: dict[tuple[str, str], Trace] = {}
    for trace in traces:
        key = (trace.source, trace.source_id)
        if key not in best or _messages(trace) > _messages(best[key]):
            best[key] = trace
    known = _known(connection, db.project, best)
    rows = [_row(t) for key, t in best.items() if key not in known]
    renewed = [_renewed(known[key], t) for key, t in best.items() if key in known]
    db.upsert(connection, schema.traces, rows)
    db.upsert(connection, schema.traces, [_row(t) for t in renewed if t is not None], update=True)
    return len(rows)


def add_skipped(db: Database, skipped: Sequence[Skipped], connection: Connection | None = None) -> None:
    """Record items that a stage could not use, once each."""
    if connection is None:
        with db.engine.begin() as own:
            return add_skipped(db, skipped, own)
    unique = {(s.stage, s.item): s for s in skipped}
    rows = [{"stage": s.stage, "item": s.item, "reason": s.reason} for s in unique.values()]
    db.upsert(connection, schema.skipped, rows)
    return None


def skipped_counts(db: Database) -> dict[str, int]:
    """Return the number of skipped items by "stage: reason", most frequent first."""
    with db.engine.connect() as connection:
        t = schema.skipped
        query = select(t.c.stage, t.c.reason, func.count()).where(t.c.project == db.project)
        rows = connection.execute(query.group_by(t.c.stage, t.c.reason)).all()
    return dict(Counter({f"{stage}: {reason}": n for stage, reason, n in rows}).most_common())


def source_counts(db: Database) -> dict[str, int]:
    """Return the number of stored traces by source, duplicates included."""
    with db.engine.connect() as connection:
        t = schema.traces
        query = select(t.c.source, func.count()).where(t.c.project == db.project).group_by(t.c.source)
        return {row[0]: row[1] for row in connection.execute(query.order_by(t.c.source))}


def iter_traces(db: Database) -> Iterator[tuple[str, Trace]]:
    """Yield (hash, trace) of each distinct trace, oldest first; of copies the first one."""
    seen: set[str] = set()
    for digest, trace in iter_records(db):
        if digest not in seen:
            seen.add(digest)
            yield digest, trace


def iter_records(db: Database) -> Iterator[tuple[str, Trace]]:
    """Yield (hash, trace) of every stored record, copies included, oldest first."""
    for digest, body in iter_bodies(db):
        yield digest, _decode(body)


def iter_bodies(db: Database) -> Iterator[tuple[str, bytes]]:
    """Yield (hash, JSON of the trace) of every stored record, copies included, oldest first."""
    t = schema.traces
    query = (
        select(t.c.trace_hash, t.c.body)
        .where(t.c.project == db.project)
        .order_by(t.c.started_at, t.c.source, t.c.source_id)
    )
    with db.engine.connect() as connection:
        for row in connection.execution_options(yield_per=500).execute(query):
            yield row[0], row[1]


def window_cursor(db: Database, source: str, window: str) -> tuple[str | None, bool]:
    """Return where a window of a pull stands: its cursor (None: not begun) and whether it is done."""
    t = schema.pull_windows
    query = select(t.c.cursor, t.c.done).where(
        t.c.project == db.project, t.c.source == source, t.c.window == window
    )
    with db.engine.connect() as connection:
        row = connection.execute(query).first()
    return (row[0], bool(row[1])) if row is not None else (None, False)


def done_windows(db: Database, source: str) -> list[str]:
    """Return the names of the windows of a source that are pulled for good."""
    t = schema.pull_windows
    query = select(t.c.window).where(t.c.project == db.project, t.c.source == source, t.c.done.is_(True))
    with db.engine.connect() as connection:
        return list(connection.scalars(query))


def save_window(
    connection: Connection, db: Database, source: str, window: str, cursor: str, *, done: bool
) -> None:
    """Move a window's checkpoint, in the transaction that stores what was fetched."""
    row = {"source": source, "window": window, "cursor": cursor, "done": done}
    db.upsert(connection, schema.pull_windows, [row], update=True)


def save_identities(connection: Connection, db: Database, rows: Iterable[Mapping[str, Any]]) -> None:
    """Keep keyed HMACs of identities: rows of {"hmac", "kind", "trace_hash"}."""
    unique = {(r["hmac"], r["trace_hash"]): r for r in rows}
    db.upsert(connection, schema.identities, list(unique.values()))


def traces_with_identity(db: Database, hmac: str) -> list[str]:
    """Return the hashes of the traces that an identity's HMAC appears in."""
    t = schema.identities
    query = select(t.c.trace_hash).where(t.c.project == db.project, t.c.hmac == hmac)
    with db.engine.connect() as connection:
        return sorted(connection.scalars(query))


def identity_counts(db: Database) -> dict[str, int]:
    """Return how many different identities of each kind were taken out of the stored traces."""
    t = schema.identities
    query = (
        select(t.c.kind, func.count(t.c.hmac.distinct()))
        .where(t.c.project == db.project)
        .group_by(t.c.kind)
        .order_by(t.c.kind)
    )
    with db.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def _renewed(old: Trace, new: Trace) -> Trace | None:
    """Return what a known trace becomes by a second record of it; None where it stays as it is."""
    scores = joined(old.scores, new.scores)
    if _messages(new) > _messages(old):
        return msgspec.structs.replace(new, scores=scores)
    return msgspec.structs.replace(old, scores=scores) if set(scores) != set(old.scores) else None


def _messages(trace: Trace) -> int:
    return sum(len(e.messages) for e in trace.episodes)


def _row(trace: Trace) -> dict[str, Any]:
    return {
        "source": trace.source,
        "source_id": trace.source_id,
        "trace_hash": trace_hash(trace),
        "customer": trace.customer,
        "workflow_id": trace.workflow_id,
        "session_id": trace.session_id,
        "started_at": trace.started_at,
        "ended_at": trace.ended_at,
        "model": trace.model,
        "body": _encode(trace),
    }


def _known(
    connection: Connection, project: str, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Trace]:
    """Return those of (source, source_id) that are stored."""
    by_source: dict[str, list[str]] = {}
    for source, source_id in wanted:
        by_source.setdefault(source, []).append(source_id)
    t = schema.traces
    known: dict[tuple[str, str], Trace] = {}
    for source, ids in by_source.items():
        for start in range(0, len(ids), _CHUNK):
            query = select(t.c.source_id, t.c.body).where(
                t.c.project == project, t.c.source == source, t.c.source_id.in_(ids[start : start + _CHUNK])
            )
            for source_id, body in connection.execute(query):
                known[source, source_id] = _decode(body)
    return known
