"""Windows of time: what is left to pull, how it is cut, and times as platforms write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.records import Episode, Message, Trace
from strop.sources.platform import DAY, HOUR, SECOND, Window, cut, gaps, iso, ns, since, within

times = st.integers(0, 4_000_000_000).map(lambda s: s * SECOND)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, 40 * 24)) * HOUR
    return Window(start, start + draw(st.integers(1, 72)) * HOUR)


@given(windows(), st.lists(windows(), max_size=8))
def test_gaps_and_what_is_done_cover_what_is_wanted_once(wanted: Window, done: list[Window]) -> None:
    left = gaps(wanted, done)
    for hour in range(wanted.start, wanted.end, HOUR):
        covered = any(w.start <= hour < w.end for w in done)
        assert sum(w.start <= hour < w.end for w in left) == (0 if covered else 1)
    assert left == sorted(left)
    assert all(wanted.start <= w.start < w.end <= wanted.end for w in left)
    assert all(w.start // DAY == (w.end - 1) // DAY for w in left)


@given(windows())
def test_halves_and_pieces_join_up(window: Window) -> None:
    first, second = window.halves()
    assert (first.start, first.end, second.end) == (window.start, second.start, window.end)
    assert first.start < first.end < second.end
    pieces = cut([window], 7 * HOUR)
    assert [pieces[0].start, *(p.end for p in pieces)] == [*(p.start for p in pieces), window.end]


@given(st.lists(st.tuples(times, times).map(sorted), max_size=8), st.booleans(), st.integers(1, 9))
def test_a_trace_is_in_one_window(spans: list[list[int]], by_end: bool, days: int) -> None:
    said = (Episode((Message(role="user", content="a"),)),)
    traces = [
        Trace(source="s", source_id=str(i), episodes=said, started_at=start, ended_at=end)
        for i, (start, end) in enumerate(spans)
    ]
    pieces = cut([Window(0, 4_000_000_001 * SECOND)], days * 1000 * DAY)
    found = [(t, w) for w in pieces for t in within(traces, w, by_end=by_end)]
    assert sorted(t.source_id for t, _ in found) == sorted(t.source_id for t in traces)
    assert all(w.start <= (t.ended_at if by_end else t.started_at) < w.end for t, w in found)


@given(windows())
def test_a_window_is_its_name(window: Window) -> None:
    assert Window.named(window.name) == window


@pytest.mark.parametrize("name", ["spans", "chats/a.jsonl", "a/b", ""])
def test_other_names_are_no_windows(name: str) -> None:
    assert Window.named(name) is None


@given(times)
def test_times_survive_a_round_trip(at: int) -> None:
    assert ns(iso(at)) == at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01T00:00:00Z", 0),
        ("2026-11-01T01:00:00+01:00", 0),
        ("2026-11-01 00:00:00", 0),
        ("2026-11-01T00:00:00.5", SECOND // 2),
        ("2026-11-01T00:00:00.123456789Z", 123_456_789),
        ("2026-11-01T00:00:00.1234567+00:00", 123_456_700),
        (datetime(2026, 11, 1, tzinfo=UTC), 0),
    ],
)
def test_times_are_read_as_platforms_write_them(text: object, expected: int) -> None:
    assert ns(text) - ns("2026-11-01T00:00:00Z") == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", None, "9999-12-31", "0001-01-01"])
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        ns(text)
    assert ns(None, 7) == 7


def test_since_is_an_age_or_a_time_in_the_past() -> None:
    now = ns("2026-11-23T12:00:00Z")
    assert iso(since("30d", now)) == "2026-10-24T12:00:00Z"
    assert iso(since("12h", now)) == "2026-11-23T00:00:00Z"
    assert since("90m", now) == now - 90 * 60 * SECOND
    assert since("2w", now) == now - 14 * DAY
    assert iso(since("2026-11-01", now)) == "2026-11-01T00:00:00Z"
    for wrong in ("", "d", "-3d", "3y", "2027-01-01"):
        with pytest.raises(ValueError):
            since(wrong, now)
