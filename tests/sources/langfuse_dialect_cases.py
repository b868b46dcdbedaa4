"""One conversation in the dialects of agent frameworks: a question, a call with its result, the answer."""

from __future__ import annotations

import json
from typing import Any

from sources.langfuse_server import at

ARGS = {"order": "0042"}
TEXT = '{"order": "0042"}'
ASK = {"role": "user", "content": "Where is 0042?"}
OPENAI_CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": TEXT}}
TURNS = [
    ASK,
    {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "here"},
]
WRITTEN_CALL = (
    "Calling tools:\n[{'id': 'c1', 'type': 'function', "
    "'function': {'name': 'find', 'arguments': {'order': '0042'}}}]"
)
LC_AI = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain_core", "messages", "AIMessage"],
    "kwargs": {"content": "", "tool_calls": [{"name": "find", "args": ARGS, "id": "c1"}]},
}
LC_HUMAN = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain_core", "messages", "HumanMessage"],
    "kwargs": {"content": "Where is 0042?"},
}
LC_TOOL = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain_core", "messages", "ToolMessage"],
    "kwargs": {"content": "here", "tool_call_id": "c1"},
}

# framework -> a call that is given with its result, and the answer: the last generation's input and output
DIALECTS: dict[str, tuple[Any, Any]] = {
    "openai chat": (
        TURNS,
        {"choices": [{"message": {"role": "assistant", "content": "It is here."}}]},
    ),
    "openai legacy functions": (
        [
            ASK,
            {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": TEXT}},
            {"role": "function", "name": "find", "content": "here"},
        ],
        {"role": "assistant", "content": "It is here."},
    ),
    "openai responses": (
        {
            "instructions": "Help.",
            "input": [
                ASK,
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "c1", "name": "find", "arguments": TEXT, "id": "fc_1"},
                {"type": "function_call_output", "call_id": "c1", "output": "here"},
            ],
        },
        {
            "output": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "It is here."}],
                }
            ]
        },
    ),
    "anthropic": (
        {
            "system": [{"type": "text", "text": "Help."}],
            "messages": [
                ASK,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm"},
                        {"type": "tool_use", "id": "c1", "name": "find", "input": ARGS},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": [{"type": "text", "text": "here"}],
                        }
                    ],
                },
            ],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "It is here."}]},
    ),
    "gemini": (
        {
            "systemInstruction": {"parts": [{"text": "Help."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Where is 0042?"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "find", "args": ARGS}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "find", "response": "here"}}]},
            ],
        },
        {"candidates": [{"content": {"parts": [{"text": "It is ", "thought": False}, {"text": "here."}]}}]},
    ),
    "bedrock converse": (
        {
            "system": [{"text": "Help."}],
            "messages": [
                {"role": "user", "content": [{"text": "Where is 0042?"}]},
                {
                    "role": "assistant",
                    "content": [{"toolUse": {"toolUseId": "c1", "name": "find", "input": ARGS}}],
                },
                {
                    "role": "user",
                    "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "here"}]}}],
                },
            ],
        },
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "It is here."}]}},
            "stopReason": "end_turn",
        },
    ),
    "strands": (
        [
            {"role": "user", "content": '[{"text": "Where is 0042?"}]'},
            {
                "role": "assistant",
                "content": json.dumps([{"toolUse": {"toolUseId": "c1", "name": "find", "input": ARGS}}]),
            },
            {
                "role": "tool",
                "content": json.dumps([{"toolResult": {"toolUseId": "c1", "content": [{"text": "here"}]}}]),
            },
        ],
        {"message": '[{"text": "It is here."}]', "finish_reason": "end_turn"},
    ),
    "langchain": (
        [
            {"type": "human", "content": "Where is 0042?"},
            {
                "type": "ai",
                "content": "",
                "tool_calls": [{"name": "find", "args": ARGS, "id": "c1", "type": "tool_call"}],
            },
            {"type": "tool", "content": "here", "tool_call_id": "c1", "name": "find"},
        ],
        {"generations": [[{"text": "It is here.", "message": {"type": "ai", "content": "It is here."}}]]},
    ),
    "langchain serialised": ([[LC_HUMAN, LC_AI, LC_TOOL]], {**LC_AI, "kwargs": {"content": "It is here."}}),
    "langchain.js": (
        [
            ASK,
            {"role": "assistant", "content": "", "tool_calls": [OPENAI_CALL]},
            {"role": "find", "content": "here"},
        ],
        {"role": "assistant", "content": "It is here."},
    ),
    "llamaindex": (
        {
            "messages": [
                {"role": "MessageRole.USER", "blocks": [{"block_type": "text", "text": "Where is 0042?"}]},
                {"role": "assistant", "blocks": [], "additional_kwargs": {"tool_calls": [OPENAI_CALL]}},
                {
                    "role": "tool",
                    "blocks": [{"block_type": "text", "text": "here"}],
                    "additional_kwargs": {"tool_call_id": "c1"},
                },
            ]
        },
        {
            "message": {"role": "assistant", "blocks": [{"block_type": "text", "text": "It is here."}]},
            "raw": {},
        },
    ),
    "semantic kernel": (
        [
            {"role": "user", "gen_ai.event.content": json.dumps(ASK), "gen_ai.system": "openai"},
            {
                "role": "assistant",
                "gen_ai.event.content": json.dumps(
                    {"role": "Assistant", "content": None, "tool_calls": [OPENAI_CALL]}
                ),
            },
            {
                "role": "tool",
                "gen_ai.event.content": json.dumps({"role": "tool", "content": "here", "id": "c1"}),
            },
        ],
        {
            "gen_ai.event.content": json.dumps(
                {"index": 0, "message": {"role": "Assistant", "content": "It is here."}}
            )
        },
    ),
    "smolagents": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Where is 0042?"}]},
                {"role": "tool-call", "content": [{"type": "text", "text": WRITTEN_CALL}]},
                {"role": "tool-response", "content": [{"type": "text", "text": "here"}]},
            ]
        },
        {"role": "assistant", "content": "It is here.", "tool_calls": None},
    ),
    "haystack": (
        {
            "messages": [
                {"_role": "user", "_content": [{"text": "Where is 0042?"}]},
                {
                    "role": "assistant",
                    "content": [{"tool_call": {"id": "c1", "tool_name": "find", "arguments": ARGS}}],
                },
                {
                    "role": "tool",
                    "content": [
                        {
                            "tool_call_result": {
                                "result": "here",
                                "origin": {"id": "c1", "tool_name": "find", "arguments": ARGS},
                                "error": False,
                            }
                        }
                    ],
                },
            ]
        },
        {"replies": [{"role": "assistant", "content": [{"text": "It is here."}]}]},
    ),
    "dspy": (
        {
            "prompt": None,
            "kwargs": {},
            "messages": TURNS,
        },
        ["It is here."],
    ),
    "mastra": (
        {
            "messages": [
                ASK,
                {
                    "role": "assistant",
                    "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "find", "input": ARGS}],
                },
                {
                    "role": "tool",
                    "content": [
                        {
                            "type": "tool-result",
                            "toolCallId": "c1",
                            "toolName": "find",
                            "output": {"type": "text", "value": "here"},
                        }
                    ],
                },
            ]
        },
        {"text": "It is here.", "object": None, "toolCalls": []},
    ),
    "vercel 4": (
        [
            ASK,
            {
                "role": "assistant",
                "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "find", "args": ARGS}],
            },
            {
                "role": "tool",
                "content": [
                    {"type": "tool-result", "toolCallId": "c1", "toolName": "find", "result": "here"}
                ],
            },
        ],
        "It is here.",
    ),
    "vercel 5 ui messages": (
        [
            {"role": "user", "parts": [{"type": "text", "text": "Where is 0042?"}]},
            {
                "role": "assistant",
                "parts": [
                    {"type": "step-start"},
                    {
                        "type": "tool-find",
                        "toolCallId": "c1",
                        "state": "output-available",
                        "input": ARGS,
                        "output": "here",
                    },
                ],
            },
        ],
        {"text": "It is here."},
    ),
    "n8n": (
        {"messages": [["Human: Where is 0042?"]], "estimatedTokens": 7},
        {"response": {"generations": [[{"text": "It is here.", "generationInfo": {}}]]}, "tokenUsage": {}},
    ),
    "flowise": (
        {"messages": [LC_HUMAN, LC_AI, LC_TOOL]},
        {"output": {"content": "It is here.", "tool_calls": []}},
    ),
    "litellm": (
        {
            "messages": [
                ASK,
                {"role": "assistant", "tool_calls": [OPENAI_CALL], "content": ""},
                {"role": "tool", "content": "here", "tool_call_id": "c1", "name": "find"},
            ],
            "tools": [],
        },
        {"content": "It is here.", "role": "assistant", "tool_calls": None, "function_call": None},
    ),
    "pydantic ai": (
        [
            {"role": "user", "parts": [{"type": "text", "content": "Where is 0042?"}]},
            {
                "role": "assistant",
                "parts": [{"type": "tool_call", "id": "c1", "name": "find", "arguments": ARGS}],
            },
            {
                "role": "user",
                "parts": [{"type": "tool_call_response", "id": "c1", "name": "find", "result": "here"}],
            },
        ],
        [
            {
                "role": "assistant",
                "parts": [{"type": "thinking", "content": "hm"}, {"type": "text", "content": "It is here."}],
            }
        ],
    ),
    "pydantic ai messages": (
        [
            {"kind": "request", "parts": [{"part_kind": "user-prompt", "content": "Where is 0042?"}]},
            {
                "kind": "response",
                "parts": [
                    {"part_kind": "tool-call", "tool_name": "find", "args": TEXT, "tool_call_id": "c1"}
                ],
            },
            {
                "kind": "request",
                "parts": [
                    {"part_kind": "tool-return", "tool_name": "find", "content": "here", "tool_call_id": "c1"}
                ],
            },
        ],
        {"kind": "response", "parts": [{"part_kind": "text", "content": "It is here."}]},
    ),
    "autogen": (
        {
            "messages": [
                {"content": "Where is 0042?", "source": "user", "type": "UserMessage"},
                {
                    "content": [{"id": "c1", "name": "find", "arguments": TEXT}],
                    "source": "agent",
                    "type": "AssistantMessage",
                },
                {
                    "content": [{"content": "here", "call_id": "c1", "name": "find", "is_error": False}],
                    "type": "FunctionExecutionResultMessage",
                },
            ]
        },
        {"content": "It is here.", "usage": {"prompt_tokens": 1}, "finish_reason": "stop"},
    ),
    "genkit": (
        {
            "messages": [
                {"role": "user", "content": [{"text": "Where is 0042?"}]},
                {
                    "role": "model",
                    "content": [{"toolRequest": {"name": "find", "ref": "c1", "input": ARGS}}],
                },
                {
                    "role": "tool",
                    "content": [{"toolResponse": {"name": "find", "ref": "c1", "output": "here"}}],
                },
            ]
        },
        {"message": {"role": "model", "content": [{"text": "It is here."}]}, "finishReason": "stop"},
    ),
    "cohere": (
        {
            "chat_history": [
                ASK,
                {"role": "CHATBOT", "tool_calls": [OPENAI_CALL]},
                {"role": "TOOL", "tool_call_id": "c1", "content": "here"},
            ]
        },
        {"id": "x", "message": {"role": "assistant", "content": [{"type": "text", "text": "It is here."}]}},
    ),
    "ollama": (
        {
            "messages": [
                ASK,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "find", "arguments": ARGS}}],
                },
                {"role": "tool", "content": "here", "tool_name": "find"},
            ]
        },
        {"message": {"role": "assistant", "content": "It is here."}, "done": True},
    ),
    "ag2": (
        [
            {**ASK, "name": "user_proxy"},
            {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]},
            {
                "role": "tool",
                "content": "here",
                "tool_responses": [{"tool_call_id": "c1", "role": "tool", "content": "here"}],
            },
        ],
        {"choices": [{"message": {"role": "assistant", "content": "It is here."}}]},
    ),
    "langchain dicts": (
        [
            {"type": "human", "data": {"content": "Where is 0042?"}},
            {
                "type": "ai",
                "data": {"content": "", "tool_calls": [{"name": "find", "args": ARGS, "id": "c1"}]},
            },
            {"type": "tool", "data": {"content": "here", "tool_call_id": "c1"}},
        ],
        {"type": "ai", "data": {"content": "It is here."}},
    ),
    "decorated function": (
        {
            "args": [],
            "kwargs": {"messages": TURNS},
        },
        "It is here.",
    ),
    "langchain4j": (
        {
            "messages": [
                {"type": "USER", "contents": [{"type": "TEXT", "text": "Where is 0042?"}]},
                {"type": "AI", "toolExecutionRequests": [{"id": "c1", "name": "find", "arguments": TEXT}]},
                {"type": "TOOL_EXECUTION_RESULT", "id": "c1", "toolName": "find", "text": "here"},
            ]
        },
        {"aiMessage": {"type": "AI", "text": "It is here."}},
    ),
    "spring ai": (
        [
            {"messageType": "USER", "text": "Where is 0042?"},
            {"messageType": "ASSISTANT", "toolCalls": [{"id": "c1", "name": "find", "arguments": TEXT}]},
            {"messageType": "TOOL", "responses": [{"id": "c1", "name": "find", "responseData": "here"}]},
        ],
        {"messageType": "ASSISTANT", "text": "It is here."},
    ),
    "microsoft agent framework": (
        [
            {"role": "user", "parts": [{"type": "text", "content": "Where is 0042?"}]},
            {
                "role": "assistant",
                "parts": [
                    {"type": "tool_call", "id": ["run_1", "call_9"], "name": "find", "arguments": ARGS}
                ],
            },
            {
                "role": "tool",
                "parts": [
                    {
                        "type": "tool_call_response",
                        "id": ["run_1", "call_9"],
                        "response": json.dumps(
                            {"type": "function_result", "call_id": "call_9", "result": "here"}
                        ),
                    }
                ],
            },
        ],
        [{"role": "assistant", "parts": [{"type": "text", "content": "It is here."}]}],
    ),
}


def generation(given: Any, said: Any, n: int = 0, **extra: Any) -> dict[str, Any]:
    """A generation as an observation of an export, n seconds after the stand-in's start."""
    row = {"id": f"g{n}", "type": "GENERATION", "name": "chat", "startTime": at(n), "endTime": at(n + 1)}
    return {**row, "input": given, "output": said, **extra}
