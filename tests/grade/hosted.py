"""Graders compiled to OpenAI's JSON: files, random rollouts, and a judge that both sides ask."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

from strop.config import Judge
from strop.grade.extract import View, judged_text, parse_answer, view
from strop.grade.load import GraderSource, load_grader
from strop.grade.openai.asking import ModelReply, ModelRequest
from strop.records import JsonObject, Message, Tool, ToolCall, Usage, canonical_json

FIELDS = ("final_status", "eta", "message")
JUDGES = {"tone_pass": Judge(rubric="Is it polite?", field="message"), "whole": Judge(rubric="Is it fine?")}
TOOLS = (Tool("lookup_tracking", "Look it up", {"type": "object"}), Tool("lookup_eta"))
PROMPT = (Message("system", "You help."), Message("user", "Where is parcel 007?"))

_STATUS: tuple[Any, ...] = ("delivered", "delivered", "lost", "", None, 3, True, ["delivered"], {"a": 1}, 1.5)
_MESSAGES: tuple[Any, ...] = ("Dear Ann, it came.", "no", "", None, 7, ["Dear"], {"text": "ünï"}, False)
_ANSWERS = (
    None, "", "delivered", "[]", "null", "{", '{"final_status": "delivered", "final_status": "delivered"}',
    '{"final_status": "delivered", "x": {"y": 1, "y": 1}}', '{"final_status": "delivered", "eta": NaN}',
    '{"final_status": "delivered", "eta": -Infinity}', '{"final_status": "delivered", "eta": 1e999}',
    '{"final_status": "delivered", "message": "\\ud800"}', '{"final_status": "delivered"} and more',
    '{"final_status": "delivered", "llm_judge": {"tone_pass": true}, "tool_calls": []}',
    '{"message": "{{ item.status }}", "final_status": "delivered"}', ' \n{"final_status": "delivered"}\t',
    '{"eta": 340434161094042557340434161094042557, "final_status": "00340434161094042557"}',
    '{"final_status": ' + "9" * 5000 + "}", "[" * 3000,
)  # fmt: skip
_ARGUMENTS = (
    '{"tracking": "007"}', "{}", "", "[1]", "null", "not json", '{"a": 1, "a": 2}', '{"a": NaN}',
    '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": 12345678901234567890123}', '{"a": [1.0, {"b": null}]}',
    '{"a": 1} x', '"007"',
)  # fmt: skip
_NAMES = ("lookup_tracking", "lookup_tracking", "lookup_eta", "lookup_eta", "refund", "")


def load(folder: Path, source: str) -> GraderSource:
    (folder / "grader.py").write_text(source, encoding="utf-8")
    return load_grader(folder / "grader.py")


def final_of(rng: Random) -> str | None:
    if rng.random() < 0.3:
        return rng.choice(_ANSWERS)
    fields: JsonObject = {}
    for name, values in (
        ("final_status", _STATUS),
        ("message", _MESSAGES),
        ("eta", _STATUS),
        ("tools", _STATUS),
    ):
        if rng.random() < 0.8:
            fields[name] = rng.choice(values)
    return json.dumps(fields, ensure_ascii=rng.random() < 0.5)


def _call(rng: Random, number: int) -> ToolCall:
    return ToolCall(f"c{number}", rng.choice(_NAMES), rng.choice(_ARGUMENTS))


def any_rollout(rng: Random) -> View:
    """A rollout of some turns with calls and results, and perhaps an answer."""
    messages: list[Message] = []
    for turn in range(rng.randint(0, 3)):
        calls = tuple(_call(rng, 10 * turn + i) for i in range(rng.randint(1, 2)))
        messages.append(Message("assistant", rng.choice((None, "thinking")), calls))
        messages += [Message("tool", rng.choice(("{}", "Error: no")), tool_call_id=c.id) for c in calls]
    final = final_of(rng)
    if final is not None:
        messages.append(Message("assistant", final))
    return view(PROMPT, TOOLS, messages, final, Usage(rng.randint(0, 99), 5), FIELDS)


def single_turn(rng: Random) -> View:
    """A rollout of one turn: calls, an answer, or nothing."""
    final = final_of(rng) if rng.random() < 0.5 else None
    calls = () if final is not None else tuple(_call(rng, i) for i in range(rng.randint(0, 2)))
    messages = (Message("assistant", final, calls),) if calls or final is not None else ()
    return view(PROMPT, TOOLS, messages, final, Usage(), FIELDS)


def truth_of(rng: Random) -> JsonObject:
    """A ground truth; now and then without the key that graders need."""
    truth: JsonObject = {"status": rng.choice(("delivered", "lost")), "extra": rng.choice(_STATUS)}
    if rng.random() < 0.03:
        del truth["status"]
    return truth


def wired(value: JsonObject) -> JsonObject:
    """What a service gets of it: JSON there and back."""
    return json.loads(json.dumps(value))


def opinion(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 0


def verdicts_of(seen: View) -> dict[str, bool]:
    """The verdicts that strop's judges give where they decide by `opinion`."""
    texts = {name: judged_text(seen, judge.field) for name, judge in JUDGES.items()}
    return {name: text is not None and opinion(text) for name, text in texts.items()}


def hosted_judge(request: ModelRequest) -> ModelReply:
    """Label as `opinion` does what the compiled question shows; an answer without the field gets a yes."""
    system, user = (message["content"] for message in request.body["messages"])
    assert user.startswith("Inquiry:\nWhere is parcel 007?\n\nAnswer:\n")
    text: Any = user.partition("\n\nAnswer:\n")[2]
    if "'message'" in system:
        text = (parse_answer(text)[0] or {}).get("message")
        text = text if isinstance(text, str | None) else canonical_json(text).decode()
    label = "yes" if text is None or opinion(text) else "no"
    return ModelReply(content=json.dumps({"steps": [], "result": label}))


def direct(grader: GraderSource, seen: View, truth: JsonObject) -> float | None:
    """The grade of the file itself, None where it raises or gives no number in [0, 1]."""
    namespace: dict[str, Any] = {"__name__": "grader_file"}
    try:
        exec(compile(grader.source, "grader.py", "exec", dont_inherit=True), namespace)
        first, second = seen.arguments(grader.form, truth, verdicts_of(seen))
        if grader.form == "rubric":
            return namespace["rubric"](first, second).score
        value = float(namespace["grade"](first, second))
    except Exception:
        return None
    return value if 0.0 <= value <= 1.0 else None
