"""Workflow steps that are calls of a model: told by their request and their answer, not by their names.

Understood: OpenAI's chat completions and Responses API, the model activity of OpenAI's Agents SDK
(`model_name`, `system_instructions`, `input`, `tools`), Anthropic's messages, and Gemini's contents, as the
model activity of Google's ADK keeps them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from strop.records import JsonObject
from strop.sources.spans.payloads import offered_tools, system_of
from strop.sources.spans.responses import chat_messages


def model_step(given: Sequence[Any], result: Any, *, recorded: bool) -> JsonObject | None:
    """Return a step's messages, tools, model and usage as span attributes; None where it is no model's.

    given: its arguments. recorded: whether the engine keeps arguments at all; where it does, both the
    request and the answer must look like a model's.
    """
    answer = _object(_last(result))
    said = None if answer is None else _said(answer, strict=not recorded)
    if answer is None or not said:
        return None
    request: JsonObject = {}
    messages: list[Any] = []
    if recorded:
        found = next((r for g in given if (r := _request(g)) is not None), None)
        if found is None:
            return None
        request, messages = found
    usage = _object(answer.get("usage") or answer.get("usageMetadata")) or {}
    return {
        "gen_ai.input.messages": messages,
        "gen_ai.output.messages": said,
        "gen_ai.tool.definitions": _tools(offered_tools(request)),
        "gen_ai.request.model": request.get("model") or request.get("model_name"),
        "gen_ai.response.model": _first(answer, "model", "modelVersion"),
        "gen_ai.usage.input_tokens": _first(usage, "prompt_tokens", "input_tokens", "promptTokenCount"),
        "gen_ai.usage.output_tokens": _first(
            usage, "completion_tokens", "output_tokens", "candidatesTokenCount"
        ),
    }


def _request(raw: Any) -> tuple[JsonObject, list[Any]] | None:
    body = _object(raw)
    if body is None:
        return None
    for wrapper in ("body", "request"):
        if isinstance(body.get(wrapper), dict) and "messages" not in body and "input" not in body:
            return _request(body[wrapper])
    for key in ("messages", "contents"):
        messages = body.get(key)
        if isinstance(messages, list) and messages and all(_has_role(m) for m in cast("list[Any]", messages)):
            return body, [*_system(body), *cast("list[Any]", messages)]
    items = body.get("input")
    if not ("model" in body or "model_name" in body) or not isinstance(items, str | list) or not items:
        return None
    try:
        chat, _ = chat_messages(cast("list[Any]", items) if isinstance(items, list) else [items])
    except ValueError:
        return None
    return body, _system(body) + chat


def _said(answer: JsonObject, *, strict: bool) -> list[Any]:
    choices = answer.get("choices")
    if isinstance(choices, list) and choices:
        first = _object(cast("list[Any]", choices)[0]) or {}
        message = _object(first.get("message"))
        return [] if message is None else [{**message, "role": "assistant"}]
    output = answer.get("output")
    if isinstance(output, list) and output and all(isinstance(i, dict) for i in cast("list[Any]", output)):
        items = cast("list[JsonObject]", output)
        if any(i.get("type") in ("message", "function_call") for i in items):
            try:
                return list(chat_messages(items)[0])
            except ValueError:
                return []
    candidates = answer.get("candidates")
    if isinstance(candidates, list) and candidates:
        answer = _object(cast("list[Any]", candidates)[0]) or {}
    content = _object(answer.get("content"))
    if content is not None and isinstance(content.get("parts"), list):
        return [{**content, "role": "assistant"}]
    anthropic = answer.get("type") == "message" and isinstance(answer.get("content"), list)
    if anthropic or (
        not strict and answer.get("role") == "assistant" and ("content" in answer or "tool_calls" in answer)
    ):
        return [answer]
    return []


def _tools(raw: Any) -> list[Any] | None:
    if not isinstance(raw, list):
        return None
    tools: list[Any] = []
    for item in cast("list[Any]", raw):
        tool = _object(item)
        if tool is not None and isinstance(tool.get("params_json_schema"), dict):
            tool = {**tool, "parameters": tool["params_json_schema"]}
        named = tool is not None and (isinstance(tool.get("name"), str) or "function" in tool)
        tools += [tool] if named else []
    return tools


def _last(result: Any) -> Any:
    """A streamed answer's pieces end with the whole of it."""
    pieces = cast("list[Any]", result) if isinstance(result, list) else []
    whole = [p for p in pieces if isinstance(p, dict) and not cast(JsonObject, p).get("partial")]
    return whole[-1] if whole else result


def _system(body: JsonObject) -> list[Any]:
    try:
        return [{"role": m.role, "content": m.content} for m in system_of(body)]
    except ValueError:  # instructions of no known shape: the conversation is there without them
        return []


def _first(holder: JsonObject, *keys: str) -> Any:
    return next((holder[k] for k in keys if holder.get(k) is not None), None)


def _has_role(raw: Any) -> bool:
    return isinstance(raw, dict) and isinstance(raw.get("role"), str)


def _object(raw: Any) -> JsonObject | None:
    return cast(JsonObject, raw) if isinstance(raw, dict) else None
