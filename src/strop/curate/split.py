"""Splits by group and time, permanent once made: pure functions over columns of numbers.

A million traces are decided about at once, so that a row is a few numbers: customers and keys stand as
their ranks among all names. Shape suffixes: N rows, K keys of a row (-1 where it has fewer).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from strop.config import Curate

STRADDLES = "its group straddles splits"
SPLITS = ("train", "validation", "test", "unseen")
TRAIN, VALIDATION, TEST, UNSEEN = range(4)
OPEN = -1  # no split yet

Splits = NDArray[np.int8]


@dataclass(frozen=True)
class Rows:
    """What splitting needs of traces.

    customers_N: rank of the customer's name in `names`, -1 without one. keys_N_K: its group first, then
    what links it to other groups. ends_N: UTC ns. links_N: another row that it must not be parted from, or
    itself. before_N: the split it was in when it was last used, OPEN where it never was. counted_N: whether
    it counts towards the shares.
    """

    customers_N: NDArray[np.int32]
    names: Sequence[str]
    keys_N_K: NDArray[np.int32]
    ends_N: NDArray[np.int64]
    links_N: NDArray[np.int32]
    before_N: Splits
    counted_N: NDArray[np.bool_]


@dataclass(frozen=True)
class Assigned:
    """splits_N: index into SPLITS. keys: splits of the keys that had none, else OPEN.

    straddling_N: rows whose keys contradict each other; they belong nowhere and stand as test rows.
    """

    splits_N: Splits
    keys: Splits
    straddling_N: NDArray[np.bool_]


def assign(rows: Rows, settled: Splits, settings: Curate) -> Assigned:
    """Assign each row a split.

    settled: the split of each key, OPEN where it never had one; these stay, as do the rows' own, and what is
    tied to one of them follows. Customers that were held out stay held out, and with them whatever shares a
    group with them. New groups are cut by their last time; a customer that is new may be held out.
    """
    low_N, high_N = settled_of(rows.keys_N_K, rows.before_N, settled)
    straddling_N = low_N < high_N
    groups_N = _groups(rows, ~straddling_N)
    splits_N = np.where(straddling_N, OPEN, high_N).astype(np.int8)
    bounds = _bounds(groups_N, splits_N)
    torn_N = (bounds[0] < bounds[1])[groups_N] & (splits_N == OPEN) & ~straddling_N
    follow_N = (splits_N == OPEN) & ~straddling_N & ~torn_N
    splits_N[follow_N] = bounds[1][groups_N[follow_N]]
    straddling_N |= torn_N
    fresh_N = (splits_N == OPEN) & ~straddling_N
    splits_N[fresh_N] = _fresh(rows, groups_N, splits_N, fresh_N, settings)
    keys = np.full(len(settled), OPEN, dtype=np.int8)
    for column in rows.keys_N_K.T:
        new = (column >= 0) & ~straddling_N
        np.maximum.at(keys, column[new], splits_N[new])  # of two splits the one that is not trained on
    low_N, high_N = settled_of(rows.keys_N_K, splits_N, np.where(settled == OPEN, keys, settled))
    straddling_N |= low_N < high_N  # a new key that ties what is trained on to what is not
    keys[settled != OPEN] = OPEN
    splits_N[straddling_N] = TEST
    return Assigned(splits_N, keys, straddling_N)


def settled_of(keys_N_K: NDArray[np.int32], before_N: Splits, settled: Splits) -> tuple[Splits, Splits]:
    """Return the lowest and the highest split of each row itself and its keys; OPEN where there are none."""
    found = [
        before_N,
        *(np.where(column >= 0, settled[column], OPEN) for column in keys_N_K.T if len(settled)),
    ]
    found_N_K = np.stack(found, axis=1)
    high_N = found_N_K.max(axis=1).astype(np.int8)
    low_N = np.where(found_N_K == OPEN, len(SPLITS), found_N_K).min(axis=1)
    return np.where(high_N == OPEN, OPEN, low_N).astype(np.int8), high_N


def held_out(customers: NDArray[np.int32], names: Sequence[str], share: float) -> set[int]:
    """Choose the small customers (under the mean traffic) to hold out whole; the choice is a hash's."""
    known, counts = np.unique(customers[customers >= 0], return_counts=True)
    if not len(known):
        return set()
    small = known[counts < counts.mean()].tolist()
    ranked = sorted(small, key=lambda c: hashlib.sha256(f"held out:{names[c]}".encode()).digest())
    return set(ranked[: round(share * len(small))])


def _groups(rows: Rows, tied_N: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the groups: rows that share any key or are linked, transitively; those not tied stand alone."""
    n = len(rows.ends_N)
    own = np.arange(n, dtype=np.int32)
    begins = [own[tied_N & tied_N[rows.links_N]]]
    ends = [rows.links_N[tied_N & tied_N[rows.links_N]]]
    for column in rows.keys_N_K.T:
        tied = tied_N & (column >= 0)
        begins.append(own[tied])
        ends.append(column[tied] + n)
    a, b = np.concatenate(begins), np.concatenate(ends)
    size = n + int(rows.keys_N_K.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(a), dtype=np.bool_), (a, b)), shape=(size, size))
    _, labels = cast("tuple[int, NDArray[np.int32]]", cast(Any, connected_components)(graph, directed=False))
    return np.unique(labels[:n], return_inverse=True)[1].astype(np.int32)


def _bounds(groups_N: NDArray[np.int32], splits_N: Splits) -> tuple[Splits, Splits]:
    """Return the lowest and highest split of each group's rows, OPEN in both where no row has one."""
    count = int(groups_N.max(initial=-1)) + 1
    low, high = np.full(count, len(SPLITS), dtype=np.int8), np.full(count, OPEN, dtype=np.int8)
    has = splits_N != OPEN
    np.minimum.at(low, groups_N[has], splits_N[has])
    np.maximum.at(high, groups_N[has], splits_N[has])
    return np.where(high == OPEN, OPEN, low).astype(np.int8), high


def _fresh(
    rows: Rows,
    groups_N: NDArray[np.int32],
    splits_N: Splits,
    fresh_N: NDArray[np.bool_],
    settings: Curate,
) -> Splits:
    """Return the splits of the rows that nothing ties to an older decision."""
    fixed = splits_N != OPEN
    known = np.unique(rows.customers_N[fixed])
    seen = np.unique(rows.customers_N[fixed & (splits_N != UNSEEN)])
    new = fresh_N & rows.counted_N & ~np.isin(rows.customers_N, known)
    chosen = held_out(rows.customers_N[new], rows.names, settings.unseen_customer_share)
    held = np.union1d(np.setdiff1d(known, seen), np.array(sorted(chosen), dtype=np.int32))
    held = held[held >= 0]
    groups, which = np.unique(groups_N[fresh_N], return_inverse=True)
    apart = np.zeros(len(groups), dtype=np.bool_)
    np.logical_or.at(apart, which, np.isin(rows.customers_N[fresh_N], held))
    sizes = np.bincount(which[rows.counted_N[fresh_N]], minlength=len(groups)).astype(np.float64)
    last = np.full(len(groups), np.iinfo(np.int64).min)
    np.maximum.at(last, which, rows.ends_N[fresh_N])
    first_key = np.full(len(groups), np.iinfo(np.int32).max)
    np.minimum.at(first_key, which, rows.keys_N_K[fresh_N, 0])
    splits = np.full(len(groups), UNSEEN, dtype=np.int8)
    order = np.lexsort((first_key, last))
    order = order[~apart[order]]
    splits[order] = _cut(sizes[order], settings)
    return splits[which]


def _cut(sizes: NDArray[np.float64], settings: Curate) -> Splits:
    """Return the splits of groups in the order of time, by where the middle of each stands."""
    test_from = 1 - settings.test_share
    validation_from = test_from - settings.validation_share
    middles = (np.cumsum(sizes) - sizes + sizes / 2) / max(1.0, float(sizes.sum()))
    return np.where(
        middles <= validation_from, TRAIN, np.where(middles <= test_from, VALIDATION, TEST)
    ).astype(np.int8)
