"""Weave's calls and agent spans through a stand-in of its trace server, with pages and faults."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources.traced_run import RESULT, START, inference_run, run
from sources.weave_runs import AT, GIVEN, SCORES, feedback, native
from sources.weave_store import Row, Store, agent_row, call, imported_call, weave

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import Trace
from strop.sources.platform import DAY, HOUR, SECOND, Window, ns
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import Span
from strop.sources.weave.api import Weave

DAY_OF_RUN = Window(START // DAY * DAY, START // DAY * DAY + DAY)
PROJECT = "acme/agent"


def source(url: str = "http://127.0.0.1:9", **more: Any) -> Source:
    fields = {"name": "s", "kind": "weave", "url": url, "project": PROJECT, "customer_key": "tenant.id"}
    return Source(**{**fields, **more})


def platform(url: str = "http://127.0.0.1:9", **more: Any) -> Weave:
    return Weave(source(url), user=None, key="k", **more)


@cache
def offline() -> Weave:
    """A connector that only assembles: opening a client costs more than the work."""
    return platform()


def pulled(store: Store, window: Window = DAY_OF_RUN, **more: Any) -> dict[str, Trace]:
    with weave(store) as url:
        source = platform(url, **more)
        pages = list(source.fetch(window))
        source.close()
    assert all(p.whole for p in pages)
    made = [source.assemble(p.rows) for p in pages]
    assert [s for m in made for s in m.skipped] == []
    return {t.source_id: t for m in made for t in m.traces}


def direct(spans: list[Span]) -> Trace:
    (trace,), _ = assemble(spans, source="s", customer_key="tenant.id")
    return trace


def imported() -> list[Row]:
    return [imported_call(s) for s in [*run(), *inference_run()]]


@pytest.mark.parametrize("pages", [(2, 1), (1000, 20)])
@pytest.mark.parametrize("agents", [False, True])
def test_both_stores_give_the_traces_that_were_sent(pages: tuple[int, int], agents: bool) -> None:
    spans = [*run(), *inference_run()]
    store = Store([], [agent_row(s) for s in spans]) if agents else Store(imported())
    traces = pulled(store, page_size=pages[0], traces_at_once=pages[1])
    for sent in (run(), inference_run()):
        expected = direct(sent)
        assert traces.pop(expected.source_id) == expected
    assert traces == {}
    assert store.asked[0][1]["authorization"] == f"Basic {base64.b64encode(b'api:k').decode()}"


def test_an_agent_span_without_its_dump_is_read_by_its_columns() -> None:
    (span,) = (s for s in run() if s.span_id.endswith("d1"))
    row = {
        **agent_row(span), "raw_span_dump": None, "operation_name": "chat", "request_model": "m",
        "system_instructions": ["You support."], "input_messages": [{"role": "user", "content": "Hi"}],
        "output_messages": [{"role": "assistant", "content": "Hello", "finish_reason": "stop"}],
        "input_tokens": 3, "output_tokens": 2, "total_cost_usd": 0.5, "conversation_id": "sess-1",
        "custom_attrs_string": {"tenant.id": "acme"}, "agent_name": "",
    }  # fmt: skip
    (trace,) = offline().assemble([row]).traces
    shape = [(m.role, m.content) for m in trace.episodes[0].messages]
    assert shape == [("system", "You support."), ("user", "Hi"), ("assistant", "Hello")]
    assert (trace.usage.prompt_tokens, trace.cost_usd, trace.session_id) == (3, 0.5, "sess-1")
    assert (trace.customer, trace.agent) == ("acme", None)


def test_a_span_in_both_stores_is_one() -> None:
    traces = pulled(Store(imported(), [agent_row(s) for s in run()]))
    assert traces[run()[0].trace_id] == direct(run())


def test_native_calls_are_a_conversation() -> None:
    trace = pulled(Store(native()))["t1"]
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert episode.messages[2].tool_calls[0].key() == 'get_order {"order_id":"A-1001"}'
    assert episode.messages[3].content == json.dumps(RESULT)
    assert [t.name for t in episode.tools] == ["get_order"]
    assert (trace.session_id, trace.customer, trace.model) == ("th1", "acme", "m-2026")
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens, trace.cost_usd) == (290, 40, 0.75)
    assert (trace.problems, trace.attributes, trace.identities) == ((), {}, {})


@pytest.mark.parametrize(("amount", "cost"), [(10**400, 0.25), ("0.5", 0.75), (None, 0.25), (True, 0.25)])
def test_an_odd_price_is_no_crash(amount: Any, cost: float) -> None:
    rows = native()
    rows[1]["summary"]["weave"]["costs"]["m"]["completion_tokens_total_cost"] = amount
    rows[3]["summary"] = {}
    (trace,) = offline().assemble(rows).traces
    assert trace.cost_usd == cost


def test_a_result_that_no_later_call_repeats_comes_from_the_tools_own_op() -> None:
    (trace,) = offline().assemble(native()[:3]).traces
    assert [m.content for m in trace.episodes[0].messages if m.role == "tool"] == [json.dumps(RESULT)]


def test_a_wrapper_of_a_model_call_is_no_second_one() -> None:
    rows = native()
    outer = {**rows[1], "id": "w", "op_name": "litellm.completion"}
    rows[1]["parent_id"] = "w"
    (trace,) = offline().assemble([*rows, outer]).traces
    assert len(trace.episodes) == 1
    assert trace.usage.prompt_tokens == 290


def test_other_providers_dialects_are_read() -> None:
    anthropic = call("x1", "t2", "anthropic.Messages.create", AT.format(0), AT.format(9), inputs={
        "system": "You support.", "model": "m", "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    }, output={"role": "assistant", "model": "m", "content": [
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "u1", "name": "f", "input": {"a": "007"}},
    ], "usage": {"input_tokens": 3, "output_tokens": 2}})  # fmt: skip
    responses = call("x2", "t3", "openai.responses.create", AT.format(0), AT.format(9), inputs={
        "model": "m", "instructions": "You support.", "input": [
            {"role": "user", "content": "Hi"},
            {"type": "function_call", "call_id": "u1", "name": "f", "arguments": '{"a": "007"}'},
            {"type": "function_call_output", "call_id": "u1", "output": "done"},
        ],
    }, output={"output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
        {"type": "function_call", "call_id": "u2", "name": "f", "arguments": "{}"},
    ]})  # fmt: skip
    google = call("x3", "t4", "google.genai.Models.generate_content", AT.format(0), AT.format(9), inputs={
        "contents": "Hi", "model": "m",
    }, output={"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}}]})  # fmt: skip
    made = offline().assemble([anthropic, responses, google])
    shapes = {
        t.source_id: [(m.role, m.content, [c.key() for c in m.tool_calls]) for m in t.episodes[0].messages]
        for t in made.traces
    }
    system, user = ("system", "You support.", []), ("user", "Hi", [])
    assert shapes["t2"] == [system, user, ("assistant", "Hello", ['f {"a":"007"}'])]
    assert shapes["t3"] == [
        system, user, ("assistant", None, ['f {"a":"007"}']), ("tool", "done", []),
        ("assistant", "Hello", ["f {}"]),
    ]  # fmt: skip
    assert shapes["t4"] == [user, ("assistant", "Hello", [])]


def test_references_are_read_and_missing_ones_reported() -> None:
    rows = native()
    messages = rows[1]["inputs"]["messages"]
    rows[1]["inputs"]["messages"] = "weave:///acme/agent/object/prompt:v1"
    rows[1]["inputs"]["tools"] = "weave-trace-internal:///UHJv/object/tools:v2"
    rows[2]["output"] = "weave:///acme/agent/object/gone:v1"
    store = Store(rows)
    store.objects = {
        "weave:///acme/agent/object/prompt:v1": [messages[0], "weave:///acme/agent/object/asked:v1"],
        "weave:///acme/agent/object/asked:v1": messages[1],
        "weave:///acme/agent/object/tools:v2": rows[3]["inputs"]["tools"],
    }
    trace = pulled(store)["t1"]
    assert trace.episodes == offline().assemble(native()).traces[0].episodes
    assert trace.problems == ("a value is a reference that Weave did not resolve",)


@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_a_reference_that_the_server_refuses_is_reported_and_the_others_are_read(status: int) -> None:
    rows = native()
    rows[1]["inputs"]["tools"] = "weave:///acme/agent/object/tools:v2"
    rows[2]["output"] = "weave:///other/project/object/secret:v1"
    store = Store(rows)
    store.objects = {"weave:///acme/agent/object/tools:v2": rows[3]["inputs"]["tools"]}
    store.refused = {"weave:///other/project/object/secret:v1": status}
    trace = pulled(store, sleep=lambda _: None)["t1"]
    assert trace.episodes == offline().assemble(native()).traces[0].episodes
    assert trace.problems == ("a value is a reference that Weave did not resolve",)


def test_a_server_that_goes_down_over_references_is_an_error() -> None:
    rows = native()
    rows[2]["output"] = "weave:///acme/agent/object/o:v1"
    store = Store(rows)
    store.refused = {"weave:///acme/agent/object/o:v1": 401}
    with weave(store) as url:
        source = platform(url)
        with pytest.raises(OutsideServiceError, match="refuses the key"):
            list(source.fetch(DAY_OF_RUN))
        source.close()


@pytest.mark.parametrize(
    "text",
    [
        "weave:///x/object/y",
        "weave:///acme/agent/object/c",
        "weave:///a/b/object/c:d/zz/1",
        "weave:///a/b/object/c:d e",
    ],
)
def test_what_a_person_typed_is_no_reference(text: str) -> None:
    rows = native()
    for row in (rows[1], rows[3]):
        row["inputs"]["messages"][1]["content"] = text
    store = Store(rows)
    trace = pulled(store)["t1"]
    assert trace.episodes[0].messages[1].content == text
    assert trace.problems == ()
    assert "/refs/read_batch" not in [path for path, _ in store.asked]


def test_values_of_absurd_depth_are_no_crash() -> None:
    rows = native()
    rows[0]["inputs"] = json.loads('{"a":' * 400 + "1" + "}" * 400)
    rows[1]["inputs"]["tools"] = "weave:///acme/agent/object/tools:v2"
    store = Store(rows)
    store.objects = {"weave:///acme/agent/object/tools:v2": rows[3]["inputs"]["tools"]}
    assert pulled(store)["t1"].episodes == offline().assemble(native()).traces[0].episodes


def test_feedback_becomes_scores_with_the_trace_and_later() -> None:
    rows = native()
    rows[0]["summary"]["weave"]["feedback"] = GIVEN
    store = Store(rows)
    store.feedback = [
        *GIVEN,
        feedback("wandb.note.1", {"note": "on an object"}, weave_ref="weave:///a/b/object/o:1"),
    ]
    assert list(pulled(store)["t1"].scores) == SCORES
    with weave(store) as url:
        source = platform(url, page_size=3)
        at = ns(AT.format(0))
        late = list(source.scores(Window(at, at + SECOND)))
        assert list(source.scores(Window(at + SECOND, at + DAY))) == []
        source.close()
    assert [s.score for s in late] == SCORES
    assert {(s.trace_id, s.session_id) for s in late} == {("t1", None)}


def test_a_scorers_own_run_is_not_the_agents() -> None:
    rows = native()
    scored = feedback("wandb.runnable.judge", {"output": 1}, call_ref="weave:///acme/agent/call/j1")
    rows[0]["summary"]["weave"]["feedback"] = [scored]
    judge = {**rows[1], "id": "j1", "trace_id": "t9", "parent_id": None, "started_at": AT.format(990)}
    with weave(Store([*rows, judge])) as url:
        source = platform(url, traces_at_once=1)
        made = [source.assemble(p.rows) for p in source.fetch(DAY_OF_RUN)]
        source.close()
    assert [t.source_id for m in made for t in m.traces] == ["t1"]
    assert [s.reason for m in made for s in m.skipped] == ["a scorer's run, not the agent's"]


def test_a_server_that_keeps_times_as_text_is_read_to_the_windows_end() -> None:
    rows = imported()
    later = [{**r, "trace_id": f"z{r['trace_id']}", "started_at": "2026-11-24T00:00:00"} for r in rows]
    store = Store([*rows, *later])
    store.text_times = True
    assert pulled(store, page_size=3).keys() == {r["trace_id"] for r in rows}
    assert pulled(store, Window(DAY_OF_RUN.end + HOUR, DAY_OF_RUN.end + DAY)) == {}


def test_a_server_that_gives_less_than_the_limit_is_read_to_the_end() -> None:
    store = Store([*imported(), *native()])
    store.most = 3
    assert len(pulled(store)) == 3


def test_pages_go_on_from_their_cursor() -> None:
    with weave(Store([*imported(), *native()])) as url:
        source = platform(url, traces_at_once=1)
        pages = list(source.fetch(DAY_OF_RUN))
        for i, page in enumerate(pages[:-1]):
            assert [p.rows for p in source.fetch(DAY_OF_RUN, page.cursor)] == [p.rows for p in pages[i + 1 :]]
        assert pages[-1].cursor is None
        with pytest.raises(OutsideServiceError, match="cursor"):
            list(source.fetch(DAY_OF_RUN, "calls:7"))
        source.close()


def test_offsets_that_do_nothing_are_an_error() -> None:
    store = Store(imported())
    store.stuck = True
    with weave(store) as url:
        source = platform(url, page_size=3)
        with pytest.raises(OutsideServiceError, match="same rows at every offset"):
            list(source.fetch(DAY_OF_RUN))
        source.close()


@pytest.mark.parametrize(
    ("faults", "error", "match"),
    [
        ([(504, b"")] * 6, TooLarge, "in time"),
        ([(500, b"down")] * 6, OutsideServiceError, "HTTP 500 down"),
        ([(200, b'{"id": "a"}\n{"id": ')], OutsideServiceError, "no JSON"),
        ([(200, b"[1]")], OutsideServiceError, "a list, not an object"),
        ([(401, b"bad key")], OutsideServiceError, "refuses the key"),
    ],
)
def test_faults_are_told_apart(faults: list[tuple[int, bytes]], error: type[Exception], match: str) -> None:
    store = Store(imported())
    store.faults = list(faults)
    with weave(store) as url:
        source = platform(url, sleep=lambda _: None)
        with pytest.raises(error, match=match) as caught:
            list(source.fetch(DAY_OF_RUN))
        source.close()
    assert isinstance(caught.value, TooLarge) == (error is TooLarge)


def test_throttling_is_waited_for_and_a_slow_batch_is_made_smaller() -> None:
    waits: list[float] = []
    store = Store([*imported(), *native()])
    store.faults = [(429, b""), (503, b"")]
    with weave(store) as url:
        source = platform(url, sleep=waits.append)
        pages = source.fetch(DAY_OF_RUN)
        listed = len(next(pages).rows)
        source.close()
        assert (waits, listed) == ([2.0, 2.0], 12)
        store.slow_past = 1
        slow = platform(url, sleep=lambda _: None, traces_at_once=3)
        assert [len(p.rows) for p in slow.fetch(DAY_OF_RUN)] == [4, 4, 4]
        store.slow_past = 0
        with pytest.raises(TooLarge):
            list(slow.fetch(DAY_OF_RUN))
        slow.close()


def test_of_a_trace_without_end_no_more_is_read_than_is_needed_to_skip_it() -> None:
    endless = [{**native()[1], "id": f"e{i:03d}", "trace_id": "t0", "output": "x" * 1000} for i in range(200)]
    store = Store([*native(), *endless])
    with weave(store) as url:
        connector = Weave(source(url, max_trace_mb=0.02), key="k", page_size=10, page_bytes=1)
        pages = list(connector.fetch(DAY_OF_RUN))
        made = [connector.assemble(p.rows) for p in pages]
        connector.close()
    assert max(len(p.rows) for p in pages) < 50
    assert [t.source_id for m in made for t in m.traces] == ["t1"]
    assert [s.reason for m in made for s in m.skipped] == ["the trace is larger than 0.02 MB"]


def test_probe_says_which_stores_there_are() -> None:
    for agents, api in ((None, "calls"), ([], "calls, agents")):
        with weave(Store([], agents)) as url:
            source = platform(url)
            assert source.probe().api == api
            source.close()


def test_what_cannot_be_a_trace_is_counted() -> None:
    rows = native()
    rows[3]["started_at"] = "yesterday"
    gone = {**rows[0], "id": "gone", "deleted_at": AT.format(0)}
    open_call = {**rows[2], "ended_at": None}
    made = offline().assemble([*rows[:2], open_call, rows[3], {"id": "x"}, {"trace_id": "t5"}, gone])
    assert sorted(s.reason for s in made.skipped) == [
        "the call was deleted in Weave", "the row has no id", "the row has no trace id",
    ]  # fmt: skip
    assert set(made.traces[0].problems) == {"a call's time can't be read", "a call has not ended"}
    small = Weave(source(max_trace_mb=0.001), key="k").assemble(native())
    assert [s.reason for s in small.skipped] == ["the trace is larger than 0.001 MB"]
    with pytest.raises(ConfigError, match="entity/project"):
        Weave(source(project="agent"), key="k")


@given(order=st.permutations(range(8)), twice=st.lists(st.integers(0, 7), max_size=3))
def test_order_and_duplicates_of_rows_do_not_matter(order: list[int], twice: list[int]) -> None:
    rows = imported()
    made = offline().assemble([rows[i] for i in [*order, *twice]])
    expected = {t.source_id: t for t in (direct(run()), direct(inference_run()))}
    assert {t.source_id: t for t in made.traces} == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([10**400, "2026", "weave:///a/b/object/c:d", "{", "[1]", "openai.chat"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    found: list[tuple[Any, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found += [(value, key), *places(inner)]
    return found


LIKED = {**native()[0], "summary": {"weave": {"feedback": GIVEN}}}
STORED = json.dumps([LIKED, *native()[1:], *imported()[:5], *[agent_row(s) for s in inference_run()]])


@given(data=st.data())
def test_damaged_rows_never_crash_and_are_counted(data: st.DataObject) -> None:
    rows = json.loads(STORED)
    for _ in range(data.draw(st.integers(1, 4))):
        row = rows[data.draw(st.integers(0, len(rows) - 1))]
        spots = places(row)
        container, key = spots[data.draw(st.integers(0, len(spots) - 1))]
        container[key] = data.draw(JSON)
    made = offline().assemble(rows)
    assert made.traces or made.skipped
    named = [t.source_id for t in made.traces] + [
        s.item.partition(":")[2] for s in made.skipped if ":" in s.item
    ]
    assert len(named) == len(set(named))
