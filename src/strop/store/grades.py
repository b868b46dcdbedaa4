"""Grades and judgements: each is computed once for a content hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import select

from strop.records import Grade
from strop.store.database import Database
from strop.store.schema import grades, judgements

_CHUNK = 500


def save_grades(db: Database, grader_hash: str, new: Mapping[str, Grade]) -> int:
    """Store grades by subject; those already there stay. Returns the number of new rows."""
    rows = [
        {
            "grader_hash": grader_hash,
            "subject": subject,
            "score": grade.score,
            "components": msgspec.json.encode(grade.components).decode(),
            "error": grade.error,
            "floored": grade.floored,
            "forged": grade.forged,
            "feedback": msgspec.json.encode(grade.feedback).decode(),
        }
        for subject, grade in new.items()
    ]
    with db.engine.begin() as connection:
        return db.upsert(connection, grades, rows)


def load_grades(db: Database, grader_hash: str, subjects: Sequence[str] | None = None) -> dict[str, Grade]:
    """Return stored grades by subject: all of a grader's, or those of the given subjects."""
    query = select(grades).where(grades.c.project == db.project, grades.c.grader_hash == grader_hash)
    found: dict[str, Grade] = {}
    with db.engine.connect() as connection:
        if subjects is None:
            found.update(_grade(row) for row in connection.execute(query).mappings())
            return found
        for start in range(0, len(subjects), _CHUNK):
            wanted = query.where(grades.c.subject.in_(subjects[start : start + _CHUNK]))
            found.update(_grade(row) for row in connection.execute(wanted).mappings())
    return found


def save_judgements(db: Database, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store verdicts: request_hash, judge, verdict or value, reason, latency_s (seconds), usd."""
    with db.engine.begin() as connection:
        db.upsert(connection, judgements, rows)


def load_judgements(db: Database, request_hashes: Sequence[str]) -> dict[str, bool | float]:
    """Return the stored verdicts among these requests: a yes or no, or the number."""
    found: dict[str, bool | float] = {}
    table = judgements.c
    query = select(table.request_hash, table.verdict, table.value).where(
        table.project == db.project, table.verdict.is_not(None) | table.value.is_not(None)
    )
    with db.engine.connect() as connection:
        for start in range(0, len(request_hashes), _CHUNK):
            wanted = query.where(table.request_hash.in_(request_hashes[start : start + _CHUNK]))
            for row in connection.execute(wanted):
                found[row.request_hash] = row.value if row.verdict is None else row.verdict
    return found


def _grade(row: Mapping[Any, Any]) -> tuple[str, Grade]:
    return row["subject"], Grade(
        score=row["score"],
        components=msgspec.json.decode(row["components"], type=dict[str, float]),
        error=row["error"],
        floored=row["floored"],
        forged=row["forged"],
        feedback=msgspec.json.decode(row["feedback"] or "{}", type=dict[str, str]),
    )
