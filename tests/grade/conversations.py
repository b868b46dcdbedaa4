"""Rollouts as graders see them, built from calls and their results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from strop.grade.extract import view
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject, Message, ToolCall, Usage

PROMPT = (Message("system", "You help."), Message("user", "Please help me."))


class Made:
    """One call with its result; a result of None means that it was never answered."""

    def __init__(self, name: str, arguments: Any = None, result: str | None = '{"ok":true}') -> None:
        self.name, self.result = name, result
        self.arguments = arguments if isinstance(arguments, str) else json.dumps(arguments or {})


def conversation(
    made: Sequence[Made],
    final: str | None = "Done.",
    fields: Sequence[str] = (),
    *,
    call_id: str | None = None,
    together: bool = False,
    verdicts: dict[str, bool] | None = None,
) -> JsonObject:
    """A rollout with these calls, one a turn or all together; call_id: the id that all of them carry."""
    calls = [ToolCall(call_id or f"c{i}", one.name, one.arguments) for i, one in enumerate(made)]
    results = [
        () if one.result is None else (Message("tool", one.result, tool_call_id=call.id),)
        for one, call in zip(made, calls, strict=True)
    ]
    messages: list[Message] = []
    if together and calls:
        messages = [Message("assistant", None, tuple(calls)), *(m for turn in results for m in turn)]
    else:
        for call, turn in zip(calls, results, strict=True):
            messages += [Message("assistant", None, (call,)), *turn]
    if final is not None:
        messages.append(Message("assistant", final))
    seen = view(PROMPT, (), messages, final, Usage(0, 0), fields)
    return seen.arguments("rollout", {}, verdicts or {})[0]


def run(component: ScoreFunction, rollout: JsonObject, truth: JsonObject | None = None) -> Scored:
    """Score, as a Scored whatever the component returns; feedback under 1 is never empty."""
    returned = component(rollout, truth or {})
    scored = returned if isinstance(returned, Scored) else Scored(float(returned))
    assert type(scored.score) is float and 0.0 <= scored.score <= 1.0
    assert scored.score == 1.0 or scored.feedback
    return scored


def value(component: ScoreFunction, rollout: JsonObject, truth: JsonObject | None = None) -> float:
    return run(component, rollout, truth).score
