"""LangSmith's runs (v1 and v2 of its API) and feedback -> spans -> traces: pure.

A run is a span: `llm` runs are model calls, `tool` runs tool calls; chains, retrievers, prompts and parsers
only say who is whose child.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, cast

import msgspec

from strop.config import Source
from strop.records import JsonObject, Score, Skipped, Trace
from strop.sources.langsmith.messages import answer_of, prompt_of, tool_run_of, tools_of
from strop.sources.platform import SECOND, Made, ns
from strop.sources.spans.bounded import trace_of
from strop.sources.spans.conventions import number
from strop.sources.spans.messages import as_text
from strop.sources.spans.span import Span, decoded

_MOMENT = re.compile(r"(\d{8}T\d{6})(\d{6})Z", re.ASCII)
_SESSION_KEYS = ("session_id", "thread_id", "conversation_id", "session.id", "gen_ai.conversation.id")
_WORKFLOW_KEYS = ("workflow_id", "workflow.id", "temporal.workflow.id", "temporalWorkflowID")
_AGENT_KEYS = ("lc_agent_name", "agent_name")
# What LangChain, LangGraph and the SDKs write beside the user's own metadata, and the conventions' names.
_NOT_THE_USERS = (
    "ls_", "lc_", "langgraph_", "langsmith", "langchain", "LANGSMITH", "LANGCHAIN", "__", "checkpoint",
    "revision_id", "usage_metadata", "user.", "gen_ai.", "llm.", "openinference.", "input.", "output.", "ai.",
    "traceloop.", "tool.", "tag.", "agent.", "metadata",
)  # fmt: skip
_PERSONS = ("user_id", "user_name", "user_email", "user_phone")
_UNDERSTOOD = {*_SESSION_KEYS, *_WORKFLOW_KEYS, *_AGENT_KEYS, *_PERSONS}

Giver: TypeAlias = Literal["human", "llm", "code", "end_user"]
_GIVERS: dict[Any, Giver] = {"app": "human", "model": "llm", "auto_eval": "llm"}
# The API takes end users' feedback and evaluators' alike: only the key tells them apart.
_END_USERS = ("user", "end_user", "end-user", "enduser", "thumb", "csat", "nps")


class _Run(msgspec.Struct, frozen=True):
    """A run with what both generations of the API spell differently; times are UTC ns."""

    row: JsonObject
    id: str
    trace_id: str
    parent_id: str | None
    kind: str
    name: str
    started_at: int
    ended_at: int
    size: int


def read_runs(rows: Sequence[Any], source: Source) -> Made:
    """Make traces of runs, and of feedback as {"feedback": row}; in any order, duplicates are one.

    What is no run is skipped with the reason, as is a trace larger than `source.max_trace_mb`.
    """
    runs: dict[str, dict[str, _Run]] = {}
    feedback: dict[str, dict[str, JsonObject]] = {}
    skipped: dict[str, Skipped] = {}
    for row in rows:
        given = row.get("feedback") if isinstance(row, dict) and "run_type" not in row else None
        if isinstance(given, dict):
            score = cast(JsonObject, given)
            subject = str(score.get("trace_id") or score.get("run_id"))
            feedback.setdefault(subject, {})[str(score.get("id") or _digest(score))] = score
            continue
        try:
            run = _run(row)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            where = f"{source.name}:{_known_id(row)}"
            skipped[where] = Skipped("assemble", where, f"no run: {error}")
            continue
        group = runs.setdefault(run.trace_id, {})
        known = group.get(run.id)
        group[run.id] = run if known is None else max(known, run, key=_completeness)
    traces: list[Trace] = []
    for trace_id, group in runs.items():
        made = _trace(list(group.values()), list(feedback.get(trace_id, {}).values()), source)
        if isinstance(made, Trace):
            traces.append(made)
        else:
            skipped[made.item] = made
    return Made(traces, list(skipped.values()))


def began_at(row: JsonObject) -> int | None:
    """Return when a run's trace began, UTC ns: the first part of `dotted_order`, where there is one."""
    order = row.get("dotted_order")
    return _moments(order)[0] if isinstance(order, str) else None


def time_of(value: Any) -> int | None:
    """Return the UTC ns of an ISO 8601 time; None for what is no time."""
    try:
        return ns(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def feedback_scores(row: JsonObject) -> list[Score]:
    """Return the scores in one piece of feedback: its score or value, and `<key>.correction`.

    Words alone are a score too: the comment. A failed evaluator's feedback holds none.
    """
    key = row.get("key")
    if not isinstance(key, str) or not key or object_of(row, "extra").get("error") is True:
        return []
    giver = _giver(row, key)
    comment = row.get("comment")
    said = comment if isinstance(comment, str) else ""
    scores: list[Score] = []
    value = next((v for v in (row.get("score"), row.get("value")) if v is not None), said or None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1e300 else None
    if value is not None:
        scores.append(Score(key, value if isinstance(value, bool | float) else as_text(value), giver, said))
    correction: Any = row.get("correction")
    if isinstance(correction, dict) and len(cast(JsonObject, correction)) == 1:
        (only,) = cast(JsonObject, correction).values()
        correction = only if isinstance(only, str) else correction
    if correction:
        scores.append(Score(f"{key}.correction", as_text(correction), giver, said))
    return scores


def _giver(row: JsonObject, key: str) -> Giver:
    known = _GIVERS.get(str(object_of(row, "feedback_source").get("type")))
    return known or ("end_user" if key.lower().startswith(_END_USERS) else "code")


def _known_id(row: Any) -> str:
    run_id = row.get("id") if isinstance(row, dict) else None
    return run_id[:64] if isinstance(run_id, str) and run_id else f"row-{_digest(row)}"


def _digest(row: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(row, order="sorted")).hexdigest()[:16]


def _run(raw: Any) -> _Run:
    if not isinstance(raw, dict):
        raise ValueError(f"it is a {type(raw).__name__}, not an object")
    row = cast(JsonObject, raw)
    run_id = row.get("id")
    if not isinstance(run_id, str) or not run_id:
        raise ValueError("it has no id")
    if not isinstance(row.get("run_type"), str):
        raise ValueError("it has no run_type")
    order = row["dotted_order"] if isinstance(row.get("dotted_order"), str) else ""
    path = [part.rpartition("Z")[2] for part in order.split(".")] if order else [run_id]
    trace_id = row.get("trace_id") or path[0]
    started = time_of(row.get("start_time"))
    exact = _moments(order)[1]
    if started is None or (exact is not None and abs(exact - started) < 2_000_000):
        started = exact  # v2 gives milliseconds, the order has microseconds
    if started is None:
        raise ValueError("it has no start_time")
    ended = time_of(row.get("end_time"))
    return _Run(
        row=row,
        id=run_id,
        trace_id=str(trace_id),
        parent_id=_parent(row, run_id, str(trace_id), path),
        kind=row["run_type"].lower(),
        name=str(row.get("name") or ""),
        started_at=started,
        # Ends in milliseconds beside starts in microseconds are no run that ends before it starts.
        ended_at=started if ended is None or 0 < started - ended < 1_000_000 else ended,
        size=len(msgspec.json.encode(row)),
    )


def _parent(row: JsonObject, run_id: str, trace_id: str, path: list[str]) -> str | None:
    if run_id == trace_id:
        return None
    parents: Any = row.get("parent_run_ids")
    parent = row.get("parent_run_id")
    if not parent and isinstance(parents, list) and parents:
        parent = cast("list[Any]", parents)[-1]
    if not parent and len(path) > 1:
        parent = path[-2]
    return str(parent) if parent else None


def _moments(order: str) -> tuple[int | None, int | None]:
    """When the trace and the run began: `20241011T205823298773Z<id>.<...>`, first and last part."""
    found: list[int | None] = []
    for part in (order.partition(".")[0], order.rpartition(".")[2]):
        match = _MOMENT.match(part)
        try:
            whole = datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None
        except ValueError:
            whole = None
        found.append(int(whole.timestamp()) * SECOND + int(match[2]) * 1000 if whole and match else None)
    return found[0], found[1]


def _completeness(run: _Run) -> tuple[int, int, bytes]:
    return run.ended_at, run.size, msgspec.json.encode(run.row, order="sorted")


def _trace(runs: list[_Run], feedback: list[JsonObject], source: Source) -> Trace | Skipped:
    problems: list[str] = []
    spans: list[Span] = []
    for run in runs:
        try:
            spans.append(_span(run, source.customer_key))
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            problems.append(f"run {run.name}: {type(error).__name__}")
            spans.append(_bare(run))
        problems += _kept_outside(run)
        if run.parent_id is None and not run.row.get("end_time"):
            problems.append("the run has not ended")
    unscored = sum(not feedback_scores(row) for row in feedback)
    if unscored:
        problems.append(f"{unscored} pieces of feedback have no score")
    trace, skipped = trace_of(spans, source, problems=problems)
    if trace is None:
        outside = [p for run in runs for p in _kept_outside(run)][:1]
        return Skipped(skipped[0].stage, skipped[0].item, "; ".join([skipped[0].reason, *outside]))
    # A root that is missing (it is late, or was logged elsewhere) leaves its time in its children's order.
    began = [at for at in (began_at(run.row) for run in runs) if at is not None]
    scores = _scores(feedback, runs[0].trace_id)
    return msgspec.structs.replace(trace, started_at=min([trace.started_at, *began]), scores=scores)


def _scores(feedback: list[JsonObject], trace_id: str) -> tuple[Score, ...]:
    """The root run's feedback first, then by time."""
    ordered = sorted(
        feedback,
        key=lambda f: (f.get("run_id") not in (trace_id, None), str(f.get("created_at")), str(f.get("id"))),
    )
    return tuple(dict.fromkeys(score for row in ordered for score in feedback_scores(row)))


def _kept_outside(run: _Run) -> list[str]:
    """Name what was too large for LangSmith's database; other addresses than the API's aren't asked."""
    missing: list[str] = []
    urls: Any = run.row.get("s3_urls")
    for key in ("inputs", "outputs") if run.kind in ("llm", "tool") else ():
        elsewhere = run.row.get(f"{key}_s3_urls") or (isinstance(urls, dict) and key in urls)
        if elsewhere and not run.row.get(key):
            missing.append(f"run {run.name}: its {key} are a payload kept outside of LangSmith's database")
    return missing


def _bare(run: _Run) -> Span:
    failed = run.row.get("error") or str(run.row.get("status")).lower() == "error"
    return Span(
        trace_id=run.trace_id,
        span_id=run.id,
        parent_id=run.parent_id,
        name=run.name,
        started_at=run.started_at,
        ended_at=run.ended_at,
        status="error" if failed else "ok",
        error=as_text(run.row.get("error") or "error") if failed else None,
        size=run.size,
    )


def _span(run: _Run, customer_key: str) -> Span:
    metadata = _metadata(run.row)
    attributes: JsonObject = _whose(run, metadata, customer_key)
    if run.kind == "llm":
        attributes |= _model_call(run.row, metadata)
    elif run.kind == "tool":
        attributes |= tool_run_of(run.row, run.name)
    return msgspec.structs.replace(_bare(run), attributes=attributes)


def _metadata(row: JsonObject) -> JsonObject:
    """The run's metadata: v1 has it in `extra`, v2 beside it too."""
    extra, beside = object_of(row, "extra"), object_of(row, "metadata")
    return {**beside, **object_of(extra, "metadata")}


def object_of(holder: JsonObject, key: str) -> JsonObject:
    """Return an object in an object, given as JSON text or not at all too."""
    value = decoded(holder.get(key))
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def _whose(run: _Run, metadata: JsonObject, customer_key: str) -> JsonObject:
    """Session, user, customer and workflow; of the root also its tags and the user's own metadata."""
    session = next((metadata[k] for k in _SESSION_KEYS if metadata.get(k)), run.row.get("thread_id"))
    attributes: JsonObject = {"metadata": metadata}
    if session:
        attributes["session.id"] = as_text(session)
    workflow = next((metadata[k] for k in _WORKFLOW_KEYS if metadata.get(k)), None)
    if workflow:
        attributes["workflow.id"] = as_text(workflow)
    for key, value in metadata.items():
        if (key in _PERSONS or key.startswith("user.")) and isinstance(value, str | int):
            attributes[f"user.{key[5:]}"] = str(value)
    if customer_key in metadata:
        attributes[customer_key] = as_text(metadata[customer_key])
    if run.parent_id is not None:
        return attributes
    name = next((metadata[k] for k in _AGENT_KEYS if metadata.get(k)), run.name)
    if run.kind == "chain" and name:
        attributes["gen_ai.agent.name"] = as_text(name)
    tags: Any = run.row.get("tags")
    attributes["tag.tags"] = cast("list[Any]", tags) if isinstance(tags, list) else []
    own = {k: v for k, v in metadata.items() if not k.startswith(_NOT_THE_USERS) and k not in _UNDERSTOOD}
    return {**own, **attributes}


def _model_call(row: JsonObject, metadata: JsonObject) -> JsonObject:
    inputs, outputs = object_of(row, "inputs"), object_of(row, "outputs")
    parameters = object_of(object_of(row, "extra"), "invocation_params")
    asked = (metadata.get("ls_model_name"), parameters.get("model"), parameters.get("model_name"))
    answer = answer_of(outputs)
    spent = [
        {"input_tokens": row.get("prompt_tokens"), "output_tokens": row.get("completion_tokens")},
        object_of(outputs, "usage_metadata"), object_of(outputs, "usage"),
        object_of(object_of(outputs, "llm_output"), "token_usage"), answer.usage,
        object_of(metadata, "usage_metadata"),
    ]  # fmt: skip
    answered = (outputs.get("model"), answer.model, object_of(outputs, "llm_output").get("model_name"))
    cost = number(row.get("total_cost"))
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": next((as_text(m) for m in (*asked, inputs.get("model")) if m), None),
        "gen_ai.response.model": next((as_text(m) for m in answered if m), None),
        "gen_ai.input.messages": prompt_of(inputs),
        "gen_ai.output.messages": answer.messages,
        "gen_ai.tool.definitions": tools_of(parameters, inputs, metadata) or None,
        "gen_ai.usage.input_tokens": _tokens(spent, "input_tokens", "prompt_tokens"),
        "gen_ai.usage.output_tokens": _tokens(spent, "output_tokens", "completion_tokens"),
        **({} if cost is None else {"llm.cost.total": cost}),
    }


def _tokens(usages: Sequence[JsonObject], *names: str) -> int:
    for usage in usages:
        for name in names:
            count = number(usage.get(name))
            if count is not None and 0 < count < 1e15:
                return int(count)
    return 0
