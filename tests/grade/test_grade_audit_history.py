"""A new grader version against the old: every flip, by brute force, and what a past gate would say."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from strop.grade.audit.history import Rescored, history
from strop.records import Grade
from strop.stats.cluster import cluster_mean
from strop.stats.proportion import clopper_pearson


def grade(score: float | None) -> Grade:
    return Grade(error="raised KeyError: 'eta'") if score is None else Grade(score=score)


def row(subject: str, prompt: str, old: float | None, new: float | None, cluster: str = "") -> Rescored:
    return Rescored(subject=subject, prompt=prompt, old=grade(old), new=grade(new), cluster=cluster)


def test_each_flip_is_listed_with_its_scores() -> None:
    found = history(
        [
            row("a", "p", 0.9, 0.5), row("b", "p", 0.5, 0.9), row("c", "q", 0.9, None),
            row("d", "q", None, 0.2), row("e", "q", 0.8, 0.95), row("f", "r", None, None),
        ],
        pass_at=0.8,
    )  # fmt: skip
    assert [(f.subject, f.what, f.old, f.new) for f in found.flips] == [
        ("a", "pass to fail", 0.9, 0.5), ("b", "fail to pass", 0.5, 0.9),
        ("c", "error appeared", 0.9, None), ("d", "error gone", None, 0.2),
    ]  # fmt: skip
    assert [f.error for f in found.flips] == [None, None, "raised KeyError: 'eta'", "raised KeyError: 'eta'"]
    assert found.counts == {"pass to fail": 1, "fail to pass": 1, "error appeared": 1, "error gone": 1}
    assert (found.rollouts, found.compared, found.changed, found.flipped) == (6, 3, 3, pytest.approx(2 / 3))
    assert (found.flipped_low, found.flipped_high) == clopper_pearson(2, 3)
    assert found.best_changed == ("p",)
    assert [(r.better, r.worse, r.old, r.new) for r in found.reversals] == [
        ("a", "b", (0.9, 0.5), (0.5, 0.9))
    ]


scores = st.sampled_from([None, 0.0, 0.25, 0.5, 0.75, 1.0])


@given(st.lists(st.tuples(st.integers(0, 4), scores, scores), max_size=30), st.sampled_from([0.25, 0.5, 1.0]))
def test_all_counts_match_a_brute_force_recount(
    rows: list[tuple[int, float | None, float | None]], pass_at: float
) -> None:
    found = history([row(f"s{i}", f"p{p}", o, n) for i, (p, o, n) in enumerate(rows)], pass_at=pass_at)
    both = [(i, p, o, n) for i, (p, o, n) in enumerate(rows) if o is not None and n is not None]
    flipped = {f"s{i}" for i, _, o, n in both if (o >= pass_at) != (n >= pass_at)}
    errors = {f"s{i}" for i, (_, o, n) in enumerate(rows) if (o is None) != (n is None)}
    assert {f.subject for f in found.flips} == flipped | errors
    assert len(found.flips) == sum(found.counts.values()) == len(flipped) + len(errors)
    assert found.changed == sum(o != n for _, _, o, n in both)
    ordered = [(a, b) for a, b in permutations(both, 2) if a[1] == b[1] and a[2] > b[2]]
    assert found.pairs == len(ordered)
    assert found.levelled == sum(a[3] == b[3] for a, b in ordered)
    assert {(r.better, r.worse) for r in found.reversals} == {
        (f"s{a[0]}", f"s{b[0]}") for a, b in ordered if a[3] < b[3]
    }
    if both:
        assert found.change == cluster_mean(
            [n - o for _, _, o, n in both], [f"p{p}" for _, p, _, _ in both], bounds=(-1, 1)
        )


def test_the_same_version_flips_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = [row(str(i), f"p{i // 4}", s, s) for i, s in enumerate(rng.random(40))]
    found = history(rows, pass_at=0.8)
    assert found.flips == () and found.reversals == () and found.changed == found.levelled == 0
    assert found.best_changed == () and found.rank.rho == found.within.rho == pytest.approx(1.0)
    assert found.change is not None and found.change.mean == 0.0 and found.change.low < 0 < found.change.high


def test_rank_correlation_and_change_have_intervals() -> None:
    rng = np.random.default_rng(1)
    old = rng.random(300)
    new = np.clip(old - 0.1 + rng.normal(0, 0.1, 300), 0, 1)
    rows = [
        row(str(i), f"p{i // 3}", o, n, f"c{i // 6}") for i, (o, n) in enumerate(zip(old, new, strict=True))
    ]
    found = history(rows, pass_at=0.8)
    assert found.rank.rho == pytest.approx(spearmanr(old, new).statistic)
    assert found.rank.low is not None and found.rank.high is not None and found.rank.rho is not None
    assert found.rank.low < found.rank.rho < found.rank.high and found.rank.high - found.rank.low < 0.15
    assert found.change is not None and found.change.clusters == 50
    assert found.change.low < -0.09 < found.change.high < 0
    assert found.counts["pass to fail"] > found.counts["fail to pass"]
    flat = history([row(str(i), "p", 0.5, i / 9) for i in range(9)], pass_at=0.8)
    assert (flat.rank.rho, flat.within.rho, flat.pairs) == (None, None, 0) and flat.rank.note


def test_a_best_rollout_that_stays_among_the_best_is_no_change() -> None:
    rows = [row("a", "p", 1.0, 0.6), row("b", "p", 1.0, 0.9), row("c", "p", 0.2, 0.9)]
    assert history(rows, pass_at=0.8).best_changed == ()
    assert history([*rows[::2]], pass_at=0.8).best_changed == ("p",)


def test_no_rollouts() -> None:
    found = history([], pass_at=0.8)
    assert (found.change, found.flipped, found.pairs, found.rank.rho) == (None, None, 0, None)
