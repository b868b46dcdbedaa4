"""Application Insights' rows, in the form that ingestion gives the real exporter's envelopes."""

from __future__ import annotations

import importlib
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources.azure_workspace import Tables, classic, exported, protected, result, tables_of, workspace
from sources.traced_run import ASKED, RESULT, START, TRACE, Row, full, run

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import Trace
from strop.sources.azure.api import Azure
from strop.sources.platform import HOUR, SECOND, Window, ns
from strop.sources.spans.assemble import assemble

WORKSPACE = "11111111-2222-3333-4444-555555555555"
WINDOW = Window(START - HOUR, START + HOUR)


def source(url: str = "http://127.0.0.1:9", **more: Any) -> Source:
    fields = {"name": "s", "kind": "azure", "url": url, "project": WORKSPACE, "customer_key": "tenant.id"}
    return Source(**{**fields, **more})


def azure(url: str = "http://127.0.0.1:9", **more: Any) -> Azure:
    return Azure(source(url), user=None, key="token", **more)


def direct() -> Trace:
    (trace,), _ = assemble(run(), source="s", customer_key="tenant.id")
    return trace


def workspace_tables() -> Tables:
    return tables_of([envelope for span in run() for envelope in exported(span)])


def classic_tables() -> Tables:
    tables = workspace_tables()
    return {
        "dependencies": [classic(r) for r in tables["AppDependencies"]],
        "traces": [classic(r) for r in tables["AppTraces"]],
    }


def pulled(tables: Tables, **more: Any) -> Trace:
    with workspace(tables) as (url, _):
        platform = azure(url, **more)
        (page,) = platform.fetch(WINDOW)
        platform.close()
    assert page.whole
    made = platform.assemble(page.rows)
    assert made.skipped == []
    (trace,) = made.traces
    return trace


def changed(span_id: str, **columns: Any) -> list[Row]:
    """The rows of the run, those of one span with other columns."""
    rows = rows_of(workspace_tables())
    return [{**r, **columns} if r.get("SpanId") == full(span_id) and r["Kind"] == "span" else r for r in rows]


def with_properties(span_id: str, **properties: Any) -> list[Row]:
    rows = rows_of(workspace_tables())
    (row,) = (r for r in rows if r.get("SpanId") == full(span_id) and r["Kind"] == "span")
    row["Properties"] = json.dumps({**json.loads(row["Properties"]), **properties})
    return rows


def rows_of(tables: Tables) -> list[Row]:
    with workspace(tables) as (url, _):
        platform = azure(url)
        (page,) = platform.fetch(WINDOW)
        platform.close()
    return page.rows


@cache
def stored_json(apart: bool) -> str:
    tables = workspace_tables()
    return json.dumps(rows_of(protected(tables) if apart else tables))


def stored(apart: bool = False) -> list[Row]:
    rows: list[Row] = json.loads(stored_json(apart))
    return rows


@pytest.mark.parametrize("tables", [workspace_tables(), classic_tables(), protected(workspace_tables())])
def test_the_run_is_the_one_that_was_exported(tables: Tables) -> None:
    trace, expected = pulled(tables), direct()
    assert trace == expected
    assert [m.content for m in trace.episodes[0].messages if m.role == "tool"] == [json.dumps(RESULT)]
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (290, 50)
    assert (trace.customer, trace.session_id, trace.tags) == ("acme", "sess-1", ("prod", "v7"))
    assert trace.identities == {"enduser.id": "user-1"}
    assert [(s.name, s.value, s.comment) for s in trace.scores] == [("Relevance", 4.0, "to the point")]


def test_the_query_names_window_path_and_wait() -> None:
    with workspace(workspace_tables()) as (url, asked):
        platform = azure(url)
        list(platform.fetch(WINDOW))
        resource = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/components/c"
        other = Azure(source(f"{url}/v1", project=resource), user=None, key="token")
        list(other.fetch(WINDOW))
        platform.close()
        other.close()
    assert asked[0]["path"] == f"/v1/workspaces/{WORKSPACE}/query"
    assert asked[1]["path"] == f"/v1{resource}/query"
    assert asked[0]["headers"]["Authorization"] == "Bearer token"
    assert asked[0]["headers"]["Prefer"] == "wait=60"
    assert asked[0]["timespan"] == "2026-11-22T05:32:05.643431Z/2026-11-24T07:32:05.643431Z"
    assert "datetime(2026-11-23T05:32:05.643431Z)" in asked[0]["query"]


def test_runs_that_began_before_the_window_are_left_to_their_own() -> None:
    with workspace(workspace_tables()) as (url, _):
        platform = azure(url)
        (page,) = platform.fetch(Window(START + SECOND // 2, START + HOUR))
        platform.close()
    assert page.rows == []


def test_a_run_that_waited_a_night_is_whole_and_belongs_to_the_day_it_began() -> None:
    tables = workspace_tables()
    last = next(r for r in tables["AppDependencies"] if r["Id"] == full("d1"))
    last["TimeGenerated"] = "2026-11-24T05:00:00Z"
    (trace,) = azure().assemble(rows_of(tables)).traces
    assert trace.episodes == direct().episodes
    morning = ns("2026-11-24T04:00:00Z")
    with workspace(tables) as (url, _):
        platform = azure(url)
        (page,) = platform.fetch(Window(morning, morning + 2 * HOUR))
        platform.close()
    assert page.rows == []


@given(order=st.permutations(range(5)), twice=st.lists(st.integers(0, 4), max_size=3))
def test_order_and_duplicates_of_rows_do_not_matter(order: list[int], twice: list[int]) -> None:
    rows = stored()
    assert len(rows) == 5
    assert azure().assemble([rows[i] for i in [*order, *twice]]).traces == [direct()]


def problems(rows: list[Row]) -> tuple[str, ...]:
    made = azure().assemble(rows)
    assert made.skipped == []
    return made.traces[0].problems


def test_what_was_cut_lost_or_sampled_is_a_problem() -> None:
    cut = json.dumps({"text": "x" * 9000})[:8192]
    rows = with_properties("c1", **{"gen_ai.tool.call.result": cut})
    assert problems(rows) == ("content was cut at 8192 characters: gen_ai.tool.call.result",)
    rows = with_properties("d1", **{"gen_ai.input.messages": json.dumps(ASKED)[:-5], "other": "y" * 66_000})
    assert "content was lost: a row's properties were cut at 64 KB" in problems(rows)
    long = changed(
        "d1", Properties='{"gen_ai.operation.name": "chat", "gen_ai.input.messages": "' + "z" * 65_472
    )
    assert "content was lost: a row's properties were cut at 64 KB" in problems(long)
    assert "span chat m: no messages (content capture off?)" in problems(long)
    assert problems(changed("a1", ItemCount=4)) == (
        "sampled: this is one of 4 spans, the others were not kept",
    )


def test_content_that_may_not_be_read_is_a_problem_and_no_message() -> None:
    tables = protected(workspace_tables())
    tables["AppGenAIContent"] = []
    made = azure().assemble(rows_of(tables))
    assert made.traces == []
    assert [s.reason for s in made.skipped] == ["span chat m: no messages (content capture off?)"]
    some = protected(workspace_tables())
    some["AppGenAIContent"] = [r for r in some["AppGenAIContent"] if r["SpanId"] != full("c1")]
    (problem,) = problems(rows_of(some))
    assert problem.startswith("content lies in AppGenAIContent, where it could not be read")


def test_an_mcp_tool_that_is_there_twice_ran_once() -> None:
    rows = rows_of(workspace_tables())
    twin = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_order"}
    (run_row,) = (r for r in rows if r.get("SpanId") == full("c1"))
    empty = {**run_row, "SpanId": "e1", "ParentId": full("c1"), "Name": "tools/call get_order"}
    inside = {**empty, "Properties": json.dumps({**twin, "gen_ai.tool.call.id": "call_1"})}
    assert azure().assemble([*rows, inside]).traces[0].episodes == direct().episodes
    # The answer may hang on the twin only.
    bare = {**run_row, "Properties": json.dumps(twin)}
    answered = {**empty, "Properties": run_row["Properties"]}
    others = [r for r in rows if r.get("SpanId") not in (full("c1"), full("d1"))]
    (trace,) = azure().assemble([*others, bare, answered]).traces
    assert [m.content for m in trace.episodes[0].messages if m.role == "tool"] == [json.dumps(RESULT)]


def test_a_failed_span_fails_the_trace() -> None:
    (trace,) = azure().assemble(changed("a1", Success="False", ResultCode="500")).traces
    assert (trace.status, trace.error) == ("error", "500")


def test_evaluations_that_come_later_find_what_they_judge() -> None:
    tables = workspace_tables()
    at = "2026-11-23T07:00:00Z"

    def evaluation(operation: str, parent: str = "", **more: str) -> Row:
        properties = {"gen_ai.evaluation.name": "Intent", "gen_ai.evaluation.score.value": "0.5", **more}
        base = {
            "TimeGenerated": at,
            "SessionId": "",
            "UserAuthenticatedId": "",
            "AppRoleName": "e",
            "ItemCount": 1,
        }
        return {**base, "OperationId": operation, "ParentId": parent, "Name": "gen_ai.evaluation.result",
                "Properties": json.dumps(properties)}  # fmt: skip

    tables["AppEvents"] = [
        evaluation("other", **{"gen_ai.response.id": "resp_1"}),
        evaluation("other", **{"gen_ai.conversation.id": "sess-9"}),
        evaluation("mine", "p1", **{"gen_ai.conversation.id": "sess-9"}),
        evaluation("", **{"gen_ai.evaluation.score.value": "pass"}),
    ]
    with workspace(protected(tables)) as (url, _):
        platform = azure(url)
        late = list(platform.scores(Window(ns(at) - SECOND, ns(at) + SECOND)))
        early = list(platform.scores(WINDOW))
        platform.close()
    assert {e.score for e in early} >= set(direct().scores)
    assert [(s.trace_id, s.session_id) for s in late] == [(TRACE, None), (None, "sess-9"), ("mine", None)]
    assert {s.score.value for s in late} == {0.5}


def test_probe_says_whether_content_is_readable() -> None:
    for tables, notes in ((protected(workspace_tables()), 0), (workspace_tables(), 1)):
        with workspace(tables) as (url, _):
            platform = azure(url)
            assert len(platform.probe().notes) == notes
            platform.close()


PARTIAL = {**result([]), "error": {"code": "PartialError", "details": [{"code": "EngineError", "innererror": {
    "code": "-2133196797", "message": "E_QUERY_RESULT_SET_TOO_LARGE"}}]}}  # fmt: skip


@pytest.mark.parametrize(
    ("faults", "error", "match"),
    [
        ([(200, PARTIAL)], TooLarge, "-2133196797"),
        ([(504, {})] * 6, TooLarge, "in time"),
        ([(500, {})] * 6, OutsideServiceError, "HTTP 500"),
        ([(403, {"error": {"code": "InsufficientAccessError"}})], OutsideServiceError, "InsufficientAccess"),
        ([(200, {"tables": []})], OutsideServiceError, "no table"),
        ([(200, {"tables": [{"columns": [1], "rows": [[1]]}]})], OutsideServiceError, "no table"),
        ([(200, {"tables": [{"columns": [{"name": "a"}], "rows": [[1, 2]]}]})], OutsideServiceError, "shape"),
    ],
)
def test_faults_are_told_apart(faults: list[tuple[int, Row]], error: type[Exception], match: str) -> None:
    with workspace({}, list(faults)) as (url, _):
        platform = azure(url, sleep=lambda _: None)
        with pytest.raises(error, match=match) as caught:
            list(platform.fetch(WINDOW))
        platform.close()
    assert isinstance(caught.value, TooLarge) == (error is TooLarge)


def test_throttling_is_waited_for_and_a_full_answer_is_too_large() -> None:
    waits: list[float] = []
    with workspace(workspace_tables(), [(429, {}), (503, {})]) as (url, asked):
        platform = azure(url, sleep=waits.append)
        assert len(next(platform.fetch(WINDOW)).rows) == 5
        platform.close()
        assert (waits, len(asked)) == ([7.0, 2.0], 3)
        small = azure(url, row_limit=5)
        with pytest.raises(TooLarge, match="at most 5 rows"):
            list(small.fetch(WINDOW))
        small.close()


def test_configuration_errors_name_the_next_step() -> None:
    with pytest.raises(ConfigError, match="workspace id"):
        Azure(source(project="my-workspace"), key="token")
    try:
        importlib.import_module("azure.identity")
    except ImportError:
        with pytest.raises(ConfigError, match=r"pip install 'strop\[azure\]'"):
            Azure(source(), key=None)


def test_a_trace_past_the_limit_is_skipped() -> None:
    made = Azure(source(max_trace_mb=0.001), key="t").assemble(rows_of(workspace_tables()))
    assert (made.traces, [s.reason for s in made.skipped]) == ([], ["the trace is larger than 0.001 MB"])


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
TRAPS = st.sampled_from(["(", "('a',)", "[", "{}", "[1]", "9" * 400])
JSON = st.recursive(
    SCALARS | TRAPS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_damaged_rows_never_crash_and_are_counted(data: st.DataObject) -> None:
    rows = stored(apart=True)
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.sampled_from(rows))
        inside = data.draw(st.booleans()) and isinstance(row.get("Properties"), str)
        bag = json.loads(row["Properties"]) if inside and row["Properties"].startswith("{") else row
        if not isinstance(bag, dict) or not bag:
            continue
        key = data.draw(st.sampled_from(sorted(bag)))
        if data.draw(st.booleans()):
            bag[key] = data.draw(JSON)
        else:
            del bag[key]
        if bag is not row:
            row["Properties"] = json.dumps(bag)
    made = azure().assemble(rows)
    assert made.traces or made.skipped
    named = [t.source_id for t in made.traces] + [
        s.item.partition(":")[2] for s in made.skipped if ":" in s.item
    ]
    assert len(named) == len(set(named))
