"""OTLP bodies in every generation of the conventions become the same traces."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from shared import shared

from strop.errors import InputError
from strop.records import Episode, Message, Trace
from strop.sources.otlp.wire import BodyTooLarge, assemble, decode
from strop.sources.spans.span import Span, SpanEvent

PROTOBUF, JSON = "application/x-protobuf", "application/json"


def span(span_id: str, parent: str | None = "r", at: int = 0, **kw: Any) -> Span:
    return Span(trace_id="a" * 32, span_id=span_id, parent_id=parent, started_at=at, ended_at=at + 1, **kw)


def chat(span_id: str, given: Any, said: Any, at: int = 1, parent: str = "r", **extra: Any) -> Span:
    return span(
        span_id,
        parent,
        at,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": json.dumps(given),
            "gen_ai.output.messages": json.dumps(said),
            **extra,
        },
    )


def text(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def call(call_id: str, name: str = "look", arguments: Any = None) -> dict[str, Any]:
    part = {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments or {}}
    return {"role": "assistant", "parts": [part]}


ROOT = span("r", None)


def one(*spans: Span, customer_key: str = "customer.id") -> Trace:
    traces, skipped = assemble([ROOT, *spans], source="s", customer_key=customer_key)
    assert not skipped
    return traces[0]


@pytest.mark.parametrize(
    "name", ["genai.pb", "genai.otlp.json", "openinference.pb", "openinference.otlp.json"]
)
def test_recorded_dialects_give_the_same_episode(name: str) -> None:
    content_type = PROTOBUF if name.endswith(".pb") else JSON
    key = "tenant.id" if name.startswith("genai") else "tenant"
    body = shared(f"fixtures/{name}").read_bytes()
    packed = decode(gzip.compress(body), content_type, "gzip")
    assert packed == decode(body, content_type)
    traces, skipped = assemble(packed, source="s", customer_key=key)
    assert not skipped
    (trace,) = traces
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert episode.messages[2].tool_calls[0].arguments == '{"order_id": "A-1001"}'
    assert episode.messages[3].content == '{"status": "in_transit", "tracking": "00340434161094042557"}'
    assert episode.messages[4].content == "Ihre Bestellung A-1001 ist unterwegs."
    assert [t.name for t in episode.tools] == ["get_order"]
    assert (trace.customer, trace.session_id, trace.agent, trace.model) == (
        "acme",
        "sess-1",
        "support",
        "qwen3-4b",
    )
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (290, 50)
    assert trace.identities == {"user.id": "user-1"}
    assert trace.problems == ()


def test_feedback_events_become_scores() -> None:
    traces, _ = assemble(decode(shared("fixtures/genai.pb").read_bytes(), PROTOBUF), source="s")
    assert [(s.name, s.value) for s in traces[0].scores] == [("Relevance", 4.0)]


def test_root_attributes_name_customer_workflow_people_and_the_rest() -> None:
    root = span(
        "r",
        None,
        attributes={
            "customer.id": "C7",
            "workflow.id": "0042",
            "gen_ai.conversation.id": "s",
            "user.name": "Erika Mustermann",
            "group.id": "g1",
        },
    )
    traces, _ = assemble([root, chat("1", [text("user", "q")], [text("assistant", "a")])], source="s")
    trace = traces[0]
    assert (trace.customer, trace.workflow_id, trace.session_id) == ("C7", "0042", "s")
    assert trace.identities == {"user.name": "Erika Mustermann"}
    assert trace.attributes == {"group.id": "g1"}


def test_a_longer_transcript_wins_and_a_different_one_splits() -> None:
    q, answer = text("user", "q"), text("assistant", "a")
    again = [q, answer, text("user", "more")]
    trace = one(
        chat("1", [q], [answer]),
        chat("2", again, [text("assistant", "b")], at=2),
        chat("3", [text("user", "x")], [answer], at=3),
    )
    assert [[m.content for m in e.messages] for e in trace.episodes] == [
        ["q", "a", "more", "b"],
        ["x", "a"],
    ]


def test_sub_agents_have_their_own_lane() -> None:
    sub = span("sub", "r", 1, attributes={"gen_ai.operation.name": "invoke_agent"})
    q = [text("user", "q")]
    trace = one(
        sub, chat("1", q, [call("c")], at=1), chat("2", q, [text("assistant", "inner")], at=2, parent="sub")
    )
    assert len(trace.episodes) == 2


@pytest.mark.parametrize("call_id", ["c1", None])
def test_results_come_from_tool_spans_by_call_id_or_name(call_id: str | None) -> None:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.call.result": '{"n": 1}',
    }
    if call_id:
        attributes["gen_ai.tool.call.id"] = call_id
    trace = one(chat("1", [text("user", "q")], [call("c1")]), span("t", at=2, attributes=attributes))
    assert trace.episodes[0].messages[-1] == Message(role="tool", content='{"n": 1}', tool_call_id="c1")


def test_a_call_without_result_is_a_problem_in_words() -> None:
    trace = one(chat("1", [text("user", "q")], [call("c1")]))
    assert trace.problems == ("call look has no result",)


def test_only_new_messages_recorded_still_make_one_conversation() -> None:
    trace = one(chat("1", [text("user", "q")], [call("c1")]), chat("2", [], [text("assistant", "a")], at=2))
    assert [m.role for m in trace.episodes[0].messages] == ["user", "assistant", "assistant"]


OLD_EVENTS = (
    SpanEvent("gen_ai.system.message", 0, {"content": "be kind"}),
    SpanEvent("gen_ai.user.message", 0, {"content": "q"}),
    SpanEvent("gen_ai.choice", 1, {"message": '{"role": "assistant", "content": "a"}', "index": 0}),
)


@pytest.mark.parametrize(
    "model_span",
    [
        span("1", attributes={"gen_ai.operation.name": "chat"}, events=OLD_EVENTS),
        span(
            "1",
            attributes={
                "gen_ai.prompt.0.role": "system",
                "gen_ai.prompt.0.content": "be kind",
                "gen_ai.prompt.1.role": "user",
                "gen_ai.prompt.1.content": "q",
                "gen_ai.completion.0.role": "assistant",
                "gen_ai.completion.0.content": "a",
            },
        ),
        span(
            "1",
            name="ai.generateText.doGenerate",
            attributes={
                "ai.prompt.messages": '[{"role":"system","content":"be kind"},'
                '{"role":"user","content":[{"type":"text","text":"q"}]}]',
                "ai.response.text": "a",
            },
        ),
        span(
            "1",
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.system_instructions": '[{"type":"text","content":"be kind"}]',
                "gen_ai.input.messages": [text("user", "q")],
                "gen_ai.output.messages": [text("assistant", "a")],
            },
        ),
    ],
    ids=["events", "openllmetry", "vercel", "structured"],
)
def test_older_generations_are_understood(model_span: Span) -> None:
    expected = (
        Message(role="system", content="be kind"),
        Message(role="user", content="q"),
        Message(role="assistant", content="a"),
    )
    assert one(model_span).episodes == (Episode(messages=expected),)


def test_response_and_result_are_both_tool_results() -> None:
    for key in ("response", "result"):
        part = {"type": "tool_call_response", "id": "c1", key: {"n": 1}}
        given = [text("user", "q"), call("c1"), {"role": "tool", "parts": [part]}]
        trace = one(chat("1", given, [text("assistant", "a")]))
        assert trace.episodes[0].messages[2].content == '{"n": 1}'


def test_broken_messages_are_a_problem_and_no_messages_are_skipped() -> None:
    broken = span("1", attributes={"gen_ai.operation.name": "chat", "gen_ai.input.messages": '[{"role": "us'})
    traces, skipped = assemble([ROOT, broken], source="s")
    assert not traces
    assert "truncated" in skipped[0].reason
    good = chat("2", [text("user", "q")], [text("assistant", "a")], at=2)
    assert "truncated" in one(broken, good).problems[0]
    assert assemble([ROOT], source="s")[1][0].reason == "no model call in the trace"


def test_errors_are_kept() -> None:
    root = span("r", None, status="error", error="boom")
    traces, _ = assemble([root, chat("1", [text("user", "q")], [text("assistant", "a")])], source="s")
    assert (traces[0].status, traces[0].error) == ("error", "boom")


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        (b"\xff\xff\xff", PROTOBUF, ""),
        (b"{", JSON, ""),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}', JSON, ""),
        (b"[]", JSON, ""),
        (b"not gzip", JSON, "gzip"),
        # Without the time of packing: a test's name has to be the same in every worker.
        (gzip.compress(b"{}", mtime=0)[:-4], JSON, "gzip"),
        (b"{}", "text/plain", ""),
        (b"{}", JSON, "br"),
    ],
)
def test_damage_is_an_input_error(body: bytes, content_type: str, encoding: str) -> None:
    with pytest.raises(InputError):
        decode(body, content_type, encoding)


def test_a_gzip_bomb_does_not_unpack() -> None:
    with pytest.raises(BodyTooLarge):
        decode(gzip.compress(b" " * (8 << 20)), JSON, "gzip", 1 << 20)
