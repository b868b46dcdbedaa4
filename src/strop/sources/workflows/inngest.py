"""Function runs of Inngest: Cloud, a self-hosted server, or the dev server.

Specification: Inngest's REST API v2, `GET /runs` and `GET /runs/{id}/trace?includeOutput=true`, and of v1
`GET /v1/events/{id}` for the event that a run began with. `url` is the server's address
(https://api.inngest.com or http://127.0.0.1:8288), the key a signing or API key, `query` a function's id.

Steps are actions, named by their step id; what the SDK recorded as a step's input are the arguments. The
API passes payloads as protobuf structs: integers past 2^53 arrive rounded, which nothing here can undo.
Never run against a real server here: only against answers as documented.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import quote, urlsplit

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import JsonObject
from strop.sources.http import Api, NotServed
from strop.sources.platform import SECOND, Capabilities, LateScore, Made, Page, Window, iso, ns
from strop.sources.workflows.runs import (
    Heard,
    Run,
    Step,
    Unreadable,
    as_name,
    as_object,
    made_of,
    read,
    recorded_pair,
)

_PAGE = 100
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "SKIPPED")
_HEARD = ("WAIT_FOR_EVENT", "WAIT_FOR_SIGNAL")
_PREFIXES = ("FUNCTION_RUN_STATUS_", "TRACE_SPAN_STATUS_", "TRACE_STEP_OP_")


class Inngest:
    """An environment of Inngest. key: the bearer token."""

    margin = SECOND  # both ends of the API's range belong to it

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
                fix='url = "https://api.inngest.com", or "http://127.0.0.1:8288"',
            )
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._source = source
        self._v2 = "/v2" if urlsplit(source.url).hostname == "api.inngest.com" else "/api/v2"
        self._api = Api("Inngest", source.url, headers=headers, timeout_s=source.timeout_s, sleep=sleep)

    def probe(self) -> Capabilities:
        """Ask for one run. Raises OutsideServiceError."""
        self._api.get(f"{self._v2}/runs", {"limit": 1})
        return Capabilities("inngest", "unknown", "v2")

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the runs that ended in a window, each with its trace and its events."""
        wide = window.widened(self.margin)
        params: JsonObject = {
            "from": iso(wide.start),
            "until": iso(wide.end),
            "timeField": "endedAt",
            "order": "ASC",
            "limit": _PAGE,
            "functionId": self._source.query,
        }
        while True:
            answer = self._api.get(f"{self._v2}/runs", {**params, "cursor": cursor})
            page = as_object(answer.get("page"))
            listed = [as_object(r) for r in _list(answer.get("data"))]
            # The server takes the last step's end for that of a run that goes on.
            rows = [self._row(r) for r in listed if _plain(r.get("status")) in _ENDED]
            following = page.get("cursor") if page.get("hasMore") else None
            if page.get("hasMore") and not following:
                raise OutsideServiceError(
                    "Inngest has more runs, and no cursor", where=self._source.url or ""
                )
            if following is None:
                yield Page(rows, None, whole=True)
                return
            if following == cursor:
                raise OutsideServiceError("Inngest's cursor does not advance", where=self._source.url or "")
            cursor = str(following)
            yield Page(rows, cursor, whole=True)

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make a trace of each run."""
        return made_of(
            read(f"{self._source.name}:{row['run'].get('id')}", partial(_run, row), self._source)
            for row in rows
        )

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield nothing: scores that Inngest keeps beside a run are not read."""
        yield from ()

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def _row(self, run: JsonObject) -> JsonObject:
        row: JsonObject = {"run": run}
        run_id = quote(str(run.get("id") or ""), safe="")
        try:
            answer = self._api.get(f"{self._v2}/runs/{run_id}/trace", {"includeOutput": "true"})
        except NotServed:
            return {**row, "trace": None}
        ids = [str(i) for i in _list(as_object(run.get("trigger")).get("eventIds"))]
        events = [e for i in ids if (e := self._event(i)) is not None]
        return {**row, "trace": as_object(answer.get("data")), "events": events}

    def _event(self, event_id: str) -> JsonObject | None:
        try:
            return as_object(self._api.get(f"/v1/events/{quote(event_id, safe='')}").get("data"))
        except NotServed:
            return None


def _run(row: JsonObject) -> Run:
    run: JsonObject = row["run"]
    if row["trace"] is None:
        raise Unreadable("the run's trace is gone: its retention is over")
    trace: JsonObject = row["trace"]
    events: list[JsonObject] = row["events"]
    problems: list[str] = []
    root = as_object(trace.get("rootSpan"))
    trigger = as_object(run.get("trigger"))
    given = [e["data"] for e in events if e.get("data") is not None]
    if trigger.get("eventIds") and not given:
        problems.append("the event that began the run is gone")
    status = _plain(run.get("status"))
    output = _unwrapped(root.get("output") if root.get("output") is not None else run.get("output"))
    failure = None if status == "COMPLETED" else _failure(output) or f"the run ended as {status.lower()}"
    run_id = str(run["id"])
    started = ns(run.get("queuedAt") or run.get("startedAt"))
    function = as_object(run.get("function"))
    user = [as_object(e.get("user")) for e in events]
    kept: JsonObject = {"workflow.event": trigger["eventName"]} if trigger.get("eventName") else {}
    return Run(
        workflow_id=run_id,
        run_id=run_id,
        name=as_name(function.get("name")) or as_name(function.get("id")) or "unnamed",
        given=tuple(_json(g) for g in given),
        result=None if failure is not None else _json(output),
        failure=failure,
        started_at=started,
        ended_at=ns(run.get("endedAt") or root.get("endedAt")),
        events=tuple(_events(root)),
        attributes={**kept, **{f"user.{k}": v for u in user for k, v in u.items()}},
        problems=tuple(problems),
        size=len(json.dumps(trace)) + len(json.dumps(events)),
    )


def _events(root: JsonObject) -> Iterator[Step | Heard]:
    steps = [as_object(s) for s in _list(root.get("children"))]
    order = sorted(range(len(steps)), key=lambda i: (_at(steps[i]), i))
    for i in order:
        span = steps[i]
        kind = _plain(span.get("stepOp"))
        name = as_name(span.get("name")) or as_name(span.get("stepId")) or "step"
        output = _unwrapped(span.get("output"))
        if kind in _HEARD:
            if output is not None:
                yield Heard(name=name, given=(_json(output),))
            continue
        if kind in ("SLEEP", "UNSPECIFIED", ""):
            continue
        status = _plain(span.get("status"))
        failed = status in ("FAILED", "CANCELLED")
        error = _failure(output) or "the step failed" if failed else None
        attempts = [c for c in _list(span.get("children")) if not _plain(as_object(c).get("stepOp"))]
        pair = (None, _json(output), None) if span.get("input") is not None else recorded_pair(_json(output))
        yield Step(
            call_id=as_name(span.get("id")) or f"step_{i}",
            name=name,
            given=_arguments(span["input"]) if span.get("input") is not None else pair[0],
            result=None if failed or (output is None and status != "COMPLETED") else pair[1],
            error=error or pair[2],
            started_at=_at(span),
            ended_at=_time(span.get("endedAt"), _at(span)),
            attempts=max(1, len(attempts)),
        )


def _arguments(raw: Any) -> tuple[str, ...]:
    """Return a step's input: the SDKs record the list of its arguments."""
    value = _unwrapped(raw)
    return tuple(_json(v) for v in cast("list[Any]", value)) if isinstance(value, list) else (_json(value),)


def _unwrapped(raw: Any) -> Any:
    """Take a value out of `{"data": ...}`, which the API and the SDKs put around it."""
    value: Any = raw
    for _ in range(2):
        if not isinstance(value, dict) or set(cast(JsonObject, value)) != {"data"}:
            break
        value = cast(JsonObject, value)["data"]
    return value


def _failure(output: Any) -> str | None:
    found = as_object(output)
    error = found.get("error", found)
    if isinstance(error, str):
        return error
    name, message = as_object(error).get("name"), as_object(error).get("message")
    return f"{name}: {message}" if name and message else as_name(message or name)


def _plain(raw: Any) -> str:
    """Return an enum's short name, however the server spells it."""
    text = raw if isinstance(raw, str) else ""
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


def _at(span: JsonObject) -> int:
    return _time(span.get("startedAt") or span.get("queuedAt"), 0)


def _time(raw: Any, otherwise: int) -> int:
    try:
        return ns(raw, otherwise)
    except ValueError:
        return otherwise


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(raw: Any) -> list[Any]:
    return cast("list[Any]", raw) if isinstance(raw, list) else []
