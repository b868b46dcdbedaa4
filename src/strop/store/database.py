"""One connection pool bound to one project."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from strop.errors import OutsideServiceError
from strop.store.migrations import migrate

_BUSY_S = 30


class Database:
    """A project's rows. The modules of this package add the queries as functions over it."""

    def __init__(self, engine: Engine, project: str) -> None:
        self.engine = engine
        self.project = project

    def upsert(
        self,
        connection: Connection,
        table: Table,
        rows: Sequence[Mapping[str, Any]],
        *,
        update: bool = False,
    ) -> int:
        """Insert rows of this project; existing keys stay (default) or are overwritten.

        Returns the number of rows that were written.
        """
        if not rows:
            return 0
        dialect = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        key = [c.name for c in table.primary_key.columns]
        written = 0
        for start in range(0, len(rows), 500):
            values = [{"project": self.project, **row} for row in rows[start : start + 500]]
            statement = dialect.insert(table)
            if update:
                others = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in key}
                statement = statement.on_conflict_do_update(index_elements=key, set_=others)
            else:
                statement = statement.on_conflict_do_nothing(index_elements=key)
            written += connection.execute(statement, values).rowcount
        return written

    def close(self) -> None:
        """Return all connections."""
        self.engine.dispose()


def open_database(url: str, project: str) -> Database:
    """Open the store at a SQLAlchemy URL, creating and migrating it. Raises OutsideServiceError."""
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _sqlite_pragmas)
        with engine.begin() as connection:
            migrate(connection)
    except SQLAlchemyError as error:
        raise OutsideServiceError(
            f"the store does not open: {type(error).__name__}: {error}",
            where=url.split("@")[-1],
            fix="check store.url in strop.toml",
        ) from error
    return Database(engine, project)


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_S * 1000}")
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Switch the journal's mode; SQLite does not wait for others here, whatever its timeout, so this does."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
