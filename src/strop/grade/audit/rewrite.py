"""Honest rollouts taken apart and put together again: calls with their results, and the final answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from strop.records import Message, Rollout, ToolCall

Keep = Callable[[str], bool]


class Act(msgspec.Struct, frozen=True):
    """A tool call and its result, None where it was never answered."""

    name: str
    arguments: str
    result: str | None

    def parsed(self) -> dict[str, Any]:
        """Return the arguments, empty where they are no JSON object."""
        return ToolCall("", self.name, self.arguments).parsed() or {}


class Turn(msgspec.Struct, frozen=True):
    """One message and the calls that it made."""

    message: Message
    acts: tuple[Act, ...] = ()


def turns_of(rollout: Rollout) -> list[Turn]:
    """Return the turns before the final answer, results beside their calls (by id, else by order)."""
    messages = list(rollout.messages)
    if messages and _is_final(messages[-1]):
        messages.pop()
    turns: list[Turn] = []
    i = 0
    while i < len(messages):
        message, i = messages[i], i + 1
        results: list[Message] = []
        while message.tool_calls and i < len(messages) and messages[i].role == "tool":
            results.append(messages[i])
            i += 1
        acts: list[Act] = []
        for call in message.tool_calls:
            own = next((r for r in results if r.tool_call_id == call.id), None)
            if own is not None:
                results.remove(own)
            acts.append(Act(call.name, call.arguments, None if own is None else own.content))
        turns.append(Turn(msgspec.structs.replace(message, tool_calls=()), tuple(acts)))
    return turns


def assemble(rollout: Rollout, turns: Iterable[Turn], final: str | None) -> Rollout:
    """Return the rollout with these turns and this final answer; calls get new ids."""
    messages: list[Message] = []
    count = 0
    for turn in turns:
        calls: list[ToolCall] = []
        results: list[Message] = []
        for act in turn.acts:
            count += 1
            calls.append(ToolCall(f"call_{count}", act.name, act.arguments))
            if act.result is not None:
                results.append(Message("tool", act.result, tool_call_id=f"call_{count}"))
        if calls or turn.message.content or turn.message.role != "assistant":
            messages += [msgspec.structs.replace(turn.message, tool_calls=tuple(calls)), *results]
    if final is not None:
        messages.append(Message("assistant", final))
    count = sum(m.role == "assistant" for m in messages)
    return msgspec.structs.replace(rollout, messages=tuple(messages), final=final, turns=count)


def with_final(rollout: Rollout, final: str | None) -> Rollout:
    """Return the rollout with another final answer, its other messages as they are."""
    messages = rollout.messages
    if messages and _is_final(messages[-1]):
        messages = messages[:-1]
    if final is not None:
        messages = (*messages, Message("assistant", final))
    turns = sum(m.role == "assistant" for m in messages)
    return msgspec.structs.replace(rollout, messages=messages, final=final, turns=turns)


def keep_calls(rollout: Rollout, keep: Keep) -> Rollout:
    """Return the rollout with only the calls whose tool is kept."""
    turns = [Turn(t.message, tuple(a for a in t.acts if keep(a.name))) for t in turns_of(rollout)]
    return assemble(rollout, turns, rollout.final)


def map_acts(rollout: Rollout, change: Callable[[Act], Sequence[Act]]) -> Rollout:
    """Return the rollout with each call replaced by others."""
    turns = [Turn(t.message, tuple(new for a in t.acts for new in change(a))) for t in turns_of(rollout)]
    return assemble(rollout, turns, rollout.final)


def add_acts(rollout: Rollout, acts: Iterable[Act]) -> Rollout:
    """Return the rollout with further calls before the final answer, one a turn."""
    more = [Turn(Message("assistant", None), (act,)) for act in acts]
    return assemble(rollout, [*turns_of(rollout), *more], rollout.final)


def add_messages(rollout: Rollout, texts: Iterable[str]) -> Rollout:
    """Return the rollout with further assistant messages before the final answer."""
    more = [Turn(Message("assistant", text)) for text in texts]
    return assemble(rollout, [*turns_of(rollout), *more], rollout.final)


def acts_of(rollout: Rollout) -> list[Act]:
    """Return all calls in order."""
    return [act for turn in turns_of(rollout) for act in turn.acts]


def written(value: Any) -> str:
    """Write a value as a model would: texts as they are, else JSON (NaN and infinities as they come)."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_final(message: Message) -> bool:
    return message.role == "assistant" and not message.tool_calls
