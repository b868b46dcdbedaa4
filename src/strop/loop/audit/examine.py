"""The grader's examination: honest attempts in, one document with a verdict out.

The document holds nothing that differs between two runs on the same inputs: no times, no costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from strop.config import Config
from strop.errors import NotEnoughData
from strop.grade.audit.aliasing import aliasing
from strop.grade.audit.attempts import Table, tabulate
from strop.grade.audit.cases import Case, mine
from strop.grade.audit.checks import (
    Check,
    of_distribution,
    of_exploits,
    of_reach,
    of_spread,
    of_tools,
    of_weights,
    overall,
)
from strop.grade.audit.exploits import examine_mined
from strop.grade.audit.hints import hint
from strop.grade.audit.shape import shape
from strop.grade.audit.stability import rank_stability
from strop.grade.audit.tools import tool_incentives
from strop.grade.audit.weights import correlations, effective_weights, outcome_reach
from strop.grade.load import GraderSource
from strop.grade.scorer import Scorer
from strop.loop.audit.agreement import held_out, people
from strop.loop.audit.cases import practice, recorded_cases, some
from strop.loop.audit.golden import golden
from strop.loop.audit.history import past
from strop.loop.audit.judges import judges
from strop.records import Grade, JsonObject
from strop.store import Database

Progress = Callable[[str], None]
_FEW = 20  # prompts with several attempts, under which differences within prompts say nothing
_FIRST = 3  # prompts that show whether the grader works at all


def audit(
    config: Config,
    db: Database,
    *,
    cases: Sequence[Case] | None = None,
    allow_binary: str | None = None,
    ask_judges: int = 0,
    unsafe: bool = False,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Examine the project's grader and return the document; its verdict is "pass", "warn" or "fail".

    cases: honest attempts, default the teacher's recorded episodes outside the test split. allow_binary: the
    reason to accept scores that are all 0 or 1. ask_judges: ask each judge about so many attempts again and
    changed: paid calls, each once. Raises NotEnoughData without a labelled attempt.
    """
    say = on_progress or _silent
    given = tuple(recorded_cases(db) if cases is None else cases)
    given = some(given, config.audit.prompts)
    if not given:
        raise NotEnoughData("there are no labelled attempts to examine the grader with", fix="strop curate")
    with Scorer(config, db, unsafe=unsafe) as scorer:
        if not any(grade.score is not None for row in _graded(scorer, given[:_FIRST]) for grade in row):
            given = given[:_FIRST]  # a grader that hangs on each attempt must not hang on all of them
        say(f"grading the honest attempts at {len(given)} prompts")
        grades = _graded(scorer, given)
        honest = tabulate(grades, scorer.weights, scorer.grader.gates)
        own, own_grades = given, grades
        groups, source = honest, "the honest attempts"
        if honest.repeated < _FEW and cases is None and (practised := practice(config, db)):
            say(f"grading {len(practised)} groups of rollouts of the last training")
            own, own_grades = tuple(practised), _graded(scorer, practised)
            groups = tabulate(own_grades, scorer.weights, scorer.grader.gates)
            source = "the last training's rollouts"
        document: dict[str, Any] = {
            "grader": _about(scorer.grader),
            "prompts": len(given),
            "attempts": sum(len(case.rollouts) for case in given),
            "groups": {"of": source if groups.repeated >= _FEW else None, "prompts": groups.repeated},
        }
        checks = _distribution(config, document, honest, groups, allow_binary)
        if honest.graded:
            checks += _weights(config, document, groups)
            say("probing it with attempts that must not pay")
            checks += _probes(config, document, given, grades, scorer)
            say("asking what people, a second grader and golden cases say")
            if cases is None:
                checks += people(config, db, document, scorer)
            checks += held_out(config, db, document, own, own_grades, unsafe=unsafe)
            if ask_judges:
                checks += judges(config, document, given[:ask_judges], own, scorer)
            checks += golden(config, document, given, scorer, unsafe=unsafe)
        if cases is None:
            checks += past(config, db, document, scorer)
        document["checks"] = [_with_hint(check, scorer.grader) for check in checks]
        document["verdict"] = overall(checks)
    return _finite(document)


def _finite(value: Any) -> Any:
    """Return the document without infinities and NaN, which are no JSON: an open bound becomes null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _silent(_text: str) -> None:
    return


def _graded(scorer: Scorer, cases: Sequence[Case]) -> list[list[Grade]]:
    grades = iter(scorer.score([(case.task, rollout) for case in cases for rollout in case.rollouts]))
    return [[next(grades) for _ in case.rollouts] for case in cases]


def _about(grader: GraderSource) -> JsonObject:
    return {
        "file": grader.path.name,
        "hash": grader.hash,
        "form": grader.form,
        "weights": grader.weights,
        "gates": grader.gates,
    }


def _distribution(
    config: Config, document: dict[str, Any], honest: Table, groups: Table, allow_binary: str | None
) -> list[Check]:
    size = config.train.grpo_group
    found = shape(honest.scores_P_G, group_size=size)
    spread = found if groups is honest else shape(groups.scores_P_G, group_size=size)
    document["distribution"] = msgspec.to_builtins(found)
    document["spread"] = msgspec.to_builtins(spread)
    budget = config.grade.failure_budget
    checks = of_distribution(found, document["attempts"], allow_binary=allow_binary, budget=budget)
    return [*checks, *of_spread(spread, enough=groups.repeated >= _FEW)]


def _weights(config: Config, document: dict[str, Any], table: Table) -> list[Check]:
    if len(table.names) < 2:
        document["weights"] = None
        return [
            Check(
                part="weights", id="W0", name="weights", verdict="not applicable",
                what="the grader declares no weighted components",
                remedy="return a weighted sum of named components, or a Rubric: then each can be examined",
            )
        ]  # fmt: skip
    pooled = table.repeated < _FEW
    seen = table.pooled() if pooled else table
    components, weights, names = seen.components_P_G_K, seen.weights_K, seen.names
    effective = effective_weights(components, weights, names=names)
    pairs = correlations(components, names=names)
    alias = aliasing(components, weights)
    stable = rank_stability(components, weights)
    heaviest = names[max(range(len(names)), key=lambda k: abs(float(weights[k])))]
    outcome = config.audit.outcome if config.audit.outcome in names else heaviest
    reach = outcome_reach(components, weights, names.index(outcome))
    found = {
        "effective": effective, "correlations": pairs, "aliasing": alias, "stability": stable, "reach": reach,
    }  # fmt: skip
    document["weights"] = {**{k: msgspec.to_builtins(v) for k, v in found.items()}, "outcome": outcome}
    checks = of_weights(effective, pairs, alias, stable, pooled=pooled, unexplained=seen.unexplained())
    return [*checks, of_reach(reach, outcome, named=config.audit.outcome == outcome)]


def _probes(
    config: Config,
    document: dict[str, Any],
    cases: Sequence[Case],
    grades: Sequence[Sequence[Grade]],
    scorer: Scorer,
) -> list[Check]:
    a = config.audit
    writes = None if a.writes is None else frozenset(a.writes)
    mined = mine(cases, scorer.score, writes=writes, limit=a.cases)
    examination = examine_mined(mined, len(cases), scorer.score)
    tools = tool_incentives(cases, grades, mined, scorer.score)
    document["exploits"] = msgspec.to_builtins(examination)
    document["tools"] = msgspec.to_builtins(tools)
    return [*of_exploits(examination, scorer.weights), *of_tools(tools)]


def _with_hint(check: Check, grader: GraderSource) -> JsonObject:
    row: JsonObject = msgspec.to_builtins(check)
    asked = check.remedy and check.part in ("exploits", "weights")
    found = hint(grader, check.component) if asked else None
    row["hint"] = None if found is None else msgspec.to_builtins(found)
    return row
