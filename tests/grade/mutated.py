"""What the tests of mutants share: the clean ones of the forty, their arguments, grading in process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forty.manifest import SPECIMENS, WORLDS, Specimen

from strop.errors import ConfigError
from strop.grade.audit.golden import Item
from strop.grade.extract import judged_text, view_of_rollout
from strop.grade.load import load_grader
from strop.grade.openai.execute import evaluate
from strop.grade.openai.python import run_in_process
from strop.grade.openai.schema import parse_grader
from strop.records import Grade

CLEAN = [s for s in SPECIMENS if not s.flawed]


def score_with(form: str) -> Any:
    """Grade in this process; a source that does not load is the sandbox's ConfigError."""

    def score(source: str, items: Sequence[Item]) -> list[Grade]:
        module: dict[str, Any] = {"__name__": "grader"}
        if form == "openai":
            parsed = parse_grader(json.loads(source))

            def run(first: Any, second: Any) -> float:
                outcome = evaluate(parsed, first, second, run_python=run_in_process)
                if outcome.score is None:
                    raise ValueError(outcome.error)
                return outcome.score
        else:
            try:
                exec(source, module)
            except Exception as error:
                raise ConfigError(str(error)) from error
            function = module["rubric" if form == "rubric" else "grade"]

            def run(first: Any, second: Any) -> float:
                result = function(first, second)
                return float(result.score if form == "rubric" else result)

        grades: list[Grade] = []
        for first, second in items:
            try:
                value = run(first, second)
                grades.append(Grade(score=value) if 0 <= value <= 1 else Grade(error=f"{value} is no score"))
            except Exception as error:
                grades.append(Grade(error=f"raised {type(error).__name__}: {error}"))
        return grades

    return score


def items_of(specimen: Specimen, tasks: int) -> list[Item]:
    world, form = WORLDS[specimen.world], load_grader(specimen.file).form
    items: list[Item] = []
    for task, rollouts in world.cases[:tasks]:
        for rollout in rollouts:
            view = view_of_rollout(task, rollout, world.extract)
            verdicts = {
                name: (text := judged_text(view, world.judge_fields[name])) is not None
                and judge(view.inquiry, text)
                for name, judge in world.judges.items()
            }
            items.append(view.arguments(form, dict(task.ground_truth or {}), verdicts))
    return items
