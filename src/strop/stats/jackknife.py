"""Intervals by leaving out one cluster at a time, for coefficients that are no plain mean."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, stdtrit

from strop.stats.proportion import none_seen_bound

_NO_SPREAD = 1e-12  # of the range: rounding of equal values


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A two-sided interval; `se` is NaN, and low and high are the bounds, where nothing can be said."""

    low: float
    high: float
    se: float
    note: str = ""


def jackknife(
    value: float,
    without_G: ArrayLike,
    *,
    alpha: float = 0.05,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """Return the interval of a coefficient from its values without each of G clusters in turn.

    Jackknife variance (Efron and Stein 1981), t with G - 1 degrees of freedom; see `t_interval`. A single
    cluster, or a coefficient that one cluster alone defines, gives the whole range and a note.
    """
    without = np.asarray(without_G, dtype=np.float64)
    clusters = without.size
    if clusters < 2 or not np.isfinite(without).all():
        why = "one cluster" if clusters < 2 else "one cluster alone defines the coefficient"
        return Interval(low=bounds[0], high=bounds[1], se=float("nan"), note=f"{why}: no interval")
    se = float(np.sqrt((clusters - 1) / clusters * ((without - without.mean()) ** 2).sum()))
    return t_interval(value, se, clusters - 1.0, clusters, alpha=alpha, bounds=bounds)


def t_interval(
    value: float, se: float, df: float, n: int, *, alpha: float, bounds: tuple[float, float]
) -> Interval:
    """Return a t interval, computed on the logit of the place between the bounds where they are finite.

    For (-1, 1) that is Fisher's transformation. Without spread (se 0, or a value on a bound) it is the
    exact bound for a deviation that n independent observations did not show, and `note` says so.
    """
    low, high = bounds
    reach = float(stdtrit(df, 1.0 - alpha / 2)) * se
    if not (isfinite(low) and isfinite(high)):
        return Interval(low=max(low, value - reach), high=min(high, value + reach), se=se)
    if se < _NO_SPREAD * (high - low) or not low < value < high:
        unseen = none_seen_bound(n, alpha / 2)
        note = f"no spread seen: exact bound for what {n} independent observations did not show"
        return Interval(
            low=value - unseen * (value - low), high=value + unseen * (high - value), se=se, note=note
        )
    place = (value - low) / (high - low)
    centre, reach = float(logit(place)), reach / (high - low) / (place * (1.0 - place))
    return Interval(
        low=low + (high - low) * float(expit(centre - reach)),
        high=low + (high - low) * float(expit(centre + reach)),
        se=se,
    )


def cluster_index(clusters: Sequence[object] | None, n: int) -> NDArray[np.intp]:
    """Return the number of each observation's cluster, 0 to G - 1; None makes each its own cluster.

    Raises ValueError where there is not one name for each of the n observations.
    """
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} cluster names for {n} observations: one each")
    return np.unique(np.asarray([str(c) for c in clusters], dtype=str), return_inverse=True)[1]
