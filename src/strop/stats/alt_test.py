"""The alternative annotator test: may a grader stand in for a person?

Calderon, Reichart and Dror 2025 (2501.10970): leave out one annotator at a time and ask who agrees better
with the others, the grader or the one left out. Where the grader is worse by exactly epsilon, one annotator
counts as won against (p <= 0.05) in 0.043 to 0.055 of 2,000 simulated sets by the t test and in 0.046 to
0.058 by the bootstrap, with 30 to 100 items (`benchmarks/audit_statistics.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from strop.stats.cluster import cluster_mean
from strop.stats.jackknife import cluster_index

Floats = NDArray[np.float64]


class Annotator(msgspec.Struct, frozen=True, kw_only=True):
    """The grader against one annotator who was left out.

    grader_at_least, annotator_at_least: share of the n items on which that side agrees with the others at
    least as well (ties count for both). p: of "the grader is worse by epsilon or more". won: p is rejected.
    """

    annotator: int
    n: int
    grader_at_least: float
    annotator_at_least: float
    p: float
    won: bool


class AltTest(msgspec.Struct, frozen=True, kw_only=True):
    """winning_rate: share of the annotators that the grader wins against; passed: it is at least 0.5.

    advantage: probability that the grader is as good as or better than a random annotator (the measure
    to compare graders by). skipped: annotators with too few items that another one rated too. All None
    where every annotator was skipped.
    """

    winning_rate: float | None
    advantage: float | None
    passed: bool | None
    epsilon: float
    annotators: tuple[Annotator, ...]
    skipped: tuple[int, ...]


def alt_test(
    grader_N: ArrayLike,
    ratings_A_N: ArrayLike,
    *,
    epsilon: float,
    score: Literal["accuracy", "rmse"] = "accuracy",
    method: Literal["t", "bootstrap"] = "t",
    clusters: Sequence[object] | None = None,
    fewest: int = 30,
    q: float = 0.05,
    draws: int = 2000,
    seed: int = 0,
) -> AltTest:
    """Test a grader's ratings against those of A annotators (NaN: not rated).

    epsilon: what the grader may be worse by, for being cheaper: 0.2 with experts, 0.15 with skilled
    annotators, 0.1 with a crowd. score: agreement with the others, "accuracy" for categories, "rmse" for
    scales. clusters: items whose errors may correlate; the t test is then the clustered one of
    `stats/cluster.py`, the bootstrap draws clusters. fewest: items an annotator needs (the paper's 30).
    q: false discovery rate of Benjamini and Yekutieli (2001). Raises ValueError for shapes that differ.
    """
    grader, ratings = np.asarray(grader_N, dtype=np.float64), np.asarray(ratings_A_N, dtype=np.float64)
    if ratings.ndim != 2 or grader.shape != ratings.shape[1:]:
        raise ValueError(f"grader {grader.shape}, ratings {ratings.shape}: items, and annotators x items")
    index_N = cluster_index(clusters, grader.size)
    rng = np.random.default_rng(seed)
    rows, skipped = list[Annotator](), list[int]()
    for left_out in range(len(ratings)):
        own_N, others = ratings[left_out], np.delete(ratings, left_out, axis=0)
        usable_N = np.isfinite(own_N) & np.isfinite(grader) & np.isfinite(others).any(axis=0)
        n = int(usable_N.sum())
        if n < max(fewest, 2):
            skipped.append(left_out)
            continue
        of_grader = _alignment(grader[usable_N], others[:, usable_N], score)
        of_own = _alignment(own_N[usable_N], others[:, usable_N], score)
        grader_wins, own_wins = of_grader >= of_own - 1e-12, of_own >= of_grader - 1e-12
        gap = own_wins.astype(np.float64) - grader_wins
        names = index_N[usable_N]
        p = _t_test(gap, names, epsilon) if method == "t" else _bootstrap(gap, names, epsilon, draws, rng)
        rows.append(
            Annotator(
                annotator=left_out, n=n, grader_at_least=float(grader_wins.mean()),
                annotator_at_least=float(own_wins.mean()), p=p, won=False,
            )
        )  # fmt: skip
    won = benjamini_yekutieli([r.p for r in rows], q)
    rows = [msgspec.structs.replace(r, won=bool(w)) for r, w in zip(rows, won, strict=True)]
    rate = float(np.mean(won)) if rows else None
    return AltTest(
        winning_rate=rate,
        advantage=float(np.mean([r.grader_at_least for r in rows])) if rows else None,
        passed=None if rate is None else rate >= 0.5,
        epsilon=epsilon,
        annotators=tuple(rows),
        skipped=tuple(skipped),
    )


def benjamini_yekutieli(p_values: Sequence[float], q: float = 0.05) -> NDArray[np.bool_]:
    """Return which hypotheses are rejected at false discovery rate q under any dependence."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.size == 0:
        return np.zeros(0, dtype=np.bool_)
    order, rank = np.argsort(p), np.arange(1, p.size + 1)
    below = np.flatnonzero(p[order] <= rank / p.size * q / (1.0 / rank).sum())
    out = np.zeros(p.size, dtype=np.bool_)
    out[order[: below[-1] + 1 if below.size else 0]] = True
    return out


def _alignment(own_N: Floats, others_A_N: Floats, score: Literal["accuracy", "rmse"]) -> Floats:
    """Return how well one rating of each item agrees with the others' of it, higher is better."""
    given = np.isfinite(others_A_N)
    miss = (others_A_N != own_N).astype(np.float64) if score == "accuracy" else (others_A_N - own_N) ** 2
    mean_N = np.where(given, miss, 0.0).sum(axis=0) / given.sum(axis=0)
    return -mean_N if score == "accuracy" else -np.sqrt(mean_N)


def _t_test(gap_N: Floats, index_N: NDArray[np.intp], epsilon: float) -> float:
    """Return the p value of "mean gap >= epsilon", from the clustered t."""
    found = cluster_mean(gap_N, [str(i) for i in index_N], bounds=(-1.0, 1.0))
    if found.clusters < 2:
        return 1.0
    if found.se > 0:
        return float(stdtr(found.df, (found.mean - epsilon) / found.se))
    if found.mean >= epsilon:
        return 1.0
    # All gaps are equal: the likeliest way to see that though the mean is epsilon, once a cluster.
    return float(((1.0 - epsilon) / (1.0 - found.mean)) ** found.clusters)


def _bootstrap(
    gap_N: Floats, index_N: NDArray[np.intp], epsilon: float, draws: int, rng: np.random.Generator
) -> float:
    """Return the p value of "mean gap >= epsilon", from means of resampled clusters moved to epsilon."""
    names, index_N = np.unique(index_N, return_inverse=True)
    if names.size < 2 or np.ptp(gap_N) == 0:
        return _t_test(gap_N, index_N, epsilon)
    sum_G, n_G = np.bincount(index_N, gap_N), np.bincount(index_N).astype(np.float64)
    times_B_G = rng.multinomial(names.size, np.full(names.size, 1.0 / names.size), size=draws)
    moved_B = (times_B_G @ sum_G) / (times_B_G @ n_G) - gap_N.mean()
    return float((1 + (moved_B <= gap_N.mean() - epsilon).sum()) / (draws + 1))
