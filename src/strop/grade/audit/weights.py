"""What each component of a weighted grader really contributes, and whether partial credit can be farmed.

A policy gradient sees differences within a prompt's group of rollouts only. A component that hardly
differs there has no say, whatever its nominal weight; shares below are of that variance, not of the score.
Measured coverage of the 95 % interval of an effective weight: 0.944 to 0.955 with 30 and 100 prompts of 4
and 8 (2,000 simulated sets a setting, `benchmarks/audit_statistics.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from strop.stats.jackknife import jackknife

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
FLAT = 1e-6  # the trainer's own threshold for a group without spread


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One component: nominal share of the weights against effective share of the advantage's variance.

    effective: Cov_within(w c, r) / Var_within(r), sums to 1 over the components, negative where the
    component works against the score; None where no group has spread. low, high: jackknife over prompts,
    None where one prompt has all the spread.
    within_sd: spread of the component within groups. dead: it has none, so its weight only moves the mean.
    """

    name: str
    weight: float
    nominal: float
    effective: float | None
    low: float | None
    high: float | None
    within_sd: float
    dead: bool


class EffectiveWeights(msgspec.Struct, frozen=True, kw_only=True):
    """groups: with two graded rollouts or more; flat: those of them whose scores are all equal.

    ungraded: rollouts with a missing component, left out.
    """

    components: tuple[Component, ...]
    groups: int
    flat: int
    ungraded: int

    @property
    def dead(self) -> tuple[str, ...]:
        """Return the names of the components that never differ within a group."""
        return tuple(c.name for c in self.components if c.dead)


def effective_weights(
    components_P_G_K: ArrayLike,
    weights_K: ArrayLike,
    gate_P_G: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> EffectiveWeights:
    """Return nominal and effective weight of each component.

    components_P_G_K: scores of K components for P prompts with G rollouts, NaN where one could not be
    graded. gate_P_G: False where a gate sets the whole score to 0. Raises ValueError for other shapes.
    """
    components, weights = checked(components_P_G_K, weights_K)
    labels = _names(names, weights.size)
    graded = gradable(components)
    usable = graded & (graded.sum(axis=1, keepdims=True) >= 2)
    part = centred(_contributions(components, weights, gate_P_G), usable)
    total = part.sum(axis=2)
    cov_P_K = (part * total[:, :, None]).sum(axis=1)
    var_P = (total**2).sum(axis=1)
    raw = centred(components, usable)
    within_K = np.sqrt((raw**2).sum(axis=(0, 1)) / max(int(usable.sum()), 1))
    live_P = usable.any(axis=1)
    flat = int((live_P & (np.abs(total).max(axis=1, initial=0.0) < FLAT)).sum())
    rows: list[Component] = []
    for k, name in enumerate(labels):
        share = low = high = None
        if flat < live_P.sum():
            share = float(cov_P_K[:, k].sum() / var_P.sum())
            found = jackknife(share, _without(cov_P_K[live_P, k], var_P[live_P]), alpha=alpha)
            low, high = (found.low, found.high) if np.isfinite(found.se) else (None, None)
        rows.append(
            Component(
                name=name,
                weight=float(weights[k]),
                nominal=float(abs(weights[k]) / np.abs(weights).sum()),
                effective=share,
                low=low,
                high=high,
                within_sd=float(within_K[k]),
                dead=bool(live_P.any() and np.abs(raw[:, :, k]).max(initial=0.0) < FLAT),
            )
        )
    return EffectiveWeights(
        components=tuple(rows), groups=int(live_P.sum()), flat=flat, ungraded=int((~graded).sum())
    )


def _without(cov_P: Floats, var_P: Floats) -> Floats:
    """Return the share without each prompt in turn, NaN where that prompt has all the variance."""
    rest_P = var_P.sum() - var_P
    out_P = np.full(rest_P.size, np.nan)
    return np.divide(cov_P.sum() - cov_P, rest_P, out=out_P, where=rest_P > 1e-12 * var_P.sum())


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two components that rank rollouts alike (or in reverse): one thing counted twice.

    rho: Spearman's correlation over all rollouts. within: over rollouts as ranked inside their group,
    what the advantage sees; None where one of them has no spread there.
    """

    first: str
    second: str
    rho: float
    within: float | None


class Correlations(msgspec.Struct, frozen=True, kw_only=True):
    """spearman, within: K x K, None where a component is constant. doubled: pairs over the threshold."""

    names: tuple[str, ...]
    spearman: tuple[tuple[float | None, ...], ...]
    within: tuple[tuple[float | None, ...], ...]
    doubled: tuple[Pair, ...]
    n: int


def correlations(
    components_P_G_K: ArrayLike, *, names: Sequence[str] | None = None, threshold: float = 0.9
) -> Correlations:
    """Return Spearman's correlations of the components, and the pairs with |rho| over the threshold.

    `within` correlates ranks taken inside each group and centred there, pooled over the groups.
    """
    components = np.asarray(components_P_G_K, dtype=np.float64)
    components, weights = checked(components, np.ones(components.shape[-1] if components.ndim else 0))
    labels = _names(names, weights.size)
    graded = gradable(components)
    flat_N_K = components[graded]
    pooled = _correlation(rankdata(flat_N_K, axis=0)) if len(flat_N_K) else _correlation(flat_N_K)
    ranks = [rankdata(rows[keep], axis=0) for rows, keep in zip(components, graded, strict=True)]
    inside = _correlation(np.concatenate([r - r.mean(axis=0) for r in ranks if len(r)] or [flat_N_K]))
    doubled: list[Pair] = []
    for i in range(len(labels)):
        for j in range(i):
            rho = pooled[j][i]
            if rho is not None and abs(rho) > threshold:
                doubled.append(Pair(first=labels[j], second=labels[i], rho=rho, within=inside[j][i]))
    return Correlations(names=labels, spearman=pooled, within=inside, doubled=tuple(doubled), n=len(flat_N_K))


def _correlation(ranks_N_K: Floats) -> tuple[tuple[float | None, ...], ...]:
    gap = ranks_N_K - ranks_N_K.mean(axis=0) if len(ranks_N_K) else ranks_N_K
    cov = gap.T @ gap
    scale = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    rho = np.divide(cov, scale, out=np.full(cov.shape, np.nan), where=scale > 1e-9)
    return tuple(tuple(None if np.isnan(v) else float(np.clip(v, -1, 1)) for v in row) for row in rho)


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What a failed outcome can still score, against what an honest success scores at least.

    failed_max: observed, None without a failed rollout. theoretical_max: all other components full.
    passed_min: least score of an honest rollout with the outcome, None without one. farmable: a failure
    can score as much as some honest success; `observed` says whether one in the sample already did.
    """

    failed: int
    passed: int
    failed_max: float | None
    theoretical_max: float
    passed_min: float | None
    farmable: bool | None
    observed: bool


def outcome_reach(
    components_P_G_K: ArrayLike,
    weights_K: ArrayLike,
    outcome: int,
    gate_P_G: ArrayLike | None = None,
    *,
    threshold: float = 1.0,
    closes: bool = False,
    honest_P_G: ArrayLike | None = None,
) -> Reach:
    """Compare the highest score without the outcome with the lowest honest one with it.

    outcome: index of the component that says the task was done, at `threshold` or above. closes: a failed
    outcome closes the gate, so that nothing is left to earn. honest_P_G: rollouts known to be honest,
    default all. The theoretical maximum takes the other components (in [0, 1]) at their best and the
    outcome at its best observed failure. Partial credit is worth farming where a failure can reach an
    honest success.
    """
    components, weights = checked(components_P_G_K, weights_K)
    graded = gradable(components)
    score = np.where(graded, _contributions(components, weights, gate_P_G).sum(axis=2), np.nan)
    honest = graded if honest_P_G is None else graded & np.asarray(honest_P_G, dtype=np.bool_)
    done = components[:, :, outcome] >= threshold
    failed, passed = graded & ~done, honest & done
    others = float(np.maximum(np.delete(weights, outcome), 0.0).sum())
    partial = float((weights[outcome] * components[:, :, outcome][failed]).max(initial=0.0))
    theoretical = 0.0 if closes else others + partial
    failed_max = float(score[failed].max()) if failed.any() else None
    passed_min = float(score[passed].min()) if passed.any() else None
    return Reach(
        failed=int(failed.sum()),
        passed=int(passed.sum()),
        failed_max=failed_max,
        theoretical_max=theoretical,
        passed_min=passed_min,
        farmable=None if passed_min is None else max(theoretical, failed_max or 0.0) >= passed_min - 1e-9,
        observed=passed_min is not None and failed_max is not None and failed_max >= passed_min - 1e-9,
    )


def scores(components_P_G_K: ArrayLike, weights_K: ArrayLike, gate_P_G: ArrayLike | None = None) -> Floats:
    """Return the weighted sum of each rollout, 0 where its gate is shut, NaN where a component is missing."""
    return _contributions(*checked(components_P_G_K, weights_K), gate_P_G).sum(axis=2)


def checked(components_P_G_K: ArrayLike, weights_K: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as arrays; ValueError unless there are K finite weights, not all 0."""
    components = np.asarray(components_P_G_K, dtype=np.float64)
    weights = np.asarray(weights_K, dtype=np.float64)
    fits = components.ndim == 3 and weights.shape == components.shape[2:] and np.isfinite(weights).all()
    if not fits or not weights.any():
        raise ValueError(
            f"components {components.shape} and weights {weights.shape}: prompts x group x components and "
            "one finite weight for each, not all 0"
        )
    return components, weights


def gradable(components_P_G_K: Floats) -> Mask:
    """Return which rollouts have all their components."""
    return np.asarray(np.isfinite(components_P_G_K).all(axis=2), dtype=np.bool_)


def _contributions(components: Floats, weights: Floats, gate_P_G: ArrayLike | None) -> Floats:
    part = components * weights
    if gate_P_G is None:
        return part
    gate = np.asarray(gate_P_G, dtype=np.bool_)
    if gate.shape != part.shape[:2]:
        raise ValueError(f"gate {gate.shape} for rollouts {part.shape[:2]}: one for each")
    return np.where(gate[:, :, None] | np.isnan(part), part, 0.0)


def centred(values_P_G_K: Floats, usable_P_G: Mask) -> Floats:
    """Return values minus their group's mean over usable rollouts, 0 for the others."""
    kept = np.where(usable_P_G[:, :, None], values_P_G_K, 0.0)
    mean = kept.sum(axis=1, keepdims=True) / np.maximum(usable_P_G.sum(axis=1), 1)[:, None, None]
    return np.where(usable_P_G[:, :, None], kept - mean, 0.0)


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    labels = tuple(f"component {k + 1}" for k in range(count)) if names is None else tuple(names)
    if len(labels) != count:
        raise ValueError(f"{len(labels)} names for {count} components")
    return labels
