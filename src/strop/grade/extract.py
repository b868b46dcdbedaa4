"""What a grader sees of a rollout: the final answer's allowed fields, and the rest as it happened.

A model must not write its own grade: reserved keys are set after lifting and never overridden, an
attempt is counted. All allowed fields are always present, None where the answer lacks them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from strop.errors import ConfigError
from strop.records import (
    Episode,
    JsonObject,
    Message,
    Rollout,
    Task,
    Tool,
    ToolCall,
    Usage,
    canonical_json,
    digest,
    tool_calls_of,
)

RESERVED = frozenset({"messages", "tool_calls", "llm_judge", "usage", "tools", "sample", "item"})


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout as the grader and the judges see it.

    rollout: the first argument of `grade(rollout, ground_truth)`, still without verdicts.
    answer: the final answer as parsed, None where it is no valid JSON object.
    forged: the answer carried reserved or duplicate keys. invalid: there is an answer, but no valid one.
    """

    rollout: JsonObject
    prompt: tuple[JsonObject, ...]
    final: str | None
    answer: JsonObject | None
    inquiry: str
    forged: bool
    invalid: bool

    def subject(self, ground_truth: JsonObject) -> str:
        """Return the content hash that grades are stored under: everything but usage and latency."""
        seen = {key: value for key, value in self.rollout.items() if key != "usage"}
        return digest([seen, self.final, ground_truth])

    def arguments(
        self, form: str, ground_truth: JsonObject, verdicts: Mapping[str, float]
    ) -> tuple[JsonObject, JsonObject]:
        """Return the grader's two arguments in its form: "rollout", "rubric", "sample" or "openai"."""
        if form not in ("sample", "openai"):
            return {**self.rollout, "llm_judge": verdicts}, ground_truth
        own = self.rollout["messages"][len(self.prompt) :]
        calls = [call for m in own for call in m.get("tool_calls", ())]
        message: JsonObject = {"role": "assistant", "content": self.final}
        if calls:
            message["tool_calls"] = calls
        sample = {
            "output_text": self.final or "",
            "output_json": self.answer,
            "output_tools": calls,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": self.rollout["usage"],
            "llm_judge": verdicts,
        }
        item = {**ground_truth, "messages": list(self.prompt), "tools": self.rollout["tools"]}
        return sample, item


def view(
    prompt: Sequence[Message],
    tools: Sequence[Tool],
    messages: Sequence[Message],
    final: str | None,
    usage: Usage,
    fields: Sequence[str],
) -> View:
    """Return what a grader sees; `messages` is everything after the prompt.

    Raises ConfigError where a field is a reserved key.
    """
    taken = RESERVED.intersection(fields)
    if taken:
        raise ConfigError(
            f"grade.extract names the reserved key {min(taken)!r}", fix="rename the field in the answer"
        )
    answer, forged = (None, False) if final is None else parse_answer(final)
    lifted = {field: None if answer is None else answer.get(field) for field in fields}
    before = tuple(m.to_openai() for m in prompt)
    rollout: JsonObject = {
        **lifted,
        "messages": [*before, *(m.to_openai() for m in messages)],
        "tool_calls": [_call(call) for call in tool_calls_of(messages)],
        "tools": [tool.to_openai() for tool in tools],
        "usage": {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
        "llm_judge": {},
    }
    asked = [m.content or "" for m in prompt if m.role == "user"]
    return View(
        rollout=rollout,
        prompt=before,
        final=final,
        answer=answer,
        inquiry=asked[-1] if asked else "",
        forged=forged,
        invalid=final is not None and answer is None,
    )


def view_of_rollout(task: Task, rollout: Rollout, fields: Sequence[str]) -> View:
    """Return the view of a model's attempt at a task."""
    return view(task.messages, task.tools, rollout.messages, rollout.final, rollout.usage, fields)


def view_of_episode(episode: Episode, usage: Usage, fields: Sequence[str]) -> View:
    """Return the view of a recorded episode; its final answer is a last assistant turn without calls."""
    prompt = episode.prompt()
    after = episode.messages[len(prompt) :]
    last = after[-1] if after else None
    final = last.content if last is not None and last.role == "assistant" and not last.tool_calls else None
    return view(prompt, episode.tools, after, final, usage, fields)


def parse_answer(text: str) -> tuple[JsonObject | None, bool]:
    """Parse a final answer: (object, forged); the object is None unless it is one valid JSON object.

    Duplicate keys at any depth, NaN and infinities make it invalid.
    """
    duplicates: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> JsonObject:
        result = dict(found)
        if len(result) < len(found):
            duplicates.append("")
        return result

    try:
        parsed = json.loads(text, object_pairs_hook=pairs, parse_constant=_refuse, parse_float=_finite)
        msgspec.json.encode(parsed)
    except (ValueError, RecursionError):
        return None, bool(duplicates)
    if not isinstance(parsed, dict):
        return None, bool(duplicates)
    forged = bool(duplicates) or not RESERVED.isdisjoint(parsed)
    return (None if duplicates else parsed), forged


def judged_text(seen: View, field: str | None) -> str | None:
    """Return what a judge reads: a field of the answer, the whole answer for None; None if absent."""
    if field is None:
        return seen.final
    value = None if seen.answer is None else seen.answer.get(field)
    if value is None or isinstance(value, str):
        return value
    return canonical_json(value).decode()


def _call(call: ToolCall) -> JsonObject:
    parsed = call.parsed()
    return {"name": call.name, "arguments": call.arguments if parsed is None else parsed, "id": call.id}


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value
