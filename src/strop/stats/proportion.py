"""Exact intervals for shares."""

from __future__ import annotations

from scipy.special import betaincinv


def clopper_pearson(successes: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) interval of a share, coverage at least 1 - alpha.

    n = 0 gives (0, 1). Raises ValueError unless 0 <= successes <= n and 0 < alpha < 1.
    """
    if not 0 <= successes <= n or not 0 < alpha < 1:
        raise ValueError(f"no share: {successes} of {n} at alpha {alpha}")
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, alpha / 2))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - alpha / 2))
    return low, high


def none_seen_bound(n: int, alpha: float = 0.025) -> float:
    """Return the largest share that n independent draws without a hit leave possible.

    1 - alpha**(1/n), the exact form of the rule of three (3/n at alpha 0.05); 1 for n = 0.
    """
    return 1.0 if n == 0 else 1.0 - alpha ** (1.0 / n)
