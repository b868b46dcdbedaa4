from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from served import AUTH, KEY, MODEL_ID, TOOL, FakeModel, body, call, config, text

from strop.records import Message, Skipped, Trace
from strop.serve.app import build
from strop.serve.capture import Call, Capture, extended
from strop.serve.context import CallContext, read_context

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Landed:
    """A sink that keeps rows by source id, as the store does."""

    def __init__(self) -> None:
        self.rows: dict[str, Trace] = {}
        self.skipped: list[Skipped] = []

    def __call__(self, traces: list[Trace], skipped: list[Skipped]) -> None:
        self.rows.update({t.source_id: t for t in traces})
        self.skipped.extend(skipped)


def conversation(
    tmp_path: Path, headers: dict[str, str], runs: int = 1, **more: Any
) -> tuple[Landed, list[Any]]:
    """Serve a two-turn run of an agent, `runs` times; return what landed and the last conversation."""
    landed = Landed()
    model = FakeModel(
        [r for _ in range(runs) for r in (call(), text('{"final_status":"delivered"}'))] + [text("")]
    )
    messages: list[Any] = []
    app = build(
        config(tmp_path), {MODEL_ID: model}, aliases={"champion": MODEL_ID}, key=KEY, capture=Capture(landed)
    )
    with TestClient(app, headers={**AUTH, **headers}) as client:
        for _ in range(runs):
            messages = [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Where is it?"},
            ]
            for _ in range(2):
                request = {**body(), "messages": messages, "tools": [TOOL], **more}
                reply = client.post("/v1/chat/completions", json=request).json()["choices"][0]["message"]
                messages.append(reply)
                for c in reply.get("tool_calls", []):
                    messages.append({"role": "tool", "tool_call_id": c["id"], "content": "delivered"})
    return landed, messages


def test_a_run_of_several_calls_is_one_trace(tmp_path: Path):
    headers = {"traceparent": TRACEPARENT, "x-strop-customer": "C-1", "x-strop-workflow": "W-9"}
    landed, messages = conversation(tmp_path, headers)
    [trace] = landed.rows.values()
    assert (trace.source, trace.source_id) == ("capture", TRACE_ID)
    assert (trace.customer, trace.workflow_id, trace.model) == ("C-1", "W-9", MODEL_ID)
    [episode] = trace.episodes
    assert episode.messages == tuple(Message.from_openai(m) for m in messages)
    assert [t.name for t in episode.tools] == ["lookup_tracking"]
    assert trace.usage.prompt_tokens == 31 and trace.usage.completion_tokens == 16
    assert trace.attributes == {"calls": 2, "fallbacks": 0, "seconds": 0.75}
    assert trace.started_at < trace.ended_at and landed.skipped == []


def test_without_a_trace_id_two_runs_of_one_question_are_two_traces(tmp_path: Path):
    landed, _ = conversation(tmp_path, {}, runs=2)
    assert [len(t.episodes[0].messages) for t in landed.rows.values()] == [5, 5]


def test_labels_that_a_caller_sends_along_are_not_captured(tmp_path: Path):
    metadata = {"customer": "C-2", "status": "label-delivered", "ground_truth": "label-delivered"}
    landed, _ = conversation(tmp_path, {"baggage": "status=label-delivered"}, metadata=metadata)
    [trace] = landed.rows.values()
    assert trace.customer == "C-2"
    assert b"label-delivered" not in msgspec.json.encode(trace)


def test_identities_travel_to_the_redacting_sink(tmp_path: Path):
    baggage = (
        "user.name=Anna%20Schmidt;prop=1, user.email=anna%40example.org,customer.id=C-3,workflow.id=W-3,x=y"
    )
    landed, _ = conversation(tmp_path, {"baggage": baggage})
    [trace] = landed.rows.values()
    assert trace.identities == {"user.name": "Anna Schmidt", "user.email": "anna@example.org"}
    assert (trace.customer, trace.workflow_id) == ("C-3", "W-3")


def test_a_streamed_answer_is_captured_too(tmp_path: Path):
    landed = Landed()
    app = build(
        config(tmp_path), {MODEL_ID: FakeModel([text("it is here")])}, key=KEY, capture=Capture(landed)
    )
    with TestClient(app, headers=AUTH) as client:
        client.post("/v1/chat/completions", json=body(model=MODEL_ID, stream=True))
    [trace] = landed.rows.values()
    assert trace.episodes[0].messages[-1].content == "it is here"


@pytest.mark.parametrize(
    "value",
    [
        "", "x", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01", f"00-{TRACE_ID}-00f067aa0ba902b7-01-more", "../" * 20,
    ],
)  # fmt: skip
def test_an_invalid_traceparent_is_no_trace_id(value: str):
    context = read_context({"traceparent": value}, {})
    assert context.trace_id is None
    assert bool(context.problems) == bool(value)


def test_a_later_version_of_traceparent_may_be_longer():
    assert read_context({"traceparent": f"cc-{TRACE_ID}-00f067aa0ba902b7-01-what"}, {}).trace_id == TRACE_ID


def test_an_unusable_customer_is_a_problem_and_no_error():
    context = read_context({"x-strop-customer": "a\x00b"}, {"customer": "C-4"})
    assert context.customer == "C-4" and len(context.problems) == 1


def one_call(messages: list[Message], reply: str = "ok", trace_id: str | None = TRACE_ID) -> Call:
    return Call(
        context=CallContext(trace_id=trace_id), messages=tuple(messages), tools=(), reply=text(reply),
        model="m", started_at=time.time_ns(), ended_at=time.time_ns(), size=100,
    )  # fmt: skip


turns = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("abc")), min_size=1, max_size=5)


@given(turns)
@settings(max_examples=50)
def test_however_long_a_conversation_it_is_one_episode(turns: list[tuple[str, str]]):
    trace: Trace | None = None
    messages: list[Message] = []
    for said, answered in turns:
        messages.append(Message(role="user", content=said))
        trace = extended(trace, one_call(messages, answered), TRACE_ID)
        trace = extended(trace, one_call(messages, answered), TRACE_ID)  # the client asked again
        messages.append(Message(role="assistant", content=answered))
    assert trace is not None
    assert trace.episodes[0].messages == tuple(messages) and len(trace.episodes) == 1
    assert trace.usage.prompt_tokens == 2 * 11 * len(turns)


def test_two_agents_of_one_run_are_two_episodes():
    trace = extended(None, one_call([Message(role="user", content="plan")]), TRACE_ID)
    trace = extended(trace, one_call([Message(role="user", content="act")]), TRACE_ID)
    assert len(trace.episodes) == 2


def test_a_client_that_never_changes_its_trace_id_gets_a_trace_a_conversation():
    landed = Landed()
    capture = Capture(landed)
    for i in range(100):
        capture.record(one_call([Message(role="user", content=f"question {i}")]))
    capture.close()
    assert sum(len(t.episodes) for t in landed.rows.values()) == 100
    assert max(len(t.episodes) for t in landed.rows.values()) == 32


def test_a_slow_sink_slows_nobody_and_drops_are_counted():
    landed, go = Landed(), threading.Event()

    def slow(traces: list[Trace], skipped: list[Skipped]) -> None:
        go.wait(10)
        landed(traces, skipped)

    capture = Capture(slow, queue_size=5)
    started = time.monotonic()
    for i in range(200):
        capture.record(one_call([Message(role="user", content=str(i))], trace_id=f"{i + 1:032x}"))
    assert time.monotonic() - started < 1
    go.set()
    report = capture.close()
    assert report.calls == 200 and report.failed == 0
    assert report.dropped + len(landed.rows) == 200 and report.dropped > 0
    assert len(landed.skipped) == report.dropped and landed.skipped[0].reason == "queue full"


def test_one_bad_trace_does_not_take_its_neighbours_along():
    landed, go = Landed(), threading.Event()

    def picky(traces: list[Trace], skipped: list[Skipped]) -> None:
        go.wait(10)
        if any(t.source_id.endswith("3") for t in traces):
            raise ValueError("a secret")
        landed(traces, skipped)

    capture = Capture(picky)
    for i in range(6):
        capture.record(one_call([Message(role="user", content=str(i))], trace_id=f"{i:032x}"))
    go.set()
    report = capture.close()
    assert (report.calls, report.dropped, report.failed) == (6, 0, 1)
    assert len(landed.rows) == 5
    assert landed.skipped == [Skipped("capture", f"{3:032x}", "ValueError while landing")]


def test_memory_for_open_runs_is_bounded_and_a_forgotten_run_goes_on():
    landed = Landed()
    capture = Capture(landed, open_bytes=300)
    first = [Message(role="user", content="first")]
    capture.record(one_call(first))
    for i in range(10):
        capture.record(one_call([Message(role="user", content=str(i))], trace_id=f"{i + 1:032x}"))
    longer = [*first, Message(role="assistant", content="ok"), Message(role="user", content="and then?")]
    capture.record(one_call(longer))
    capture.close()
    assert len(landed.rows) == 11
    assert [m.content for m in landed.rows[TRACE_ID].episodes[0].messages] == [
        "first",
        "ok",
        "and then?",
        "ok",
    ]
