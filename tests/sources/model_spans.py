"""One conversation with a tool call, as a model span of every generation of the conventions."""

from __future__ import annotations

import json
from typing import Any

from strop.records import Message, ToolCall, Trace
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import LogEvent, Span, SpanEvent

ASKED, CALLED, FOUND, SAID = "Wo ist A-1001?", '{"order_id":"A-1001"}', '{"tracking":"0034"}', "Unterwegs."
SCHEMA = {"type": "object", "properties": {"order_id": {"type": "string"}}}
BARE = {"name": "get_order", "description": "Look up an order", "parameters": SCHEMA}
OPENAI_TOOL = {"type": "function", "function": BARE}


def span(
    attributes: dict[str, Any], *, name: str = "", events: tuple[SpanEvent, ...] = (), n: int = 1
) -> Span:
    return Span(
        trace_id="a" * 32,
        span_id=f"{n:016x}",
        parent_id="r",
        name=name,
        started_at=10 * n,
        ended_at=10 * n + 5,
        attributes=attributes,
        events=events,
    )


def trace_of(*spans: Span, root: dict[str, Any] | None = None, logs: tuple[LogEvent, ...] = ()) -> Trace:
    first = Span(trace_id="a" * 32, span_id="r", started_at=1, ended_at=99, attributes=root or {})
    traces, skipped = assemble([first, *spans], source="s", logs=logs)
    assert not skipped
    return traces[0]


OPENAI_GIVEN = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": ASKED},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_order", "arguments": CALLED}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": FOUND},
]
EXPECTED = (
    Message(role="system", content="Be kind."),
    Message(role="user", content=ASKED),
    Message(role="assistant", tool_calls=(ToolCall("c1", "get_order", CALLED),)),
    Message(role="tool", content=FOUND, tool_call_id="c1"),
    Message(role="assistant", content=SAID),
)


def parts(result_key: str) -> list[dict[str, Any]]:
    call = {"type": "tool_call", "id": "c1", "name": "get_order", "arguments": json.loads(CALLED)}
    return [
        {"role": "user", "parts": [{"type": "text", "content": ASKED}]},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, call]},
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c1", result_key: json.loads(FOUND)}],
        },
    ]


ANSWER = [{"role": "assistant", "parts": [{"type": "text", "content": SAID}], "finish_reason": "stop"}]
SYSTEM = [{"type": "text", "content": "Be kind."}]
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def otel(*, result_key: str = "response", text: bool = True) -> dict[str, Any]:
    content: dict[str, Any] = {
        "gen_ai.system_instructions": SYSTEM,
        "gen_ai.input.messages": parts(result_key),
        "gen_ai.output.messages": ANSWER,
        "gen_ai.tool.definitions": [{"type": "function", **BARE}],
    }
    return {k: json.dumps(v) if text else v for k, v in content.items()}


def flat(prefix: str, messages: list[dict[str, Any]], *, inference: bool) -> dict[str, Any]:
    """OpenInference's (`message.` and `tool_call.` inside) or OpenLLMetry's flat keys."""
    out: dict[str, Any] = {}
    for i, m in enumerate(messages):
        start = f"{prefix}.{i}." + ("message." if inference else "")
        out[start + "role"] = m["role"]
        if m.get("content") is not None:
            out[start + "content"] = m["content"]
        if "tool_call_id" in m:
            out[start + "tool_call_id"] = m["tool_call_id"]
        for j, call in enumerate(m.get("tool_calls", [])):
            inner = f"{start}tool_calls.{j}." + ("tool_call." if inference else "")
            function = inner + ("function." if inference else "")
            out |= {inner + "id": "c1", function + "name": "get_order", function + "arguments": CALLED}
            assert call["id"] == "c1"
    return out


VERCEL_GIVEN = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": ASKED}]},
]


def vercel(generation: int) -> dict[str, Any]:
    arguments, result = ("args", "result") if generation == 4 else ("input", "output")
    found: Any = json.loads(FOUND) if generation == 4 else {"type": "json", "value": json.loads(FOUND)}
    call = {"type": "tool-call", "toolCallId": "c1", "toolName": "get_order", arguments: json.loads(CALLED)}
    answer = {"type": "tool-result", "toolCallId": "c1", "toolName": "get_order", result: found}
    given = [*VERCEL_GIVEN, {"role": "assistant", "content": [call]}, {"role": "tool", "content": [answer]}]
    tool = {"type": "function", "name": "get_order", "description": BARE["description"]}
    schema = "parameters" if generation == 4 else "inputSchema"
    return {
        "ai.operationId": "ai.generateText.doGenerate",
        "ai.prompt.messages": json.dumps(given),
        "ai.prompt.tools": [json.dumps({**tool, schema: SCHEMA})],
        "ai.model.id": "m",
        "ai.response.text" if generation > 3 else "ai.result.text": SAID,
        "ai.usage.promptTokens" if generation == 4 else "ai.usage.inputTokens": 7,
        "ai.usage.completionTokens" if generation == 4 else "ai.usage.outputTokens": 3,
    }


def old_events(*, in_body: bool = False) -> list[tuple[str, dict[str, Any]]]:
    call = {"id": "c1", "type": "function", "function": {"name": "get_order", "arguments": CALLED}}
    events: list[tuple[str, dict[str, Any]]] = [
        ("gen_ai.system.message", {"content": "Be kind."}),
        ("gen_ai.user.message", {"content": ASKED}),
        ("gen_ai.assistant.message", {"tool_calls": [call]}),
        ("gen_ai.tool.message", {"content": FOUND, "id": "c1"}),
        ("gen_ai.choice", {"index": 0, "message": {"role": "assistant", "content": SAID}}),
    ]
    if in_body:
        return [(name, {"gen_ai.system": "openai", "body": body}) for name, body in events]
    return [
        (n, {k: v if isinstance(v, str | int) else json.dumps(v) for k, v in b.items()}) for n, b in events
    ]


def as_span_events(events: list[tuple[str, dict[str, Any]]]) -> tuple[SpanEvent, ...]:
    return tuple(SpanEvent(name, i, body) for i, (name, body) in enumerate(events))


def strands_events() -> list[tuple[str, dict[str, Any]]]:
    """Bedrock's blocks as JSON text; of a choice nothing but its content."""
    call = {"toolUseId": "c1", "name": "get_order", "input": json.loads(CALLED)}
    result = {"toolUseId": "c1", "status": "success", "content": [{"text": FOUND}]}
    content: list[tuple[str, list[dict[str, Any]]]] = [
        ("system", [{"text": "Be kind."}]),
        ("user", [{"text": ASKED}]),
        ("assistant", [{"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"toolUse": call}]),
        ("tool", [{"toolResult": result}]),
    ]
    told = [(f"gen_ai.{role}.message", {"content": json.dumps(blocks)}) for role, blocks in content]
    return [*told, ("gen_ai.choice", {"finish_reason": "end_turn", "message": json.dumps([{"text": SAID}])})]


OPENAI_REQUEST = {"model": "m", "messages": OPENAI_GIVEN, "tools": [OPENAI_TOOL]}
OPENAI_RESPONSE = {"choices": [{"message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}]}
GEMINI_REQUEST = {
    "model": "m",
    "config": {
        "system_instruction": "Be kind.",
        "tools": [{"function_declarations": [{**BARE, "parameters": SCHEMA}]}],
    },
    "contents": [
        {"role": "user", "parts": [{"text": ASKED}]},
        {
            "role": "model",
            "parts": [{"function_call": {"id": "c1", "name": "get_order", "args": json.loads(CALLED)}}],
        },
        {
            "role": "user",
            "parts": [
                {"function_response": {"id": "c1", "name": "get_order", "response": json.loads(FOUND)}}
            ],
        },
    ],
}
LANGCHAIN_GIVEN = [
    {"lc": 1, "type": "constructor", "id": ["langchain", "schema", kind], "kwargs": kwargs}
    for kind, kwargs in [
        ("SystemMessage", {"content": "Be kind.", "type": "system"}),
        ("HumanMessage", {"content": ASKED, "type": "human"}),
        (
            "AIMessage",
            {
                "content": "",
                "type": "ai",
                "tool_calls": [{"name": "get_order", "args": json.loads(CALLED), "id": "c1"}],
            },
        ),
        ("ToolMessage", {"content": FOUND, "type": "tool", "tool_call_id": "c1"}),
    ]
]
LOGFIRE_EVENTS = [
    {"event.name": "gen_ai.system.message", "content": "Be kind.", "role": "system"},
    {"event.name": "gen_ai.user.message", "content": ASKED, "role": "user"},
    {"event.name": "gen_ai.assistant.message", **OPENAI_GIVEN[2]},
    {"event.name": "gen_ai.tool.message", "content": json.loads(FOUND), "role": "tool", "id": "c1"},
    {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": SAID}},
]
PYDANTIC_TOOLS = {
    "function_tools": [
        {"name": "get_order", "description": BARE["description"], "parameters_json_schema": SCHEMA}
    ]
}

MODEL_SPANS: dict[str, Span] = {
    "gen_ai JSON strings": span(CHAT | otel()),
    "gen_ai structured values": span(CHAT | otel(text=False)),
    "gen_ai with result": span(CHAT | otel(result_key="result")),
    "gen_ai details event": span(
        CHAT, events=(SpanEvent("gen_ai.client.inference.operation.details", 1, otel(text=False)),)
    ),
    "gen_ai nested objects": span(
        {"gen_ai": {"operation": {"name": "chat"}, "request": {"model": "m"}}} | otel()
    ),
    "events up to 1.36": span(CHAT, events=as_span_events(old_events())),
    "events of Azure AI": span(
        CHAT,
        events=tuple(
            SpanEvent(n, i, {"gen_ai.event.content": json.dumps(b)})
            for i, (n, b) in enumerate((n, b["body"]) for n, b in old_events(in_body=True))
        ),
    ),
    "events of Strands": span(CHAT, events=as_span_events(strands_events())),
    "content events up to 1.27": span(
        CHAT,
        events=(
            SpanEvent("gen_ai.content.prompt", 1, {"gen_ai.prompt": json.dumps(OPENAI_GIVEN)}),
            SpanEvent(
                "gen_ai.content.completion",
                2,
                {"gen_ai.completion": json.dumps([{"role": "assistant", "content": SAID}])},
            ),
        ),
    ),
    "OpenInference flat": span(
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "m",
            "llm.tools.0.tool.json_schema": json.dumps(OPENAI_TOOL),
        }
        | flat("llm.input_messages", OPENAI_GIVEN, inference=True)
        | flat("llm.output_messages", [{"role": "assistant", "content": SAID}], inference=True)
    ),
    "OpenInference nested": span(
        {
            "openinference": {"span": {"kind": "LLM"}},
            "llm": {
                "model_name": "m",
                "tools": [{"tool": {"json_schema": OPENAI_TOOL}}],
                "input_messages": [
                    {
                        "message": {
                            **{k: v for k, v in m.items() if k != "tool_calls"},
                            "tool_calls": [{"tool_call": c} for c in m.get("tool_calls", [])],
                        }
                    }
                    for m in OPENAI_GIVEN
                ],
                "output_messages": [{"message": {"role": "assistant", "content": SAID}}],
            },
        }
    ),
    "OpenInference of a dataframe": span(
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "m",
            "llm.tools": [{"tool.json_schema": json.dumps(OPENAI_TOOL)}],
            "llm.input_messages": [
                {"message.role": "system", "message.content": "Be kind."},
                {
                    "message.role": "user",
                    "message.contents": [{"message_content.type": "text", "message_content.text": ASKED}],
                },
                {
                    "message.role": "assistant",
                    "message.tool_calls": [
                        {
                            "tool_call.id": "c1",
                            "tool_call.function.name": "get_order",
                            "tool_call.function.arguments": CALLED,
                        }
                    ],
                },
                {"message.role": "tool", "message.content": FOUND, "message.tool_call_id": "c1"},
            ],
            "llm.output_messages": [{"message.role": "assistant", "message.content": SAID}],
        }
    ),
    "OpenInference without messages": span(
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "m",
            "input.value": json.dumps(OPENAI_REQUEST),
            "output.value": json.dumps(OPENAI_RESPONSE),
        }
    ),
    "OpenLLMetry": span(
        {
            "llm.request.type": "chat",
            "gen_ai.request.model": "m",
            "llm.request.functions.0.name": "get_order",
            "llm.request.functions.0.description": BARE["description"],
            "llm.request.functions.0.parameters": json.dumps(SCHEMA),
        }
        | flat("gen_ai.prompt", OPENAI_GIVEN, inference=False)
        | flat("gen_ai.completion", [{"role": "assistant", "content": SAID}], inference=False)
    ),
    "Traceloop entity": span(
        {
            "llm.request.type": "chat",
            "gen_ai.request.model": "m",
            "traceloop.entity.input": json.dumps({"kwargs": OPENAI_REQUEST}),
            "traceloop.entity.output": json.dumps(OPENAI_RESPONSE),
        }
    ),
    "LangSmith over OTel": span(
        {
            "langsmith.span.kind": "llm",
            "gen_ai.request.model": "m",
            "gen_ai.prompt": json.dumps({"messages": [LANGCHAIN_GIVEN], "tools": [OPENAI_TOOL]}),
            "gen_ai.completion": json.dumps(
                {"generations": [[{"text": SAID, "message": {"kwargs": {"content": SAID, "type": "ai"}}}]]}
            ),
        }
    ),
    "Vercel AI 4": span(vercel(4)),
    "Vercel AI 5": span(vercel(5)),
    "Vercel AI 3": span(vercel(3)),
    "Langfuse": span(
        {
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "m",
            "langfuse.observation.input": json.dumps(OPENAI_REQUEST),
            "langfuse.observation.output": json.dumps({"role": "assistant", "content": SAID}),
        }
    ),
    "Langfuse SDK up to 3.3": span(
        {
            "langfuse.observation.type": "span",
            "langfuse.observation.model.name": "m",
            "langfuse.observation.input": json.dumps(OPENAI_REQUEST),
            "langfuse.observation.output": SAID,
        }
    ),
    "Logfire events": span(
        CHAT | {"events": json.dumps(LOGFIRE_EVENTS), "model_request_parameters": json.dumps(PYDANTIC_TOOLS)}
    ),
    "MLflow": span(
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.llm.model": '"m"',
            "mlflow.spanInputs": json.dumps(OPENAI_REQUEST),
            "mlflow.spanOutputs": json.dumps(OPENAI_RESPONSE),
            "mlflow.chat.tools": json.dumps([OPENAI_TOOL]),
        }
    ),
    "Google ADK": span(
        {
            "gen_ai.system": "gcp.vertex.agent",
            "gen_ai.request.model": "m",
            "gcp.vertex.agent.llm_request": json.dumps(GEMINI_REQUEST),
            "gcp.vertex.agent.llm_response": json.dumps(
                {"content": {"role": "model", "parts": [{"text": SAID}]}, "finish_reason": "STOP"}
            ),
        },
        name="call_llm",
    ),
}
