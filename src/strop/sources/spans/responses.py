"""Items of OpenAI's Responses API -> chat messages, as dicts of the chat API.

Specification: the schemas `InputItem` and `OutputItem` of OpenAI's OpenAPI document (2.3.0). Reasoning is
left out. Calls that follow a message or each other are one assistant turn, as the chat API writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from strop.records import JsonObject
from strop.sources.spans.messages import as_text

_CALLS = ("function_call", "custom_tool_call", "mcp_call")
_RESULTS = ("function_call_output", "custom_tool_call_output")
_SILENT = ("reasoning", "compaction", "mcp_list_tools")


def chat_messages(items: Iterable[Any]) -> tuple[list[JsonObject], list[str]]:
    """Return the messages, and the types of the items that no chat message stands for.

    Raises ValueError with the reason for an item that is no object.
    """
    messages: list[JsonObject] = []
    left_out: dict[str, None] = {}
    calling = False  # the last message is an assistant's that came from items: calls may join it
    for raw in items:
        if isinstance(raw, str):
            raw = {"role": "user", "content": raw}
        if not isinstance(raw, dict):
            raise ValueError(f"an item is a {type(raw).__name__}, not an object")
        item = cast(JsonObject, raw)
        kind = str(item.get("type") or "message")
        if kind == "message":
            role = str(item.get("role") or "assistant")
            # Agents hand over chat messages as items too: those have their calls and results in them.
            beside = {k: item[k] for k in ("tool_calls", "tool_call_id") if item.get(k)}
            messages.append({"role": role, "content": content_text(item.get("content")), **beside})
            calling = role == "assistant" and not beside
        elif kind in _CALLS:
            if not calling:
                messages.append({"role": "assistant", "content": None})
                calling = True
            messages[-1].setdefault("tool_calls", []).append(_call(item, kind))
            if kind == "mcp_call" and (item.get("output") is not None or item.get("error") is not None):
                result = item["output"] if item.get("output") is not None else {"error": item["error"]}
                messages.append(_result(item.get("id"), result))
                calling = False
        elif kind in _RESULTS:
            messages.append(_result(item.get("call_id"), item.get("output")))
            calling = False
        elif kind not in _SILENT:
            left_out[kind[:40]] = None
    return messages, list(left_out)


def content_text(content: Any) -> str | None:
    """Return a message's text: parts joined, refusals among them; other parts become `[input_image]`."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        return as_text(content)
    texts: list[str] = []
    for part in cast("list[Any]", content):
        if isinstance(part, dict):
            found = part.get("text", part.get("refusal"))
            texts.append(found if isinstance(found, str) else f"[{part.get('type', 'part')}]")
        else:
            texts.append(as_text(part))
    return "".join(texts) if texts else None


def _call(item: JsonObject, kind: str) -> JsonObject:
    name = item.get("name")
    if not isinstance(name, str):
        raise ValueError(f"a {kind} has no name")
    arguments = item.get("arguments")
    if kind == "custom_tool_call":
        arguments = {"input": item.get("input")}
    call_id = item.get("call_id") or item.get("id")
    body = {"name": name, "arguments": "{}" if arguments is None else as_text(arguments)}
    return {"id": as_text(call_id) if call_id else None, "type": "function", "function": body}


def _result(call_id: Any, output: Any) -> JsonObject:
    text = content_text(output) if isinstance(output, list) else as_text("" if output is None else output)
    return {"role": "tool", "tool_call_id": as_text(call_id) if call_id else None, "content": text or ""}
