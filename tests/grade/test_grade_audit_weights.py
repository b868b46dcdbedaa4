"""Effective weights against closed forms, double counting, aliasing by brute force, stability, reach."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau

from strop.grade.audit.aliasing import Method, advantages, aliasing
from strop.grade.audit.stability import rank_stability
from strop.grade.audit.weights import correlations, effective_weights, outcome_reach, scores

Floats = NDArray[np.float64]
P, G = 500, 8


def gaussian(seed: int, cov: list[list[float]]) -> Floats:
    """Rollouts around a prompt's own level, which must not matter."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 3, (P, 1, len(cov)))
    return level + rng.multivariate_normal(np.zeros(len(cov)), np.array(cov), (P, G))


def bernoulli(seed: int, shares: list[float]) -> Floats:
    return (np.random.default_rng(seed).random((P, G, len(shares))) < shares).astype(float)


def closed_form(cov: list[list[float]], weights: list[float]) -> list[float]:
    """w_k (S w)_k / (w' S w), the S being the covariance within a group."""
    w, s = np.array(weights), np.array(cov)
    return list(w * (s @ w) / (w @ s @ w))


def diagonal(variances: list[float]) -> list[list[float]]:
    return np.diag(variances).tolist()


def grader(number: int) -> tuple[Floats, list[float], list[list[float]]]:
    """Return one of ten synthetic graders: components, weights, their covariance within groups."""
    rng = np.random.default_rng(100 + number)
    if number == 0:
        cov = diagonal([1, 1, 1])
        return gaussian(0, cov), [0.5, 0.3, 0.2], cov
    if number == 1:
        cov = diagonal([0.04, 1, 4])
        return gaussian(1, cov), [0.6, 0.3, 0.1], cov
    if number == 2:
        cov = [[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 1.0]]
        return gaussian(2, cov), [0.4, 0.3, 0.3], cov
    if number == 3:  # the small component works against the large one: negative share
        cov = [[1.0, -0.7], [-0.7, 1.0]]
        return gaussian(3, cov), [0.8, 0.2], cov
    if number == 4:
        return bernoulli(4, [0.5, 0.9, 0.1]), [0.6, 0.25, 0.15], diagonal([0.25, 0.09, 0.09])
    if number == 5:  # pass rates differ by prompt: E[p (1 - p)] of a Beta(2, 3) is 0.2
        rates = rng.beta(2, 3, (P, 1))
        first = (rng.random((P, G)) < rates).astype(float)
        other = (rng.random((P, G)) < 0.5).astype(float)
        return np.stack([first, other], axis=2), [0.7, 0.3], diagonal([0.2, 0.25])
    if number == 6:  # the first differs between prompts only
        flat = np.repeat(rng.random((P, 1)), G, axis=1)
        other = (rng.random((P, G)) < 0.3).astype(float)
        return np.stack([flat, other], axis=2), [0.9, 0.1], diagonal([0, 0.21])
    if number == 7:  # one thing under two names
        one = (rng.random((P, G)) < 0.4).astype(float)
        third = (rng.random((P, G)) < 0.5).astype(float)
        cov = [[0.24, 0.24, 0.0], [0.24, 0.24, 0.0], [0.0, 0.0, 0.25]]
        return np.stack([one, one, third], axis=2), [0.3, 0.3, 0.4], cov
    if number == 8:  # a graded component that follows a binary one
        one = (rng.random((P, G)) < 0.5).astype(float)
        second = 0.4 * one + rng.normal(0, 0.2, (P, G))
        return np.stack([one, second], axis=2), [0.5, 0.5], [[0.25, 0.1], [0.1, 0.08]]
    p, q = 0.6, 0.5  # the outcome gates a second component: what counts is g and g c
    gate = (rng.random((P, G)) < p).astype(float)
    both = gate * (rng.random((P, G)) < q)
    cross = p * q * (1 - p)
    return np.stack([gate, both], axis=2), [0.5, 0.5], [[p * (1 - p), cross], [cross, p * q * (1 - p * q)]]


@pytest.mark.parametrize("number", range(10))
def test_effective_weights_are_the_closed_form(number: int) -> None:
    components, weights, cov = grader(number)
    found = effective_weights(components, weights)
    expected = closed_form(cov, weights)
    got = [c.effective for c in found.components]
    assert got == pytest.approx(expected, abs=0.05)
    assert sum(v for v in got if v is not None) == pytest.approx(1)
    for component, truth in zip(found.components, expected, strict=True):
        assert component.low is not None and component.high is not None
        assert component.low - 0.02 <= truth <= component.high + 0.02
    assert found.dead == (("component 1",) if number == 6 else ())


def test_a_gate_mask_is_the_gated_component() -> None:
    rng = np.random.default_rng(0)
    gate, other = rng.random((40, 6)) < 0.6, rng.random((40, 6))
    masked = effective_weights(np.stack([gate * 1.0, other], axis=2), [0.5, 0.5], gate)
    inside = effective_weights(np.stack([gate * 1.0, gate * other], axis=2), [0.5, 0.5])
    assert [c.effective for c in masked.components] == pytest.approx([c.effective for c in inside.components])
    assert np.array_equal(scores(np.ones((1, 2, 2)), [0.5, 0.25], [[True, False]]), np.array([[0.75, 0.0]]))


def test_what_cannot_be_graded_is_left_out_and_counted() -> None:
    components, weights, _ = grader(4)
    holed = components.copy()
    holed[:50, 2, 1] = np.nan
    holed[499, 1:] = np.nan  # one graded rollout is no group
    found = effective_weights(holed, weights, names=["answer", "tools", "tone"])
    assert (found.groups, found.ungraded) == (P - 1, 50 + G - 1)
    again = [c.effective for c in effective_weights(components, weights).components]
    assert [c.effective for c in found.components] == pytest.approx(again, abs=0.02)
    assert np.isnan(scores(holed, weights)[0, 2])


def test_flat_scores_have_no_effective_weights() -> None:
    found = effective_weights(np.ones((3, 4, 2)), [0.5, 0.5])
    assert [c.effective for c in found.components] == [None, None]
    assert found.dead == ("component 1", "component 2")
    assert (found.groups, found.flat) == (3, 3)
    alone = np.zeros((3, 4, 2))
    alone[0, 0, 0] = 1.0  # one prompt has all the spread: a share, but no interval
    first = effective_weights(alone, [0.5, 0.5]).components[0]
    assert (first.effective, first.low, first.high) == (1.0, None, None)
    for weights, gate in (([0.5], None), ([0.0, 0.0], None), ([1.0, 1.0], [True])):
        with pytest.raises(ValueError, match=r"weights|gate"):
            effective_weights(np.ones((3, 4, 2)), weights, gate)


def test_intervals_cover_the_closed_form() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        drawn = (rng.random((40, 6, 2)) < [0.3, 0.9]) * 1.0
        found = effective_weights(drawn, [0.5, 0.5]).components[0]
        assert found.low is not None and found.high is not None
        hits += found.low <= 0.21 / 0.30 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_double_counting_is_named_with_what_the_advantage_sees() -> None:
    components, _, _ = grader(7)
    found = correlations(components, names=["status", "final status", "tone"])
    (pair,) = found.doubled
    assert (pair.first, pair.second, pair.rho, pair.within) == ("status", "final status", 1.0, 1.0)
    assert found.spearman[0][2] == pytest.approx(0, abs=0.05)
    # Alike only in that both know the prompt: doubled over all rollouts, not inside a group.
    components = np.random.default_rng(6).normal(0, 0.1, (P, G, 2)) + np.arange(P)[:, None, None]
    (pair,) = correlations(components).doubled
    assert pair.rho > 0.99 and pair.within == pytest.approx(0, abs=0.05)
    constant = correlations(np.zeros((2, 3, 2)))
    assert constant.spearman == ((None, None), (None, None)) and constant.doubled == ()


def test_correlations_survive_monotone_maps() -> None:
    components = gaussian(2, [[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1]])[:60]
    moved = np.stack([np.exp(components[..., 0]), components[..., 1] ** 3, -components[..., 2]], axis=2)
    plain, other = correlations(components), correlations(moved)
    assert other.spearman[0][1] == pytest.approx(plain.spearman[0][1])
    assert other.within[0][1] == pytest.approx(plain.within[0][1])
    assert other.spearman[1][2] == pytest.approx(-(plain.spearman[1][2] or 0.0))


# GDPO, section 3: two rollouts a question, two binary rewards.
ALL_PAIRS = list(combinations(product((0.0, 1.0), repeat=2), 2)) + [
    (v, v) for v in product((0.0, 1.0), repeat=2)
]


def test_the_published_example_of_aliasing() -> None:
    two = np.array([[(0, 0), (1, 0)], [(0, 0), (1, 1)]], dtype=float)
    summed = advantages(two, [1, 1], method="sum_then_normalise")
    assert summed.tolist() == [[-1, 1], [-1, 1]]
    assert advantages(two, [1, 1], method="normalise_then_sum").tolist() == [[-1, 1], [-2, 2]]
    assert advantages(two, [1, 1]).tolist() == [[-0.5, 0.5], [-1, 1]]
    rates = {m: aliasing(two, [1, 1], method=m).group_rate for m in ("sum_then_normalise", "centre")}
    assert rates == {"sum_then_normalise": 1.0, "centre": 0.0}
    assert aliasing(two, [1, 1], method="normalise_then_sum").group_rate == 0.0
    groups = np.array(ALL_PAIRS)
    assert aliasing(groups, [1, 1], method="sum_then_normalise").group_advantages == 2
    assert aliasing(groups, [1, 1], method="normalise_then_sum").group_advantages == 3


def exact(rows: list[list[int]], weights: list[int], method: Method) -> list[Decimal]:
    """Advantages in exact or 60-digit arithmetic."""
    with localcontext(prec=60):
        return _exact(rows, weights, method)


def _exact(rows: list[list[int]], weights: list[int], method: Method) -> list[Decimal]:
    def centre(values: list[Fraction], divide: bool) -> list[Decimal]:
        mean = sum(values, Fraction(0)) / len(values)
        gap = [v - mean for v in values]
        variance = sum((g * g for g in gap), Fraction(0)) / len(gap)
        sd = (Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt() if divide else Decimal(1)
        return [Decimal(g.numerator) / Decimal(g.denominator) / (sd or Decimal(1)) for g in gap]

    w = [Fraction(v, 100) for v in weights]
    columns = [[Fraction(row[k], 10) for row in rows] for k in range(len(w))]
    if method == "normalise_then_sum":
        parts = [centre(column, True) for column in columns]
        return [sum((part[i] * v / 100 for part, v in zip(parts, weights, strict=True)), Decimal(0))
                for i in range(len(rows))]  # fmt: skip
    total = [
        sum((v * column[i] for v, column in zip(w, columns, strict=True)), Fraction(0))
        for i in range(len(rows))
    ]
    return centre(total, method == "sum_then_normalise")


vectors = st.lists(st.lists(st.integers(0, 10), min_size=3, max_size=3), min_size=4, max_size=4)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(vectors, min_size=1, max_size=4),
    st.lists(st.integers(1, 60), min_size=3, max_size=3),
    st.sampled_from(["centre", "sum_then_normalise", "normalise_then_sum"]),
)
def test_aliasing_is_exact(groups: list[list[list[int]]], weights: list[int], method: Method) -> None:
    near = Decimal("1e-30")
    pairs = different = aliased = 0
    signatures: list[tuple[list[list[int]], list[Decimal]]] = []
    for rows in groups:
        gap = exact(rows, weights, method)
        for i, j in combinations(range(4), 2):
            pairs += 1
            different += rows[i] != rows[j]
            aliased += rows[i] != rows[j] and abs(gap[i] - gap[j]) < near
        signatures.append((sorted(rows), sorted(gap)))
    unlike = alike = 0
    for (rows_1, gap_1), (rows_2, gap_2) in combinations(signatures, 2):
        unlike += rows_1 != rows_2
        same = all(abs(x - y) < near for x, y in zip(gap_1, gap_2, strict=True))
        alike += rows_1 != rows_2 and same
    found = aliasing(np.array(groups) / 10, np.array(weights) / 100, method=method)
    assert (found.pairs, found.different, found.aliased) == (pairs, different, aliased)
    assert found.rate == aliased / pairs
    assert found.group_rate == (alike / unlike if unlike else None)


def test_aliasing_behind_a_closed_gate_and_without_a_grade() -> None:
    rows = np.array([[(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (np.nan, 1.0)]])
    shut = aliasing(rows, [0.5, 0.5], np.array([[False, False, True, True]]))
    assert (shut.pairs, shut.different, shut.aliased) == (3, 3, 1)
    assert np.isnan(advantages(rows, [0.5, 0.5])[0, 3])


def test_rankings_that_cannot_move() -> None:
    one = np.random.default_rng(1).random((20, 6, 1))
    found = rank_stability(np.repeat(one, 3, axis=2), [0.5, 0.3, 0.2])
    assert (found.tau, found.flips, found.groups_flipped) == (pytest.approx(1), 0.0, 0.0)
    flat = rank_stability(np.ones((4, 3, 2)), [0.5, 0.5])
    assert (flat.tau, flat.groups, flat.flat) == (None, 0, 4)


def test_opposed_components_of_equal_weight_flip_the_best() -> None:
    one = np.random.default_rng(2).random((20, 6))
    opposed = np.stack([one, 1 - one], axis=2)
    found = rank_stability(opposed, [0.51, 0.49])
    assert found.flips is not None and 0.3 < found.flips < 0.6
    sure = rank_stability(opposed, [0.9, 0.1])
    assert sure.flips == 0.0 and sure.tau == pytest.approx(1)
    assert rank_stability(opposed, [0.51, 0.49]) == found


def test_stability_is_kendalls_tau_of_the_drawn_weights() -> None:
    components = np.random.default_rng(3).integers(0, 4, (1, 9, 3)) / 3
    weights = np.array([0.5, 0.3, 0.2])
    found = rank_stability(components, weights, draws=1, seed=4)
    drawn = np.random.default_rng(4).dirichlet(50 * weights)
    one, other = (np.round(components[0] @ w, 9) for w in (weights, drawn))  # ties are ties
    expected = np.asarray(kendalltau(one, other))[0]
    assert found.tau == pytest.approx(expected)


def test_what_a_failure_can_reach() -> None:
    # outcome, format: a failed outcome with full format reaches 0.4, an honest success 0.6 at least.
    rows = np.array([[(1, 0), (1, 1), (0, 1), (0, 0)]], dtype=float)
    safe = outcome_reach(rows, [0.6, 0.4], 0)
    assert (safe.failed_max, safe.theoretical_max, safe.passed_min) == (0.4, 0.4, 0.6)
    assert (safe.failed, safe.passed, safe.farmable, safe.observed) == (2, 2, False, False)
    farmed = outcome_reach(rows, [0.4, 0.6], 0)
    assert (farmed.farmable, farmed.observed) == (True, True)
    gated = outcome_reach(rows, [0.4, 0.6], 0, rows[:, :, 0] == 1, closes=True)
    assert (gated.failed_max, gated.theoretical_max, gated.farmable) == (0.0, 0.0, False)
    hidden = outcome_reach(rows[:, [0, 1, 3]], [0.4, 0.6], 0)
    assert (hidden.observed, hidden.farmable, hidden.theoretical_max) == (False, True, 0.6)
    honest = outcome_reach(rows, [0.4, 0.6], 0, honest_P_G=[[False, True, True, True]])
    assert (honest.passed, honest.passed_min, honest.farmable) == (1, 1.0, False)
    nobody = outcome_reach(rows[:, 2:], [0.6, 0.4], 0)
    assert (nobody.passed_min, nobody.farmable) == (None, None)


def test_partial_outcome_counts_at_its_best_failure() -> None:
    rows = np.array([[(0.8, 0.0), (1.0, 0.5)]])
    found = outcome_reach(rows, [0.5, 0.5], 0)
    assert found.failed_max == pytest.approx(0.4)
    assert found.theoretical_max == pytest.approx(0.5 + 0.4)
    assert found.farmable and not found.observed


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_scale_and_shift_change_no_effective_weight(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    components, weights = rng.random((5, 4, 3)), rng.random(3) + 0.1
    plain = [c.effective for c in effective_weights(components, weights).components]
    moved = [
        c.effective for c in effective_weights(components + rng.random((5, 1, 3)), weights * scale).components
    ]
    assert moved == pytest.approx(plain)


def test_counts_of_pairs() -> None:
    found = aliasing(np.zeros((3, 5, 2)), [1, 1])
    assert (found.pairs, found.different, found.aliased) == (3 * 10, 0, 0)
    assert (found.group_contents, found.group_rate) == (1, None)
