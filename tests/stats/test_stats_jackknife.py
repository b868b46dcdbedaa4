"""Jackknife intervals against the t interval of a mean; best-of-k against all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from strop.stats.jackknife import cluster_index, jackknife, t_interval
from strop.stats.subsets import best_of, best_of_weights


def test_the_jackknife_of_a_mean_is_its_t_interval() -> None:
    values = np.array([0.1, 0.4, 0.35, 0.8, 0.55])
    found = jackknife(values.mean(), (values.sum() - values) / 4)
    se = values.std(ddof=1) / np.sqrt(5)
    assert found.se == pytest.approx(se)
    assert (found.low, found.high) == pytest.approx(student.interval(0.95, 4, values.mean(), se))


@settings(max_examples=80, deadline=None)
@given(st.floats(-0.999, 0.999), st.floats(0, 2), st.integers(2, 200))
def test_a_bounded_interval_holds_its_value_and_stays_inside(value: float, se: float, n: int) -> None:
    found = t_interval(value, se, n - 1.0, n, alpha=0.05, bounds=(-1.0, 1.0))
    assert -1 <= found.low <= value <= found.high <= 1
    assert found.high - found.low > 0
    mirrored = t_interval(-value, se, n - 1.0, n, alpha=0.05, bounds=(-1.0, 1.0))
    assert mirrored.low == pytest.approx(-found.high, abs=1e-9)


def test_fisher_transformation() -> None:
    found = t_interval(0.6, 0.1, 30.0, 31, alpha=0.05, bounds=(-1.0, 1.0))
    reach = student.ppf(0.975, 30) * 0.1 / (1 - 0.36)
    assert (found.low, found.high) == pytest.approx(np.tanh(np.arctanh(0.6) + np.array([-reach, reach])))


def test_one_cluster_says_nothing() -> None:
    for without in ([0.3], [0.3, float("nan")]):
        found = jackknife(0.5, without, bounds=(0.0, 1.0))
        assert (found.low, found.high) == (0.0, 1.0)
        assert "cluster" in found.note
    with pytest.raises(ValueError, match="one each"):
        cluster_index(["a"], 2)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=7),
    st.integers(1, 7),
)
def test_best_of_is_the_mean_over_all_subsets(rows: list[tuple[int, int]], k: int) -> None:
    if k > len(rows):
        with pytest.raises(ValueError, match="best of"):
            best_of([r[0] for r in rows], k)
        return
    expected = []
    for subset in combinations(rows, k):
        top = max(r[0] for r in subset)
        expected.append(np.mean([r[1] for r in subset if r[0] == top]))
    assert best_of([r[0] for r in rows], k, [r[1] for r in rows]) == pytest.approx(np.mean(expected))
    assert best_of_weights(len(rows), k).sum() == pytest.approx(1)


def test_pass_at_k_by_hand() -> None:
    assert best_of([1, 0, 0, 0], 2) == pytest.approx(0.5)  # 1 - C(3, 2) / C(4, 2)
    assert best_of([1, 1, 0, 0, 0, 0, 0, 0], 8) == 1.0
    assert best_of(np.arange(64) % 2, 1) == pytest.approx(0.5)
