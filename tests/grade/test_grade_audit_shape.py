"""Spread within prompts: zero-advantage groups by enumeration, ICC, headroom, shape of the histogram."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.grade.audit.shape import bimodality, shape, zero_advantage
from strop.grade.distribution import distribution


def test_binary_scores_with_one_pass_rate() -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((4000, 8)) < 0.1).astype(float)
    found = shape(scores).zero_advantage
    assert found.expected_pooled == pytest.approx(0.1**8 + 0.9**8, abs=0.01)  # 0.43
    assert found.observed == pytest.approx(found.expected_pooled, abs=0.02)
    assert found.low < 0.43 < found.high
    assert found.expected_pooled == pytest.approx(distribution(scores.ravel().tolist(), 8).zero_advantage)


def test_duplicated_rollouts_show_against_the_expected_share() -> None:
    rng = np.random.default_rng(1)
    scores = np.repeat((rng.random((500, 2)) < 0.5).astype(float), 4, axis=1)
    found = shape(scores).zero_advantage
    assert found.expected_pooled is not None and found.expected_pooled < 0.02
    assert found.low > 0.4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=3, max_size=7), st.integers(2, 4))
def test_expected_shares_by_enumeration(row: list[int], size: int) -> None:
    values = np.array(row) / 2
    found = zero_advantage([values], size)
    draws = [len(set(d)) == 1 for d in product(row, repeat=size)]
    assert found.expected_by_prompt == found.expected_pooled == pytest.approx(np.mean(draws))
    if size <= len(row):
        subsets = [len(set(s)) == 1 for s in combinations(row, size)]
        assert found.observed == pytest.approx(np.mean(subsets))
    else:
        assert (found.observed, found.prompts) == (None, 0)


def test_groups_are_flat_where_the_trainer_sees_no_spread() -> None:
    scores = np.array([[0.5, 0.5 + 1e-9], [0.5, 0.52], [0.0, 1.0]])
    found = shape(scores).zero_advantage
    assert found.observed == pytest.approx(1 / 3)
    assert found.near == pytest.approx(2 / 3)


def test_signal_is_the_mean_variance_within_prompts() -> None:
    scores = np.array([[0.0, 1.0], [0.2, 0.4], [0.7, 0.7]])
    found = shape(scores)
    assert found.signal is not None
    assert found.signal.mean == pytest.approx((0.5 + 0.02 + 0.0) / 3)
    assert found.signal.n == 3


def test_icc_of_known_variances() -> None:
    rng = np.random.default_rng(2)
    level = rng.normal(0, 0.1, (400, 1))
    scores = np.clip(0.5 + level + rng.normal(0, 0.05, (400, 6)), 0, 1)
    found = shape(scores)
    assert found.icc == pytest.approx(0.8, abs=0.03)  # 0.01 / (0.01 + 0.0025)
    assert found.icc_low is not None and found.icc_high is not None
    assert found.icc_low < 0.8 < found.icc_high
    prompt_only = shape(np.repeat(rng.random((30, 1)), 4, axis=1))
    assert prompt_only.icc == pytest.approx(1.0)
    assert shape(rng.random((200, 6))).icc == pytest.approx(0.0, abs=0.06)
    assert shape(np.full((5, 4), 0.5)).icc is None


def test_icc_interval_covers() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        level = rng.normal(0, 0.06, (50, 1))
        found = shape(np.clip(0.5 + level + rng.normal(0, 0.06, (50, 5)), 0, 1))
        assert found.icc_low is not None and found.icc_high is not None
        hits += found.icc_low <= 0.5 <= found.icc_high
    assert 0.92 <= hits / 300 <= 0.98


def test_headroom_of_binary_scores_is_pass_at_k() -> None:
    scores = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    found = shape(scores, k=2)
    assert found.pass_headroom is not None and found.headroom is not None
    assert found.pass_headroom.mean == pytest.approx((0.5 - 0.25) / 3)  # 1 - C(3, 2) / C(4, 2) - 1/4
    assert found.headroom.mean == pytest.approx(found.pass_headroom.mean)
    assert shape(scores, k=8).k == 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=6), st.integers(1, 4))
def test_headroom_of_graded_scores_is_the_mean_best_subset(row: list[float], k: int) -> None:
    found = shape([row], k=k)
    best = np.mean([max(s) for s in combinations(row, k)])
    assert found.headroom is not None
    assert found.headroom.mean == pytest.approx(best - np.mean(row), abs=1e-12)


def test_bimodality() -> None:
    rng = np.random.default_rng(4)
    two = bimodality(np.repeat([0.0, 1.0], 500))
    assert two == pytest.approx(1.0, abs=0.01)
    assert bimodality(rng.random(20_000)) == pytest.approx(5 / 9, abs=0.01)
    assert bimodality(rng.normal(0, 1, 20_000)) == pytest.approx(1 / 3, abs=0.02)
    assert bimodality([0.5] * 10) is None and bimodality([0.0, 1.0, 0.5]) is None


def test_entropy_and_saturation() -> None:
    even = shape((np.arange(10) / 10 + 0.05).reshape(2, 5))
    assert even.entropy == pytest.approx(1.0)
    assert even.saturation == pytest.approx(0.1)
    one = shape(np.full((3, 4), 1.0))
    assert (one.entropy, one.saturation, one.distribution.mass_at_1) == (0.0, 1.0, 1.0)


def test_ungraded_rollouts_are_counted_not_scored() -> None:
    nan = float("nan")
    found = shape([[0.0, 1.0, nan], [nan, nan, nan], [0.5, 0.5, 0.5]])
    assert (found.prompts, found.ungraded, found.distribution.n) == (2, 4, 5)
    assert found.zero_advantage.prompts == 1  # only one whole group of three
    empty = shape([[nan, nan]])
    assert (empty.prompts, empty.icc, empty.signal, empty.entropy) == (0, None, None, None)


@pytest.mark.parametrize("scores", [[[0.5, 1.5]], [0.5, 0.5], np.zeros((2, 0))])
def test_what_are_no_scores_is_refused(scores: object) -> None:
    with pytest.raises(ValueError, match="scores of shape"):
        shape(scores)  # type: ignore[arg-type]
