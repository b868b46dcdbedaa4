"""What each tool's calls earn, measured on honest attempts, and what an attempt without any call earns.

An attempt that called a tool was right if it reached its case's threshold. Where no honest attempt goes
without the call, the best of the guesses that need none stands in: that is what a policy falls back to.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from strop.grade.audit.cases import EPS, Case, Known, Mined, Score
from strop.grade.audit.incentives import Incentive, incentive
from strop.grade.audit.rewrite import acts_of, assemble
from strop.grade.extract import parse_answer
from strop.records import Grade, Rollout, Task, canonical_json


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """The best that a policy earns without calling anything.

    strategy: in words. mean: its reward over the cases. honest: mean honest reward of the same cases.
    """

    strategy: str
    mean: float
    honest: float
    n: int


class ToolIncentives(msgspec.Struct, frozen=True, kw_only=True):
    """Each tool's break-even point, and what pays with no tool at all (None where nothing could be tried)."""

    tools: tuple[Incentive, ...]
    fallback: Fallback | None


def tool_incentives(
    cases: Sequence[Case], grades: Sequence[Sequence[Grade]], mined: Mined, score: Score
) -> ToolIncentives:
    """Judge every tool that honest attempts were offered or called; grades belong to the cases' rollouts."""
    thresholds = {known.index: known.threshold for known in mined.known}
    floor = min(thresholds.values(), default=None)  # of the cases that no probe was built from
    names = sorted({c.name for case in cases for r in case.rollouts for c in acts_of(r)}
                   | {tool.name for case in cases for tool in case.task.tools})  # fmt: skip
    if not names:
        return ToolIncentives(tools=(), fallback=None)
    guesses = _fallback(mined, score)
    found: list[Incentive] = []
    for name in names:
        rows: dict[str, list[tuple[float, str]]] = {"right": [], "wrong": [], "idle": []}
        for i, (case, row) in enumerate(zip(cases, grades, strict=True)):
            least = thresholds.get(i, floor)
            for rollout, grade in zip(case.rollouts, row, strict=True):
                if grade.score is None or least is None:
                    continue
                called = any(act.name == name for act in acts_of(rollout))
                kind = "idle" if not called else "right" if grade.score >= least - EPS else "wrong"
                rows[kind].append((grade.score, case.task.task_id))
        if rows["right"] or rows["wrong"]:
            found.append(_judged(name, rows, guesses))
    return ToolIncentives(tools=tuple(found), fallback=guesses[0] if guesses else None)


def _judged(
    name: str,
    rows: dict[str, list[tuple[float, str]]],
    guesses: tuple[Fallback, list[tuple[float, str]]] | None,
) -> Incentive:
    stands_in = ""
    if not rows["idle"] and guesses is not None:
        rows = {**rows, "idle": guesses[1]}
        stands_in = f"no honest attempt goes without it: {guesses[0].strategy} stands in for no call"
    values = [[value for value, _ in rows[kind]] for kind in ("right", "wrong", "idle")]
    clusters = tuple([task for _, task in rows[kind]] for kind in ("right", "wrong", "idle"))
    found = incentive(name, *values, clusters=(clusters[0], clusters[1], clusters[2]))
    notes = [note for note in (found.note, stands_in) if note]
    return msgspec.structs.replace(found, note="; ".join(notes))


def _fallback(mined: Mined, score: Score) -> tuple[Fallback, list[tuple[float, str]]] | None:
    """Return the best strategy that calls nothing, with its rewards by task."""
    strategies: dict[str, list[tuple[Task, Rollout]]] = {}
    usual = _usual_answer(mined.known)
    for known in mined.known:
        bare = assemble(known.best, (), None)
        if known.nothing is not None:
            strategies.setdefault("a guess", []).append((known.task, known.nothing))
        if usual is not None:
            strategies.setdefault("the most frequent answer to every prompt", []).append(
                (known.task, assemble(bare, (), usual))
            )
        strategies.setdefault("no answer", []).append((known.task, bare))
    tried: list[tuple[float, str, list[tuple[float, str]]]] = []
    for name, pairs in strategies.items():
        graded = [(g.score or 0.0, task.task_id) for (task, _), g in zip(pairs, score(pairs), strict=True)]
        tried.append((sum(value for value, _ in graded) / len(graded), name, graded))
    if not tried:
        return None
    mean, name, rewards = max(tried, key=lambda t: (t[0], t[1]))
    honest = [g.score or 0.0 for g in score([(k.task, k.best) for k in mined.known])]
    return Fallback(strategy=name, mean=mean, honest=sum(honest) / len(honest), n=len(rewards)), rewards


def _usual_answer(known: Sequence[Known]) -> str | None:
    """Return the final answer that most other cases' best attempts gave too, else the first one's."""
    finals = [k.best.final for k in known if k.best.final is not None]
    if not finals:
        return None
    # By the answers' short values: a message that names its prompt would make each answer unique.
    return max(finals, key=lambda text: (_agree(text, finals), -finals.index(text)))


def _agree(text: str, others: Sequence[str]) -> int:
    mine = _short_values(text)
    return sum(len(mine & _short_values(other)) for other in others)


def _short_values(text: str) -> frozenset[bytes]:
    answer, _ = parse_answer(text)
    if answer is None:
        return frozenset({text.strip().encode()})
    return frozenset(canonical_json([k, v]) for k, v in answer.items() if len(str(v).split()) <= 3)
