"""Compare the arms on the same tasks: every number with its n and its uncertainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from strop.config import Config
from strop.promote.behaviour import latency, miss_rate, ordered_tools, tokens, tool_order, tool_rates
from strop.records import Grade, JsonObject, Rollout, Task
from strop.stats.cluster import Estimate, cluster_mean

Facets = Mapping[str, Mapping[str, str]]


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's attempts: tasks, rollouts and grades run in parallel.

    note: what a reader must know of this arm ("recorded episodes, no paid call").
    """

    name: str
    tasks: Sequence[Task]
    rollouts: Sequence[Rollout]
    grades: Sequence[Grade]
    note: str = ""

    def __post_init__(self) -> None:
        if not len(self.tasks) == len(self.rollouts) == len(self.grades):
            raise ValueError(f"arm {self.name}: tasks, rollouts and grades differ in number")


def compare(
    arms: Sequence[Arm],
    config: Config,
    *,
    label: str | None = None,
    facets: Facets | None = None,
    weights: Mapping[str, float] | None = None,
    against: Sequence[str] = ("teacher", "sft", "champion"),
    of: str = "candidate",
) -> JsonObject:
    """Return the comparison as one JSON document.

    label: key of ground_truth whose values are the classes. facets: more groupings of the tasks, as
    {facet: {task_id: value}}. weights: the grader's component weights, kept for cost and gate.
    Differences `of` - other are paired by task and clustered by customer; a task that either arm
    has no score for is excluded from that pair and counted.
    """
    by_name = {arm.name: arm for arm in arms}
    teacher = by_name.get("teacher")
    expected = tool_order(teacher.rollouts, teacher.grades) if teacher else ()
    groupings = dict(facets or {})
    if label is not None:
        groupings = {"class": _classes(arms, label), **groupings}
    paired = {
        f"{of}-{name}": difference(by_name[of], by_name[name])
        for name in against
        if of in by_name and name in by_name
    }
    return {
        "arms": {arm.name: _arm(arm, groupings, expected) for arm in arms},
        "paired": paired,
        "tasks": len({t.task_id for arm in arms for t in arm.tasks}),
        "weights": dict(weights or {}),
        "limits": {
            "failure_budget": config.grade.failure_budget,
            "max_misses": config.environment.max_misses,
            "max_miss_gap": config.environment.max_miss_gap,
        },
    }


def difference(first: Arm, second: Arm) -> JsonObject:
    """Return first - second over the tasks that both have a score for: score and components.

    `favoured` is the score once more with each call that no record answers settled in favour of
    `first`: its own such rollouts at full marks, the other's at none.
    """
    second_by_task = {t.task_id: g for t, g in zip(second.tasks, second.grades, strict=True)}
    pairs = [
        (task, grade, second_by_task[task.task_id])
        for task, grade in zip(first.tasks, first.grades, strict=True)
        if task.task_id in second_by_task
    ]
    first_missed, second_missed = _missed(first), _missed(second)
    scored = [(t, a, b) for t, a, b in pairs if a.score is not None and b.score is not None]
    names = sorted({name for _, *grades in scored for g in grades for name in g.components})
    unpaired = {t.task_id for t in first.tasks} ^ set(second_by_task)
    return {
        "pairs": len(scored),
        "excluded": len(pairs) - len(scored),
        "unpaired": len(unpaired),
        "errors": {
            first.name: sum(a.score is None for _, a, _ in pairs),
            second.name: sum(b.score is None for _, _, b in pairs),
        },
        "score": _difference([(t, a.score or 0.0, b.score or 0.0) for t, a, b in scored]),
        "favoured": _difference(
            [
                (
                    t,
                    max(a.score or 0.0, 1.0 if t.task_id in first_missed else 0.0),
                    min(b.score or 0.0, 0.0 if t.task_id in second_missed else 1.0),
                )
                for t, a, b in scored
            ]
        ),
        "components": {name: _difference(_both(scored, name)) for name in names},
    }


def _missed(arm: Arm) -> set[str]:
    return {t.task_id for t, r in zip(arm.tasks, arm.rollouts, strict=True) if r.misses}


def _both(scored: Sequence[tuple[Task, Grade, Grade]], name: str) -> list[tuple[Task, float, float]]:
    rows = [(t, component(a, name), component(b, name)) for t, a, b in scored]
    return [(t, a, b) for t, a, b in rows if a is not None and b is not None]


def component(grade: Grade, name: str) -> float | None:
    """Return a component; 0 where the grade is the floor, None where the grader gave none.

    A model must not gain by breaking its grader, so a floored grade is 0 in every component.
    """
    return 0.0 if grade.floored else grade.components.get(name)


def _difference(rows: Sequence[tuple[Task, float, float]]) -> JsonObject | None:
    if not rows:
        return None
    reach = max(1.0, *(abs(x) for _, a, b in rows for x in (a, b)))
    values = [a - b for _, a, b in rows]
    return as_json(cluster_mean(values, [t.customer for t, _, _ in rows], bounds=(-reach, reach)))


def as_json(estimate: Estimate) -> JsonObject:
    """Return an estimate as JSON, with the interval once more as `ci95`."""
    row = msgspec.to_builtins(estimate)
    return {**row, "bounds": list(estimate.bounds), "ci95": [estimate.low, estimate.high]}


def _arm(arm: Arm, groupings: Facets, expected: Sequence[str]) -> JsonObject:
    rows = list(zip(arm.tasks, arm.rollouts, arm.grades, strict=True))
    scored = [(t, g) for t, _, g in rows if g.score is not None]
    errors = Counter(g.error for g in arm.grades if g.error is not None)
    order = [ordered_tools(r)[: len(expected)] == tuple(expected) for r in arm.rollouts] if expected else []
    customers = [t.customer for t in arm.tasks]
    return {
        **summary(scored),
        "note": arm.note,
        "errors": sum(errors.values()),
        "error_reasons": dict(errors.most_common(3)),
        "floored": sum(g.floored for g in arm.grades),
        "forged": sum(g.forged for g in arm.grades),
        "seen_customers": summary([(t, g) for t, g in scored if t.split != "unseen"]),
        "unseen_customers": summary([(t, g) for t, g in scored if t.split == "unseen"]),
        "customers": _groups(scored, lambda t: t.customer),
        "by": {facet: _groups(scored, _lookup(values)) for facet, values in groupings.items()},
        "histogram": _histogram([g.score for _, g in scored if g.score is not None]),
        "latency": latency(arm.rollouts),
        "tokens": tokens(arm.rollouts),
        "misses": miss_rate(arm.rollouts),
        "problems": dict(Counter(r.problem for r in arm.rollouts if r.problem is not None)),
        "tools": tool_rates(arm.rollouts),
        "tool_order": {
            "expected": list(expected),
            "right": as_json(cluster_mean([float(x) for x in order], customers)) if order else None,
        },
    }


def summary(graded: Sequence[tuple[Task, Grade]]) -> JsonObject:
    """Return mean, interval, n, customers and components over the tasks that have a score."""
    scored = [(t, g) for t, g in graded if g.score is not None]
    if not scored:
        return {"mean": None, "ci95": None, "n": 0, "clusters": 0, "components": {}}
    estimate = cluster_mean([g.score or 0.0 for _, g in scored], [t.customer for t, _ in scored])
    return {
        "mean": estimate.mean,
        "ci95": [estimate.low, estimate.high],
        "n": estimate.n,
        "clusters": estimate.clusters,
        "effective_clusters": estimate.effective_clusters,
        "note_on_interval": estimate.note,
        "components": _components(scored),
    }


def _components(scored: Sequence[tuple[Task, Grade]]) -> JsonObject:
    out: JsonObject = {}
    for name in sorted({name for _, g in scored for name in g.components}):
        rows = [(t.customer, component(g, name)) for t, g in scored]
        rows = [(customer, value) for customer, value in rows if value is not None]
        values = [value for _, value in rows]
        estimate = cluster_mean(
            values, [c for c, _ in rows], bounds=(min(0.0, *values, 0.0), max(1.0, *values, 1.0))
        )
        out[name] = {"mean": estimate.mean, "ci95": [estimate.low, estimate.high], "n": estimate.n}
    return out


def _groups(scored: Sequence[tuple[Task, Grade]], value_of: Callable[[Task], str | None]) -> list[JsonObject]:
    groups: dict[str, list[tuple[Task, Grade]]] = {}
    for task, grade in scored:
        value = value_of(task)
        if value is not None:
            groups.setdefault(value, []).append((task, grade))
    rows: list[JsonObject] = []
    for name, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        group = summary(members)
        rows.append(
            {
                "name": name,
                "n": group["n"],
                "mean": group["mean"],
                "ci95": group["ci95"],
                "clusters": group["clusters"],
                "components": {part: c["mean"] for part, c in group["components"].items()},
            }
        )
    return rows


def _lookup(values: Mapping[str, str]) -> Callable[[Task], str | None]:
    return lambda task: values.get(task.task_id)


def _classes(arms: Sequence[Arm], label: str) -> dict[str, str]:
    return {
        t.task_id: str(t.ground_truth[label])
        for arm in arms
        for t in arm.tasks
        if t.ground_truth is not None and label in t.ground_truth
    }


def _histogram(scores: Sequence[float]) -> list[int]:
    counts, _ = np.histogram(np.asarray(scores), bins=10, range=(0.0, 1.0))
    return [int(c) for c in counts]
