"""Spans -> traces: a pure function, whatever platform the spans came through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from strop.records import JsonObject, Score, Skipped, Trace, Usage
from strop.sources.conventions import ModelCall, kind_of, read_model_call, read_tool_run
from strop.sources.episodes import episodes_of
from strop.sources.spans import Span, decoded

# Attribute families that the record's own fields hold; everything else at the root is kept as it is.
_UNDERSTOOD = (
    "gen_ai.", "llm.", "openinference.", "input.", "output.", "user.", "enduser.", "metadata.", "ai.",
    "traceloop.", "tool.", "agent.",
)  # fmt: skip
_UNDERSTOOD_KEYS = {"session.id", "workflow.id", "tag.tags", "metadata"}
_WORKFLOW_KEYS = ("workflow.id", "temporal.workflow.id", "temporalWorkflowID")
_SESSION_KEYS = ("gen_ai.conversation.id", "session.id")


def assemble(
    spans: Iterable[Span], *, source: str, customer_key: str = "customer.id"
) -> tuple[list[Trace], list[Skipped]]:
    """Build one trace for each trace id; what is no conversation is returned as skipped."""
    groups: dict[str, dict[str, Span]] = {}
    for span in spans:
        groups.setdefault(span.trace_id, {})[span.span_id] = span
    traces: list[Trace] = []
    skipped: list[Skipped] = []
    for trace_id, group in groups.items():
        made = _trace(trace_id, list(group.values()), source, customer_key)
        if isinstance(made, Trace):
            traces.append(made)
        else:
            skipped.append(made)
    return traces, skipped


def _trace(trace_id: str, spans: Sequence[Span], source: str, customer_key: str) -> Trace | Skipped:
    spans = sorted(spans, key=lambda s: (s.started_at, s.parent_id is not None, s.span_id))
    if not trace_id.strip("0"):
        return Skipped("assemble", f"{source}:{trace_id}", "the spans have no trace id")
    problems: list[str] = []
    root = next((s for s in spans if s.parent_id is None), None)
    if root is None:
        problems.append("no root span")
    if any(s.ended_at < s.started_at for s in spans):
        problems.append("a span ends before it starts")
    by_kind: dict[str, list[Span]] = {"model": [], "tool": [], "agent": [], "other": []}
    for span in spans:
        by_kind[kind_of(span)].append(span)
    calls = _model_calls(by_kind["model"], problems)
    if not by_kind["model"]:
        return Skipped("assemble", f"{source}:{trace_id}", "no model call in the trace")
    episodes, missing = episodes_of(
        calls,
        [read_tool_run(s) for s in by_kind["tool"]],
        {s.span_id: s for s in by_kind["agent"]},
        {s.span_id: s.parent_id for s in spans},
    )
    if not episodes:
        return Skipped("assemble", f"{source}:{trace_id}", problems[-1] if problems else "no messages")
    first = root or spans[0]
    failed = (
        first if first.status == "error" else next((s for s in by_kind["model"] if s.status == "error"), None)
    )
    ordered = [first, *(s for s in spans if s is not first)]
    return Trace(
        source=source,
        source_id=trace_id,
        episodes=tuple(episodes),
        customer=_customer(ordered, customer_key),
        workflow_id=_first(ordered, *_WORKFLOW_KEYS),
        session_id=_first(ordered, *_SESSION_KEYS),
        started_at=min(s.started_at for s in spans),
        ended_at=max(s.ended_at for s in spans),
        model=next((c.model for c in reversed(calls) if c.model), None),
        agent=_first(ordered, "gen_ai.agent.name", "agent.name"),
        status="error" if failed else "ok",
        error=failed.error if failed else None,
        usage=Usage(sum(c.usage.prompt_tokens for c in calls), sum(c.usage.completion_tokens for c in calls)),
        cost_usd=_cost(by_kind["model"]),
        scores=_scores(spans),
        tags=_tags(ordered),
        attributes=_attributes(first, customer_key),
        problems=tuple(dict.fromkeys(problems + missing)),
        identities=_identities(ordered),
    )


def _model_calls(spans: Sequence[Span], problems: list[str]) -> list[ModelCall]:
    calls: list[ModelCall] = []
    for span in spans:
        try:
            call = read_model_call(span)
        except (ValueError, TypeError, AttributeError) as error:
            problems.append(f"span {span.name}: {error}")
            continue
        if not call.given and not call.said:
            problems.append(f"span {span.name}: no messages (content capture off?)")
        elif not call.said:
            problems.append(f"span {span.name}: no answer")
        calls.append(call)
    return calls


def _first(spans: Iterable[Span], *keys: str) -> str | None:
    for span in spans:
        value = span.text(*keys)
        if value is not None:
            return value
    return None


def _metadata(span: Span) -> JsonObject:
    value = decoded(span.attributes.get("metadata"))
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def _customer(spans: Sequence[Span], key: str) -> str | None:
    found = _first(spans, key, f"metadata.{key}")
    if found is not None:
        return found
    for span in spans:
        metadata = _metadata(span)
        value: Any = metadata.get(key, metadata.get(key.removeprefix("metadata."), span.resource.get(key)))
        if value is not None:
            return str(value)
    return None


def _cost(spans: Iterable[Span]) -> float | None:
    costs = [s.attributes.get("llm.cost.total", s.attributes.get("gen_ai.usage.cost")) for s in spans]
    known = [float(c) for c in costs if isinstance(c, int | float)]
    return sum(known) if known else None


def _scores(spans: Iterable[Span]) -> tuple[Score, ...]:
    scores: list[Score] = []
    for span in spans:
        for event in span.events:
            if event.name != "gen_ai.evaluation.result":
                continue
            a = event.attributes
            value = a.get("gen_ai.evaluation.score.value", a.get("gen_ai.evaluation.score.label"))
            name = a.get("gen_ai.evaluation.name")
            if name is not None and isinstance(value, bool | int | float | str):
                value = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
                scores.append(
                    Score(str(name), value, comment=str(a.get("gen_ai.evaluation.explanation") or ""))
                )
    return tuple(scores)


def _tags(spans: Iterable[Span]) -> tuple[str, ...]:
    for span in spans:
        tags = span.attributes.get("tag.tags")
        if isinstance(tags, list):
            return tuple(str(t) for t in cast("list[Any]", tags))
    return ()


def _attributes(root: Span, customer_key: str) -> JsonObject:
    kept: JsonObject = {}
    for key, value in root.attributes.items():
        if key in _UNDERSTOOD_KEYS or key in _WORKFLOW_KEYS or key == customer_key:
            continue
        if not key.startswith(_UNDERSTOOD):
            kept[key] = value
    return kept


def _identities(spans: Iterable[Span]) -> dict[str, str]:
    """Whose run it was: the values of user.* and enduser.*, for redaction only."""
    found: dict[str, str] = {}
    for span in spans:
        for key, value in span.attributes.items():
            if key.startswith(("user.", "enduser.")) and isinstance(value, str | int) and value != "":
                found.setdefault(key, str(value))
    return found
