"""How many tasks a non-inferiority test needs."""

from __future__ import annotations

import math

from scipy.special import stdtrit

from strop.stats.cluster import Estimate

_MOST = 10_000_000
_SMALLEST_GAP = 1e-6


def needed_n(difference: Estimate, margin: float, *, alpha: float = 0.025, power: float = 0.8) -> int | None:
    """Return the tasks at which the lower bound clears -margin with the given power.

    Assumes the observed clustered spread (se^2 n stays, so more tasks come from more customers in
    the same mix; more tasks of the same customers help less) and a true difference of 0, or the
    observed one where that is negative. None where it is -margin or worse: more tasks don't help.
    """
    gap = margin + min(difference.mean, 0.0)
    if gap < _SMALLEST_GAP or difference.clusters < 2:
        return None
    room = difference.mean - difference.bounds[0]
    room = room if math.isfinite(room) else 0.0
    least = math.ceil(math.log(alpha) / math.log1p(-gap / room)) if gap < room else 1
    if difference.sd == 0.0:
        return least
    low, high = 0, 1
    while not _enough(difference, high, gap, room, alpha, power):
        low, high = high, 2 * high
        if low > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _enough(difference, middle, gap, room, alpha, power) else (middle, high)
    return max(high, least)


def _enough(difference: Estimate, n: int, gap: float, room: float, alpha: float, power: float) -> bool:
    df = max(difference.df * n / difference.n, 1.0)
    reach = float(stdtrit(df, 1.0 - alpha)) + float(stdtrit(df, power))
    return reach * difference.se * math.sqrt(difference.n / n) + room / (n + 1) <= gap
