"""Best-of-N: exact expectations, the fitted curve, and graders that fail, warn and pass."""

from __future__ import annotations

from itertools import combinations
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from strop.grade.audit.preview import kl_best_of, preview

Floats = NDArray[np.float64]


def draws(seed: int, prompts: int = 60, n: int = 64) -> Floats:
    return np.random.default_rng(seed).random((prompts, n))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=4, max_size=6))
def test_expected_gold_is_the_mean_over_all_subsets(rows: list[tuple[int, int]]) -> None:
    proxy, gold = [float(r[0]) for r in rows], [float(r[1]) for r in rows]
    found = preview([proxy], [gold], sizes=(2, 3))
    for point in found.points:
        expected = []
        for subset in combinations(range(len(rows)), point.size):
            top = max(proxy[i] for i in subset)
            expected.append(np.mean([gold[i] for i in subset if proxy[i] == top]))
        assert point.gold.mean == pytest.approx(np.mean(expected))
        assert point.distance == pytest.approx(np.sqrt(log(point.size) - 1 + 1 / point.size))


def test_uniform_scores_have_known_maxima() -> None:
    found = preview(draws(0, 400), draws(0, 400))
    for point in found.points:
        assert point.proxy == pytest.approx(point.size / (point.size + 1), abs=0.01)
        assert point.gold.mean == pytest.approx(point.proxy)
    assert found.verdict == "passes"
    assert found.rank.rho == pytest.approx(1.0)


def test_a_grader_that_gold_follows_only_at_first_fails() -> None:
    # Gold rises with the grader up to its upper fifth and falls steeply beyond, by prompt.
    proxy = draws(1)
    gold = np.where(proxy < 0.8, proxy, 0.8 - 4 * (proxy - 0.8)) + 0.1 * draws(2)
    found = preview(proxy, gold)
    assert found.verdict == "fails"
    assert found.decline_sizes == (4, 16)
    assert found.decline.high < 0
    assert found.fit is not None
    d = np.array([p.distance for p in found.points])
    gain = np.array([p.gold.mean for p in found.points]) - found.points[0].gold.mean
    alpha, beta = np.linalg.lstsq(np.stack([d, -(d**2)], axis=1)[1:], gain[1:], rcond=None)[0]
    assert (found.fit.alpha, found.fit.beta) == pytest.approx((alpha, beta))
    assert found.fit.peak == pytest.approx(alpha / (2 * beta))
    assert found.fit.peak is not None and found.fit.low is not None and found.fit.high is not None
    assert found.fit.low <= found.fit.peak <= found.fit.high
    assert found.fit.size is not None
    assert kl_best_of(found.fit.size) == pytest.approx(found.fit.peak**2)
    assert 1 < found.fit.size < 16


def test_a_grader_that_gold_ignores_warns() -> None:
    found = preview(draws(3), draws(4))
    assert found.verdict == "warns"
    assert found.rank.rho is not None and abs(found.rank.rho) < 0.1
    assert "within prompts" in found.reason


def test_a_curve_that_bends_upward_has_no_peak() -> None:
    # The highest of N exponential draws is 1 + 1/2 + ... + 1/N on average: faster than the distance.
    proxy = -np.log(1 - draws(5, 200))
    found = preview(proxy, proxy)
    assert found.points[-1].gold.mean == pytest.approx(sum(1 / i for i in range(1, 65)), abs=0.2)
    assert found.fit is not None and found.fit.beta < 0
    assert (found.fit.peak, found.fit.size) == (None, None)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 500))
def test_only_the_order_of_the_training_grader_matters(seed: int) -> None:
    proxy, gold = draws(seed, 6, 8), draws(seed + 1, 6, 8)
    plain, mapped = preview(proxy, gold), preview(np.exp(3 * proxy) - 7, gold)
    assert [p.gold for p in mapped.points] == [p.gold for p in plain.points]
    assert (mapped.fit, mapped.verdict, mapped.rank) == (plain.fit, plain.verdict, plain.rank)


def test_clusters_widen_the_interval() -> None:
    proxy = np.repeat(draws(6, 15, 16), 4, axis=0)
    gold = np.repeat(draws(7, 15, 16), 4, axis=0)
    plain = preview(proxy, gold)
    clustered = preview(proxy, gold, clusters=np.repeat(np.arange(15), 4).tolist())
    once = preview(proxy[::4], gold[::4])
    assert clustered.decline.se == pytest.approx(once.decline.se)
    assert plain.decline.se < 0.6 * clustered.decline.se


def test_missing_scores_shorten_the_curve_and_few_draws_leave_a_prompt_out() -> None:
    proxy, gold = draws(8, 5, 16), draws(9, 5, 16)
    proxy[0, :3] = np.nan
    gold[1, 2:] = np.nan
    found = preview(proxy, gold)
    assert (found.prompts, found.left_out) == (4, 1)
    assert [p.size for p in found.points] == [1, 2, 4, 8]
    assert found.decline_sizes == (2, 8)
    for bad in (gold[:, :3], gold * np.nan):
        with pytest.raises(ValueError, match="draws"):
            preview(proxy, bad)
