"""Leakage between splits: near-duplicates and people on both sides, and what earlier models trained on.

Splits are indices into `split.SPLITS`; the later one of a pair is the one that is kept clean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from strop.curate.split import SPLITS, TEST, TRAIN, Splits

MAX_PAIRS = 20_000  # compared one by one; beyond them the count is a lower bound

NEAR_TEST = "near-duplicate of a trace in a later split"
BASE_SAW_IT = "the base model was trained on it"


def pair_name(a: int, b: int) -> str:
    """Name two splits, as in "train/test"."""
    first, second = sorted((a, b))
    return f"{SPLITS[first]}/{SPLITS[second]}"


def leaking(clusters: NDArray[np.int32], splits: Splits, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which kept rows have a near-duplicate among the kept rows of a split that must stay clean of them.

    A training row leaks into validation, test and unseen customers, a validation row into the latter two.
    Test rows and those of unseen customers are both never learned from: neither leaks into the other.
    """
    heights = np.minimum(splits, TEST)
    highest = np.full(len(clusters), TRAIN, dtype=np.int8)
    np.maximum.at(highest, clusters[kept], heights[kept])
    return kept & (heights < highest[clusters])


def pairs_across(
    clusters: NDArray[np.int32],
    splits: Splits,
    kept: NDArray[np.bool_],
    verify: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
) -> tuple[dict[str, int], bool]:
    """Count the near-duplicate pairs of kept rows in different splits; say whether all were looked at.

    verify: takes (M, 2) pairs of rows, says which are near-duplicates.
    """
    found: Counter[str] = Counter()
    looked = 0
    for members in _across(clusters, splits, kept):
        by_split = [members[splits[members] == s] for s in range(len(SPLITS))]
        for a, b in combinations(range(len(SPLITS)), 2):
            left = MAX_PAIRS - looked
            if len(by_split[a]) * len(by_split[b]) > left:
                return dict(found), False
            if len(by_split[a]) and len(by_split[b]):
                pairs = np.stack(np.meshgrid(by_split[a], by_split[b]), axis=-1).reshape(-1, 2)
                looked += len(pairs)
                found[pair_name(a, b)] += int(verify(pairs).sum())
    return {name: n for name, n in found.items() if n}, True


def shared_by_pair(flags: Iterable[tuple[tuple[bool, ...], int]]) -> dict[str, int]:
    """Count what occurs on both sides of each pair of splits.

    flags: (in which of SPLITS it occurs, how many things do so).
    """
    found: Counter[str] = Counter()
    for inside, count in flags:
        for a, b in combinations([i for i, present in enumerate(inside) if present], 2):
            found[pair_name(a, b)] += count
    return dict(found)


def _across(
    clusters: NDArray[np.int32], splits: Splits, kept: NDArray[np.bool_]
) -> Iterator[NDArray[np.int64]]:
    """Yield the kept rows of each cluster that has kept rows in more than one split."""
    low = np.full(len(clusters), len(SPLITS), dtype=np.int8)
    high = np.full(len(clusters), -1, dtype=np.int8)
    np.minimum.at(low, clusters[kept], splits[kept])
    np.maximum.at(high, clusters[kept], splits[kept])
    torn = (low < high)[clusters] & kept
    rows = np.flatnonzero(torn)
    rows = rows[np.argsort(clusters[rows], kind="stable")]
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(clusters[rows])) + 1)
