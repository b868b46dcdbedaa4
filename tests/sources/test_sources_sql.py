"""A tenant's own tables as a source: mapped columns, messages as rows, outcomes as labels, pages, limits."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import Trace, tool_calls_of
from strop.sources.platform import DAY, Page, Window, ns
from strop.sources.sql.api import Sql
from strop.sources.sql.rows import assemble_rows, mapped, outcome_scores, time_ns
from strop.store.source_query import json_value

DAY_1 = Window(ns("2026-11-20"), ns("2026-11-21"))
CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"id": "007"}'}}
CONVERSATION = [
    {"role": "user", "content": "Where is 00340434161094042557?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "soon"},
    {"role": "assistant", "content": "Soon."},
]
TICKETS = """
CREATE TABLE tickets (
  ticket TEXT, chat TEXT, opened TEXT, closed INTEGER, shipper TEXT, delivery TEXT, helpful REAL,
  truth TEXT, carrier TEXT, tokens INTEGER, labels TEXT
)
"""
COLUMNS = {
    "id": "ticket", "messages": "chat", "started_at": "opened", "ended_at": "closed", "customer": "shipper",
    "workflow_id": "delivery", "scores.helpful": "helpful", "ground_truth": "truth",
    "prompt_tokens": "tokens", "tags": "labels",
}  # fmt: skip
WINDOWED = "SELECT * FROM tickets WHERE opened >= :start AND opened < :end;"


def database(tmp_path: Path, *statements: str, rows: list[tuple[Any, ...]] | None = None) -> str:
    path = tmp_path / "company.db"
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {statements[-1].split()[2]} VALUES ({marks})", rows)
    connection.close()
    return f"sqlite:///{path}"


def ticket(number: int, day: int = 20) -> tuple[Any, ...]:
    opened = f"2026-11-{day}T10:00:{number % 60:02d}.5Z"
    closed = ns(opened) // 1_000_000_000 + 60
    return (f"{number:05d}", json.dumps(CONVERSATION), opened, closed, "0042", f"D-{number}", 0.5,
            '{"status": "delivered"}', "DHL", 12, '["late"]')  # fmt: skip


def source(url: str, sql: str = WINDOWED, **more: Any) -> Source:
    fields: dict[str, Any] = {"columns": COLUMNS, **more}
    return Source(name="shop", kind="postgres", url=url, sql=sql, **fields)


def opened(of: Source) -> Sql:
    return Sql(of, user=None, key=None)


def pulled(platform: Sql, window: Window = DAY_1) -> tuple[list[Trace], dict[str, str], list[Page]]:
    pages = list(platform.fetch(window))
    made = [platform.assemble(p.rows) for p in pages]
    skipped = {s.item: s.reason for m in made for s in m.skipped}
    platform.close()
    return [t for m in made for t in m.traces], skipped, pages


def test_a_row_is_a_trace(tmp_path: Path) -> None:
    platform = opened(source(database(tmp_path, TICKETS, rows=[ticket(7), ticket(8, day=21)])))
    found = platform.probe()
    assert (found.platform, found.api, found.notes) == ("sqlite", "sql", ())
    (trace,), skipped, _ = pulled(platform)
    assert not skipped
    assert [m.role for m in trace.episodes[0].messages] == ["user", "assistant", "tool", "assistant"]
    assert trace.episodes[0].messages[1].tool_calls[0].key() == 'lookup {"id":"007"}'
    assert (trace.source, trace.source_id, trace.customer, trace.workflow_id) == (
        "shop",
        "00007",
        "0042",
        "D-7",
    )
    assert trace.started_at == ns("2026-11-20T10:00:07.5Z")
    assert trace.ended_at == trace.started_at // 10**9 * 10**9 + 60 * 10**9
    assert {s.name: s.value for s in trace.scores} == {
        "helpful": 0.5, "ground_truth": '{"status": "delivered"}'}  # fmt: skip
    assert (trace.tags, trace.attributes, trace.usage.prompt_tokens) == (("late",), {"carrier": "DHL"}, 12)


def test_pages_go_on_after_their_last_id(tmp_path: Path) -> None:
    rows = [ticket(i) for i in range(1201)]
    url = database(tmp_path, TICKETS, rows=rows[::-1])
    platform = opened(source(url))
    pages = list(platform.fetch(DAY_1))
    assert [len(p.rows) for p in pages] == [500, 500, 201]
    assert all(p.whole for p in pages)
    rest = list(platform.fetch(DAY_1, pages[0].cursor))
    assert [r["ticket"] for p in rest for r in p.rows] == [f"{i:05d}" for i in range(500, 1201)]
    assert pages[-1].cursor is None
    platform.close()


def test_a_query_without_windows_is_read_once(tmp_path: Path) -> None:
    url = database(tmp_path, TICKETS, rows=[ticket(7), ticket(8)])
    platform = opened(source(url, "SELECT * FROM tickets"))
    assert "read whole" in platform.probe().notes[0]
    days = [Window(DAY_1.start + i * DAY, DAY_1.end + i * DAY) for i in range(3)]
    read: list[str] = []
    for day in days:
        for page in platform.fetch(day):
            made = platform.assemble(page.rows)
            assert made.chosen
            read += [t.source_id for t in made.traces]
        assert not list(platform.scores(day))
    assert read == ["00007", "00008"]
    platform.close()


@pytest.mark.parametrize(("one", "next_one"), [(0.25, 0.5), (12345678901234567, 9e99), ("0042", "1")])
def test_a_cursor_is_the_last_id_as_it_is(tmp_path: Path, one: float | str, next_one: float | str) -> None:
    """A text as cursor of a numeric id would leave out all that follows."""
    rows = [(one, "a", "2026-11-20")] * 500 + [(next_one, "b", "2026-11-20")]
    url = database(tmp_path, "CREATE TABLE runs (id, prompt, started_at)", rows=rows)
    platform = opened(source(url, "SELECT * FROM runs", columns={}))
    first = next(iter(platform.fetch(DAY_1)))
    assert [r["prompt"] for p in platform.fetch(DAY_1, first.cursor) for r in p.rows] == ["b"]
    platform.close()


def test_text_that_is_no_utf8_does_not_end_the_pull(tmp_path: Path) -> None:
    url = database(tmp_path, "CREATE TABLE runs (id, prompt, answer, started_at)",
                   "INSERT INTO runs VALUES ('1', CAST(x'416eff' AS TEXT), 'b', '2026-11-20')")  # fmt: skip
    (trace,), _, _ = pulled(opened(source(url, "SELECT * FROM runs", columns={})))
    assert trace.episodes[0].messages[0].content == "An\ufffd"


def test_a_prompt_an_answer_and_calls_between_them() -> None:
    row = {
        "id": 7,
        "prompt": '{"order": "0042"}',
        "output": {"status": "delivered"},
        "started_at": 1_763_632_800,
        "tool_calls": json.dumps([{"name": "lookup", "arguments": {"id": "007"}, "result": "soon"}]),
        "tools": json.dumps([{"name": "lookup", "parameters": {"type": "object"}}]),
        "user.email": "a@b.example",
    }
    of = source("sqlite:///x", columns={})
    (trace,) = assemble_rows([row, dict(row)], mapped(of, list(row)), of).traces
    (episode,) = trace.episodes
    assert [(m.role, m.content) for m in episode.messages] == [
        ("user", '{"order": "0042"}'),
        ("assistant", None),
        ("tool", "soon"),
        ("assistant", '{"status": "delivered"}'),
    ]
    assert episode.messages[1].tool_calls[0].key() == 'lookup {"id":"007"}'
    assert [t.name for t in episode.tools] == ["lookup"]
    assert (trace.source_id, trace.started_at) == ("7", 1_763_632_800 * 10**9)
    assert trace.identities == {"user.email": "a@b.example"}


MESSAGES = """
CREATE TABLE messages (
  run TEXT, at TEXT, role TEXT, body TEXT, tool TEXT, arguments TEXT, result TEXT, shipper TEXT
)
"""
BY_MESSAGE = {
    "id": "run", "started_at": "at", "content": "body", "tool_name": "tool", "tool_arguments": "arguments",
    "tool_result": "result", "customer": "shipper",
}  # fmt: skip


def test_a_row_can_be_a_message(tmp_path: Path) -> None:
    def said(run: str, second: int, role: str, *rest: Any) -> tuple[Any, ...]:
        return (run, f"2026-11-20 10:00:{second:02d}", role, *rest, *[None] * (5 - len(rest)))

    rows = [
        said("b", 1, "user", "hello"),
        said("a", 4, "assistant", '{"eta": "soon"}'),
        said("a", 3, "tool", None, None, None, "soon"),
        said("a", 2, "assistant", None, "lookup", '{"id": "007"}', None, "0042"),
        said("a", 1, "user", "where?"),
        said("b", 2, "assistant", None, "lookup", None, "late"),
        said("b", 3, "assistant", "Late."),
    ]
    url = database(tmp_path, MESSAGES, rows=rows)
    traces, skipped, _ = pulled(opened(source(url, "SELECT * FROM messages", columns=BY_MESSAGE)))
    assert not skipped
    found = {t.source_id: t for t in traces}
    first, second = (found[k].episodes[0].messages for k in ("a", "b"))
    assert [(m.role, m.content) for m in first] == [
        ("user", "where?"),
        ("assistant", None),
        ("tool", "soon"),
        ("assistant", '{"eta": "soon"}'),
    ]
    assert [c.key() for c in tool_calls_of(first)] == ['lookup {"id":"007"}']
    assert first[2].tool_call_id == first[1].tool_calls[0].id
    assert [m.role for m in second] == ["user", "assistant", "tool", "assistant"]
    assert found["a"].customer == "0042"
    assert not found["a"].problems
    assert found["b"].ended_at == ns("2026-11-20T10:00:03")


def test_outcomes_are_labels_for_other_sources(tmp_path: Path) -> None:
    statement = "CREATE TABLE outcomes (delivery TEXT, status TEXT, refund TEXT, at TEXT)"
    rows = [("D-7", "delivered", "010.00", "2026-11-20"), ("D-8", "lost", None, "2026-11-20"),
            (None, "lost", None, "2026-11-20")]  # fmt: skip
    url = database(tmp_path, statement, rows=rows)
    of = source(url, "SELECT delivery, status, refund FROM outcomes", columns={"workflow_id": "delivery"})
    platform = opened(of)
    assert "outcomes" in platform.probe().notes[1]
    traces, skipped, _ = pulled(platform)
    assert not traces
    assert skipped == {"shop:row": "a row has neither id, workflow_id nor session_id"}
    scores = list(platform.scores(DAY_1))
    assert [(s.workflow_id, s.trace_id, s.score.name, s.score.value) for s in scores] == [
        ("D-7", None, "ground_truth", '{"refund": "010.00", "status": "delivered"}'),
        ("D-8", None, "ground_truth", '{"status": "lost"}'),
    ]
    assert not list(platform.scores(Window(DAY_1.end, DAY_1.end + DAY)))  # no binds: read once
    platform.close()


def test_outcomes_with_named_scores() -> None:
    of = source("sqlite:///x", columns={"id": "run", "scores.csat": "stars"})
    columns = mapped(of, ["run", "stars", "note"])
    assert [
        (s.trace_id, s.score.name, s.score.value) for s in outcome_scores({"run": "7", "stars": 4}, columns)
    ] == [("7", "csat", 4.0)]
    assert not outcome_scores({"run": "7", "stars": None}, columns)
    assert not outcome_scores({"run": None, "stars": 4}, columns)


@pytest.mark.parametrize(
    ("columns", "message", "fix"),
    [
        (
            {**COLUMNS, "customer": "shiper"},
            r"no column 'shiper' \(columns.customer\)",
            "its columns: ticket, chat",
        ),
        ({**COLUMNS, "mesages": "chat"}, "'mesages', which is no field", "did you mean 'messages'"),
        ({**COLUMNS, "scores.": "helpful"}, "'scores.', which is no field", "fields: id"),
        ({"messages": "chat", "started_at": "opened"}, "no column is mapped to id", "map one of"),
        ({"id": "ticket", "messages": "chat"}, "no column is mapped to started_at", "ticket, chat, opened"),
        ({"model": "carrier"}, "no column is mapped to id or workflow_id or session_id", "map one of"),
    ],
)
def test_a_wrong_mapping_names_what_is_there(
    tmp_path: Path, columns: dict[str, str], message: str, fix: str
) -> None:
    platform = opened(source(database(tmp_path, TICKETS), columns=columns))
    with pytest.raises(ConfigError, match=message) as raised:
        platform.probe()
    assert fix in raised.value.fix


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sql": None}, "needs url and sql"),
        ({"url": None}, "needs url and sql"),
        ({"sql": "SELECT :since"}, "uses :since, which is not known"),
        ({"sql": "SELECT :start"}, "names one of :start and :end"),
        ({"url": "mysql://h/d"}, "names mysql"),
        ({"url": "no address : secret"}, "is no database address"),
        ({"url": "sqlite:///no/such.db"}, "no such database"),
    ],
)
def test_a_wrong_source_says_what_it_needs(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"url": "sqlite:///x.db", "sql": "SELECT 1", **more}
    with pytest.raises(ConfigError, match=message) as raised:
        opened(Source(name="shop", kind="postgres", **fields)).probe()
    assert "secret" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_nothing_can_be_written_and_no_password_shows(tmp_path: Path) -> None:
    url = database(tmp_path, TICKETS, rows=[ticket(1)])
    for sql in (
        "DELETE FROM tickets",
        "SELECT 1) AS x; DELETE FROM tickets; --",
        "WITH x AS (DELETE FROM tickets) x",
    ):
        with pytest.raises(OutsideServiceError, match="the database refuses"):
            opened(source(url, sql)).probe()
    with sqlite3.connect(tmp_path / "company.db") as connection:
        assert connection.execute("SELECT count(*) FROM tickets").fetchone() == (1,)
    connection.close()
    hidden = Sql(source("postgresql://127.0.0.1:1/d"), user="reader", key="hunter2")
    with pytest.raises((OutsideServiceError, ConfigError)) as raised:
        hidden.probe()
    assert "hunter2" not in str(raised.value)
    assert "reader" in str(raised.value)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, i AS prompt, i AS started_at FROM n"  # noqa: E501


def test_a_query_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    url = database(tmp_path, TICKETS)
    plain = opened(source(url, ENDLESS, columns={}, timeout_s=0.05))
    with pytest.raises(OutsideServiceError, match=r"takes longer than 0.05 s") as raised:
        list(plain.fetch(DAY_1))
    assert not isinstance(raised.value, TooLarge)  # halving the window would not help
    slow = f"{ENDLESS} WHERE i > :start AND i < :end"
    halved = opened(source(url, slow, columns={}, timeout_s=0.05))
    with pytest.raises(TooLarge):
        list(halved.fetch(DAY_1))


def test_a_trace_that_is_too_large_is_not_held(tmp_path: Path) -> None:
    rows = [("a", f"2026-11-20 10:00:{i:02d}", "user", "x" * 40_000, *[None] * 4) for i in range(60)]
    rows += [("b", "2026-11-20 10:00:00", "user", "hello", *[None] * 4),
             ("b", "2026-11-20 10:00:01", "assistant", "hi", *[None] * 4)]  # fmt: skip
    url = database(tmp_path, MESSAGES, rows=rows)
    of = source(url, "SELECT * FROM messages", columns=BY_MESSAGE, max_trace_mb=1.0)
    traces, skipped, pages = pulled(opened(of))
    assert [t.source_id for t in traces] == ["b"]
    assert skipped == {"shop:a": "the trace is larger than 1 MB"}
    assert sum(len(json.dumps(p.rows)) for p in pages) < 2 << 20


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ticket": None}, "a row has no id"),
        ({"chat": "{broken"}, "messages is no JSON list"),
        ({"chat": '{"a": "Anna"}'}, "messages is no JSON list"),
        ({"opened": "yesterday, said Anna"}, "a time is neither ISO 8601 nor seconds since 1970"),
        ({"opened": None}, "a time is missing or no time"),
        ({"opened": float("inf")}, "a time is not finite"),
        ({"opened": "9" * 30}, "a time is out of range"),
    ],
)
def test_a_bad_row_is_skipped_with_its_reason(change: dict[str, Any], reason: str) -> None:
    names = [column.split()[0] for column in TICKETS.partition("(")[2].split(",")]
    row: dict[str, Any] = {**dict(zip(names, ticket(7), strict=True)), **change}
    of = source("sqlite:///x")
    found = assemble_rows([row], mapped(of, names), of)
    assert not found.traces
    assert [s.reason for s in found.skipped] == [reason]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2026-11-20T10:00:00Z", ns("2026-11-20T10:00:00Z")),
        ("2026-11-20 10:00:00+01", ns("2026-11-20T09:00:00Z")),
        (1_763_632_800, 1_763_632_800 * 10**9),
        ("1763632800", 1_763_632_800 * 10**9),
        (1_763_632_800.5, 1_763_632_800_500_000_000),
        (1_763_632_800_123, 1_763_632_800_123_000_000),
        (1_763_632_800_123_456, 1_763_632_800_123_456_000),
        (1_763_632_800_123_456_789, 1_763_632_800_123_456_789),
    ],
)
def test_times(value: Any, wanted: int) -> None:
    assert time_ns(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Decimal("10.50"), 10.5),
        (Decimal(42), 42),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789"),
        (Decimal("12345678901234567890123"), "12345678901234567890123"),
        (Decimal("NaN"), "NaN"),
        (10**25, str(10**25)),
        (datetime(2026, 11, 20, tzinfo=UTC), "2026-11-20T00:00:00+00:00"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ({"a": [Decimal(1), b"\x01"]}, {"a": [1, "01"]}),
    ],
)
def test_database_values_are_exact(value: Any, wanted: Any) -> None:
    assert json_value(value) == wanted


cells: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [json.dumps(CONVERSATION), "[]", "[1]", '[{"role": "x"}]', "{", "007", "assistant", "tool"]
    ),
)


@given(st.data(), st.booleans())
def test_every_row_is_in_a_trace_or_counted(data: st.DataObject, by_message: bool) -> None:
    mapping = BY_MESSAGE if by_message else COLUMNS
    names = sorted({*mapping.values(), "extra", *(["role"] if by_message else [])})
    row = st.fixed_dictionaries(dict.fromkeys(names, cells))
    rows = data.draw(st.lists(row, max_size=4))
    of = source("sqlite:///x", columns=mapping)
    found = assemble_rows(rows, mapped(of, names), of)
    key = mapping["id"]
    ids = {
        r[key] if isinstance(r[key], str) else json.dumps(r[key]) for r in rows if r[key] not in (None, "")
    }
    without = sum(1 for r in rows if r[key] in (None, ""))
    assert len(found.traces) + len(found.skipped) == len(ids) + without
    assert {t.source_id for t in found.traces} <= ids


@given(st.text("0123456789", min_size=1, max_size=25))
def test_ids_that_look_like_numbers_stay_text(number: str) -> None:
    of = source("sqlite:///x", columns={})
    row = {
        "id": number,
        "prompt": number,
        "answer": number,
        "started_at": 5,
        "workflow_id": number,
        "note": number,
    }
    (trace,) = assemble_rows([row], mapped(of, list(row)), of).traces
    assert (trace.source_id, trace.workflow_id, trace.attributes) == (number, number, {"note": number})
    assert [m.content for m in trace.episodes[0].messages] == [number, number]
