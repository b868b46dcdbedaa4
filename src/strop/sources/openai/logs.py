"""Lines of OpenAI's own formats -> traces: logged requests and answers, Batch API, LiteLLM, fine-tuning data.

Understood, each a JSON object a line:
    {"request": {...}, "response": {...}} of the chat or the Responses API (or what their HTTP bodies lie in),
    Batch API lines with their answer joined (`joined`), LiteLLM's standard logging payload, and
    fine-tuning data: {"messages", "tools"}, the preferred answer of {"input", "preferred_output",
    "non_preferred_output"}, and rows of reinforcement fine-tuning, whose further fields are the ground truth.
Specification: OpenAI's OpenAPI document 2.3.0 (CreateChatCompletionRequest and -Response, Response,
Batch), and its guides to fine-tuning for the JSONL.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from strop.config import Source
from strop.records import JsonObject, Message, Score, Trace
from strop.sources.files.chats import read_chat
from strop.sources.platform import ns
from strop.sources.spans.messages import as_text, with_call_ids
from strop.sources.spans.responses import chat_messages, content_text
from strop.sources.spans.span import decoded

_REQUESTS = ("request", "request_body", "input_body", "body", "kwargs")
_ANSWERS = ("response", "response_body", "completion", "result")
_KNOWN = {
    "messages", "tools", "functions", "parallel_tool_calls", "id", "customer", "workflow_id", "session_id",
    "started_at", "ended_at", "model", "agent", "scores", "ground_truth", "tags", "usage", "timestamp",
    "created", "metadata", "user", "weight", "tool_choice", "temperature", "response_format",
}  # fmt: skip
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_CARRIED = ("customer", "workflow_id", "session_id", "agent", "scores", "ground_truth", "tags")
_LITELLMS_OWN = (
    "user_api_key", "spend_logs", "requester", "hidden_params", "headers", "endpoint", "api_base",
    "caching_groups", "deployment", "model_group", "model_info", "usage_object", "mcp_", "vector_store",
    "applied_guardrails", "guardrail", "prompt_management", "cold_storage", "litellm_",
)  # fmt: skip


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One request with its answer as messages of the chat API."""

    messages: list[JsonObject]
    tools: list[Any]
    model: Any = None
    usage: JsonObject = {}
    problems: list[str] = []
    error: str | None = None


def read_log_line(raw: Any, *, source: Source, fallback_id: str, position: int) -> Trace:
    """Read one line. Raises ValueError with a reason that quotes none of the data.

    fallback_id: for lines without an id. position: where the line stands, for those without a time.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"the line is a {type(raw).__name__}, not an object")
    try:
        return _trace(cast(JsonObject, raw), source, fallback_id, position)
    except (TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(f"a field has the wrong type ({type(error).__name__})") from None


def joined(rows: Iterable[Any]) -> list[Any]:
    """Join what belongs together: batch requests with their answers, and Responses with their history.

    A batch answer is joined by `custom_id`, but not where requests that differ share it (it is unique in one
    batch only); a response that names a `previous_response_id` gets its items before its own, and the one
    before it is left out, as the longer one holds it. Order is kept.
    """
    kept: list[Any] = []
    responses: dict[str, int] = {}
    gone: set[int] = set()
    for row in _batches(rows):
        at = len(kept)
        row = _with_history(row, kept, responses, gone)
        response_id = object_of(_pair(row)[1], "id") if isinstance(row, dict) else None
        if isinstance(response_id, str):
            responses[response_id] = at
        kept.append(row)
    return [row for i, row in enumerate(kept) if i not in gone]


def _batches(rows: Iterable[Any]) -> list[Any]:
    """Put each batch answer's request into its line, and leave those requests' own lines out."""
    kept: list[Any] = []
    requests: dict[str, list[int]] = {}
    answers: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        kept.append(row)
        custom_id = object_of(row, "custom_id")
        if isinstance(custom_id, str) and isinstance(row, dict):
            answered = any(row.get(k) is not None for k in ("response", "error"))
            asked = any(row.get(k) is not None for k in _REQUESTS)
            if asked != answered:
                (answers if answered else requests).setdefault(custom_id, []).append(at)
    gone: set[int] = set()
    for custom_id, asked in requests.items():
        if custom_id not in answers or any(kept[i] != kept[asked[0]] for i in asked):
            continue
        for i in answers[custom_id]:
            kept[i] = {**kept[asked[0]], **kept[i]}
        gone.update(asked)
    return [row for i, row in enumerate(kept) if i not in gone]


def object_of(holder: Any, key: str) -> Any:
    """Return a value in what may be an object."""
    return cast(JsonObject, holder).get(key) if isinstance(holder, dict) else None


def _with_history(row: Any, kept: list[Any], responses: dict[str, int], gone: set[int]) -> Any:
    if not isinstance(row, dict):
        return row
    request, answer = _pair(cast(JsonObject, row))
    previous = object_of(request, "previous_response_id") or object_of(answer, "previous_response_id")
    if not isinstance(previous, str) or previous not in responses:
        return cast(JsonObject, row)
    at = responses[previous]
    before_request, before = _pair(kept[at])
    items = [*_items(before_request), *_items({"input": object_of(before, "output")}), *_items(request)]
    gone.add(at)
    own = cast(JsonObject, request) if isinstance(request, dict) else {}
    full = {**own, "input": items, "previous_response_id": None}
    earlier = object_of(before_request, "instructions") or object_of(before, "instructions")
    if earlier and not full.get("instructions"):
        full["instructions"] = earlier
    alone = cast(JsonObject, answer) | {"previous_response_id": None} if isinstance(answer, dict) else answer
    rest = {k: v for k, v in cast(JsonObject, row).items() if k not in (*_REQUESTS, *_ANSWERS)}
    rest = {} if rest.get("object") == "response" else rest
    return {**rest, "request": full, "response": alone}


def _items(request: Any) -> list[Any]:
    given = object_of(request, "input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return cast("list[Any]", given) if isinstance(given, list) else []


def _pair(row: JsonObject) -> tuple[Any, Any]:
    """Return the request and the answer in a line, out of whatever wraps them."""
    if row.get("object") in ("response", "chat.completion"):
        return row, row
    request = next((decoded(row[k]) for k in _REQUESTS if row.get(k) is not None), None)
    # Beside messages only this name is an answer: others may be fields of a fine-tuning row.
    named = ("response",) if "messages" in row else _ANSWERS
    answer = next((decoded(row[k]) for k in named if row.get(k) is not None), None)
    if "messages" in row or (request is None and "input" in row):
        request = row
    for _ in range(2):  # a batch request in its line, an answer in its HTTP envelope
        request = object_of(request, "body") if isinstance(object_of(request, "body"), dict) else request
        answer = object_of(answer, "body") if isinstance(object_of(answer, "body"), dict) else answer
        inner = object_of(answer, "response")
        answer = inner if isinstance(inner, dict) else answer
    return request, answer


def _trace(row: JsonObject, source: Source, fallback_id: str, position: int) -> Trace:
    if "preferred_output" in row:
        return _preferred(row, source, fallback_id, position)
    request, answer = _pair(row)
    if request is answer and "input" not in row and "messages" not in row:
        request = None
    if "messages" in row and not any(k in row for k in ("response", "call_type")):
        return _example(row, source, fallback_id, position)
    if answer is not None and request is None:
        raise ValueError("an answer without its request (of a batch: join its files, one batch at a time)")
    if answer is None and row.get("error") is None and "custom_id" in row:
        raise ValueError("a batch request without its answer: join the files of one batch at a time")
    found = conversation(object_or_empty(request), answer, row)
    metadata = _metadata(row, request, answer)
    chat: JsonObject = {k: row[k] for k in _CARRIED if row.get(k) is not None}
    if isinstance(chat.get("tags", []), str):
        chat["tags"] = [chat["tags"]]
    if row.get("trace_id") and "session_id" not in chat and "session_id" not in metadata:
        chat["session_id"] = as_text(row["trace_id"])  # LiteLLM's: calls of one session
    ids = (object_of(answer, "id"), row.get("id"), row.get("request_id"), row.get("custom_id"))
    chat |= {
        "id": next((as_text(i) for i in ids if i), None),
        "messages": found.messages,
        "tools": found.tools,
        "model": as_text(found.model) if found.model else None,
        "usage": found.usage,
        "started_at": _started(row, request, answer),
        "ended_at": _seconds(row.get("endTime"), row.get("ended_at"), object_of(answer, "completed_at")),
        "metadata": metadata,
    }
    if chat["ended_at"] is not None and chat["started_at"] is None:
        chat["ended_at"] = None
    trace = _read(chat, source, fallback_id, position)
    user = next((u for u in _users(row, request) if isinstance(u, str) and u), None)
    return _finished(
        trace,
        problems=found.problems,
        error=found.error,
        identities={"user.id": user} if user else {},
        cost=_cost(row.get("response_cost")),
        tags=row.get("request_tags"),
    )


def conversation(request: JsonObject, answer: Any, row: JsonObject) -> Conversation:
    """Return a request and its answer, of either API, as messages. Raises ValueError."""
    problems: list[str] = []
    body = object_or_empty(answer)
    responses = "input" in request or body.get("object") == "response" or isinstance(body.get("output"), list)
    if responses and "messages" not in request:
        given, said, left_out = _response_turns(request, body)
        problems += [f"items of type {kind} were left out" for kind in left_out]
        if request.get("previous_response_id") or body.get("previous_response_id"):
            problems.append("the conversation goes on from a response that is not here")
    else:
        given = _messages(request.get("messages"))
        said = _choice(answer) or _response_turns({}, body)[1]
    failed = _error(body, row)
    choices = body.get("choices")
    if isinstance(choices, list) and len(cast("list[Any]", choices)) > 1:
        problems.append(f"{len(cast('list[Any]', choices)) - 1} more choices were left out")
    if not said and failed is None:
        problems.append("no answer")
    if not given:
        raise ValueError("there are no messages")
    parameters = object_or_empty(row.get("model_parameters"))
    tools, hosted = offered(request.get("tools") or body.get("tools") or parameters.get("tools") or
                            [{"function": f} for f in request.get("functions") or []])  # fmt: skip
    problems += [f"a tool of type {kind} was left out" for kind in hosted]
    return Conversation(
        messages=[*given, *said],
        tools=tools,
        model=body.get("model") or request.get("model") or row.get("model"),
        usage=_usage(body.get("usage"), row),
        problems=problems,
        error=failed,
    )


def object_or_empty(value: Any) -> JsonObject:
    """Return an object, or an empty one for what is none."""
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def offered(tools: Any) -> tuple[list[Any], list[str]]:
    """Return the functions among the tools offered, and the types of the others."""
    functions: list[Any] = []
    hosted: dict[str, None] = {}
    for tool in cast("list[Any]", tools) if isinstance(tools, list) else []:
        inner = object_of(tool, "function") or tool
        if not isinstance(object_of(inner, "name"), str):
            kind = object_of(tool, "type")
            hosted[kind[:40] if isinstance(kind, str) else "unknown"] = None
            continue
        known = cast(JsonObject, inner)
        functions.append({
            "name": known["name"],
            "description": as_text(known.get("description") or ""),
            "parameters": object_or_empty(known.get("parameters")),
        })  # fmt: skip
    return functions, list(hosted)


def chat_message(raw: Any, index: int) -> JsonObject:
    """Return one message of the chat API, its older spellings renewed. Raises ValueError, quoting nothing."""
    if not isinstance(raw, dict):
        raise ValueError(f"message {index} is no object")
    item = cast(JsonObject, raw)
    if item.get("role") not in _ROLES:
        raise ValueError(f"message {index} has an unknown role")
    calls: Any = item.get("tool_calls") or []
    if item.get("function_call"):
        calls = [{"id": f"call_{index}", "function": item["function_call"]}]
    if not isinstance(calls, list):
        raise ValueError(f"message {index} has no list of tool calls")
    content = content_text(item.get("content"))
    content = item["refusal"] if content is None and isinstance(item.get("refusal"), str) else content
    out: JsonObject = {"role": item["role"], "content": (content or None) if calls else content}
    if calls:
        out["tool_calls"] = [_tool_call(c, index) for c in cast("list[Any]", calls)]
    if item["role"] in ("tool", "function") and item.get("tool_call_id"):
        out["tool_call_id"] = as_text(item["tool_call_id"])
    if item["role"] in ("tool", "function") and isinstance(item.get("name"), str):
        out["name"] = item["name"]
    return out


def _tool_call(raw: Any, index: int) -> JsonObject:
    custom = object_of(raw, "custom")
    body = object_of(raw, "function")
    if isinstance(custom, dict):
        text = cast(JsonObject, custom).get("input")
        body = {"name": cast(JsonObject, custom).get("name"), "arguments": as_text({"input": text})}
    if not isinstance(object_of(body, "name"), str):
        raise ValueError(f"message {index} has a tool call without a function name")
    arguments = object_of(body, "arguments")
    call_id = object_of(raw, "id")
    named = {"name": object_of(body, "name"), "arguments": "{}" if arguments is None else as_text(arguments)}
    return {"id": as_text(call_id) if call_id else None, "type": "function", "function": named}


def _messages(raw: Any) -> list[JsonObject]:
    raw = decoded(raw)
    if isinstance(raw, str):
        return [{"role": "user", "content": raw}]
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise ValueError("messages are no list")
    return [chat_message(m, i) for i, m in enumerate(cast("list[Any]", raw))]


def _response_turns(
    request: JsonObject, body: JsonObject
) -> tuple[list[JsonObject], list[JsonObject], list[str]]:
    given, left_out = chat_messages(_items(request))
    output: Any = body.get("output")
    said, more = chat_messages(cast("list[Any]", output) if isinstance(output, list) else [])
    instructions: Any = request.get("instructions") or body.get("instructions")
    if isinstance(instructions, list):
        given = [*chat_messages(cast("list[Any]", instructions))[0], *given]
    elif isinstance(instructions, str):
        given = [{"role": "system", "content": instructions}, *given]
    checked = [chat_message(m, i) for i, m in enumerate([*given, *said])]
    return checked[: len(given)], checked[len(given) :], list(dict.fromkeys([*left_out, *more]))


def _choice(answer: Any) -> list[JsonObject]:
    if isinstance(answer, str):
        return [{"role": "assistant", "content": answer}] if answer else []
    choices = object_of(answer, "choices")
    if isinstance(choices, list) and choices:
        choice = cast("list[Any]", choices)[0]
        message = object_of(choice, "message")
        if message is not None:
            return [chat_message({"role": "assistant", **object_or_empty(message)}, 0)]
        text = object_of(choice, "text")
        return [{"role": "assistant", "content": as_text(text)}] if text is not None else []
    return [chat_message(answer, 0)] if object_of(answer, "role") == "assistant" else []


def _error(body: JsonObject, row: JsonObject) -> str | None:
    found = body.get("error") or row.get("error") or row.get("error_str")
    if not found and row.get("status") != "failure":
        return None
    message = object_of(found, "message")
    return as_text(message or found or "the request failed")


def _usage(given: Any, row: JsonObject) -> JsonObject:
    usage = object_or_empty(given)
    out: JsonObject = {}
    for name, other in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")):
        counts = (usage.get(name), usage.get(other), row.get(name))
        found = next((c for c in counts if isinstance(c, int) and not isinstance(c, bool)), 0)
        out[name] = found if 0 <= found < 1 << 50 else 0
    return out


def _metadata(row: JsonObject, request: Any, answer: Any) -> JsonObject:
    whole: JsonObject = {}
    for holder in (answer, request, row):
        found = object_or_empty(object_of(holder, "metadata"))
        whole |= found | object_or_empty(found.get("requester_metadata"))  # LiteLLM keeps the caller's there
    return {k: v for k, v in whole.items() if v is not None and not k.startswith(_LITELLMS_OWN)}


def _users(row: JsonObject, request: Any) -> tuple[Any, ...]:
    named = ("user", "safety_identifier", "end_user")
    return tuple(object_of(holder, key) for holder in (request, row) for key in named)


def _started(row: JsonObject, request: Any, answer: Any) -> Any:
    names = ("started_at", "timestamp", "startTime", "created_at", "created")
    found = _seconds(*(row.get(n) for n in names))
    return _seconds(object_of(answer, "created_at"), object_of(answer, "created")) if found is None else found


def _seconds(*times: Any) -> Any:
    """The first possible time: seconds (or milliseconds) since 1970, or text for the chat reader."""
    for value in times:
        if isinstance(value, str) and _is_time(value):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            if 0 <= value < 1e10:
                return value
            if 1e11 <= value < 1e13:
                return value / 1000
    return None


def _is_time(text: str) -> bool:
    try:
        return ns(text) >= 0
    except (ValueError, OverflowError):
        return False


def _cost(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _example(row: JsonObject, source: Source, fallback_id: str, position: int) -> Trace:
    """Read a row of fine-tuning data; what supervised fine-tuning doesn't know is the ground truth."""
    tools, hosted = offered(row.get("tools") or [{"function": f} for f in row.get("functions") or []])
    further = {k: v for k, v in row.items() if k not in _KNOWN and k != source.customer_key}
    chat = {k: v for k, v in row.items() if k in _KNOWN or k == source.customer_key}
    chat |= {"messages": _messages(row["messages"]), "tools": tools}
    if not chat["messages"]:
        raise ValueError("there are no messages")
    if further and row.get("ground_truth") is None:
        chat["ground_truth"] = further
    trace = _read(chat, source, fallback_id, position)
    user = row.get("user")
    return _finished(
        trace,
        problems=[f"a tool of type {kind} was left out" for kind in hosted],
        identities={"user.id": user} if isinstance(user, str) and user else {},
    )


def _preferred(row: JsonObject, source: Source, fallback_id: str, position: int) -> Trace:
    given = object_or_empty(row.get("input"))
    tools, hosted = offered(given.get("tools"))
    answers = _messages(row.get("preferred_output"))
    if not answers or not given.get("messages"):
        raise ValueError("a preference row without messages or preferred_output")
    metadata = object_or_empty(row.get("metadata"))
    chat = {k: v for k, v in row.items() if k in _KNOWN}
    if row.get("non_preferred_output"):
        metadata = {**metadata, "non_preferred_output": row["non_preferred_output"]}
    chat |= {"messages": [*_messages(given["messages"]), *answers], "tools": tools, "metadata": metadata}
    trace = _read(chat, source, fallback_id, position)
    problems = [f"a tool of type {kind} was left out" for kind in hosted]
    return _finished(trace, problems=problems, scores=(Score("preferred", 1.0, "human"),))


def _read(chat: JsonObject, source: Source, fallback_id: str, position: int) -> Trace:
    try:
        return read_chat(chat, source=source, fallback_id=fallback_id, position=position)
    except (ValueError, TypeError, AttributeError, OverflowError):
        # Messages and tools are checked by now; what the reader says of the rest may quote it.
        raise ValueError("a time, usage, score or the metadata has the wrong form") from None


def _finished(
    trace: Trace,
    *,
    problems: list[str],
    error: str | None = None,
    identities: dict[str, str] | None = None,
    cost: float | None = None,
    scores: tuple[Score, ...] = (),
    tags: Any = None,
) -> Trace:
    (episode,) = trace.episodes
    messages: tuple[Message, ...] = with_call_ids(episode.messages)
    listed = cast("list[Any]", tags) if isinstance(tags, list) else []
    return msgspec.structs.replace(
        trace,
        episodes=(msgspec.structs.replace(episode, messages=messages),),
        status="ok" if error is None else "error",
        error=error,
        problems=(*trace.problems, *problems),
        identities={**trace.identities, **(identities or {})},
        cost_usd=cost,
        scores=(*trace.scores, *scores),
        tags=(*trace.tags, *(str(t) for t in listed)),
    )
