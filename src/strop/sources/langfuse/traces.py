"""Langfuse traces, in whatever form they come -> spans -> traces. Pure: no I/O.

A trace comes as the export of a trace ({"trace", "observations"}), as the v1 API's trace with its
observations, or as rows of the v2 API (v4 servers) and of blob exports. The dialect of a generation is its
framework's (`langfuse_dialects`). Of nested generations, which are wrappers around the same call, the one
that tells most counts, and of equals the innermost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from strop.records import JsonObject, Skipped, Trace
from strop.sources.langfuse import dialects
from strop.sources.langfuse.parts import first, is_part, opened
from strop.sources.langfuse.rows import Head, Metadata, cost, text, times, tokens, unique
from strop.sources.langfuse.scores import read_scores
from strop.sources.langfuse.tools import CallIds, is_tool, link_runs, read_run
from strop.sources.platform import Made
from strop.sources.spans.assemble import assemble
from strop.sources.spans.messages import as_text
from strop.sources.spans.span import Span

# A row that a connector could not read, with the reason, in place of its trace.
UNREAD = "stropUnread"
_WRONG = (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)


def read_exports(raw: Any, *, source: str, customer_key: str, where: str) -> list[Trace | Skipped]:
    """Read an export of any number of traces: lists, pages of the API, rows of observations."""
    body = opened(raw)
    if isinstance(body, dict) and isinstance(body.get("data"), list) and "observations" not in body:
        body = body["data"]
    if isinstance(body, list):
        items = [opened(i) for i in cast("list[Any]", body)]
        if items and all(isinstance(i, dict) and _is_row(cast(JsonObject, i)) for i in items):
            made = read_rows(items, source=source, customer_key=customer_key)
            return [*made.traces, *made.skipped]
        if not items:
            return [Skipped("pull", where, "the export is empty")]
        if len(items) == 1 or not any(isinstance(i, list) for i in items):
            return [_one(i[0] if isinstance(i, list) and len(i) == 1 else i, source, customer_key, where)
                    for i in items]  # fmt: skip
        return [Skipped("pull", where, "the export is a list of lists")]
    return [_one(body, source, customer_key, where)]


def _one(export: Any, source: str, customer_key: str, where: str) -> Trace | Skipped:
    if not isinstance(export, dict):
        return Skipped("pull", where, "the export is no object")
    outer = cast(JsonObject, export)
    inner = opened(outer.get("trace"))
    if isinstance(inner, list) and len(inner) == 1:
        inner = opened(inner[0])
    trace = cast(JsonObject, inner) if isinstance(inner, dict) else outer
    beside = {k: outer[k] for k in ("scores", "corrections") if outer.get(k) and not trace.get(k)}
    trace = {**trace, **beside}
    listed = opened(outer.get("observations") or trace.get("observations"))
    rows = cast("list[Any]", listed) if isinstance(listed, list) else []
    return build(trace, rows, source=source, customer_key=customer_key, where=where)


def _is_row(item: JsonObject) -> bool:
    """An observation by itself, as the v2 API and blob exports list them."""
    return ("traceId" in item or "trace_id" in item) and "observations" not in item and "type" in item


def read_rows(
    rows: Iterable[JsonObject], *, source: str, customer_key: str, max_trace_mb: float | None = None
) -> Made:
    """Make traces of raw rows in any order: whole traces (v1 API) and observations (v2 API), mixed freely.

    A trace whose rows are larger than max_trace_mb as JSON is skipped.
    """
    heads: dict[str, JsonObject] = {}
    groups: dict[str, list[Any]] = {}
    skipped: list[Skipped] = []
    for i, row in enumerate(rows):
        if "observations" in row or UNREAD in row:
            key = text(row.get("id"))
            listed = opened(row.get("observations"))
            found = cast("list[Any]", listed) if isinstance(listed, list) else []
        else:
            key, found = text(row.get("traceId") or row.get("trace_id")), [row]
        if key is None:
            skipped.append(Skipped("assemble", f"{source}:row {i}", "the row names no trace"))
            continue
        groups.setdefault(key, []).extend(found)
        if found != [row]:
            heads[key] = {**heads.get(key, {}), **row}
    traces: list[Trace] = []
    for key, found in groups.items():
        where = f"{source}:{key}"
        head = heads.get(key, {})
        if UNREAD in head:
            skipped.append(Skipped("pull", where, str(head[UNREAD])))
            continue
        if max_trace_mb is not None and _size(found) > max_trace_mb * (1 << 20):
            skipped.append(Skipped("pull", where, f"the trace is larger than {max_trace_mb:g} MB"))
            continue
        made = build({**head, "id": key}, found, source=source, customer_key=customer_key, where=where)
        if isinstance(made, Trace):
            traces.append(made)
        else:
            skipped.append(made)
    return Made(traces, skipped)


def _size(rows: Sequence[Any]) -> int:
    try:
        return sum(len(msgspec.json.encode(row)) for row in rows)
    except RecursionError:
        return 0


def build(
    trace: JsonObject, observations: Sequence[Any], *, source: str, customer_key: str, where: str
) -> Trace | Skipped:
    """Build one trace of its own fields and its observations."""
    rows = [cast(JsonObject, r) for r in map(opened, observations) if isinstance(r, dict)]
    if not rows and not _tells(trace):
        ids = bool(observations) and all(isinstance(r, str) for r in observations)
        told = "the observations are ids only" if ids else "the export has no observations"
        return Skipped("pull", where, told)
    try:
        return _built(trace, rows, len(observations) - len(rows), source, customer_key, where)
    except _WRONG as error:
        return Skipped("pull", where, f"no Langfuse export: {type(error).__name__}")


def _built(
    trace: JsonObject, raw: list[JsonObject], lost: int, source: str, customer_key: str, where: str
) -> Trace | Skipped:
    problems = [f"{lost} observations could not be read"] if lost else []
    rows = unique(raw)
    head = Head(trace, rows)
    begun, _, readable = times(trace, 0)
    if not readable:
        problems.append("the trace's time could not be read")
    if not any(map(_is_generation, rows)):
        rows = _stand_in(trace, rows, problems)
    spans = _spans(rows, head, begun, customer_key, text(trace.get("id")) or where, problems)
    traces, skipped = assemble(spans, source=source, customer_key=customer_key)
    if not traces:
        return skipped[0] if skipped else Skipped("pull", where, "the export has no observations")
    made = traces[0]
    scores, bad = read_scores(trace.get("scores"), trace.get("corrections"))
    if bad:
        problems.append(f"{bad} scores could not be read")
    spent = cost(rows)
    return msgspec.structs.replace(
        made,
        problems=tuple(dict.fromkeys((*made.problems, *problems, *head.problems))),
        scores=(*made.scores, *scores),
        cost_usd=made.cost_usd if spent is None else spent,
    )


def _is_generation(row: JsonObject) -> bool:
    if row.get("type") == "GENERATION":
        return True
    operation = Metadata(row.get("metadata")).attributes().get("gen_ai.operation.name")
    return operation in ("chat", "text_completion", "generate_content") and row.get("type") in (None, "SPAN")


def _tells(body: JsonObject) -> bool:
    """Say whether a trace's or span's own input and output are a conversation, by their form."""
    raw = opened(body.get("input"))
    if isinstance(raw, dict):
        held = next((opened(raw[k]) for k in ("messages", "contents") if k in raw), None)
        raw = held if held is not None else [raw]
    items = cast("list[Any]", raw) if isinstance(raw, list) else []
    chat = [
        i for i in items if isinstance(i, dict) and {"role", "kwargs", "type"} & set(i) and not is_part(i)
    ]
    return bool(chat) and any(m["role"] == "user" for m in dialects.given(raw)[0]) and bool(
        dialects.said(body.get("output"))
    )  # fmt: skip


def _stand_in(trace: JsonObject, rows: list[JsonObject], problems: list[str]) -> list[JsonObject]:
    """Where no generation was recorded, take the first span, or the trace itself, with a conversation."""
    for row in sorted(rows, key=lambda r: (str(r.get("startTime")), r["id"])):
        if _tells(row):
            problems.append("no generation was recorded: a span's input and output are the conversation")
            return [r for r in rows if r is not row] + [{**row, "type": "GENERATION"}]
    if _tells(trace):
        problems.append("no generation was recorded: the trace's input and output are the conversation")
        own = {k: trace[k] for k in ("input", "output", "metadata") if k in trace}
        start = first(trace, "timestamp", "startTime")
        return [*rows, {**own, "id": "trace", "type": "GENERATION", "startTime": start}]
    return rows


class _Generation(msgspec.Struct):
    """A generation's transcript: what it was given and what it said, as OpenAI chat messages."""

    row: JsonObject
    given: list[JsonObject]
    said: list[JsonObject]
    tools: list[JsonObject]
    problems: list[str]

    def weight(self) -> tuple[int, int, int]:
        """How much it tells: calls, messages, tools."""
        messages = self.given + self.said
        calls = sum(len(m.get("tool_calls") or []) for m in messages)
        return calls, len(messages), len(self.tools)


def _spans(
    rows: list[JsonObject], head: Head, begun: int, customer_key: str, trace_id: str, problems: list[str]
) -> list[Span]:
    known = {row["id"] for row in rows}
    parents = {row["id"]: text(row.get("parentObservationId")) for row in rows}
    absent = sum(p is not None and p not in known for p in parents.values())
    if absent:
        problems.append(f"{absent} observations have a parent that is not there")
    rows = sorted(rows, key=lambda r: (times(r, begun)[0], r["id"]))
    generations = _chosen([_generation(r) for r in rows if _is_generation(r)], parents)
    problems += [p for g in generations for p in g.problems]
    read = {g.row["id"]: _attributes(g) for g in _continued(generations)}
    calls = _calls(generations)
    names = {c["function"]["name"] for c in calls}
    runs = {r["id"]: read_run(r) for r in rows if r["id"] not in read and is_tool(r, names)}
    link_runs(calls, list(runs.values()))
    whole = head.attributes(customer_key)
    roots = {r["id"] for r in rows if parents[r["id"]] not in known} or {r["id"] for r in rows[:1]}
    spans: list[Span] = []
    for row in rows:
        start, end, readable = times(row, begun)
        if not readable:
            problems.append("an observation's time could not be read")
        attributes: JsonObject = dict(whole) if row["id"] in roots else {}
        if row["id"] in read:
            attributes |= read[row["id"]]
        elif row["id"] in runs:
            attributes |= runs[row["id"]].attributes()
        elif row.get("type") == "AGENT":
            name = first(Metadata(row.get("metadata")).attributes(), "gen_ai.agent.name") or row.get("name")
            attributes |= {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}
        failed = row.get("level") == "ERROR"
        parent = parents[row["id"]]
        spans.append(
            Span(
                trace_id=trace_id,
                span_id=row["id"],
                parent_id=parent if parent in known else None,
                name=text(row.get("name")) or "",
                started_at=start,
                ended_at=end,
                status="error" if failed else "ok",
                error=(text(row.get("statusMessage")) or "error") if failed else None,
                attributes=attributes,
            )
        )
    return spans


def _generation(row: JsonObject) -> _Generation:
    problems: list[str] = []
    given, offered = dialects.given(row.get("input"))
    said = dialects.said(row.get("output"))
    metadata = Metadata(row.get("metadata"))
    if not given and not said:
        given = dialects.given(metadata.get("gen_ai.input.messages"))[0]
        said = dialects.said(metadata.get("gen_ai.output.messages"))
    answer = opened(row.get("output"))
    body = cast(JsonObject, answer) if isinstance(answer, dict) else {}
    roles = {m["role"] for m in given}
    told = body.get("instructions") or metadata.get("gen_ai.system_instructions")
    if given and told and not roles & {"system", "developer"}:
        system = dialects.given({"system": told, "input": "-"})[0][:1]
        given = system + given if system and system[0]["role"] == "system" else given
    said = _with_calls(said, row)
    if any("unknown_role" in m for m in given + said):
        problems.append("a message has a role that is not known")
    if any(m["role"] not in ("assistant", "tool") and m.get("content") is None for m in given):
        problems.append("a message has no text that could be found")
    lost = sum(m.get("lost_calls", 0) for m in given + said)
    if lost:
        problems.append(f"{lost} tool calls could not be read")
    if isinstance(row.get("input"), str) and isinstance(opened(row["input"]), str) and len(given) > 2:
        problems.append("a conversation was recorded as one text")
    tools: list[JsonObject] = []
    for raw in (
        offered,
        body.get("tools"),
        metadata.get("tools"),
        *_offered(metadata),
        row.get("toolDefinitions"),
    ):
        tools = dialects.tools(raw) if raw else []
        if tools:
            break
    return _Generation(row, given, said, tools, problems)


def _offered(metadata: Metadata) -> list[Any]:
    """Find the tools where frameworks keep them in a span's attributes."""
    request = opened(metadata.get("model_request_parameters"))  # Pydantic AI
    asked = opened(metadata.get("llm.invocation_parameters"))
    attributes = metadata.attributes()
    listed = [
        v for k, v in sorted(attributes.items()) if k.startswith("llm.tools.") and k.endswith("json_schema")
    ]
    return [
        cast(JsonObject, request).get("function_tools") if isinstance(request, dict) else None,
        metadata.get("gen_ai.tool.definitions"),
        metadata.get("ai.prompt.tools"),
        listed,
        cast(JsonObject, asked).get("tools") if isinstance(asked, dict) else None,
    ]


def _with_calls(said: list[JsonObject], row: JsonObject) -> list[JsonObject]:
    """Take the calls that Langfuse itself extracted (an export's group `tools`) where the output has none."""
    raw, names = opened(row.get("toolCalls")), opened(row.get("toolCallNames"))
    if not isinstance(raw, list) or not raw or any(m.get("tool_calls") for m in said):
        return said
    called = cast("list[Any]", names) if isinstance(names, list) else []
    calls: list[JsonObject] = []
    for i, item in enumerate(map(opened, cast("list[Any]", raw))):
        if isinstance(item, dict):
            name = called[i] if i < len(called) else None
            calls.append({"name": name, **cast(JsonObject, item)})
    found = dialects.said({"toolCalls": calls}) if calls else []
    # A JSON container in the answer is the calls themselves, written out.
    words = [m for m in said if m.get("content") and not isinstance(opened(m["content"]), dict | list)]
    return dialects.tidy([*words, *found]) if any(m.get("tool_calls") for m in found) else said


def _chosen(generations: list[_Generation], parents: dict[str, str | None]) -> list[_Generation]:
    """Of nested generations keep those that count; the order stays."""
    by_id = {g.row["id"]: g for g in generations}
    inner: dict[str, list[_Generation]] = {}
    for generation in generations:
        seen: set[str] = {generation.row["id"]}
        parent = parents[generation.row["id"]]
        while parent is not None and parent not in seen:
            seen.add(parent)
            if parent in by_id:
                inner.setdefault(parent, []).append(generation)
                break
            parent = parents.get(parent)
    dropped: set[str] = set()
    for outer in reversed(generations):  # a parent begins before its children
        nested = [g for g in inner.get(outer.row["id"], []) if g.row["id"] not in dropped]
        if not nested:
            continue
        best = max(g.weight() for g in nested)
        if (len(nested) == 1 and outer.weight() > best) or best[1] == 0:
            dropped |= {g.row["id"] for g in nested}
        else:
            dropped.add(outer.row["id"])
    return [g for g in generations if g.row["id"] not in dropped]


def _continued(generations: list[_Generation]) -> list[_Generation]:
    """Complete inputs that hold only what is new, where the server keeps the conversation.

    Such an input begins with the results of calls, or with the calls, of an earlier generation.
    """
    made: dict[str, tuple[list[JsonObject], list[JsonObject]]] = {}
    for g in generations:
        body = [m for m in g.given if m["role"] not in ("system", "developer")]
        start = body[0] if body else {}
        calls: list[JsonObject] = start.get("tool_calls") or []
        asked = (
            start.get("tool_call_id") if start.get("role") == "tool" else (calls[0]["id"] if calls else None)
        )
        if asked in made:
            given, said = made[asked]
            g.given = given + said + body if start["role"] == "tool" else given + body
        for message in g.said:
            for call in message.get("tool_calls") or []:
                if call["id"] is not None:
                    made[call["id"]] = (g.given, g.said)
    ids = CallIds()
    for g in generations:
        both = ids.linked(g.given + g.said)
        g.given, g.said = both[: len(g.given)], both[len(g.given) :]
    return generations


def _calls(generations: Iterable[_Generation]) -> list[JsonObject]:
    return [c for g in generations for m in g.given + g.said for c in m.get("tool_calls") or []]


def _attributes(g: _Generation) -> JsonObject:
    """A generation as a span of the OTel GenAI conventions."""
    metadata = Metadata(g.row.get("metadata"))
    if not g.given and not g.said:  # the content may be in the attributes alone
        kept = ("gen_ai.prompt", "gen_ai.completion", "llm.", "ai.prompt", "ai.response")
        attributes = {k: v for k, v in metadata.attributes().items() if k.startswith(kept)}
    else:
        attributes = {"gen_ai.input.messages": g.given, "gen_ai.output.messages": g.said}
    model = (
        first(g.row, "model") or metadata.get("gen_ai.response.model") or metadata.get("gen_ai.request.model")
    )
    spent = tokens(g.row)
    attributes |= {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": as_text(model) if model else None,
        "gen_ai.usage.input_tokens": spent[0],
        "gen_ai.usage.output_tokens": spent[1],
        "gen_ai.tool.definitions": g.tools or None,
    }
    return attributes
