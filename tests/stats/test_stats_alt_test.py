"""The alternative annotator test: the published procedure written out, laws, and its error rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from strop.stats.alt_test import alt_test, benjamini_yekutieli

Floats = NDArray[np.float64]


def people(seed: int, n: int = 80, a: int = 3, right: float = 0.7) -> tuple[Floats, Floats]:
    """Truth of four classes, and annotators who name it with a probability, else any class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, n)
    return truth.astype(float), np.where(rng.random((a, n)) < right, truth, rng.integers(0, 4, (a, n))) * 1.0


def written_out(grader: Floats, ratings: Floats, epsilon: float) -> tuple[list[float], list[float]]:
    """The paper's algorithm as loops: p values and advantage probabilities."""
    p_values, advantages = [], []
    for j in range(len(ratings)):
        gaps, wins = [], []
        for i in range(grader.size):
            others = [ratings[k, i] for k in range(len(ratings)) if k != j and not np.isnan(ratings[k, i])]
            if np.isnan(ratings[j, i]) or not others:
                continue
            grader_score = np.mean([o == grader[i] for o in others])
            own_score = np.mean([o == ratings[j, i] for o in others])
            wins.append(float(grader_score >= own_score))
            gaps.append(float(own_score >= grader_score) - wins[-1])
        p_values.append(float(np.asarray(ttest_1samp(gaps, epsilon, alternative="less"))[1]))
        advantages.append(float(np.mean(wins)))
    return p_values, advantages


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 0.3), st.sampled_from([0.0, 0.3]))
def test_it_is_the_published_procedure(seed: int, epsilon: float, gaps: float) -> None:
    _, ratings = people(seed, a=4)
    grader = people(seed + 1)[1][0]
    ratings[np.random.default_rng(seed).random(ratings.shape) < gaps] = np.nan
    found = alt_test(grader, ratings, epsilon=epsilon)
    p_values, advantages = written_out(grader, ratings, epsilon)
    assert [a.p for a in found.annotators] == pytest.approx(p_values)
    assert [a.grader_at_least for a in found.annotators] == pytest.approx(advantages)
    assert found.advantage == pytest.approx(np.mean(advantages))
    won = benjamini_yekutieli(p_values)
    assert found.winning_rate == won.mean()
    assert found.passed == (won.mean() >= 0.5)


def test_the_truth_passes_and_noise_does_not() -> None:
    truth, ratings = people(7)
    best = alt_test(truth, ratings, epsilon=0.1)
    assert (best.winning_rate, best.passed) == (1.0, True)
    noise = alt_test(np.random.default_rng(8).integers(0, 4, 80), ratings, epsilon=0.2)
    assert (noise.winning_rate, noise.passed) == (0.0, False)
    assert best.advantage is not None and noise.advantage is not None
    assert best.advantage > 0.85 > 0.7 > noise.advantage


def test_epsilon_only_helps_the_grader() -> None:
    _, ratings = people(9)
    grader = people(10)[1][0]
    strict, loose = (alt_test(grader, ratings, epsilon=e) for e in (0.0, 0.3))
    assert all(a.p > b.p for a, b in zip(strict.annotators, loose.annotators, strict=True))


def test_scales_are_compared_by_distance() -> None:
    ratings = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], 10)[None, :] + np.array([[-0.4], [0.0], [0.4]])
    near = alt_test(ratings[1] + 0.1, ratings, epsilon=0.1, score="rmse")
    # Nearer to the others than either extreme, a little farther than the middle one.
    assert (near.winning_rate, near.advantage) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    exact = alt_test(ratings[1] + 0.1, ratings, epsilon=0.1, score="accuracy")
    assert exact.advantage == 1.0  # nobody ever agrees exactly: all ties


def test_few_items_are_skipped_and_counted() -> None:
    truth, ratings = people(11)
    ratings[2, 20:] = np.nan
    truth[40:] = np.nan
    found = alt_test(truth, ratings, epsilon=0.1)
    assert found.skipped == (2,)
    assert [a.n for a in found.annotators] == [40, 40]
    nobody = alt_test(truth, ratings[:, :20].repeat(4, axis=1) * np.nan, epsilon=0.1)
    assert (nobody.winning_rate, nobody.passed, nobody.skipped) == (None, None, (0, 1, 2))
    with pytest.raises(ValueError, match="annotators x items"):
        alt_test(truth[:5], ratings, epsilon=0.1)


def test_gaps_that_never_differ_get_an_exact_p_value() -> None:
    same = np.tile([0.0, 1.0], 20)
    found = alt_test(same, np.tile(same, (2, 1)), epsilon=0.1)
    # All ties: a mean of 0.1 would show a loss in each of 40 items with probability 0.1 at least.
    assert [a.p for a in found.annotators] == pytest.approx([0.9**40] * 2)


def test_copies_of_an_item_add_no_certainty_when_clustered() -> None:
    _, ratings = people(12)
    grader = people(13)[1][0]
    plain = alt_test(grader, ratings, epsilon=0.15)
    again = alt_test(
        np.tile(grader, 3), np.tile(ratings, 3), epsilon=0.15, clusters=[str(i) for i in range(80)] * 3
    )
    assert [a.p for a in again.annotators] == pytest.approx([a.p for a in plain.annotators])


def test_bootstrap_is_seeded_and_near_the_t_test() -> None:
    _, ratings = people(14, n=120)
    grader = people(15, n=120)[1][0]
    t, b, again = (
        [a.p for a in alt_test(grader, ratings, epsilon=0.1, method=m).annotators]  # type: ignore[arg-type]
        for m in ("t", "bootstrap", "bootstrap")
    )
    assert b == again
    assert b == pytest.approx(t, abs=0.03)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.3))
def test_benjamini_yekutieli(p_values: list[float], q: float) -> None:
    m = len(p_values)
    ranked = sorted(p_values)
    bound = q / (m * sum(1 / i for i in range(1, m + 1)))
    passing = [i for i in range(1, m + 1) if ranked[i - 1] <= i * bound]
    cut = ranked[passing[-1] - 1] if passing else -1.0
    assert benjamini_yekutieli(p_values, q).tolist() == [p <= cut for p in p_values]


def test_error_rate_at_the_boundary() -> None:
    rng = np.random.default_rng(16)
    rejected = 0
    for _ in range(400):
        # Two annotators alike but for the gap: of 60 items the first is better by epsilon on average.
        gap = rng.choice([1.0, 0.0, -1.0], 60, p=[0.25, 0.60, 0.15])
        second = np.zeros(60)
        first, grader = np.where(gap >= 0, 0.0, 1.0), np.where(gap <= 0, 0.0, 1.0)
        found = alt_test(grader, np.stack([first, second]), epsilon=0.1)
        rejected += found.annotators[0].p <= 0.05
    assert 0.02 <= rejected / 400 <= 0.08
