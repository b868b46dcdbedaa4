"""Which of two answers is better, asked in both orders, so that a judge's taste for a place is a tie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from strop.config import Judge
from strop.grade.judge import Judges, Question, Reading, choice_format, choice_of
from strop.records import JsonObject, digest

_INSTRUCTION = (
    'Answer which of the two answers, A or B, meets this rubric better, as JSON: {"verdict": "A" or "B", '
    '"reason": "..."}.'
)
_CHOICES = ("A", "B")


class Pair(msgspec.Struct, frozen=True):
    """Two answers to one inquiry."""

    inquiry: str
    first: str
    second: str


class Preference(msgspec.Struct, frozen=True):
    """Who won. order_sensitive: the judge named the same place both times, and so nobody did."""

    winner: Literal["first", "second", "tie"]
    order_sensitive: bool = False


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Preferences counted; order_sensitive are among the ties. unjudged: pairs without a verdict."""

    first: int
    second: int
    ties: int
    order_sensitive: int
    unjudged: int


def compare_pairs(judges: Judges, name: str, pairs: Sequence[Pair]) -> list[Preference | str]:
    """Return a judge's preference for each pair, or the reason why there is none.

    Each pair costs two questions, one an order (Zheng et al. 2023, arXiv:2306.05685, section 3.4): the same
    answer both times wins, else it is a tie. Two equal answers are a tie for nothing. Stored verdicts are
    not paid again.
    Raises ConfigError where strop.toml has no judge of this name, and what Judges raises.
    """
    judge = judges.judge(name)
    questions: dict[str, Question] = {}
    asked: list[tuple[str, str] | None] = []
    for pair in pairs:
        if pair.first == pair.second:
            asked.append(None)
            continue
        keys: list[str] = []
        for a, b in ((pair.first, pair.second), (pair.second, pair.first)):
            key = digest(["pair", name, judge.model, judge.rubric, pair.inquiry, a, b])
            questions.setdefault(key, _question(name, judge, pair.inquiry, a, b))
            keys.append(key)
        asked.append((keys[0], keys[1]))
    known = judges.answers(questions)
    found: list[Preference | str] = []
    for both in asked:
        if both is None:
            found.append(Preference("tie"))
            continue
        is_first, is_second = known[both[0]], known[both[1]]
        if isinstance(is_first, str) or isinstance(is_second, str):
            found.append(is_first if isinstance(is_first, str) else str(is_second))
        elif is_first == is_second:  # A both times, or B both times: the place, not the answer
            found.append(Preference("tie", order_sensitive=True))
        else:
            found.append(Preference("first" if is_first else "second"))
    return found


def tally(preferences: Sequence[Preference | str]) -> Tally:
    """Count preferences."""
    judged = [p for p in preferences if isinstance(p, Preference)]
    winners = [p.winner for p in judged]
    return Tally(
        first=winners.count("first"),
        second=winners.count("second"),
        ties=winners.count("tie"),
        order_sensitive=sum(p.order_sensitive for p in judged),
        unjudged=len(preferences) - len(judged),
    )


def _question(name: str, judge: Judge, inquiry: str, a: str, b: str) -> Question:
    shown = msgspec.json.encode({"inquiry": inquiry, "A": a, "B": b}).decode()
    body: JsonObject = {
        "model": judge.model,
        "temperature": 0,
        "messages": [
            {"role": "system", "content": f"{judge.rubric}\n{_INSTRUCTION}"},
            {"role": "user", "content": shown},
        ],
        "response_format": choice_format(_CHOICES),
    }

    def read(raw: bytes) -> Reading:
        verdict, reason = choice_of(raw, _CHOICES)
        return Reading(verdict == "A", reason)

    return Question(judge=name, endpoint=name, body=body, read=read)
