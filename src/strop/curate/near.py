"""Near-duplicates: MinHash of word shingles (Broder 1997) and banded locality-sensitive hashing.

Candidates are found by bands of the signatures (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
section 3.4) and then verified by whoever holds the texts. Shape suffixes: N rows, P permutations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 128
SHINGLE = 3  # words
RECALL = 0.999  # of pairs at the threshold that become candidates

U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]
Verify: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.bool_]]

_ODD = 0x9E3779B97F4A7C15
_TEXT_BLOCK = 1 << 16
_SHINGLE_BLOCK = 256  # x 128 permutations x 4 bytes: stays in the processor's cache
_WINDOW = 4

_draw = np.random.default_rng(1997)
_FACTORS = _draw.integers(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)[:, None] | np.uint32(1)
_OFFSETS = _draw.integers(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)[:, None]

# A word is a run of ASCII letters, digits and underscores, and of anything beyond ASCII.
_INSIDE = np.array([b >= 0x80 or chr(b).isalnum() or b == ord("_") for b in range(256)])


def shingles(text: str) -> U64:
    """Return the 64-bit hashes of a text's runs of three words, in order; case does not count.

    A shorter text is one shingle, a text without words none. A character of a script without spaces
    (Chinese, Japanese, Korean) is a word.
    """
    data = np.frombuffer(text.casefold().encode("utf-8", "surrogatepass"), dtype=np.uint8)
    blocks = [_words(block) for block in _blocks(data)]
    words = np.concatenate(blocks) if blocks else np.empty(0, dtype=np.uint64)
    width = min(SHINGLE, len(words))
    if width == 0:
        return words
    folded = np.zeros(len(words) - width + 1, dtype=np.uint64)
    for i in range(width):
        folded = folded * np.uint64(_ODD) + words[i : i + len(folded)]
    return _mixed(folded)


def signature(hashes: U64) -> U32:
    """Return the (P,) minima of shingles, repeated or not, under P permutations; of none all ones."""
    least = np.full(PERMUTATIONS, 0xFFFFFFFF, dtype=np.uint32)
    high = (hashes >> np.uint64(32)).astype(np.uint32)
    for at in range(0, len(high), _SHINGLE_BLOCK):
        permuted = _FACTORS * high[None, at : at + _SHINGLE_BLOCK] + _OFFSETS
        np.minimum(least, permuted.min(axis=1), out=least)
    return least


def jaccard(a: U64, b: U64) -> float:
    """Return the similarity of two sets of shingles, each once; 0 where both are empty."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - shared
    return shared / union if union else 0.0


def banding(threshold: float) -> tuple[int, int]:
    """Return (bands, rows of each): as many rows as leave a recall of RECALL at the threshold."""
    for rows in range(PERMUTATIONS, 1, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL:
            return bands, rows
    return PERMUTATIONS, 1


def band_keys(signatures_N_P: U32, band: int, rows: int) -> U64:
    """Return the (N,) hashes of one band: equal where all its rows are."""
    keys = np.full(len(signatures_N_P), band, dtype=np.uint64)
    for column in range(band * rows, (band + 1) * rows):
        keys = keys * np.uint64(_ODD) + signatures_N_P[:, column]
    return _mixed(keys)


def salted(keys: U64, salts: NDArray[np.int64]) -> U64:
    """Return keys that are equal only where the salts are equal too."""
    return _mixed(keys ^ _mixed(salts.view(np.uint64)))


class Clusters:
    """Rows that belong together, transitively; the first row of each names it."""

    def __init__(self, size: int) -> None:
        self._parent: NDArray[np.int32] = np.arange(size, dtype=np.int32)

    def find(self, row: int) -> int:
        """Return the first row of a row's cluster."""
        parent = self._parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    def join(self, a: int, b: int) -> None:
        """Make two rows' clusters one."""
        first, second = sorted((self.find(a), self.find(b)))
        self._parent[second] = first

    def labels(self) -> NDArray[np.int32]:
        """Return each row's cluster."""
        while not np.array_equal(self._parent, above := self._parent[self._parent]):
            self._parent = above
        return self._parent


def join_buckets(keys: U64, rows: NDArray[np.int64], clusters: Clusters, verify: Verify) -> None:
    """Join the rows whose keys are equal and that `verify` confirms; `keys` are those of `rows`.

    verify: takes (M, 2) pairs of rows, says which are near-duplicates. It is asked about each row and the
    first of its bucket, then about neighbours in it; pairs that are joined already are not asked about, so
    that a bucket of n near-duplicates costs n comparisons. A bucket is in an order of its own, so that rows
    of one template have other neighbours in every band.
    """
    order = np.lexsort((salted(keys, rows), keys))
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    places = np.flatnonzero(same) + 1
    if not len(places):
        return
    begins = np.flatnonzero(np.concatenate(([True], ~same)))
    bucket = np.cumsum(np.concatenate(([0], (~same).astype(np.int64))))
    heads = begins[bucket[places]]
    _join(rows[order[heads]], rows[order[places]], clusters, verify)
    for step in range(1, _WINDOW + 1):
        later = places[places - step > heads]  # the head itself was asked about
        _join(rows[order[later - step]], rows[order[later]], clusters, verify)
        places, heads = later, begins[bucket[later]]


def _join(a: NDArray[np.int64], b: NDArray[np.int64], clusters: Clusters, verify: Verify) -> None:
    labels = clusters.labels()
    apart = labels[a] != labels[b]
    pairs = np.stack((a[apart], b[apart]), axis=1)
    if len(pairs):
        for first, second in pairs[verify(pairs)].tolist():
            clusters.join(first, second)


def _blocks(data: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Cut a text into pieces of up to 64 KB, between words where there is a place between words."""
    at = 0
    while at < len(data):
        block = data[at : at + _TEXT_BLOCK]
        if at + len(block) < len(data):
            gaps = np.flatnonzero(~_INSIDE[block])
            block = block[: int(gaps[-1]) + 1] if len(gaps) else block
        yield block
        at += len(block)


def _words(data: NDArray[np.uint8]) -> U64:
    """Hash the words of up to 64 KB: a polynomial over their bytes, all words at once by prefix sums."""
    inside = _INSIDE[data]
    alone = data >= 0xE3  # the first byte of a character from U+3000 on
    begins = np.flatnonzero(inside & (np.concatenate(([True], ~inside[:-1])) | alone))
    ends = np.flatnonzero(inside & np.concatenate((~inside[1:] | alone[1:], [True]))) + 1
    powers, inverses = _powers()
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[: len(data)], out=sums[1:])
    return _mixed((sums[ends] - sums[begins]) * inverses[begins])


@cache
def _powers() -> tuple[U64, U64]:
    """Powers of an odd number modulo 2^64, and of its inverse."""
    both: list[U64] = []
    for base in (_ODD, pow(_ODD, -1, 1 << 64)):
        factors = np.full(_TEXT_BLOCK, base, dtype=np.uint64)
        factors[0] = 1
        both.append(np.multiply.accumulate(factors))
    return both[0], both[1]


def _mixed(x: U64) -> U64:
    """Spread a hash over all its bits: the finaliser of SplitMix64 (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
