"""Workflow histories of DBOS, out of its system database (PostgreSQL or SQLite).

`url` is the system database's, `project` its schema on PostgreSQL (default dbos). DBOS records what a step
returned, not what it was given: the actions have no arguments, which is told among the trace's problems. A
step that returns {"in": {...}, "out": ...} (or "error") records both, and is read so.

Serialisations: portable JSON and the JSON of the other languages' SDKs are read; of Python's default,
pickle, only plain data is, without running the pickle; anything else becomes a problem.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

from strop.config import Source
from strop.errors import ConfigError
from strop.records import JsonObject
from strop.sources.platform import Capabilities, LateScore, Made, Page, Window
from strop.sources.workflows.pickles import plain
from strop.sources.workflows.runs import (
    UNREADABLE,
    Heard,
    Run,
    Step,
    as_name,
    as_object,
    json_text,
    made_of,
    parsed,
    read,
    recorded_pair,
    roots_of,
)
from strop.store.dbos_histories import DbosTables, parents_of, runs, steps_of
from strop.store.source_query import SourceDatabase

_PAGE = 20
_MS = 1_000_000
_ENDED_WELL = "SUCCESS"
_OWN = "DBOS."  # names of the steps that DBOS itself records


class Dbos:
    """DBOS's system database as a source. user and key: the database's user and password."""

    def __init__(self, source: Source, *, user: str | None, key: str | None) -> None:
        if not source.url:
            raise ConfigError(
                f"source {source.name} needs url",
                where="strop.toml, [[sources]]",
                fix='url = "postgresql://host/app_dbos_sys" or "sqlite:///app.sqlite"',
            )
        self._source = source
        self._database = SourceDatabase(source.url, user=user, password=key, timeout_s=source.timeout_s)
        self._schema = (source.project or "dbos") if self._database.dialect == "postgresql" else None

    def probe(self) -> Capabilities:
        """Look for DBOS's tables. Raises ConfigError, OutsideServiceError."""
        with self._database.reading() as connection:
            DbosTables(connection, self._schema, self._database.where)
        note = "DBOS records the results of steps, not their arguments"
        return Capabilities("dbos", self._database.version(), "sql", (note,))

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the runs that ended in a window, each with its steps; the cursor is the last run's id."""
        after = cursor
        start, end = -(-window.start // _MS), -(-window.end // _MS)
        while True:
            with self._database.reading() as connection:
                tables = DbosTables(connection, self._schema, self._database.where)
                found = runs(connection, tables, start, end, after, _PAGE)
                ids = [str(r["workflow_uuid"]) for r in found]
                done = steps_of(connection, tables, ids) if ids else []
                parents = {str(r["workflow_uuid"]): as_name(r.get("parent_workflow_id")) for r in found}
                roots = roots_of(parents, partial(parents_of, connection, tables))
            rows: list[JsonObject] = [
                {
                    "run": r,
                    "steps": [s for s in done if s["workflow_uuid"] == r["workflow_uuid"]],
                    "root": roots[str(r["workflow_uuid"])],
                }
                for r in found
            ]
            if len(found) < _PAGE:
                yield Page(rows, None, whole=True)
                return
            after = ids[-1]
            yield Page(rows, after, whole=True)

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make a trace of each run."""
        return made_of(
            read(f"{self._source.name}:{row['run']['workflow_uuid']}", partial(_run, row), self._source)
            for row in rows
        )

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield nothing: DBOS keeps no scores."""
        yield from ()

    def close(self) -> None:
        """Let go of the connections."""
        self._database.close()


def decode(text: Any, serialization: str | None) -> str:
    """Return a stored value as JSON text. Raises ValueError, without the value, where it can't be read."""
    if not isinstance(text, str):
        raise ValueError("a value is no text")
    if serialization in ("portable_json", "java_jackson"):
        return json_text(text)
    if serialization == "DBOS_JSON":
        return json_text(_unbased(text))
    if serialization == "js_superjson" or (serialization is None and _is_json(text)):
        value: Any = json.loads(json_text(text))
        keys = set(cast(JsonObject, value)) if isinstance(value, dict) else set[str]()
        wrapped = "json" in keys and keys <= {"json", "meta", "__dbos_serializer"}
        return json.dumps(value["json"], ensure_ascii=False) if wrapped else text
    if serialization in ("py_pickle", None):
        return json.dumps(plain(_unbased(text)), ensure_ascii=False)
    raise ValueError("a value has a serialisation of its own")


def _run(row: JsonObject) -> Run:
    status: JsonObject = row["run"]
    problems: list[str] = []
    native = as_name(status.get("serialization"))
    workflow_id = str(status["workflow_uuid"])
    started = int(status["created_at"])
    ended = int(status["ended_at"])
    steps: list[JsonObject] = row["steps"]
    ordered = sorted(steps, key=lambda r: int(r.get("function_id") or 0))
    failure = None
    if status.get("status") != _ENDED_WELL:
        failure = _error(status.get("error"), native) or f"the workflow ended as {status.get('status')}"
    result = None if failure is not None else _value(status.get("output"), native, problems, "null")
    attributes = as_object(parsed(status["attributes"]) if isinstance(status.get("attributes"), str) else
                         status.get("attributes"))  # fmt: skip
    kept = {
        f"workflow.{k}": status[k]
        for k in ("application_version", "queue_name", "forked_from")
        if status.get(k) is not None
    }
    return Run(
        workflow_id=workflow_id,
        run_id=workflow_id,
        name=as_name(status.get("name")) or "unnamed",
        given=_inputs(status.get("inputs"), native, problems),
        result=result,
        failure=failure,
        started_at=started * _MS,
        ended_at=ended * _MS,
        events=tuple(_events(ordered, problems)),
        parent_id=as_name(status.get("parent_workflow_id")),
        root_id=row["root"],
        attributes={**attributes, **kept},
        problems=tuple(problems),
        size=sum(len(v) for r in (status, *ordered) for v in r.values() if isinstance(v, str)),
    )


def _events(rows: Sequence[JsonObject], problems: list[str]) -> Iterator[Step | Heard]:
    awaited = {
        r.get("child_workflow_id"): r
        for r in rows
        if r.get("function_name") == "DBOS.getResult" and r.get("child_workflow_id") is not None
    }
    for row in rows:
        name = as_name(row.get("function_name")) or "unnamed"
        native = as_name(row.get("serialization"))
        if name.startswith(_OWN):
            if name == "DBOS.recv" and row.get("output") is not None:
                heard = _value(row["output"], native, problems, "null")
                if heard != "null":  # null: nothing came in time
                    yield Heard(name="message", given=(heard,))
            continue
        outcome = awaited.get(row.get("child_workflow_id"), row) if row.get("child_workflow_id") else row
        yield _step(row, outcome, name, problems)


def _step(row: JsonObject, outcome: JsonObject, name: str, problems: list[str]) -> Step:
    native = as_name(outcome.get("serialization"))
    error = _error(outcome.get("error"), native)
    child_unawaited = outcome is row and row.get("child_workflow_id") is not None
    result: str | None = None
    if error is None and not child_unawaited:
        result = _value(outcome.get("output"), native, problems, "null")
    given: tuple[str, ...] | None = None
    if result is not None:
        given, result, error = recorded_pair(result)
    started = int(row.get("started_at_epoch_ms") or 0) * _MS
    return Step(
        call_id=f"step_{row.get('function_id')}",
        name=name,
        given=given,
        result=result,
        error=error,
        started_at=started,
        ended_at=int(outcome.get("completed_at_epoch_ms") or 0) * _MS,
    )


def _inputs(raw: Any, native: str | None, problems: list[str]) -> tuple[str, ...]:
    """Return a workflow's arguments: the positional ones, then the named ones as an object."""
    if raw is None:
        return ()
    value: Any = parsed(_value(raw, native, problems, UNREADABLE))
    if isinstance(value, list):
        return tuple(json.dumps(v, ensure_ascii=False) for v in cast("list[Any]", value))
    if isinstance(value, dict):
        inputs = cast(JsonObject, value)
        listed: Any = inputs.get("positionalArgs", inputs.get("args")) or []
        named: Any = inputs.get("namedArgs", inputs.get("kwargs")) or {}
        given = [*cast("list[Any]", listed), *([named] if named else [])]
        return tuple(json.dumps(v, ensure_ascii=False) for v in given)
    return (UNREADABLE,)


def _value(raw: Any, native: str | None, problems: list[str], absent: str) -> str:
    if raw is None:
        return absent
    try:
        return decode(raw, native)
    except (ValueError, RecursionError) as error:
        problems.append(str(error) if isinstance(error, ValueError) else "a value is nested too deep")
        return UNREADABLE


def _error(raw: Any, native: str | None) -> str | None:
    """Return a failure's message; of a pickled exception only what class it is."""
    if raw is None:
        return None
    try:
        value: Any = json.loads(decode(raw, native))
    except (ValueError, RecursionError) as error:
        name = (
            str(error).rpartition("a pickle holds a Python object: ")[2] if "object: " in str(error) else ""
        )
        return f"{name} (its message is pickled and not read)" if name else "it failed"
    if isinstance(value, dict):
        said = cast(JsonObject, value)
        name, message = said.get("name"), said.get("message")
        return f"{name}: {message}" if name and message else str(message or name or "it failed")
    return value if isinstance(value, str) else "it failed"


def _unbased(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError("a value is no base64") from error


def _is_json(text: str) -> bool:
    # The base64 of a pickle of Python's protocols 2 to 5 begins with gA; no JSON text does.
    return not text.startswith("gA")
