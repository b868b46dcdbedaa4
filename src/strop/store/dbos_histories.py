"""Workflow histories in DBOS's system database: `workflow_status`, its inputs and outputs, its steps.

Specification: DBOS Transact's system schema (checked with 3.4). Since 3.4 inputs and outputs have tables of
their own; older databases keep them in `workflow_status`, and both places are read. On PostgreSQL the tables
are in the schema `dbos`, on SQLite in none.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, column, func, inspect, or_, select, table

from strop.errors import ConfigError
from strop.records import JsonObject
from strop.store.source_query import json_value

_STATUS = (
    "workflow_uuid", "status", "name", "created_at", "updated_at", "completed_at", "application_version",
    "queue_name", "parent_workflow_id", "forked_from", "serialization", "attributes", "inputs", "output",
    "error",
)  # fmt: skip
_RUNNING = ("PENDING", "ENQUEUED", "DELAYED")
_STEPS = (
    "workflow_uuid", "function_id", "function_name", "output", "error", "child_workflow_id",
    "started_at_epoch_ms", "completed_at_epoch_ms", "serialization",
)  # fmt: skip
_APART = {"workflow_input": ("inputs",), "workflow_output": ("output", "error")}


class DbosTables:
    """The tables and columns that a database has. Raises ConfigError where it is no DBOS database."""

    def __init__(self, connection: Connection, schema: str | None, where: str) -> None:
        found = inspect(connection)
        names = set(found.get_table_names(schema=schema))
        if not {"workflow_status", "operation_outputs"} <= names:
            raise ConfigError(
                "there are no DBOS tables (workflow_status, operation_outputs)",
                where=f"{where}, schema {schema or 'none'}",
                fix="name DBOS's system database in sources.url, and its schema in sources.project",
            )

        def made(name: str, wanted: tuple[str, ...]) -> Any:
            have = {c["name"] for c in found.get_columns(name, schema=schema)}
            return table(name, *(column(c) for c in wanted if c in have), schema=schema)

        self.status: Any = made("workflow_status", _STATUS)
        self.steps: Any = made("operation_outputs", _STEPS)
        self.apart = {n: made(n, ("workflow_uuid", *c)) for n, c in _APART.items() if n in names}


def runs(
    connection: Connection, tables: DbosTables, start_ms: int, end_ms: int, after: str | None, limit: int
) -> list[JsonObject]:
    """Return the runs that ended in [start, end), ordered by id, from `after` on; the time is `ended_at`.

    Where no completion is recorded (older databases), it is the time of the last change.
    """
    w = tables.status
    changed = and_(w.c.updated_at >= start_ms, w.c.updated_at < end_ms)
    ended_at, ended = w.c.updated_at, changed
    if "completed_at" in w.c:
        ended_at = func.coalesce(w.c.completed_at, w.c.updated_at)
        completed = and_(w.c.completed_at >= start_ms, w.c.completed_at < end_ms)  # this way it has an index
        ended = or_(completed, and_(w.c.completed_at.is_(None), changed))
    columns: dict[str, Any] = {c.name: c for c in w.c}
    source: Any = w
    for name, wanted in _APART.items():
        other = tables.apart.get(name)
        if other is None:
            continue
        source = source.outerjoin(other, other.c.workflow_uuid == w.c.workflow_uuid)
        for c in wanted:
            columns[c] = func.coalesce(other.c[c], w.c[c]).label(c) if c in w.c else other.c[c]
    query = select(*columns.values(), ended_at.label("ended_at")).select_from(source)
    query = query.where(w.c.status.not_in(_RUNNING), ended)
    query = query if after is None else query.where(w.c.workflow_uuid > after)
    rows = connection.execute(query.order_by(w.c.workflow_uuid).limit(limit)).mappings()
    return [{str(k): json_value(v) for k, v in row.items()} for row in rows]


def steps_of(connection: Connection, tables: DbosTables, workflow_ids: list[str]) -> list[JsonObject]:
    """Return the steps of runs, ordered by run and number."""
    t = tables.steps
    query = (
        select(*t.c).where(t.c.workflow_uuid.in_(workflow_ids)).order_by(t.c.workflow_uuid, t.c.function_id)
    )
    return [{str(k): json_value(v) for k, v in row.items()} for row in connection.execute(query).mappings()]


def parents_of(connection: Connection, tables: DbosTables, workflow_ids: list[str]) -> dict[str, str | None]:
    """Return the parents of runs, by id; nothing of runs that are gone, or where none are recorded."""
    w = tables.status
    if "parent_workflow_id" not in w.c:
        return {}
    query = select(w.c.workflow_uuid, w.c.parent_workflow_id).where(w.c.workflow_uuid.in_(workflow_ids))
    return {str(run): parent for run, parent in connection.execute(query)}
