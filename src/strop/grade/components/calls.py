"""The tool calls of a rollout with their results, and the gold calls of its ground truth."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import msgspec

from strop.grade.components.messages import decoded, messages_of, text_of
from strop.grade.components.values import show, truth_of
from strop.records import JsonObject

Refused: TypeAlias = Callable[[str], bool]


class Call(msgspec.Struct, frozen=True):
    """One call; `arguments` is None where the model wrote no JSON object."""

    name: str
    arguments: JsonObject | None
    raw: Any = None


def refused(result: str) -> bool:
    """Say whether a tool refused a call: its result starts with "Error" or is JSON with an "error".

    An "error" that is null, false or empty is none.
    """
    text = result.lstrip()
    if text.startswith("Error"):
        return True
    if not text.startswith("{") or '"error"' not in text:
        return False
    parsed = decoded(text)
    return isinstance(parsed, dict) and bool(parsed.get("error"))


def effective_calls(rollout: JsonObject, is_refused: Refused = refused) -> list[Call]:
    """Return the calls that the tools did not refuse, in order.

    Refused calls changed nothing: they are not done, and cost nothing. A call without a result counts.
    """
    made = _made(messages_of(rollout))
    given: Any = rollout.get("tool_calls")
    if not isinstance(given, list):
        given = [{"name": name, "arguments": arguments} for name, arguments, _ in made]
    # Calls of the prompt come before the rollout's own: the lists agree at their ends.
    before = len(made) - len(given)
    calls: list[Call] = []
    for i, call in enumerate(given, before):
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            continue
        name, raw = call["name"], call.get("arguments")
        result = made[i][2] if i >= 0 and made[i][0] == name else None
        if result is None or not is_refused(result):
            parsed = decoded(raw) if isinstance(raw, str) else raw
            calls.append(Call(name, parsed if isinstance(parsed, dict) else None, raw))
    return calls


def gold_calls(ground_truth: JsonObject, key: str, names: Collection[str] | None = None) -> list[Call]:
    """Return the gold calls under a key, `{"name", "arguments"}` or tau-bench's `{"name", "kwargs"}`.

    names: only these tools. Raises ValueError where the key is missing or holds anything else.
    """
    listed = truth_of(ground_truth, key)
    if not isinstance(listed, list):
        raise ValueError(f"the ground truth's {key!r} is {show(listed)}, not a list of calls")
    calls: list[Call] = []
    for i, call in enumerate(listed):
        name = call.get("name") if isinstance(call, dict) else None
        if not isinstance(name, str):
            raise ValueError(f"the ground truth's {key}.{i} is {show(call)}; a call has a name")
        raw = call.get("arguments", call.get("kwargs", {}))
        arguments = decoded(raw or "{}") if isinstance(raw, str) else raw
        if not isinstance(arguments, dict):
            raise ValueError(f"the ground truth's {key}.{i} has arguments {show(raw)}, not an object")
        if names is None or name in names:
            calls.append(Call(name, arguments, raw))
    return calls


def _made(messages: list[JsonObject]) -> list[tuple[Any, Any, str | None]]:
    # (name, arguments, result) of each call. Results pair with the calls of the turn before them, by id
    # or else in order: recorded agents do use one id twice in a conversation.
    names: list[tuple[Any, Any]] = []
    ids: list[Any] = []
    results: dict[int, str] = {}
    waiting: list[int] = []
    in_turn = False
    for message in messages:
        if message.get("role") == "assistant":
            if not in_turn:
                waiting = []
            in_turn = True
            calls: Any = message.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                function: Any = call.get("function") if isinstance(call, dict) else None
                if not isinstance(function, dict):
                    function = {}
                waiting.append(len(names))
                names.append((function.get("name"), function.get("arguments")))
                ids.append(call.get("id") if isinstance(call, dict) else None)
            continue
        in_turn = False
        if message.get("role") == "tool" and waiting:
            wanted = message.get("tool_call_id")
            at = next((i for i, call in enumerate(waiting) if ids[call] == wanted), 0)
            results[waiting.pop(at)] = text_of(message)
    return [(name, arguments, results.get(i)) for i, (name, arguments) in enumerate(names)]
