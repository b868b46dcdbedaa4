"""What LangSmith's runs hold as inputs and outputs -> chat messages, tools and tool results.

The writers differ: LangChain (serialised messages, `generations`), the wrappers of the OpenAI and Anthropic
clients (request and answer of those APIs), and functions of the user's own, whatever they take and return.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any, cast

import msgspec

from strop.records import JsonObject
from strop.sources.spans.messages import as_text
from strop.sources.spans.responses import chat_messages, content_text
from strop.sources.spans.span import decoded

_TEXTS = ("output", "text", "answer", "response", "completion", "content")
_CALL_PARTS = ("tool_use", "tool_call", "tool-call", "function_call", "input_json_delta")
_SHOWN = ("role", "type", "content", "parts", "tool_call_id", "toolCallId")
_TEXT_REPR = re.compile(r"content=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", re.DOTALL)
_ID_REPR = re.compile(r"tool_call_id='([^']*)'")
_MESSAGE_KEYS = ("role", "content", "kwargs", "data", "tool_calls")
_WRAPPERS = ("kwargs", "inputs", "request", "body")
_LONGEST_LITERAL = 1 << 20


class Answer(msgspec.Struct, frozen=True):
    """What a model answered; `usage` and `model` as the message itself names them."""

    messages: list[Any]
    usage: JsonObject = {}
    model: Any = None


def prompt_of(inputs: JsonObject) -> list[Any]:
    """Return a model call's messages. Raises ValueError with the reason."""
    given = decoded(inputs.get("messages"))
    if isinstance(given, list):
        items = cast("list[Any]", given)
        if len(items) == 1 and isinstance(items[0], list) and not _is_pair(items[0]):
            items = cast("list[Any]", items[0])  # a batch of one
        return [*_instructions(inputs, "system"), *(chat_message(m) for m in items)]
    asked = _spelled(inputs.get("input"))
    if isinstance(asked, dict) and "messages" in asked:
        return prompt_of(cast(JsonObject, asked))
    if isinstance(asked, str):
        return [*_instructions(inputs, "instructions"), {"role": "user", "content": asked}]
    if isinstance(asked, list):
        items = cast("list[Any]", asked)
        if any(isinstance(i, dict) and ("kwargs" in i or "data" in i) for i in items):
            return [chat_message(i) for i in items]
        return [*_instructions(inputs, "instructions"), *chat_messages(items)[0]]
    for key in _WRAPPERS:
        inner = decoded(inputs.get(key))
        if isinstance(inner, dict) and {"messages", "input", "contents"} & set(inner):
            return prompt_of(cast(JsonObject, inner))
    contents = decoded(inputs.get("contents"))
    if contents:
        listed = cast("list[Any]", contents) if isinstance(contents, list) else [contents]
        settings: Any = inputs.get("config")
        head = (
            _instructions(cast(JsonObject, settings), "system_instruction")
            if isinstance(settings, dict)
            else []
        )
        return [*head, *(chat_message(c) for c in listed)]
    prompts = inputs.get("prompts") or inputs.get("prompt") or given
    if isinstance(prompts, list):
        prompts = cast("list[Any]", prompts)[0] if prompts else None
    texts = [prompts] if isinstance(prompts, str) else [v for v in inputs.values() if isinstance(v, str)]
    return [{"role": "user", "content": texts[0]}] if len(texts) == 1 else []


def answer_of(outputs: JsonObject) -> Answer:
    """Return what a model answered. Raises ValueError with the reason."""
    choices = decoded(outputs.get("choices"))
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        choice = cast(JsonObject, choices[0])
        return _said(choice.get("message", choice.get("text")))
    candidates = decoded(outputs.get("candidates"))
    if isinstance(candidates, list) and candidates and isinstance(candidates[0], dict):
        return _said(cast(JsonObject, candidates[0]).get("content"))
    generations = decoded(outputs.get("generations"))
    if isinstance(generations, list) and generations:
        first = cast("list[Any]", generations)[0]
        first = cast("list[Any]", first)[0] if isinstance(first, list) and first else first
        if isinstance(first, dict):
            generation = cast(JsonObject, first)
            return _said(generation.get("message") or generation.get("text"))
    messages = decoded(outputs.get("messages"))
    if isinstance(messages, list) and messages:
        return _said(cast("list[Any]", messages)[-1])
    for key in ("message", "llm_output"):  # Vercel's exporter has LangChain's message in the latter
        inner: Any = outputs.get(key)
        if isinstance(inner, str) or (isinstance(inner, dict) and any(k in inner for k in _MESSAGE_KEYS)):
            return _said(inner)
    if "role" in outputs or isinstance(outputs.get("content"), list) or "tool_calls" in outputs:
        return _said({"role": "assistant", **outputs})
    found = outputs.get("output")  # a text is the answer, even where it is JSON
    if isinstance(found, list) and found:
        return Answer(list[Any](chat_messages(cast("list[Any]", found))[0]))
    if isinstance(found, dict):
        told = cast(JsonObject, found)
        return _said(told) if any(k in told for k in _MESSAGE_KEYS) else answer_of(told)
    text = next((outputs[k] for k in _TEXTS if isinstance(outputs.get(k), str)), None)
    return _said(text)


def tools_of(*holders: JsonObject) -> list[JsonObject]:
    """Return the tools offered, from the first holder that names any; hosted ones have no name."""
    for holder in holders:
        settings = [decoded(holder.get(key)) for key in ("config", "kwargs")]
        nested = [cast(JsonObject, s).get("tools") for s in settings if isinstance(s, dict)]
        for raw in (holder.get("tools"), holder.get("functions"), *nested):
            listed = decoded(raw)
            items = cast("list[Any]", listed) if isinstance(listed, list) else []
            tools = [tool for item in items for tool in _tools(decoded(item))]
            if tools:
                return tools
    return []


def tool_run_of(row: JsonObject, name: str) -> JsonObject:
    """Return a tool run as attributes of OTel's `execute_tool` span."""
    inputs: Any = decoded(row.get("inputs"))
    given: JsonObject = cast(JsonObject, inputs) if isinstance(inputs, dict) else {}
    extra: Any = row.get("extra")
    call_id: Any = cast(JsonObject, extra).get("tool_call_id") if isinstance(extra, dict) else None
    arguments: Any = given
    if given.get("type") == "tool_call" and "args" in given:
        call_id, arguments = call_id or given.get("id"), given["args"]
    elif list(given) == ["input"]:
        arguments = literal(given["input"])
    result, answered = _result(decoded(row.get("outputs")))
    call_id = call_id or given.get("tool_call_id") or answered
    attributes: JsonObject = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.arguments": as_text(arguments),
    }
    if call_id:
        attributes["gen_ai.tool.call.id"] = as_text(call_id)
    if result is not None:
        attributes["gen_ai.tool.call.result"] = result
    return attributes


def chat_message(raw: Any) -> Any:
    """Return a message of any of the writers as one of the chat API's; what is none stays as it is."""
    if _is_pair(raw):
        return {"role": raw[0], "content": raw[1]}
    if not isinstance(raw, dict):
        return raw
    item = cast(JsonObject, raw)
    kwargs, path = item.get("kwargs"), item.get("id")
    if isinstance(kwargs, dict) and isinstance(path, list) and path:
        item = {"type": str(cast("list[Any]", path)[-1]), **cast(JsonObject, kwargs)}
    elif isinstance(item.get("data"), dict) and "role" not in item:
        item = {**item["data"], "type": item.get("type")}
    calls = _calls(item)
    message: JsonObject = {key: item[key] for key in _SHOWN if key in item}
    kind: Any = message.get("type")
    if isinstance(kind, str):
        message["type"] = kind.removesuffix("Chunk")
    if calls:
        content = message.get("content")
        if isinstance(content, list):
            content = [p for p in cast("list[Any]", content) if not _is_call(p)]
        message |= {"content": content or None, "tool_calls": calls}
    return message


def literal(value: Any) -> Any:
    """Return the object or list that a text spells as JSON or as Python, else the value itself."""
    value = decoded(value)
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        found = _python(value.strip())
        return found if isinstance(found, dict | list) else value
    return value


def _spelled(value: Any) -> Any:
    """Return the messages or items that a text spells as JSON; other JSON in a text is the user's."""
    found = decoded(value)
    if isinstance(found, list) and found and all(isinstance(i, dict) for i in cast("list[Any]", found)):
        return found
    return found if isinstance(found, dict) and "messages" in found else value


def _said(raw: Any) -> Answer:
    if raw is None or raw == "":
        return Answer([])
    if isinstance(raw, str):
        return Answer([{"role": "assistant", "content": raw}])
    message = chat_message(raw)
    if not isinstance(message, dict):
        raise ValueError(f"an answer is a {type(raw).__name__}, not an object")
    source = cast(JsonObject, raw)
    kwargs: Any = source.get("kwargs")
    source = cast(JsonObject, kwargs) if isinstance(kwargs, dict) else source
    usage, about = source.get("usage_metadata"), source.get("response_metadata")
    spent = cast(JsonObject, usage) if isinstance(usage, dict) else {}
    known = cast(JsonObject, about) if isinstance(about, dict) else {}
    spelled = cast(JsonObject, message)
    spelled = spelled if "role" in spelled or "type" in spelled else {"role": "assistant", **spelled}
    return Answer([spelled], spent, known.get("model_name") or known.get("model"))


def _calls(item: JsonObject) -> list[Any]:
    extra: Any = item.get("additional_kwargs")
    beside = cast(JsonObject, extra) if isinstance(extra, dict) else {}
    for found in (item.get("tool_calls"), beside.get("tool_calls")):
        calls = decoded(found)
        if isinstance(calls, list) and calls:
            broken: Any = item.get("invalid_tool_calls")  # their arguments are no JSON: kept as they are
            return [
                *cast("list[Any]", calls),
                *(cast("list[Any]", broken) if isinstance(broken, list) else []),
            ]
    for found in (item.get("invalid_tool_calls"), [item.get("function_call") or beside.get("function_call")]):
        if isinstance(found, list) and any(cast("list[Any]", found)):
            return cast("list[Any]", found)
    return []


def _is_call(part: Any) -> bool:
    return isinstance(part, dict) and cast(JsonObject, part).get("type") in _CALL_PARTS


def _is_pair(raw: Any) -> bool:
    """LangChain's short form of a message: ("human", "Where is it?")."""
    return isinstance(raw, list) and len(cast("list[Any]", raw)) == 2 and isinstance(raw[0], str)


def _instructions(holder: JsonObject, key: str) -> list[JsonObject]:
    value = decoded(holder.get(key))
    return [{"role": "system", "content": content_text(value)}] if value else []


def _tools(raw: Any) -> list[JsonObject]:
    """One tool definition with its description as text; Gemini's hold several."""
    if not isinstance(raw, dict):
        return []
    tool = cast(JsonObject, raw)
    declared = tool.get("function_declarations") or tool.get("functionDeclarations")
    if isinstance(declared, list):
        return [t for item in cast("list[Any]", declared) for t in _tools(item)]
    inner: Any = tool.get("function") or tool
    if not isinstance(inner, dict) or not isinstance(cast(JsonObject, inner).get("name"), str):
        return []
    known = cast(JsonObject, inner)
    return [{**known, "description": as_text(known.get("description") or "")}]


def _result(outputs: Any) -> tuple[str | None, Any]:
    """Return a tool's result as the model read it, and the id of the call where the result names it."""
    if outputs is None:
        return None, None
    value: Any = outputs
    if isinstance(value, dict) and list(cast(JsonObject, value)) == ["output"]:
        value = cast(JsonObject, value)["output"]
    if isinstance(value, str):
        text, call_id = _TEXT_REPR.match(value), _ID_REPR.search(value)
        if text and call_id:
            return as_text(_python(text[1])), call_id[1]
        return value, None
    if isinstance(value, dict):
        body = cast(JsonObject, value)
        if not body and value is outputs:
            return None, None
        update: Any = body.get("update")
        said: Any = cast(JsonObject, update).get("messages") if isinstance(update, dict) else None
        if isinstance(said, list) and said:  # a tool that answers with LangGraph's Command
            return _result(cast("list[Any]", said)[-1])
        message = chat_message(body)
        if isinstance(message, dict) and cast(JsonObject, message).get("type") in ("tool", "ToolMessage"):
            content: Any = message.get("content")
            return content_text(content) or "", message.get("tool_call_id")
    if isinstance(value, list):
        parts = cast("list[Any]", value)
        if parts and all(isinstance(p, dict) and p.get("type") == "text" for p in parts):
            return content_text(parts), None
    return as_text(value), None


def _python(spelled: str) -> Any:
    """Return the value that a Python literal spells, else the spelling."""
    if len(spelled) > _LONGEST_LITERAL:
        return spelled
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes: the text is data, not somebody's code
            value = ast.literal_eval(spelled)
        as_text(value).encode()  # half a surrogate pair could not be stored
        return value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return spelled
