"""Chat messages in the dialects that agents' instrumentation writes -> records.Message.

Understood: OpenAI (chat and Responses items), OTel GenAI parts, Anthropic content blocks, LangChain (plain
and serialised), Gemini parts, Bedrock blocks, Vercel AI parts. Reasoning is left out: it is no part of what
a model is asked to say. Images and other files become `[image_url]`, `[blob]` and the like.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, cast

from strop.records import JsonObject, Message, Tool, ToolCall
from strop.sources.spans.span import decoded

Role = Literal["system", "developer", "user", "assistant", "tool"]

_ROLES: dict[str, Role] = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "assistant": "assistant",
    "ai": "assistant", "model": "assistant", "tool": "tool", "function": "tool", "data": "tool",
    "HumanMessage": "user", "AIMessage": "assistant", "SystemMessage": "system", "ToolMessage": "tool",
    "AIMessageChunk": "assistant", "FunctionMessage": "tool",
}  # fmt: skip

_CALL_PARTS = {"tool_call", "tool_use", "tool-call", "function_call"}
_RESULT_PARTS = {
    "tool_call_response", "tool_result", "tool-result", "function_response", "function_call_output",
}  # fmt: skip
_SILENT_PARTS = {
    "reasoning", "thinking", "redacted_thinking", "compaction",
    "server_tool_call", "server_tool_call_response", "server_tool_use",
}  # fmt: skip
_FILE_PARTS = {
    "blob", "file", "uri", "image", "audio", "image_url", "input_image", "input_file", "input_audio",
}  # fmt: skip
_TEXT_PARTS = {"text", "input_text", "output_text", *_FILE_PARTS}
_KEYED = {  # parts without a type: Gemini's and Bedrock's
    "function_call": "function_call", "functionCall": "function_call",
    "function_response": "function_response", "functionResponse": "function_response",
    "toolUse": "tool_use", "toolResult": "tool_result", "reasoningContent": "reasoning",
}  # fmt: skip
_ARGUMENTS = ("arguments", "args", "input")
_CALL_IDS = ("call_id", "id", "toolCallId", "tool_call_id", "toolUseId")
_RESULT_IDS = ("call_id", "id", "tool_use_id", "toolCallId", "tool_call_id", "toolUseId")
_VERCEL_OUTPUTS = {"text", "json", "error-text", "error-json", "content"}
_PART_TYPES = _CALL_PARTS | _RESULT_PARTS | _SILENT_PARTS | _TEXT_PARTS


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
        schemas = [decoded(inner.get(n)) for n in names]
        parameters = next((s for s in schemas if isinstance(s, dict)), {})
        about = inner.get("description")
        known = {"name": inner.get("name"), "description": as_text(about) if about else ""}
        tools.append(Tool.from_openai({**known, "parameters": parameters}))
    return tuple(tools)


def _read_one(raw: Any, default: Role) -> list[Message]:
    if isinstance(raw, str):
        return [Message(role=default, content=raw)]
    if not isinstance(raw, dict):
        raise ValueError(f"a message is a {type(raw).__name__}, not an object")
    item = _unwrapped(cast(JsonObject, raw))
    if "role" not in item and item.get("type") in _CALL_PARTS:  # an item of OpenAI's Responses API
        return [Message(role="assistant", tool_calls=(_call(item, 0),))]
    if "role" not in item and item.get("type") in _RESULT_PARTS:
        return [_result(item)]
    if "role" not in item and item.get("type") in _SILENT_PARTS:
        return []
    role = _role(item, default)
    parts = item.get("parts")
    content = parts if isinstance(parts, list) else item.get("content")
    text, calls, results = _split(content)
    if not calls:  # LangChain repeats Anthropic's tool_use blocks in tool_calls
        calls += [_call(c, i) for i, c in enumerate(_calls(item))]
    if role == "tool" and not results:
        call_id = item.get("tool_call_id") or item.get("toolCallId") or item.get("id")
        value = text if _is_text(content) else result_text(content)
        return [_answer(value or "", call_id, item.get("name"))]
    messages = list(results)
    if role != "tool" and (text is not None or calls or not results):
        own = Message(role=role, content=text, tool_calls=tuple(calls))
        messages.append(own)
    return messages


def _is_text(content: Any) -> bool:
    """Tell content that was written as chat text from a tool's structured result."""
    if isinstance(content, list) and content:
        parts = cast("list[Any]", content)
        return all(
            isinstance(p, str) or (isinstance(p, dict) and p.get("type") in _TEXT_PARTS) for p in parts
        )
    return content is None or isinstance(content, str)


def _unwrapped(item: JsonObject) -> JsonObject:
    if isinstance(item.get("kwargs"), dict) and isinstance(item.get("id"), list) and item["id"]:
        return {"type": item["id"][-1], **item["kwargs"]}  # LangChain, serialised
    if isinstance(item.get("data"), dict) and isinstance(item.get("type"), str) and "content" not in item:
        return {**item["data"], "type": item["type"]}  # LangChain's messages_to_dict
    if isinstance(item.get("message"), dict):  # a choice, or a LangChain generation
        return _unwrapped(cast(JsonObject, item["message"]))
    return item


def _calls(item: JsonObject) -> list[Any]:
    calls = _listed(item, "tool_calls", "toolCalls")
    extra = item.get("additional_kwargs")
    if not calls and isinstance(extra, dict):
        calls = _listed(cast(JsonObject, extra), "tool_calls")
    if not calls and isinstance(item.get("function_call"), dict):
        calls = [item["function_call"]]
    return calls


def _answer(text: str, call_id: Any, name: Any) -> Message:
    """Make a tool's answer; its name only where the call id is missing, for `with_call_ids`."""
    if call_id is not None and call_id != "":
        return Message(role="tool", content=text, tool_call_id=as_text(call_id))
    return Message(role="tool", content=text, name=name if isinstance(name, str) and name else None)


def _role(item: JsonObject, default: Role) -> Role:
    for key in ("role", "type"):
        name = item.get(key)
        if isinstance(name, str) and name in _ROLES:
            return _ROLES[name]
    if isinstance(item.get("role"), str):
        raise ValueError("a message has an unknown role")
    if not any(k in item for k in ("content", "parts", "tool_calls", "toolCalls")):
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
        elif kind not in _SILENT_PARTS and body.get("thought") is not True:
            text = None if kind in _FILE_PARTS else body.get("text", body.get("content"))
            if isinstance(text, dict):  # OpenAI's Assistants, and Azure's agents
                text = cast(JsonObject, text).get("value")
            texts.append(text if isinstance(text, str) else f"[{kind}]")
    return ("".join(texts) if texts else None), calls, results


def _kind(part: JsonObject) -> tuple[str, JsonObject]:
    if "type" in part:
        return str(part["type"]), part
    for key, kind in _KEYED.items():
        if isinstance(part.get(key), dict):
            body: JsonObject = part[key]
            return kind, {
                **body,
                "content": bedrock_blocks(body.get("content")),
            } if key == "toolResult" else body
    return "text" if "text" in part else "part", part


def bedrock_blocks(content: Any) -> Any:
    """Return the blocks of a Bedrock tool result, {"text": ...} or {"json": ...}, as typed text blocks."""
    if not isinstance(content, list):
        return content
    blocks = [cast(JsonObject, b) if isinstance(b, dict) else {} for b in cast("list[Any]", content)]
    if not all(set(b) in ({"text"}, {"json"}) for b in blocks):
        return cast("list[Any]", content)
    return [{"type": "text", "text": as_text(b.get("text", b.get("json")))} for b in blocks]


def structured_content(raw: Any, role: Any) -> Any:
    """Return content whose parts were written as JSON text as the parts; a tool's own JSON stays text."""
    content = decoded(raw)
    if not isinstance(content, list) or not content or not all(isinstance(p, dict) for p in content):
        return raw
    found = cast("list[JsonObject]", content)
    if role == "tool":
        return found if all("toolResult" in p for p in found) else raw
    known = all(p.get("type") in _PART_TYPES or set(p) == {"text"} or _KEYED.keys() & p for p in found)
    return found if known else raw


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
    for key in _ARGUMENTS:
        if body.get(key) is not None:
            arguments = body[key]
            break
    call_id = next((item[k] for k in _CALL_IDS if item.get(k)), None)
    return ToolCall(f"call_{index}" if call_id is None else str(call_id), name, as_text(arguments))


def _result(part: JsonObject) -> Message:
    value: Any = None
    for key in ("response", "result", "output", "content"):
        if part.get(key) is not None:
            value = part[key]
            break
    if isinstance(value, dict) and "value" in value and str(value.get("type")) in _VERCEL_OUTPUTS:
        value = cast(JsonObject, value)["value"]
    call_id = next((part[k] for k in _RESULT_IDS if part.get(k)), None)
    return _answer("" if value is None else result_text(value), call_id, part.get("name"))


def result_text(value: Any) -> str:
    """Return a tool's result as the model would have read it; lists of text blocks are joined."""
    text = blocks_text(value)
    return as_text(value) if text is None else text


def blocks_text(value: Any) -> str | None:
    """Return the text of a list of text blocks, or of an MCP result that holds one; None for all else."""
    blocks = cast(JsonObject, value).get("content") if isinstance(value, dict) else value
    if not isinstance(blocks, list) or not blocks:
        return None
    items = cast("list[Any]", blocks)
    if not all(isinstance(b, dict) and b.get("type") == "text" for b in items):
        return None
    return "".join(str(b.get("text", "")) for b in items)


def joined(messages: Sequence[Message]) -> list[Message]:
    """Make one turn of an assistant's text and calls that were recorded as messages of their own.

    For one recording only: between two of them a call's result may be missing.
    """
    out: list[Message] = []
    for message in messages:
        last = out[-1] if out else None
        if last is None or last.role != "assistant" or message.role != "assistant" or not message.tool_calls:
            out.append(message)
            continue
        texts = [t for t in (last.content, message.content) if t]
        out[-1] = Message(
            role="assistant",
            content="".join(texts) if texts else last.content,
            tool_calls=last.tool_calls + message.tool_calls,
        )
    return out


def with_call_ids(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Give tool results without a call id the oldest open call: of their name, else of any."""
    open_calls: list[ToolCall] = []
    out: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            open_calls = list(message.tool_calls)
        elif message.role == "tool":
            call_id = message.tool_call_id
            if call_id is None and open_calls:
                call_id = next((c for c in open_calls if c.name == message.name), open_calls[0]).id
            if call_id != message.tool_call_id or message.name is not None:
                message = Message(role="tool", content=message.content, tool_call_id=call_id)
            closed = next((c for c in open_calls if c.id == call_id), None)
            if closed is not None:
                open_calls.remove(closed)
        out.append(message)
    return tuple(out)


def indexed(attributes: JsonObject, prefix: str) -> list[Any]:
    """Return the list at `prefix`: an attribute that holds one (or JSON of one), else `prefix.0.a.b` keys."""
    value = decoded(attributes.get(prefix))
    if isinstance(value, dict):
        value = _lists(cast(JsonObject, value))
    return cast("list[Any]", value) if isinstance(value, list) else unflatten(attributes, prefix)


def unflatten(attributes: JsonObject, prefix: str) -> list[Any]:
    """Turn `prefix.0.a.b`, `prefix.1.c` into a list of nested objects, in index order."""
    root: dict[str, Any] = {}
    for key, value in attributes.items():
        if key.startswith(prefix + ".") and _is_index(key[len(prefix) + 1 :].partition(".")[0]):
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
    if items and all(map(_is_index, items)):
        return [_lists(items[k]) for k in sorted(items, key=int)]
    return {k: _lists(v) for k, v in items.items()}


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 10


def face(m: Message) -> tuple[object, ...]:
    """Return what two recordings of one message have in common; hashable."""
    role = "system" if m.role == "developer" else m.role
    return (role, (m.content or "").strip(), tuple((c.id, c.key()) for c in m.tool_calls), m.tool_call_id)
