"""The tenant's own SQL for ground truth, run for one trace at a time against the tenant's database."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from strop.errors import ConfigError, OutsideServiceError
from strop.records import JsonObject

_BINDS = {"workflow_id", "trace_id", "trace_time"}


class LabelQuery:
    """A prepared label query. Gives the query only the names that it uses."""

    def __init__(self, connection: Connection, sql: str) -> None:
        self._connection = connection
        self._statement = text(sql)
        self.binds = set(self._statement.compile().params)
        unknown = sorted(self.binds - _BINDS)
        if unknown:
            raise ConfigError(
                f"labels.sql uses :{unknown[0]}, which is not known",
                where="strop.toml, [labels]",
                fix="use :workflow_id, :trace_id and :trace_time",
            )

    def first_row(self, values: Mapping[str, str | None]) -> JsonObject | None:
        """Return the first row as JSON values, None where there is none. Raises OutsideServiceError."""
        if any(values[b] is None for b in self.binds):
            return None
        try:
            result = self._connection.execute(self._statement, {b: values[b] for b in self.binds})
            row = result.mappings().first()
        except SQLAlchemyError as error:
            raise OutsideServiceError(
                f"the label query failed: {str(error).splitlines()[0]}",
                where="strop.toml, [labels] sql",
                fix="run the query by hand against labels.url",
            ) from error
        return None if row is None else {str(k): _json(v) for k, v in row.items()}


@contextmanager
def open_label_query(url: str, sql: str) -> Generator[LabelQuery]:
    """Connect to the tenant's database for the time of labelling. Raises OutsideServiceError."""
    try:
        engine = create_engine(url)
        connection = engine.connect()
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise OutsideServiceError(
            f"the label database does not open: {str(error).splitlines()[0]}",
            where=url.split("@")[-1],
            fix="check labels.url in strop.toml",
        ) from error
    try:
        yield LabelQuery(connection, sql)
    finally:
        connection.close()
        engine.dispose()


def _json(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
