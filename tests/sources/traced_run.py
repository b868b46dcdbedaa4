"""One agent's run with a tool call, as instrumentation writes it in both conventions."""

from __future__ import annotations

import json
from typing import Any

from strop.sources.platform import ns
from strop.sources.spans.span import Span, SpanEvent

Row = dict[str, Any]

START = ns("2026-11-23T06:32:05.643431Z")
MS = 1_000_000
TRACE = "11111111111111111111111111111111"
TRACKING = "00340434161094042557"
ASKED = [{"role": "user", "parts": [{"type": "text", "content": f"Where is {TRACKING}?"}]}]
CALLED = {"type": "tool_call", "id": "call_1", "name": "get_order", "arguments": {"order_id": "A-1001"}}
RESULT = {"status": "in_transit", "tracking": TRACKING}
TOOLS = [
    {"type": "function", "name": "get_order", "description": "Look up", "parameters": {"type": "object"}}
]


def run() -> list[Span]:
    """An agent's run with one tool call, as its instrumentation wrote it."""
    answered = [
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": RESULT}]}
    ]
    turn = [{"role": "assistant", "parts": [CALLED]}]
    said = [
        {"role": "assistant", "parts": [{"type": "text", "content": "On its way."}], "finish_reason": "stop"}
    ]
    score = {"gen_ai.evaluation.name": "Relevance", "gen_ai.evaluation.score.value": 4.0,
             "gen_ai.evaluation.explanation": "to the point"}  # fmt: skip
    spans = [
        ("a1", None, 0, 900, "invoke_agent support", {
            "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support", "enduser.id": "user-1",
            "tenant.id": "acme", "session.id": "sess-1", "tag.tags": ["prod", "v7"],
            "gen_ai.usage.input_tokens": 290, "gen_ai.usage.output_tokens": 50,
        }, ()),
        ("b1", "a1", 10, 400, "chat m", {
            **chat(120, 20), "gen_ai.input.messages": json.dumps(ASKED),
            "gen_ai.output.messages": json.dumps(turn), "gen_ai.response.finish_reasons": ["tool_calls"],
            "gen_ai.response.id": "resp_1",
        }, ()),
        ("c1", "a1", 410, 500, "execute_tool get_order", {
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_order",
            "gen_ai.tool.call.id": "call_1", "gen_ai.tool.call.arguments": json.dumps(CALLED["arguments"]),
            "gen_ai.tool.call.result": json.dumps(RESULT),
        }, ()),
        ("d1", "a1", 510, 890, "chat m", {
            **chat(170, 30), "gen_ai.input.messages": json.dumps([*ASKED, *turn, *answered]),
            "gen_ai.output.messages": json.dumps(said), "gen_ai.response.id": "resp_2",
        }, (SpanEvent("gen_ai.evaluation.result", START + 889 * MS, score),)),
    ]  # fmt: skip
    return [
        Span(
            trace_id=TRACE,
            span_id=full(span_id),
            parent_id=parent and full(parent),
            name=name,
            started_at=START + start * MS,
            ended_at=START + end * MS,
            attributes=attributes,
            resource={"service.name": "agent"},
            events=events,
        )
        for span_id, parent, start, end, name, attributes, events in spans
    ]


def full(span_id: str) -> str:
    """Return a span id of eight bytes."""
    return span_id.rjust(16, "0")


def chat(tokens_in: int, tokens_out: int) -> Row:
    return {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.conversation.id": "sess-1",
        "gen_ai.usage.input_tokens": tokens_in, "gen_ai.usage.output_tokens": tokens_out,
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "You support."}]),
        "gen_ai.tool.definitions": json.dumps(TOOLS),
    }  # fmt: skip


def inference_run() -> list[Span]:
    """The same run in the conventions of OpenInference."""
    who = {"session.id": "sess-1", "user.id": "user-1", "metadata": json.dumps({"tenant.id": "acme"}),
           "tag.tags": ["prod", "v7"]}  # fmt: skip
    arguments = json.dumps(CALLED["arguments"])
    schema = {"type": "function", "function": {k: v for k, v in TOOLS[0].items() if k != "type"}}
    asked = {
        **message("input", 0, "system", "You support."),
        **message("input", 1, "user", f"Where is {TRACKING}?"),
        "llm.tools.0.tool.json_schema": json.dumps(schema),
    }
    call = {"id": "call_1", "function.name": "get_order", "function.arguments": arguments}
    turn = {f"message.tool_calls.0.tool_call.{k}": v for k, v in call.items()} | {"message.role": "assistant"}
    model = {"openinference.span.kind": "LLM", "llm.model_name": "m", **who}
    spans = [
        ("a2", None, 0, 900, "agent", {"openinference.span.kind": "AGENT", "agent.name": "support", **who}),
        ("b2", "a2", 10, 400, "ChatCompletion", {
            **model, **asked, **{f"llm.output_messages.0.{k}": v for k, v in turn.items()},
            "llm.token_count.prompt": 120, "llm.token_count.completion": 20,
        }),
        ("c2", "a2", 410, 500, "get_order", {
            "openinference.span.kind": "TOOL", "tool.name": "get_order", "tool.parameters": arguments,
            "input.value": arguments, "output.value": json.dumps(RESULT), **who,
        }),
        ("d2", "a2", 510, 890, "ChatCompletion", {
            **model, **asked, **{f"llm.input_messages.2.{k}": v for k, v in turn.items()},
            **message("input", 3, "tool", json.dumps(RESULT)),
            "llm.input_messages.3.message.tool_call_id": "call_1",
            **message("output", 0, "assistant", "On its way."),
            "llm.token_count.prompt": 170, "llm.token_count.completion": 30,
        }),
    ]  # fmt: skip
    return [
        Span(
            trace_id="22222222222222222222222222222222",
            span_id=full(span_id),
            parent_id=parent and full(parent),
            name=name,
            started_at=START + start * MS,
            ended_at=START + end * MS,
            attributes=attributes,
            resource={"service.name": "agent"},
        )
        for span_id, parent, start, end, name, attributes in spans
    ]


def message(side: str, index: int, role: str, content: str) -> Row:
    prefix = f"llm.{side}_messages.{index}.message"
    return {f"{prefix}.role": role, f"{prefix}.content": content}
