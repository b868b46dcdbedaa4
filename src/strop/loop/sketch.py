"""From stored bodies to light rows: the part of curation that reads every trace, chunk by chunk.

A chunk is worked on alone, so that it can be elsewhere: in another process, on another machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from strop.curate import near
from strop.curate.likeness import about, outcome, said, tool_sequence
from strop.curate.readable import group_keys, unreadable
from strop.loop.labels import score_label
from strop.records import Trace
from strop.store.worksheet import Light

_decode = msgspec.json.Decoder(Trace).decode

CHUNK = 128  # traces
CHUNK_BYTES = 4 << 20


class Wanted(msgspec.Struct, frozen=True):
    """The settings that a sketch depends on: `curate.group_by`, `labels.score`, and whether to sign."""

    group_by: str | None
    score: str | None
    sign: bool


Sketch = tuple[list[Light], NDArray[np.uint32]]


def sketch(wanted: Wanted, chunk: Sequence[tuple[str, bytes]]) -> Sketch:
    """Return the light rows of (hash, body)s and their signatures, (rows, 128), or (0, 128) unsigned."""
    rows: list[Light] = []
    signatures = np.empty((len(chunk) if wanted.sign else 0, near.PERMUTATIONS), dtype=np.uint32)
    for i, (trace_hash, body) in enumerate(chunk):
        trace = _decode(body)
        if wanted.sign:
            signatures[i] = near.signature(near.shingles(said(trace)))
        rows.append(
            Light(
                trace_hash=trace_hash,
                trace_id=trace.source_id,
                workflow_id=trace.workflow_id,
                customer=trace.customer,
                ended_at=trace.ended_at,
                keys=group_keys(trace, wanted.group_by),
                problem=unreadable(trace),
                outcome=outcome(trace),
                about=about(trace),
                tools=tool_sequence(trace),
                failed=trace.status == "error",
                scored=score_label(trace, wanted.score),
            )
        )
    return rows, signatures


def shingled(body: bytes) -> NDArray[np.uint64]:
    """Return the shingles of a stored trace, each once, to compare it word for word."""
    return np.unique(near.shingles(said(_decode(body))))


def in_chunks(records: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Yield lists of at most CHUNK records and about CHUNK_BYTES."""
    chunk: list[tuple[str, bytes]] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record[1])
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
