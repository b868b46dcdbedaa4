"""The rule by which model calls become conversations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from strop.records import Message, Trace
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import Span


def span(
    span_id: str, parent: str | None = "r", at: int = 0, until: int | None = None, **attributes: Any
) -> Span:
    return Span(
        trace_id="a" * 32,
        span_id=span_id,
        parent_id=parent,
        name=span_id,
        started_at=at,
        ended_at=at + 1 if until is None else until,
        attributes={k.replace("__", "."): v for k, v in attributes.items()},
    )


def chat(span_id: str, given: list[Any], said: list[Any], at: int, parent: str = "r") -> Span:
    return span(
        span_id,
        parent,
        at,
        gen_ai__operation__name="chat",
        gen_ai__input__messages=json.dumps(given),
        gen_ai__output__messages=json.dumps(said),
    )


def agent(span_id: str, parent: str, at: int, name: str) -> Span:
    return span(span_id, parent, at, gen_ai__operation__name="invoke_agent", gen_ai__agent__name=name)


def tool(
    span_id: str, at: int, result: str | None, call_id: str | None = None, parent: str = "r", **more: Any
) -> Span:
    attributes: dict[str, Any] = {
        "gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": "look",
        "gen_ai__tool__call__result": result, "gen_ai__tool__call__id": call_id,
    }  # fmt: skip
    return span(span_id, parent, at, **{k: v for k, v in attributes.items() if v is not None}, **more)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls(*ids: str, **arguments: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"id": i, "name": "look", "args": arguments} for i in ids]}


def result(call_id: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def trace(*spans: Span) -> Trace:
    traces, skipped = assemble([span("r", None, 0, 1000), *spans], source="s")
    assert not skipped
    return traces[0]


def shape(made: Trace) -> list[list[str]]:
    return [[m.content or "+".join(c.id for c in m.tool_calls) for m in e.messages] for e in made.episodes]


def test_a_prefix_extension_is_one_conversation_and_the_last_transcript_wins() -> None:
    first = [user("q")]
    second = [*first, calls("c"), result("c", "found")]
    third = [*second, says("a"), user("more")]
    made = trace(
        chat("1", first, [calls("c")], 1), chat("2", second, [says("a")], 2), chat("3", third, [says("b")], 3)
    )
    assert shape(made) == [["q", "c", "found", "a", "more", "b"]]
    assert made.problems == ()


def test_spans_in_any_order_give_the_same() -> None:
    spans = [
        chat("2", [user("q"), says("a"), user("m")], [says("b")], 2),
        chat("1", [user("q")], [says("a")], 1),
    ]
    assert trace(*spans) == trace(*reversed(spans))


def test_compaction_starts_a_new_conversation() -> None:
    made = trace(
        chat("1", [user("q")], [says("a")], 1),
        chat("2", [user("summary of q and a"), user("m")], [says("b")], 2),
    )
    assert shape(made) == [["q", "a"], ["summary of q and a", "m", "b"]]


def test_sub_agents_are_conversations_of_their_own_even_with_the_callers_history() -> None:
    q = [user("q")]
    longer = [*q, calls("c")]
    made = trace(
        agent("main", "r", 1, "main"),
        chat("1", q, [calls("c")], 2, "main"),
        tool("t", 3, "from helper", "c", "main"),
        agent("sub", "t", 3, "helper"),
        chat("2", longer, [says("inner")], 4, "sub"),
        chat("3", [*longer, result("c", "from helper")], [says("outer")], 6, "main"),
    )
    # The helper was asked while the call was open: its own copy of the history has no result for it.
    assert shape(made) == [["q", "c", "from helper", "outer"], ["q", "c", "inner"]]


def test_two_runs_of_one_agent_are_one_conversation_where_the_second_goes_on() -> None:
    made = trace(
        agent("turn1", "r", 1, "desk"),
        chat("1", [user("q")], [says("a")], 2, "turn1"),
        agent("turn2", "r", 5, "desk"),
        chat("2", [user("q"), says("a"), user("m")], [says("b")], 6, "turn2"),
    )
    assert shape(made) == [["q", "a", "m", "b"]]


def test_parallel_branches_split() -> None:
    q = [user("q")]
    made = trace(
        chat("1", q, [says("a")], 1),
        chat("2", [*q, says("a"), user("left")], [says("l")], 2),
        chat("3", [*q, says("a"), user("right")], [says("r")], 2),
    )
    assert shape(made) == [["q", "a", "left", "l"], ["q", "a", "right", "r"]]


def test_equal_parallel_calls_each_go_on() -> None:
    q = [user("q")]
    made = trace(
        chat("1", q, [says("a")], 1),
        chat("2", q, [says("a")], 1),
        chat("3", [*q, says("a"), user("x")], [says("1")], 3),
        chat("4", [*q, says("a"), user("y")], [says("2")], 4),
    )
    assert sorted(shape(made)) == [["q", "a", "x", "1"], ["q", "a", "y", "2"]]


def test_results_come_by_call_id_before_order() -> None:
    made = trace(
        chat("1", [user("q")], [calls("c1", "c2")], 1),
        tool("t1", 2, "second", "c2"),
        tool("t2", 3, "first", "c1"),
    )
    assert shape(made) == [["q", "c1+c2", "first", "second"]]


def test_results_without_ids_come_by_arguments_then_by_order() -> None:
    two = [{"id": "c1", "name": "look", "args": {"n": 1}}, {"id": "c2", "name": "look", "args": {"n": 2}}]
    said = [{"role": "assistant", "tool_calls": two}]
    swapped = (
        tool("t1", 2, "two", gen_ai__tool__call__arguments='{"n": 2}'),
        tool("t2", 3, "one", gen_ai__tool__call__arguments='{"n":1}'),
    )
    assert shape(trace(chat("1", [user("q")], said, 1), *swapped)) == [["q", "c1+c2", "one", "two"]]
    plain = (tool("t1", 2, "one"), tool("t2", 3, "two"))
    assert shape(trace(chat("1", [user("q")], said, 1), *plain)) == [["q", "c1+c2", "one", "two"]]


def test_one_result_answers_its_call_in_every_transcript() -> None:
    again = [{"role": "system", "content": "now"}, user("q"), calls("c1")]
    made = trace(
        chat("1", [user("q")], [calls("c1")], 1), tool("t", 2, "r", "c1"), chat("2", again, [says("a")], 3)
    )
    assert shape(made) == [["q", "c1", "r"], ["now", "q", "c1", "r", "a"]]


def test_runs_with_one_id_in_two_turns_answer_in_order() -> None:
    made = trace(
        chat("1", [user("q")], [calls("call_0")], 1),
        tool("t1", 2, "first", "call_0"),
        chat("2", [], [calls("call_0")], 4),
        tool("t2", 5, "second", "call_0"),
    )
    assert shape(made) == [["q", "call_0", "first", "call_0.2", "second"]]


def test_a_result_is_not_taken_from_another_agent() -> None:
    made = trace(
        agent("a", "r", 1, "a"),
        agent("b", "r", 1, "b"),
        chat("1", [user("qa")], [calls("c1")], 2, "a"),
        chat("2", [user("qb")], [calls("c2")], 3, "b"),
        tool("t", 4, "b's", parent="b"),
    )
    assert shape(made) == [["qa", "c1"], ["qb", "c2", "b's"]]
    assert made.problems == ("call look has no result",)


@pytest.mark.parametrize("inner_parent", ["t1", "r"], ids=["nested", "beside"])
def test_mcp_tool_spans_do_not_double_a_result(inner_parent: str) -> None:
    again = [user("q"), calls("c1"), result("c1", "one"), calls("c2")]
    outer = tool("t1", 2, "one", "c1")
    inner = tool("t2", 2, "one", parent=inner_parent)
    made = trace(chat("1", [user("q")], [calls("c1")], 1), outer, inner, chat("2", again[:3], again[3:], 5))
    assert shape(made) == [["q", "c1", "one", "c2"]]
    assert made.problems == ("call look has no result",)


def test_the_inner_mcp_span_gives_its_result_to_an_outer_one_without() -> None:
    made = trace(
        chat("1", [user("q")], [calls("c1")], 1), tool("t1", 2, None, "c1"), tool("t2", 2, "one", parent="t1")
    )
    assert shape(made) == [["q", "c1", "one"]]


def test_a_wrapper_around_the_same_call_is_one_call() -> None:
    q = [user("q")]
    made = trace(chat("outer", q, [says("a")], 1), chat("inner", q, [says("a")], 2, "outer"))
    assert shape(made) == [["q", "a"]]


def test_a_call_inside_a_tool_inside_a_call_is_another_call() -> None:
    made = trace(
        chat("outer", [user("q")], [calls("c")], 1),
        tool("t", 2, "found", "c", "outer"),
        chat("inner", [user("x")], [says("y")], 3, "t"),
    )
    assert shape(made) == [["q", "c", "found"], ["x", "y"]]


def test_text_and_calls_recorded_as_messages_of_their_own_are_one_turn() -> None:
    given = [user("q"), says("let me see"), calls("c1"), calls("c2"), result("c1", "1"), result("c2", "2")]
    (episode,) = trace(chat("1", given, [says("a")], 1)).episodes
    assert [m.role for m in episode.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert (episode.messages[1].content, len(episode.messages[1].tool_calls)) == ("let me see", 2)


def test_call_ids_that_come_again_are_made_unique_with_their_results() -> None:
    turn = [
        {"role": "assistant", "tool_calls": [{"name": "look", "args": {}}]},
        {"role": "tool", "content": "1"},
    ]
    (episode,) = trace(chat("1", [user("q"), *turn, *turn], [says("a")], 1)).episodes
    ids = [c.id for m in episode.messages for c in m.tool_calls]
    assert len(set(ids)) == 2
    assert [m.tool_call_id for m in episode.messages if m.role == "tool"] == ids


def test_results_without_ids_go_to_the_call_of_their_name() -> None:
    said = {"role": "assistant", "tool_calls": [
        {"id": "c1", "name": "look", "args": {}}, {"id": "c2", "name": "find", "args": {}}]}  # fmt: skip
    given = [
        user("q"),
        said,
        {"role": "tool", "name": "find", "content": "f"},
        {"role": "tool", "content": "l"},
    ]
    (episode,) = trace(chat("1", given, [says("a")], 1)).episodes
    assert episode.messages[2:4] == (
        Message(role="tool", content="l", tool_call_id="c1"),
        Message(role="tool", content="f", tool_call_id="c2"),
    )


def test_ten_thousand_calls_are_one_pass() -> None:
    spans = [chat(f"s{i}", [user(f"q{i}")], [says("a")], i + 1) for i in range(3000)]
    spans += [chat(f"t{i}", [user("q"), calls("c")], [says("a")], i + 1) for i in range(10)]
    spans += [tool(f"x{i}", i, "r") for i in range(7000)]
    assert len(trace(*spans).episodes) == 3010
