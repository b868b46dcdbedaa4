"""The grader beside people, beside a second grader, and its judges beside people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from strop.config import Config
from strop.environments import reference_of, task_of
from strop.errors import ConfigError
from strop.grade.audit.agreement import Judged, Labelled, Verdict, judge_fit, with_held_out, with_people
from strop.grade.audit.cases import Case
from strop.grade.audit.checks import Check
from strop.grade.audit.preview import preview
from strop.grade.extract import view_of_rollout
from strop.grade.scorer import Scorer
from strop.loop.audit.cases import SEEN
from strop.records import Curated, Grade, digest
from strop.store import Database
from strop.store.curated import load_curated

_DRAWS = 4  # attempts a prompt, from which on the preview says something


def people(config: Config, db: Database, document: dict[str, Any], scorer: Scorer) -> list[Check]:
    """Compare grader and judges with the scores that people gave on the platform."""
    seen = [c for c in load_curated(db, SEEN) if c.trace.episodes]
    return [*_people(config, document, seen, scorer), *_judges(config, document, seen, scorer)]


def _people(config: Config, document: dict[str, Any], seen: Sequence[Curated], scorer: Scorer) -> list[Check]:
    names = sorted({s.name for c in seen for s in c.trace.scores if s.source in ("human", "end_user")})
    name = config.audit.human or (names[0] if len(names) == 1 else None)
    if name is None:
        many = f"several scores by people: {', '.join(names)}" if names else "no trace has a person's score"
        fix = "name one in audit.human" if names else ""
        return [_not("A1", "people", many, fix)]
    rows = list(_labelled(seen, name, scorer))
    if not rows:
        return [_not("A1", "people", f"no labelled trace has the score {name!r}", "see audit.human")]
    found = with_people(rows)
    document["people"] = {"score": name, **msgspec.to_builtins(found)}
    # A score that nobody named may mean anything: a thumb is often about the delay, not about the answer.
    verdict = "warn" if found.verdict == "fail" and config.audit.human is None else found.verdict
    remedy = "read the answers on which they differ: what do people see that it does not?"
    checks = [_check("A1", f"people ({name})", verdict, found.reason, remedy)]
    if found.contradictions:
        differ, twice = len(found.contradictions), found.twice_labelled
        said = f"people contradict each other on {differ} of {twice} answers that were labelled twice"
        checks.append(
            _check("A2", "contradictions", "warn", said, "no grader can agree with both: settle them")
        )
    return checks


def held_out(
    config: Config,
    db: Database,
    document: dict[str, Any],
    groups: Sequence[Case],
    grades: Sequence[Sequence[Grade]],
    *,
    unsafe: bool,
) -> list[Check]:
    """Compare the grader with the one that is never the reward, within prompts."""
    if config.audit.held_out is None:
        fix = "audit.held_out: a second grader, written by someone else or from other fields"
        return [_not("A3", "held-out grader", "there is none", fix)]
    other = config.model_copy(
        update={"grade": config.grade.model_copy(update={"file": config.audit.held_out})}
    )
    with Scorer(other, db, unsafe=unsafe) as scorer:
        second = scorer.score([(case.task, rollout) for case in groups for rollout in case.rollouts])
    first = [grade.score for row in grades for grade in row]
    prompts = [f"{i}" for i, case in enumerate(groups) for _ in case.rollouts]
    customers = [case.task.customer for case in groups for _ in case.rollouts]
    found = with_held_out(first, [g.score for g in second], prompts, clusters=customers)
    document["held_out"] = {"file": config.audit.held_out, **msgspec.to_builtins(found)}
    remedy = "they mean different things by good: find out which is right before training on one"
    checks = [_check("A3", "held-out grader", found.verdict, found.reason, remedy)]
    return checks + _foreseen(document, groups, grades, [g.score for g in second])


def _foreseen(
    document: dict[str, Any],
    groups: Sequence[Case],
    grades: Sequence[Sequence[Grade]],
    second: Sequence[float | None],
) -> list[Check]:
    """Say whether optimising against the grader would lower the held-out score (best of N draws)."""
    width = max((len(row) for row in grades), default=0)
    if width < _DRAWS:
        return []
    proxy, gold = np.full((len(grades), width), np.nan), np.full((len(grades), width), np.nan)
    beside = iter(second)
    for p, row in enumerate(grades):
        for n, grade in enumerate(row):
            other = next(beside)
            proxy[p, n] = math.nan if grade.score is None else grade.score
            gold[p, n] = math.nan if other is None else other
    try:
        found = preview(proxy, gold, clusters=[case.task.customer for case in groups])
    except ValueError:
        return []
    document["preview"] = msgspec.to_builtins(found)
    verdicts: dict[str, Verdict] = {"fails": "fail", "warns": "warn", "passes": "pass"}
    remedy = "the more it is optimised, the worse the held-out score: close what it overpays first"
    return [_check("A4", "over-optimisation", verdicts[found.verdict], found.reason, remedy)]


def _labelled(seen: Sequence[Curated], name: str, scorer: Scorer) -> Iterator[Labelled]:
    rows: list[tuple[Curated, float]] = []
    for curated in seen:
        if curated.ground_truth is None:
            continue
        for score in curated.trace.scores:
            value = _number(score.value)
            if score.name == name and value is not None:
                rows.append((curated, value))
    grades = dict(scorer.grade_curated(curated for curated, _ in rows))
    for curated, value in rows:
        episode = curated.trace.episodes[0]
        yield Labelled(
            prompt=digest(episode.prompt()),
            answer=digest(episode.messages),
            label=value,
            score=grades[curated.trace_hash].score,
            cluster=curated.trace.customer or curated.trace_hash,
        )


def _judges(config: Config, document: dict[str, Any], seen: Sequence[Curated], scorer: Scorer) -> list[Check]:
    """Refuse a judge as a reward that agrees too little with the labels named for it."""
    checks: list[Check] = []
    document["judges"] = {}
    for i, (judge, name) in enumerate(sorted(config.audit.judge_labels.items()), 1):
        if judge not in config.judges:
            raise ConfigError(
                f"audit.judge_labels names the judge {judge!r}, which is not in [judges]",
                fix=f"one of: {', '.join(config.judges) or 'none'}",
            )
        rows: list[Judged] = []
        labelled = [(c, v) for c in seen for s in c.trace.scores
                    if s.name == name and (v := _number(s.value)) is not None]  # fmt: skip
        tasks = [(task_of(c), reference_of(c)) for c, _ in labelled]
        views = [view_of_rollout(t, r, config.grade.extract) for t, r in tasks if t is not None]
        kept = [pair for pair, (task, _) in zip(labelled, tasks, strict=True) if task is not None]
        for verdict, (curated, value) in zip(scorer.judges.verdicts(views), kept, strict=True):
            said = None if isinstance(verdict, str) else verdict[judge]
            customer = curated.trace.customer or curated.trace_hash
            rows.append(
                Judged(
                    judge=judge, answer=None if said is None else said >= 0.5, reference=value >= 0.5,
                    cluster=customer,
                )
            )  # fmt: skip
        found = judge_fit(rows, (True, False))
        document["judges"][judge] = msgspec.to_builtins(found)
        remedy = "rewrite its rubric, or grade this with a rule: a poor judge as a reward trains on noise"
        checks.append(_check(f"AJ{i}", f"judge {judge}", found.verdict, found.reason, remedy))
    return checks


def _number(value: float | bool | str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _check(id: str, name: str, verdict: Verdict, what: str, remedy: str) -> Check:
    bad = verdict in ("warn", "fail")
    return Check(part="agreement", id=id, name=name, verdict=verdict, what=what, remedy=remedy if bad else "")


def _not(id: str, name: str, what: str, remedy: str) -> Check:
    return Check(part="agreement", id=id, name=name, verdict="not applicable", what=what, remedy=remedy)
