"""MLflow's REST answers, recorded, through a loopback stub with pages, faults and older servers."""

from __future__ import annotations

import base64
import copy
import functools
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared
from stub import SILENCE, Asked, Reply, answering, ok

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import Score, Trace
from strop.sources.mlflow.api import MLflow
from strop.sources.otlp.wire import assemble, decode
from strop.sources.platform import HOUR, Made, Window, ns, within

START = ns("2026-11-23T06:00:00Z")
WINDOW = Window(START, START + HOUR)
HTML_404: Reply = (404, {"Content-Type": "text/html"}, b"<!doctype html><title>404 Not Found</title>")


def missing(what: str) -> Reply:
    return 404, {}, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": what}).encode()


@functools.cache
def _recorded(name: str) -> bytes:
    return shared(f"fixtures/mlflow_3.17.2_trace_{name}.json").read_bytes()


def recorded() -> list[dict[str, Any]]:
    """The recorded traces as rows, their spans as protobuf's JSON (traces/get)."""
    return [json.loads(_recorded(name))["trace"] for name in "ab"]


def stored(row: dict[str, Any]) -> dict[str, Any]:
    """The same trace as get-trace-artifact answers it: attributes are JSON texts."""
    spans: list[dict[str, Any]] = []
    for span in row["spans"]:
        attributes = {a["key"]: json.dumps(plain(a["value"]), ensure_ascii=False) for a in span["attributes"]}
        events = [{**e, "attributes": {a["key"]: plain(a["value"]) for a in e["attributes"]}}
                  for e in span.get("events", [])]  # fmt: skip
        spans.append(
            {"parent_span_id": None, "links": [], **span, "attributes": attributes, "events": events}
        )
    return {"trace_info": row["trace_info"], "spans": spans}


def plain(value: dict[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    if kind == "array_value":
        return [plain(v) for v in inner.get("values", [])]
    if kind == "kvlist_value":
        return {p["key"]: plain(p["value"]) for p in inner.get("values", [])}
    return inner


def server(rows: list[dict[str, Any]], *, artifacts: bool = True) -> Callable[[Asked], Reply]:
    """An MLflow with one experiment, "agent" (7): filters and pages traces as the server does."""

    def reply(asked: Asked) -> Reply:
        if asked.path == "/version":
            return 200, {"Content-Type": "text/html"}, b"3.17.2"
        if asked.path == "/api/2.0/mlflow/experiments/get-by-name":
            known = asked.one("experiment_name") == "agent"
            return ok({"experiment": {"experiment_id": "7"}}) if known else missing("No such experiment")
        if asked.path == "/api/2.0/mlflow/experiments/get":
            return ok({"experiment": {"experiment_id": asked.one("experiment_id"), "name": "agent"}})
        if asked.path == "/api/3.0/mlflow/traces/search":
            return search(rows, asked.body)
        if asked.path == "/ajax-api/2.0/mlflow/get-trace-artifact" and artifacts:
            if not asked.one("request_id"):
                return 400, {}, b'{"error_code": "BAD_REQUEST"}'
            found = [r for r in rows if r["trace_info"]["trace_id"] == asked.one("request_id")]
            return ok({"spans": stored(found[0])["spans"]}) if found else missing("no such trace")
        if asked.path == "/api/3.0/mlflow/traces/batchGet":
            return ok(
                {"traces": [r for r in rows if r["trace_info"]["trace_id"] in asked.query["trace_ids"]]}
            )
        return HTML_404

    return reply


def search(rows: list[dict[str, Any]], body: dict[str, Any]) -> Reply:
    assert body["locations"] == [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "7"}}]
    first, last = map(int, re.findall(r"\d+", body["filter"].replace("timestamp_ms", "")))
    times = [(ns(r["trace_info"]["request_time"]) // 1_000_000, r["trace_info"]) for r in rows]
    infos = [info for at, info in sorted(times, key=lambda t: t[0]) if first <= at < last]
    offset, size = int(body.get("page_token") or 0), body["max_results"]
    page = infos[offset : offset + size]
    return ok({"traces": page, **({"next_page_token": str(offset + size)} if len(page) == size else {})})


def source(url: str = "http://127.0.0.1:1", project: str = "agent", **settings: Any) -> Source:
    given = {"customer_key": "tenant.id", "timeout_s": 5.0, **settings}
    return Source(name="s", kind="mlflow", url=url, project=project, **given)


def pulled(mlflow: MLflow, window: Window) -> Made:
    made = Made([], [])
    for page in mlflow.fetch(window):
        assert page.whole
        one = mlflow.assemble(page.rows)
        made.traces.extend(within(one.traces, window))
        made.skipped.extend(one.skipped)
    return made


def direct() -> dict[str, Trace]:
    found: dict[str, Trace] = {}
    for name in ("genai.pb", "openinference.pb"):
        traces, _ = assemble(
            decode(shared(f"fixtures/{name}").read_bytes()), source="s", customer_key="tenant.id"
        )
        found.update({t.source_id: t for t in traces})
    return found


@pytest.mark.parametrize("artifacts", [True, False], ids=["as stored", "decoded"])
@pytest.mark.parametrize("page_size", [1, 100])
def test_pages_give_the_traces_that_otlp_gives(page_size: int, artifacts: bool) -> None:
    with answering(server(recorded(), artifacts=artifacts)) as (url, seen):
        made = pulled(MLflow(source(url), page_size=page_size), WINDOW)
    assert not made.skipped
    traces = {t.source_id: t for t in made.traces}
    assert traces.keys() == direct().keys()
    for source_id, expected in direct().items():
        trace = traces[source_id]
        assert trace.episodes == expected.episodes
        assert abs(trace.started_at - expected.started_at) < 1000  # the two recordings differ that much
        plainly = {"started_at": 0, "ended_at": 0, "attributes": {}}
        assert msgspec.structs.replace(trace, **plainly) == msgspec.structs.replace(expected, **plainly)
    assert any("batchGet" in a.path for a in seen) is not artifacts
    assert sum(a.path.endswith("search") for a in seen) == (3 if page_size == 1 else 1)


def test_a_pull_goes_on_from_a_page() -> None:
    with answering(server(recorded())) as (url, _):
        mlflow = MLflow(source(url), page_size=1)
        first = next(iter(mlflow.fetch(WINDOW)))
        rest = [row for page in mlflow.fetch(WINDOW, first.cursor) for row in page.rows]
    assert [r["trace_info"]["trace_id"][:7] for r in first.rows + rest] == ["tr-6ec1", "tr-0bfb"]


def test_a_window_is_half_open() -> None:
    begun = min(t.started_at for t in MLflow(source()).assemble(recorded()).traces)
    with answering(server(recorded())) as (url, _):
        mlflow = MLflow(source(url))
        assert not pulled(mlflow, Window(begun - HOUR, begun)).traces
        found = pulled(mlflow, Window(begun, begun + 1)).traces
    assert [t.source_id[:4] for t in found] == ["6ec1"]


def with_attributes(**changes: Any) -> dict[str, Any]:
    """A stored trace whose last model call has these attributes, as the texts they are stored as."""
    row = stored(recorded()[0])
    last = row["spans"][-1]["attributes"]
    last.update({k.replace("__", "."): v for k, v in changes.items()})
    return row


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('"12345"', "12345"),
        ('"007"', "007"),
        ('"00340434161094042557"', "00340434161094042557"),
        ('"true"', "true"),
        ('"null"', "null"),
        ('"1e5"', "1e5"),
        ('{"id":34043416109404255712, "w":1.10}', '{"id":34043416109404255712, "w":1.10}'),
        ("[1,2]", "[1,2]"),
        ('\n {"w":1.10}', '\n {"w":1.10}'),
        ("not json", "not json"),
    ],
)
def test_what_a_tool_said_keeps_its_spelling(text: str, read: str) -> None:
    key = "llm.input_messages.3.message.content"
    (trace,) = MLflow(source()).assemble([with_attributes(**{key: text})]).traces
    assert trace.episodes[0].messages[3].content == read


def test_ids_stay_text() -> None:
    row = with_attributes()
    for span in row["spans"]:
        span["attributes"].update({"session.id": '"0042"', "user.id": "1234567890", "tenant.id": '"007"'})
    (trace,) = MLflow(source()).assemble([row]).traces
    assert (trace.session_id, trace.customer) == ("0042", "007")
    assert trace.identities["user.id"] == "1234567890"


def test_session_user_and_tags_of_the_trace_stand_at_its_root() -> None:
    row = with_attributes()
    for span in row["spans"]:
        for key in ("session.id", "user.id"):
            del span["attributes"][key]
    row["trace_info"]["tags"] |= {"shop": "0815", "workflow.id": "wf-1", "mlflow.user": "someone"}
    (trace,) = MLflow(source(customer_key="shop")).assemble([row]).traces
    assert (trace.customer, trace.workflow_id, trace.session_id) == ("0815", "wf-1", "sess-1")
    assert trace.identities["user.id"] == "user-1"
    assert "someone" not in str(trace)
    assert "request_preview" in row["trace_info"]


def native(span_id: int, parent: int | None, kind: str, name: str, given: Any, said: Any) -> dict[str, Any]:
    """A span as MLflow's own instrumentation writes it."""
    start = START + span_id * 1_000_000

    def encoded(number: int) -> str:
        return base64.b64encode(number.to_bytes(8, "big")).decode()

    return {
        "trace_id": base64.b64encode((77).to_bytes(16, "big")).decode(), "span_id": encoded(span_id),
        "parent_span_id": None if parent is None else encoded(parent), "name": name,
        "start_time_unix_nano": start, "end_time_unix_nano": start + 500_000, "events": [], "links": [],
        "status": {"code": "STATUS_CODE_OK", "message": None},
        "attributes": {
            "mlflow.traceRequestId": '"tr-4d"', "mlflow.spanType": json.dumps(kind),
            "mlflow.spanInputs": json.dumps(given), "mlflow.spanOutputs": json.dumps(said),
        },
    }  # fmt: skip


def test_traces_of_mlflows_own_instrumentation_are_conversations() -> None:
    call = {"id": "call_1", "type": "function",
            "function": {"name": "get_order", "arguments": '{"order_id":"0017"}'}}  # fmt: skip
    tools = [{"type": "function", "function": {"name": "get_order", "parameters": {"type": "object"}}}]
    asked: list[Any] = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Where is 0017?"}]
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": '{"status":"in_transit"}'}
    first = {"messages": asked, "model": "m", "tools": tools}
    second = {"messages": [*asked, turn, result], "model": "m", "tools": tools}
    usage = json.dumps({"input_tokens": 10, "output_tokens": 2, "total_tokens": 12})
    spans = [
        native(1, None, "AGENT", "support", {"question": "Where is 0017?"}, "It is on its way."),
        native(2, 1, "CHAT_MODEL", "ChatOpenAI", [[{"type": "human", "content": "wrapped"}]], {"x": 1}),
        native(3, 2, "CHAT_MODEL", "Completions", first, {"choices": [{"message": turn}]}),
        native(4, 1, "TOOL", "get_order", {"order_id": "0017"}, '{"status":"in_transit"}'),
        native(
            5, 1, "CHAT_MODEL", "Completions", second,
            {"choices": [{"message": {"role": "assistant", "content": "It is on its way."}}]},
        ),
    ]  # fmt: skip
    for span in spans[2:]:
        if span["name"] == "Completions":
            span["attributes"] |= {"mlflow.chat.tokenUsage": usage, "mlflow.llm.model": '"m"',
                                   "mlflow.llm.cost": '{"total_cost": 0.25}'}  # fmt: skip
    info = {"trace_id": "tr-" + f"{77:032x}", "state": "OK", "trace_metadata": {}, "tags": {}}
    made = MLflow(source()).assemble([{"trace_info": info, "spans": spans}])
    assert not made.skipped
    (trace,) = made.traces
    assert not trace.problems
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert episode.messages[2].tool_calls[0].arguments == '{"order_id":"0017"}'
    assert episode.messages[3].content == '{"status":"in_transit"}'
    assert [t.name for t in episode.tools] == ["get_order"]
    assert (trace.model, trace.agent, trace.cost_usd) == ("m", "support", 0.5)
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (20, 4)


def assessment(name: str, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "assessment_id": f"a-{name}", "assessment_name": name, "create_time": "2026-11-23T07:00:00Z",
        "source": {"source_type": "HUMAN", "source_id": "someone"}, **given, **more,
    }  # fmt: skip


def test_assessments_become_scores() -> None:
    row = recorded()[0]
    row["trace_info"]["assessments"] = [
        assessment("correct", {"feedback": {"value": True}}, rationale="as it was"),
        assessment(
            "tone", {"feedback": {"value": 4}}, source={"source_type": "LLM_JUDGE"},
            create_time="2026-11-23T06:50:00Z",
        ),
        assessment("length", {"feedback": {"value": "short"}}, source={"source_type": "CODE"}),
        assessment("answer", {"expectation": {"value": "in_transit"}}),
        assessment(
            "gold",
            {"expectation": {"serialized_value": {"serialization_format": "JSON_FORMAT",
                                                  "value": '{"status": "late"}'}}},
        ),
        assessment("old", {"feedback": {"value": False}}, valid=False),
        assessment("broken", {"feedback": {"error": {"error_code": "TIMEOUT", "error_message": "x"}}}),
        assessment("huge", {"feedback": {"value": 10**400}}),
        assessment("issue", {"issue": {"issue_name": "slow"}}),
    ]  # fmt: skip
    made = MLflow(source()).assemble([row])
    assert made.traces[0].scores == (
        Score("tone", 4.0, "llm"),
        Score("answer", "in_transit", "human"),
        Score("correct", True, "human", "as it was"),
        Score("gold", '{"status": "late"}', "human"),
        Score("length", "short", "code"),
    )
    assert sorted((s.stage, s.reason) for s in made.skipped) == [
        ("score", "an assessment without name or value"),
        ("score", "an assessment without name or value"),
        ("score", "the assessment failed"),
    ]


@pytest.mark.parametrize("odd", [{"a": 1}, [], None, 7])
def test_assessments_of_odd_shapes_are_scores_or_counted(odd: Any) -> None:
    row = recorded()[0]
    good = assessment("a", {"feedback": {"value": 1}}, source={"source_type": odd})
    row["trace_info"]["assessments"] = [good, assessment("b", {"feedback": odd}), odd]
    made = MLflow(source()).assemble([row])
    assert made.traces[0].scores == (Score("a", 1.0, "code"),)
    assert [s.reason for s in made.skipped] == ["an assessment without name or value"] * 2


def test_a_run_that_has_not_ended_says_so() -> None:
    row = recorded()[0]
    row["trace_info"]["state"] = "IN_PROGRESS"
    assert MLflow(source()).assemble([row]).traces[0].problems == ("the run had not ended when it was read",)


@pytest.mark.parametrize(
    ("user", "key", "sent"),
    [
        ("me", "pw", "Basic " + base64.b64encode(b"me:pw").decode()),
        (None, "token", "Bearer token"),
        (None, None, None),
    ],
)
def test_probe_names_the_version_and_sends_the_keys(user: str | None, key: str | None, sent: Any) -> None:
    with answering(server([])) as (url, seen):
        found = MLflow(source(url), user=user, key=key).probe()
    assert (found.platform, found.version, found.api, found.notes) == (
        "mlflow", "3.17.2", "get-trace-artifact", (),
    )  # fmt: skip
    assert {a.headers.get("Authorization") for a in seen} == {sent}


def test_probe_says_what_a_server_without_artifacts_costs() -> None:
    with answering(server([], artifacts=False)) as (url, _):
        found = MLflow(source(url)).probe()
    assert found.api == "batchGet"
    assert "spelling" in found.notes[0]


def test_an_experiment_is_named_or_numbered() -> None:
    with answering(server(recorded())) as (url, seen):
        assert len(pulled(MLflow(source(url, "7")), WINDOW).traces) == 2
        with pytest.raises(OutsideServiceError, match="No such experiment"):
            MLflow(source(url, "other")).probe()
    assert [a.path.rpartition("/")[2] for a in seen[:2]] == ["get-by-name", "get"]


@pytest.mark.parametrize(
    "answer",
    [
        missing("gone"),
        (200, {}, b'{"spans": [{"trace_id"'),
        (200, {}, b"[]"),
        (500, {}, b'{"error_code": "INVALID_STATE", "message": "Trace data is corrupted"}'),
        (500, {}, b'{"error_code": "DATA_LOSS"}'),
    ],
)
def test_a_trace_whose_spans_are_gone_or_damaged_is_counted(answer: Reply) -> None:
    serve = server(recorded())

    def reply(asked: Asked) -> Reply:
        return answer if asked.one("request_id").startswith("tr-0bfb") else serve(asked)

    with answering(reply) as (url, _):
        made = pulled(MLflow(source(url), sleep=lambda _: None), WINDOW)
    assert [t.source_id[:4] for t in made.traces] == ["6ec1"]
    assert [(s.item[:6], s.reason) for s in made.skipped] == [
        ("s:0bfb", "the server has no spans of the trace")
    ]


def test_a_server_that_fails_is_no_damaged_trace() -> None:
    serve = server(recorded())

    def reply(asked: Asked) -> Reply:
        return (500, {}, b"down") if asked.one("request_id") else serve(asked)

    with answering(reply) as (url, _), pytest.raises(OutsideServiceError, match="HTTP 500 down"):
        pulled(MLflow(source(url), sleep=lambda _: None), WINDOW)


@pytest.mark.parametrize("missing_key", ["url", "project"])
def test_url_and_project_are_needed(missing_key: str) -> None:
    with pytest.raises(ConfigError, match="needs url and project"):
        MLflow(source().model_copy(update={missing_key: None}))


def test_a_busy_server_is_asked_again() -> None:
    waits: list[float] = []
    faults: list[Reply] = [(429, {"Retry-After": "3"}, b""), (503, {}, b"")]
    serve = server(recorded())
    with answering(lambda asked: faults.pop() if faults else serve(asked)) as (url, _):
        made = pulled(MLflow(source(url), sleep=waits.append), WINDOW)
    assert len(made.traces) == 2
    assert waits == [1.0, 3.0]


def test_a_server_that_never_answers_in_time_is_asked_for_less() -> None:
    with answering(lambda _: SILENCE) as (url, _), pytest.raises(TooLarge):
        pulled(MLflow(source(url, timeout_s=0.05), sleep=lambda _: None), WINDOW)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"traces": [{}], "next_page_token": "1"}, "next_page_token that does not advance"),
        ({"traces": [], "next_page_token": "1"}, "next_page_token that does not advance"),
        ({"traces": [{}], "next_page_token": 7}, "next_page_token that does not advance"),
        ({"traces": [{}, {}]}, "full page without next_page_token"),
        ({"traces": {"a": 1}}, "traces that are no list"),
    ],
)
def test_pages_that_lead_nowhere_are_an_error(answer: Any, reason: str) -> None:
    serve = server([])

    def reply(asked: Asked) -> Reply:
        return ok(answer) if asked.path.endswith("search") else serve(asked)

    with answering(reply) as (url, seen), pytest.raises(OutsideServiceError, match=reason):
        list(MLflow(source(url), page_size=2).fetch(WINDOW))
    assert len(seen) <= 4


def test_a_trace_that_is_too_large_is_skipped_with_its_size() -> None:
    made = MLflow(source(max_trace_mb=0.0001)).assemble(recorded())
    assert not made.traces
    assert [s.reason for s in made.skipped] == ["the trace is larger than 0.0001 MB"] * 2


BROKEN: list[tuple[str, Any, str]] = [
    ("span_id", None, "a span without an id"),
    ("span_id", "secret!", "a span's id is neither hex nor base64"),
    ("start_time_unix_nano", "secret", "start_time_unix_nano is no time"),
    ("end_time_unix_nano", [1], "end_time_unix_nano is no time"),
    ("attributes", "secret", "attributes are neither an object nor a list"),
    ("events", "secret", "events are no list"),
    ("events", [{"name": "x"}], "time_unix_nano is no time"),
]


@pytest.mark.parametrize(("key", "value", "reason"), BROKEN)
def test_a_broken_span_is_counted_and_its_trace_says_so(key: str, value: Any, reason: str) -> None:
    row = recorded()[1]
    row["spans"][2][key] = value
    made = MLflow(source()).assemble([row])
    assert [(s.stage, s.reason) for s in made.skipped] == [("assemble", reason)]
    assert f"a span could not be read: {reason}" in made.traces[0].problems
    assert "secret" not in str(made)


def test_ids_and_states_of_other_versions_are_read() -> None:
    row = stored(recorded()[0])
    for span in row["spans"]:
        span["status"]["code"] = "OK"
        for key in ("span_id", "parent_span_id"):
            span[key] = base64.b64decode(span[key]).hex() if span[key] else None
        for key in ("start_time_unix_nano", "end_time_unix_nano"):
            span[key] = str(span[key])
    assert (
        MLflow(source()).assemble([row]).traces == MLflow(source()).assemble([stored(recorded()[0])]).traces
    )


def test_order_and_copies_of_rows_do_not_matter() -> None:
    mlflow, rows = MLflow(source()), recorded()
    cut = {**rows[0], "spans": rows[0]["spans"][:1]}  # read once more while it was being written
    mixed = mlflow.assemble([cut, *rows[::-1], *rows])
    assert not mixed.skipped
    assert sorted(mixed.traces, key=lambda t: t.source_id) == sorted(
        mlflow.assemble(rows).traces, key=lambda t: t.source_id
    )


ODD: list[Any] = [
    None, True, 0, -1, 10**30, 1.5, "", "x", "{", "[1]", '{"a": [1, {}]}', [], [None], {}, {"a": {"b": [[]]}},
    {"string_value": 1}, [{"key": "a", "value": {"array_value": {}}}], "NaN", '"LLM"', "Infinity",
]  # fmt: skip


@settings(max_examples=25)
@given(data=st.data(), as_stored=st.booleans())
def test_mutated_rows_never_crash_and_are_all_accounted_for(data: st.DataObject, as_stored: bool) -> None:
    rows = [stored(r) if as_stored else r for r in recorded()]
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.sampled_from(rows))
        spans = row.get("spans")
        places: list[Any] = [row, row.get("trace_info"), spans]
        places += [p for s in (spans if isinstance(spans, list) else []) if isinstance(s, dict)
                   for p in (s, s.get("attributes"), s.get("status"))]  # fmt: skip
        place = data.draw(st.sampled_from([p for p in places if isinstance(p, dict | list) and p] or [row]))
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        place[data.draw(st.sampled_from(keys))] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    made = MLflow(source()).assemble(rows)
    items = {s.item.partition("/")[0] for s in made.skipped if s.stage != "score"}
    told = {f"s:{t.source_id}" for t in made.traces} | items
    assert len(told) == len({msgspec.json.encode(r.get("trace_info")) for r in rows})
    for trace in made.traces:
        assert msgspec.json.decode(msgspec.json.encode(trace), type=Trace).source_id == trace.source_id
