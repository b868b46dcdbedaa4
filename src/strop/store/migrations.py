"""Numbered, append-only schema changes, each a function that runs once in a transaction."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, insert, inspect, select

from strop.store import schema


def m001_first_tables(connection: Connection) -> None:
    """Create the tables of the first release."""
    schema.metadata.create_all(connection)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (m001_first_tables,)


def migrate(connection: Connection) -> None:
    """Apply the migrations that this database hasn't seen."""
    done: set[int] = set()
    if inspect(connection).has_table("migrations"):
        done = set(connection.scalars(select(schema.migrations.c.number)))
    for number, migration in enumerate(MIGRATIONS, start=1):
        if number not in done:
            migration(connection)
            connection.execute(insert(schema.migrations).values(number=number))
