"""Where each generation of the conventions keeps a model call's messages.

OTel GenAI (JSON attributes, the details event, per-message events up to 1.36), OpenInference (flat and
nested), OpenLLMetry's flat keys, Vercel AI 3 to 5, Langfuse's attributes, Pydantic AI and Logfire, Google's
ADK, MLflow, and plain request and answer bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from strop.records import JsonObject, Message
from strop.sources.spans.messages import indexed, joined, read_messages, structured_content
from strop.sources.spans.payloads import read_request, read_response
from strop.sources.spans.span import SpanEvent, decoded

Side = list[Message] | None


class Read(msgspec.Struct):
    """What one dialect found: None is "not kept here", an empty list is "kept, and empty"."""

    given: Side = None
    said: Side = None
    tools: list[Any] | None = None
    problems: list[str] = msgspec.field(default_factory=lambda: list[str]())


def read_dialects(attributes: JsonObject, events: Sequence[SpanEvent]) -> Read:
    """Return input, output and tools, each from the first dialect that keeps it.

    Raises ValueError with the reason where there are messages that can't be understood, and no others.
    """
    found = Read()
    damage: list[str] = []
    for dialect in _DIALECTS:
        try:
            read = dialect(attributes)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            damage.append(str(error) if isinstance(error, ValueError) else type(error).__name__)
            continue
        _fill(found, read)
    if found.given is None or found.said is None:
        _fill(found, _from_events([(e.name, e.attributes) for e in events]))
    if damage and not found.given and not found.said:
        raise ValueError(damage[0])
    found.problems += damage
    return found


def read_transcript(attributes: JsonObject) -> list[Message]:
    """Return the whole conversation that an agent's own span carries, if it does. Raises ValueError."""
    for key in ("pydantic_ai.all_messages", "all_messages_events"):
        raw = structured(attributes, key)
        if raw:
            given, said = _split_events(raw) if key == "all_messages_events" else (read_messages(raw), [])
            head = _system(attributes.get("gen_ai.system_instructions"))
            return ([] if any(m.role in ("system", "developer") for m in given) else head) + given + said
    return []


def structured(attributes: JsonObject, key: str) -> Any:
    """An attribute that must hold JSON messages: text that doesn't parse is damage, not a message."""
    value = decoded(attributes.get(key))
    if isinstance(value, str) and value:
        raise ValueError(f"{key} is no JSON (truncated?)")
    return value


def _fill(found: Read, read: Read) -> None:
    if found.given is None and read.given is not None:
        found.given = read.given
    if found.said is None and read.said is not None:
        found.said = read.said
        found.problems += read.problems
    if not found.tools and read.tools:
        found.tools = read.tools


def _otel(a: JsonObject) -> Read:
    out = Read()
    if a.get("gen_ai.input.messages") not in (None, ""):
        given = read_messages(structured(a, "gen_ai.input.messages"), role="user")
        spoken = any(m.role in ("system", "developer") for m in given)
        out.given = given if spoken else _system(a.get("gen_ai.system_instructions")) + given
    if a.get("gen_ai.output.messages") not in (None, ""):
        raw = structured(a, "gen_ai.output.messages")
        choices = cast("list[Any]", raw) if isinstance(raw, list) else [raw]
        out.said = _first_choice(choices, out.problems)
    return out


def _first_choice(choices: list[Any], problems: list[str]) -> list[Message]:
    """Messages that each finished for themselves are alternatives: the first one counts."""
    if len(choices) > 1 and all(isinstance(c, dict) and c.get("finish_reason") for c in choices):
        problems.append(f"{len(choices)} choices were recorded: the first is taken")
        choices = choices[:1]
    return joined(read_messages(choices, role="assistant"))


def _system(raw: Any) -> list[Message]:
    value = decoded(raw)
    if not value:
        return []
    if isinstance(value, list) and all(
        isinstance(v, dict) and "role" not in v for v in cast("list[Any]", value)
    ):
        value = [{"role": "system", "parts": value}]
    return read_messages(value, role="system")


def _openinference(a: JsonObject) -> Read:
    return _listed(a, "llm.input_messages", "llm.output_messages")


def _openllmetry(a: JsonObject) -> Read:
    read = _listed(a, "gen_ai.prompt", "gen_ai.completion")
    if read.given is None and isinstance(a.get("gen_ai.prompt"), str):
        read.given, read.tools = read_request(a["gen_ai.prompt"])
    if read.said is None and isinstance(a.get("gen_ai.completion"), str):
        read.said = read_response(a["gen_ai.completion"])
    return read


def _listed(a: JsonObject, given_key: str, said_key: str) -> Read:
    out = Read()
    given, said = indexed(a, given_key), indexed(a, said_key)
    if given:
        out.given = read_messages([_message(m) for m in given], role="user")
    if said:
        out.said = _first_choice([_message(m) for m in said], out.problems)
    return out


def _message(raw: Any) -> JsonObject:
    """One OpenInference (`message.*`) or OpenLLMetry (flat) message as OpenAI's."""
    if not isinstance(raw, dict):
        raise ValueError("a message is not an object")
    message = _inner(cast(JsonObject, raw), "message")
    out: JsonObject = {k: v for k, v in message.items() if k not in ("contents", "tool_calls")}
    calls = decoded(message.get("tool_calls"))
    if isinstance(calls, list):
        out["tool_calls"] = [_inner(_inner(c, "tool_call"), "function") for c in cast("list[Any]", calls)]
    parts = decoded(message.get("contents"))
    if isinstance(parts, list) and not message.get("content"):
        out["content"] = [_inner(c, "message_content") for c in cast("list[Any]", parts)]
    if "content" in out:  # OpenLLMetry writes parts as JSON
        out["content"] = structured_content(out["content"], out.get("role"))
    if isinstance(out.get("function_call_name"), str):  # OpenInference's, for OpenAI's first function calls
        arguments = out.get("function_call_arguments_json")
        out["function_call"] = {"name": out["function_call_name"], "arguments": arguments}
    return out


def _inner(raw: Any, name: str) -> JsonObject:
    """Take `name` out of {"name": {...}} or {"name.key": ...}; beside it, what else is there stays."""
    if not isinstance(raw, dict):
        raise ValueError(f"a {name} is not an object")
    item = cast(JsonObject, raw)
    inner = item.get(name)
    if isinstance(inner, dict):
        return {**{k: v for k, v in item.items() if k != name}, **cast(JsonObject, inner)}
    start = name + "."
    if any(k.startswith(start) for k in item):
        return {k.removeprefix(start): v for k, v in item.items()}
    return item


def _vercel(a: JsonObject) -> Read:
    out = Read()
    if "ai.prompt.messages" in a:
        out.given = read_messages(structured(a, "ai.prompt.messages"))
    elif "ai.prompt" in a:
        out.given, _ = read_request(a["ai.prompt"])
    calls = _listed_json(a, "ai.response.toolCalls", "ai.result.toolCalls")
    texts = ("ai.response.text", "ai.result.text", "ai.response.object", "ai.result.object")
    text = next((a[k] for k in texts if a.get(k) is not None), None)
    if text is not None or calls:
        answer: JsonObject = {"role": "assistant", "content": text if isinstance(text, str) else None}
        out.said = read_messages([{**answer, "tool_calls": calls} if calls else answer], role="assistant")
    return out


def _listed_json(a: JsonObject, *keys: str) -> list[Any]:
    for key in keys:
        value = decoded(a.get(key))
        if isinstance(value, list):
            return cast("list[Any]", value)
    return []


def _logfire(a: JsonObject) -> Read:
    """Pydantic AI's first format and Logfire's own: one attribute with all per-message events."""
    raw = decoded(a.get("events"))
    if not isinstance(raw, list) or not any(isinstance(e, dict) and "event.name" in e for e in raw):
        return Read()
    given, said = _split_events(cast("list[Any]", raw))
    return Read(given, said)


def _split_events(raw: Any) -> tuple[list[Message], list[Message]]:
    named: list[tuple[str, JsonObject]] = []
    for item in cast("list[Any]", raw) if isinstance(raw, list) else []:
        if not isinstance(item, dict):
            raise ValueError("a message is not an object")
        event = cast(JsonObject, item)
        name = str(event.get("event.name") or f"gen_ai.{event.get('role')}.message")
        named.append((name, event))
    read = _from_events(named)
    return read.given or [], read.said or []


def _from_events(events: Sequence[tuple[str, JsonObject]]) -> Read:
    out = Read()
    choices: dict[str, list[Any]] = {}
    for name, attributes in events:
        body: JsonObject = {k: v if k == "content" else decoded(v) for k, v in attributes.items()}
        for key in ("body", "gen_ai.event.content"):  # a log record's body; Azure AI's, as one JSON string
            inner = body.get(key)
            if isinstance(inner, dict):
                body |= cast(JsonObject, inner)
        if name == "gen_ai.choice":
            choice = body.get("message")
            if isinstance(choice, list | str):  # Strands: the content alone
                choice = {"content": cast(Any, choice)}
            message = cast(JsonObject, choice) if isinstance(choice, dict) else body
            choices.setdefault(str(body.get("index", 0)), []).append({**message, "role": "assistant"})
        elif name.startswith("gen_ai.") and name.endswith(".message"):
            role = name.removeprefix("gen_ai.").removesuffix(".message")
            content = structured_content(body.get("content"), role)
            out.given = (out.given or []) + read_messages([{**body, "role": role, "content": content}])
    if choices:
        if len(choices) > 1:
            out.problems.append(f"{len(choices)} choices were recorded: the first is taken")
        out.said = joined(read_messages(choices[min(choices)], role="assistant"))
    return out


def _bodies(given_key: str, said_key: str) -> Callable[[JsonObject], Read]:
    """A dialect that keeps the request in one attribute and the answer in another."""

    def read(a: JsonObject) -> Read:
        out = Read()
        if a.get(given_key) not in (None, "", "{}"):
            given, out.tools = read_request(a[given_key])
            out.given = given or None
        if a.get(said_key) not in (None, "", "{}"):
            out.said = read_response(a[said_key]) or None
        return out

    return read


_DIALECTS: tuple[Callable[[JsonObject], Read], ...] = (
    _otel,
    _openinference,
    _openllmetry,
    _vercel,
    _logfire,
    _bodies("gcp.vertex.agent.llm_request", "gcp.vertex.agent.llm_response"),
    _bodies("langfuse.observation.input", "langfuse.observation.output"),
    _bodies("mlflow.spanInputs", "mlflow.spanOutputs"),
    _bodies("traceloop.entity.input", "traceloop.entity.output"),
    _bodies("input.value", "output.value"),
)
