"""Pulling a platform window by window, through a platform that keeps its rows in a list."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.config import Config, Source, load
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.loop.pull import pull
from strop.records import Episode, JsonObject, Message, Score, Skipped, Trace
from strop.sources.platform import DAY, HOUR, Capabilities, LateScore, Made, Page, Window, ns
from strop.store import Database, open_database
from strop.store.traces import iter_records

NOW = ns("2026-11-23T12:00:00Z")


class Stopped(Exception):
    """The process dies here."""


class Listed:
    """A platform whose rows are messages: {"trace", "at", "text"}; `limit` rows fit into one window."""

    margin = HOUR

    def __init__(self, rows: list[JsonObject], *, whole: bool = False, limit: int = 10_000) -> None:
        self.rows, self.whole, self.limit = rows, whole, limit
        self.late: list[tuple[int, LateScore | Skipped]] = []
        self.asked: list[Window] = []
        self.pages_left = 10_000

    def probe(self) -> Capabilities:
        return Capabilities("listed", "1", "1")

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        self.asked.append(window)
        wide = window.widened(self.margin)
        found = sorted(
            (r for r in self.rows if wide.start <= r["at"] < wide.end), key=lambda r: (r["trace"], r["at"])
        )
        if len(found) > self.limit:
            raise TooLarge("too many rows")
        names = sorted({r["trace"] for r in found})
        pages = [[r for r in found if r["trace"] == name] for name in names]
        if not self.whole:
            pages = [found[at : at + 4] for at in range(0, len(found), 4)]
        for number in range(int(cursor or 0), len(pages)):
            self.pages_left -= 1
            if self.pages_left < 0:
                raise Stopped
            yield Page(pages[number], str(number + 1), self.whole)

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        traces: dict[str, list[JsonObject]] = {}
        for row in rows:
            traces.setdefault(row["trace"], []).append(row)
        made = [trace(name, own) for name, own in traces.items() if name != "bad"]
        return Made(made, [Skipped("assemble", "listed:bad", "bad")] if "bad" in traces else [])

    def scores(self, window: Window) -> Iterator[LateScore | Skipped]:
        yield from (late for at, late in self.late if window.start <= at < window.end)

    def close(self) -> None:
        self.asked.append(Window(0, 0))


def trace(name: str, rows: list[JsonObject]) -> Trace:
    rows = sorted(rows, key=lambda r: r["at"])
    messages = tuple(Message(role="user", content=r["text"]) for r in rows)
    return Trace(
        source="far",
        source_id=name,
        episodes=(Episode(messages),),
        workflow_id=f"w-{name}",
        started_at=rows[0]["at"],
        ended_at=rows[-1]["at"],
    )


def row(name: str, hours_ago: float, text: str = "Hello from max@example.com") -> JsonObject:
    return {"trace": name, "at": NOW - int(hours_ago * HOUR), "text": f"{text} {name} {hours_ago}"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "strop.toml").write_text('[[sources]]\nname = "far"\nkind = "phoenix"\nsince = "5d"\n')
    return load(tmp_path, environ={})


@pytest.fixture
def db(config: Config) -> Iterator[Database]:
    db = open_database(config.store_url, "default")
    yield db
    db.close()


def pulled(config: Config, db: Database, platform: Listed, now: int = NOW, **options: Any) -> dict[str, Any]:
    return pull(config, db, connect=lambda _: platform, now=lambda: now, **options)


def stored(db: Database) -> dict[str, int]:
    return {t.source_id: sum(len(e.messages) for e in t.episodes) for _, t in iter_records(db)}


ROWS = [row(f"t{n}", 2 + n * 3.3 - k * 0.1) for n in range(30) for k in range(3)]


def test_a_trace_that_straddles_midnight_is_whole_and_there_once(config: Config, db: Database) -> None:
    rows = [row("m", 12.2), row("m", 12.05), row("m", 11.9), row("old", 24 * 6), row("young", 0.1)]
    report = pulled(config, db, Listed(rows))
    assert stored(db) == {"m": 3}
    assert report["sources"]["far"]["read"] == 1
    assert b"max@example.com" not in b"".join(f.read_bytes() for f in config.state.rglob("*"))


def test_since_goes_further_back_and_only_there(config: Config, db: Database) -> None:
    platform = Listed([row("old", 24 * 6), row("new", 30)])
    pulled(config, db, platform)
    assert stored(db) == {"new": 1}
    platform.asked.clear()
    pulled(config, db, platform, since="7d")
    assert stored(db) == {"new": 1, "old": 1}
    again = [w for w in platform.asked if w.start >= NOW - 4 * DAY and 0 < w.end <= NOW - 2 * DAY]
    assert not again
    with pytest.raises(ConfigError, match="--since"):
        pulled(config, db, platform, since="soon")


def test_what_is_late_is_found_within_a_day(config: Config, db: Database) -> None:
    rows = [row("t", 5), row("u", 40)]
    platform = Listed(rows)
    pulled(config, db, platform)
    rows += [row("t", 4.9), row("u", 39.9), row("v", 6)]
    report = pulled(config, db, platform, NOW + HOUR)
    assert stored(db) == {"t": 2, "u": 1, "v": 1}
    assert report["sources"]["far"]["new"] == 1


@pytest.mark.parametrize("whole", [False, True])
def test_windows_that_are_too_large_are_halved(config: Config, db: Database, whole: bool) -> None:
    report = pulled(config, db, Listed(ROWS, whole=whole, limit=9))
    assert stored(db) == {f"t{n}": 3 for n in range(30)}
    assert report["sources"]["far"]["halved"] > 1
    with pytest.raises(OutsideServiceError, match="one second"):
        pulled(config, db, Listed(ROWS, limit=0), since="9d")


@settings(max_examples=20)
@given(whole=st.booleans(), stops=st.lists(st.integers(0, 25), max_size=6), limit=st.sampled_from([14, 999]))
def test_a_pull_that_dies_anywhere_ends_as_an_undisturbed_one(
    tmp_path_factory: pytest.TempPathFactory, whole: bool, stops: list[int], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("project")
    (folder / "strop.toml").write_text('[[sources]]\nname = "far"\nkind = "phoenix"\nsince = "5d"\n')
    config = load(folder, environ={})
    db = open_database(config.store_url, "default")
    platform = Listed([*ROWS, row("bad", 50)], whole=whole, limit=limit)
    for stop in stops:
        platform.pages_left = stop
        try:
            pulled(config, db, platform)
        except Stopped:
            continue
    platform.pages_left = 10_000
    report = pulled(config, db, platform)
    assert stored(db) == {f"t{n}": 3 for n in range(30)}
    assert report["skipped"] == {"assemble: bad": 1}
    db.close()


def test_scores_that_come_later_find_their_traces(config: Config, db: Database) -> None:
    platform = Listed([row("t", 30), row("u", 29)])
    good = Score("thumbs", 1.0, "end_user", "write to erika@example.org")
    platform.late = [
        (NOW - 28 * HOUR, LateScore(good, trace_id="t")),
        (NOW - 27 * HOUR, LateScore(Score("ok", True, "human"), workflow_id="w-u")),
        (NOW - 27 * HOUR, LateScore(Score("ok", False, "human"), trace_id="not there yet")),
        (NOW - 27 * HOUR, LateScore(Score("lost", False, "human"))),
        (NOW - 27 * HOUR, Skipped("score", "far:s1", "an experiment's score")),
    ]
    report = pulled(config, db, platform)
    assert report["skipped"] == {"score: an experiment's score": 1}
    assert report["late_scores"] == {"attached": 2, "waiting": 1}
    assert report["taken_out"] == {"EMAIL": 1}
    scores = {t.source_id: t.scores for _, t in iter_records(db)}
    assert scores["t"][0].comment == "write to <EMAIL_1>"
    assert scores["u"] == (Score("ok", True, "human"),)
    platform.rows.append(row("not there yet", 3))
    platform.late.append((NOW - 1 * HOUR, LateScore(Score("ok", False, "human"), trace_id="u")))
    report = pulled(config, db, platform)
    assert report["late_scores"] == {"attached": 2, "waiting": 0}
    scores = {t.source_id: t.scores for _, t in iter_records(db)}
    assert scores["u"] == scores["not there yet"] == (Score("ok", False, "human"),)


class Flows(Listed):
    """Each trace belongs to the day in which it ended."""

    margin = 60 * DAY

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        return msgspec.structs.replace(super().assemble(rows), by_end=True)


def test_a_workflow_that_runs_for_weeks_is_in_the_window_of_its_end(config: Config, db: Database) -> None:
    rows = [row("weeks", 24 * 40), row("weeks", 30), row("old", 24 * 40), row("old", 24 * 6)]
    report = pulled(config, db, Flows(rows))
    assert stored(db) == {"weeks": 2}
    assert report["sources"]["far"]["read"] == 1


def test_what_a_window_held_too_early_is_read_again_whole(config: Config, db: Database) -> None:
    """A pull that dies in a young window leaves no checkpoint: what comes late before it is read."""
    rows = [row("a", 13), row("b", 14), row("c", 15)]
    platform = Listed(rows, whole=True)
    platform.pages_left = 2
    with pytest.raises(Stopped):
        pulled(config, db, platform)
    assert stored(db) == {"a": 1, "b": 1}
    rows.append(row("a", 12.9))
    platform.pages_left = 99
    pulled(config, db, platform, NOW + 3 * DAY)
    assert stored(db) == {"a": 2, "b": 1, "c": 1}


def test_one_crowded_second_does_not_cut_all_other_days(config: Config, db: Database) -> None:
    platform = Listed([row(f"t{n}", 100 + n / 3600) for n in range(12)], limit=3)
    platform.margin = 0
    pulled(config, db, platform)
    assert len(stored(db)) == 12
    assert len(platform.asked) < 250


def test_rows_of_a_table_belong_to_the_day_that_the_query_says(tmp_path: Path) -> None:
    """Closed long after they were opened, written as SQLite writes times, and written late."""
    with sqlite3.connect(tmp_path / "company.db") as table:
        table.execute("CREATE TABLE tickets (id, prompt, answer, started_at, closed)")
        for number, (start, end) in enumerate([("01", "20"), ("20", "20"), ("22", "22")]):
            times = (f"2026-11-{start} 10:00:00", f"2026-11-{end} 11:00:00")
            table.execute("INSERT INTO tickets VALUES (?, 'a', 'b', ?, ?)", (f"0{number}", *times))
    table.close()
    query = "SELECT * FROM tickets WHERE closed >= :start AND closed < :end"
    (tmp_path / "strop.toml").write_text(
        f'[[sources]]\nname = "far"\nkind = "postgres"\nsince = "5d"\nsql = "{query}"\n'
        f'url = "sqlite:///{tmp_path}/company.db"\n'
    )
    config = load(tmp_path, environ={})
    db = open_database(config.store_url, "default")
    pull(config, db, now=lambda: NOW)
    assert stored(db) == {"00": 2, "01": 2, "02": 2}
    db.close()


def test_a_kind_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "strop.toml").write_text('[[sources]]\nname = "a"\nkind = "phenix"\n')
    config = load(tmp_path, environ={})
    db = open_database(config.store_url, "default")
    with pytest.raises(ConfigError, match="did you mean 'phoenix'"):
        pull(config, db)
    db.close()


def test_a_named_variable_that_is_not_set_is_said(tmp_path: Path) -> None:
    source = Source(
        name="a", kind="phoenix", url="http://127.0.0.1:9", project="p", api_key_env="NOT_SET_HERE"
    )
    from strop.sources.registry import connect

    with pytest.raises(ConfigError, match="NOT_SET_HERE"):
        connect(source)
