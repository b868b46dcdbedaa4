"""Invocations of a Restate server, over the SQL of its admin API: `POST /query`.

Specification: Restate's SQL introspection API, tables `sys_invocation` and `sys_journal` (journal version 2:
`entry_json` holds an entry as Rust's serde writes it, payloads as lists of bytes). `url` is the admin
address (port 9070), `query` a condition on sys_invocation's columns that is added to the window's.

Restate records what a `ctx.run` returned, not what it was given; calls of other handlers are recorded with
both. A run that returns {"in": {...}, "out": ...} (or "error") tells both itself. How often a run was tried
is not kept once an invocation has ended. Journals are kept for a day after it by default: pull daily.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import JsonObject
from strop.sources.http import Api
from strop.sources.platform import Capabilities, LateScore, Made, Page, Window, iso, ns
from strop.sources.workflows.runs import (
    UNREADABLE,
    Heard,
    Run,
    Step,
    Unreadable,
    as_name,
    as_object,
    json_text,
    made_of,
    parsed,
    read,
    recorded_pair,
    roots_of,
)

_PAGE = 50
_COLUMNS = (
    "id, target_service_name, target_service_key, target_handler_name, target_service_ty, invoked_by_id, "
    "trace_id, status, completion_result, completion_failure, created_at, completed_at"
)
_ID = re.compile(r"inv_[0-9A-Za-z]{1,80}")


class Restate:
    """A Restate server. key: a bearer token, where a proxy or Restate Cloud asks for one."""

    def __init__(
        self,
        source: Source,
        *,
        user: str | None,
        key: str | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not source.url:
            raise ConfigError(
                f"source {source.name} needs url",
                where="strop.toml, [[sources]]",
                fix='url = "http://127.0.0.1:9070"',
            )
        headers = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._source = source
        self._api = Api("Restate", source.url, headers=headers, timeout_s=source.timeout_s, sleep=sleep)

    def probe(self) -> Capabilities:
        """Ask the server for its version. Raises OutsideServiceError."""
        version = self._api.get("/version")
        note = "Restate records the results of runs, not their arguments"
        return Capabilities("restate", str(version.get("version") or "unknown"), "sql", (note,))

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the invocations that ended in a window, each with its journal; the cursor is the last id."""
        start, end = iso(window.start), iso(window.end)
        where = "status = 'completed'"
        where += f" AND completed_at >= TIMESTAMP '{start}' AND completed_at < TIMESTAMP '{end}'"
        where += f" AND ({self._source.query})" if self._source.query else ""
        after = cursor
        while True:
            more = f" AND id > {_quoted(after)}" if after else ""
            listed = self._rows(
                f"SELECT {_COLUMNS} FROM sys_invocation WHERE {where}{more} ORDER BY id LIMIT {_PAGE}"  # noqa: S608
            )
            ids = [str(i.get("id")) for i in listed]
            if after is not None and ids and min(ids) <= after:
                raise OutsideServiceError("the order of Restate's invocations does not advance")
            journals = self._journals([i for i in ids if _ID.fullmatch(i)])
            roots = roots_of(
                {str(i.get("id")): as_name(i.get("invoked_by_id")) for i in listed}, self._parents
            )
            rows: list[JsonObject] = [
                {"invocation": i, "journal": journals.get(n, []), "root": roots[n]}
                for n, i in zip(ids, listed, strict=True)
            ]
            if len(listed) < _PAGE:
                yield Page(rows, None, whole=True)
                return
            after = ids[-1]
            yield Page(rows, after, whole=True)

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make a trace of each invocation."""
        return made_of(
            read(
                f"{self._source.name}:{row['invocation'].get('id')}",
                partial(_run, row["invocation"], row["journal"], row["root"]),
                self._source,
            )
            for row in rows
        )

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield nothing: Restate keeps no scores."""
        yield from ()

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def _journals(self, ids: list[str]) -> dict[str, list[JsonObject]]:
        found: dict[str, list[JsonObject]] = {}
        if ids:
            wanted = ", ".join(_quoted(i) for i in ids)
            sql = "SELECT id, index, appended_at, entry_type, version, entry_json FROM sys_journal "
            for entry in self._rows(f"{sql}WHERE id IN ({wanted}) ORDER BY id, index"):
                found.setdefault(str(entry.get("id")), []).append(entry)
        return found

    def _parents(self, ids: list[str]) -> dict[str, str | None]:
        wanted = ", ".join(_quoted(i) for i in ids)
        rows = self._rows(f"SELECT id, invoked_by_id FROM sys_invocation WHERE id IN ({wanted})")  # noqa: S608
        return {str(r.get("id")): as_name(r.get("invoked_by_id")) for r in rows}

    def _rows(self, sql: str) -> list[JsonObject]:
        rows = self._api.post("/query", {"query": sql}).get("rows")
        if not isinstance(rows, list):
            raise OutsideServiceError("Restate's answer to a query has no rows", where=self._source.url or "")
        return [as_object(r) for r in cast("list[Any]", rows)]


def _run(invocation: JsonObject, journal: Sequence[JsonObject], root_id: str) -> Run:
    if not journal:
        raise Unreadable("the journal is gone: its retention is over")
    if any(e.get("version") == 1 for e in journal):
        raise Unreadable("the journal is of version 1 (Restate before 1.3), which is not read")
    problems: list[str] = []
    unique = {int(e.get("index") or 0): e for e in journal}
    entries = [(unique[i], as_object(parsed(unique[i].get("entry_json")))) for i in sorted(unique)]
    given: tuple[str, ...] = ()
    result: str | None = None
    failure: str | None = None
    for _, entry in entries:
        command = as_object(entry.get("Command"))
        if "Input" in command:
            payload = _payload(as_object(command["Input"]).get("payload"), problems)
            given = () if payload is None else (payload,)
        if "Output" in command:
            result, failure = _outcome(as_object(command["Output"]).get("result"), problems)
    if invocation.get("completion_result") == "failure":
        failure = failure or as_name(invocation.get("completion_failure")) or "the invocation failed"
    invocation_id = str(invocation["id"])
    workflow = invocation.get("target_service_ty") == "workflow"
    started, ended = ns(invocation.get("created_at")), ns(invocation.get("completed_at"))
    kept = {
        f"workflow.{k}": v for k in ("target_service_key", "trace_id") if (v := invocation.get(k)) is not None
    }
    return Run(
        workflow_id=as_name(invocation.get("target_service_key")) or invocation_id
        if workflow
        else invocation_id,
        run_id=invocation_id,
        name=f"{invocation.get('target_service_name')}.{invocation.get('target_handler_name')}",
        given=given,
        result=None if failure is not None else result or "null",
        failure=failure,
        started_at=started,
        ended_at=ended,
        events=tuple(_events(entries, problems)),
        parent_id=as_name(invocation.get("invoked_by_id")),
        root_id=root_id,
        attributes=kept,
        problems=tuple(problems),
        size=sum(len(str(row.get("entry_json") or "")) for row, _ in entries) // 4,
    )


def _events(entries: Sequence[tuple[JsonObject, JsonObject]], problems: list[str]) -> Iterator[Step | Heard]:
    completions: dict[int, tuple[str, JsonObject, int]] = {}
    for row, entry in entries:
        for kind, body in as_object(as_object(entry.get("Notification")).get("Completion")).items():
            completion = as_object(body)
            completions[int(completion.get("completion_id") or 0)] = (kind, completion, _at(row))
    for row, entry in entries:
        command = as_object(entry.get("Command"))
        signal = as_object(as_object(entry.get("Notification")).get("Signal"))
        if "Run" in command:
            run = as_object(command["Run"])
            number = int(run.get("completion_id") or 0)
            yield _step(as_name(run.get("name")) or "run", None, row, completions.get(number), problems)
        elif "Call" in command:
            call = as_object(command["Call"])
            request = as_object(call.get("request"))
            target = next((as_object(t) for t in as_object(request.get("invocation_target")).values()), {})
            payload = _payload(request.get("parameter"), problems)
            number = int(call.get("result_completion_id") or 0)
            name = f"{target.get('name')}.{target.get('handler')}"
            yield _step(name, () if payload is None else (payload,), row, completions.get(number), problems)
        elif "GetPromise" in command:
            promise = as_object(command["GetPromise"])
            done = completions.get(int(promise.get("completion_id") or 0))
            value, _ = _outcome(done[1].get("result"), problems) if done is not None else (None, None)
            if value is not None:
                yield Heard(name=as_name(promise.get("key")) or "promise", given=(value,))
        elif signal:
            value, _ = _outcome(signal.get("result"), problems)
            if value is not None:
                yield Heard(name="signal", given=(value,))


def _step(
    name: str,
    given: tuple[str, ...] | None,
    row: JsonObject,
    done: tuple[str, JsonObject, int] | None,
    problems: list[str],
) -> Step:
    result, error = _outcome(done[1].get("result"), problems) if done is not None else (None, None)
    if given is None and result is not None:
        given, result, error = recorded_pair(result)
    return Step(
        call_id=f"entry_{row.get('index')}",
        name=name,
        given=given,
        result=result,
        error=error,
        started_at=_at(row),
        ended_at=done[2] if done is not None else _at(row),
    )


def _outcome(result: Any, problems: list[str]) -> tuple[str | None, str | None]:
    """Return (value, failure) of serde's {"Success": [bytes]} or {"Failure": {"code", "message"}}."""
    found = as_object(result)
    if "Failure" in found:
        return None, as_name(as_object(found["Failure"]).get("message")) or "it failed"
    if "Success" in found:
        return _payload(found["Success"], problems) or "null", None
    return None, None


def _payload(raw: Any, problems: list[str]) -> str | None:
    """Return a list of bytes as JSON text; text that is no JSON as a JSON string; None where it is empty."""
    if not isinstance(raw, list) or not raw:
        return None
    try:
        data = bytes(cast("list[int]", raw))
    except (ValueError, TypeError):
        problems.append("a payload is no list of bytes")
        return UNREADABLE
    try:
        return json_text(data)
    except ValueError:
        pass
    try:
        return json.dumps(data.decode(), ensure_ascii=False)
    except UnicodeDecodeError:
        problems.append("a payload is neither JSON nor text")
        return UNREADABLE


def _at(row: JsonObject) -> int:
    try:
        return ns(row.get("appended_at"), 0)
    except ValueError:
        return 0


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
