"""A simulated company in memory, and the teacher's answers to all of it without HTTP."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
if str(EXAMPLES) not in sys.path:
    sys.path.insert(0, str(EXAMPLES))

from logistics import database, grader, judge, teacher, tools, world  # noqa: E402


@dataclass(frozen=True)
class Answered:
    """One inquiry with its latent truth and what the teacher made of it."""

    inquiry: world.Inquiry
    messages: list[dict[str, Any]]
    answer: dict[str, Any]
    calls: list[str]
    tone: bool
    score: float

    @property
    def carrier(self) -> str:
        return self.tracked["carrier"]

    @property
    def tracked(self) -> dict[str, Any]:
        return next(json.loads(m["content"]) for m in self.messages if m["role"] == "tool")

    @property
    def wordings(self) -> list[str]:
        return [line.split(": ", 1)[1] for line in self.tracked["events"]]


@cache
def simulated(number: int = 1600, seed: int = 7) -> world.World:
    return world.build(14, number, seed)


def stored(number: int, seed: int = 7) -> sa.Engine:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    database.save(engine, simulated(number, seed), seed)
    return engine


@cache
def answered(number: int = 1600, seed: int = 7) -> list[Answered]:
    engine = stored(number, seed)
    truth = {i.ticket: i for i in simulated(number, seed).inquiries}
    desk = tools.Desk(engine)
    done = [_answer(desk, asked, truth[asked.ticket]) for asked in database.asked(engine, 1, 14)]
    desk.close()
    engine.dispose()
    return done


def _answer(desk: tools.Desk, asked: database.Asked, inquiry: world.Inquiry) -> Answered:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": tools.SYSTEM_PROMPT},
        {"role": "user", "content": asked.text},
    ]
    calls: list[str] = []
    while True:
        message = teacher.respond({"messages": messages, "tools": tools.TOOLS}).message
        messages.append(message)
        if not message.get("tool_calls"):
            break
        call = message["tool_calls"][0]
        calls.append(call["function"]["name"])
        result = desk.call(calls[-1], call["function"]["arguments"], asked.at)
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    answer = json.loads(message["content"])
    tone = judge.objection(asked.text, answer["message"]) is None
    rollout = {**answer, "tool_calls": [{"name": n} for n in calls], "llm_judge": {"tone_pass": tone}}
    score = grader.grade(rollout, {"status": inquiry.status})
    return Answered(inquiry, messages, answer, calls, tone, score)
