"""The order of training: seeded, weighted, and with equal weights what it always was."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.records import Message, Task
from strop.train.order import mixed, pick

SEEDS = st.integers(0, 99).map(str)


def task(n: int) -> Task:
    return Task(
        task_id=f"t{n}",
        messages=(Message("user", "q"),),
        tools=(),
        customer="c",
        group="g",
        split="train",
        at=n,
    )


@given(st.integers(1, 30), st.integers(1, 8), SEEDS, st.integers(0, 20), st.sampled_from([1.0, 0.3, 7.0]))
def test_equal_weights_change_nothing(size: int, count: int, seed: str, step: int, weight: float) -> None:
    items = list(range(size))
    assert pick(items, count, seed, step, [weight] * size) == pick(items, count, seed, step)
    tasks = [task(n) for n in items]
    weights = {t.task_id: weight for t in tasks}
    assert mixed(tasks[::2], tasks, count, 0.5, seed, weights) == mixed(tasks[::2], tasks, count, 0.5, seed)


def test_the_order_without_weights_is_a_shuffle_by_seed_and_epoch() -> None:
    order = list(range(10))
    random.Random("0/sft/2").shuffle(order)
    assert pick(list(range(10)), 5, "0/sft", 4) + pick(list(range(10)), 5, "0/sft", 5) == order


WEIGHTS = st.lists(st.floats(0.05, 20), min_size=1, max_size=20)


@given(WEIGHTS, SEEDS)
def test_an_epoch_holds_each_item_as_often_as_it_weighs(weights: list[float], seed: str) -> None:
    n = len(weights)
    seen = Counter(pick(list(range(n)), n, seed, 0, weights))
    assert seen.total() == n
    for i, weight in enumerate(weights):
        wanted = weight * n / sum(weights)
        assert wanted - 1 - 1e-6 < seen[i] < wanted + 1 + 1e-6
    assert pick(list(range(n)), n, seed, 0, weights) == pick(list(range(n)), n, seed, 0, weights)


def test_over_many_epochs_the_shares_are_the_weights() -> None:
    weights = [0.5, 1.0, 2.5, 1.0]
    seen = Counter(i for step in range(1000) for i in pick([0, 1, 2, 3], 4, "s", step, weights))
    assert [seen[i] / 4000 for i in range(4)] == pytest.approx([0.1, 0.2, 0.5, 0.2], abs=0.01)


def test_a_task_is_drawn_as_likely_as_it_weighs_and_never_twice() -> None:
    tasks = [task(n) for n in range(4)]
    weights = {"t0": 1.0, "t1": 2.0, "t2": 5.0, "t3": 2.0}
    first = Counter(mixed([], tasks, 1, 0.5, str(seed), weights)[0].task_id for seed in range(4000))
    assert [first[f"t{n}"] / 4000 for n in range(4)] == pytest.approx([0.1, 0.2, 0.5, 0.2], abs=0.03)
    for seed in range(50):
        drawn = mixed(tasks[:2], tasks, 3, 0.5, str(seed), weights)
        assert len({t.task_id for t in drawn}) == 3
        assert len({t.task_id for t in drawn} & {"t0", "t1"}) == 2 or drawn[0].task_id in {"t0", "t1"}
