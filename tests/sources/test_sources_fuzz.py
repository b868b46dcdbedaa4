"""Whatever an exporter sends: each trace becomes a trace or a reason, and nothing raises.

Real OTLP payloads are mutated: keys dropped, types swapped, numbers out of range, ids repeated or zero,
parents in circles.
"""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shared import shared

from strop.errors import InputError
from strop.records import Skipped, Trace, trace_hash
from strop.sources.otlp.receiver import Receiver
from strop.sources.otlp.wire import Export, from_json, from_protobuf
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import Span, SpanEvent

DEEP = json.loads("[" * 200 + "]" * 200)
WEIRD: list[Any] = [
    None, True, False, 0, -1, 2**63, -(2**70), 10**30, 1.5, -0.0, 1e308, "", "0", "x" * 5000, "\x00",
    "\U0001f600", "NaN", "Infinity", "-1", "{", "[", "[[", "(", "('a',)", "('a'", "null", '"x"', [], {},
    [[]], [None], [{}], {"a": {}}, {"stringValue": None}, {"intValue": "1e5"}, {"doubleValue": "NaN"},
    {"arrayValue": {"values": 3}}, {"kvlistValue": {"values": [{"key": "a"}]}}, {"0": "a", "1": "b"},
    {"role": "king"}, [{"role": 3}], [{"role": "user", "content": {"a": 1}}],
    '[{"role":"assistant","tool_calls":[{"function":{"name":5}}]}]', "\u00b2", "9" * 5000, DEEP,
    '[{"role":"assistant","tool_calls":{"id":"c"}}]', '{"messages": {"a": 1}}', '[{"parts": "x"}]',
    json.dumps(DEEP), '{"choices": [[[]]]}', '{"content": {"parts": {}}}', '{"a": "\\ud800"}',
]  # fmt: skip
KEYS = [
    "gen_ai.operation.name", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions",
    "gen_ai.tool.call.id", "gen_ai.tool.call.result", "gen_ai.usage.input_tokens", "gen_ai.usage.cost",
    "openinference.span.kind", "llm.input_messages", "llm.input_messages.0.message.role", "llm.tools",
    "llm.output_messages.\u00b2.message", "ai.prompt.messages", "ai.operationId", "ai.prompt.tools", "events",
    "langfuse.observation.type", "langfuse.observation.input", "langfuse.observation.output", "metadata",
    "langfuse.observation.usage_details", "langfuse.observation.cost_details", "mlflow.spanType",
    "mlflow.spanInputs", "mlflow.spanOutputs", "gcp.vertex.agent.llm_request", "traceloop.span.kind",
    "traceloop.entity.input", "input.value", "output.value", "all_messages_events", "gen_ai.agent.name",
    "pydantic_ai.all_messages", "model_request_parameters", "tag.tags", "customer.id", "user.id",
    "session.id", "gen_ai", "llm", "input", "gen_ai.system_instructions", "llm.request.type",
    "gen_ai.prompt.0.role",
]  # fmt: skip

mutations = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["drop", "swap", "repeat"]), st.sampled_from(WEIRD)),
    min_size=1,
    max_size=8,
)


def places(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    for key in keys:
        found.append((node, key))
        places(node[key], found)
    return found


def mutated(payload: Any, changes: list[tuple[int, str, Any]]) -> Any:
    payload = copy.deepcopy(payload)
    for where, how, value in changes:
        spots = places(payload, [])
        node, key = spots[where % len(spots)]
        if how == "drop":
            del node[key]
        elif how == "repeat" and isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        else:
            node[key] = copy.deepcopy(value)
        if not places(payload, []):
            break
    return payload


def check(export: Export) -> None:
    """Every trace id ends as a trace that the store can keep, or as a reason."""
    traces, skipped = assemble(export.spans, source="s", logs=export.logs)
    wanted = {s.trace_id for s in export.spans} | {x.trace_id for x in export.logs}
    assert len(traces) + len(skipped) == len(wanted)
    assert {t.source_id for t in traces} <= wanted
    for trace in traces:
        kept = msgspec.json.decode(msgspec.json.encode(trace), type=Trace)
        assert trace_hash(kept) == trace_hash(trace)
        assert 0 <= trace.started_at <= trace.ended_at < 2**63
        assert 0 <= trace.usage.prompt_tokens < 2**53
        assert trace.cost_usd is None or math.isfinite(trace.cost_usd)
        assert all(e.messages for e in trace.episodes)
        ids = [c.id for e in trace.episodes for m in e.messages for c in m.tool_calls]
        assert all(isinstance(i, str) for i in ids)
    for item in skipped:
        assert item.reason


def payload(name: str) -> Any:
    return json.loads(shared(f"fixtures/{name}.otlp.json").read_bytes())


def decode(body: bytes) -> Export:
    try:
        return from_json(body)
    except InputError as error:
        assert error.what
        return Export()


@settings(max_examples=150)
@given(mutations, st.sampled_from(["genai", "openinference"]))
def test_mutated_exports_are_traces_or_reasons(changes: list[tuple[int, str, Any]], name: str) -> None:
    check(decode(json.dumps(mutated(payload(name), changes)).encode()))


@settings(max_examples=100)
@given(mutations)
def test_mutated_exports_leave_the_receiver_working(changes: list[tuple[int, str, Any]]) -> None:
    seen: list[Trace | Skipped] = []
    receiver = Receiver(lambda traces, skipped: seen.extend([*traces, *skipped]), source="s")
    body = json.dumps(mutated(payload("genai"), changes)).encode()
    for receive in (receiver.receive, receiver.receive_logs):
        try:
            answer, _ = receive(body, "application/json")
            json.loads(answer)
        except InputError:
            assert seen
    receiver.receive(json.dumps(payload("openinference")).encode(), "application/json")
    receiver.flush()
    assert any(isinstance(i, Trace) for i in seen)


@settings(max_examples=100)
@given(st.binary(max_size=300), st.integers(0, 3000), st.booleans())
def test_mutated_protobuf_is_spans_or_a_reason(junk: bytes, at: int, logs: bool) -> None:
    body = shared("fixtures/genai.pb").read_bytes()
    body = body[:at] + junk + body[at + len(junk) :]
    try:
        check(from_protobuf(body, logs=logs))
    except InputError as error:
        assert error.what


EVENTS = [
    "gen_ai.choice", "gen_ai.user.message", "gen_ai.tool.message", "gen_ai.evaluation.result",
    "gen_ai.client.inference.operation.details", "gen_ai.foo.message",
]  # fmt: skip
EVENT_KEYS = [
    "content", "body", "message", "index", "id", "gen_ai.event.content", "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value",
]  # fmt: skip
KINDS: list[dict[str, Any]] = [
    {},
    {"gen_ai.operation.name": "chat"},
    {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look"},
    {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"},
    {
        "gen_ai.operation.name": "chat",
        "gen_ai.output.messages": '[{"role":"assistant","tool_calls":[{"name":"look","args":{}}]}]',
    },
]

span_ids = st.sampled_from(["1", "2", "3", "r", "0" * 16, ""])
times = st.sampled_from([0, 1, 5, -3, 2**63, 10**30, 1795415525643430912])
values = st.one_of(st.sampled_from(WEIRD), st.text(max_size=20), st.floats())
events = st.builds(
    SpanEvent,
    st.sampled_from(EVENTS),
    times,
    st.dictionaries(st.sampled_from(EVENT_KEYS), values, max_size=4),
)
spans = st.lists(
    st.builds(
        Span,
        trace_id=st.sampled_from(["a" * 32, "b" * 32, "0" * 32, ""]),
        span_id=span_ids,
        parent_id=st.none() | span_ids,
        started_at=times,
        ended_at=times,
        attributes=st.builds(
            lambda more, kind: {**more, **kind},
            st.dictionaries(st.sampled_from(KEYS), values, max_size=6),
            st.sampled_from(KINDS),
        ),
        events=st.lists(events, max_size=3).map(tuple),
    ),
    max_size=8,
)


@settings(max_examples=200)
@given(spans)
@example([Span(trace_id="a" * 32, span_id="1", parent_id="1", attributes={"gen_ai.operation.name": "chat"})])
def test_any_spans_are_traces_or_reasons(made: list[Span]) -> None:
    check(Export(spans=made))


def test_ten_thousand_spans_in_circles_are_read() -> None:
    said = '[{"role":"assistant","tool_calls":[{"name":"look","args":{}}]}]'
    chat = {"gen_ai.operation.name": "chat", "gen_ai.output.messages": said}
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look",
        "gen_ai.tool.call.result": "r",
    }
    made = [
        Span(
            trace_id="a" * 32,
            span_id=str(i),
            parent_id=str((i + 1) % 10_000),
            started_at=i + 1,
            ended_at=i + 2,
            attributes=(chat, tool, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"})[
                i % 3
            ],
        )
        for i in range(10_000)
    ]
    traces, _ = assemble(made, source="s")
    assert traces[0].problems[0] == "no root span"
