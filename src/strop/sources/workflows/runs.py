"""Runs of durable workflows -> traces: pure, whatever engine recorded them.

A step is an action: an assistant message with one tool call (steps that were decided together share the
message), its recorded result the tool message. The run's input is the user message, its result the last
assistant message, and what came from outside meanwhile (signals, events, messages) are user messages.
Retries are no further actions: the last attempt's result counts, and `workflow.attempts` says how many
there were. Timers and other bookkeeping are no actions. A run's child is an action of its parent and a
trace of its own; `workflow.parent_id` and `workflow.root_id` link them (`[curate] group_by =
"workflow.root_id"` keeps a family on one side of the split).

Where steps are calls of a model, they are the conversation and the other steps its tools' results; steps
that no call of the model asked for are named in `workflow.other_steps`.

Payloads are JSON texts as they were recorded, so that no number or key order changes on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from strop.config import Source
from strop.records import Episode, JsonObject, Message, Skipped, ToolCall, Trace
from strop.sources.platform import Made
from strop.sources.spans.bounded import trace_of as trace_of_spans
from strop.sources.spans.span import Span
from strop.sources.workflows.model_steps import model_step

UNREADABLE = '"[unreadable payload]"'
_HALVES = re.compile("[\ud800-\udfff]")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Something a run did. `given`: the arguments as JSON texts; None where the engine keeps none.

    turn: steps with the same one were decided together. error: the last attempt's failure.
    """

    call_id: str
    name: str
    given: tuple[str, ...] | None
    result: str | None = None
    error: str | None = None
    started_at: int = 0
    ended_at: int = 0
    attempts: int = 1
    turn: int | None = None


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Something that came to a run from outside while it went on: a signal, an event, a message."""

    name: str
    given: tuple[str, ...]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a run answered to what it heard, before its end; a JSON text."""

    payload: str


Event = Step | Heard | Said


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a workflow; `events` are in order. Times are UTC ns; `size` is in bytes.

    ended_at: as the engine lists it, for it decides the window that the run belongs to.
    failure: why it failed; None where it ended well. result: None where it has none.
    """

    workflow_id: str
    run_id: str
    name: str
    given: tuple[str, ...] = ()
    result: str | None = None
    failure: str | None = None
    started_at: int = 0
    ended_at: int = 0
    events: tuple[Event, ...] = ()
    parent_id: str | None = None
    root_id: str | None = None
    attributes: JsonObject = {}
    tags: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    size: int = 0


class Unreadable(ValueError):
    """Why a run can't be read, in words that quote nothing of it."""


def read(item: str, make: Callable[[], Run], source: Source) -> Trace | Skipped:
    """Make the trace of a run that is read by `make`, whatever it holds. item: its name where it can't be."""
    try:
        return trace_of(make(), source)
    except Unreadable as error:
        reason = str(error)
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        reason = f"the run can't be understood: {type(error).__name__}"  # its text may quote the data
    return Skipped("assemble", item, reason)


def made_of(found: Iterable[Trace | Skipped]) -> Made:
    """Collect what became of runs: each once, in the window that it ended in."""
    traces: dict[str, Trace] = {}
    skipped: dict[str, Skipped] = {}
    for one in found:
        if isinstance(one, Trace):
            traces[one.source_id] = one
        else:
            skipped[one.item] = one
    return Made(list(traces.values()), list(skipped.values()), by_end=True)


def roots_of(
    parents: Mapping[str, str | None], ask: Callable[[list[str]], Mapping[str, str | None]]
) -> dict[str, str]:
    """Return the first run of each run's family. ask: the parents of further runs, by id."""
    known = dict(parents)
    while missing := sorted({p for p in known.values() if p is not None and p not in known}):
        found = ask(missing)
        known |= {m: found.get(m) for m in missing}
    roots: dict[str, str] = {}
    for one in parents:
        root, seen = one, {one}
        while (parent := known[root]) is not None and parent not in seen:
            root = parent
            seen.add(root)
        roots[one] = root
    return roots


def trace_of(run: Run, source: Source) -> Trace | Skipped:
    """Make the trace of a run that has ended."""
    # Two machines' clocks: where a run began after its end, the end is kept.
    run = msgspec.structs.replace(run, started_at=max(0, min(run.started_at, run.ended_at)))
    item = f"{source.name}:{run.run_id}"
    if run.size > source.max_trace_mb * (1 << 20):
        return Skipped("pull", item, f"the trace is larger than {source.max_trace_mb:g} MB")
    problems = [*run.problems, *_problems(run)]
    first = next((i for i, e in enumerate(run.events) if isinstance(e, Step)), 0)
    models = {
        i: span for i, e in enumerate(run.events) if (span := _model_span(i, e, run, first)) is not None
    }
    if models:
        made, skipped = trace_of_spans(_spans(run, models), source, problems=problems)
        if made is None:
            return Skipped(skipped[0].stage, item, skipped[0].reason)
    else:
        messages = _messages(run)
        if not any(m.role == "assistant" for m in messages):
            return Skipped("assemble", item, "the run did nothing and has no result")
        made = Trace(
            source=source.name,
            source_id=run.run_id,
            episodes=(Episode(messages=messages),),
            started_at=run.started_at,
            ended_at=run.ended_at,
            problems=tuple(dict.fromkeys(problems)),
        )
    return msgspec.structs.replace(
        made,
        source_id=run.run_id,
        customer=customer_of(run, source.customer_key),
        workflow_id=run.workflow_id,
        started_at=run.started_at,
        ended_at=run.ended_at,
        agent=run.name,
        status="ok" if run.failure is None else "error",
        error=run.failure,
        tags=run.tags,
        attributes=_attributes(run, made, models),
        identities={},
    )


def arguments_of(given: Sequence[str] | None) -> str:
    """Return a call's arguments: a single object itself, anything else as `{"args": [...]}`."""
    if not given:
        return "{}"
    if len(given) == 1 and given[0].lstrip()[:1] == "{":
        return given[0]
    return '{"args": [' + ", ".join(given) + "]}"


def text_of(payload: str) -> str:
    """Return a payload as a message's text: a JSON string's content, other JSON as it is.

    Halves of surrogate pairs, as JavaScript leaves them where it cuts text, become U+FFFD.
    """
    value = parsed(payload)
    return _HALVES.sub("\ufffd", value) if isinstance(value, str) else payload


def parsed(text: str | None) -> Any:
    """Return the value of a JSON text with exact integers; None for what is no JSON."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_object(raw: Any) -> JsonObject:
    """Return a JSON object; an empty one for anything else."""
    return cast(JsonObject, raw) if isinstance(raw, dict) else {}


def as_name(raw: Any) -> str | None:
    """Return a text that is not empty; None for anything else."""
    return raw if isinstance(raw, str) and raw else None


def json_text(raw: str | bytes) -> str:
    """Return a JSON text as it is. Raises ValueError, without the text, for what is none."""
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("a payload is no JSON") from error
    return text


def recorded_pair(result: str) -> tuple[tuple[str, ...] | None, str | None, str | None]:
    """Return (arguments, result, error) of a step that recorded `{"in": ..., "out": ...}` (or "error").

    Engines that keep no arguments can so be told them; any other result comes back alone.
    """
    value = parsed(result)
    pair = cast(JsonObject, value) if isinstance(value, dict) else {}
    if "in" not in pair or len(pair) < 2 or not set(pair) <= {"in", "out", "error"}:
        return None, result, None
    given = (json.dumps(pair["in"], ensure_ascii=False),)
    if pair.get("error") is not None:
        error = pair["error"]
        return given, None, error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    return given, json.dumps(pair.get("out"), ensure_ascii=False), None


def customer_of(run: Run, key: str) -> str | None:
    """Find the customer in the run's attributes, else in its input: the key itself, or a dotted path."""
    for holder in (run.attributes, *(parsed(p) for p in run.given)):
        if not isinstance(holder, dict):
            continue
        values = cast(JsonObject, holder)
        found: Any = values.get(key)
        if found is None:
            found = values
            for part in key.split("."):
                found = cast(JsonObject, found).get(part) if isinstance(found, dict) else None
        if isinstance(found, str | int | float) and found != "":
            return str(found)
    return None


def _messages(run: Run) -> tuple[Message, ...]:
    out = [Message(role="user", content=_heard(run.given))]
    i = 0
    while i < len(run.events):
        event = run.events[i]
        if isinstance(event, Heard):
            out.append(Message(role="user", content=_heard(event.given) if event.given else event.name))
            i += 1
            continue
        if isinstance(event, Said):
            out.append(Message(role="assistant", content=text_of(event.payload)))
            i += 1
            continue
        turn = [event]
        while i + len(turn) < len(run.events) and _together(event, run.events[i + len(turn)]):
            turn.append(cast(Step, run.events[i + len(turn)]))
        calls = tuple(ToolCall(s.call_id, s.name, arguments_of(s.given)) for s in turn)
        out.append(Message(role="assistant", tool_calls=calls))
        out += [
            Message(role="tool", content=text, tool_call_id=s.call_id)
            for s in turn
            if (text := _result(s)) is not None
        ]
        i += len(turn)
    if run.failure is None and run.result is not None:
        out.append(Message(role="assistant", content=text_of(run.result)))
    return tuple(out)


def _heard(given: Sequence[str]) -> str:
    return text_of(given[0]) if len(given) == 1 else f"[{', '.join(given)}]"


def _together(first: Step, other: Event) -> bool:
    return isinstance(other, Step) and first.turn is not None and other.turn == first.turn


def _result(step: Step) -> str | None:
    if step.error is not None:
        return json.dumps({"error": step.error}, ensure_ascii=False)
    return None if step.result is None else text_of(step.result)


def _problems(run: Run) -> list[str]:
    steps = [e for e in run.events if isinstance(e, Step)]
    problems = [f"call {s.name} has no result" for s in steps if _result(s) is None]
    unknown = sum(1 for s in steps if s.given is None)
    if unknown:
        problems.append(f"the engine recorded no arguments of {unknown} steps")
    return problems


def _model_span(index: int, event: Event, run: Run, first: int) -> Span | None:
    if not isinstance(event, Step) or event.error is not None:
        return None
    given = [parsed(p) for p in event.given or ()]
    found = model_step(given, parsed(event.result), recorded=event.given is not None)
    if found is None:
        return None
    if event.given is None and index == first:
        # The engine keeps no requests: the first one began with what the run was given.
        found["gen_ai.input.messages"] = [{"role": "user", "content": _heard(run.given)}]
    return _span(index, event, run, {"gen_ai.operation.name": "chat", **found})


def _spans(run: Run, models: dict[int, Span]) -> list[Span]:
    root = Span(
        trace_id=f"run {run.run_id}",
        span_id="run",
        name=run.name,
        started_at=run.started_at,
        ended_at=run.ended_at,
        attributes={"gen_ai.operation.name": "invoke_workflow"},
    )
    spans = [root]
    for i, event in enumerate(run.events):
        if i in models:
            spans.append(models[i])
        elif isinstance(event, Step):
            attributes: JsonObject = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": event.name}
            attributes["gen_ai.tool.call.result"] = _result(event)
            spans.append(_span(i, event, run, attributes))
    return spans


def _span(index: int, step: Step, run: Run, attributes: JsonObject) -> Span:
    # The id orders steps of equal times as they were recorded.
    return Span(
        trace_id=f"run {run.run_id}",
        span_id=f"{index:08d}",
        parent_id="run",
        name=step.name,
        started_at=max(run.started_at, step.started_at),
        ended_at=max(run.started_at, step.started_at, step.ended_at),
        attributes=attributes,
    )


def _attributes(run: Run, made: Trace, models: dict[int, Span]) -> JsonObject:
    steps = [(i, e) for i, e in enumerate(run.events) if isinstance(e, Step)]
    kept: JsonObject = {**run.attributes, "workflow.type": run.name}
    kept["workflow.root_id"] = run.root_id or run.parent_id or run.workflow_id
    if run.parent_id is not None:
        kept["workflow.parent_id"] = run.parent_id
    retried = {s.call_id: s.attempts for _, s in steps if s.attempts > 1}
    if retried:
        kept["workflow.attempts"] = retried
    if models:
        asked = {c.name for e in made.episodes for m in e.messages for c in m.tool_calls}
        others = [s.name for i, s in steps if i not in models and s.name not in asked]
        if others:
            kept["workflow.other_steps"] = list(dict.fromkeys(others))
    return kept
