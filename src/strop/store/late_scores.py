"""Scores that a platform gives apart from its traces, and later: kept until they find their trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import Column, Connection, exists, func, select, tuple_, update

from strop.records import Score, Trace, digest
from strop.store import schema
from strop.store.database import Database

_Kind: TypeAlias = Literal["trace", "session", "workflow"]
Target: TypeAlias = tuple[_Kind, str]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Score).decode
_trace = msgspec.json.Decoder(Trace).decode
_CHUNK = 400
_KINDS: tuple[_Kind, ...] = ("trace", "session", "workflow")


def save_late_scores(
    connection: Connection, db: Database, source: str, scores: Iterable[tuple[Target, Score]]
) -> int:
    """Keep redacted scores, once each; return how many are new."""
    rows = {(kind, target, digest(msgspec.to_builtins(score))): score for (kind, target), score in scores}
    return db.upsert(
        connection,
        schema.late_scores,
        [
            {
                "source": source,
                "kind": kind,
                "target": target,
                "digest": key,
                "body": _encode(score),
                "attached": False,
            }
            for (kind, target, key), score in rows.items()
        ],
    )


def attach_late_scores(db: Database) -> dict[str, int]:
    """Put waiting scores onto the stored traces that they belong to; return {"attached", "waiting"}.

    A trace's id counts in the score's own source first, and in the others where that source has no such
    trace: a table of outcomes has no traces of its own. Scores that find nothing wait for the next pull.
    """
    attached = 0
    for kind in _KINDS:
        after = ("", "")
        while True:
            with db.engine.begin() as connection:
                found = _ready(connection, db, kind, after)
                for source, value in found:
                    attached += _attach(connection, db, source, (kind, value))
            if not found:
                break
            after = found[-1]
    t = schema.late_scores
    count = select(func.count()).where(t.c.project == db.project, t.c.attached.is_(False))
    with db.engine.connect() as connection:
        return {"attached": attached, "waiting": connection.execute(count).scalar_one()}


def joined(old: Sequence[Score], new: Sequence[Score]) -> tuple[Score, ...]:
    """Return a trace's scores with newly read ones: of a name and giver, the newer ones count."""
    renewed = {(s.name, s.source) for s in new}
    kept = [s for s in old if (s.name, s.source) not in renewed]
    return tuple(dict.fromkeys((*kept, *new)))


def _ready(
    connection: Connection, db: Database, kind: _Kind, after: tuple[str, str]
) -> list[tuple[str, str]]:
    """Return the next (source, target) with waiting scores and a stored trace; some hundred at most."""
    t = schema.late_scores
    stored = exists().where(schema.traces.c.project == db.project, _column(kind) == t.c.target)
    query = (
        select(t.c.source, t.c.target)
        .where(t.c.project == db.project, t.c.kind == kind, t.c.attached.is_(False), stored)
        .where(tuple_(t.c.source, t.c.target) > after)
        .distinct()
        .order_by(t.c.source, t.c.target)
        .limit(_CHUNK)
    )
    return [(row[0], row[1]) for row in connection.execute(query)]


def _attach(connection: Connection, db: Database, source: str, target: Target) -> int:
    kind, value = target
    late, t = schema.late_scores, schema.traces
    waiting = (
        (late.c.project == db.project)
        & (late.c.source == source)
        & (late.c.kind == kind)
        & (late.c.target == value)
        & late.c.attached.is_(False)
    )
    scores = [_decode(body) for body in connection.scalars(select(late.c.body).where(waiting))]
    query = select(t.c.source, t.c.source_id, t.c.body).where(
        t.c.project == db.project, _column(kind) == value
    )
    found = connection.execute(query).all()
    own = [row for row in found if row[0] == source]
    for row_source, source_id, body in own or found:
        trace = _trace(body)
        scored = msgspec.structs.replace(trace, scores=joined(trace.scores, scores))
        connection.execute(
            update(t)
            .where(t.c.project == db.project, t.c.source == row_source, t.c.source_id == source_id)
            .values(body=_encode(scored))
        )
    connection.execute(update(late).where(waiting).values(attached=True))
    return len(scores)


def _column(kind: _Kind) -> Column[Any]:
    t = schema.traces
    return {"trace": t.c.source_id, "session": t.c.session_id, "workflow": t.c.workflow_id}[kind]
