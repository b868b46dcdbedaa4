"""Every generation of the conventions gives the same conversation; what is unknown is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from model_spans import (
    ANSWER,
    ASKED,
    CALLED,
    CHAT,
    EXPECTED,
    FOUND,
    LOGFIRE_EVENTS,
    MODEL_SPANS,
    OPENAI_GIVEN,
    SAID,
    SCHEMA,
    SYSTEM,
    as_span_events,
    old_events,
    otel,
    parts,
    span,
    trace_of,
)

from strop.records import Message, Tool
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import LogEvent, Span, SpanEvent


@pytest.mark.parametrize("name", MODEL_SPANS)
def test_every_generation_gives_the_same_conversation(name: str) -> None:
    trace = trace_of(MODEL_SPANS[name])
    (episode,) = trace.episodes
    texts = [(m.role, m.content or None, m.tool_call_id) for m in episode.messages]
    assert texts == [(m.role, m.content, m.tool_call_id) if m.role != "tool" else texts[3] for m in EXPECTED]
    assert json.loads(episode.messages[3].content or "") == json.loads(FOUND)
    assert episode.messages[3].tool_call_id == "c1"
    (call,) = episode.messages[2].tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("c1", "get_order", json.loads(CALLED))
    assert trace.model == "m"
    assert trace.problems == ()


WITHOUT_TOOLS = {
    "events up to 1.36", "events of Azure AI", "events of Strands", "content events up to 1.27",
    "gen_ai details event",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(MODEL_SPANS) - WITHOUT_TOOLS))
def test_the_tools_that_were_offered_are_kept(name: str) -> None:
    (episode,) = trace_of(MODEL_SPANS[name]).episodes
    assert episode.tools == (Tool("get_order", "Look up an order", SCHEMA),)


@pytest.mark.parametrize("in_body", [False, True])
def test_log_records_are_joined_to_their_span(in_body: bool) -> None:
    chat = span(CHAT)
    logs = tuple(
        LogEvent(chat.trace_id, chat.span_id, SpanEvent(name, i, body))
        for i, (name, body) in enumerate(old_events(in_body=in_body))
    )
    (episode,) = trace_of(chat, logs=logs).episodes
    assert [m.content or None for m in episode.messages] == [m.content for m in EXPECTED]
    assert episode.messages[2].tool_calls == EXPECTED[2].tool_calls


def test_details_in_a_log_record_are_the_messages_and_an_evaluation_is_a_score() -> None:
    chat = span(CHAT)
    logs = (
        LogEvent(
            chat.trace_id, chat.span_id, SpanEvent("gen_ai.client.inference.operation.details", 1, otel())
        ),
        LogEvent(
            chat.trace_id,
            "ffff",
            SpanEvent(
                "gen_ai.evaluation.result",
                2,
                {"gen_ai.evaluation.name": "Tone", "gen_ai.evaluation.score.value": "4.0"},
            ),
        ),
    )
    trace = trace_of(chat, logs=logs)
    assert [m.content or None for m in trace.episodes[0].messages][-1] == SAID
    assert [(s.name, s.value, s.source) for s in trace.scores] == [("Tone", 4.0, "llm")]


def test_details_without_their_span_are_a_call_of_their_own() -> None:
    name = "gen_ai.client.inference.operation.details"
    trace = trace_of(logs=(LogEvent("a" * 32, "b" * 16, SpanEvent(name, 5, CHAT | otel())),))
    assert trace.episodes[0].messages[-1].content == SAID


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pydantic_ai.all_messages", [{"role": "system", "parts": SYSTEM}, *parts("result"), *ANSWER]),
        ("all_messages_events", [*LOGFIRE_EVENTS[:-1], {"content": SAID, "role": "assistant"}]),
    ],
)
def test_an_agent_span_with_the_whole_conversation_speaks_for_silent_calls(key: str, value: Any) -> None:
    agent = span({"agent_name": "desk", "gen_ai.usage.input_tokens": 100, key: json.dumps(value)}, n=1)
    silent = Span(
        trace_id="a" * 32,
        span_id="c",
        parent_id=agent.span_id,
        started_at=11,
        ended_at=12,
        attributes=CHAT | {"gen_ai.usage.input_tokens": 60},
    )
    trace = trace_of(agent, silent)
    (episode,) = trace.episodes
    assert [m.content or None for m in episode.messages][-1] == SAID
    assert episode.messages[2].tool_calls[0].name == "get_order"
    assert trace.usage.prompt_tokens == 60
    assert trace.agent == "desk"


def test_an_agents_own_input_and_output_are_taken_with_a_problem() -> None:
    agent = span({"gen_ai.operation.name": "invoke_agent", "gen_ai.workflow.name": "desk"} | otel())
    trace = trace_of(agent)
    assert trace.agent == "desk"
    assert trace.episodes[0].messages[-1].content == SAID
    assert "the agent's own input and output" in trace.problems[0]


@pytest.mark.parametrize(
    ("attributes", "call_id"),
    [
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_order",
          "gen_ai.tool.call.id": "c1", "gen_ai.tool.call.result": FOUND}, "c1"),
        ({"gen_ai.tool.name": "get_order", "gen_ai.tool.call.id": "c1", "tool_response": FOUND}, "c1"),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "get_order", "ai.toolCall.id": "c1",
          "ai.toolCall.result": FOUND}, "c1"),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "get_order", "ai.toolCall.id": "c1",
          "ai.toolCall.result": json.dumps(FOUND)}, "c1"),
        ({"openinference.span.kind": "TOOL", "tool.name": "get_order", "output.value": FOUND}, None),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "get_order",
          "traceloop.entity.output": json.dumps({"output": FOUND, "kwargs": {}})}, None),
        ({"openinference.span.kind": "TOOL", "tool.name": "get_order",
          "output.value": json.dumps({"type": "tool", "content": FOUND, "tool_call_id": "c1"})}, None),
        ({"langfuse.observation.type": "tool", "langfuse.observation.output": FOUND}, None),
        ({"mlflow.spanType": '"TOOL"', "mlflow.spanOutputs": FOUND}, None),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_order",
          "gen_ai.tool.call.result": json.dumps({"content": [{"type": "text", "text": FOUND}]})}, None),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_order",
          "gcp.vertex.agent.tool_response": FOUND, "gen_ai.tool.call.id": "adk-1"}, "adk-1"),
    ],
)  # fmt: skip
def test_tool_spans_of_every_generation_fill_a_missing_result(
    attributes: dict[str, Any], call_id: str | None
) -> None:
    given = json.dumps([{"role": "user", "content": ASKED}])
    said = json.dumps([OPENAI_GIVEN[2]])
    chat = span(CHAT | {"gen_ai.input.messages": given, "gen_ai.output.messages": said})
    trace = trace_of(chat, span(attributes, name="get_order", n=2))
    assert trace.episodes[0].messages[-1] == Message(role="tool", content=FOUND, tool_call_id="c1")
    assert trace.problems == ()
    assert call_id in ("c1", "adk-1", None)


@pytest.mark.parametrize(
    "events",
    [
        [("gen_ai.tool.message", {"content": FOUND, "id": "c1"})],
        # Strands: the tool's message is what it was asked
        [("gen_ai.tool.message", {"role": "tool", "content": CALLED, "id": "c1"}),
         ("gen_ai.choice", {"message": json.dumps([{"text": FOUND}]), "id": "c1"})],
        [("gen_ai.client.inference.operation.details", {"gen_ai.output.messages": json.dumps(
            [{"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": FOUND}]}])})],
    ],
    ids=["semantic conventions", "Strands", "Strands with details"],
)  # fmt: skip
def test_a_tools_result_is_found_in_its_events(events: list[tuple[str, dict[str, Any]]]) -> None:
    chat = span(CHAT | {"gen_ai.output.messages": json.dumps([OPENAI_GIVEN[2]])})
    tool = span(
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_order"},
        events=as_span_events(events),
        n=2,
    )
    assert trace_of(chat, tool).episodes[0].messages[-1].content == FOUND


@pytest.mark.parametrize(
    "answer",
    [
        '{"response": "Unterwegs.", "final_status": "shipped", "eta": 1.10}',
        '{"text": "x", "final_status": "shipped"}',
        '{"content": "x", "final_status": "shipped"}',
        '{"final_status":"shipped"}',
    ],
)
@pytest.mark.parametrize("key", ["output.value", "langfuse.observation.output", "gen_ai.completion"])
def test_an_answer_that_is_json_itself_stays_whole(key: str, answer: str) -> None:
    kind = {"openinference.span.kind": "LLM", "langfuse.observation.type": "generation"}
    trace = trace_of(span(kind | {"input.value": ASKED, key: answer}))
    assert trace.episodes[0].messages[-1].content == answer


def test_json_lists_that_are_no_parts_stay_text() -> None:
    said = ["[]", '[{"text": "0042", "status": "x"}]', "[1]"]
    for text in said:
        flat = {f"llm.{s}_messages.0.message.content": text for s in ("input", "output")}
        roles = {
            "llm.input_messages.0.message.role": "user",
            "llm.output_messages.0.message.role": "assistant",
        }
        (episode,) = trace_of(span({"openinference.span.kind": "LLM"} | flat | roles)).episodes
        assert [m.content for m in episode.messages] == [text, text]


def test_what_stands_beside_indexed_messages_hides_none() -> None:
    filtered = {"gen_ai.prompt.prompt_filter_results": '[{"prompt_index": 0}]', "gen_ai.input.messages": ""}
    chat = dict(MODEL_SPANS["OpenLLMetry"].attributes) | filtered
    assert trace_of(span(chat)).episodes[0].messages[1].content == ASKED


def test_the_text_of_azures_agents_is_read() -> None:
    bodies = [
        ("user", {"content": ASKED}),
        ("assistant", {"content": {"text": {"value": SAID, "annotations": []}}}),
    ]
    events = [
        (f"gen_ai.{r}.message", {"gen_ai.event.content": json.dumps({"role": r, **b})}) for r, b in bodies
    ]
    trace = trace_of(span({"gen_ai.operation.name": "process_thread_run"}, events=as_span_events(events)))
    assert [m.content for m in trace.episodes[0].messages] == [ASKED, SAID]


def test_what_the_provider_ran_itself_is_no_text_of_the_answer() -> None:
    parts = [{"type": "server_tool_call", "id": "s", "name": "web"}, {"type": "text", "content": SAID}]
    said = json.dumps([{"role": "assistant", "parts": parts}])
    assert (
        trace_of(span(CHAT | otel() | {"gen_ai.output.messages": said})).episodes[0].messages[-1].content
        == SAID
    )


def test_openinferences_first_function_calls_are_calls() -> None:
    message = {"message.role": "assistant", "message.function_call_name": "get_order",
               "message.function_call_arguments_json": CALLED}  # fmt: skip
    said = {f"llm.output_messages.0.{k}": v for k, v in message.items()}
    asked = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": ASKED}
    (episode,) = trace_of(span({"openinference.span.kind": "LLM"} | asked | said)).episodes
    (call,) = episode.messages[1].tool_calls
    assert (call.name, call.arguments) == ("get_order", CALLED)


def test_text_that_was_cut_in_a_surrogate_pair_is_still_a_message() -> None:
    said = r'[{"role": "assistant", "content": "unterwegs \\ud83d \ud83d\ude9a \ud83d"}]'
    trace = trace_of(span(CHAT | otel() | {"gen_ai.output.messages": said}))
    assert trace.episodes[0].messages[-1].content == "unterwegs \\ud83d \U0001f69a \ufffd"
    assert trace.problems == ()


def test_text_numbers_and_tuples_of_azure_are_read() -> None:
    azure = (
        CHAT
        | otel()
        | {
            "gen_ai.usage.input_tokens": "120",
            "gen_ai.usage.output_tokens": "20",
            "gen_ai.usage.cost": "0.25",
            "gen_ai.response.finish_reasons": "('stop',)",
        }
    )
    trace = trace_of(span(azure), root={"tag.tags": "('prod', 'v7')"})
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens, trace.cost_usd) == (120, 20, 0.25)
    assert trace.tags == ("prod", "v7")
    assert trace_of(span(azure), root={"tag.tags": "('\\ud800',)"}).tags == ()


@pytest.mark.parametrize(
    ("attributes", "customer", "session", "person"),
    [
        ({"langfuse.trace.metadata.customer.id": "007", "langfuse.session.id": "s",
          "langfuse.user.id": "u"}, "007", "s", {"langfuse.user.id": "u"}),
        ({"langfuse.trace.metadata": '{"customer.id": "007"}', "session.id": "s", "user.id": "u"},
         "007", "s", {"user.id": "u"}),
        ({"ai.telemetry.metadata.customer.id": "007", "ai.telemetry.metadata.sessionId": "s",
          "ai.telemetry.metadata.userId": "u"}, "007", "s", {"ai.telemetry.metadata.userId": "u"}),
        ({"traceloop.association.properties.customer.id": "007",
          "traceloop.association.properties.session_id": "s",
          "traceloop.association.properties.user_id": "u"},
         "007", "s", {"traceloop.association.properties.user_id": "u"}),
    ],
)  # fmt: skip
def test_customer_session_and_person_are_found_in_every_family(
    attributes: dict[str, Any], customer: str, session: str, person: dict[str, str]
) -> None:
    trace = trace_of(span(CHAT | otel()), root=attributes)
    assert (trace.customer, trace.session_id, trace.identities) == (customer, session, person)


def test_what_looks_like_a_model_call_of_no_known_convention_is_named() -> None:
    unknown = span(
        {"acme.kind": "x", "llm.prompt_text": "hi", "gen_ai.usage.input_tokens": 5}, name="ask", n=2
    )
    trace = trace_of(span(CHAT | otel()), unknown)
    assert trace.problems == (
        "span ask: looks like a model call of an unknown convention "
        "(gen_ai.usage.input_tokens, llm.prompt_text)",
    )
    _, skipped = assemble([unknown], source="s")
    assert "unknown convention" in skipped[0].reason


def test_a_roll_up_around_known_calls_is_no_unknown_call() -> None:
    outer = span({"gen_ai.usage.input_tokens": 9}, name="cycle", n=3)
    inner = Span(
        trace_id="a" * 32,
        span_id="i",
        parent_id=outer.span_id,
        started_at=31,
        ended_at=32,
        attributes=CHAT | otel(),
    )
    assert trace_of(outer, inner).problems == ()


def test_alternatives_are_counted_and_the_first_is_taken() -> None:
    said = [{**ANSWER[0]}, {"role": "assistant", "content": "Anders.", "finish_reason": "stop"}]
    trace = trace_of(span(CHAT | otel() | {"gen_ai.output.messages": json.dumps(said)}, name="chat"))
    assert trace.episodes[0].messages[-1].content == SAID
    assert trace.problems == ("span chat: 2 choices were recorded: the first is taken",)


def test_a_damaged_dialect_leaves_the_other_one() -> None:
    both = (
        dict(MODEL_SPANS["OpenInference flat"].attributes) | CHAT | {"gen_ai.input.messages": '[{"role": "us'}
    )
    trace = trace_of(span(both, name="chat"))
    assert trace.episodes[0].messages[-1].content == SAID
    assert trace.problems == ("span chat: gen_ai.input.messages is no JSON (truncated?)",)


def test_numbers_that_are_ids_stay_as_they_are_written() -> None:
    number = "123456789012345678901234567890"
    found = f'{{"tracking": {number}, "order": "007"}}'
    structured = [
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": json.loads(found)}]}
    ]
    chat = span(CHAT | otel() | {"gen_ai.input.messages": json.dumps([*parts("response")[:2], *structured])})
    content = trace_of(chat).episodes[0].messages[3].content
    assert content is not None
    assert number in content
    assert '"007"' in content
