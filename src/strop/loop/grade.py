"""The loop's third step: the tenant's grader over everything that curation kept."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from strop.config import Config
from strop.errors import AnswerIsNo, NotEnoughData
from strop.grade.distribution import distribution
from strop.grade.scorer import NO_GROUND_TRUTH, Scorer
from strop.records import Curated, Grade
from strop.store import Database
from strop.store.curated import load_curated
from strop.store.graders import remember_grader

# A grader that fails on each of the first traces fails on all: no need to wait for the rest.
_FIRST = 20
_CAUSES = 20


class GraderBroken(AnswerIsNo):
    """The grades can't be used; `result` is what there is of the step's report."""

    def __init__(self, what: str, result: dict[str, Any], *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.result = result


def grade(
    config: Config,
    db: Database,
    *,
    allow_binary: str | None = None,
    unsafe: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Grade all kept traces of all splits and report; stored grades are not computed again.

    allow_binary: the reason to accept scores that are all 0 or 1. on_progress(done, total).
    Raises GraderBroken (exit 1) where labels are missing, failures exceed the budget or the scores
    are constant or binary; NotEnoughData where nothing is curated.
    """
    started = time.monotonic()
    labelled = [c.ground_truth is not None for c in load_curated(db)]
    total = len(labelled)
    if total == 0:
        raise NotEnoughData("there are no curated traces to grade", fix="strop curate")
    _check_labels(config, total, labelled.count(False))
    budget = config.grade.failure_budget * labelled.count(True)
    graded: list[tuple[str, Grade]] = []
    failed = 0
    with Scorer(config, db, unsafe=unsafe) as scorer:
        remember_grader(db, scorer.grader_hash, scorer.grader.source)
        for split, one in _grades(scorer, db, total, on_progress):
            graded.append((split, one))
            failed += one.error is not None and one.error != NO_GROUND_TRUTH
            if failed > budget or failed == len(graded) == _FIRST:
                break
        judges = scorer.judges
        result = {
            **_report(config, graded, total),
            "weights": scorer.weights,
            "grader_hash": scorer.grader_hash,
            "judges": {
                "calls": judges.calls, "cached": judges.cached, "usd": judges.usd, "seconds": judges.seconds,
            },
            "allow_binary": allow_binary,
            "seconds": time.monotonic() - started,
        }  # fmt: skip
    _check_failures(config, result, budget)
    _check_distribution(config, result, allow_binary)
    return result


def _grades(
    scorer: Scorer, db: Database, total: int, on_progress: Callable[[int, int], None] | None
) -> Iterator[tuple[str, Grade]]:
    splits: dict[str, str] = {}

    def remembered() -> Iterator[Curated]:
        for curated in load_curated(db):
            splits[curated.trace_hash] = curated.split
            yield curated

    def step(done: int) -> None:
        if on_progress is not None:
            on_progress(done, total)

    for trace_hash, one in scorer.grade_curated(remembered(), step):
        yield splits.pop(trace_hash), one


def _report(config: Config, graded: list[tuple[str, Grade]], total: int) -> dict[str, Any]:
    scores: list[float] = []
    by_split: dict[str, list[float]] = defaultdict(list)
    components: dict[str, list[float]] = defaultdict(list)
    errors: Counter[str] = Counter()
    for split, one in graded:
        if one.score is None:
            errors[one.error or ""] += 1
            continue
        scores.append(one.score)
        by_split[split].append(one.score)
        for name, value in one.components.items():
            components[name].append(value)
    missing = errors.pop(NO_GROUND_TRUTH, 0)
    shape = distribution(scores, config.train.grpo_group)
    return {
        "total": total,
        "graded": len(scores),
        "failed": errors.total(),
        "errors": dict(errors.most_common(_CAUSES)),
        "missing_labels": missing,
        "forged": sum(one.forged for _, one in graded),
        "mean": shape.mean,
        "distribution": msgspec.to_builtins(shape),
        "components": {name: _mean(values) for name, values in components.items()},
        "splits": {
            split: {"n": len(values), "mean": _mean(values)} for split, values in sorted(by_split.items())
        },
    }


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _check_labels(config: Config, total: int, missing: int) -> None:
    if missing > config.labels.max_missing * total:
        raise GraderBroken(
            f"ground truth is missing for {missing} of {total} traces ({missing / total:.0%}), "
            f"over the limit of {config.labels.max_missing:.0%}",
            {"graded": 0, "missing_labels": missing, "total": total},
            where="[labels] in strop.toml",
            fix="run the query for one of them by hand; labels.max_missing is the limit",
        )


def _check_failures(config: Config, result: dict[str, Any], budget: float) -> None:
    failed, graded = result["failed"], result["graded"]
    if failed <= budget and graded:
        return
    causes = "; ".join(f"{count} x {reason}" for reason, count in list(result["errors"].items())[:3])
    raise GraderBroken(
        f"grading failed on {failed} of the first {failed + graded} traces, over the budget of "
        f"{config.grade.failure_budget:.0%} of all: {causes or 'no trace could be graded'}",
        result,
        where=str(config.path(config.grade.file)),
        fix="correct the grader for these traces, or raise grade.failure_budget",
    )


def _check_distribution(config: Config, result: dict[str, Any], allow_binary: str | None) -> None:
    shape = result["distribution"]
    if shape["broken"] is None or (shape["broken"] == "binary" and allow_binary):
        return
    raise GraderBroken(
        f"the distribution of scores is broken ({shape['broken']}): {shape['remedy']}",
        result,
        where=str(config.path(config.grade.file)),
    )
