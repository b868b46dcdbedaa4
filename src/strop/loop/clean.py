"""Redact a chunk of fetched traces: alone, so that it can be in another process or on another machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from strop.config import Redact
from strop.curate.redact import Redactor
from strop.records import Skipped, Trace, trace_hash


class Cleaned(msgspec.Struct, frozen=True):
    """A chunk that may be written.

    cursor: where the source goes on after it. read: items it held. skipped: what could not be used, with
    what redaction refused. identities: rows of {"hmac", "kind", "trace_hash"}. counts: redactions by kind.
    """

    cursor: str
    read: int
    traces: list[Trace]
    skipped: list[Skipped]
    identities: list[dict[str, str]]
    counts: dict[str, int]


def clean(settings: Redact, key: bytes, chunk: Sequence[tuple[str, Trace | Skipped]]) -> Cleaned:
    """Redact a chunk of (cursor after the item, item); a trace that redaction can't handle is skipped."""
    redactor = _redactor(settings.model_dump_json(), key)
    traces: list[Trace] = []
    skipped: list[Skipped] = []
    identities: list[dict[str, str]] = []
    counts: Counter[str] = Counter()
    for _, item in chunk:
        if isinstance(item, Skipped):
            skipped.append(Skipped(item.stage, _said(redactor, item.item), _said(redactor, item.reason)))
            continue
        try:
            redacted, found = redactor.redact(item)
            own = trace_hash(redacted)
        except Exception as error:  # one odd trace must not stop the pull, whatever is odd about it
            name = _said(redactor, f"{item.source}:{item.source_id}")
            skipped.append(Skipped("redact", name, f"redaction failed: {type(error).__name__}"))
            continue
        traces.append(redacted)
        counts.update(found.counts)
        identities += [{"hmac": h, "kind": kind, "trace_hash": own} for kind, h in found.hmacs]
    return Cleaned(
        chunk[-1][0] if chunk else "", len(chunk), traces, skipped, identities, dict(sorted(counts.items()))
    )


def _said(redactor: Redactor, text: str) -> str:
    """What a connector says of an item: an id may be somebody's, and half a character can't be stored."""
    return redactor.scrub(text, names=False).encode("utf-8", "replace").decode()


@lru_cache(maxsize=2)
def _redactor(settings: str, key: bytes) -> Redactor:
    return Redactor(Redact.model_validate_json(settings), key)
