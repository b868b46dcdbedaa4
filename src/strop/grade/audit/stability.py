"""Whether the ranking of rollouts hangs on the exact weights."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from strop.grade.audit.weights import FLAT, checked, scores

Floats = NDArray[np.float64]


class Stability(msgspec.Struct, frozen=True, kw_only=True):
    """Rankings within groups under perturbed weights, against the nominal ones.

    tau: Kendall's tau-b, mean over groups and draws, tau_low: its 5 % quantile over the draws. flips:
    share of (group, draw) in which none of the nominally best rollouts is still the best; groups_flipped:
    share of the groups in which that happens in more than half of the draws. flat: groups left out because
    nominal scores don't differ. All None where every group is flat.
    """

    tau: float | None
    tau_low: float | None
    flips: float | None
    groups_flipped: float | None
    groups: int
    flat: int
    draws: int
    concentration: float


def rank_stability(
    components_P_G_K: ArrayLike,
    weights_K: ArrayLike,
    gate_P_G: ArrayLike | None = None,
    *,
    draws: int = 200,
    concentration: float = 50.0,
    seed: int = 0,
) -> Stability:
    """Draw weights from a Dirichlet distribution around the nominal ones and compare the rankings.

    concentration: sum of the Dirichlet's parameters; at 50 a weight of 0.3 moves by about 0.064 (one
    standard deviation). Signs of weights stay, weights of 0 stay 0. Rollouts that could not be graded
    rank in no group.
    """
    components, weights = checked(components_P_G_K, weights_K)
    nominal = scores(components, weights, gate_P_G)
    span_P = np.array([np.ptp(r[~np.isnan(r)]) if (~np.isnan(r)).any() else 0.0 for r in nominal])
    kept = span_P >= FLAT
    counted = {"groups": int(kept.sum()), "flat": int((~kept).sum()), "draws": draws}
    if not kept.any():
        return Stability(
            tau=None, tau_low=None, flips=None, groups_flipped=None, concentration=concentration, **counted
        )
    components, nominal = components[kept], nominal[kept]
    gate = None if gate_P_G is None else np.asarray(gate_P_G, dtype=np.bool_)[kept]
    used = np.flatnonzero(weights)
    size = np.abs(weights[used])
    drawn = np.random.default_rng(seed).dirichlet(concentration * size / size.sum(), size=draws)
    best = nominal >= np.nanmax(nominal, axis=1, keepdims=True) - FLAT
    order = _signs(nominal)
    taus, flips = np.empty((draws, len(nominal))), np.empty((draws, len(nominal)), dtype=np.bool_)
    for b in range(draws):
        moved = np.zeros(weights.size)
        moved[used] = drawn[b] * size.sum() * np.sign(weights[used])
        other = scores(components, moved, gate)
        taus[b] = _tau(order, _signs(other))
        flips[b] = ~(best & (other >= np.nanmax(other, axis=1, keepdims=True) - FLAT)).any(axis=1)
    return Stability(
        tau=float(taus.mean()),
        tau_low=float(np.quantile(taus.mean(axis=1), 0.05)),
        flips=float(flips.mean()),
        groups_flipped=float((flips.mean(axis=0) > 0.5).mean()),
        concentration=concentration,
        **counted,
    )


def _signs(scores_P_G: Floats) -> Floats:
    """Return who beats whom in each group: 1, -1, or 0 for ties and rollouts without a score."""
    gap = scores_P_G[:, :, None] - scores_P_G[:, None, :]
    return np.where(np.isnan(gap) | (np.abs(gap) < FLAT), 0.0, np.sign(gap))


def _tau(one: Floats, other: Floats) -> Floats:
    """Return tau-b of each group, 0 where the other ranking ties all."""
    scale = np.sqrt((one**2).sum(axis=(1, 2)) * (other**2).sum(axis=(1, 2)))
    return np.divide((one * other).sum(axis=(1, 2)), scale, out=np.zeros(len(one)), where=scale > 0)
