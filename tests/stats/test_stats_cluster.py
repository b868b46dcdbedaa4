from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from strop.stats.cluster import Estimate, cluster_mean, effective_clusters, paired
from strop.stats.power import needed_n
from strop.stats.proportion import clopper_pearson, none_seen_bound

clustered = st.lists(
    st.tuples(st.floats(0, 1, allow_nan=False, width=32), st.sampled_from("abcdefg")), min_size=4, max_size=60
).filter(lambda rows: len({c for _, c in rows}) > 1 and np.std([v for v, _ in rows]) > 1e-3)


def dense_cr2(values: NDArray[np.float64], clusters: list[str]) -> tuple[float, float]:
    """Bell and McCaffrey's matrices, written out: identity working model, intercept alone."""
    n = len(values)
    x = np.ones((n, 1))
    bread = np.linalg.inv(x.T @ x)
    residual_maker = np.eye(n) - x @ bread @ x.T
    residuals = residual_maker @ values
    variance, columns = 0.0, []
    for name in sorted(set(clusters)):
        rows = np.array([c == name for c in clusters])
        block = residual_maker[np.ix_(rows, rows)]
        eigenvalues, vectors = np.linalg.eigh(block)
        adjust = vectors @ np.diag(eigenvalues**-0.5) @ vectors.T
        score = bread @ x[rows].T @ adjust
        variance += float((score @ residuals[rows]).item()) ** 2
        columns.append((score @ residual_maker[rows]).ravel())
    p = np.array(columns) @ np.array(columns).T
    return variance, float(np.trace(p) ** 2 / np.trace(p @ p))


@settings(max_examples=60)
@given(clustered)
def test_closed_forms_equal_the_matrices(rows: list[tuple[float, str]]) -> None:
    values, clusters = np.array([v for v, _ in rows]), [c for _, c in rows]
    variance, df = dense_cr2(values, clusters)
    estimate = cluster_mean(values, clusters)
    assert estimate.se**2 == pytest.approx(variance, rel=1e-7, abs=1e-15)
    assert estimate.df == pytest.approx(df, rel=1e-7)


@settings(max_examples=60)
@given(clustered, st.randoms(use_true_random=False), st.floats(-2, 2), st.floats(0.5, 3))
def test_order_names_shift_and_scale_do_not_matter(
    rows: list[tuple[float, str]], random: object, shift: float, scale: float
) -> None:
    wide = (-np.inf, np.inf)
    first = cluster_mean([v for v, _ in rows], [c for _, c in rows], bounds=wide)
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    values = [shift + scale * v for v, _ in mixed]
    second = cluster_mean(values, [c.upper() * 2 for _, c in mixed], bounds=wide)
    assert second.mean == pytest.approx(shift + scale * first.mean, abs=1e-9)
    assert second.se == pytest.approx(scale * first.se, rel=1e-6, abs=1e-12)
    assert second.df == pytest.approx(first.df)


def test_equal_clusters_give_the_t_test_on_their_means() -> None:
    values = [0.1, 0.3, 0.5, 0.9, 0.2, 0.2, 0.8, 0.4]
    estimate = cluster_mean(values, list("aabbccdd"))
    means = np.array(values).reshape(4, 2).mean(axis=1)
    assert estimate.df == pytest.approx(3)
    assert estimate.se == pytest.approx(means.std(ddof=1) / 2)
    assert estimate.effective_clusters == pytest.approx(4)


def test_one_of_each_cluster_is_the_plain_t_interval() -> None:
    estimate = cluster_mean([0.0, 0.2, 0.4, 1.0], list("abcd"), bounds=(-np.inf, np.inf))
    assert estimate.se == pytest.approx(np.std([0.0, 0.2, 0.4, 1.0], ddof=1) / 2)
    assert estimate.design_effect == pytest.approx(1)
    assert estimate.high - estimate.mean == pytest.approx(3.1824463 * estimate.se)


def test_two_sided_interval_holds_both_one_sided_bounds() -> None:
    estimate = cluster_mean([0.3, 0.6, 0.4, 0.9, 0.1], list("aabbc"))
    assert estimate.low == estimate.lower(0.025)
    assert estimate.high == estimate.upper(0.025)


def test_equal_values_get_no_zero_width_interval_and_a_note() -> None:
    ones = cluster_mean([1.0] * 100, ["a", "b"] * 50)
    assert ones.mean == 1.0
    assert ones.high == 1.0
    assert ones.low == pytest.approx(clopper_pearson(100, 100)[0])
    assert "no spread" in ones.note
    thirds = cluster_mean([0.1 + 0.2] * 7, list("aabbccd"))
    assert thirds.sd == 0.0
    assert thirds.mean == 0.1 + 0.2


def test_an_interval_is_never_narrower_than_what_was_not_seen() -> None:
    one_of_400 = cluster_mean([0.0] + [1.0] * 399, [f"c{i % 40}" for i in range(400)])
    assert one_of_400.high == 1.0
    assert one_of_400.mean - one_of_400.low >= one_of_400.mean * none_seen_bound(400) - 1e-12
    balanced = cluster_mean([0.0, 1.0] * 20, [f"c{i // 2}" for i in range(40)])
    assert balanced.low < balanced.mean < balanced.high


def test_one_cluster_says_nothing() -> None:
    one = cluster_mean([0.2, 0.4], ["a", "a"])
    assert (one.low, one.high) == (0.0, 1.0)
    assert "one cluster" in one.note


@pytest.mark.parametrize(
    ("values", "clusters"), [([], []), ([1.0], ["a", "b"]), ([float("nan"), 1.0], ["a", "b"])]
)
def test_what_is_no_sample_is_refused(values: list[float], clusters: list[str]) -> None:
    with pytest.raises(ValueError, match="finite"):
        cluster_mean(values, clusters)


def test_pairs_must_match() -> None:
    assert paired([1.0, 0.5], [0.5, 0.5], ["a", "b"]).mean == 0.25
    with pytest.raises(ValueError, match="pairs"):
        paired([1.0], [1.0, 0.0], ["a", "b"])


def test_coverage_with_one_cluster_of_a_third_and_correlated_errors() -> None:
    rng = np.random.default_rng(5)
    sizes = np.array([60, *([4] * 30)])
    index = np.repeat(np.arange(31), sizes)
    names = [f"c{i}" for i in index]
    covered = 0
    for _ in range(600):
        values = 0.3 * rng.standard_normal(31)[index] + rng.standard_normal(len(index))
        estimate = cluster_mean(values, names, bounds=(-np.inf, np.inf))
        covered += estimate.low <= 0.0 <= estimate.high
    assert 0.92 <= covered / 600 <= 0.99


def test_effective_clusters() -> None:
    assert effective_clusters([5, 5, 5]) == pytest.approx(3)
    assert effective_clusters([1000, 1]) < 1.02
    assert 20 < effective_clusters([200] + [10] * 40) < 30


def test_clopper_pearson_known_values() -> None:
    assert clopper_pearson(0, 10) == (0.0, pytest.approx(0.3084971))
    assert clopper_pearson(5, 10) == (pytest.approx(0.1870860), pytest.approx(0.8129140))
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert none_seen_bound(300, 0.05) == pytest.approx(0.00994, abs=1e-4)
    with pytest.raises(ValueError, match="share"):
        clopper_pearson(3, 2)


def difference(mean: float, n: int = 200) -> Estimate:
    rng = np.random.default_rng(1)
    values = rng.choice([-0.6, 0.0, 0.6], n, p=[0.1, 0.8, 0.1])
    values = values - values.mean() + mean
    return cluster_mean(values, [f"c{i % 40}" for i in range(n)], bounds=(-1, 1))


def test_needed_n_has_the_power_it_claims() -> None:
    n = needed_n(difference(0.0), 0.03)
    assert n is not None
    rng = np.random.default_rng(2)
    passed = 0
    for _ in range(400):
        values = rng.normal(0, difference(0.0).sd, n)
        passed += (
            cluster_mean(values, [f"c{i % 200}" for i in range(n)], bounds=(-np.inf, np.inf)).lower(0.025)
            > -0.03
        )
    assert passed / 400 >= 0.75


def test_needed_n_grows_with_the_shortfall_and_ends_at_the_margin() -> None:
    level, behind = needed_n(difference(0.0), 0.03), needed_n(difference(-0.015), 0.03)
    assert level is not None
    assert behind is not None
    assert behind > 3 * level
    assert needed_n(difference(0.2), 0.03) == pytest.approx(level, rel=0.05)
    assert needed_n(difference(-0.03), 0.03) is None


def test_needed_n_without_spread() -> None:
    none = cluster_mean([0.0] * 50, ["a", "b"] * 25, bounds=(-1, 1))
    n = needed_n(none, 0.03)
    assert n is not None
    assert none_seen_bound(n) <= 0.03 < none_seen_bound(n - 1)
