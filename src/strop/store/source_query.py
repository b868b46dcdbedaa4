"""A tenant's own SELECT as a source of rows: read-only, limited in time, streamed in the order of a key.

PostgreSQL: one read-only transaction, statement_timeout and a server-side cursor. SQLite: query_only, and a
progress handler that ends a statement after the same time. Nothing else is accepted, because nothing else
is known to stay read-only here.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import JsonObject

BINDS = ("start", "end")
_CHUNK = 500
_DATA_EXCEPTION = "22"  # the class of PostgreSQL's SQLSTATEs whose message quotes a value
_QUERY_CANCELED = "57014"  # PostgreSQL's SQLSTATE where statement_timeout ends a statement


class SourceDatabase:
    """The tenant's database. Use `reading` for a connection; close when done.

    timeout_s: of one statement (PostgreSQL: of each fetch from its cursor).
    """

    def __init__(
        self, url: str, *, user: str | None = None, password: str | None = None, timeout_s: float = 60.0
    ) -> None:
        self._url = _checked(url, user, password)
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._engine: Engine | None = None

    @property
    def dialect(self) -> str:
        """Return "postgresql" or "sqlite"."""
        return self._url.get_backend_name()

    @property
    def where(self) -> str:
        """Return the address for messages, without its password."""
        return self._url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Let go of the connections."""
        if self._engine is not None:
            self._engine.dispose()

    def version(self) -> str:
        """Return the server's version. Raises OutsideServiceError, ConfigError."""
        with self.reading() as connection:
            statement = "SHOW server_version" if self.dialect == "postgresql" else "SELECT sqlite_version()"
            return str(connection.exec_driver_sql(statement).scalar_one())

    def columns(self, sql: str) -> list[str]:
        """Return the names of the columns of a SELECT. Raises OutsideServiceError, ConfigError."""
        with self.reading() as connection:
            statement = f"SELECT * FROM (\n{_one(sql)}\n) AS source_rows LIMIT 0"  # noqa: S608 (their SELECT)
            empty = dict.fromkeys(binds_of(sql), "1970-01-01T00:00:00Z")
            return list(connection.execute(text(statement), empty).keys())

    def rows(
        self,
        sql: str,
        values: Mapping[str, str],
        *,
        order: tuple[str, ...],
        after: str | int | float | None = None,
        only_null: tuple[str, ...] = (),
    ) -> Iterator[JsonObject]:
        """Yield rows as JSON values, ordered by columns, the first of which is the key.

        values: of the binds that the SELECT names. after: rows with a greater key only. only_null: rows in
        which all of these columns are null. Raises TooLarge where a statement takes too long,
        OutsideServiceError, ConfigError.
        """
        with self.reading() as connection:
            named = [_quoted(connection, c) for c in order]
            where = [f"{_quoted(connection, c)} IS NULL" for c in only_null]
            bound: dict[str, Any] = {b: values[b] for b in binds_of(sql)}
            if after is not None:
                where.append(f"{named[0]} > :strop_after")
                bound["strop_after"] = after
            statement = f"SELECT * FROM (\n{_one(sql)}\n) AS source_rows"  # noqa: S608 (their SELECT)
            statement += f" WHERE {' AND '.join(where)}" if where else ""
            statement += f" ORDER BY {', '.join(named)}" if named else ""
            streamed = connection.execution_options(stream_results=True, max_row_buffer=_CHUNK)
            self._begin_statement()
            result = streamed.execute(text(statement), bound).mappings()
            while chunk := result.fetchmany(_CHUNK):
                for row in chunk:
                    yield {str(k): json_value(v) for k, v in row.items()}
                self._begin_statement()

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """Yield a connection that can only read. Raises TooLarge, OutsideServiceError, ConfigError."""
        try:
            with self._open().connect() as opened:
                connection = opened
                if self.dialect == "sqlite":
                    self._limit_sqlite(connection)
                else:
                    connection = connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                    connection.exec_driver_sql(
                        f"SET LOCAL statement_timeout = {max(1, int(self._timeout_s * 1000))}"
                    )
                    connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
                yield connection
        except SQLAlchemyError as error:
            raise self._failed(error) from error

    def _open(self) -> Engine:
        if self._engine is None:
            if self.dialect == "sqlite" and not _file_of(self._url).is_file():
                raise ConfigError(  # SQLite would make an empty database of this name
                    "there is no such database", where=self.where, fix="correct sources.url in strop.toml"
                )
            try:
                self._engine = create_engine(self._url, poolclass=NullPool)
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"PostgreSQL needs the package {error.name}",
                    where=self.where,
                    fix="pip install 'strop[postgres]'",
                ) from error
        return self._engine

    def _limit_sqlite(self, connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        driver: Any = connection.connection.driver_connection
        driver.text_factory = _lenient
        self._begin_statement()
        driver.set_progress_handler(lambda: int(time.monotonic() > self._deadline), 10_000)

    def _begin_statement(self) -> None:
        self._deadline = time.monotonic() + self._timeout_s

    def _failed(self, error: SQLAlchemyError) -> OutsideServiceError:
        cause: Any = getattr(error, "orig", None)
        state = str(getattr(cause, "sqlstate", None) or "")
        quotes = state.startswith(_DATA_EXCEPTION)
        said = type(cause).__name__ if quotes else str(error).splitlines()[0]
        if state == _QUERY_CANCELED or str(cause) == "interrupted":
            return TooLarge(f"the query takes longer than {self._timeout_s:g} s", where=self.where)
        return OutsideServiceError(
            f"the database refuses: {said}",
            where=self.where,
            fix="run sources.sql by hand against sources.url, with the same user",
        )


def binds_of(sql: str) -> set[str]:
    """Return which of :start and :end a SELECT names. Raises ConfigError for any other name."""
    found = set(text(sql).compile().params)
    unknown = sorted(found - set(BINDS))
    if unknown:
        raise ConfigError(
            f"sources.sql uses :{unknown[0]}, which is not known",
            where="strop.toml, [[sources]]",
            fix=r"use :start and :end; write a colon inside a literal as \:",
        )
    return found


def json_value(value: Any) -> Any:
    """Return a database's value as a JSON value: times ISO 8601, numbers exact or as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(1 << 63) <= value < (1 << 63) else str(value)
    if value is None or isinstance(value, str | bool | float):
        return value
    if isinstance(value, datetime | date | clock):
        return value.isoformat()
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(k): json_value(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(v) for v in cast("list[Any]", value)]
    return str(value)


def _lenient(raw: bytes) -> str:
    """SQLite's text: it may hold any bytes, and one that is wrong must not end the pull."""
    return raw.decode(errors="replace")


def _number(value: Decimal) -> int | float | str:
    """The number where JSON can hold it exactly, else its digits as text."""
    if not value.is_finite() or abs(value.adjusted()) > 40:
        return str(value)
    if value == value.to_integral_value():
        return json_value(int(value))
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def _checked(url: str, user: str | None, password: str | None) -> URL:
    fix = "write sqlite:///file.db or postgresql://user@host/database"
    try:
        found = make_url(url)
        backend = found.get_backend_name()
    except ArgumentError as error:  # without the text: it may hold a password
        raise ConfigError(
            "sources.url is no database address", where="strop.toml, [[sources]]", fix=fix
        ) from error
    if backend in ("postgres", "postgresql"):
        found = found.set(drivername="postgresql+psycopg")
    elif backend != "sqlite":
        raise ConfigError(
            f"sources.url names {backend}, which can't be held to reading here",
            where="strop.toml, [[sources]]",
            fix=fix,
        )
    if user is not None:
        found = found.set(username=user)
    return found.set(password=password) if password is not None else found


def _file_of(url: URL) -> Path:
    return Path((url.database or "").removeprefix("file:"))


def _one(sql: str) -> str:
    return sql.strip().rstrip(";").rstrip()


def _quoted(connection: Connection, column: str) -> str:
    # A colon in a name would be read as a bind.
    name = connection.dialect.identifier_preparer.quote_identifier(column).replace(":", r"\:")
    return f"source_rows.{name}"
