"""Whether calling a tool pays: the break-even share of right calls, against the share the policy reaches.

A call that is right earns R, a wrong one -P, no call r0. Calling pays where q R - (1 - q) P > r0 + DV, so
where q, the share of right calls, exceeds q* = (r0 + DV + P) / (R + P). DV = E[outcome | no call] -
E[outcome | call], negative where the tool helps the outcome. A policy below q* learns to stop calling.
First-order argument about the reward's slope, no proof of convergence. The same algebra holds for
answering against abstaining and for trying against giving up.

Measured (`benchmarks/audit_statistics.py`, 2,000 simulated sets a setting): the 95 % interval of q - q*
covers in 0.945 to 0.972 from 40 calls on, with and without noise in the rewards, and in 0.955 and 0.957
with 20 and 40 contexts of 5 calls; at q = q* exactly "collapse predicted" comes in 0.011 to 0.026. Of 300
tabular policies trained by sampled policy gradient, 246 got a verdict from 400 rollouts and all of them did
as predicted; the sign of the margin alone was right for 287, and for 23 of the 35 whose q lay within 0.05
of q*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from strop.stats.cluster import cluster_mean
from strop.stats.jackknife import cluster_index
from strop.stats.proportion import clopper_pearson

Clusters = tuple[Sequence[object], Sequence[object], Sequence[object]]
Verdict = Literal["collapse predicted", "at risk", "pays", "unknown"]
_NO_SPREAD = 1e-12
_FEW = 5


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """A mean reward with its t interval; `fixed` where it is known or all n rewards are equal.

    se is infinite where rewards of a single cluster differ.
    """

    mean: float
    low: float
    high: float
    se: float
    df: float
    n: int
    fixed: bool


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """What to set, one change at a time, so that calling pays at the lower bound of q.

    max_penalty: largest P, None where even P = 0 is not enough. max_fallback: largest r0. min_reward: least
    R, None where the lower bound is 0.
    """

    max_penalty: float | None
    max_fallback: float
    min_reward: float | None


class Incentive(msgspec.Struct, frozen=True, kw_only=True):
    """One tool: q and q* with their intervals, the margin q - q*, and what follows.

    verdict: "collapse predicted" where the margin's interval lies under 0, "pays" above, "at risk" where it
    spans 0; "unknown" where one of the three rewards was never seen or a right call earns no more than a
    wrong one, which `note` says.
    """

    tool: str
    right: Amount | None
    wrong: Amount | None
    not_called: Amount | None
    outcome_gap: float
    q: float | None
    q_low: float
    q_high: float
    break_even: float | None
    break_even_low: float | None
    break_even_high: float | None
    margin: float | None
    margin_low: float | None
    margin_high: float | None
    calls: int
    verdict: Verdict
    fix: Fix | None
    note: str = ""


def break_even(right: float, wrong: float, not_called: float, outcome_gap: float = 0.0) -> float | None:
    """Return q* from the mean rewards of a right call, a wrong call and no call; None where R + P <= 0.

    `wrong` is the reward itself, so -P.
    """
    spread = right - wrong
    return None if spread <= _NO_SPREAD else (not_called + outcome_gap - wrong) / spread


def incentive(
    tool: str,
    right: ArrayLike,
    wrong: ArrayLike,
    not_called: ArrayLike,
    *,
    outcome_called: ArrayLike | None = None,
    outcome_not_called: ArrayLike | None = None,
    known: tuple[float | None, float | None, float | None] = (None, None, None),
    clusters: Clusters | None = None,
    alpha: float = 0.05,
) -> Incentive:
    """Judge one tool by measured rewards of rollouts that called it right, wrong, and not at all.

    outcome_called, outcome_not_called: outcome rewards that the three arrays don't hold, in their order
    (right then wrong; not called); both or neither. known: rewards that the grader's rules fix for a right
    call, a wrong one and none, in place of measured means (the arrays still count calls). clusters: names
    (prompts, contexts) for each of the three arrays; without them q has its exact (Clopper-Pearson)
    interval. NaN rewards are left out: an error is no score. The margin's interval joins those of q and q*
    (MOVER, Zou and Donner 2008), so a q* from few rewards widens it; rewards that are all equal are taken
    as known, which `note` says where they are few. Raises ValueError where only one outcome array is given
    or clusters don't fit.
    """
    if (outcome_called is None) != (outcome_not_called is None):
        raise ValueError("outcome rewards of rollouts with and without the call: both or neither")
    names = clusters or (None, None, None)
    called = None if clusters is None else [*clusters[0], *clusters[1]]
    got, lost, idle = (
        _amount(values, name, alpha, rule)
        for values, name, rule in zip((right, wrong, not_called), names, known, strict=True)
    )
    with_call, without = _amount(outcome_called, called, alpha), _amount(outcome_not_called, names[2], alpha)
    moved = without.mean - with_call.mean if with_call and without else 0.0
    q, q_low, q_high = _share(right, wrong, called, alpha)
    blind = outcome_called is not None and not (with_call and without)
    star = break_even(got.mean, lost.mean, idle.mean, moved) if got and lost and idle and not blind else None
    found = Incentive(
        tool=tool, right=got, wrong=lost, not_called=idle, outcome_gap=moved, q=q, q_low=q_low, q_high=q_high,
        break_even=star, break_even_low=None, break_even_high=None, margin=None, margin_low=None,
        margin_high=None, calls=(got.n if got else 0) + (lost.n if lost else 0), verdict="unknown", fix=None,
        note="no graded outcome with or without the call" if blind else _note(got, lost, idle, known),
    )  # fmt: skip
    if not (got and lost and idle and q is not None and star is not None):
        return found
    reach = _star_reach(star, got, lost, [a for a in (idle, with_call, without) if a], alpha)
    margin_low = q - star - math.hypot(q - q_low, reach)
    margin_high = q - star + math.hypot(q_high - q, reach)
    return msgspec.structs.replace(
        found,
        break_even_low=star - reach,
        break_even_high=star + reach,
        margin=q - star,
        margin_low=margin_low,
        margin_high=margin_high,
        verdict=_verdict(margin_low, margin_high),
        fix=_fix(q_low, got.mean, -lost.mean, idle.mean + moved, moved),
    )


def _verdict(margin_low: float, margin_high: float) -> Verdict:
    if margin_high < 0:
        return "collapse predicted"
    return "pays" if margin_low > 0 else "at risk"


def _note(got: Amount | None, lost: Amount | None, idle: Amount | None, known: Sequence[float | None]) -> str:
    """Return why there is no break-even point, or which part of it rests on few equal rewards."""
    parts = (("a right call", got), ("a wrong call", lost), ("no call", idle))
    absent = [name for name, amount in parts if amount is None]
    if absent:
        return f"no graded rollout with {' or '.join(absent)}: pass what the grader gives there as `known`"
    if got and lost and got.mean - lost.mean <= _NO_SPREAD:
        return "a right call earns no more than a wrong one: the grader does not grade this tool"
    few = [
        f"{name} ({amount.n})"
        for (name, amount), rule in zip(parts, known, strict=True)
        if amount and rule is None and amount.fixed and amount.n < _FEW
    ]
    return f"taken as fixed from few equal rewards: {', '.join(few)}" if few else ""


def _amount(
    rewards: ArrayLike | None, names: Sequence[object] | None, alpha: float, rule: float | None = None
) -> Amount | None:
    values = np.zeros(0) if rewards is None else np.asarray(rewards, dtype=np.float64).ravel()
    kept = ~np.isnan(values)
    if rule is not None:
        n = int(kept.sum())
        return Amount(mean=rule, low=rule, high=rule, se=0.0, df=0.0, n=n, fixed=True)
    if not kept.any():
        return None
    index = [str(i) for i in cluster_index(names, values.size)[kept]]
    found = cluster_mean(values[kept], index, alpha=alpha, bounds=(-math.inf, math.inf))
    fixed = found.sd == 0.0
    return Amount(
        mean=found.mean,
        low=found.mean if fixed else found.low,
        high=found.mean if fixed else found.high,
        se=found.se if fixed or found.clusters > 1 else math.inf,
        df=found.df,
        n=found.n,
        fixed=fixed,
    )


def _share(
    right: ArrayLike, wrong: ArrayLike, names: Sequence[object] | None, alpha: float
) -> tuple[float | None, float, float]:
    """Return the share of right calls with its interval; an ungraded call is no call."""
    kept = [~np.isnan(np.asarray(v, dtype=np.float64).ravel()) for v in (right, wrong)]
    hits, misses = (int(k.sum()) for k in kept)
    if hits + misses == 0:
        return None, 0.0, 1.0
    if names is None:
        return hits / (hits + misses), *clopper_pearson(hits, hits + misses, alpha)
    both = np.concatenate(kept)
    index = [str(i) for i in cluster_index(names, both.size)[both]]
    found = cluster_mean([1.0] * hits + [0.0] * misses, index, alpha=alpha)
    return found.mean, found.low, found.high


def _star_reach(star: float, right: Amount, wrong: Amount, others: Sequence[Amount], alpha: float) -> float:
    """Return half the interval of q*: first-order (delta) variance, t with Welch and Satterthwaite's df."""
    spread = right.mean - wrong.mean
    parts = [(star * right.se, right.df), ((1 - star) * wrong.se, wrong.df)]
    parts += [(a.se, a.df) for a in others]
    variances = [((se / spread) ** 2, df) for se, df in parts if se > 0]
    total = sum(v for v, _ in variances)
    if not variances or math.isinf(total):
        return total
    df = total**2 / sum(v**2 / df for v, df in variances)
    return float(stdtrit(df, 1 - alpha / 2)) * math.sqrt(total)


def _fix(q_low: float, reward: float, penalty: float, idle: float, gap: float) -> Fix:
    """Return the limits of P, r0 and R at which q* equals q_low; idle is r0 + DV."""
    most = (q_low * reward - idle) / (1 - q_low) if q_low < 1 else math.inf
    least = (idle + (1 - q_low) * penalty) / q_low if q_low > 0 else math.inf
    return Fix(
        max_penalty=most if 0 <= most < math.inf else None,
        max_fallback=q_low * reward - (1 - q_low) * penalty - gap,
        min_reward=least if math.isfinite(least) else None,
    )
