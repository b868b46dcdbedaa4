"""What curation decided about each distinct trace, its permanent split, and its ground truth."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import and_, delete, exists, or_, select, true

from strop.records import Curated, JsonObject, Trace
from strop.store import schema
from strop.store.database import Database
from strop.store.traces import CAPTURE
from strop.store.worksheet import chunked

_decode = msgspec.json.Decoder(Trace).decode
_CHUNK = 500


def iter_splits(db: Database) -> Iterator[tuple[str, str]]:
    """Yield the split of each group key that was ever assigned."""
    t = schema.splits
    query = select(t.c.group_id, t.c.split).where(t.c.project == db.project)
    with db.engine.connect() as connection:
        for row in connection.execution_options(yield_per=_CHUNK).execute(query):
            yield row[0], row[1]


def iter_kept(db: Database, split: str) -> Iterator[str]:
    """Yield the hashes of the kept traces of a split."""
    c = schema.curated
    query = select(c.c.trace_hash).where(c.c.project == db.project, c.c.split == split, c.c.kept == true())
    with db.engine.connect() as connection:
        yield from connection.execution_options(yield_per=_CHUNK).execute(query).scalars()


def save_curated(
    db: Database, rows: Iterable[Mapping[str, Any]], splits: Mapping[str, str] | Iterable[tuple[str, str]]
) -> None:
    """Replace the project's decisions and add new group assignments; old assignments stay.

    rows: {"trace_hash", "kept", "reason", "group_id", "split"} and, where it is not 1, "weight".
    splits: by group key. One transaction; neither is held in memory.
    """
    t = schema.curated
    with db.engine.begin() as connection:
        pairs = splits.items() if isinstance(splits, Mapping) else splits
        for chunk in chunked(pairs, _CHUNK):
            assigned = [{"group_id": key, "split": split} for key, split in chunk]
            db.upsert(connection, schema.splits, assigned)
        connection.execute(delete(t).where(t.c.project == db.project))
        for chunk in chunked(rows, _CHUNK):
            db.upsert(connection, t, [{"weight": 1.0, **row} for row in chunk])


def load_curated(
    db: Database, splits: Collection[str] | None = None, kept_only: bool = True
) -> Iterator[Curated]:
    """Yield curated traces, oldest first, with their ground truth where it is known.

    Of copies the first one, and the agent's own record before the server's.
    splits: only these ("train", "validation", "test", "unseen"); None: all.
    """
    t, c, labels = schema.traces, schema.curated, schema.labels
    other = schema.traces.alias()
    same = and_(other.c.project == t.c.project, other.c.trace_hash == t.c.trace_hash)
    agents = exists(select(other.c.source).where(same, other.c.source != CAPTURE))
    query = (
        select(
            t.c.trace_hash,
            t.c.body,
            c.c.kept,
            c.c.reason,
            c.c.group_id,
            c.c.split,
            c.c.weight,
            labels.c.ground_truth,
        )
        .join(c, and_(c.c.project == t.c.project, c.c.trace_hash == t.c.trace_hash))
        .outerjoin(labels, and_(labels.c.project == t.c.project, labels.c.trace_hash == t.c.trace_hash))
        .where(t.c.project == db.project, c.c.kept == true() if kept_only else true())
        .where(or_(t.c.source != CAPTURE, ~agents))
        .order_by(t.c.started_at, t.c.source, t.c.source_id)
    )
    if splits is not None:
        query = query.where(c.c.split.in_(sorted(splits)))
    seen: set[str] = set()
    with db.engine.connect() as connection:
        for digest, body, kept, reason, group, split, weight, truth in connection.execution_options(
            yield_per=500
        ).execute(query):
            if digest in seen:
                continue
            seen.add(digest)
            yield Curated(
                trace_hash=digest,
                trace=_decode(body),
                kept=bool(kept),
                reason=reason,
                group=group,
                split=split,
                weight=1.0 if weight is None else weight,
                ground_truth=msgspec.json.decode(truth) if truth is not None else None,
            )


def save_labels(db: Database, labels: Mapping[str, JsonObject]) -> None:
    """Store ground truth by trace hash; a newer answer replaces an older one."""
    rows = [
        {"trace_hash": key, "ground_truth": msgspec.json.encode(truth).decode()}
        for key, truth in labels.items()
    ]
    with db.engine.begin() as connection:
        db.upsert(connection, schema.labels, rows, update=True)
