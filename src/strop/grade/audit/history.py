"""What a new version of the grader makes of the past: stored rollouts scored again, and what would flip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from strop.records import Grade
from strop.stats.agreement import WithinSpearman, within_spearman
from strop.stats.cluster import Estimate, cluster_mean
from strop.stats.jackknife import cluster_index, jackknife
from strop.stats.proportion import clopper_pearson

Floats = NDArray[np.float64]
Flipped = Literal["pass to fail", "fail to pass", "error appeared", "error gone"]

EQUAL = 1e-9
_BLOCKS = 100


class Rescored(msgspec.Struct, frozen=True, kw_only=True):
    """A stored rollout with the grade that it had and the one that the new version gives it.

    prompt: rollouts of one prompt are ordered against each other. cluster: whose errors may correlate (a
    customer), default the prompt.
    """

    subject: str
    old: Grade
    new: Grade
    prompt: str
    cluster: str = ""


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """One past verdict that would be another one now; scores are None for an error."""

    subject: str
    prompt: str
    what: Flipped
    old: float | None
    new: float | None
    error: str | None = None


class Reversal(msgspec.Struct, frozen=True, kw_only=True):
    """Two rollouts of a prompt in the other order: `better` was, and is not any more."""

    prompt: str
    better: str
    worse: str
    old: tuple[float, float]
    new: tuple[float, float]


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """Spearman's correlation over all rollouts, None where a version gives all the same score.

    The interval leaves out one cluster at a time, at most a hundred blocks of them.
    """

    rho: float | None
    low: float | None
    high: float | None
    n: int
    note: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A grader's two versions on the same rollouts.

    compared: with both scores. change: mean of new - old over these; changed: scores that moved at all.
    flips: every one of them, in the order of the rollouts; counts: of each kind. flipped: share of the
    rollouts whose verdict at `pass_at` is another one, with its exact interval in flipped_low, _high.
    pairs: of rollouts of one prompt that the old version ordered. reversals: those that the new one orders
    oppositely, levelled: those that it does not order. best_changed: prompts none of whose best rollouts is
    a best one any more. rank: over all; within: within prompts.
    """

    pass_at: float
    rollouts: int
    compared: int
    changed: int
    change: Estimate | None
    flips: tuple[Flip, ...]
    counts: dict[Flipped, int]
    flipped: float | None
    flipped_low: float
    flipped_high: float
    pairs: int
    reversals: tuple[Reversal, ...]
    levelled: int
    best_changed: tuple[str, ...]
    rank: Rank
    within: WithinSpearman


def history(rows: Sequence[Rescored], *, pass_at: float) -> History:
    """Compare two versions of a grader on stored rollouts and list what would flip.

    pass_at: the score from which a rollout counts as good, as where training takes it for imitation.
    """
    both = [row for row in rows if row.old.score is not None and row.new.score is not None]
    old = np.array([row.old.score for row in both], dtype=np.float64)
    new = np.array([row.new.score for row in both], dtype=np.float64)
    clusters = [row.cluster or row.prompt for row in both]
    flips = tuple(flip for row in rows if (flip := _flip(row, pass_at)) is not None)
    kinds: tuple[Flipped, ...] = ("pass to fail", "fail to pass", "error appeared", "error gone")
    counts: dict[Flipped, int] = {kind: sum(flip.what == kind for flip in flips) for kind in kinds}
    turned = counts["pass to fail"] + counts["fail to pass"]
    low, high = clopper_pearson(turned, len(both))
    pairs, reversals, levelled, best = _orders(both)
    return History(
        pass_at=pass_at,
        rollouts=len(rows),
        compared=len(both),
        changed=int((np.abs(new - old) > EQUAL).sum()),
        change=cluster_mean(new - old, clusters, bounds=(-1.0, 1.0)) if both else None,
        flips=flips,
        counts=counts,
        flipped=turned / len(both) if both else None,
        flipped_low=low,
        flipped_high=high,
        pairs=pairs,
        reversals=tuple(reversals),
        levelled=levelled,
        best_changed=tuple(best),
        rank=_rank(old, new, clusters),
        within=within_spearman(old, new, [row.prompt for row in both], clusters=clusters),
    )


def _flip(row: Rescored, pass_at: float) -> Flip | None:
    old, new = row.old.score, row.new.score
    what: Flipped
    if old is None and new is None:
        return None
    if old is None or new is None:
        what = "error gone" if old is None else "error appeared"
    else:
        was, now = (score >= pass_at - EQUAL for score in (old, new))
        if was == now:
            return None
        what = "pass to fail" if was else "fail to pass"
    error = row.new.error if new is None else row.old.error
    return Flip(subject=row.subject, prompt=row.prompt, what=what, old=old, new=new, error=error)


def _orders(rows: Sequence[Rescored]) -> tuple[int, list[Reversal], int, list[str]]:
    """Return ordered pairs, those that are reversed, those that became ties, prompts with another best."""
    prompts: dict[str, list[Rescored]] = {}
    for row in rows:
        prompts.setdefault(row.prompt, []).append(row)
    pairs, levelled = 0, 0
    reversals, best = list[Reversal](), list[str]()
    for prompt, own in prompts.items():
        scores = [(_score(row.old), _score(row.new)) for row in own]
        for i, (old_i, new_i) in enumerate(scores):
            for j, (old_j, new_j) in enumerate(scores):
                if old_i <= old_j + EQUAL:
                    continue
                pairs += 1
                if abs(new_i - new_j) <= EQUAL:
                    levelled += 1
                elif new_i < new_j:
                    reversals.append(
                        Reversal(
                            prompt=prompt,
                            better=own[i].subject,
                            worse=own[j].subject,
                            old=(old_i, old_j),
                            new=(new_i, new_j),
                        )
                    )
        tops = [max(score[k] for score in scores) - EQUAL for k in (0, 1)]
        if not any(o >= tops[0] and n >= tops[1] for o, n in scores):
            best.append(prompt)
    return pairs, reversals, levelled, best


def _score(grade: Grade) -> float:
    assert grade.score is not None
    return grade.score


def _rank(old_N: Floats, new_N: Floats, clusters: Sequence[str]) -> Rank:
    value = _spearman(old_N, new_N)
    if math.isnan(value):
        return Rank(rho=None, low=None, high=None, n=old_N.size, note="one version gives all one score")
    block_N = cluster_index(clusters, old_N.size) % _BLOCKS
    without = [_spearman(old_N[block_N != b], new_N[block_N != b]) for b in np.unique(block_N)]
    found = jackknife(value, without, bounds=(-1.0, 1.0))
    return Rank(rho=value, low=found.low, high=found.high, n=old_N.size, note=found.note)


def _spearman(old_N: Floats, new_N: Floats) -> float:
    if old_N.size < 2 or np.ptp(old_N) == 0 or np.ptp(new_N) == 0:
        return math.nan
    a, b = (rank - rank.mean() for rank in (rankdata(old_N), rankdata(new_N)))
    return float((a @ b) / np.sqrt((a @ a) * (b @ b)))
