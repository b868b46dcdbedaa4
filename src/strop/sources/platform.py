"""What every tracing platform's connector is, and what they share: windows of time, pages, joined rows.

A connector reads raw rows (`fetch`, with I/O) and turns them into traces (`assemble`, pure). Raw rows stay
in memory: only redacted traces reach the disk, so an interrupted window is fetched again, and whoever pulls
halves a window that is too large to hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from strop.records import JsonObject, Score, Skipped, Trace

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
_EARLIEST, _LATEST = -(1 << 63), (1 << 63) - 1
_UNITS = {"m": 60 * SECOND, "h": HOUR, "d": DAY, "w": 7 * DAY}


class Window(msgspec.Struct, frozen=True, order=True):
    """A span of time, UTC ns: `start` belongs to it, `end` does not."""

    start: int
    end: int

    @property
    def name(self) -> str:
        """Return the window as two ISO times, as it stands in the store and in messages."""
        return f"{iso(self.start)}/{iso(self.end)}"

    def halves(self) -> tuple[Window, Window]:
        """Return the earlier and the later half, cut at a whole second where there is one."""
        middle = (self.start + self.end) // 2
        middle = middle // SECOND * SECOND if self.end - self.start >= 2 * SECOND else middle
        return Window(self.start, middle), Window(middle, self.end)

    def widened(self, margin: int) -> Window:
        """Return the window with `margin` ns more on both sides."""
        return Window(max(0, self.start - margin), self.end + margin)

    @classmethod
    def named(cls, name: str) -> Window | None:
        """Read a name back; None where it is no window's name."""
        start, slash, end = name.partition("/")
        if not slash:
            return None
        try:
            return cls(ns(start), ns(end))
        except ValueError:
            return None


class Capabilities(msgspec.Struct, frozen=True):
    """What a server turned out to be: its version, the generation of its API, and what is missing."""

    platform: str
    version: str
    api: str
    notes: tuple[str, ...] = ()


class Page(msgspec.Struct, frozen=True):
    """Raw rows as the platform sent them.

    cursor: where to go on after this page, None on the last one. whole: the page holds every row of the
    traces in it, so that it can be assembled by itself and a pull can go on from its cursor.
    """

    rows: list[JsonObject]
    cursor: str | None = None
    whole: bool = False


class LateScore(msgspec.Struct, frozen=True):
    """A score that was read apart from its trace; it belongs to the trace, session or workflow named."""

    score: Score
    trace_id: str | None = None
    session_id: str | None = None
    workflow_id: str | None = None


class Made(msgspec.Struct, frozen=True):
    """What a connector made of raw rows.

    by_end: a trace belongs to the window that it ended in, not to the one it began in. chosen: the rows
    were asked for by a condition of the user's own, which alone says what belongs to a window.
    """

    traces: list[Trace]
    skipped: list[Skipped]
    by_end: bool = False
    chosen: bool = False


class Platform(Protocol):
    """A connector."""

    def probe(self) -> Capabilities:
        """Ask the server what it is. Raises OutsideServiceError, ConfigError."""
        ...

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the raw rows of a window. Raises TooLarge, OutsideServiceError, ConfigError."""
        ...

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of raw rows: pure. A row that can't be understood is skipped with its reason."""
        ...

    def scores(self, window: Window) -> Iterator[LateScore | Skipped]:
        """Yield the scores that were given in a window, to whatever trace; what is none is skipped."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def within(traces: Iterable[Trace], window: Window, *, by_end: bool = False) -> list[Trace]:
    """Keep the traces that began (`by_end`: ended) in a window: each trace belongs to exactly one."""
    return [t for t in traces if window.start <= (t.ended_at if by_end else t.started_at) < window.end]


def gaps(wanted: Window, done: Iterable[Window], step: int = DAY) -> list[Window]:
    """Return what of `wanted` no window of `done` covers, cut at whole multiples of `step`, oldest first."""
    free: list[Window] = []
    start = wanted.start
    for window in sorted(done):
        if window.end <= start or window.start >= wanted.end:
            continue
        if window.start > start:
            free.append(Window(start, window.start))
        start = max(start, window.end)
    if start < wanted.end:
        free.append(Window(start, wanted.end))
    return cut(free, step)


def cut(windows: Iterable[Window], step: int) -> list[Window]:
    """Cut windows at whole multiples of `step` ns."""
    pieces: list[Window] = []
    for window in windows:
        start = window.start
        while start < window.end:
            end = min(window.end, (start // step + 1) * step)
            pieces.append(Window(start, end))
            start = end
    return pieces


def iso(at: int) -> str:
    """Return UTC ns as ISO 8601 with a Z; whole microseconds."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at // 1000)
    return moment.isoformat().replace("+00:00", "Z")


def ns(value: object, default: int | None = None) -> int:
    """Return the UTC ns of an ISO 8601 time; a time without a zone is UTC.

    Digits past the microsecond are kept. None gives `default`; raises ValueError for what is no time between
    1677 and 2262, which the store could not hold.
    """
    if value is None and default is not None:
        return default
    text = str(value).strip()
    head, dot, tail = text.partition(".")
    fraction = tail[: len(tail) - len(tail.lstrip("0123456789"))] if dot else ""
    zone = tail[len(fraction) :] if dot else ""
    moment = datetime.fromisoformat(head + zone)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    at = int(moment.timestamp()) * SECOND + int(fraction[:9].ljust(9, "0") or 0)
    if not _EARLIEST <= at <= _LATEST:
        raise ValueError("a time is out of range")
    return at


def since(text: str, now: int) -> int:
    """Return the UTC ns that "30d", "12h", "90m", "2w" (before `now`) or an ISO 8601 time means.

    Raises ValueError.
    """
    number, unit = text.strip()[:-1], text.strip()[-1:]
    if number.isdigit() and unit in _UNITS:
        return max(0, now - int(number) * _UNITS[unit])
    at = ns(text)
    if at >= now:
        raise ValueError(f"{text} is not in the past")
    return at
