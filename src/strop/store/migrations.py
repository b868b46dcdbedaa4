"""Numbered, append-only schema changes, each a function that runs once in a transaction."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert, inspect, select, text

from strop.store import schema


def m001_first_tables(connection: Connection) -> None:
    """Create the tables of the first release."""
    schema.metadata.create_all(connection)


def m002_feedback(connection: Connection) -> None:
    """Add what a rubric's components say; a database that begins today has the column already."""
    columns = {column["name"] for column in inspect(connection).get_columns("grades")}
    if "feedback" not in columns:
        connection.execute(text("ALTER TABLE grades ADD COLUMN feedback TEXT"))


def m003_numeric_verdicts(connection: Connection) -> None:
    """Add the verdicts that are numbers; a database that begins today has the column already."""
    columns = {column["name"] for column in inspect(connection).get_columns("judgements")}
    if "value" not in columns:
        connection.execute(text("ALTER TABLE judgements ADD COLUMN value FLOAT"))


def m004_grader_versions(connection: Connection) -> None:
    """Add the versions of the grader; a database that begins today has the table already."""
    schema.graders.create(connection, checkfirst=True)


def m005_late_scores(connection: Connection) -> None:
    """Add the scores that wait for their traces; a database that begins today has the table already."""
    schema.late_scores.create(connection, checkfirst=True)
    for index in schema.TRACE_TARGETS:
        index.create(connection, checkfirst=True)


def m006_weights(connection: Connection) -> None:
    """Add the weights of curated traces and the order of time; a database that begins today has both."""
    columns = {column["name"] for column in inspect(connection).get_columns("curated")}
    if "weight" not in columns:
        connection.execute(text("ALTER TABLE curated ADD COLUMN weight FLOAT"))
    schema.TRACE_ORDER.create(connection, checkfirst=True)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    m001_first_tables,
    m002_feedback,
    m003_numeric_verdicts,
    m004_grader_versions,
    m005_late_scores,
    m006_weights,
)


def migrate(connection: Connection) -> None:
    """Apply the migrations that this database hasn't seen; of two processes at once, one does."""
    if not _missing(connection):
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # whoever comes second waits, then looks again
    for number in _missing(connection):
        MIGRATIONS[number - 1](connection)
        connection.execute(insert(schema.migrations).values(number=number))


def _missing(connection: Connection) -> list[int]:
    done: set[int] = set()
    if inspect(connection).has_table("migrations"):
        done = set(connection.scalars(select(schema.migrations.c.number)))
    return [number for number in range(1, len(MIGRATIONS) + 1) if number not in done]
