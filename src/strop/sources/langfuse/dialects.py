"""What a generation was given and what it said, in its framework's dialect -> OpenAI chat messages.

Langfuse stores inputs and outputs as the instrumentation wrote them. Nothing here raises; a message whose
role is not known carries it as `unknown_role`. Beside the dialects of content parts: request and response
bodies of OpenAI, Anthropic, Gemini, Bedrock and LiteLLM, LangChain (plain, serialised, n8n's and Flowise's),
LlamaIndex, Haystack, Semantic Kernel, AutoGen and AG2, Pydantic AI, smolagents, DSPy, Agno, Vercel AI,
Mastra, Genkit, Cohere, Ollama, Spring AI and LangChain4j.
"""

from __future__ import annotations

from typing import Any, cast

from strop.records import JsonObject
from strop.sources.langfuse.parts import (
    call_id,
    dicts,
    first,
    is_part,
    opened,
    read_call,
    read_result,
    result_text,
    split,
)
from strop.sources.langfuse.text import called, transcript, written_message
from strop.sources.spans.messages import as_text

_ROLES = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "assistant": "assistant",
    "ai": "assistant", "model": "assistant", "bot": "assistant", "chatbot": "assistant", "tool": "tool",
    "function": "tool", "data": "tool", "ipython": "tool", "tool-response": "tool", "tool_response": "tool",
    "tool-call": "assistant", "tool_call": "assistant", "humanmessage": "user", "aimessage": "assistant",
    "aimessagechunk": "assistant", "systemmessage": "system", "toolmessage": "tool",
    "functionmessage": "tool", "tool_execution_result": "tool", "humanmessagechunk": "user",
    "usermessage": "user", "assistantmessage": "assistant", "functionexecutionresultmessage": "tool",
    "textmessage": "", "chatmessage": "",
}  # fmt: skip
_MESSAGES = ("messages", "input_messages", "chat_history", "contents", "prompts", "new_message")
_ASKED = ("prompt", "input", "args", "query", "question", "user_input", "chatInput", "message", "text")
_WRAPPERS = ("kwargs", "inputs", "request", "body")
_CALL_ITEMS = ("function_call", "tool_call", "custom_tool_call", "mcp_call", "ToolCallRequestEvent")
_RESULT_ITEMS = ("function_call_output", "custom_tool_call_output", "ToolCallExecutionEvent")
_CONTENTS = ("parts", "blocks", "content", "contents")
_CALLS = ("tool_calls", "toolCalls", "toolExecutionRequests")
_SCHEMAS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parametersJsonSchema",
            "parameter_schema", "args_schema")  # fmt: skip
_SYSTEMS = ("system", "instructions", "system_prompt", "system_instruction", "systemInstruction")
_SETTINGS = ("config", "options", "kwargs", "toolConfig", "tool_config", "invocation_params",
             "generationConfig", "optional_params")  # fmt: skip
_OF_A_MESSAGE = ("role", "content", "parts", *_CALLS, "message", "aiMessage", "function_call", "kwargs",
                 "type", "gen_ai.event.content", "blocks", "_content")  # fmt: skip
_ANSWERED = (
    "output_text",
    "response",
    "result",
    "completion",
    "final_output",
    "generated_text",
    "answer",
    "log",
)


def given(raw: Any) -> tuple[list[JsonObject], Any]:
    """Return a generation's input as messages, and the tools that it names."""
    body = opened(raw)
    if isinstance(body, str):
        return (transcript(body) if body.strip() else []), None
    if isinstance(body, list):
        items = cast("list[Any]", body)
        notes = [i["content"] for i in items if _is_tool_note(i)]
        return tidy(_messages([i for i in items if not _is_tool_note(i)], "user")), notes or None
    if not isinstance(body, dict):
        return [], None
    item = cast(JsonObject, body)
    return tidy(_asked(item)), _tools(item)


def said(raw: Any) -> list[JsonObject]:
    """Return a generation's output as messages."""
    return tidy(_said(opened(raw), 0))


def _asked(item: JsonObject) -> list[JsonObject]:
    found = _system(item)
    for key in _MESSAGES:
        value = opened(item.get(key))
        if isinstance(value, list | dict) and value:
            history = _messages(value, "user")
            asked = first(item, "message", *_ASKED) if key == "chat_history" else None
            history += [{"role": "user", "content": asked}] if isinstance(asked, str) else []
            return _with_system(found, history)
        if isinstance(value, str) and value:
            return _with_system(found, transcript(value))
    for key in () if any(item.get(k) for k in _ASKED if k != "args") else _WRAPPERS:
        inner = opened(item.get(key))
        if isinstance(inner, dict) and set(inner) & {*_MESSAGES, "input"}:
            return _with_system(found, _asked(cast(JsonObject, inner)))
    if "role" in item or "gen_ai.event.content" in item or "lc" in item:
        return message(item, "user")
    for key in _ASKED:
        value = opened(item.get(key))
        if isinstance(value, str) and value:
            return _with_system(found, transcript(value))
        if isinstance(value, list) and value:
            return _with_system(found, _messages(value, "user"))
        if isinstance(value, dict) and value:
            return _with_system(found, _asked(cast(JsonObject, value)))
    content = item.get("content")
    # An exporter that walks over a message as if it were a list leaves its keys as contents.
    if content is not None and content not in ("role", "content", "type", ""):
        return message(item, "user")
    return []


def _system(item: JsonObject) -> list[JsonObject]:
    for body in (item, *(item.get(k) for k in _SETTINGS)):
        if not isinstance(body, dict):
            continue
        value = opened(first(cast(JsonObject, body), *_SYSTEMS))
        if isinstance(value, dict):
            value = cast(JsonObject, value).get("parts", cast(JsonObject, value).get("content"))
        text = split(value).text
        if text:
            return [{"role": "system", "content": text}]
    return []


def _with_system(system: list[JsonObject], messages: list[JsonObject]) -> list[JsonObject]:
    named = any(m.get("role") in ("system", "developer") for m in messages)
    return messages if named else system + messages


def _tools(item: JsonObject) -> Any:
    for body in (item, *(item.get(k) for k in _SETTINGS)):
        if isinstance(body, dict):
            found = first(cast(JsonObject, body), "tools", "functions", "tool_definitions", "available_tools")
            if found:
                return found
    return None


def tools(raw: Any) -> list[JsonObject]:
    """Return tool definitions of any dialect as OpenAI's; what has no name is left out."""
    value = opened(raw)
    if isinstance(value, dict):
        body = cast(JsonObject, value)
        if "name" in body or "function" in body or "toolSpec" in body:
            value = [body]
        else:
            named = [(k, opened(v)) for k, v in body.items()]
            value = [{"name": k, **cast(JsonObject, v)} for k, v in named if isinstance(v, dict)]
    out: list[JsonObject] = []
    for tool in dicts(value):
        for declared in ("function_declarations", "functionDeclarations"):
            out += tools(tool.get(declared))
        spec = first(tool, "function", "toolSpec", "toolDefinition", "definition", "data")
        inner = cast(JsonObject, spec) if isinstance(spec, dict) else tool
        name = first(inner, "name", "title" if "properties" in inner else "name")
        if not isinstance(name, str):
            continue
        schema: Any = {}
        for key in _SCHEMAS:
            schema = opened(inner.get(key))
            if isinstance(schema, dict):
                break
        schema = cast(JsonObject, schema) if isinstance(schema, dict) else {}
        wrapped = schema.get("json", schema.get("jsonSchema"))
        parameters = cast(JsonObject, wrapped) if isinstance(wrapped, dict) else schema
        described = inner.get("description")
        function = {
            "name": name,
            "description": described if isinstance(described, str) else "",
            "parameters": parameters,
        }
        out.append({"type": "function", "function": function})
    return out


def _is_tool_note(item: Any) -> bool:
    """LangChain's exporter lists the tools offered as messages of role tool."""
    body = cast(JsonObject, item) if isinstance(item, dict) else {}
    content = body.get("content") if body.get("role") == "tool" and not body.get("tool_call_id") else None
    return isinstance(content, dict) and content.get("type") == "function" and "function" in content


def _said(body: Any, depth: int) -> list[JsonObject]:
    if isinstance(body, str):
        return [{"role": "assistant", "content": body.removeprefix("assistant: ")}] if body else []
    if isinstance(body, list):
        return _said_list(cast("list[Any]", body), depth)
    if not isinstance(body, dict):
        return [] if body is None else [{"role": "assistant", "content": as_text(body)}]
    item = cast(JsonObject, body)
    if depth < 4 and item.get("type") not in (*_CALL_ITEMS, *_RESULT_ITEMS):
        inner = _inside(item, depth)
        if inner is not None:
            return inner
    if any(k in item for k in _OF_A_MESSAGE):
        return message(item, "assistant")
    text = first(item, "text", *_ANSWERED)
    if isinstance(text, str):
        return [{"role": "assistant", "content": text}]
    return [{"role": "assistant", "content": as_text(item)}] if item else []


def _said_list(items: list[Any], depth: int) -> list[JsonObject]:
    if items and all(isinstance(i, dict) and "toolName" in i and "role" not in i for i in items):
        return [{"role": "assistant", "content": None, "tool_calls": [read_call(i) for i in items]}]
    if items and all(isinstance(i, str) for i in items):
        return [{"role": "assistant", "content": items[0]}]
    if len(items) == 1 and depth < 4:
        return _said(opened(items[0]), depth + 1)
    return _messages(items, "assistant")


def _inside(item: JsonObject, depth: int) -> list[JsonObject] | None:
    """Open a response's envelope; None where the object is no envelope."""
    for key in ("choices", "candidates", "generations", "replies"):
        listed = opened(item.get(key))
        if isinstance(listed, list) and listed:
            return _said(opened(listed[0]), depth + 1)
    listed = opened(item.get("output"))
    if isinstance(listed, list) and listed:
        return _messages(cast("list[Any]", listed), "assistant")
    if isinstance(item.get("content"), dict) and {"role", "parts"} & set(item["content"]):
        return message(item["content"], "assistant")
    for key in ("messages", "chat_history"):
        if isinstance(item.get(key), list) and item[key] and not {"content", "text"} & set(item):
            return _last_turn(_messages(item[key], "assistant"))
    if "role" in item or "tool_calls" in item:
        return None
    calls = opened(first(item, *_CALLS))
    text = first(item, "text", "content")
    if isinstance(calls, list) and calls and not isinstance(text, list):
        read = [read_call(c) for c in cast("list[Any]", calls)]
        return [{"role": "assistant", "content": text if isinstance(text, str) else None, "tool_calls": read}]
    if "message" in item or "aiMessage" in item:
        return None
    for key in ("output", "response", "result", "generation"):
        inner = opened(item.get(key))
        if isinstance(inner, dict | list) and inner and "text" not in item and "content" not in item:
            return _said(inner, depth + 1)
    output = item.get("output")
    return [{"role": "assistant", "content": output}] if isinstance(output, str) and output else None


def _last_turn(messages: list[JsonObject]) -> list[JsonObject]:
    """Of a whole conversation in an output (a graph's state), what follows the last message to the agent."""
    start = len(messages)
    while start and messages[start - 1]["role"] in ("assistant", "tool"):
        start -= 1
    return messages[start:]


def _messages(raw: Any, role: str, depth: int = 0) -> list[JsonObject]:
    value = opened(raw)
    if isinstance(value, list):
        items = [opened(i) for i in cast("list[Any]", value)]
        if items and all(map(is_part, items)) and not any(_stands_alone(i) for i in items):
            return message({"content": items}, role)
        out: list[JsonObject] = []
        for item in items:
            if isinstance(item, list) and depth < 4:
                out += _messages(item, role, depth + 1)
            elif item is not None:
                out += message(item, role)
        return out
    return message(value, role) if value is not None else []


def _stands_alone(item: JsonObject) -> bool:
    """An item of OpenAI's Responses API is a message of its own, not a part of one."""
    return "call_id" in item or item.get("type") in ("reasoning", "item_reference")


def message(raw: Any, role: str) -> list[JsonObject]:
    """Read one message of any dialect; it can become several (results are messages of their own).

    role: for those that don't say.
    """
    item = opened(raw)
    if isinstance(item, str):
        written = written_message(item)
        if written is not None:
            return message(written, role)
        return transcript(item) if role == "user" else [{"role": role, "content": item}]
    if isinstance(item, list):
        return _messages(item, role, 1)
    if not isinstance(item, dict):
        return [{"role": role, "content": as_text(item)}]
    body = _unwrapped(cast(JsonObject, item))
    kind = body.get("type") if "role" not in body else None
    if isinstance(body.get("kind"), str) and isinstance(body.get("parts"), list) and "role" not in body:
        return _pydantic(body)
    if kind in _CALL_ITEMS:
        return _call_item(body)
    if kind in _RESULT_ITEMS:
        content = body.get("content")
        return [read_result(r) for r in dicts(content)] if isinstance(content, list) else [read_result(body)]
    if kind in ("reasoning", "item_reference", "ThoughtEvent"):
        return []
    if "role" not in body and is_part(body):
        body = {"content": [body]}
    return _chat(body, role)


def _unwrapped(item: JsonObject) -> JsonObject:
    """Take off what frameworks put around a message."""
    for _ in range(3):
        kwargs, name = item.get("kwargs"), item.get("id")
        inner = opened(first(item, "message", "gen_ai.event.content", "aiMessage"))
        if isinstance(kwargs, dict) and isinstance(name, list) and name:  # LangChain, serialised
            item = {**cast(JsonObject, kwargs), "type": as_text(cast("list[Any]", name)[-1])}
        elif isinstance(item.get("data"), dict) and "type" in item and "content" not in item:
            item = {**item["data"], "type": item["type"]}  # LangChain's messages_to_dict
        elif isinstance(inner, dict):
            item = cast(JsonObject, inner)
        elif isinstance(inner, list):  # Strands: the message is its content
            rest = {k: v for k, v in item.items() if k != "message"}
            item = {"role": "assistant", **rest, "content": inner}
        elif isinstance(inner, str) and "content" not in item and "message" in item:
            return {**{k: v for k, v in item.items() if k != "message"}, "content": inner}
        elif "_content" in item or "_role" in item:  # Haystack, as its fields are named
            item = {k.lstrip("_"): v for k, v in item.items()}
        else:
            return item
    return item


def _pydantic(body: JsonObject) -> list[JsonObject]:
    """Pydantic AI's own messages: the parts of a request have roles of their own."""
    if body["kind"] == "response":
        return _chat({"content": body["parts"]}, "assistant")
    out: list[JsonObject] = []
    for part in dicts(body["parts"]):
        kind, text = part.get("part_kind"), part.get("content")
        if kind == "tool-return" or (kind == "retry-prompt" and part.get("tool_name")):
            out.append(read_result(part))
        else:
            role = "system" if kind in ("system-prompt", "instructions") else "user"
            out.append({"role": role, "content": split(text).text})
    return out


def _call_item(body: JsonObject) -> list[JsonObject]:
    listed = body.get("content")
    raw: list[Any] = dicts(listed) if isinstance(listed, list) else [body]
    calls = [read_call(c) for c in raw]
    out: list[JsonObject] = [{"role": "assistant", "content": None, "tool_calls": calls}] if calls else []
    if calls and calls[0] and body.get("type") == "mcp_call":
        error = body.get("error")
        answer = body.get("output") if error is None else {"error": error}
        if answer is not None:
            told = {"role": "tool", "tool_call_id": calls[0]["id"], "content": result_text(answer)}
            out.append(told)
    return out


def _role(body: JsonObject, default: str) -> tuple[str, bool]:
    """Return a message's role, and whether it says one that nobody knows."""
    for key in ("role", "type", "messageType"):
        name = body.get(key)
        if isinstance(name, str):
            known = _ROLES.get(name.rpartition(".")[2].lower())  # "MessageRole.USER"
            if known:
                return known, False
    source = body.get("source")  # AutoGen
    if isinstance(source, str) and isinstance(body.get("type"), str):
        return ("user" if source == "user" else "assistant"), False
    if first(body, *_CALLS):
        return "assistant", False
    return default, isinstance(body.get("role"), str) and bool(body["role"])


def _chat(body: JsonObject, default: str) -> list[JsonObject]:
    role, unknown = _role(body, default)
    extra = opened(body.get("additional_kwargs"))
    kwargs = cast(JsonObject, extra) if isinstance(extra, dict) else {}
    content = next((body[k] for k in _CONTENTS if body.get(k) not in (None, [])), None)
    answers = dicts(first(body, "tool_responses", "responses"))  # AG2, Spring AI
    listed = dicts(body["content"]) if isinstance(body.get("content"), list) else []
    answers = answers or (listed if all("call_id" in r for r in listed) else [])  # AutoGen
    if role == "tool" and answers and not first(body, "tool_call_id", "toolCallId"):
        return [read_result(r) for r in answers]
    content = body.get("text") if content is None else content
    told = split(content)
    calls: list[JsonObject | None] = [*told.calls]
    known = {c["id"] for c in told.calls}
    for raw in (first(body, *_CALLS), kwargs.get("tool_calls")):
        if calls and raw is kwargs.get("tool_calls"):
            break
        listed = opened(raw) or []
        read = [read_call(c) for c in (cast("list[Any]", listed) if isinstance(listed, list) else [listed])]
        calls.extend(c for c in read if c is None or c["id"] is None or c["id"] not in known)
    legacy = opened(first(body, "function_call") or kwargs.get("function_call"))
    if isinstance(legacy, dict) and not calls:
        calls.append(read_call(legacy))
    text = told.text if told.text is not None else body.get("refusal")
    if role == "assistant" and not calls and text and (read := called(text)):
        calls.extend(read)
        text = None
    if role == "tool" and not told.results and not calls:
        name = first(body, "name", "tool_name", "toolName")
        own = first(body, "tool_call_id", "toolCallId", "call_id", "tool_use_id", "id")
        return [{
            "role": "tool",
            "tool_call_id": call_id({"id": own}),
            "name": name if isinstance(name, str) else None,
            "content": result_text(content),
        }]  # fmt: skip
    out = list(told.results)
    if calls and role != "assistant":  # a call is the assistant's, whatever the role says
        role = "assistant"
    if role != "tool" and (text or calls or not out):
        own_message: JsonObject = {"role": role, "content": text if text is None else as_text(text)}
        if calls:
            own_message["tool_calls"] = calls
        if unknown:
            own_message["unknown_role"] = body["role"]
        out = [own_message, *out] if calls else [*out, own_message]
    return out


def tidy(messages: list[JsonObject]) -> list[JsonObject]:
    """Join what is one turn: calls, and words before them, that were recorded as messages of their own.

    What was no call (None) becomes the message's number of `lost_calls`.
    """
    out: list[JsonObject] = []
    for item in messages:
        listed: list[JsonObject | None] = item.get("tool_calls") or []
        if None in listed:
            read = [c for c in listed if c is not None]
            marked: JsonObject = {"tool_calls": read, "lost_calls": len(listed) - len(read)}
            item = item | marked
        before = out[-1] if out else None
        if before and item.get("tool_calls") and before["role"] == item["role"] == "assistant":
            text = "".join(t for t in (before.get("content"), item.get("content")) if t) or None
            calls = [*(before.get("tool_calls") or []), *item["tool_calls"]]
            both: JsonObject = {"content": text, "tool_calls": calls}
            both["lost_calls"] = before.get("lost_calls", 0) + item.get("lost_calls", 0)
            out[-1] = before | both
            continue
        role = item.get("unknown_role")  # LangChain.js names a result's role by its tool
        if role is not None and any(
            c["function"]["name"] == role for m in out for c in m.get("tool_calls") or []
        ):
            item = {"role": "tool", "tool_call_id": None, "name": role, "content": item["content"] or ""}
        out.append(item)
    return out
