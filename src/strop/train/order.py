"""The order of training: which episodes and tasks each step takes, a function of the seed and the weights."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from strop.records import Task

Item = TypeVar("Item")


def pick(
    items: Sequence[Item], count: int, seed: str, step: int, weights: Sequence[float] | None = None
) -> list[Item]:
    """Return the `count` items of a step: shuffled epochs, each a function of the seed alone.

    weights: how often each item comes, relative to the others; None, or all equal: once an epoch.
    """
    picked: list[Item] = []
    at = step * count
    while len(picked) < count:
        epoch, offset = divmod(at + len(picked), len(items))
        order = _epoch(len(items), f"{seed}/{epoch}", weights)
        random.Random(f"{seed}/{epoch}").shuffle(order)
        picked += [items[i] for i in order[offset : offset + count - len(picked)]]
    return picked


def mixed(
    hard: Sequence[Task],
    tasks: Sequence[Task],
    count: int,
    hard_share: float,
    seed: str,
    weights: Mapping[str, float] | None = None,
) -> list[Task]:
    """Draw `count` tasks without repetition, `hard_share` of them from the hard ones as far as they go.

    weights: by task id, how likely a task is drawn, relative to the others; None, or all equal: alike.
    """
    draw = random.Random(seed)
    chosen = _sample(draw, list(hard), min(len(hard), round(hard_share * count)), weights)
    known = {task.task_id for task in chosen}
    others = [task for task in tasks if task.task_id not in known]
    return chosen + _sample(draw, others, min(len(others), count - len(chosen)), weights)


def _epoch(size: int, seed: str, weights: Sequence[float] | None) -> list[int]:
    """Return `size` indices: i stands there weights[i] / mean times, rounded up or down by chance.

    Systematic sampling: one random start, then equal steps along the running sum of the weights.
    """
    if weights is None or len(set(weights)) <= 1:
        return list(range(size))
    step = math.fsum(weights) / size
    place = random.Random(f"{seed}/weights").random() * step
    order: list[int] = []
    i, passed = 0, weights[0]
    for _ in range(size):
        while passed <= place and i < size - 1:
            i += 1
            passed += weights[i]
        order.append(i)
        place += step
    return order


def _sample(
    draw: random.Random, tasks: Sequence[Task], count: int, weights: Mapping[str, float] | None
) -> list[Task]:
    """Draw without repetition; with weights by the keys u^(1/w) of Efraimidis and Spirakis (2006)."""
    if weights is None or len({weights.get(task.task_id, 1.0) for task in tasks}) <= 1:
        return draw.sample(tasks, count)
    keys = [math.log(1.0 - draw.random()) / weights.get(task.task_id, 1.0) for task in tasks]
    return [tasks[i] for i in sorted(range(len(tasks)), key=lambda i: -keys[i])[:count]]
