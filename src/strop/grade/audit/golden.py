"""Golden cases: attempts with the score that they must get, written by the people whose grader it is.

JSON Lines, one case a line:

    {"name": "late parcel", "rollout": {...}, "ground_truth": {...}, "score": 0.85}

rollout: a conversation, `{"messages": [...], "tools": [...], "final": ...}` in OpenAI's chat format, of which
everything before the first assistant message is the prompt and the last assistant message without calls
the final answer (or `final`, where given); or, where it has `tool_calls` or no `messages`, what the grader
sees, as `grade` gets it (keys that are left out are empty). A grader with sample and item takes a
conversation or `{"sample": {...}, "item": {...}, "score": ...}`. llm_judge (inside of rollout): verdicts, so
that no judge needs to be paid.
The score is met within `tolerance` (0.005); `at_least`, `at_most` or both stand in its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import msgspec

from strop.errors import InputError
from strop.grade.extract import View, view
from strop.records import Episode, Grade, JsonObject, Message, Tool, Usage, canonical_json

Item: TypeAlias = tuple[JsonObject, JsonObject]

TOLERANCE = 0.005
_ROUNDING = 1e-9
_SHOWN = 3
_KEYS = frozenset(
    ("name", "rollout", "sample", "item", "ground_truth", "score", "at_least", "at_most", "tolerance")
)
_TALK = frozenset(("messages", "tools", "final", "usage", "llm_judge"))
_EMPTY: JsonObject = {
    "messages": [], "tool_calls": [], "tools": [], "llm_judge": {},
    "usage": {"prompt_tokens": 0, "completion_tokens": 0},
}  # fmt: skip
_FIX = '{"rollout": {"messages": [...]}, "ground_truth": {...}, "score": 0.85}'


class Talk(msgspec.Struct, frozen=True):
    """A conversation as it was written down."""

    prompt: tuple[Message, ...]
    tools: tuple[Tool, ...]
    after: tuple[Message, ...]
    final: str | None


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """One case. least, most: scores that meet it, tolerance included; expects: the same in words.

    seen: the grader's two arguments as they were written, None where a conversation was. verdicts: of the
    judges, None where none are given.
    """

    name: str
    line: int
    least: float
    most: float
    expects: str
    ground_truth: JsonObject
    seen: Item | None = None
    sample: bool = False
    talk: Talk | None = None
    verdicts: dict[str, float] | None = None

    def view(self, fields: tuple[str, ...] = ()) -> View | None:
        """Return what a grader and judges see of a conversation, None for a case written as seen."""
        if self.talk is None:
            return None
        t = self.talk
        return view(t.prompt, t.tools, t.after, t.final, Usage(), fields)

    def arguments(
        self, form: str, fields: tuple[str, ...] = (), verdicts: Mapping[str, float] | None = None
    ) -> Item:
        """Return the arguments of a grader of this form; verdicts: for a case that gives none itself.

        Raises InputError where the case was written for the other kind of grader.
        """
        seen = self.view(fields)
        if seen is not None:
            given = dict(self.verdicts if self.verdicts is not None else verdicts or {})
            return seen.arguments(form, self.ground_truth, given)
        assert self.seen is not None
        if self.sample != (form in ("sample", "openai")):
            takes, has = ("rollout", "sample and item") if self.sample else ("sample and item", "rollout")
            raise InputError(
                f"golden case {self.name!r} gives {has}, but the grader takes {takes}",
                where=f"line {self.line}",
                fix='write the conversation: {"rollout": {"messages": [...]}, ...}, which fits both',
            )
        return self.seen

    def holds(self, grade: Grade) -> bool:
        """Say whether a grade meets the case; an error never does."""
        return grade.score is not None and self.least <= grade.score <= self.most


def parse_golden(text: str, where: str = "golden cases") -> tuple[Golden, ...]:
    """Read golden cases from JSON Lines; empty lines are skipped.

    Raises InputError that names the first lines at fault, and for two cases of one name.
    """
    cases: list[Golden] = []
    faults: list[tuple[int, str]] = []
    names: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line, parse_constant=_refuse)
            canonical_json(raw)  # what can't be written can't be sent to the grader
            case = _case(raw, number)
        except json.JSONDecodeError as error:
            faults.append((number, f"not JSON: {error.msg} at character {error.colno}"))
            continue
        except (ValueError, OverflowError, RecursionError) as error:
            faults.append((number, str(error) or "nested too deeply"))
            continue
        if case.name in names:
            faults.append((number, f"the name {case.name!r} is taken by line {names[case.name]}"))
        names.setdefault(case.name, number)
        cases.append(case)
    if faults:
        shown = "; ".join(f"line {number}: {why}" for number, why in faults[:_SHOWN])
        more = f" (and {len(faults) - _SHOWN} more)" if len(faults) > _SHOWN else ""
        raise InputError(f"not a golden case: {shown}{more}", where=f"{where}:{faults[0][0]}", fix=_FIX)
    return tuple(cases)


def golden_line(form: str, arguments: Item, score: float, name: str = "") -> str:
    """Return the line of a golden case for what a grader was given and what it should say."""
    first, second = arguments
    keys = ("sample", "item") if form in ("sample", "openai") else ("rollout", "ground_truth")
    named: JsonObject = {"name": name} if name else {}
    return canonical_json({**named, keys[0]: first, keys[1]: second, "score": round(score, 6)}).decode()


def _case(raw: Any, number: int) -> Golden:
    line = _object(raw, "the line")
    unknown = sorted(line.keys() - _KEYS)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    name = line.get("name", f"line {number}")
    if not isinstance(name, str) or not name:
        raise ValueError("name is a text")
    least, most, expects = _bounds(line)
    given: JsonObject = {
        "name": name, "line": number, "least": least, "most": most, "expects": expects, "ground_truth": {},
    }  # fmt: skip
    if "sample" in line or "item" in line:
        if "rollout" in line or "ground_truth" in line:
            raise ValueError("sample and item stand in the place of rollout and ground_truth")
        seen = (_object(line.get("sample"), "sample"), _object(line.get("item"), "item"))
        return Golden(**given, seen=seen, sample=True)
    given["ground_truth"] = _object(line.get("ground_truth"), "ground_truth")
    rollout = _object(line.get("rollout"), "rollout")
    if "messages" not in rollout or "tool_calls" in rollout:
        return Golden(**given, seen=({**_EMPTY, **rollout}, given["ground_truth"]))
    verdicts = rollout.get("llm_judge")
    if verdicts is not None and not _are_verdicts(verdicts):
        raise ValueError("llm_judge is an object of yes/no or numbers by judge")
    return Golden(**given, talk=_talk(rollout), verdicts=verdicts)


def _are_verdicts(raw: Any) -> bool:
    values = cast("dict[str, Any]", raw).values() if isinstance(raw, dict) else [""]
    return all(isinstance(value, bool | int | float) for value in values)


def _talk(rollout: JsonObject) -> Talk:
    unknown = sorted(rollout.keys() - _TALK)
    if unknown:
        raise ValueError(
            f"rollout is a conversation (it has messages and no tool_calls) and can't have {unknown[0]!r}: "
            "answer fields are read from the final answer"
        )
    messages = tuple(_messages(rollout["messages"]))
    raw_tools = rollout.get("tools") or []
    if not isinstance(raw_tools, list):
        raise ValueError("tools is a list")
    tools = tuple(Tool.from_openai(_object(t, "a tool")) for t in cast("list[Any]", raw_tools))
    prompt = Episode(messages).prompt()
    after = messages[len(prompt) :]
    last = after[-1] if after else None
    own = last.content if last is not None and last.role == "assistant" and not last.tool_calls else None
    final = rollout.get("final", own)
    if final is not None and not isinstance(final, str):
        raise ValueError("final is the text of the final answer; write JSON as a string")
    if final is not None and final != own:
        after = (*after, Message("assistant", final))
    if not after:
        raise ValueError("the conversation has no assistant message: there is no attempt to grade")
    return Talk(prompt, tools, after, final)


def _messages(raw: Any) -> list[Message]:
    if not isinstance(raw, list):
        raise ValueError("messages is a list")
    found: list[Message] = []
    for i, message in enumerate(cast("list[Any]", raw)):
        try:
            found.append(Message.from_openai(_object(message, "it")))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"message {i}: {error}") from None
    return found


def _bounds(line: JsonObject) -> tuple[float, float, str]:
    """Return the least and the highest score that meet the case, and both in words."""
    tolerance = _share(line, "tolerance") if "tolerance" in line else TOLERANCE
    if "score" in line:
        if "at_least" in line or "at_most" in line:
            raise ValueError("give score, or at_least and at_most, not both")
        score = _share(line, "score")
        return score - tolerance - _ROUNDING, score + tolerance + _ROUNDING, f"{score:g}"
    if "at_least" not in line and "at_most" not in line:
        raise ValueError("score is missing (or at_least, at_most)")
    least = _share(line, "at_least") if "at_least" in line else 0.0
    most = _share(line, "at_most") if "at_most" in line else 1.0
    if least > most:
        raise ValueError(f"at_least {least:g} is over at_most {most:g}")
    said = [f"at least {least:g}"] if "at_least" in line else []
    said += [f"at most {most:g}"] if "at_most" in line else []
    return least - _ROUNDING, most + _ROUNDING, ", ".join(said)


def _share(line: JsonObject, key: str) -> float:
    value = line[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{key} is {json.dumps(value)[:40]}, not a number in [0, 1]")
    return float(value)


def _object(raw: Any, what: str) -> JsonObject:
    if raw is None:
        raise ValueError(f"{what} is missing")
    if not isinstance(raw, dict):
        raise ValueError(f"{what} is a JSON object, not {type(raw).__name__}")
    return cast("JsonObject", raw)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
