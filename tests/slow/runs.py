"""Agent runs with tool calls as OTLP exports, in both dialects, with what breaks a careless connector.

Numbers as text, JSON as text in its own spelling, whole numbers past 64 bits, parallel calls, other scripts.
"""

from __future__ import annotations

import json
import random
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from strop.records import JsonObject
from strop.sources.platform import SECOND

QUESTIONS = (
    "Wo ist 00340434161094042557?", "12345", "007", "true", '{"order": "A-1", "n": 1.10}', "[1,2]", "1e5",
    "Größe 42, geht das? 👟", "line\nline\t\"quoted\"", "null",
)  # fmt: skip
RESULTS = (
    '{"status":"in_transit","tracking":"00340434161094042557"}', '{"status": "late",  "weight": 1.10}',
    "0017", "34043416109404255712", '{"id":34043416109404255712}', "not found", "[]", "", "true",
)  # fmt: skip
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Ask for {name}",
            "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        },
    }
    for name in ("lookup_tracking", "lookup_eta")
]


def export(
    count: int, seed: int, first: int, *, apart: int = 600 * SECOND, project: str = "runs"
) -> ExportTraceServiceRequest:
    """Return `count` runs, the first at `first` (UTC ns, a whole millisecond), each `apart` after the last.

    project: where Phoenix files them.
    """
    rng = random.Random(seed)
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.append(_pair("openinference.project.name", project))
    scope = group.scope_spans.add()
    for i in range(count):
        scope.spans.extend(_run(rng, first + i * apart, i % 2 == 0, f"session-{i // 3:03d}"))
    return request


def _run(rng: random.Random, start: int, genai: bool, session: str) -> list[Span]:
    trace_id = rng.randbytes(16)
    root = _span(rng, trace_id, b"", "support", start, 60 * SECOND)
    messages: list[JsonObject] = [
        {"role": "system", "content": "You are a support agent."},
        {"role": "user", "content": rng.choice(QUESTIONS)},
    ]
    spans = [root]
    at = start
    for turn in range(rng.randint(1, 4)):
        at += SECOND
        calls = [
            {
                "id": f"call_{turn}_{n}",
                "type": "function",
                "function": {
                    "name": rng.choice(TOOLS)["function"]["name"],
                    "arguments": json.dumps({"id": f"00{rng.randrange(10**18)}"},
                                            separators=rng.choice([(",", ":"), (", ", ": ")])),
                },
            }
            for n in range(rng.randint(1, 2))
        ]  # fmt: skip
        said: JsonObject = {"role": "assistant", "content": None, "tool_calls": calls}
        spans.append(_model_span(rng, root, at, genai, messages, said, session))
        messages.append(said)
        for call in calls:
            result = rng.choice(RESULTS)
            spans.append(_tool_span(rng, root, at + SECOND // 2, genai, call, result))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    answer = {"role": "assistant", "content": f"It is on its way: {rng.randrange(10**6):06d}."}
    spans.append(_model_span(rng, root, at + SECOND, genai, messages, answer, session))
    kind = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support"} if genai else {
        "openinference.span.kind": "AGENT", "agent.name": "support"}  # fmt: skip
    _attributes(root, {**kind, "tenant.id": f"{rng.randrange(100):04d}", "session.id": session})
    return spans


def _model_span(
    rng: random.Random,
    root: Span,
    at: int,
    genai: bool,
    given: list[JsonObject],
    said: JsonObject,
    session: str,
) -> Span:
    span = _span(rng, root.trace_id, root.span_id, "chat m", at, SECOND // 4)
    if genai:
        attributes: JsonObject = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.conversation.id": session,
            "gen_ai.usage.input_tokens": rng.randrange(1000),
            "gen_ai.usage.output_tokens": rng.randrange(100),
            "gen_ai.tool.definitions": json.dumps([t["function"] | {"type": "function"} for t in TOOLS]),
            "gen_ai.input.messages": json.dumps([_parts(m) for m in given], ensure_ascii=False),
            "gen_ai.output.messages": json.dumps([_parts(said)], ensure_ascii=False),
        }
    else:
        attributes = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "m",
            "session.id": session,
            "llm.token_count.prompt": rng.randrange(1000),
            "llm.token_count.completion": rng.randrange(100),
        }
        for i, tool in enumerate(TOOLS):
            attributes[f"llm.tools.{i}.tool.json_schema"] = json.dumps(tool)
        for side, messages in (("input", given), ("output", [said])):
            for i, message in enumerate(messages):
                attributes |= _inference(f"llm.{side}_messages.{i}.message", message)
    _attributes(span, attributes)
    return span


def _tool_span(rng: random.Random, root: Span, at: int, genai: bool, call: JsonObject, result: str) -> Span:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    span = _span(rng, root.trace_id, root.span_id, f"execute_tool {name}", at, SECOND // 8)
    _attributes(
        span,
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": call["id"],
            "gen_ai.tool.call.arguments": arguments,
            "gen_ai.tool.call.result": result,
        }
        if genai
        else {
            "openinference.span.kind": "TOOL",
            "tool.name": name,
            "tool.parameters": arguments,
            "input.value": arguments,
            "output.value": result,
        },
    )
    return span


def _parts(message: JsonObject) -> JsonObject:
    """One message as OTel GenAI's parts."""
    parts: list[JsonObject] = []
    if message["role"] == "tool":
        parts.append(
            {"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}
        )
    elif message["content"] is not None:
        parts.append({"type": "text", "content": message["content"]})
    for call in message.get("tool_calls", []):
        body = call["function"]
        arguments = json.loads(body["arguments"])
        parts.append({"type": "tool_call", "id": call["id"], "name": body["name"], "arguments": arguments})
    return {"role": message["role"], "parts": parts}


def _inference(prefix: str, message: JsonObject) -> JsonObject:
    """One message as OpenInference's flat keys."""
    out: JsonObject = {f"{prefix}.role": message["role"]}
    if message["content"] is not None:
        out[f"{prefix}.content"] = message["content"]
    if "tool_call_id" in message:
        out[f"{prefix}.tool_call_id"] = message["tool_call_id"]
    for i, call in enumerate(message.get("tool_calls", [])):
        start = f"{prefix}.tool_calls.{i}.tool_call"
        out[f"{start}.id"] = call["id"]
        out[f"{start}.function.name"] = call["function"]["name"]
        out[f"{start}.function.arguments"] = call["function"]["arguments"]
    return out


def _span(rng: random.Random, trace_id: bytes, parent: bytes, name: str, at: int, lasted: int) -> Span:
    return Span(
        trace_id=trace_id,
        span_id=rng.randbytes(8),
        parent_span_id=parent,
        name=name,
        start_time_unix_nano=at,
        end_time_unix_nano=at + lasted,
    )


def _attributes(span: Span, values: JsonObject) -> None:
    span.attributes.extend(_pair(k, v) for k, v in values.items())


def _pair(key: str, value: Any) -> KeyValue:
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=str(value)))
