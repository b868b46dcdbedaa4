"""The user's golden cases against broken versions of the grader: would they notice?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from strop.config import Config
from strop.errors import InputError
from strop.grade.audit.cases import Case
from strop.grade.audit.checks import Check
from strop.grade.audit.golden import Golden, Item, parse_golden
from strop.grade.audit.mutants import Seen, mutation_test
from strop.grade.extract import view_of_rollout
from strop.grade.sandbox import Limits, Sandbox
from strop.grade.scorer import Scorer
from strop.records import Grade

_BESIDE = 40  # recorded attempts that tell mutants apart where golden cases don't


def golden(
    config: Config, document: dict[str, Any], cases: Sequence[Case], scorer: Scorer, *, unsafe: bool
) -> list[Check]:
    """Break the grader in many small ways and see whether some golden case fails each time."""
    if config.audit.golden is None:
        return [_check("not applicable", "there are no golden cases", "write some: audit.golden")]
    if scorer.asks_models:
        return [
            _check("not applicable", "the grader asks models: its broken versions would ask them too", "")
        ]
    path = config.path(config.audit.golden)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the golden cases can't be read: {error}", where=str(path)) from error
    found = mutation_test(
        scorer.grader.source,
        _with_arguments(config, parse_golden(text, str(path)), scorer),
        _seen(config, cases, scorer),
        _source_scorer(config, scorer, unsafe=unsafe),
        form=scorer.grader.form,
    )
    document["mutation"] = msgspec.to_builtins(found)
    bad = found.verdict in ("warn", "fail")
    remedy = f"add the golden cases that the document names ({len(found.add)})" if bad and found.add else ""
    return [_check(found.verdict, found.reason, remedy)]


def _source_scorer(config: Config, scorer: Scorer, *, unsafe: bool) -> Any:
    g = config.grade
    limits = Limits(timeout_s=g.timeout_s, cpu_s=g.cpu_s, memory_mb=g.memory_mb, workers=1)

    def score(source: str, items: Sequence[Item]) -> list[Grade]:
        mutant = msgspec.structs.replace(scorer.grader, source=source, weights={}, gates={})
        with Sandbox(mutant, limits, unsafe=unsafe) as sandbox:
            return sandbox.run(list(items))

    return score


def _with_arguments(config: Config, cases: Sequence[Golden], scorer: Scorer) -> list[tuple[Golden, Item]]:
    """Return the cases with what the grader gets; judges are asked only where a case gives no verdicts."""
    fields, form = config.grade.extract, scorer.grader.form
    found: list[tuple[Golden, Item]] = []
    for case in cases:
        seen = case.view(fields)
        verdicts: dict[str, float] = {}
        if seen is not None and case.verdicts is None and config.judges:
            (answer,) = scorer.judges.verdicts([seen])
            if isinstance(answer, str):
                raise InputError(
                    f"golden case {case.name!r} has no verdict: {answer}",
                    where=f"line {case.line}",
                    fix='give the verdicts in the case: "llm_judge": {...}',
                )
            verdicts = {name: float(value) for name, value in answer.items()}
        found.append((case, case.arguments(form, fields, verdicts)))
    return found


def _seen(config: Config, cases: Sequence[Case], scorer: Scorer) -> list[Seen]:
    chosen = [(case.task, case.rollouts[0]) for case in cases if case.rollouts][:_BESIDE]
    views = [view_of_rollout(task, rollout, config.grade.extract) for task, rollout in chosen]
    seen: list[Seen] = []
    for (task, _), view, verdicts in zip(chosen, views, scorer.judges.verdicts(views), strict=True):
        if task.ground_truth is not None and not isinstance(verdicts, str):
            first, second, *_ = scorer.arguments(view, task.ground_truth, verdicts)
            seen.append(Seen(task.task_id[:16], (first, second)))
    return seen


def _check(verdict: Any, what: str, remedy: str) -> Check:
    return Check(part="mutation", id="M1", name="mutants", verdict=verdict, what=what, remedy=remedy)
