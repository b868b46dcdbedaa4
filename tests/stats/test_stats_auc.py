"""AUC: brute force over pairs, DeLong's variance written out, laws, clusters, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from strop.stats.auc import auc

scored = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=40).filter(
    lambda rows: 2 <= sum(y for _, y in rows) <= len(rows) - 2
)


def psi(a: float, b: float) -> float:
    return (a > b) + 0.5 * (a == b)


@settings(max_examples=80, deadline=None)
@given(scored)
def test_auc_and_variance_equal_the_pairs_written_out(rows: list[tuple[int, bool]]) -> None:
    good, bad = [x for x, y in rows if y], [x for x, y in rows if not y]
    table = np.array([[psi(a, b) for b in bad] for a in good])
    found = auc([x for x, _ in rows], [float(y) for _, y in rows])
    assert found.auc == pytest.approx(table.mean())
    variance = table.mean(axis=1).var(ddof=1) / len(good) + table.mean(axis=0).var(ddof=1) / len(bad)
    assert found.se == pytest.approx(np.sqrt(variance), abs=1e-9)
    assert found.low is not None and found.high is not None and found.auc is not None
    assert 0 <= found.low <= found.auc <= found.high <= 1


@settings(max_examples=60, deadline=None)
@given(scored)
def test_auc_laws(rows: list[tuple[int, bool]]) -> None:
    x, y = np.array([r[0] for r in rows], dtype=float), np.array([float(r[1]) for r in rows])
    plain, mapped, turned = auc(x, y), auc(np.exp(x) - 3, y), auc(x, 1 - y)
    assert (mapped.auc, mapped.low, mapped.high) == (plain.auc, plain.low, plain.high)
    assert plain.auc is not None and plain.low is not None
    assert turned.auc == pytest.approx(1 - plain.auc)
    assert turned.high == pytest.approx(1 - plain.low)


def test_copies_in_one_cluster_add_no_certainty() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat([0.0, 1.0], 30)
    x = y + rng.normal(0, 1.2, 60)
    plain = auc(x, y)
    copied = auc(np.tile(x, 3), np.tile(y, 3), list(range(60)) * 3)
    naive = auc(np.tile(x, 3), np.tile(y, 3))
    assert copied.auc == pytest.approx(plain.auc)
    assert copied.se == pytest.approx(plain.se)
    assert copied.clusters == 60
    assert naive.se is not None and plain.se is not None and naive.se < 0.7 * plain.se


def test_perfect_order_gets_the_exact_bound() -> None:
    found = auc([1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1])
    assert (found.auc, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 3))  # P(three independent pairs in order) = low^3
    assert "independent" in found.note


def test_what_cannot_be_said_is_none_and_errors_are_no_scores() -> None:
    one = auc([0.1, 0.2], [1, 1])
    assert (one.auc, one.low, one.positives) == (None, None, 2)
    found = auc([0.1, float("nan"), 0.9, float("nan"), 0.3, 0.7], [0, 1, 1, 0, 0, 1])
    assert (found.auc, found.missing, found.positives, found.negatives) == (1.0, 2, 2, 2)
    single = auc([0.1, 0.2, 0.9], [0, 0, 1], ["a", "a", "b"])
    assert (single.low, single.high, single.se) == (0.0, 1.0, None)
    for scores, labels in (([0.5], [1, 0]), ([0.5, 0.5], [1, 2])):
        with pytest.raises(ValueError, match="labels"):
            auc(scores, labels)


def test_interval_covers_with_clusters() -> None:
    rng = np.random.default_rng(2)
    # Contexts shift all their scores, some carry both labels; the pooled AUC is Phi(1 / sqrt(2 * 1.36)).
    truth = float(norm.cdf(1 / np.sqrt(2 * 1.36)))
    names = np.repeat(np.arange(60), 4)
    hits = 0
    for _ in range(400):
        y = (rng.random(240) < rng.beta(0.6, 0.6, 60)[names]).astype(float)
        x = y + rng.normal(0, 1, 240) + 0.6 * rng.normal(0, 1, 60)[names]
        found = auc(x, y, names.tolist())
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / 400 <= 0.98
