"""How many different behaviours a reward scheme pays alike (GDPO, Liu et al. 2026, 2601.05242).

Summing components before normalising loses which of them differed: rollouts (0, 0) and (1, 0) get the
same advantages as (0, 0) and (1, 1). Normalising each component first keeps the two apart.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from strop.grade.audit.weights import FLAT, centred, checked, gradable

Floats = NDArray[np.float64]
Method = Literal["centre", "sum_then_normalise", "normalise_then_sum"]
_EQUAL = 1e-9  # far above rounding, far below any difference a grader means


class Aliasing(msgspec.Struct, frozen=True, kw_only=True):
    """Rollouts, and whole groups, that differ in their components but not in their advantages.

    pairs: of rollouts within a group. different: those with different component vectors. aliased: those of
    them with equal advantages. rate: aliased / pairs, None without pairs. group_contents and
    group_advantages: distinct multisets of vectors and of advantages among the groups; group_rate: share
    of the pairs of groups with different contents whose advantages are equal.
    """

    pairs: int
    different: int
    aliased: int
    rate: float | None
    group_contents: int
    group_advantages: int
    group_rate: float | None


def advantages(
    components_P_G_K: ArrayLike,
    weights_K: ArrayLike,
    gate_P_G: ArrayLike | None = None,
    *,
    method: Method = "centre",
) -> Floats:
    """Return the advantages of each group's rollouts, NaN where one could not be graded.

    centre: score minus its group's mean, as the trainer here does (Dr. GRPO). sum_then_normalise: divided
    by the group's deviation too (GRPO). normalise_then_sum: each component is centred and divided by its
    deviation within the group, then summed by weight (GDPO, without its last step over the batch).
    """
    components, weights = checked(components_P_G_K, weights_K)
    graded = gradable(components)
    if gate_P_G is not None:
        components = components * np.asarray(gate_P_G, dtype=np.bool_)[:, :, None]
    if method == "normalise_then_sum":
        gap = _normalised(centred(components, graded), graded) @ weights
    else:
        gap = centred((components @ weights)[:, :, None], graded)
        gap = (_normalised(gap, graded) if method == "sum_then_normalise" else gap)[:, :, 0]
    return np.where(graded, gap, np.nan)


def _normalised(gap_P_G_K: Floats, graded: NDArray[np.bool_]) -> Floats:
    count = np.maximum(graded.sum(axis=1), 1)[:, None, None]
    sd = np.sqrt((gap_P_G_K**2).sum(axis=1, keepdims=True) / count)
    return np.divide(gap_P_G_K, sd, out=np.zeros(gap_P_G_K.shape), where=sd >= FLAT)


def aliasing(
    components_P_G_K: ArrayLike,
    weights_K: ArrayLike,
    gate_P_G: ArrayLike | None = None,
    *,
    method: Method = "centre",
) -> Aliasing:
    """Count all pairs of rollouts and of groups exactly; rollouts that could not be graded are left out."""
    components, _ = checked(components_P_G_K, weights_K)
    gap = advantages(components, weights_K, gate_P_G, method=method)
    graded = ~np.isnan(gap)
    vector = np.stack([_codes(components[:, :, k], graded) for k in range(components.shape[2])], axis=2)
    amount = _codes(gap, graded)
    pairs = different = aliased = 0
    contents, patterns, both = Counter[object](), Counter[object](), Counter[object]()
    for rows, amounts, keep in zip(vector, amount, graded, strict=True):
        vectors, values = [tuple(r) for r in rows[keep].tolist()], amounts[keep].tolist()
        whole, alike = _pairs(len(vectors)), _same(Counter(vectors))
        pairs += whole
        different += whole - alike
        aliased += _same(Counter(values)) - _same(Counter(zip(vectors, values, strict=True)))
        content, pattern = tuple(sorted(vectors)), tuple(sorted(values))
        contents[content] += 1
        patterns[pattern] += 1
        both[content, pattern] += 1
    unlike = _pairs(len(vector)) - _same(contents)
    return Aliasing(
        pairs=pairs,
        different=different,
        aliased=aliased,
        rate=aliased / pairs if pairs else None,
        group_contents=len(contents),
        group_advantages=len(patterns),
        group_rate=(_same(patterns) - _same(both)) / unlike if unlike else None,
    )


def _pairs(n: int) -> int:
    return n * (n - 1) // 2


def _same(counts: Counter[object]) -> int:
    return sum(_pairs(n) for n in counts.values())


def _codes(values: Floats, graded: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return one number for each distinct value, taking values apart only by a gap over rounding."""
    out = np.full(values.shape, -1, dtype=np.intp)
    distinct, index = np.unique(values[graded], return_inverse=True)
    if distinct.size:
        out[graded] = np.concatenate([[0], np.cumsum(np.diff(distinct) > _EQUAL)])[index]
    return out
