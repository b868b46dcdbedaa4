"""Means and paired differences of clustered data, honest with few and unequal clusters.

The estimate is the plain mean over observations (the natural traffic mix). Its variance is the
bias-reduced cluster-robust one (CR2), its reference distribution a t with Satterthwaite degrees of
freedom (Bell and McCaffrey 2002; Pustejovsky and Tipton 2018), both under the working model of
independent errors. With an intercept alone both have closed forms:

    f_g  share of the observations in cluster g
    S_g  sum of the residuals of cluster g
    V    = sum_g S_g^2 / (1 - f_g) / N^2
    df   = 1 / (sum_g f_g^2 + sum_{g != h} a_g a_h),  a_g = f_g^2 / (1 - f_g)

Equal clusters give df = G - 1, one observation a cluster the usual t interval. docs/gate.md has the
measured error rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from strop.stats.proportion import none_seen_bound

Floats = NDArray[np.float64]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A mean with its uncertainty.

    low, high: two-sided interval at `alpha`, cut at the outcome's bounds. sd: of single values.
    effective_clusters: see `effective_clusters()`. note: where this is not the plain clustered t.
    """

    mean: float
    se: float
    df: float
    low: float
    high: float
    n: int
    clusters: int
    effective_clusters: float
    sd: float
    bounds: tuple[float, float]
    alpha: float = 0.05
    note: str = ""

    @property
    def design_effect(self) -> float:
        """Return the variance of the mean over what independent observations would have."""
        return self.se**2 * self.n / self.sd**2 if self.sd > 0 else 1.0

    def lower(self, alpha: float) -> float:
        """Return the one-sided lower bound with error rate alpha."""
        return max(self.mean - self._reach(alpha, self.mean - self.bounds[0]), self.bounds[0])

    def upper(self, alpha: float) -> float:
        """Return the one-sided upper bound with error rate alpha."""
        return min(self.mean + self._reach(alpha, self.bounds[1] - self.mean), self.bounds[1])

    def _reach(self, alpha: float, room: float) -> float:
        if self.clusters < 2:
            return room
        if self.sd == 0.0:
            return none_seen_bound(self.n, alpha) * room
        reach = float(stdtrit(self.df, 1.0 - alpha)) * self.se
        if not isfinite(room):
            return reach
        return max(reach + room / (self.n + 1), none_seen_bound(self.n, alpha) * room)


def cluster_mean(
    values: ArrayLike,
    clusters: Sequence[str],
    *,
    alpha: float = 0.05,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """Estimate the mean of values whose errors may correlate inside a cluster.

    bounds: range of the outcome, (-1, 1) for differences of scores, infinite where it has none. Where
    it is finite, each bound moves as though one further task had gone to that end of the range (rare
    losses all on one side make the plain t too short), and is never nearer to the mean than what a
    deviation that n tasks did not show would leave (exact form of the rule of three). Values that are
    all equal get that bound, one cluster gets the whole range, and `note` says so. Raises ValueError
    for no values, lengths that differ, or values that are not finite.
    """
    values_N = np.asarray(values, dtype=np.float64)
    if values_N.size == 0 or values_N.size != len(clusters) or not np.isfinite(values_N).all():
        raise ValueError(f"{values_N.size} values for {len(clusters)} cluster names: all finite, one each")
    _, index_N = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    n_G = np.bincount(index_N).astype(np.float64)
    constant = bool(values_N.min() == values_N.max())
    mean = float(values_N[0] if constant else values_N.mean())
    if constant or n_G.size < 2:
        variance, df = 0.0, 0.0
    else:
        variance, df = _cr2(np.bincount(index_N, weights=values_N - mean).astype(np.float64), n_G)
    estimate = Estimate(
        mean=mean,
        se=float(np.sqrt(variance)),
        df=df,
        low=bounds[0],
        high=bounds[1],
        n=int(values_N.size),
        clusters=int(n_G.size),
        effective_clusters=effective_clusters(n_G),
        sd=0.0 if constant else float(values_N.std(ddof=1)),
        bounds=bounds,
        alpha=alpha,
        note=_note(int(n_G.size), constant),
    )
    return msgspec.structs.replace(estimate, low=estimate.lower(alpha / 2), high=estimate.upper(alpha / 2))


def paired(first: ArrayLike, second: ArrayLike, clusters: Sequence[str], *, alpha: float = 0.05) -> Estimate:
    """Estimate the mean difference first - second of scores in [0, 1] on the same tasks."""
    first_N = np.asarray(first, dtype=np.float64)
    second_N = np.asarray(second, dtype=np.float64)
    if first_N.shape != second_N.shape:
        raise ValueError(f"{first_N.size} and {second_N.size} scores are not pairs")
    return cluster_mean(first_N - second_N, clusters, alpha=alpha, bounds=(-1.0, 1.0))


def effective_clusters(sizes: ArrayLike) -> float:
    """Return exp(entropy) of the clusters' shares: G for equal sizes, near 1 where one has all.

    Hill's number of order 1. The number of order 2, 1 / sum(f^2), can't exceed 9 where one cluster
    has a third, however many others there are; what unequal sizes cost is already in `df`.
    """
    n_G = np.asarray(sizes, dtype=np.float64)
    share_G = n_G[n_G > 0] / n_G.sum()
    return float(np.exp(-(share_G * np.log(share_G)).sum()))


def _cr2(sums_G: Floats, n_G: Floats) -> tuple[float, float]:
    n = float(n_G.sum())
    share_G = n_G / n
    variance = float((sums_G**2 / (1.0 - share_G)).sum()) / n**2
    a_G = share_G**2 / (1.0 - share_G)
    off_diagonal = float(a_G.sum()) ** 2 - float((a_G**2).sum())
    return variance, 1.0 / (float((share_G**2).sum()) + off_diagonal)


def _note(clusters: int, constant: bool) -> str:
    if clusters < 2:
        return "one cluster: nothing can be said beyond the range"
    if constant:
        return "no spread seen: exact bound for a deviation that n independent tasks did not show"
    return ""
