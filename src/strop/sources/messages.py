"""Chat messages in the dialects that agents' instrumentation writes -> records.Message.

Understood: OpenAI, OTel GenAI parts, Anthropic content blocks, LangChain (plain and serialised),
Gemini parts, Vercel AI parts. Reasoning is left out: it is no part of what a model is asked to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from strop.records import JsonObject, Message, Tool, ToolCall
from strop.sources.spans import decoded

Role = Literal["system", "developer", "user", "assistant", "tool"]

_ROLES: dict[str, Role] = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "assistant": "assistant",
    "ai": "assistant", "model": "assistant", "tool": "tool", "function": "tool", "data": "tool",
    "HumanMessage": "user", "AIMessage": "assistant", "SystemMessage": "system", "ToolMessage": "tool",
    "AIMessageChunk": "assistant", "FunctionMessage": "tool",
}  # fmt: skip

_CALL_PARTS = {"tool_call", "tool_use", "tool-call", "function_call"}
_RESULT_PARTS = {"tool_call_response", "tool_result", "tool-result", "function_response"}
_SILENT_PARTS = {"reasoning", "thinking", "redacted_thinking", "compaction"}


def as_text(value: Any) -> str:
    """Return a value as the model would have read it: strings as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def read_messages(raw: Any, *, role: Role = "user") -> list[Message]:
    """Read messages of any known dialect; `role` is for those that don't say.

    Raises ValueError with the reason for anything that is no chat message.
    """
    raw = decoded(raw)
    if raw is None or raw == "":
        return []
    if isinstance(raw, str):
        return [Message(role=role, content=raw)]
    if isinstance(raw, dict):
        raw = [raw]
    if not isinstance(raw, list):
        raise ValueError(f"messages are a {type(raw).__name__}, not a list")
    items = cast("list[Any]", raw)
    if len(items) == 1 and isinstance(items[0], list):  # LangChain batches: [[message, ...]]
        items = items[0]
    out: list[Message] = []
    for item in items:
        out.extend(_read_one(decoded(item), role))
    return out


def read_tools(raw: Any) -> tuple[Tool, ...]:
    """Read tool definitions, OpenAI's (wrapped or flat) or Anthropic's. Raises ValueError."""
    raw = decoded(raw)
    if raw is None:
        return ()
    if isinstance(raw, dict):
        raw = list(cast(JsonObject, raw).values())
    if not isinstance(raw, list):
        raise ValueError("tool definitions are not a list")
    tools: list[Tool] = []
    for item in cast("list[Any]", raw):
        tool = decoded(item)
        if not isinstance(tool, dict):
            raise ValueError("a tool definition is not an object")
        inner: JsonObject = tool.get("function") or tool
        names = ("parameters", "input_schema", "inputSchema", "parameters_json_schema")
        parameters = next((inner[n] for n in names if isinstance(inner.get(n), dict)), {})
        tools.append(Tool.from_openai({**inner, "parameters": parameters}))
    return tuple(tools)


def _read_one(raw: Any, default: Role) -> list[Message]:
    if isinstance(raw, str):
        return [Message(role=default, content=raw)]
    if not isinstance(raw, dict):
        raise ValueError(f"a message is a {type(raw).__name__}, not an object")
    item = cast(JsonObject, raw)
    if isinstance(item.get("kwargs"), dict) and isinstance(item.get("id"), list):  # LangChain, serialised
        item = {"type": item["id"][-1], **item["kwargs"]}
    if isinstance(item.get("message"), dict):  # a choice, or a LangChain generation
        item = item["message"]
    role = _role(item, default)
    parts = item.get("parts")
    content = parts if isinstance(parts, list) else item.get("content")
    text, calls, results = _split(content)
    calls += [_call(c, len(calls) + i) for i, c in enumerate(_listed(item, "tool_calls", "toolCalls"))]
    if role == "tool" and not results:
        call_id = item.get("tool_call_id") or item.get("toolCallId") or item.get("id")
        return [Message(role="tool", content=text or "", tool_call_id=as_text(call_id) if call_id else None)]
    messages = list(results)
    if role != "tool" and (text is not None or calls or not results):
        own = Message(role=role, content=text, tool_calls=tuple(calls))
        messages.append(own)
    return messages


def _role(item: JsonObject, default: Role) -> Role:
    for key in ("role", "type"):
        name = item.get(key)
        if isinstance(name, str) and name in _ROLES:
            return _ROLES[name]
    if isinstance(item.get("role"), str):
        raise ValueError(f"unknown role {item['role'][:20]!r}")
    if not any(k in item for k in ("content", "parts", "tool_calls")):
        raise ValueError("a message has neither role nor content")
    return default


def _listed(item: JsonObject, *keys: str) -> list[Any]:
    for key in keys:
        value = decoded(item.get(key))
        if isinstance(value, list) and value:
            return cast("list[Any]", value)
    return []


def _split(content: Any) -> tuple[str | None, list[ToolCall], list[Message]]:
    """Take content apart into its text, its tool calls and its tool results."""
    if content is None or isinstance(content, str):
        return content, [], []
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return as_text(content), [], []
    texts: list[str] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    for part in cast("list[Any]", content):
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            texts.append(as_text(part))
            continue
        kind, body = _kind(cast(JsonObject, part))
        if kind in _CALL_PARTS:
            calls.append(_call(body, len(calls)))
        elif kind in _RESULT_PARTS:
            results.append(_result(body))
        elif kind not in _SILENT_PARTS:
            text = body.get("text", body.get("content"))
            texts.append(text if isinstance(text, str) else f"[{kind}]")
    return ("".join(texts) if texts else None), calls, results


def _kind(part: JsonObject) -> tuple[str, JsonObject]:
    if "type" in part:
        return str(part["type"]), part
    for key in ("function_call", "function_response"):  # Gemini
        if isinstance(part.get(key), dict):
            return key, part[key]
    return "text" if "text" in part else "part", part


def _call(raw: Any, index: int) -> ToolCall:
    if not isinstance(raw, dict):
        raise ValueError(f"tool call {index} is not an object")
    item = cast(JsonObject, raw)
    inner = item.get("function")
    body: JsonObject = cast(JsonObject, inner) if isinstance(inner, dict) else item
    name = body.get("name") or body.get("toolName") or body.get("tool_name")
    if not isinstance(name, str):
        raise ValueError(f"tool call {index} has no function name")
    arguments: Any = {}
    for key in ("arguments", "args", "input"):
        if body.get(key) is not None:
            arguments = body[key]
            break
    call_id = item.get("id") or item.get("toolCallId") or item.get("tool_call_id") or f"call_{index}"
    return ToolCall(str(call_id), name, as_text(arguments))


def _result(part: JsonObject) -> Message:
    call_id = part.get("id") or part.get("tool_use_id") or part.get("toolCallId") or part.get("tool_call_id")
    value: Any = None
    for key in ("response", "result", "output", "content"):
        if part.get(key) is not None:
            value = part[key]
            break
    if isinstance(value, list) and all(isinstance(v, dict) and v.get("type") == "text" for v in value):
        value = "".join(str(v.get("text", "")) for v in cast("list[JsonObject]", value))
    text = "" if value is None else as_text(value)
    return Message(role="tool", content=text, tool_call_id=str(call_id) if call_id else None)


def with_call_ids(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Give tool results without a call id the oldest call that is still open."""
    open_calls: list[str] = []
    out: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            open_calls = [c.id for c in message.tool_calls]
        elif message.role == "tool":
            if message.tool_call_id is None and open_calls:
                message = Message(role="tool", content=message.content, tool_call_id=open_calls[0])
            if message.tool_call_id in open_calls:
                open_calls.remove(message.tool_call_id)
        out.append(message)
    return tuple(out)


def unflatten(attributes: JsonObject, prefix: str) -> list[Any]:
    """Turn `prefix.0.a.b`, `prefix.1.c` into a list of nested objects, in index order."""
    root: dict[str, Any] = {}
    for key, value in attributes.items():
        if key.startswith(prefix + "."):
            node = root
            *path, last = key[len(prefix) + 1 :].split(".")
            for step in path:
                inner = node.setdefault(step, {})
                if not isinstance(inner, dict):
                    break
                node = inner
            else:
                node[last] = value
    nested = _lists(root)
    return nested if isinstance(nested, list) else []


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    items = cast(JsonObject, node)
    if items and all(k.isdigit() for k in items):
        return [_lists(items[k]) for k in sorted(items, key=int)]
    return {k: _lists(v) for k, v in items.items()}


def same_messages(left: Iterable[Message], right: Iterable[Message]) -> bool:
    """Say whether two transcripts are equal but for call arguments' spelling and empty content."""
    return [_face(m) for m in left] == [_face(m) for m in right]


def _face(m: Message) -> tuple[object, ...]:
    role = "system" if m.role == "developer" else m.role
    return (role, (m.content or "").strip(), tuple((c.id, c.key()) for c in m.tool_calls), m.tool_call_id)
