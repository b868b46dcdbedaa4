"""The versions of the grader that graded this project's traces, in the order of their use."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from sqlalchemy import insert, select

from strop.store.database import Database
from strop.store.schema import graders


class GraderVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version as it came into use; one that comes back is there twice."""

    grader_hash: str
    source: str
    at: str


def remember_grader(db: Database, grader_hash: str, source: str) -> None:
    """Keep a version where it is not the one in use already."""
    known = grader_versions(db)
    if known and known[-1].grader_hash == grader_hash:
        return
    at = datetime.now(UTC).isoformat(timespec="seconds")
    row = {"project": db.project, "grader_hash": grader_hash, "source": source, "at": at}
    with db.engine.begin() as connection:
        connection.execute(insert(graders).values(row))


def grader_versions(db: Database) -> list[GraderVersion]:
    """Return all versions, the first one first."""
    query = select(graders).where(graders.c.project == db.project).order_by(graders.c.seq)
    with db.engine.connect() as connection:
        return [
            GraderVersion(grader_hash=row.grader_hash, source=row.source, at=row.at)
            for row in connection.execute(query)
        ]
