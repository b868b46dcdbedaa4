"""DBOS's own system database, written by the real library on SQLite, and pickles that mean harm."""

from __future__ import annotations

import base64
import json
import pickle
import sqlite3
import subprocess
import sys
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.config import Source
from strop.errors import ConfigError
from strop.records import Trace, tool_calls_of
from strop.sources.platform import Made, Window, within
from strop.sources.workflows.dbos import Dbos, decode
from strop.sources.workflows.pickles import plain

PROGRAM = """
import os
import sys
from dbos import DBOS, DBOSPortableJSONSerializer, SetWorkflowID

config = {"name": "shop", "system_database_url": sys.argv[1], "enable_otlp": False, "log_level": "CRITICAL"}
if sys.argv[2] == "portable":
    config["serializer"] = DBOSPortableJSONSerializer()
DBOS(config=config)
tries = []

@DBOS.step()
def lookup(tracking):
    return {"eta": "soon", "tracking": tracking}

@DBOS.step(retries_allowed=True, max_attempts=3, interval_seconds=0.01)
def charge(amount):
    tries.append(amount)
    if len(tries) < 3:
        raise ValueError("busy")
    return {"in": {"amount": amount}, "out": "paid"}

@DBOS.step()
def refuse():
    raise ValueError("no stock")

@DBOS.workflow()
def child(order):
    return lookup(order)

@DBOS.workflow()
def handle(ticket, *, carrier):
    found = lookup(ticket["tracking"])
    charge("010.00")
    inner = DBOS.start_workflow(child, "009").get_result()
    DBOS.set_event("at", "end")
    return {"status": "delivered", "eta": found["eta"], "child": inner["tracking"]}

@DBOS.workflow()
def fail(ticket):
    try:
        refuse()
    except ValueError:
        pass
    lookup("1")
    raise RuntimeError("gave up")

@DBOS.workflow()
def wait():
    return DBOS.recv("go", timeout_seconds=600)

DBOS.launch()
with SetWorkflowID("00042"):
    handle({"tracking": "00340434161094042557", "customer": {"id": "0042"}}, carrier="DHL")
with SetWorkflowID("00043"):
    try:
        fail("t")
    except RuntimeError:
        pass
with SetWorkflowID("00044"):
    DBOS.start_workflow(wait)
os._exit(0)  # as a crash would: the last workflow waits for ever
"""
EVER = Window(0, 1 << 62)


@pytest.fixture(scope="module", params=["portable", "pickle"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("dbos")
    url = f"sqlite:///{folder}/app.sqlite"
    (folder / "app.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, folder / "app.py", url, request.param], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return url, request.param


def source(url: str, **more: Any) -> Source:
    return Source(name="flows", kind="dbos", url=url, **more)


def pulled(of: Source, window: Window = EVER) -> Made:
    platform = Dbos(of, user=None, key=None)
    rows = [r for p in platform.fetch(window) for r in p.rows]
    assert not list(platform.scores(window))
    platform.close()
    made = platform.assemble([*rows, *rows[::-1]])
    assert within(made.traces, window, by_end=made.by_end) == made.traces
    return Made(sorted(made.traces, key=lambda t: t.source_id), made.skipped)


def test_runs_of_the_real_library_are_traces(database: tuple[str, str]) -> None:
    url, serializer = database
    platform = Dbos(source(url), user=None, key=None)
    assert platform.probe().platform == "dbos"
    platform.close()
    made = pulled(source(url))
    assert not made.skipped
    handled, inner, failed = sorted(made.traces, key=lambda t: (t.agent != "handle", t.agent or ""))
    messages = handled.episodes[0].messages
    assert [(c.name, c.arguments) for c in tool_calls_of(messages)] == [
        ("lookup", "{}"), ("charge", '{"amount": "010.00"}'), ("child", "{}")]  # fmt: skip
    results = [json.loads(m.content or "") if "{" in (m.content or "") else m.content
               for m in messages if m.role == "tool"]  # fmt: skip
    assert results == [
        {"eta": "soon", "tracking": "00340434161094042557"}, "paid", {"eta": "soon", "tracking": "009"}
    ]  # fmt: skip
    assert json.loads(messages[0].content or "") == [
        {"tracking": "00340434161094042557", "customer": {"id": "0042"}}, {"carrier": "DHL"}]  # fmt: skip
    assert json.loads(messages[-1].content or "") == {"status": "delivered", "eta": "soon", "child": "009"}
    assert (handled.workflow_id, handled.customer, handled.status) == ("00042", "0042", "ok")
    assert handled.problems == ("the engine recorded no arguments of 2 steps",)
    assert inner.attributes["workflow.parent_id"] == "00042"
    assert (failed.agent, failed.status) == ("fail", "error")
    told = "gave up" if serializer == "portable" else "RuntimeError"
    assert told in (failed.error or "")
    assert [c.name for c in tool_calls_of(failed.episodes[0].messages)] == ["refuse", "lookup"]
    assert "error" in (failed.episodes[0].messages[2].content or "")


def test_a_window_holds_what_ended_in_it(database: tuple[str, str]) -> None:
    url, _ = database
    whole = pulled(source(url))
    ended = min(t.ended_at for t in whole.traces)
    assert not pulled(source(url), window=Window(0, ended)).traces
    first = [t.source_id for t in whole.traces if t.ended_at == ended]
    assert [t.source_id for t in pulled(source(url), window=Window(ended, ended + 1)).traces] == first
    small = pulled(source(url, max_trace_mb=0.0001))
    assert {s.reason for s in small.skipped} == {"the trace is larger than 0.0001 MB"}


def test_pages_go_on_after_their_last_run(database: tuple[str, str], tmp_path: Path) -> None:
    url, _ = database
    copied = tmp_path / "many.sqlite"
    with sqlite3.connect(url.removeprefix("sqlite:///")) as old, sqlite3.connect(copied) as new:
        old.backup(new)
        names = [c[1] for c in new.execute("PRAGMA table_info(workflow_status)") if c[1] != "workflow_uuid"]
        listed = ", ".join(names)
        for i in range(45):
            new.execute(
                f"INSERT INTO workflow_status (workflow_uuid, {listed}) "
                f"SELECT ?, {listed} FROM workflow_status WHERE workflow_uuid = '00042'",
                (f"copy-{i:02d}",),
            )
            new.execute(
                "UPDATE workflow_status SET parent_workflow_id = ? WHERE workflow_uuid = ?",
                (f"copy-{i - 1:02d}" if i else None, f"copy-{i:02d}"),
            )
        for name in ("workflow_input", "workflow_output"):
            new.execute(f"DROP TABLE {name}")  # as before 3.4
        new.execute("DROP INDEX idx_workflow_status_completed_at")
        new.execute("ALTER TABLE workflow_status DROP COLUMN completed_at")
    old.close()
    new.close()
    platform = Dbos(source(f"sqlite:///{copied}"), user=None, key=None)
    pages = list(platform.fetch(EVER))
    ids = [r["run"]["workflow_uuid"] for p in pages for r in p.rows]
    assert ids == sorted(set(ids))
    assert [len(p.rows) for p in pages] == [20, 20, 8]
    assert "00044" not in ids  # it waits still
    roots = {t.workflow_id: t.attributes["workflow.root_id"] for p in pages
             for t in platform.assemble(p.rows).traces}  # fmt: skip
    assert {roots[i] for i in ids if i.startswith("copy-")} == {"copy-00"}
    rest = list(platform.fetch(EVER, pages[0].cursor))
    assert [r["run"]["workflow_uuid"] for p in rest for r in p.rows] == ids[20:]
    platform.close()


def test_what_is_no_dbos_database_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (a)")
    other.close()
    platform = Dbos(source(f"sqlite:///{tmp_path}/other.db"), user=None, key=None)
    with pytest.raises(ConfigError, match="no DBOS tables"):
        platform.probe()
    with pytest.raises(ConfigError, match="needs url"):
        Dbos(Source(name="flows", kind="dbos"), user=None, key=None)


@pytest.mark.parametrize(
    ("text", "serialization", "wanted"),
    [
        ('{"a": "007"}', "portable_json", '{"a": "007"}'),
        ('{"json": {"a": "007"}, "__dbos_serializer": "superjson"}', "js_superjson", '{"a": "007"}'),
        ('{"json": 1, "other": 2}', "js_superjson", '{"json": 1, "other": 2}'),
        ('[12345678901234567890123]', None, "[12345678901234567890123]"),
        (base64.b64encode(b'{"a": 1}').decode(), "DBOS_JSON", '{"a": 1}'),
        (base64.b64encode(pickle.dumps({"a": "007"})).decode(), None, '{"a": "007"}'),
    ],
)  # fmt: skip
def test_serialisations(text: str, serialization: str | None, wanted: str) -> None:
    assert decode(text, serialization) == wanted


@pytest.mark.parametrize(
    ("text", "serialization", "reason"),
    [
        ("{", "portable_json", "a payload is no JSON"),
        ("x", "custom_serializer", "a value has a serialisation of its own"),
        ("%%", "py_pickle", "a value is no base64"),
        (7, "py_pickle", "a value is no text"),
    ],
)
def test_unreadable_values_are_told_without_quoting(text: Any, serialization: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(text, serialization)


PLAIN: list[tuple[Any, Any]] = [
    ({"a": (1, 2.5, None, True), "b": {"x"}}, {"a": [1, 2.5, None, True], "b": ["x"]}),
    (datetime(2026, 11, 20, 10, tzinfo=UTC), "2026-11-20T10:00:00+00:00"),
    ([date(2026, 11, 20), timedelta(seconds=5), Decimal("010.50")], ["2026-11-20", "0:00:05", "10.50"]),
    (b"\x00\x01", "0001"),
    (frozenset({2, 1}), [1, 2]),
    ({1: "a"}, {"1": "a"}),
    ("00340434161094042557", "00340434161094042557"),
    (12345678901234567890123, 12345678901234567890123),
]


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(("value", "wanted"), PLAIN)
def test_plain_data_comes_out_of_a_pickle(value: Any, wanted: Any, protocol: int) -> None:
    assert plain(pickle.dumps(value, protocol)) == wanted


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Evaluates:
    def __reduce__(self) -> Any:
        return eval, ("1 / 0",)


def nested(levels: int) -> bytes:
    """A list that holds itself twice, over and over: a few bytes that would be 2 ** levels values."""
    value: list[Any] = ["x" * 64]
    for _ in range(levels):
        value = [value, value]
    return pickle.dumps(value)


ABUSES = {
    "imports": b"cos\nsystem\n(S'true'\ntR.",
    "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "builtins_eval": pickle.dumps(Evaluates()),
    "getattr": b"cbuiltins\ngetattr\n(S'x'\nS'upper'\ntR.",
    "dotted_name": b"\x80\x04\x8c\x08datetime\x8c\x11datetime.__class__\x93.",
    "build": b"\x80\x04}\x8c\x01a\x8c\x01bsb.",
    "persistent": b"Pid\n.",
    "instance": b"(ios\nsystem\n.",
    "extension": b"\x82\x01.",
    "object_subclass": pickle.dumps(OrderedDict(a=1)),
    "huge_memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "huge_bytearray": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "billion_laughs": nested(60),
    "huge_number": pickle.dumps(1 << 100_000),
    "cut_off": pickle.dumps({"a": 1})[:-3],
    "empty": b"",
}


@pytest.mark.parametrize("name", sorted(ABUSES))
def test_a_pickle_that_is_more_than_data_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^a pickle (is|holds|does|asks|expands)"):
        plain(ABUSES[name])


def test_nothing_in_a_pickle_runs(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    harmful = pickle.dumps([{"a": 1}, Runs(touched)])
    with pytest.raises(ValueError, match="a pickle holds a Python object"):
        plain(harmful)
    assert not touched.exists()
    pickle.loads(harmful)  # the same bytes, as the library itself would read them
    assert touched.exists()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(values, st.data())
def test_a_damaged_pickle_is_data_or_refused(value: Any, data: st.DataObject) -> None:
    raw = bytearray(pickle.dumps(value))
    assert plain(bytes(raw)) == value
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        json.dumps(plain(bytes(raw)))
    except ValueError as error:
        assert str(error).startswith("a pickle ")


cells: Any = st.one_of(
    st.none(), st.integers(-5, 1 << 40), st.text(max_size=5), st.just('{"args": 5}'), st.just("gASV"),
    st.builds(list), st.just('{"in": 1, "out": 2}'), st.just("DBOS.recv"), st.just("DBOS.getResult"),
)  # fmt: skip


def test_a_damaged_run_is_a_trace_or_skipped(database: tuple[str, str]) -> None:
    platform = Dbos(source(database[0]), user=None, key=None)
    text = json.dumps([r for p in platform.fetch(EVER) for r in p.rows])

    @given(st.data())
    def damage(data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(json.loads(text)))
        for _ in range(data.draw(st.integers(1, 4))):
            node = data.draw(st.sampled_from([row["run"], *row["steps"]]))
            node[data.draw(st.sampled_from([k for k in node if k not in ("status", "workflow_uuid")]))] = (
                data.draw(cells)
            )
        made = platform.assemble([row])
        running = row["run"]["status"] == "PENDING"
        assert len(made.traces) + len(made.skipped) == (0 if running else 1)
        assert all(isinstance(t, Trace) for t in made.traces)

    damage()
    platform.close()
