"""The distribution of scores, and whether a model can learn from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

BINS = 20


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Scores in [0, 1], summed up.

    histogram: counts in 20 equal bins, 1.0 in the last. sd: standard deviation of the population.
    zero_advantage: expected share of groups whose scores are all equal, for binary scores only.
    broken: why nothing can be learned from these scores, None where something can.
    """

    n: int
    histogram: list[int]
    mean: float | None
    sd: float | None
    distinct: int
    mass_at_0: float
    mass_at_1: float
    broken: Literal["constant", "binary"] | None
    zero_advantage: float | None
    remedy: str


def distribution(scores: Sequence[float], group_size: int = 8) -> Distribution:
    """Sum up scores in [0, 1]; group_size is the number of rollouts that training compares (>= 2)."""
    n = len(scores)
    histogram = [0] * BINS
    for score in scores:
        histogram[min(BINS - 1, int(score * BINS))] += 1
    distinct = len(set(scores))
    mean = math.fsum(scores) / n if n else None
    sd = None if mean is None else math.sqrt(math.fsum((s - mean) ** 2 for s in scores) / n)
    broken: Literal["constant", "binary"] | None = None
    zero_advantage: float | None = None
    remedy = ""
    if distinct == 1:
        broken = "constant"
        remedy = (
            f"every trace scores {scores[0]:g}: nothing tells a good answer from a bad one. Check that "
            "the grader reads fields that the answers have, and that grade.extract names them."
        )
    elif distinct == 2 and set(scores) == {0.0, 1.0} and mean is not None:
        broken = "binary"
        zero_advantage = mean**group_size + (1 - mean) ** group_size
        remedy = (
            f"all scores are 0 or 1 with a pass rate of {mean:.1%}: {zero_advantage:.0%} of groups of "
            f"{group_size} attempts would score alike and teach nothing. Give partial credit: a weighted "
            'sum of components; or accept it with --allow-binary "reason".'
        )
    return Distribution(
        n=n,
        histogram=histogram,
        mean=mean,
        sd=sd,
        distinct=distinct,
        mass_at_0=sum(s == 0.0 for s in scores) / n if n else 0.0,
        mass_at_1=sum(s == 1.0 for s in scores) / n if n else 0.0,
        broken=broken,
        zero_advantage=zero_advantage,
        remedy=remedy,
    )
