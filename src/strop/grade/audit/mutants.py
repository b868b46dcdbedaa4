"""Would the user's golden cases notice if the grader broke? Its mutants, scored on them.

A mutant is caught where a golden case that the grader meets is not met any more. One that is not caught but
scores some rollout otherwise survived: that rollout, with the score that it has today, is the golden case to
add. One that scores everything alike can't be told from the grader with the rollouts at hand, and counts
neither way. After DeMillo, Lipton and Sayward 1978, "Hints on test data selection".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

from strop.errors import StropError
from strop.grade.audit import mutate_hosted, mutate_rubric, mutate_source
from strop.grade.audit.golden import Golden, Item, golden_line
from strop.grade.audit.mutation import KINDS, Mutation, Text
from strop.records import Grade
from strop.stats.proportion import clopper_pearson

Verdict = Literal["pass", "warn", "fail", "not applicable"]
Fate = Literal["caught", "survived", "not distinguishable on your rollouts", "does not run"]
ScoreSource: TypeAlias = Callable[[str, Sequence[Item]], list[Grade]]

MOST = 60
ENOUGH = 0.8  # of the mutants that can be told apart
_EPS = 1e-9


class Seen(msgspec.Struct, frozen=True):
    """A rollout beside the golden cases: its name and the grader's two arguments."""

    name: str
    arguments: Item


class Tells(msgspec.Struct, frozen=True, kw_only=True):
    """What tells a survivor from the grader: the rollout on which the two differ most.

    grader, mutant: the scores, None for an error. golden: this is a golden case that both meet, so its
    bounds are too wide. line: the golden case to write, empty where the grader itself has no score here.
    """

    name: str
    grader: float | None
    mutant: float | None
    golden: bool
    line: str


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One mutant and what became of it. caught_by: the golden cases that noticed."""

    kind: str
    place: str
    line: int
    diff: str
    fate: Fate
    caught_by: tuple[str, ...] = ()
    tells: Tells | None = None


class Unmet(msgspec.Struct, frozen=True, kw_only=True):
    """A golden case that the grader itself does not meet; it can't catch anything."""

    name: str
    line: int
    expects: str
    score: float | None
    error: str | None


class MutationTest(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the mutants. made: before the bound; tried: the others below sum up to it.

    share: caught / (caught + survived), None without any; low, high: its exact interval, as if mutants were
    drawn at random. add: lines of golden cases that would catch all survivors with a line.
    """

    golden: int
    rollouts: int
    made: int
    tried: int
    caught: int
    survived: int
    alike: int
    broken: int
    share: float | None
    low: float
    high: float
    mutants: tuple[Mutant, ...]
    unmet: tuple[Unmet, ...]
    add: tuple[str, ...]
    verdict: Verdict
    reason: str


def mutants_of(source: str, form: str, examples: Sequence[Item] = ()) -> tuple[Mutation, ...]:
    """Return all mutants of a grader's source, each once, by line.

    form: as `load_grader` names it, "openai" for JSON. examples: arguments that the grader gets, so that keys
    are swapped with ones that occur. Raises ConfigError or SyntaxError for a source that is no grader.
    """
    if form == "openai":
        return tuple(mutate_hosted.mutations(source, examples))
    text = Text(source)
    found = [*mutate_rubric.mutations(text, examples), *mutate_source.mutations(text, examples)]
    return tuple(mutate_source.once(found))


def chosen(found: Sequence[Mutation], most: int = MOST) -> tuple[Mutation, ...]:
    """Return at most so many mutants: kinds in equal parts as far as they go, evenly spread over the file."""
    by_kind = [[m for m in found if m.kind == kind] for kind in KINDS]
    take = [0] * len(by_kind)
    while sum(take) < min(most, len(found)):
        for i, own in enumerate(by_kind):
            if take[i] < len(own) and sum(take) < most:
                take[i] += 1
    kept = {id(own[j * len(own) // n]) for own, n in zip(by_kind, take, strict=True) for j in range(n)}
    return tuple(m for m in found if id(m) in kept)


def mutation_test(
    source: str,
    golden: Sequence[tuple[Golden, Item]],
    rollouts: Sequence[Seen],
    score: ScoreSource,
    *,
    form: str,
    most: int = MOST,
) -> MutationTest:
    """Score the mutants of a grader on golden cases and further rollouts.

    golden: each with the grader's arguments (`Golden.arguments`). score: grades items with a grader of this
    source and form, in order; a StropError means that it does not run. Passes where 80 % of the mutants that
    can be told apart are caught, else warns; fails where a golden case is not met by the grader itself.
    """
    items = [*(arguments for _, arguments in golden), *(seen.arguments for seen in rollouts)]
    found = mutants_of(source, form, items)
    if not items or not found:
        return _report(golden, rollouts, len(found), [], [])
    today = score(source, items)
    unmet = [
        Unmet(name=case.name, line=case.line, expects=case.expects, score=grade.score, error=grade.error)
        for (case, _), grade in zip(golden, today, strict=False)
        if not case.holds(grade)
    ]
    tested: list[Mutant] = []
    for mutation in chosen(found, most):
        try:
            grades: list[Grade] | None = score(mutation.source, items)
        except StropError:
            grades = None
        tested.append(_fate(mutation, grades, today, golden, rollouts, form))
    return _report(golden, rollouts, len(found), tested, unmet)


def _fate(
    mutation: Mutation,
    grades: Sequence[Grade] | None,
    today: Sequence[Grade],
    golden: Sequence[tuple[Golden, Item]],
    rollouts: Sequence[Seen],
    form: str,
) -> Mutant:
    mutant = Mutant(
        kind=mutation.kind, place=mutation.place, line=mutation.line, diff=mutation.diff, fate="does not run"
    )  # fmt: skip
    ran = any(grade.score is not None for grade in today)
    if grades is None or (ran and all(grade.score is None for grade in grades)):
        return mutant
    noticed = tuple(
        case.name
        for (case, _), old, new in zip(golden, today, grades, strict=False)
        if case.holds(old) and not case.holds(new)
    )
    if noticed:
        return msgspec.structs.replace(mutant, fate="caught", caught_by=noticed)
    gaps = [_gap(old, new) for old, new in zip(today, grades, strict=True)]
    widest = max(range(len(gaps)), key=lambda i: (gaps[i], -i))
    if gaps[widest] <= _EPS:
        return msgspec.structs.replace(mutant, fate="not distinguishable on your rollouts")
    cases = [*((c.name, a) for c, a in golden), *((s.name, s.arguments) for s in rollouts)]
    name, arguments = cases[widest]
    old = today[widest].score
    tells = Tells(
        name=name,
        grader=old,
        mutant=grades[widest].score,
        golden=widest < len(golden),
        line="" if old is None else golden_line(form, arguments, old, name),
    )
    return msgspec.structs.replace(mutant, fate="survived", tells=tells)


def _gap(old: Grade, new: Grade) -> float:
    if old.score is None or new.score is None:
        return 0.0 if old.score is new.score else 1.0
    return abs(old.score - new.score)


def _report(
    golden: Sequence[tuple[Golden, Item]],
    rollouts: Sequence[Seen],
    made: int,
    tested: Sequence[Mutant],
    unmet: Sequence[Unmet],
) -> MutationTest:
    fates = [m.fate for m in tested]
    caught, survived = fates.count("caught"), fates.count("survived")
    low, high = clopper_pearson(caught, caught + survived)
    lines = {m.tells.name: m.tells.line for m in tested if m.tells is not None and m.tells.line}
    verdict, reason = _verdict(len(golden), caught, survived, unmet)
    return MutationTest(
        golden=len(golden),
        rollouts=len(rollouts),
        made=made,
        tried=len(tested),
        caught=caught,
        survived=survived,
        alike=fates.count("not distinguishable on your rollouts"),
        broken=fates.count("does not run"),
        share=caught / (caught + survived) if caught + survived else None,
        low=low,
        high=high,
        mutants=tuple(tested),
        unmet=tuple(unmet),
        add=tuple(lines.values()),
        verdict=verdict,
        reason=reason,
    )


def _verdict(golden: int, caught: int, survived: int, unmet: Sequence[Unmet]) -> tuple[Verdict, str]:
    if unmet:
        first = unmet[0]
        got = first.error if first.score is None else f"{first.score:g}"
        return "fail", (
            f"{len(unmet)} of {golden} golden cases are not met by the grader itself; line {first.line} "
            f"({first.name}) expects {first.expects}, got {got}"
        )
    said = f"{golden} golden cases catch {caught} of {caught + survived} mutants"
    if not golden:
        return "not applicable", "there are no golden cases"
    if not caught + survived:
        return "not applicable", "no mutant of the grader can be told from it"
    return ("pass" if caught >= ENOUGH * (caught + survived) else "warn"), said
