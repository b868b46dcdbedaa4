"""What the best of k draws is worth, estimated without bias from n >= k draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def best_of_weights(n: int, k: int) -> NDArray[np.float64]:
    """Return for each rank (ascending) its chance to be the highest of k taken from n without repetition.

    C(i - 1, k - 1) / C(n, k) for rank i of 1 to n. Raises ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"the best of {k} from {n} draws: 1 <= k <= n is needed")
    rank = np.arange(n, k, -1, dtype=np.float64)
    down = np.concatenate([[1.0], np.cumprod((rank - k) / (rank - 1.0))]) * k / n
    return np.concatenate([np.zeros(k - 1), down[::-1]])


def best_of(chosen_by: ArrayLike, k: int, worth: ArrayLike | None = None) -> float:
    """Return the expected worth of the draw that scores highest among k of n draws.

    U-statistic over all subsets of size k; ties in `chosen_by` are broken at random, so they share their
    mean worth. worth: default the scores themselves; passed (0/1) scores then give pass@k (Chen et al.
    2021, 2107.03374). Raises ValueError unless 1 <= k <= n.
    """
    by_N = np.asarray(chosen_by, dtype=np.float64)
    worth_N = by_N if worth is None else np.asarray(worth, dtype=np.float64)
    weight_N = best_of_weights(by_N.size, k)
    order = np.argsort(by_N, kind="stable")
    _, tie_N = np.unique(by_N[order], return_inverse=True)
    mean_T = np.bincount(tie_N, worth_N[order]) / np.bincount(tie_N)
    return float(weight_N @ mean_T[tie_N])
