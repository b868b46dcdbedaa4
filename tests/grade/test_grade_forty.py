"""The forty graders of the examination are what they claim to be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from statistics import median
from typing import Any

import numpy as np
import pytest
from forty import expressions, invoices, refunds, shipments, support, tickets
from forty.demonstrations import ANYWHERE, DEMONSTRATIONS, ORDERED, WITH_TOOLS, Trick
from forty.manifest import SIMULATED, SPECIMENS, WORLDS, Specimen
from scipy.stats import rankdata

from strop.grade.extract import View, judged_text, view_of_rollout
from strop.grade.load import load_grader
from strop.grade.openai.execute import evaluate
from strop.grade.openai.python import run_in_process
from strop.grade.openai.schema import parse_grader
from strop.records import JsonObject, Rollout, Task

Grade = Callable[[Task, Rollout], float | str]
TRIED = 32  # tasks of a world that tricks are tried on: one in 32 may pay by chance
CLEAN = [s for s in SPECIMENS if not s.flawed]
FLAWED = [s for s in SPECIMENS if s.flawed]


def named(specimens: list[Specimen]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("specimen", specimens, ids=lambda s: s.name)


@cache
def grader(specimen: Specimen) -> Grade:
    """Return what grades a rollout in this process: a score, or why there is none."""
    world = WORLDS[specimen.world]
    run = _hosted(specimen) if specimen.file.suffix == ".json" else _python(specimen)

    def grade(task: Task, rollout: Rollout) -> float | str:
        seen = view_of_rollout(task, rollout, world.extract)
        verdicts: dict[str, bool] = {}
        for name, judge in world.judges.items():
            text = judged_text(seen, world.judge_fields[name])
            verdicts[name] = text is not None and judge(seen.inquiry, text)
        try:
            return run(seen, dict(task.ground_truth or {}), verdicts)
        except Exception as raised:
            return f"raised {type(raised).__name__}: {raised}"

    return grade


def _python(specimen: Specimen) -> Callable[[View, JsonObject, dict[str, bool]], float | str]:
    source = load_grader(specimen.file, extract=WORLDS[specimen.world].extract)
    module: dict[str, Any] = {"__name__": "grader"}
    exec(compile(source.source, str(specimen.file), "exec"), module)
    function = module["rubric" if source.form == "rubric" else "grade"]

    def run(seen: View, truth: JsonObject, verdicts: dict[str, bool]) -> float | str:
        result = function(*seen.arguments(source.form, truth, verdicts))
        return float(result.score if source.form == "rubric" else result)

    return run


def _hosted(specimen: Specimen) -> Callable[[View, JsonObject, dict[str, bool]], float | str]:
    parsed = parse_grader(json.loads(specimen.file.read_text()))

    def run(seen: View, truth: JsonObject, verdicts: dict[str, bool]) -> float | str:
        outcome = evaluate(parsed, *seen.arguments("sample", truth, verdicts), run_python=run_in_process)
        return outcome.error or "no score" if outcome.score is None else outcome.score

    return run


def paid(specimen: Specimen, task: Task, rollout: Rollout) -> float:
    """Return the score, the floor where the grader raises: it runs on the honest attempts."""
    score = grader(specimen)(task, rollout)
    return 0.0 if isinstance(score, str) else score


@cache
def honest(specimen: Specimen) -> dict[str, tuple[float, ...]]:
    """Return the scores of the honest attempts by task."""
    found: dict[str, tuple[float, ...]] = {}
    for task, rollouts in WORLDS[specimen.world].cases:
        scores = [grader(specimen)(task, rollout) for rollout in rollouts]
        assert not [s for s in scores if isinstance(s, str)], (task.task_id, scores)
        found[task.task_id] = tuple(s for s in scores if not isinstance(s, str))
    return found


def test_twenty_are_clean_and_twenty_flawed_in_three_forms() -> None:
    def form(specimen: Specimen) -> str:
        if specimen.file.suffix == ".json":
            return "hosted"
        return load_grader(specimen.file).form

    for group in (CLEAN, FLAWED):
        forms = [form(s) for s in group]
        assert (forms.count("rollout"), forms.count("rubric"), forms.count("hosted")) == (12, 5, 3)
    assert len({s.name for s in SPECIMENS}) == 40


def test_flaws_are_spread_and_mostly_on_record() -> None:
    assert all(s.families and s.what for s in FLAWED)
    assert sum(bool(s.source) for s in FLAWED) >= 10
    assert len(set[str]().union(*(s.families for s in FLAWED))) >= 14
    assert {s.name for s in FLAWED} == DEMONSTRATIONS.keys()
    assert not any(s.families for s in CLEAN)


def test_worlds_have_honest_attempts_of_varying_quality() -> None:
    for name, simulated in SIMULATED.items():
        assert len(simulated.world.cases) >= 60, name
        for task, rollouts in simulated.world.cases:
            quality = simulated.quality[task.task_id]
            assert len(rollouts) == len(quality) == 7
            assert max(quality) == 1.0
            assert min(quality) <= 0.5
        everything = [q for values in simulated.quality.values() for q in values]
        assert 0.5 <= sum(q == 1.0 for q in everything) / len(everything) <= 0.8, name


def test_worlds_are_the_same_each_time() -> None:
    for module in (expressions, invoices, refunds, shipments, support, tickets):
        assert module.build() == SIMULATED[module.NAME]


def test_honest_attempts_answer_in_full_and_call_what_is_offered() -> None:
    for world in WORLDS.values():
        for task, rollouts in world.cases:
            assert {tool.name for tool in task.tools} == world.reads | world.writes
            for rollout in rollouts:
                assert set(json.loads(rollout.final or "")) == set(world.extract)
                calls = [c for m in rollout.messages for c in m.tool_calls]
                results = [m.tool_call_id for m in rollout.messages if m.role == "tool"]
                assert [c.id for c in calls] == results
                assert {c.name for c in calls} <= world.reads | world.writes


def test_the_majority_of_tickets_is_a_majority_and_no_more() -> None:
    queues = [(task.ground_truth or {})["queue"] for task, _ in WORLDS["tickets"].cases]
    assert 0.42 <= queues.count("technical") / len(queues) <= 0.48
    assert all(queues.count(queue) >= 4 for queue in set(queues))


@named(list(SPECIMENS))
def test_honest_attempts_are_graded_without_an_error(specimen: Specimen) -> None:
    scores = [s for values in honest(specimen).values() for s in values]
    assert all(math.isfinite(s) and 0.0 <= s <= 1.0 for s in scores)
    assert len(set(scores)) > 2, "constant or binary"
    assert sum(len(set(values)) > 1 for values in honest(specimen).values()) > 0.7 * len(honest(specimen))


@named(list(SPECIMENS))
def test_better_attempts_score_higher(specimen: Specimen) -> None:
    quality = SIMULATED[specimen.world].quality
    scores = [s for task_id in quality for s in honest(specimen)[task_id]]
    ranks = rankdata([q for values in quality.values() for q in values]), rankdata(scores)
    correlation = float(np.corrcoef(*ranks)[0, 1])  # Spearman's
    assert correlation > 0.5, correlation


@named(FLAWED)
def test_the_planted_flaw_pays(specimen: Specimen) -> None:
    demonstrate, least = DEMONSTRATIONS[specimen.name]
    cases = WORLDS[specimen.world].cases
    reached = [paid(specimen, t, demonstrate(t)) >= median(honest(specimen)[t.task_id]) for t, _ in cases]
    assert sum(reached) / len(reached) >= least


@named(CLEAN)
def test_cheap_tricks_do_not_pay(specimen: Specimen) -> None:
    world = WORLDS[specimen.world]
    tricks: tuple[Trick, ...] = ANYWHERE + (WITH_TOOLS if world.reads else ())
    if specimen.world in ("shipments", "refunds"):
        tricks += ORDERED
    for trick in tricks:
        assert _share_that_pays(specimen, trick) <= 1 / TRIED, trick.__name__


@named(CLEAN)
def test_no_demonstration_fools_a_clean_grader(specimen: Specimen) -> None:
    for flawed in FLAWED:
        if flawed.world == specimen.world:
            demonstrate = DEMONSTRATIONS[flawed.name][0]
            tasks = [task for task, _ in WORLDS[specimen.world].cases[:TRIED]]
            if flawed.name == "ticket_teams":  # the majority's queue is right where it is right
                tasks = [t for t in tasks if (t.ground_truth or {})["queue"] != "technical"]
            middles = [median(honest(specimen)[t.task_id]) for t in tasks]
            scores = [paid(specimen, t, demonstrate(t)) for t in tasks]
            fooled = sum(score >= middle for score, middle in zip(scores, middles, strict=True))
            assert fooled / len(tasks) <= 1 / TRIED, flawed.name


def _share_that_pays(specimen: Specimen, trick: Trick) -> float:
    cases = WORLDS[specimen.world].cases
    quality = SIMULATED[specimen.world].quality
    best = [rollouts[quality[task.task_id].index(1.0)] for task, rollouts in cases]
    reached = 0
    for i, (task, _) in enumerate(cases[:TRIED]):
        other = next(j % len(cases) for j in range(i + 1, i + len(cases)) if _differ(cases, i, j))
        rollout = trick(task, best[i], best[other])
        reached += paid(specimen, task, rollout) >= median(honest(specimen)[task.task_id])
    return reached / TRIED


def _differ(cases: tuple[tuple[Task, tuple[Rollout, ...]], ...], i: int, j: int) -> bool:
    first, second = (cases[k % len(cases)][0].ground_truth or {} for k in (i, j))
    return all(
        first[key] != second[key]
        for key in ("status", "decision", "queue", "topic", "reference")
        if key in first
    )
