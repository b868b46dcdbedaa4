"""Which stored traces are near-duplicates: candidates by their signatures, verified word by word."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strop.curate import near
from strop.loop.sketch import shingled
from strop.store import Database
from strop.store.curating import bodies
from strop.store.worksheet import Columns, Worksheet

_PAIRS = 256  # looked at together
_SHINGLES = 4_000_000  # kept for the next pairs: 32 MB
_REFUTED = 500_000
_SLACK = 3.5  # standard deviations of the estimate


@dataclass(frozen=True)
class Duplicates:
    """Each row's cluster, named by its first row: `same` of one outcome, `near` of any."""

    same: NDArray[np.int32]
    near: NDArray[np.int32]


def find_duplicates(db: Database, sheet: Worksheet, columns: Columns, verifier: Verifier) -> Duplicates:
    """Cluster the readable rows by similarity.

    Looked at are only pairs about the same things, which may be retries of one task: that two inquiries about
    different parcels share a template is not counted. Of one outcome and ground truth, one is enough.
    """
    rows = np.flatnonzero(columns.readable)
    if not len(rows):
        return alone(sheet.size)
    abouts = columns.abouts[rows]
    endings = near.salted(columns.truths[rows].view(np.uint64), columns.outcomes[rows])
    endings = near.salted(endings, abouts).view(np.int64)
    clusters = near.Clusters(sheet.size)
    bands, width = near.banding(verifier.threshold)
    _join(sheet, rows, endings, (bands, width), clusters, verifier)
    same = clusters.labels().copy()
    _join(sheet, rows, abouts, (bands, width), clusters, verifier)
    return Duplicates(same, clusters.labels())


def alone(size: int) -> Duplicates:
    """Return what there is where nobody looks for near-duplicates: each row by itself."""
    own = np.arange(size, dtype=np.int32)
    return Duplicates(own, own)


def _join(
    sheet: Worksheet,
    rows: NDArray[np.int64],
    salts: NDArray[np.int64],
    banding: tuple[int, int],
    clusters: near.Clusters,
    verifier: Verifier,
) -> None:
    bands, width = banding
    for band in range(bands):
        keys = np.concatenate([near.band_keys(block, band, width) for block in sheet.signature_blocks()])
        near.join_buckets(near.salted(keys[rows], salts), rows, clusters, verifier)


class Verifier:
    """Say which pairs of rows are near-duplicates: by the estimate first, by their words then."""

    def __init__(self, db: Database, sheet: Worksheet, threshold: float) -> None:
        self._db, self._sheet = db, sheet
        self.threshold = threshold
        self._refuted: set[tuple[int, int]] = set()
        self._known: OrderedDict[int, NDArray[np.uint64]] = OrderedDict()
        self._held = 0
        spread = (threshold * (1 - threshold) / near.PERMUTATIONS) ** 0.5
        self._least = threshold - _SLACK * spread

    def __call__(self, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Take (M, 2) pairs of rows."""
        out = np.zeros(len(pairs), dtype=np.bool_)
        for at in range(0, len(pairs), _PAIRS):
            some = pairs[at : at + _PAIRS]
            a, b = (self._sheet.signatures_of(some[:, side]) for side in (0, 1))
            for i in np.flatnonzero((a == b).mean(axis=1) >= self._least).tolist():
                out[at + i] = self._alike(int(some[i, 0]), int(some[i, 1]))
        return out

    def _alike(self, a: int, b: int) -> bool:
        if (a, b) in self._refuted:
            return False
        first, second = self._shingles(a), self._shingles(b)
        alike = near.jaccard(first, second) >= self.threshold
        if not alike and len(self._refuted) < _REFUTED:
            self._refuted.add((a, b))
        return alike

    def _shingles(self, row: int) -> NDArray[np.uint64]:
        found = self._known.get(row)
        if found is None:
            (trace_hash,) = self._sheet.hashes_of([row])
            found = shingled(bodies(self._db, [trace_hash])[trace_hash])
            self._known[row] = found
            self._held += len(found)
            while self._held > _SHINGLES and len(self._known) > 2:
                self._held -= len(self._known.popitem(last=False)[1])
        self._known.move_to_end(row)
        return found
