"""A workflow's history as Temporal exports it -> a run. Pure.

Specification: temporal.api.history.v1.History as JSON, from `temporal workflow show --output json` or the
SDKs' `to_json`; enums in either spelling, payloads whole or in the command line's short form.
Actions are activities, local activities, child workflows and Nexus operations; signals and accepted updates
come from outside, an update's outcome is what the run answered. Timers, markers and tasks are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import msgspec

from strop.config import Source
from strop.records import JsonObject, Skipped, Trace
from strop.sources.platform import ns
from strop.sources.workflows.runs import (
    Heard,
    Run,
    Said,
    Step,
    Unreadable,
    as_name,
    as_object,
    parsed,
    read,
)
from strop.sources.workflows.temporal_payloads import payload_text, payload_texts

_SUFFIX = "EventAttributes"
_LOCAL_MARKERS = ("core_local_activity", "LocalActivity")
_CAUSES_DEEPEST = 20


def read_history(
    raw: Any, source: Source, *, workflow_id: str | None = None, run_id: str | None = None, where: str = ""
) -> Trace | Skipped:
    """Read one exported history.

    workflow_id, run_id: where they are known from elsewhere; exports of old servers don't name them.
    where: the item's name where they don't.
    """
    item = where or f"{source.name}:{run_id or 'history'}"
    return read(item, lambda: _History(raw, workflow_id, run_id).run(), source)


class _Draft(msgspec.Struct):
    """An action while its events are read: identified by the event that scheduled it."""

    call_id: str
    name: str
    given: tuple[str, ...] | None
    started_at: int
    turn: int | None
    ended_at: int = 0
    result: str | None = None
    error: str | None = None
    attempts: int = 1


class _History:
    """The state of reading one history's events in order."""

    def __init__(self, raw: Any, workflow_id: str | None, run_id: str | None) -> None:
        self._events = _ordered(raw)
        self._workflow_id, self._run_id = workflow_id, run_id
        self._problems: list[str] = []
        self._order: list[_Draft | Heard | Said] = []
        self._ids: set[str] = set()
        self._drafts: dict[int, _Draft] = {}
        self._start: JsonObject = {}
        self._closed = False
        self._result: str | None = None
        self._failure: str | None = None
        self._kept: JsonObject = {}

    def run(self) -> Run:
        for number, kind, attributes, at in self._events:
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, number, attributes, at)
        if not self._start:
            raise Unreadable("the history has no beginning (no WorkflowExecutionStarted event)")
        run_id = self._run_id or as_name(self._start.get("originalExecutionRunId"))
        workflow_id = self._workflow_id or as_name(self._start.get("workflowId"))
        if run_id is None or workflow_id is None:
            missing = "workflow id" if workflow_id is None else "run id"
            raise Unreadable(f"the history does not name its {missing}")
        if not self._closed:
            self._problems.append("the history does not end: the workflow was still running")
        parent, root = (
            as_object(self._start.get(k)) for k in ("parentWorkflowExecution", "rootWorkflowExecution")
        )
        given = payload_texts(self._start.get("input"), self._problems)
        return Run(
            workflow_id=workflow_id,
            run_id=run_id,
            name=_type(self._start.get("workflowType")),
            given=given,
            result=self._result,
            failure=self._failure,
            started_at=self._events[0][3],
            ended_at=self._events[-1][3],
            events=tuple(_step(e) if isinstance(e, _Draft) else e for e in self._order),
            parent_id=as_name(parent.get("workflowId")),
            root_id=as_name(root.get("workflowId")),
            attributes={**self._searchable(), **self._kept},
            problems=tuple(self._problems),
            size=sum(len(json.dumps(a)) for _, _, a, _ in self._events),
        )

    def started(self, _: int, attributes: JsonObject, at: int) -> None:
        self._start = self._start or attributes

    def scheduled(self, number: int, attributes: JsonObject, at: int) -> None:
        given = payload_texts(attributes.get("input"), self._problems)
        self._add(number, attributes, _type(attributes.get("activityType")), given, at)

    def child(self, number: int, attributes: JsonObject, at: int) -> None:
        given = payload_texts(attributes.get("input"), self._problems)
        self._add(number, attributes, _type(attributes.get("workflowType")), given, at)

    def nexus(self, number: int, attributes: JsonObject, at: int) -> None:
        name = f"{as_name(attributes.get('service'))}.{as_name(attributes.get('operation'))}"
        raw = attributes.get("input")
        given = () if raw is None else (payload_text(raw, self._problems),)
        self._add(number, attributes, name, given, at)

    def marker(self, number: int, attributes: JsonObject, at: int) -> None:
        """Read a local activity: its marker keeps the result, and no arguments."""
        if attributes.get("markerName") not in _LOCAL_MARKERS:
            return
        details = as_object(attributes.get("details"))
        data = next(iter(payload_texts(details.get("data"), self._problems)), None)
        about = as_object(parsed(data))
        name = as_name(about.get("activity_type") or about.get("ActivityType")) or "local_activity"
        self._add(number, attributes, name, None, at)
        draft = self._drafts[number]
        draft.ended_at, draft.attempts = at, _count(about.get("attempt") or about.get("Attempt"))
        if attributes.get("failure") is not None:
            draft.error = _failure(attributes["failure"])
        else:
            draft.result = next(iter(payload_texts(details.get("result"), self._problems)), "null")

    def attempt(self, _: int, attributes: JsonObject, at: int) -> None:
        draft = self._drafts.get(_number(attributes.get("scheduledEventId")))
        if draft is not None:
            draft.attempts = max(draft.attempts, _count(attributes.get("attempt")))

    def completed(self, _: int, attributes: JsonObject, at: int) -> None:
        draft = self._draft_of(attributes)
        if draft is not None:
            raw = attributes.get("result")
            single = isinstance(raw, dict) and "payloads" not in raw  # Nexus: one payload, not a list
            texts = (payload_text(raw, self._problems),) if single else payload_texts(raw, self._problems)
            draft.result, draft.error, draft.ended_at = (texts[0] if texts else "null"), None, at

    def failed(self, _: int, attributes: JsonObject, at: int) -> None:
        draft = self._draft_of(attributes)
        if draft is not None:
            draft.error, draft.ended_at = _failure(attributes.get("failure")), at

    def refused(self, _: int, attributes: JsonObject, at: int) -> None:
        draft = self._draft_of(attributes)
        if draft is not None:
            draft.error, draft.ended_at = "the child workflow was not started", at

    def ended_badly(self, _: int, attributes: JsonObject, at: int, *, how: str) -> None:
        draft = self._draft_of(attributes)
        if draft is not None:
            draft.error, draft.ended_at = how, at

    def signal(self, _: int, attributes: JsonObject, at: int) -> None:
        name = as_name(attributes.get("signalName")) or "signal"
        self._order.append(Heard(name=name, given=payload_texts(attributes.get("input"), self._problems)))

    def update(self, _: int, attributes: JsonObject, at: int) -> None:
        asked = as_object(as_object(attributes.get("acceptedRequest")).get("input"))
        name = as_name(asked.get("name")) or "update"
        self._order.append(Heard(name=name, given=payload_texts(asked.get("args"), self._problems)))

    def answered(self, _: int, attributes: JsonObject, at: int) -> None:
        outcome = as_object(attributes.get("outcome"))
        if outcome.get("failure") is not None:
            self._problems.append("an update failed")
        self._order += [Said(payload=t) for t in payload_texts(outcome.get("success"), self._problems)]

    def succeeded(self, _: int, attributes: JsonObject, at: int) -> None:
        texts = payload_texts(attributes.get("result"), self._problems)
        self._closed, self._result = True, texts[0] if texts else "null"

    def workflow_failed(self, _: int, attributes: JsonObject, at: int) -> None:
        self._closed, self._failure = True, _failure(attributes.get("failure"))

    def workflow_ended(self, _: int, attributes: JsonObject, at: int, *, how: str) -> None:
        self._closed, self._failure = True, how

    def continued(self, _: int, attributes: JsonObject, at: int) -> None:
        self._closed = True
        self._kept["workflow.continued_as"] = as_name(attributes.get("newExecutionRunId"))
        self._problems.append("the workflow continued as new: its end is in another run")

    def _add(
        self, number: int, attributes: JsonObject, name: str, given: tuple[str, ...] | None, at: int
    ) -> None:
        call_id = as_name(attributes.get("activityId")) or ""
        unique = call_id if call_id and call_id not in self._ids else f"event_{number}"
        self._ids.add(unique)
        turn = _number(attributes.get("workflowTaskCompletedEventId")) or None
        draft = _Draft(unique, name, given, at, turn)
        self._drafts[number] = draft
        self._order.append(draft)

    def _draft_of(self, attributes: JsonObject) -> _Draft | None:
        keys = ("scheduledEventId", "initiatedEventId")
        number = next((n for k in keys if (n := _number(attributes.get(k)))), 0)
        draft = self._drafts.get(number)
        if draft is None:
            self._problems.append("a result belongs to no recorded action")
        return draft

    def _searchable(self) -> JsonObject:
        """Return memo and search attributes: what the workflow is found by."""
        found: JsonObject = {}
        for outer, inner in (("memo", "fields"), ("searchAttributes", "indexedFields")):
            holder = as_object(self._start.get(outer))
            for name, raw in as_object(holder.get(inner, holder)).items():
                found[name] = parsed(payload_text(raw, self._problems))
        return found


_Handler = Callable[[_History, int, JsonObject, int], None]


def _badly(how: str) -> _Handler:
    return lambda history, number, attributes, at: history.ended_badly(number, attributes, at, how=how)


def _ended(how: str) -> _Handler:
    return lambda history, number, attributes, at: history.workflow_ended(number, attributes, at, how=how)


_HANDLERS: dict[str, _Handler] = {
    "workflowExecutionStarted": _History.started,
    "workflowExecutionSignaled": _History.signal,
    "workflowExecutionUpdateAccepted": _History.update,
    "workflowExecutionUpdateCompleted": _History.answered,
    "workflowExecutionCompleted": _History.succeeded,
    "workflowExecutionFailed": _History.workflow_failed,
    "workflowExecutionTimedOut": _ended("the workflow timed out"),
    "workflowExecutionCanceled": _ended("the workflow was cancelled"),
    "workflowExecutionTerminated": _ended("the workflow was terminated"),
    "workflowExecutionContinuedAsNew": _History.continued,
    "activityTaskScheduled": _History.scheduled,
    "activityTaskStarted": _History.attempt,
    "activityTaskCompleted": _History.completed,
    "activityTaskFailed": _History.failed,
    "activityTaskTimedOut": _badly("the activity timed out"),
    "activityTaskCanceled": _badly("the activity was cancelled"),
    "markerRecorded": _History.marker,
    "startChildWorkflowExecutionInitiated": _History.child,
    "startChildWorkflowExecutionFailed": _History.refused,
    "childWorkflowExecutionCompleted": _History.completed,
    "childWorkflowExecutionFailed": _History.failed,
    "childWorkflowExecutionTimedOut": _badly("the child workflow timed out"),
    "childWorkflowExecutionCanceled": _badly("the child workflow was cancelled"),
    "childWorkflowExecutionTerminated": _badly("the child workflow was terminated"),
    "nexusOperationScheduled": _History.nexus,
    "nexusOperationCompleted": _History.completed,
    "nexusOperationFailed": _History.failed,
    "nexusOperationTimedOut": _badly("the operation timed out"),
    "nexusOperationCanceled": _badly("the operation was cancelled"),
}


def _ordered(raw: Any) -> list[tuple[int, str, JsonObject, int]]:
    """Return (number, kind, attributes, time in ns) of a history's events, each once."""
    outer = as_object(raw)
    listed: Any = outer.get("events", as_object(outer.get("history")).get("events"))
    if listed is None and isinstance(raw, list):
        listed = cast(Any, raw)
    if not isinstance(listed, list) or not listed:
        raise Unreadable("there are no events: this is no history")
    found: dict[int, tuple[int, str, JsonObject, int]] = {}
    for item in cast("list[Any]", listed):
        event = as_object(item)
        number = _number(event.get("eventId"))
        if number <= 0:
            raise Unreadable("an event has no number")
        key = next((k for k in event if k.endswith(_SUFFIX)), "")
        kind = key.removesuffix(_SUFFIX)
        try:
            at = ns(event.get("eventTime"))
        except ValueError as error:
            raise Unreadable("an event has no time") from error
        found.setdefault(number, (number, kind, as_object(event.get(key)), at))
    return [found[n] for n in sorted(found)]


def _step(draft: _Draft) -> Step:
    return Step(
        call_id=draft.call_id,
        name=draft.name,
        given=draft.given,
        result=draft.result,
        error=draft.error,
        started_at=draft.started_at,
        ended_at=max(draft.started_at, draft.ended_at),
        attempts=draft.attempts,
        turn=draft.turn,
    )


def _failure(raw: Any) -> str:
    """Return a failure's message: the innermost one, for the outer ones only say what failed."""
    messages: list[str] = []
    failure = as_object(raw)
    for _ in range(_CAUSES_DEEPEST):
        message = as_name(failure.get("message"))
        kind = as_name(as_object(failure.get("applicationFailureInfo")).get("type"))
        if message:
            messages.append(f"{kind}: {message}" if kind else message)
        cause = failure.get("cause")
        if not isinstance(cause, dict):
            break
        failure = cast(JsonObject, cause)
    return messages[-1] if messages else "it failed"


def _type(raw: Any) -> str:
    return as_name(as_object(raw).get("name")) or "unnamed"


def _number(raw: Any) -> int:
    """Return an event's number; Temporal's JSON writes 64-bit integers as text. 0 where there is none."""
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        return 0
    try:
        return int(raw)
    except ValueError:
        return 0


def _count(raw: Any) -> int:
    return max(1, _number(raw))
