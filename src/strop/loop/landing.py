"""Where fetched traces become stored ones: redacted first, then written, with the pull's checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from strop.config import Config, secret
from strop.curate.redact import Redactor
from strop.loop.clean import Cleaned, clean
from strop.records import Score, Skipped, Trace
from strop.sources.platform import LateScore
from strop.store import Database
from strop.store.late_scores import Target, save_late_scores
from strop.store.traces import add_skipped, add_traces, save_identities, save_window

CHUNK = 200

T = TypeVar("T")


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
    chunk = [("", item) for item in (*traces, *skipped)]
    return store(db, clean(config.redact, redaction_key(config), chunk), checkpoint)


def store(
    db: Database, cleaned: Cleaned, checkpoint: tuple[str, str, str, bool] | None = None
) -> dict[str, int]:
    """Store a redacted chunk and move its checkpoint, in one transaction; return counts as `land` does."""
    with db.engine.begin() as connection:
        new = add_traces(db, cleaned.traces, connection)
        add_skipped(db, cleaned.skipped, connection)
        save_identities(connection, db, cleaned.identities)
        if checkpoint is not None:
            source, window, cursor, done = checkpoint
            save_window(connection, db, source, window, cursor, done=done)
    return {**cleaned.counts, "new": new, "skipped": len(cleaned.skipped)}


def land_scores(
    db: Database,
    config: Config,
    source: str,
    scores: Iterable[LateScore],
) -> int:
    """Redact scores that were read apart from their traces, and keep them; return how many are new.

    They find their traces at the end of the next pull.
    """
    redactor = Redactor(config.redact, redaction_key(config))
    kept = [c for c in (_redacted(s, redactor) for s in scores) if c is not None]
    with db.engine.begin() as connection:
        return save_late_scores(connection, db, source, kept)


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


def in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield lists of at most CHUNK items: what one transaction stores."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _redacted(late: LateScore, redactor: Redactor) -> tuple[Target, Score] | None:
    """Return the score without people, and whose it is; None where it names nothing."""
    value = redactor.scrub(late.score.value) if isinstance(late.score.value, str) else late.score.value
    clean = Score(late.score.name, value, late.score.source, redactor.scrub(late.score.comment))
    if late.trace_id is not None:
        return ("trace", redactor.pseudonym(late.trace_id, "run")), clean
    if late.session_id is not None:
        return ("session", redactor.pseudonym(late.session_id, "session")), clean
    if late.workflow_id is not None:
        return ("workflow", redactor.pseudonym(late.workflow_id, "workflow")), clean
    return None
