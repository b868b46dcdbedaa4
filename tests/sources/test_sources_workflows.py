"""Runs of any engine -> traces: actions, retries, model calls, and nothing lost whatever a run holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.config import Source
from strop.records import Skipped, Trace, tool_calls_of
from strop.sources.workflows.runs import (
    Heard,
    Run,
    Said,
    Step,
    arguments_of,
    customer_of,
    json_text,
    recorded_pair,
    roots_of,
    trace_of,
)

SOURCE = Source(name="flows", kind="temporal", customer_key="customer.id")
TICKET = '{"ticket": "00340434161094042557", "customer": {"id": "0042"}}'


def step(name: str, result: Any = "ok", number: int = 0, **more: Any) -> Step:
    fields: dict[str, Any] = {
        "call_id": f"c{number}",
        "name": name,
        "given": ('{"tracking": "007"}',),
        "result": None if result is None else json.dumps(result),
        "started_at": number,
        "ended_at": number + 1,
        **more,
    }
    return Step(**fields)


def run(*events: Step | Heard, **more: Any) -> Run:
    fields: dict[str, Any] = {
        "workflow_id": "order-0042",
        "run_id": "run-1",
        "name": "HandleTicket",
        "given": (TICKET,),
        "result": '{"status": "delivered"}',
        "started_at": 100,
        "ended_at": 900,
        "events": events,
        **more,
    }
    return Run(**fields)


def made(of: Run) -> Trace:
    trace = trace_of(of, SOURCE)
    assert isinstance(trace, Trace), trace
    return trace


def test_steps_are_actions_between_the_input_and_the_result() -> None:
    trace = made(
        run(step("lookup_tracking", {"eta": "2026-11-30"}, 1), step("notify", None, 2, error="down"))
    )
    messages = trace.episodes[0].messages
    assert [m.role for m in messages] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert messages[0].content == TICKET
    assert [(c.name, c.arguments) for c in tool_calls_of(messages)] == [
        ("lookup_tracking", '{"tracking": "007"}'),
        ("notify", '{"tracking": "007"}'),
    ]
    assert [m.tool_call_id for m in messages if m.role == "tool"] == ["c1", "c2"]
    assert messages[2].content == '{"eta": "2026-11-30"}'
    assert messages[4].content == '{"error": "down"}'
    assert messages[5].content == '{"status": "delivered"}'
    assert (trace.workflow_id, trace.source_id, trace.customer) == ("order-0042", "run-1", "0042")
    assert (trace.started_at, trace.ended_at, trace.agent, trace.status) == (100, 900, "HandleTicket", "ok")
    assert trace.attributes["workflow.root_id"] == "order-0042"


def test_steps_of_one_turn_share_an_assistant_message() -> None:
    trace = made(run(step("a", 1, 1, turn=4), step("b", 2, 2, turn=4), step("c", 3, 3, turn=9)))
    messages = trace.episodes[0].messages
    assert [[c.name for c in m.tool_calls] for m in messages if m.tool_calls] == [["a", "b"], ["c"]]
    assert [m.content for m in messages if m.role == "tool"] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("given_", "arguments"),
    [
        (None, "{}"),
        ((), "{}"),
        (('{"id": 00}'.replace("00", "12345678901234567890123"),), '{"id": 12345678901234567890123}'),
        (('"007"',), '{"args": ["007"]}'),
        (("1", '{"a": 2}'), '{"args": [1, {"a": 2}]}'),
        (("[1]",), '{"args": [[1]]}'),
    ],
)
def test_the_shape_of_arguments(given_: tuple[str, ...] | None, arguments: str) -> None:
    assert arguments_of(given_) == arguments


def test_retries_are_counted_and_no_further_actions() -> None:
    trace = made(run(step("charge", "paid", 1, attempts=3), step("mail", "sent", 2)))
    assert len(tool_calls_of(trace.episodes[0].messages)) == 2
    assert trace.attributes["workflow.attempts"] == {"c1": 3}


def test_what_came_from_outside_is_the_users() -> None:
    heard = Heard(name="approve", given=('"yes, ship it"',)), Heard(name="poke", given=())
    trace = made(run(step("draft", "d", 1), *heard, step("ship", "s", 2)))
    assert [m.content for m in trace.episodes[0].messages if m.role == "user"] == [
        TICKET,
        "yes, ship it",
        "poke",
    ]


def test_what_it_answered_meanwhile_is_the_assistants() -> None:
    answers = Heard(name="ask", given=('"why?"',)), Said(payload='"because"')
    messages = made(run(step("draft", "d", 1), *answers)).episodes[0].messages
    assert [(m.role, m.content) for m in messages[3:5]] == [("user", "why?"), ("assistant", "because")]


def test_half_a_surrogate_pair_does_not_cost_the_trace() -> None:
    assert made(run(result='"cut \\ud83d"')).episodes[0].messages[-1].content == "cut \ufffd"


def test_a_failed_run_ends_without_an_answer() -> None:
    trace = made(run(step("a", 1, 1), failure="ValueError: no stock", result=None))
    assert (trace.status, trace.error) == ("error", "ValueError: no stock")
    assert trace.episodes[0].messages[-1].role == "tool"


def test_a_family_without_a_beginning_has_a_root() -> None:
    assert roots_of({"a": "b", "c": "gone"}, lambda ids: {"b": "a"}) == {"a": "b", "c": "gone"}


def test_a_child_is_linked_to_its_parent() -> None:
    trace = made(run(step("a", 1, 1), parent_id="parent-7", root_id="root-1"))
    assert trace.workflow_id == "order-0042"
    assert trace.attributes["workflow.parent_id"] == "parent-7"
    assert trace.attributes["workflow.root_id"] == "root-1"


def test_missing_results_and_arguments_are_told() -> None:
    trace = made(run(step("a", None, 1), step("b", 1, 2, given=None)))
    assert trace.problems == ("call a has no result", "the engine recorded no arguments of 1 steps")
    assert [m.tool_call_id for m in trace.episodes[0].messages if m.role == "tool"] == ["c2"]


def test_what_is_no_trace_is_skipped_with_its_reason() -> None:
    nothing = trace_of(run(failure="boom", result=None), SOURCE)
    assert nothing == Skipped("assemble", "flows:run-1", "the run did nothing and has no result")
    large = trace_of(run(size=21 << 20), SOURCE)
    assert large == Skipped("pull", "flows:run-1", "the trace is larger than 20 MB")


@pytest.mark.parametrize(
    ("key", "found"),
    [("customer.id", "0042"), ("tenant", "acme"), ("ticket", "00340434161094042557"), ("absent", None)],
)
def test_the_customer_is_in_the_attributes_or_the_input(key: str, found: str | None) -> None:
    assert customer_of(run(attributes={"tenant": "acme"}), key) == found


def test_a_step_can_record_its_own_arguments() -> None:
    assert recorded_pair('{"in": {"a": "01"}, "out": 2}') == (('{"a": "01"}',), "2", None)
    assert recorded_pair('{"in": 1, "error": "late"}') == (("1",), None, "late")
    assert recorded_pair('{"in": 1}') == (None, '{"in": 1}', None)
    assert recorded_pair('{"in": 1, "out": 2, "more": 3}')[0] is None


def test_where_two_clocks_disagree_the_end_decides() -> None:
    for of in (run(step("a", 1, 1), started_at=905), chat_run(recorded=True, started_at=905)):
        trace = made(of)
        assert (trace.started_at, trace.ended_at) == (900, 900)


CALL = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": '{"id": "007"}'}}
TOOL = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}


def completion(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "model": "gpt-x",
        "choices": [{"index": 0, "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
    }


def chat_run(*, recorded: bool, **more: Any) -> Run:
    asked = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Where is 007?"}]
    calling = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": '{"eta": "soon"}'}
    requests = [{"model": "gpt-x", "messages": asked, "tools": [TOOL]},
                {"model": "gpt-x", "messages": [*asked, calling, result], "tools": [TOOL]}]  # fmt: skip
    given_ = [(json.dumps(r),) if recorded else None for r in requests]
    answer = {"role": "assistant", "content": "It comes soon."}
    return run(
        step("model", completion(calling), 1, given=given_[0]),
        step("lookup", {"eta": "soon"}, 2),
        step("model", completion(answer), 3, given=given_[1]),
        step("save", "done", 4),
        given=('"Where is 007?"',),
        **more,
    )


@pytest.mark.parametrize("recorded", [True, False])
def test_model_calls_become_the_conversation(recorded: bool) -> None:
    trace = made(chat_run(recorded=recorded))
    (episode,) = trace.episodes
    roles = ["user", "assistant", "tool", "assistant"]
    assert [m.role for m in episode.messages] == (["system", *roles] if recorded else roles)
    assert episode.messages[-3].tool_calls[0].key() == 'lookup {"id":"007"}'
    assert episode.messages[-2].content == '{"eta": "soon"}'
    assert episode.messages[-1].content == "It comes soon."
    assert [t.name for t in episode.tools] == (["lookup"] if recorded else [])
    assert (trace.model, trace.usage.prompt_tokens, trace.usage.completion_tokens) == ("gpt-x", 20, 4)
    assert trace.attributes["workflow.other_steps"] == ["save"]


def test_the_agents_sdks_model_activity_is_a_model_call() -> None:
    request = {
        "model_name": "gpt-x",
        "system_instructions": "Help.",
        "input": "Where is 007?",
        "tools": [{"name": "lookup", "description": "d", "params_json_schema": {"type": "object"}}],
    }
    call = {"type": "function_call", "call_id": "call_1", "name": "lookup", "arguments": '{"id": "007"}'}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "soon"}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Soon."}]}
    user = {"role": "user", "content": "Where is 007?"}
    usage = {"input_tokens": 3, "output_tokens": 1}
    first = step("invoke_model_activity", {"output": [call], "usage": usage}, 1, given=(json.dumps(request),))
    second = step("invoke_model_activity", {"output": [said]}, 3,
                  given=(json.dumps({**request, "input": [user, call, output]}),))  # fmt: skip
    trace = made(run(first, step("lookup", "soon", 2), second))
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert episode.tools[0].parameters == {"type": "object"}
    assert episode.messages[-1].content == "Soon."


def test_googles_adk_model_activity_is_a_model_call() -> None:
    call = {"text": None, "functionCall": {"id": None, "args": {"city": "Ulm"}, "name": "get_weather"}}
    result = {"functionResponse": {"name": "get_weather", "response": {"result": "17 degrees"}}}
    declared = {"name": "get_weather", "description": "d", "parameters": {"type": "OBJECT"}}
    asked = [{"role": "user", "parts": [{"text": "Weather?", "functionCall": None}]}]
    request = {
        "model": "gemini-x",
        "contents": asked,
        "config": {
            "systemInstruction": "Help.",
            "tools": [{"googleSearch": None, "functionDeclarations": [declared]}],
        },
    }
    again = [*asked, {"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]
    said = {"content": {"role": "model", "parts": [{"text": "17"}]}, "usageMetadata": {"promptTokenCount": 9}}
    piece = {"content": {"role": "model", "parts": [{"text": "1"}]}, "partial": True}
    first = step("invoke_model", [{"content": {"role": "model", "parts": [call]}}], 1,
                 given=(json.dumps(request),))  # fmt: skip
    second = step(
        "invoke_model", [piece, said, piece], 3, given=(json.dumps({**request, "contents": again}),)
    )
    trace = made(run(first, step("get_weather", "17 degrees", 2), second))
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    (asked_for,) = tool_calls_of(episode.messages)
    assert (asked_for.name, json.loads(asked_for.arguments)) == ("get_weather", {"city": "Ulm"})
    assert [t.name for t in episode.tools] == ["get_weather"]
    assert (episode.messages[-1].content, trace.usage.prompt_tokens) == ("17", 9)


@pytest.mark.parametrize("system", ["Help.", [{"type": "text", "text": "Help."}], [{"functionCall": {}}]])
def test_anthropics_messages_are_a_model_call(system: object) -> None:
    use = {"type": "tool_use", "id": "u1", "name": "lookup", "input": {"id": "007"}}
    result = {"type": "tool_result", "tool_use_id": "u1", "content": "soon"}
    asked = [{"role": "user", "content": "Where is 007?"}]
    tools = [{"name": "lookup", "description": "d", "input_schema": {"type": "object"}}]
    request = {"model": "m", "system": system, "messages": asked, "tools": tools}
    again = [*asked, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    answer = {"type": "message", "role": "assistant", "content": [use], "usage": {"input_tokens": 4}}
    last = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Soon."}]}
    first = step("ask", answer, 1, given=(json.dumps(request),))
    second = step("ask", last, 3, given=(json.dumps({**request, "messages": again}),))
    trace = made(run(first, step("lookup", "soon", 2), second))
    (episode,) = trace.episodes
    expected = ["user", "assistant", "tool", "assistant"]
    assert [m.role for m in episode.messages if m.role != "system"] == expected
    (call,) = tool_calls_of(episode.messages)
    assert (call.id, call.name, call.parsed()) == ("u1", "lookup", {"id": "007"})
    assert [t.name for t in episode.tools] == ["lookup"]
    assert (episode.messages[-1].content, trace.usage.prompt_tokens) == ("Soon.", 4)
    said = [m.content for m in episode.messages if m.role == "system"]
    assert said == ([] if system == [{"functionCall": {}}] else ["Help."])


def test_an_activity_that_only_looks_like_a_model_is_an_action() -> None:
    answered = step("store", completion({"role": "assistant", "content": "x"}), 1, given=('{"path": "a"}',))
    asked = step("ask", {"stored": 1}, 2, given=('{"messages": [{"role": "user", "content": "x"}]}',))
    assert len(tool_calls_of(made(run(answered, asked)).episodes[0].messages)) == 2


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just("messages"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
texts = json_values.map(lambda v: json.dumps(v, ensure_ascii=False))
steps = st.builds(
    Step,
    call_id=st.uuids().map(str),
    name=st.text(min_size=1, max_size=10),
    given=st.none() | st.lists(texts, max_size=3).map(tuple),
    result=st.none() | texts,
    error=st.none() | st.text(max_size=10),
    started_at=st.integers(0, 1 << 60),
    ended_at=st.integers(0, 1 << 60),
    attempts=st.integers(1, 9),
    turn=st.none() | st.integers(1, 3),
)
heards = st.builds(Heard, name=st.text(max_size=5), given=st.lists(texts, max_size=2).map(tuple))


@given(st.lists(steps | heards, max_size=6), st.lists(texts, max_size=2), st.none() | texts)
def test_every_step_is_one_action_whatever_it_holds(
    events: list[Step | Heard], given_: list[str], result: str | None
) -> None:
    of = run(*events, given=tuple(given_), result=result)
    trace = trace_of(of, SOURCE)
    wanted = [e for e in events if isinstance(e, Step)]
    if isinstance(trace, Skipped):
        assert not wanted
        assert result is None
        return
    calls = tool_calls_of(trace.episodes[0].messages)
    assert [(c.id, c.name, c.arguments) for c in calls] == [
        (s.call_id, s.name, arguments_of(s.given)) for s in wanted
    ]
    for s, call in zip(wanted, calls, strict=True):
        shown = json.loads(call.arguments)
        if s.given and (len(s.given) > 1 or not isinstance(json.loads(s.given[0]), dict)):
            shown = shown["args"]
            assert shown == [json.loads(g) for g in s.given]
        elif s.given:
            assert shown == json.loads(s.given[0])
    results = [m for m in trace.episodes[0].messages if m.role == "tool"]
    assert len(results) == sum(1 for s in wanted if s.result is not None or s.error is not None)


@given(st.text(max_size=30))
def test_json_text_is_kept_or_refused_without_quoting_it(text: str) -> None:
    try:
        assert json_text(text) == text
    except ValueError as error:
        assert str(error) == "a payload is no JSON"
