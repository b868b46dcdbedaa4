"""Pull a platform window by window: what is done stays done, what is too large is halved.

A window is done for good once it was read a day after its end: until then spans and scores may come late, and
the next pull reads it again, from its start. The unit that is fetched again after a crash is the window (a
day, or what halving made of it), or, that day over, the page where a platform's pages hold whole traces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from strop.config import Config, Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.loop.landing import in_chunks, land, land_scores
from strop.records import JsonObject, Skipped
from strop.sources.platform import (
    DAY,
    HOUR,
    SECOND,
    LateScore,
    Made,
    Platform,
    Window,
    cut,
    gaps,
    since,
    within,
)
from strop.store import Database
from strop.store.traces import done_windows, save_window, window_cursor

Progress = Callable[[int, int, str], None]

_SHORTEST = SECOND
_MAX_ROW_BYTES = 64 << 20  # raw rows of one window that are held in memory


def pull_platform(
    config: Config,
    db: Database,
    source: Source,
    platform: Platform,
    *,
    now: int,
    back_to: str | None = None,
    on_progress: Progress | None = None,
) -> dict[str, int]:
    """Fetch the windows of a platform that are not done; return counts.

    now: UTC ns. back_to: instead of the source's `since`. Raises OutsideServiceError, ConfigError.
    """
    platform.probe()
    whole = Window(_start(source, back_to, now), now - int(source.settle_minutes * 60 * SECOND))
    done = [w for w in map(Window.named, done_windows(db, source.name)) if w is not None]
    todo = gaps(whole, done) if whole.start < whole.end else []
    totals: Counter[str] = Counter()
    asked = sum(w.end - w.start for w in todo)
    while todo:
        window = todo.pop(0)
        if on_progress is not None:
            left = window.end - window.start + sum(w.end - w.start for w in todo)
            text = f"{source.name}: {window.name.partition('T')[0]}: {totals['read']} traces"
            on_progress((asked - left) // SECOND, asked // SECOND, text)
        try:
            totals.update(_pull_window(config, db, source, platform, window, now))
        except TooLarge as error:
            if window.end - window.start <= _SHORTEST:
                raise OutsideServiceError(
                    f"source {source.name}: one second of traces is too much for one request",
                    where=f"{window.name}: {error.what}",
                    fix="raise timeout_s of the source in strop.toml",
                ) from error
            totals["halved"] += 1
            # The next days are likely as full; one crowded minute says nothing of them.
            todo = [*window.halves(), *cut(todo, max(HOUR, (window.end - window.start) // 2))]
    return dict(totals)


def _pull_window(
    config: Config, db: Database, source: Source, platform: Platform, window: Window, now: int
) -> Counter[str]:
    totals: Counter[str] = Counter()
    final = window.end <= now - DAY
    cursor, _ = window_cursor(db, source.name, window.name)
    rows: list[JsonObject] = []
    size = 0
    for page in platform.fetch(window, cursor or None):
        if page.whole:
            # What was read before the window's day was over is read again, so it leaves no checkpoint.
            kept = final and page.cursor is not None
            checkpoint = (source.name, window.name, page.cursor or "", False) if kept else None
            totals += _landed(config, db, platform.assemble(page.rows), window, checkpoint)
            continue
        size += len(msgspec.json.encode(page.rows))
        if size > _MAX_ROW_BYTES:
            raise TooLarge(f"the window holds more than {_MAX_ROW_BYTES >> 20} MB", where=window.name)
        rows += page.rows
    if rows:
        totals += _landed(config, db, platform.assemble(rows), window, None)
    for chunk in in_chunks(platform.scores(window)):
        scores = [item for item in chunk if isinstance(item, LateScore)]
        totals["scores"] += land_scores(db, config, source.name, scores)
        totals.update(land(db, config, [], [item for item in chunk if isinstance(item, Skipped)]))
    with db.engine.begin() as connection:
        save_window(connection, db, source.name, window.name, "", done=final)
    return totals


def _landed(
    config: Config,
    db: Database,
    made: Made,
    window: Window,
    checkpoint: tuple[str, str, str, bool] | None,
) -> Counter[str]:
    """Store what belongs to the window. The checkpoint moves with the last chunk of a page."""
    totals: Counter[str] = Counter()
    traces = made.traces if made.chosen else within(made.traces, window, by_end=made.by_end)
    totals["read"] += len(traces) + len(made.skipped)
    chunks = list(in_chunks(traces))
    for chunk in chunks[:-1]:
        totals.update(land(db, config, chunk, []))
    totals.update(land(db, config, chunks[-1] if chunks else [], made.skipped, checkpoint))
    return totals


def _start(source: Source, back_to: str | None, now: int) -> int:
    text = back_to or source.since
    try:
        return since(text, now)
    except ValueError as error:
        raise ConfigError(
            f"source {source.name}: {text!r} is no time in the past",
            where="--since" if back_to else "strop.toml, sources.since",
            fix="write 30d, 12h, 2w or an ISO 8601 time",
        ) from error
