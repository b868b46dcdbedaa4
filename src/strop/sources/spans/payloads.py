"""Bodies of model requests and answers, as providers' APIs and frameworks shape them -> messages and tools.

Understood: OpenAI chat and Responses, Anthropic, Gemini, LangChain, Vercel AI, bare lists and plain text.
"""

from __future__ import annotations

from typing import Any, cast

from strop.records import JsonObject, Message
from strop.sources.spans.messages import as_text, read_messages
from strop.sources.spans.span import decoded

# What stands around an answer's text. Beside anything else the text is a field of the answer itself.
_AROUND = {
    "id", "object", "created", "model", "type", "name", "index", "usage", "usage_metadata", "metadata",
    "response_metadata", "additional_kwargs", "finish_reason", "stop_reason", "stop_sequence", "stop",
    "logprobs", "input", "intermediate_steps", "text", "completion", "content", "output", "outputs",
    "response", "result", "messages", "tool_calls", "toolCalls", "invalid_tool_calls", "reasoning",
    "reasoning_content", "refusal", "annotations", "audio", "example", "kwargs", "parts",
}  # fmt: skip
_WRAPPERS = ("inputs", "kwargs", "request", "body")


def read_request(raw: Any) -> tuple[list[Message], list[Any]]:
    """Return the messages that a request holds, and the tools it offers (raw).

    Raises ValueError where a list of messages holds something else.
    """
    value = decoded(raw)
    if value is None or value == "":
        return [], []
    if isinstance(value, str | list):
        return read_messages(cast(Any, value), role="user"), []
    if not isinstance(value, dict):
        return [Message(role="user", content=as_text(value))], []
    body = cast(JsonObject, value)
    tools = offered_tools(body)
    head = system_of(body)
    for key in ("messages", "contents", "input", "chat_history"):
        given = decoded(body.get(key))
        if isinstance(given, list) or (isinstance(given, str) and given):
            read = read_messages(cast(Any, given), role="user")
            return ([] if any(m.role in ("system", "developer") for m in read) else head) + read, tools
    for key in _WRAPPERS:
        inner = decoded(body.get(key))
        if isinstance(inner, dict) and inner:
            messages, offered = read_request(cast(JsonObject, inner))
            return head + messages, tools or offered
    if "role" in body or isinstance(body.get("parts"), list):
        return read_messages(body), tools
    if isinstance(body.get("args"), list):
        return [Message(role="user", content=as_text(a)) for a in cast("list[Any]", body["args"])], tools
    for key in ("prompt", "question", "query", "user_input", "content"):
        if isinstance(body.get(key), str) and body[key]:
            return [*head, Message(role="user", content=body[key])], tools
    return head, tools


def read_response(raw: Any) -> list[Message]:
    """Return the messages of an answer: the first choice, the first generation. Raises ValueError."""
    value = decoded(raw)
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [Message(role="assistant", content=value)]
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if items and all(isinstance(i, dict) and "toolName" in i for i in items):
            return read_messages([{"role": "assistant", "tool_calls": items}])
        return read_messages(items, role="assistant")
    if not isinstance(value, dict):
        return [Message(role="assistant", content=as_text(value))]
    return _answer(cast(JsonObject, value), as_text(raw))


def _answer(body: JsonObject, text: str) -> list[Message]:
    """Read an answer's body; `text` is what it was written as."""
    for key in ("choices", "candidates", "generations"):
        options = decoded(body.get(key))
        while isinstance(options, list) and options:
            options = cast("list[Any]", options)[0]
        if isinstance(options, dict) and options:
            return read_response(_chosen(cast(JsonObject, options)))
    for key in ("output", "outputs", "response", "result", "messages"):
        inner = decoded(body.get(key))
        if isinstance(inner, list):
            return read_messages(cast(Any, inner), role="assistant")
        plain = isinstance(inner, dict) or body.keys() <= _AROUND
        if isinstance(inner, dict | str) and inner and "role" not in body and plain:
            return read_response(cast(Any, inner))
    if isinstance(body.get("content"), dict):  # Gemini
        return read_messages({"role": "assistant", **cast(JsonObject, body["content"])})
    calls = body.get("tool_calls") or body.get("toolCalls")
    bare = body.keys() <= _AROUND
    said = "content" in body and (bare or "role" in body or not isinstance(body["content"], str))
    if said or "parts" in body or calls or body.get("type") in ("AIMessage", "ai"):
        return read_messages({"role": "assistant", **body})
    told = next((body[k] for k in ("text", "completion") if isinstance(body.get(k), str) and bare), text)
    return [Message(role="assistant", content=told)]


def _chosen(option: JsonObject) -> Any:
    message = option.get("message")
    if isinstance(message, dict):
        return {"role": "assistant", **_lifted(cast(JsonObject, message))}
    return option.get("content", option.get("text", option))


def _lifted(message: JsonObject) -> JsonObject:
    """Take a serialised LangChain message out of its envelope."""
    kwargs = message.get("kwargs")
    return cast(JsonObject, kwargs) if isinstance(kwargs, dict) else message


def system_of(body: JsonObject) -> list[Message]:
    """Return the system message that stands beside a request's messages. Raises ValueError."""
    config = body.get("config")
    settings = cast(JsonObject, config) if isinstance(config, dict) else {}
    for holder, key in (
        (body, "system"), (body, "instructions"), (body, "system_instruction"), (body, "systemInstruction"),
        (body, "system_instructions"),
        (settings, "system_instruction"), (settings, "systemInstruction"),
    ):  # fmt: skip
        value = decoded(holder.get(key))
        if isinstance(value, str) and value:
            return [Message(role="system", content=value)]
        if isinstance(value, dict) and "parts" in value:
            value = cast(JsonObject, value)["parts"]
        if isinstance(value, list) and value:
            return read_messages({"role": "system", "parts": value})
    return []


def offered_tools(body: JsonObject) -> list[Any]:
    """Return the tools that a request offers, as they stand there."""
    config = body.get("config")
    settings = cast(JsonObject, config) if isinstance(config, dict) else {}
    found: list[Any] = []
    for holder in (body, settings):
        offered = decoded(holder.get("tools") or holder.get("functions"))
        for tool in cast("list[Any]", offered) if isinstance(offered, list) else []:
            declared = None
            if isinstance(tool, dict):
                declared = tool.get("function_declarations") or tool.get("functionDeclarations")
            found += cast("list[Any]", declared) if isinstance(declared, list) else [tool]
    return found
