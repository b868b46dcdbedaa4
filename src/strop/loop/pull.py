"""The loop's first step: fetch from each source, redact, store; resumable at every chunk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from strop.config import Config, Source, secret
from strop.curate.redact import Redactor
from strop.errors import InputError
from strop.records import Skipped, Trace, trace_hash
from strop.sources import files, phoenix
from strop.store import Database
from strop.store.traces import (
    add_skipped,
    add_traces,
    save_identities,
    save_window,
    skipped_counts,
    source_counts,
    window_cursor,
)

Progress = Callable[[int, int, str], None]

CHUNK = 200


def pull(config: Config, db: Database, *, on_progress: Progress | None = None) -> dict[str, Any]:
    """Fetch what is new in each source; return counts by source and in all.

    Sources that send by themselves (otlp, capture) are only counted. Raises InputError where there is
    nothing at all, OutsideServiceError where a platform does not answer.
    """
    report: dict[str, Any] = {}
    for source in config.sources:
        if source.kind in ("otlp", "capture"):
            continue
        report[source.name] = _pull_source(config, db, source, on_progress)
    stored = source_counts(db)
    if not stored:
        names = ", ".join(f"{s.name} ({s.path or s.url or s.kind})" for s in config.sources)
        raise InputError(
            "there are no traces: no source holds any, and none were received",
            where=f"sources in strop.toml: {names or 'none'}",
            fix="send traces to `strop serve` over OTLP, or name a file with traces in [[sources]]",
        )
    return {"sources": report, "stored": stored, "total": sum(stored.values()), "skipped": skipped_counts(db)}


def land(
    db: Database,
    config: Config,
    traces: Sequence[Trace],
    skipped: Sequence[Skipped],
    checkpoint: tuple[str, str, str, bool] | None = None,
) -> dict[str, int]:
    """Redact and store in one transaction; return {"new", "skipped"} and redactions by kind.

    checkpoint: (source, window, cursor, done), moved in the same transaction. Nothing unredacted
    reaches the disk; a trace that redaction can't handle is skipped.
    """
    redactor = Redactor(config.redact, redaction_key(config))
    clean: list[Trace] = []
    refused = [Skipped(s.stage, redactor.scrub(s.item), redactor.scrub(s.reason)) for s in skipped]
    identities: list[dict[str, str]] = []
    counts: Counter[str] = Counter()
    for trace in traces:
        try:
            redacted, found = redactor.redact(trace)
        except (ValueError, TypeError, RecursionError) as error:
            item = f"{trace.source}:{trace.source_id}"
            refused.append(Skipped("redact", item, f"redaction failed: {type(error).__name__}"))
            continue
        clean.append(redacted)
        counts.update(found.counts)
        key = trace_hash(redacted)
        identities += [{"hmac": h, "kind": kind, "trace_hash": key} for kind, h in found.hmacs]
    with db.engine.begin() as connection:
        new = add_traces(db, clean, connection)
        add_skipped(db, refused, connection)
        save_identities(connection, db, identities)
        if checkpoint is not None:
            source, window, cursor, done = checkpoint
            save_window(connection, db, source, window, cursor, done=done)
    return {**counts, "new": new, "skipped": len(refused)}


def redaction_key(config: Config) -> bytes:
    """Return the secret of the identities' HMACs: from the environment, else made once, mode 0600."""
    given = secret(config.redact.salt_env)
    if given:
        return given.encode()
    path = config.state / "redaction.key"
    if not path.exists():
        config.state.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(32))
        try:
            os.link(fresh, path)  # whoever is first wins; the others read that key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_bytes()


def _pull_source(
    config: Config, db: Database, source: Source, on_progress: Progress | None
) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for window, size, items in _windows(config, db, source):
        for chunk in _chunks(items):
            cursor = chunk[-1][0]
            traces = [item for _, item in chunk if isinstance(item, Trace)]
            skipped = [item for _, item in chunk if isinstance(item, Skipped)]
            totals["read"] += len(traces) + len(skipped)
            landed = land(db, config, traces, skipped, (source.name, window, cursor, cursor == str(size)))
            totals.update(landed)
            if on_progress is not None:
                done = int(cursor) if size and cursor.isdigit() else totals["read"]
                on_progress(done, max(size, done), f"{source.name}: {window}: {totals['read']} traces")
    return dict(totals)


def _windows(
    config: Config, db: Database, source: Source
) -> Iterator[tuple[str, int, Iterable[tuple[str, Trace | Skipped]]]]:
    """Yield (window, size, items with the cursor after each) for what is not pulled yet."""
    if source.kind == "phoenix":
        cursor, _ = window_cursor(db, source.name, "spans")
        yield "spans", 0, phoenix.fetch(source, secret(source.api_key_env), since=cursor)
        return
    for path in files.paths(source, config.root):
        window = _relative(path, config.root)
        size = path.stat().st_size
        cursor, _ = window_cursor(db, source.name, window)
        offset = int(cursor or 0)
        if offset == size:
            continue
        yield window, size, files.read_file(source, path, offset if offset < size else 0)


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _chunks(items: Iterable[tuple[str, Trace | Skipped]]) -> Iterator[list[tuple[str, Trace | Skipped]]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
