"""Leakage: near-duplicates across splits leave training, pairs and people are counted."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from strop.curate import leakage
from strop.curate.split import SPLITS, TEST, TRAIN, UNSEEN, VALIDATION

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans()), min_size=1, max_size=40)


def columns(
    rows: list[tuple[int, int, bool]],
) -> tuple[NDArray[np.int32], NDArray[np.int8], NDArray[np.bool_]]:
    families = [row[0] for row in rows]
    first = [families.index(family) for family in families]
    return (
        np.array(first, np.int32),
        np.array([row[1] for row in rows], np.int8),
        np.array([row[2] for row in rows], np.bool_),
    )


def always(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.ones(len(pairs), np.bool_)


@given(ROWS)
def test_what_is_left_does_not_leak_and_no_test_row_goes(rows: list[tuple[int, int, bool]]) -> None:
    clusters, splits, kept = columns(rows)
    out = leakage.leaking(clusters, splits, kept)
    assert not (out & ~kept).any()
    assert not (out & (splits >= TEST)).any()
    left, complete = leakage.pairs_across(clusters, splits, kept & ~out, always)
    assert set(left) <= {"test/unseen"}
    assert complete
    clean = {c for c in clusters.tolist() if len({min(s, TEST) for s in splits[(clusters == c) & kept]}) == 1}
    assert not set(clusters[out].tolist()) & clean


@given(ROWS)
def test_pairs_are_those_that_one_would_count_by_hand(rows: list[tuple[int, int, bool]]) -> None:
    clusters, splits, kept = columns(rows)
    expected: dict[str, int] = {}
    for a, b in combinations(np.flatnonzero(kept).tolist(), 2):
        if clusters[a] == clusters[b] and splits[a] != splits[b] and (a + b) % 3:
            name = leakage.pair_name(int(splits[a]), int(splits[b]))
            expected[name] = expected.get(name, 0) + 1
    found, _ = leakage.pairs_across(clusters, splits, kept, lambda pairs: pairs.sum(axis=1) % 3 != 0)
    assert found == expected


def test_a_validation_row_leaves_for_a_test_row_and_a_training_row_for_both() -> None:
    clusters = np.array([0, 0, 0, 3, 3, 5, 5], np.int32)
    splits = np.array([TRAIN, VALIDATION, UNSEEN, TRAIN, VALIDATION, TRAIN, TRAIN], np.int8)
    out = leakage.leaking(clusters, splits, np.ones(7, np.bool_))
    assert out.tolist() == [True, True, False, True, False, False, False]


def test_a_cluster_too_large_to_compare_makes_the_count_a_lower_bound() -> None:
    n = 2 * int(leakage.MAX_PAIRS**0.5) + 2
    splits = np.where(np.arange(n) % 2, TRAIN, TEST).astype(np.int8)
    found, complete = leakage.pairs_across(np.zeros(n, np.int32), splits, np.ones(n, np.bool_), always)
    assert (found, complete) == ({}, False)


def test_people_are_counted_by_pair_of_splits() -> None:
    flags = [
        ((True, False, True, False), 5),
        ((True, True, True, False), 2),
        ((True, False, False, False), 9),
    ]
    assert leakage.shared_by_pair(flags) == {"train/test": 7, "train/validation": 2, "validation/test": 2}
    assert SPLITS == ("train", "validation", "test", "unseen")
