"""Tool calls, tool results and content parts, as frameworks write them -> OpenAI's chat format.

Nothing here raises: what can't be understood is left as text, so that a person can see it. Understood:
OpenAI chat and Responses, OTel GenAI, Anthropic, Gemini, Bedrock Converse (Strands), LangChain, LlamaIndex,
Haystack, Pydantic AI, Vercel AI 4 and 5 (Mastra), AutoGen, smolagents, Microsoft's agent framework, Genkit,
Spring AI, LangChain4j.
"""

from __future__ import annotations

import ast
import warnings
from typing import Any, cast

import msgspec

from strop.records import JsonObject
from strop.sources.spans.messages import as_text
from strop.sources.spans.span import decoded

_CALL_KINDS = {"tool_call", "tool_use", "tool-call", "function_call", "custom_tool_call", "toolCall",
               "mcp_tool_use"}  # fmt: skip
_RESULT_KINDS = {
    "tool_call_response", "tool_result", "tool-result", "function_response", "function_call_output",
    "custom_tool_call_output", "tool-return", "tool_call_result", "function_result",
    "FunctionExecutionResult", "mcp_tool_result",
}  # fmt: skip
_SILENT_KINDS = {
    "reasoning", "thinking", "redacted_thinking", "compaction", "step-start", "step_start",
    "reasoningContent", "cachePoint", "server_tool_use", "web_search_tool_result",
    "redacted-reasoning", "item_reference",
}  # fmt: skip
_CALL_KEYS = (
    "function_call", "functionCall", "toolUse", "tool_call", "toolCall", "toolInvocation", "toolRequest",
)  # fmt: skip
_RESULT_KEYS = ("function_response", "functionResponse", "toolResult", "tool_call_result", "toolResponse")
_CALL_IDS = ("call_id", "toolCallId", "tool_call_id", "toolUseId", "tool_use_id", "id", "ref")
_NAMES = ("name", "toolName", "tool_name")
_ARGUMENTS = ("arguments", "args", "input", "parameters", "tool_kwargs", "tool_args")
_RESULTS = ("response", "result", "output", "content", "value", "responseData", "text")


class Content(msgspec.Struct):
    """What a message's content holds. calls and results are chat messages' parts in OpenAI's format."""

    text: str | None = None
    calls: list[JsonObject] = []
    results: list[JsonObject] = []


def opened(value: Any) -> Any:
    """Return the JSON value inside a string, also of a string that is itself quoted as JSON.

    Text that only looks like a number stays text.
    """
    for _ in range(3):
        if not isinstance(value, str) or value.lstrip()[:1] != '"':
            return decoded(value)
        try:
            inner = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
        if not isinstance(inner, str):
            return value
        value = inner
    return value


def literal(text: str) -> Any:
    """Return the value of a Python literal (a dict or list that was written with repr), else None."""
    if len(text) > 1_000_000:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes: the text is data, not somebody's code
            value = ast.literal_eval(text)
        as_text(value).encode()  # half a surrogate pair could not be stored
        return value
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def first(item: JsonObject, *keys: str) -> Any:
    """Return the first of these keys' values that is neither None nor an empty string."""
    for key in keys:
        value = item.get(key)
        if value is not None and value != "":
            return value
    return None


def dicts(raw: Any) -> list[JsonObject]:
    """Return the objects of a list, the JSON inside strings opened; what else is in it is left out."""
    raw = opened(raw)
    items = cast("list[Any]", raw) if isinstance(raw, list) else []
    return [cast(JsonObject, i) for i in map(opened, items) if isinstance(i, dict)]


def call_id(item: JsonObject) -> str | None:
    """Return the id of a call or of a result; of several (a run's and the call's) the call's."""
    value = first(item, *_CALL_IDS)
    if isinstance(value, list):
        texts = [v for v in cast("list[Any]", value) if isinstance(v, str)]
        value = next((t for t in texts if t.startswith("call_")), texts[-1] if texts else None)
    return as_text(value) if value is not None else None


def read_call(raw: Any) -> JsonObject | None:
    """Read one tool call: OpenAI's with id (None where there is none), or None for what is no call."""
    item = opened(raw)
    if not isinstance(item, dict):
        return None
    body = cast(JsonObject, item)
    for key in ("function", "payload", *_CALL_KEYS):
        inner = opened(body.get(key))
        if isinstance(inner, dict):
            body = {**{k: v for k, v in body.items() if k not in (key, "name")}, **cast(JsonObject, inner)}
    name = first(body, *_NAMES)
    if not isinstance(name, str):
        return None
    arguments = next((body[k] for k in _ARGUMENTS if body.get(k) is not None), {})
    if _kind(body) == "custom_tool_call":
        arguments = {"input": arguments}
    return {
        "id": call_id(body),
        "type": "function",
        "function": {"name": name, "arguments": _arguments(arguments)},
    }


def _arguments(value: Any) -> str:
    """Return arguments as JSON text: text that is JSON already stays as it was written."""
    if not isinstance(value, str):
        return as_text(value)
    if not value.strip():
        return "{}"
    inside = opened(value)
    if isinstance(inside, dict | list):
        return value if value.lstrip()[:1] in ("{", "[") else as_text(inside)
    written = literal(value) if value.lstrip()[:1] == "{" else None
    return as_text(written) if isinstance(written, dict) else value


def read_result(raw: JsonObject) -> JsonObject:
    """Read one tool result as a chat message of role tool."""
    body = raw
    for key in _RESULT_KEYS:
        inner = opened(body.get(key))
        if isinstance(inner, dict):
            body = cast(JsonObject, inner)
            break
    origin = body.get("origin")  # Haystack: the call that it answers
    asked = cast(JsonObject, origin) if isinstance(origin, dict) else body
    value = next((body[k] for k in _RESULTS if body.get(k) is not None), None)
    name = first(asked, *_NAMES)
    return {
        "role": "tool",
        "tool_call_id": call_id(asked),
        "name": name if isinstance(name, str) else None,
        "content": result_text(value),
    }


def result_text(value: Any) -> str:
    """Return a tool's result as the model read it: wrappers of frameworks around the text are taken off."""
    inside = opened(value)
    if isinstance(inside, dict):
        body = cast(JsonObject, inside)
        kwargs = body.get("kwargs")
        if isinstance(kwargs, dict) and "lc" in body:  # LangChain, serialised
            body = cast(JsonObject, kwargs)
        kind = body.get("type")
        if kind == "function_result" and "result" in body:
            return result_text(body["result"])
        if "value" in body and kind in ("text", "json", "error-text", "error-json", "content"):
            return result_text(body["value"])
        if "content" in body and (kind in ("tool", "ToolMessage") or "tool_call_id" in body):
            return result_text(body["content"])
        if isinstance(body.get("content"), list) and _texts(body["content"]) is not None:
            return _texts(body["content"]) or ""
        output = body.get("output")
        if len(body) == 1 and isinstance(output, dict) and "content" in output:
            return result_text(cast(JsonObject, output))
    if isinstance(inside, list):
        joined = _texts(cast("list[Any]", inside))
        if joined is not None:
            return joined
    if isinstance(value, str):
        return inside if isinstance(inside, str) else value
    return "" if value is None else as_text(value)


def _texts(parts: Any) -> str | None:
    """Join content that is nothing but text (and Bedrock's json) parts; None for anything else."""
    out: list[str] = []
    for part in cast("list[Any]", parts):
        if not isinstance(part, dict):
            return None
        body = cast(JsonObject, part)
        if body.get("type", "text") == "text" and isinstance(body.get("text"), str):
            out.append(body["text"])
        elif set(body) == {"json"}:
            out.append(as_text(body["json"]))
        else:
            return None
    return "".join(out) if out else None


def split(content: Any) -> Content:
    """Take a message's content apart into its text, its tool calls and its tool results."""
    if content is None:
        return Content()
    inside = opened(content)
    written = isinstance(inside, list) and bool(inside) and all(map(is_part, cast("list[Any]", inside)))
    if isinstance(content, str) and not written:
        return Content(text=inside if isinstance(inside, str) else content)
    if isinstance(inside, dict):
        inside = [inside] if is_part(inside) else [as_text(inside)]
    if not isinstance(inside, list):
        return Content(text=as_text(inside))
    out = Content(calls=[], results=[])
    texts: list[str] = []
    for part in cast("list[Any]", inside):
        _part(part, out, texts)
    out.text = "".join(texts) if texts else None
    return out


def is_part(raw: Any) -> bool:
    """Say whether a value is a content part (and not, say, an item of a tool's result)."""
    if not isinstance(raw, dict) or "role" in raw:
        return False
    item = cast(JsonObject, raw)
    kind = _kind(item)
    if kind in _CALL_KINDS or kind in _SILENT_KINDS or _is_call(item):
        return True
    if kind in _RESULT_KINDS or any(isinstance(item.get(k), dict) for k in _RESULT_KEYS):
        return True
    if any(isinstance(item.get(k), dict) for k in _CALL_KEYS):
        return True
    if kind in ("text", "input_text", "output_text", "refusal"):
        return any(isinstance(item.get(k), str) for k in ("text", "content", "refusal"))
    return set(item) == {"text"} or ("text" in item and "thought" in item)


def _kind(item: JsonObject) -> str:
    kind = first(item, "type", "part_kind", "block_type")
    return kind if isinstance(kind, str) else ""


def _is_call(item: JsonObject) -> bool:
    """A call in OpenAI's own form, which content holds as JSON (Koog), or AutoGen's, which has no type."""
    function = item.get("function")
    if "type" not in item and {"id", "name", "arguments"} <= set(item):
        return True
    return item.get("type") == "function" and isinstance(function, dict) and "arguments" in function


def _part(raw: Any, out: Content, texts: list[str]) -> None:
    raw = opened(raw)
    if not isinstance(raw, dict):
        if raw is not None:
            texts.append(as_text(raw))
        return
    item = cast(JsonObject, raw)
    kind = _kind(item)
    if kind in _SILENT_KINDS or item.get("thought") is True or set(item) & {"reasoningContent", "cachePoint"}:
        return
    answered = _invocation(item, kind)
    if answered is not None:
        out.calls += [c for c in [read_call({**answered, "type": "tool-call"})] if c]
        if any(answered.get(k) is not None for k in ("output", "result", "errorText")):
            value = first(answered, "output", "result", "errorText")
            out.results.append(read_result({"toolCallId": call_id(answered), "result": value}))
        return
    if kind in _RESULT_KINDS or any(isinstance(item.get(k), dict) for k in _RESULT_KEYS):
        out.results.append(read_result(item))
        return
    if kind in _CALL_KINDS or _is_call(item) or any(isinstance(item.get(k), dict) for k in _CALL_KEYS):
        call = read_call(item)
        if call is not None:
            out.calls.append(call)
        else:
            texts.append(f"[{kind or 'call'}]")
        return
    text = first(item, "text", "content", "refusal")
    if isinstance(text, dict):
        text = cast(JsonObject, text).get("value", text)
    texts.append(as_text(text) if text is not None else ("" if "text" in item else f"[{kind or 'part'}]"))


def _invocation(item: JsonObject, kind: str) -> JsonObject | None:
    """A call and its result in one part, as Vercel's UI messages hold them."""
    inner = item.get("toolInvocation")
    if isinstance(inner, dict):
        return cast(JsonObject, inner)
    if "toolCallId" in item and kind.startswith(("tool-", "dynamic-tool")):
        if kind in ("tool-call", "tool-result"):
            return None
        return {**item, "toolName": item.get("toolName") or kind.removeprefix("tool-")}
    return None
