"""Over-optimisation foreseen without training: the best of N draws by the training grader, as gold sees it.

Optimising harder and harder against a grader is imitated by taking the best of more and more draws. Where
the held-out score falls as N grows, training against the grader will make things worse. Reinforcement
learning moves much further for the same gain, so this bounds the trouble from below.

Where gold has nothing to do with the grader, 0.020 to 0.024 of 2,000 simulated sets "fail" by chance, with 20
and 60 prompts of 16 draws (`benchmarks/audit_statistics.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import lambertw

from strop.stats.agreement import WithinSpearman, within_spearman
from strop.stats.cluster import Estimate, cluster_mean
from strop.stats.jackknife import cluster_index
from strop.stats.subsets import best_of

Floats = NDArray[np.float64]
SIZES = (1, 2, 4, 8, 16, 32, 64)
_FREE = (-math.inf, math.inf)
_WEAK = 0.3  # rank correlation within a prompt below which the grader hardly orders rollouts as gold does


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The best of `size` draws: distance sqrt(KL) in nats^0.5 from the policy, expected proxy and gold."""

    size: int
    distance: float
    proxy: float
    gold: Estimate


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """gold(d) - gold(0) = d (alpha - beta d) by least squares: Gao et al. 2022 (2210.10760) for best-of-N.

    peak: distance alpha / (2 beta) of the maximum, low and high its 95 % bootstrap interval over clusters,
    None where the curve has none. size: N at the peak, None without one or beyond any that can be drawn.
    """

    alpha: float
    beta: float
    peak: float | None
    low: float | None
    high: float | None
    size: float | None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """The curve and the verdict. fit: None with fewer than two sizes above 1.

    decline: paired gold@high - gold@low of `decline_sizes`. rank: correlation of the two graders within
    prompts. left_out: prompts with too few draws that both graders could score.
    """

    points: tuple[Point, ...]
    fit: Fit | None
    decline: Estimate
    decline_sizes: tuple[int, int]
    rank: WithinSpearman
    prompts: int
    left_out: int
    verdict: Literal["fails", "warns", "passes"]
    reason: str


def kl_best_of(n: float) -> float:
    """Return the KL divergence of best-of-n from the policy in nats: ln n - (n - 1) / n."""
    return math.log(n) - (n - 1.0) / n


def preview(
    proxy_P_N: ArrayLike,
    gold_P_N: ArrayLike,
    *,
    clusters: Sequence[object] | None = None,
    sizes: Sequence[int] = SIZES,
    draws: int = 1000,
    seed: int = 0,
) -> Preview:
    """Return the curve of the held-out score over best-of-N by the training grader, and the verdict.

    proxy_P_N, gold_P_N: both scores of N draws for P prompts, NaN where one failed. The expectation over
    all subsets is exact (U-statistic), ties are broken at random. Fails where gold@16 is below gold@4 (the
    95 % interval, clustered by `clusters` of the prompts, lies under 0; with fewer draws the largest size
    and a quarter of it); warns where proxy and gold correlate less than 0.3 within prompts. Prompts with
    under half of the draws scored are left out. Raises ValueError for shapes that differ, fewer than 4
    draws or no usable prompt.
    """
    proxy, gold = np.asarray(proxy_P_N, dtype=np.float64), np.asarray(gold_P_N, dtype=np.float64)
    if proxy.shape != gold.shape or proxy.ndim != 2:
        raise ValueError(f"proxy {proxy.shape} and gold {gold.shape}: both prompts x draws")
    scored = np.isfinite(proxy) & np.isfinite(gold)
    kept_P = scored.sum(axis=1) >= max(4.0, proxy.shape[1] / 2)
    if not kept_P.any():
        raise ValueError(f"no prompt has 4 draws and half of its {proxy.shape[1]} draws scored by both")
    names = [str(i) for i in cluster_index(clusters, len(proxy))[kept_P]]
    rows = [(p[s], g[s]) for p, g, s in zip(proxy[kept_P], gold[kept_P], scored[kept_P], strict=True)]
    used = sorted({1, *(n for n in sizes if 1 <= n <= min(len(p) for p, _ in rows))})
    gold_P_S = np.array([[best_of(p, n, g) for n in used] for p, g in rows])
    proxy_S = np.array([[best_of(p, n) for n in used] for p, _ in rows]).mean(axis=0)
    distance_S = np.sqrt([kl_best_of(n) for n in used])
    high = max(n for n in used if n <= 16)
    low = max(n for n in used if n <= max(high // 4, 1))
    decline = cluster_mean(gold_P_S[:, used.index(high)] - gold_P_S[:, used.index(low)], names, bounds=_FREE)
    rank = _rank(rows, names)
    verdict, reason = _verdict(decline, low, high, rank)
    return Preview(
        points=tuple(
            Point(size=n, distance=float(d), proxy=float(p), gold=cluster_mean(g, names, bounds=_FREE))
            for n, d, p, g in zip(used, distance_S, proxy_S, gold_P_S.T, strict=True)
        ),
        fit=_fit(distance_S, gold_P_S, names, draws, seed),
        decline=decline,
        decline_sizes=(low, high),
        rank=rank,
        prompts=len(rows),
        left_out=int((~kept_P).sum()),
        verdict=verdict,
        reason=reason,
    )


def _rank(rows: Sequence[tuple[Floats, Floats]], names: Sequence[str]) -> WithinSpearman:
    """Return how well the grader orders each prompt's draws as the held-out one does."""
    sizes = [len(p) for p, _ in rows]
    return within_spearman(
        np.concatenate([p for p, _ in rows]),
        np.concatenate([g for _, g in rows]),
        np.repeat(np.arange(len(rows)), sizes).tolist(),
        clusters=np.repeat(names, sizes).tolist(),
    )


def _fit(distance_S: Floats, gold_P_S: Floats, names: Sequence[str], draws: int, seed: int) -> Fit | None:
    """Fit all prompts' curves at once: alpha and beta are linear in them, so clusters can be redrawn."""
    if distance_S.size < 3:
        return None
    basis = np.stack([distance_S[1:], -(distance_S[1:] ** 2)], axis=1)
    own_P_2 = (gold_P_S[:, 1:] - gold_P_S[:, :1]) @ np.linalg.pinv(basis).T
    _, index_P = np.unique(names, return_inverse=True)
    count_G = np.bincount(index_P).astype(np.float64)
    sum_G_2 = np.stack([np.bincount(index_P, own_P_2[:, i]) for i in range(2)], axis=1)
    even = np.full(count_G.size, 1.0 / count_G.size)
    times = np.random.default_rng(seed).multinomial(count_G.size, even, size=draws)
    peaks = [_peak(a, b) for a, b in (times @ sum_G_2) / (times @ count_G)[:, None]]
    alpha, beta = (float(v) for v in own_P_2.mean(axis=0))
    peak = _peak(alpha, beta)
    low, high = np.quantile(peaks, (0.025, 0.975), method="higher")
    return Fit(
        alpha=alpha,
        beta=beta,
        peak=peak if math.isfinite(peak) else None,
        low=float(low) if math.isfinite(low) else None,
        high=float(high) if math.isfinite(high) else None,
        size=_size_at(peak),
    )


def _peak(alpha: float, beta: float) -> float:
    """Return the distance of the maximum of d (alpha - beta d): 0 where it only falls, inf where it rises."""
    if alpha <= 0:
        return 0.0 if beta >= 0 else math.inf
    return alpha / (2 * beta) if beta > 0 else math.inf


def _size_at(distance: float) -> float | None:
    """Return N whose best-of-N lies at a distance, None beyond any that could be drawn.

    ln N - 1 + 1/N = d^2 solved for 1/N by Lambert's W.
    """
    if not math.isfinite(distance):
        return None
    inverse = -float(np.real(lambertw(-math.exp(-(distance**2) - 1.0))))
    return 1.0 / inverse if inverse > 1e-9 else None


def _verdict(
    decline: Estimate, low: int, high: int, rank: WithinSpearman
) -> tuple[Literal["fails", "warns", "passes"], str]:
    shown = f"{decline.mean:+.3f} [{decline.low:+.3f}, {decline.high:+.3f}]"
    if decline.high < 0:
        return "fails", f"the held-out score of the best of {high} is below that of {low}: {shown}"
    if rank.rho is None or rank.rho < _WEAK:
        found = "is not defined" if rank.rho is None else f"is {rank.rho:.2f}"
        return "warns", f"rank correlation of the two graders within prompts {found}, under {_WEAK}"
    return "passes", f"no decline from best of {low} to best of {high}: {shown}"
