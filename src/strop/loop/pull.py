"""The loop's first step: fetch from each source, redact, store; resumable at every chunk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from strop.config import Config, Source
from strop.errors import InputError
from strop.loop.clean import clean
from strop.loop.landing import in_chunks, redaction_key, store
from strop.loop.parallel import engine_for, map_chunks
from strop.loop.windows import pull_platform
from strop.sources import registry
from strop.sources.files.parts import parts
from strop.sources.platform import Platform
from strop.store import Database
from strop.store.late_scores import attach_late_scores
from strop.store.traces import identity_counts, skipped_counts, source_counts, window_cursor

Progress = Callable[[int, int, str], None]

_A_TRACE = 5000  # bytes, about: from a few thousand traces on, other processes are worth their start


def pull(
    config: Config,
    db: Database,
    *,
    since: str | None = None,
    on_progress: Progress | None = None,
    connect: Callable[[Source], Platform] = registry.connect,
    now: Callable[[], int] = time.time_ns,
) -> dict[str, Any]:
    """Fetch what is new in each source; return counts by source and in all.

    since: how far back platforms are asked, instead of their own `since`. Sources that send by themselves
    (otlp, capture) are only counted. Scores that came apart from their traces are put onto them at the end.
    Raises InputError where there is nothing at all, OutsideServiceError where a platform does not answer.
    """
    registry.check(config.sources)
    report: dict[str, Any] = {}
    for source in config.sources:
        if source.kind in registry.RECEIVED:
            continue
        if source.kind in registry.FILES:
            report[source.name] = _pull_files(config, db, source, on_progress)
            continue
        platform = connect(source)
        try:
            report[source.name] = pull_platform(
                config, db, source, platform, now=now(), back_to=since, on_progress=on_progress
            )
        finally:
            platform.close()
    scores = attach_late_scores(db)
    stored = source_counts(db)
    if not stored:
        names = ", ".join(f"{s.name} ({s.path or s.url or s.kind})" for s in config.sources)
        raise InputError(
            "there are no traces: no source holds any, and none were received",
            where=f"sources in strop.toml: {names or 'none'}",
            fix="send traces to `strop serve` over OTLP, or name a file with traces in [[sources]]",
        )
    return {
        "sources": report,
        "stored": stored,
        "total": sum(stored.values()),
        "skipped": skipped_counts(db),
        "late_scores": scores,
        "taken_out": identity_counts(db),
    }


def _pull_files(config: Config, db: Database, source: Source, on_progress: Progress | None) -> dict[str, int]:
    totals: Counter[str] = Counter()
    redact = partial(clean, config.redact, redaction_key(config))
    for part in parts(source, config.root):
        cursor, _ = window_cursor(db, source.name, part.name)
        if part.is_done(cursor):
            continue
        engine = engine_for(part.size // _A_TRACE, ray=config.engine.ray)
        for cleaned in map_chunks(redact, in_chunks(part.read(cursor or None)), engine):
            totals["read"] += cleaned.read
            checkpoint = (source.name, part.name, cleaned.cursor, part.is_done(cleaned.cursor))
            totals.update(store(db, cleaned, checkpoint))
            if on_progress is not None:
                at = cleaned.cursor.partition("|")[0]
                done = int(at) if part.size and at.isdigit() else totals["read"]
                text = f"{source.name}: {part.name}: {totals['read']} traces"
                on_progress(done, max(part.size, done), text)
    return dict(totals)
