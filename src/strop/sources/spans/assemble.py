"""Spans -> traces: a pure function, whatever platform the spans came through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from strop.records import JsonObject, Score, Skipped, Trace, Usage
from strop.sources.spans.conventions import (
    Kind,
    ModelCall,
    cost_of,
    kind_of,
    looks_like,
    number,
    read_agent,
    read_model_call,
    read_tool_run,
)
from strop.sources.spans.episodes import episodes_of
from strop.sources.spans.nesting import Tree
from strop.sources.spans.span import (
    EVALUATION,
    LATEST,
    LogEvent,
    Span,
    SpanEvent,
    decoded,
    dotted,
    listed,
    with_events,
)

# Attribute families that the record's own fields hold; everything else at the root is kept as it is.
_UNDERSTOOD = (
    "gen_ai.", "llm.", "openinference.", "input.", "output.", "user.", "enduser.", "metadata.", "ai.",
    "traceloop.", "tool.", "agent.", "langfuse.observation.", "langfuse.trace.", "mlflow.",
    "gcp.vertex.agent.", "pydantic_ai.", "logfire.",
)  # fmt: skip
_UNDERSTOOD_KEYS = {
    "session.id", "workflow.id", "tag.tags", "metadata", "langfuse.session.id", "langfuse.user.id",
    "all_messages_events", "final_result", "events", "prompt", "model_request_parameters", "agent_name",
    "model_name",
}  # fmt: skip
_WORKFLOW_KEYS = ("workflow.id", "temporal.workflow.id", "temporalWorkflowID")
_SESSION_KEYS = (
    "gen_ai.conversation.id", "session.id", "langfuse.session.id", "ai.telemetry.metadata.sessionId",
    "traceloop.association.properties.session_id", "traceloop.association.properties.thread_id",
    "mlflow.trace.session", "langsmith.metadata.session_id", "langsmith.metadata.thread_id",
    "gcp.vertex.agent.session_id",
)  # fmt: skip
_AGENT_KEYS = ("gen_ai.agent.name", "agent.name", "agent_name", "gen_ai.workflow.name")
_TAG_KEYS = ("tag.tags", "langfuse.trace.tags", "ai.telemetry.metadata.tags")
_PEOPLE = ("user.", "enduser.")
_PEOPLE_KEYS = {
    "langfuse.user.id", "ai.telemetry.metadata.userId", "traceloop.association.properties.user_id",
    "mlflow.trace.user", "langsmith.metadata.user_id",
}  # fmt: skip
_METADATA = (
    "metadata", "langfuse.trace.metadata", "langfuse.observation.metadata", "ai.telemetry.metadata",
    "traceloop.association.properties", "langsmith.metadata",
)  # fmt: skip
_MAX_PROBLEMS = 50


def assemble(
    spans: Iterable[Span],
    *,
    source: str,
    customer_key: str = "customer.id",
    logs: Iterable[LogEvent] = (),
) -> tuple[list[Trace], list[Skipped]]:
    """Build one trace for each trace id; what is no conversation is returned as skipped.

    logs: events that came apart from their spans; they are joined by trace and span id.
    """
    groups: dict[str, dict[str, Span]] = {}
    for span in spans:
        groups.setdefault(span.trace_id, {})[span.span_id] = span
    late: dict[str, list[LogEvent]] = {}
    for log in logs:
        late.setdefault(log.trace_id, []).append(log)
    traces: list[Trace] = []
    skipped: list[Skipped] = []
    for trace_id in groups | late:
        group = with_events(list(groups.get(trace_id, {}).values()), late.get(trace_id, ()))
        made = _trace(trace_id, group, source, customer_key)
        if isinstance(made, Trace):
            traces.append(made)
        else:
            skipped.append(made)
    return traces, skipped


def score_of(event: SpanEvent) -> Score | None:
    """Read an evaluation event; None where it has no name or no value."""
    a = event.attributes
    body = decoded(a.get("body"))
    a = a | cast(JsonObject, body) if isinstance(body, dict) else a
    name, label = a.get("gen_ai.evaluation.name"), a.get("gen_ai.evaluation.score.label")
    given = a.get("gen_ai.evaluation.score.value")
    value = given if isinstance(given, bool) else number(given)
    value = label if value is None else value
    if name is None or not isinstance(value, bool | float | str):
        return None
    return Score(str(name), value, "llm", str(a.get("gen_ai.evaluation.explanation") or ""))


def _trace(trace_id: str, spans: Sequence[Span], source: str, customer_key: str) -> Trace | Skipped:
    item = f"{source}:{trace_id}"
    if not trace_id.strip("0"):
        return Skipped("assemble", item, "the spans have no trace id")
    problems: list[str] = []
    spans = sorted(
        (_sound(s, problems) for s in spans), key=lambda s: (s.started_at, s.parent_id is not None, s.span_id)
    )
    if not spans:
        return Skipped("assemble", item, "there are log records, but no spans")
    root = next((s for s in spans if s.parent_id is None), None)
    if root is None:
        problems.append("no root span")
    by_kind: dict[Kind, list[Span]] = {"model": [], "tool": [], "agent": [], "other": [], "unknown": []}
    for span in spans:
        by_kind[kind_of(span)].append(span)
    tree = Tree(spans, by_kind["agent"])
    calls = _calls(by_kind, tree, problems)
    if not by_kind["model"] and not calls:
        return Skipped("assemble", item, problems[-1] if by_kind["unknown"] else "no model call in the trace")
    episodes, missing = episodes_of(calls, tree.single([read_tool_run(s) for s in by_kind["tool"]]), tree)
    if not episodes:
        return Skipped("assemble", item, problems[-1] if problems else "no messages")
    first = root or spans[0]
    failed = (
        first if first.status == "error" else next((s for s in by_kind["model"] if s.status == "error"), None)
    )
    ordered = [first, *(s for s in spans if s is not first)]
    times = [s.started_at for s in spans if s.started_at]
    started = min(times, default=0)
    return Trace(
        source=source,
        source_id=trace_id,
        episodes=tuple(episodes),
        customer=_customer(ordered, customer_key),
        workflow_id=_first(ordered, *_WORKFLOW_KEYS),
        session_id=_first(ordered, *_SESSION_KEYS),
        started_at=started,
        ended_at=max(started, *(s.ended_at for s in spans)),
        model=next((c.model for c in reversed(calls) if c.model), None),
        agent=_first(ordered, *_AGENT_KEYS),
        status="error" if failed else "ok",
        error=failed.error if failed else None,
        usage=Usage(sum(c.usage.prompt_tokens for c in calls), sum(c.usage.completion_tokens for c in calls)),
        cost_usd=_cost(c.span for c in calls),
        scores=_scores(spans, problems),
        tags=_tags(ordered),
        attributes=_attributes(first, customer_key),
        problems=_shortened(problems + missing),
        identities=_identities(ordered),
    )


def _sound(span: Span, problems: list[str]) -> Span:
    """Return the span with dotted attributes and possible times; what was wrong is a problem in words."""
    attributes = dotted(span.attributes)
    started, ended = span.started_at, span.ended_at
    if not (0 <= started < LATEST and 0 <= ended < LATEST):
        problems.append("a span has an impossible time")
        started, ended = (t if 0 <= t < LATEST else 0 for t in (started, ended))
    if ended < started:
        problems.append("a span ends before it starts" if ended else "a span has no end")
        ended = started
    if attributes is span.attributes and (started, ended) == (span.started_at, span.ended_at):
        return span
    return msgspec.structs.replace(span, attributes=attributes, started_at=started, ended_at=ended)


def _calls(by_kind: dict[Kind, list[Span]], tree: Tree, problems: list[str]) -> list[ModelCall]:
    """Read the model calls: each once, and of agents without any the agent's own record."""
    found: list[ModelCall] = []
    for span in by_kind["model"]:
        try:
            found.append(read_model_call(span))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else type(error).__name__
            problems.append(f"span {span.name}: {reason}")
    barriers = {s.span_id for s in (*by_kind["agent"], *by_kind["tool"])}
    calls = tree.innermost(found, barriers)
    calls += _from_agents(by_kind["agent"], calls, tree, problems)
    inside = tree.around(s.span_id for s in by_kind["model"])
    for span in by_kind["unknown"]:
        if span.span_id not in inside:
            seen = looks_like(span)
            problems.append(f"span {span.name}: looks like a model call of an unknown convention ({seen})")
    for call in calls:
        problems += [f"span {call.span.name}: {p}" for p in call.problems]
        if not call.given and not call.said:
            problems.append(f"span {call.span.name}: no messages (content capture off?)")
        elif not any(m.role == "assistant" for m in (*call.given[-1:], *call.said)):
            problems.append(f"span {call.span.name}: no answer")
    return calls


def _from_agents(
    agents: Sequence[Span], calls: Sequence[ModelCall], tree: Tree, problems: list[str]
) -> list[ModelCall]:
    covered = tree.around(c.span.span_id for c in calls if c.given or c.said)
    counted = tree.around(c.span.span_id for c in calls)
    found: list[ModelCall] = []
    for span in agents:
        if span.span_id in covered or any(a in covered for a in tree.above(span.span_id)):
            continue
        try:
            call = read_agent(span)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            problems.append(f"span {span.name}: {error if isinstance(error, ValueError) else 'unreadable'}")
            continue
        if call is not None:  # an agent's tokens are the sum of its calls'
            rolled_up = span.span_id in counted
            found.append(msgspec.structs.replace(call, usage=Usage()) if rolled_up else call)
    # Of agents inside each other the outermost that says something speaks for all.
    outer = {c.span.span_id for c in found}
    return [c for c in found if not outer.intersection(tree.above(c.span.span_id))]


def _first(spans: Iterable[Span], *keys: str) -> str | None:
    for span in spans:
        value = span.text(*keys)
        if value is not None:
            return value
    return None


def _customer(spans: Sequence[Span], key: str) -> str | None:
    bare = key.removeprefix("metadata.")
    found = _first(spans, key, *(f"{m}.{bare}" for m in _METADATA))
    if found is not None:
        return found
    for span in spans:
        for holder in _METADATA:
            metadata = decoded(span.attributes.get(holder))
            if isinstance(metadata, dict):
                value: Any = cast(JsonObject, metadata).get(key, cast(JsonObject, metadata).get(bare))
                if value is not None and value != "":
                    return str(value)
        if span.resource.get(key) is not None:
            return str(span.resource[key])
    return None


def _cost(spans: Iterable[Span]) -> float | None:
    known = [c for c in map(cost_of, spans) if c is not None]
    return sum(known) if known else None


def _scores(spans: Iterable[Span], problems: list[str]) -> tuple[Score, ...]:
    scores: list[Score] = []
    for span in spans:
        for event in span.events:
            if event.name != EVALUATION:
                continue
            score = score_of(event)
            if score is None:
                problems.append(f"span {span.name}: an evaluation without a name or a value")
            elif score not in scores:
                scores.append(score)
    return tuple(scores)


def _tags(spans: Iterable[Span]) -> tuple[str, ...]:
    for span in spans:
        for key in _TAG_KEYS:
            tags = listed(span.attributes.get(key))
            if tags:
                return tuple(str(t) for t in tags)
    return ()


def _attributes(root: Span, customer_key: str) -> JsonObject:
    kept: JsonObject = {}
    for key, value in root.attributes.items():
        if key in _UNDERSTOOD_KEYS or key in _WORKFLOW_KEYS or key == customer_key or key in _PEOPLE_KEYS:
            continue
        if not key.startswith(_UNDERSTOOD):
            kept[key] = value
    return kept


def _identities(spans: Iterable[Span]) -> dict[str, str]:
    """Whose run it was: the values of user.* and enduser.*, for redaction only."""
    found: dict[str, str] = {}
    for span in spans:
        for key, value in span.attributes.items():
            known = key.startswith(_PEOPLE) or key in _PEOPLE_KEYS
            if known and isinstance(value, str | int) and value != "":
                found.setdefault(key, str(value))
    return found


def _shortened(problems: Iterable[str]) -> tuple[str, ...]:
    distinct = list(dict.fromkeys(problems))
    if len(distinct) > _MAX_PROBLEMS:
        rest = len(distinct) - _MAX_PROBLEMS
        return (*distinct[:_MAX_PROBLEMS], f"and {rest} more problems")
    return tuple(distinct)
