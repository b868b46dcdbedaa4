"""Langfuse trace exports (a trace with its observations) -> spans -> traces.

The dialect of a generation is its framework's; those understood: OpenAI chat and Responses, OTel GenAI
parts, Anthropic, LangChain, Gemini, Vercel AI, and transcripts as "role: text". Of nested generations
the innermost counts: the outer ones are wrappers around the same call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from strop.records import JsonObject, Score, Skipped, Trace
from strop.sources.assemble import assemble
from strop.sources.messages import as_text
from strop.sources.spans import Span, decoded

_TRANSCRIPT = re.compile(r"^(system|developer|user|assistant): ", re.MULTILINE)


def read_export(export: Any, *, source: str, customer_key: str, where: str) -> Trace | Skipped:
    """Read one exported trace: {"trace", "observations"}, or a trace that holds its observations."""
    if not isinstance(export, dict):
        return Skipped("pull", where, "the export is no object")
    outer = cast(JsonObject, export)
    trace: JsonObject = outer.get("trace") or outer
    observations = outer.get("observations") or trace.get("observations") or []
    try:
        spans = _spans(trace, observations)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        return Skipped("pull", where, f"no Langfuse export: {type(error).__name__}: {str(error)[:120]}")
    traces, skipped = assemble(spans, source=source, customer_key=customer_key)
    if not traces:
        return skipped[0] if skipped else Skipped("pull", where, "the export has no observations")
    made = traces[0]
    identities = {"user.id": str(trace["userId"])} if trace.get("userId") else {}
    flattened = any(
        isinstance(o.get("input"), str) and len(_transcript(o["input"])) > 2
        for o in observations
        if o.get("type") == "GENERATION"
    )
    return msgspec.structs.replace(
        made,
        problems=(*made.problems, *(["a conversation was recorded as one text"] if flattened else [])),
        session_id=made.session_id or trace.get("sessionId"),
        tags=tuple(str(t) for t in trace.get("tags") or ()),
        scores=_scores(trace.get("scores") or []),
        identities={**made.identities, **identities},
    )


def _spans(trace: JsonObject, observations: Sequence[JsonObject]) -> list[Span]:
    generations = {o["id"] for o in observations if o.get("type") == "GENERATION"}
    wrappers = {o.get("parentObservationId") for o in observations if o["id"] in generations}
    metadata = decoded(trace.get("metadata"))
    flat = {f"metadata.{k}": v for k, v in metadata.items()} if isinstance(metadata, dict) else {}
    known = {o["id"] for o in observations}
    spans: list[Span] = []
    for o in observations:
        kind = str(o.get("type") or "SPAN")
        attributes: JsonObject = dict(flat) if o.get("parentObservationId") is None else {}
        if kind == "GENERATION" and o["id"] not in wrappers:
            attributes |= _generation(o)
        elif kind == "TOOL" or str(o.get("name")).startswith("execute_tool "):
            attributes |= _tool(o)
        elif kind == "AGENT":
            attributes |= {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": o.get("name")}
        parent = o.get("parentObservationId")
        failed = o.get("level") == "ERROR"
        spans.append(
            Span(
                trace_id=str(trace["id"]),
                span_id=str(o["id"]),
                parent_id=parent if parent in known else None,
                name=str(o.get("name") or ""),
                started_at=_time(o.get("startTime")),
                ended_at=_time(o.get("endTime") or o.get("startTime")),
                status="error" if failed else "ok",
                error=str(o.get("statusMessage") or "error") if failed else None,
                attributes=attributes,
            )
        )
    return spans


def _generation(o: JsonObject) -> JsonObject:
    given, tools = _given(decoded(o.get("input")))
    said = _said(decoded(o.get("output")))
    usage: JsonObject = o.get("usageDetails") or {}
    attributes: JsonObject = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": o.get("model") or o.get("providedModelName"),
        "gen_ai.input.messages": given,
        "gen_ai.output.messages": said,
        "gen_ai.usage.input_tokens": usage.get("input"),
        "gen_ai.usage.output_tokens": usage.get("output"),
    }
    attributes["gen_ai.tool.definitions"] = tools or _offered(o) or None
    return attributes


def _offered(o: JsonObject) -> Any:
    """Find the tools where the framework keeps them: the answer's body or the span's attributes."""
    answer = decoded(o.get("output"))
    if isinstance(answer, dict) and answer.get("tools"):
        return cast(JsonObject, answer)["tools"]
    metadata = decoded(o.get("metadata"))
    attributes = metadata.get("attributes") if isinstance(metadata, dict) else None
    if not isinstance(attributes, dict):
        return None
    found = cast(JsonObject, attributes)
    request = decoded(found.get("model_request_parameters"))  # Pydantic AI
    if isinstance(request, dict):
        return cast(JsonObject, request).get("function_tools")
    return found.get("gen_ai.tool.definitions") or found.get("ai.prompt.tools")


def _tool(o: JsonObject) -> JsonObject:
    name = str(o.get("name") or "").removeprefix("execute_tool ").removeprefix("running tool: ")
    result = decoded(o.get("output"))
    blocks = result.get("content") if isinstance(result, dict) else None
    if isinstance(blocks, list) and all(isinstance(b, dict) and b.get("type") == "text" for b in blocks):
        result = "".join(str(b.get("text", "")) for b in cast("list[JsonObject]", blocks))
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.result": result if isinstance(result, str) or result is None else o.get("output"),
    }


def _given(raw: Any) -> tuple[list[Any], list[Any]]:
    """Return a generation's input as messages, and the tools it names."""
    if isinstance(raw, str):
        return _transcript(raw), []
    if isinstance(raw, list):
        items = cast("list[Any]", raw)
        described = [i["content"] for i in items if _is_tool_note(i)]
        return [_item(i) for i in items if not _is_tool_note(i)], described
    if not isinstance(raw, dict):
        return [], []
    body = cast(JsonObject, raw)
    if isinstance(body.get("messages"), list):
        return [_item(i) for i in body["messages"]], body.get("tools") or body.get("functions") or []
    if isinstance(body.get("contents"), list):
        settings = body.get("config") or {}
        system = settings.get("system_instruction")
        head = [{"role": "system", "content": as_text(system)}] if system else []
        declared = [d for t in settings.get("tools") or [] for d in t.get("function_declarations") or []]
        return head + [_item(i) for i in body["contents"]], declared
    if "prompt" in body:
        head = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        return [*head, {"role": "user", "content": as_text(body["prompt"])}], []
    if isinstance(body.get("args"), list):
        return [{"role": "user", "content": as_text(a)} for a in body["args"]], []
    return ([_item(body)], []) if "role" in body else ([], [])


def _is_tool_note(item: Any) -> bool:
    """LangChain's exporter lists the tools offered as messages of role tool."""
    content = item.get("content") if isinstance(item, dict) and item.get("role") == "tool" else None
    return isinstance(content, dict) and content.get("type") == "function" and "function" in content


def _said(raw: Any) -> list[Any]:
    """Return a generation's output as messages."""
    if isinstance(raw, str):
        return [{"role": "assistant", "content": raw}]
    if isinstance(raw, list):
        items = cast("list[Any]", raw)
        if items and all(isinstance(i, dict) and "toolName" in i for i in items):
            return [{"role": "assistant", "tool_calls": items}]
        return [_item(i) for i in items]
    if not isinstance(raw, dict):
        return []
    body = cast(JsonObject, raw)
    if isinstance(body.get("choices"), list):
        return [c["message"] for c in body["choices"][:1] if isinstance(c.get("message"), dict)]
    if isinstance(body.get("output"), list):
        return [_item(i) for i in body["output"] if i.get("type") != "reasoning"]
    if isinstance(body.get("content"), dict):
        return [_item(body["content"])]
    return [{"role": "assistant", **_item(body)}]


def _item(raw: Any) -> Any:
    """Turn the items of OpenAI's Responses API and LangChain's nested calls into chat messages."""
    if not isinstance(raw, dict):
        return raw
    item = cast(JsonObject, raw)
    if item.get("type") == "function_call":
        call = {"id": item.get("call_id"), "name": item.get("name"), "arguments": item.get("arguments")}
        return {"role": "assistant", "tool_calls": [call]}
    if item.get("type") == "function_call_output":
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    extra = item.get("additional_kwargs")
    if isinstance(extra, dict) and extra.get("tool_calls") and not item.get("tool_calls"):
        return {**item, "tool_calls": extra["tool_calls"]}
    return item


def _transcript(text: str) -> list[Any]:
    """Take "system: ...\\nuser: ..." apart; text without roles is the user's."""
    marks = list(_TRANSCRIPT.finditer(text))
    if not marks or marks[0].start() != 0:
        return [{"role": "user", "content": text}]
    ends = [m.start() for m in marks[1:]] + [len(text)]
    return [
        {"role": m.group(1), "content": text[m.end() : end].strip()}
        for m, end in zip(marks, ends, strict=True)
    ]


def _scores(raw: Sequence[JsonObject]) -> tuple[Score, ...]:
    scores: list[Score] = []
    for s in raw:
        value = s.get("value") if s.get("value") is not None else s.get("stringValue")
        if isinstance(value, bool | int | float | str) and s.get("name"):
            value = bool(value) if s.get("dataType") == "BOOLEAN" else value
            kind = {"ANNOTATION": "human", "EVAL": "llm"}.get(str(s.get("source")), "code")
            value = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
            if kind == "human":
                scores.append(Score(str(s["name"]), value, "human", str(s.get("comment") or "")))
            else:
                scores.append(Score(str(s["name"]), value, "llm" if kind == "llm" else "code"))
    return tuple(scores)


def _time(value: Any) -> int:
    if value is None:
        return 0
    moment = datetime.fromisoformat(str(value))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
