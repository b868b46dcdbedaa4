"""Whether groups of rollouts differ enough to learn from: spread within prompts, headroom, and shape.

Measured coverage of the 95 % interval of the ICC: 0.931 to 0.946 with 30 and 100 prompts of 6 (2,000
simulated sets a setting, `benchmarks/audit_statistics.py`).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from scipy.stats import kurtosis, skew

from strop.grade.audit.weights import FLAT
from strop.grade.distribution import Distribution, distribution
from strop.stats.cluster import Estimate, cluster_mean
from strop.stats.jackknife import jackknife
from strop.stats.proportion import clopper_pearson
from strop.stats.subsets import best_of

Floats = NDArray[np.float64]
BIMODAL = 5 / 9  # Sarle's coefficient of the uniform distribution
NEAR = 0.05  # deviation under which a group teaches next to nothing
_BINS = 10


class ZeroAdvantage(msgspec.Struct, frozen=True, kw_only=True):
    """Share of groups of `group_size` rollouts whose scores are all equal: no gradient.

    observed: mean chance that such a group, drawn from the prompt's rollouts without repetition, is all
    equal; low, high: exact where each prompt has one group, else clustered by prompt. near: groups (rows)
    with a deviation under 0.05. expected_pooled: if every prompt had the pooled distribution of scores,
    p^G + (1-p)^G for binary ones. expected_by_prompt: each prompt's own shares, the same formula; biased
    upward by few rollouts. Observed far over pooled means prompts differ in difficulty or rollouts repeat:
    scores alone can't tell these apart where each prompt has one group.
    """

    group_size: int
    prompts: int
    observed: float | None
    low: float
    high: float
    near: float | None
    expected_pooled: float | None
    expected_by_prompt: float | None


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What the scores of P prompts with some rollouts each look like; None where nothing can be said.

    bimodality: Sarle's (g1^2 + 1) / (g2 + 3 (n-1)^2 / ((n-2)(n-3))), over 5/9 suggests two modes. entropy:
    of a histogram with 10 bins, over log 10. saturation: share of scores at the 99th percentile or above.
    signal: mean variance within prompts, which governs how fast a policy can learn. icc: variance between
    prompts over the total (ANOVA estimate, in [0, 1]): near 1 the score measures the prompt.
    headroom: best of k minus the mean. pass_headroom: pass@k - pass@1 at the threshold.
    """

    distribution: Distribution
    prompts: int
    ungraded: int
    bimodality: float | None
    entropy: float | None
    saturation: float | None
    zero_advantage: ZeroAdvantage
    signal: Estimate | None
    icc: float | None
    icc_low: float | None
    icc_high: float | None
    k: int
    headroom: Estimate | None
    pass_headroom: Estimate | None


def shape(
    scores_P_G: ArrayLike, *, group_size: int | None = None, k: int = 8, passed_at: float = 1.0
) -> Shape:
    """Describe scores in [0, 1] (prompts x rollouts, NaN where ungraded).

    group_size: rollouts that training compares, default the row's length. k: of pass@k and best-of-k, cut
    to the row's length; prompts with fewer graded rollouts are left out there. Raises ValueError for
    another shape, no columns, or scores outside [0, 1].
    """
    scores = np.asarray(scores_P_G, dtype=np.float64)
    graded = ~np.isnan(scores)
    if scores.ndim != 2 or scores.shape[1] < 1 or not ((scores >= 0) & (scores <= 1))[graded].all():
        raise ValueError(f"scores of shape {scores.shape}: prompts x rollouts, in [0, 1] or NaN")
    values = scores[graded]
    rows = [row[keep] for row, keep in zip(scores, graded, strict=True)]
    rows = [row for row in rows if row.size]
    size = scores.shape[1] if group_size is None else group_size
    facts = distribution([float(v) for v in values], max(size, 2))
    k = min(k, scores.shape[1])
    icc, icc_low, icc_high = _icc([row for row in rows if row.size >= 2])
    return Shape(
        distribution=facts,
        prompts=len(rows),
        ungraded=int((~graded).sum()),
        bimodality=bimodality(values),
        entropy=_entropy(facts.histogram),
        saturation=float((values >= np.quantile(values, 0.99)).mean()) if values.size else None,
        zero_advantage=zero_advantage(rows, size),
        signal=_mean([float(r.var(ddof=1)) for r in rows if r.size >= 2], (0.0, math.inf)),
        icc=icc,
        icc_low=icc_low,
        icc_high=icc_high,
        k=k,
        headroom=_mean([best_of(r, k) - float(r.mean()) for r in rows if r.size >= k], (0.0, 1.0)),
        pass_headroom=_mean(
            [best_of(d, k) - float(d.mean()) for d in ((r >= passed_at) * 1.0 for r in rows) if d.size >= k],
            (0.0, 1.0),
        ),
    )


def bimodality(values: ArrayLike) -> float | None:
    """Return Sarle's bimodality coefficient with bias-corrected moments; None without spread or n < 4."""
    v = np.asarray(values, dtype=np.float64)
    if v.size < 4 or np.ptp(v) < FLAT:
        return None
    n = v.size
    g1, g2 = float(skew(v, bias=False)), float(kurtosis(v, bias=False))
    return (g1**2 + 1) / (g2 + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))


def zero_advantage(rows: list[Floats], group_size: int) -> ZeroAdvantage:
    """Compare groups without spread with what independent draws would give; rows: graded scores by prompt."""
    counts = [_counts(row) for row in rows if row.size >= max(group_size, 2)]
    seen = [_all_equal(c, group_size) for c in counts]
    whole = all(c.sum() == group_size for c in counts)
    low, high = (0.0, 1.0)
    if seen and whole:
        low, high = clopper_pearson(round(sum(seen)), len(seen))
    elif seen:
        found = cluster_mean(seen, [str(i) for i in range(len(seen))])
        low, high = found.low, found.high
    pooled = _counts(np.concatenate(rows)) if rows else np.zeros(0)
    each = [float(((c / c.sum()) ** group_size).sum()) for c in (_counts(r) for r in rows if r.size >= 2)]
    return ZeroAdvantage(
        group_size=group_size,
        prompts=len(seen),
        observed=float(np.mean(seen)) if seen else None,
        low=low,
        high=high,
        near=float(np.mean([r.std() < NEAR for r in rows if r.size >= 2])) if each else None,
        expected_pooled=float(((pooled / pooled.sum()) ** group_size).sum()) if pooled.size else None,
        expected_by_prompt=float(np.mean(each)) if each else None,
    )


def _counts(values: Floats) -> Floats:
    """Return how often each value occurs; values that differ by less than the trainer can tell are one."""
    ordered = np.sort(values)
    level = np.concatenate([[0], np.cumsum(np.diff(ordered) >= FLAT)]).astype(np.intp)
    return np.bincount(level).astype(np.float64)


def _all_equal(counts: Floats, size: int) -> float:
    """Return the chance that `size` of these rollouts, drawn without repetition, score alike."""
    return float(np.exp(_log_choose(counts, size) - _log_choose(counts.sum(), size)).sum())


def _log_choose(n: ArrayLike, k: int) -> Floats:
    """Return log C(n, k), -inf where n < k."""
    count = np.asarray(n, dtype=np.float64)
    kept = np.maximum(count, k)
    out = gammaln(kept + 1) - gammaln(k + 1) - gammaln(kept - k + 1)
    return np.where(count >= k, out, -np.inf)


def _entropy(histogram: list[int]) -> float | None:
    """Return the entropy of ten bins over its maximum; the histogram has twenty."""
    counts = np.asarray(histogram, dtype=np.float64).reshape(_BINS, -1).sum(axis=1)
    if counts.sum() == 0:
        return None
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum() / math.log(_BINS)) + 0.0


def _mean(values: list[float], bounds: tuple[float, float]) -> Estimate | None:
    """Return the mean over prompts, each its own cluster."""
    return cluster_mean(values, [str(i) for i in range(len(values))], bounds=bounds) if values else None


def _icc(rows: list[Floats]) -> tuple[float | None, float | None, float | None]:
    """Return the intraclass correlation with its interval: jackknife over prompts."""
    if len(rows) < 2:
        return None, None, None
    n_P = np.array([float(r.size) for r in rows])
    mean_P = np.array([r.mean() for r in rows])
    within_P = np.array([((r - r.mean()) ** 2).sum() for r in rows])
    parts = np.stack([np.ones(n_P.size), n_P, n_P**2, n_P * mean_P, n_P * mean_P**2, within_P])
    value = float(_anova(parts.sum(axis=1)[:, None])[0])
    if math.isnan(value):
        return None, None, None
    if len(rows) < 3:
        return min(max(value, 0.0), 1.0), None, None
    found = jackknife(value, _anova(parts.sum(axis=1)[:, None] - parts), bounds=(-1.0, 1.0))
    cut = [min(max(v, 0.0), 1.0) for v in (value, found.low, found.high)]
    return cut[0], cut[1], cut[2]


def _anova(sums: Floats) -> Floats:
    """Return ICC(1) from sums over prompts of 1, n, n^2, n m, n m^2 and the squares within."""
    groups, n, n2, nm, nm2, within = sums
    between = np.maximum(nm2 - nm**2 / n, 0.0) / (groups - 1)
    inside = within / (n - groups)
    average = (n - n2 / n) / (groups - 1)
    total = between + (average - 1) * inside
    return np.divide(between - inside, total, out=np.full(n.size, np.nan), where=total > 1e-15)
