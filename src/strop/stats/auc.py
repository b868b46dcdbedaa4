"""How well scores separate two labels: the area under the ROC curve.

Measured coverage of the 95 % interval, 2,000 simulated sets a setting (`benchmarks/audit_statistics.py`):
0.936 to 0.966 from 20 observations of a label on, 0.958 to 0.975 with 15, 0.949 with four tied levels, 0.955
and 0.951 with 20 and 60 contexts whose scores shift together.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from strop.stats.jackknife import cluster_index, t_interval

Floats = NDArray[np.float64]


class Auc(msgspec.Struct, frozen=True, kw_only=True):
    """Share of (positive, negative) pairs in the right order, ties by half; None without both labels.

    clusters: with a score. missing: observations left out because the score is NaN: an error is no score.
    """

    auc: float | None
    low: float | None
    high: float | None
    se: float | None
    positives: int
    negatives: int
    clusters: int
    missing: int
    note: str = ""


def auc(
    scores: ArrayLike, labels: ArrayLike, clusters: Sequence[object] | None = None, *, alpha: float = 0.05
) -> Auc:
    """Return the AUC (Mann-Whitney, ties by half) of scores against 0/1 labels.

    The variance is DeLong's (1988), over `clusters` (contexts) Obuchowski's (1997), which is the same
    where each observation is its own cluster. The interval is Student's on the logit with Satterthwaite's
    degrees of freedom; where all pairs are in one order it is the exact bound for independent pairs.
    Raises ValueError for lengths that differ or labels other than 0 and 1.
    """
    score_N, label_N = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if score_N.shape != label_N.shape or score_N.ndim != 1 or not np.isin(label_N, (0.0, 1.0)).all():
        raise ValueError(f"{score_N.size} scores and {label_N.size} labels: one label each, 0 or 1")
    kept_N = ~np.isnan(score_N)
    index_N = np.unique(cluster_index(clusters, score_N.size)[kept_N], return_inverse=True)[1]
    score_N, positive_N = score_N[kept_N], label_N[kept_N] == 1.0
    m, n = int(positive_N.sum()), int((~positive_N).sum())
    count = int(index_N.max()) + 1 if index_N.size else 0
    counted = {"positives": m, "negatives": n, "clusters": count, "missing": int((~kept_N).sum())}
    if m == 0 or n == 0:
        return Auc(auc=None, low=None, high=None, se=None, note="one label only: not defined", **counted)
    placement_N = _placements(score_N, positive_N)
    value = float(placement_N[positive_N].mean())
    of_1, of_0 = np.unique(index_N[positive_N]).size, np.unique(index_N[~positive_N]).size
    gap_N = placement_N - value
    sum_1 = np.bincount(index_N[positive_N], gap_N[positive_N], count)
    sum_0 = np.bincount(index_N[~positive_N], gap_N[~positive_N], count)
    if of_1 < 2 or of_0 < 2:
        note = "one cluster of a label: no interval"
        return Auc(auc=value, low=0.0, high=1.0, se=None, note=note, **counted)
    variance_1 = of_1 / (of_1 - 1) * float(sum_1 @ sum_1) / m**2
    variance_0 = of_0 / (of_0 - 1) * float(sum_0 @ sum_0) / n**2
    both = 2 * count / (count - 1) * float(sum_1 @ sum_0) / (m * n)
    se = float(np.sqrt(max(variance_1 + variance_0 + both, 0.0)))
    spread = variance_1**2 / (of_1 - 1) + variance_0**2 / (of_0 - 1)
    df = (variance_1 + variance_0) ** 2 / spread if spread > 0 else 1.0
    pairs = min(of_1, of_0, count // 2)
    found = t_interval(value, se, df, pairs, alpha=alpha, bounds=(0.0, 1.0))
    return Auc(auc=value, low=found.low, high=found.high, se=se, note=found.note, **counted)


def _placements(score_N: Floats, positive_N: NDArray[np.bool_]) -> Floats:
    """Return for each observation the share of the other label that it is in the right order with."""
    m, n = int(positive_N.sum()), int((~positive_N).sum())
    rank_N = rankdata(score_N)
    out_N = np.empty(score_N.size)
    out_N[positive_N] = (rank_N[positive_N] - rankdata(score_N[positive_N])) / n
    out_N[~positive_N] = 1.0 - (rank_N[~positive_N] - rankdata(score_N[~positive_N])) / m
    return out_N
