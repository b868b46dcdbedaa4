"""Answers and calls of any shape: no component raises for them, and none gives full credit by accident."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from conversations import conversation, run, value
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.components import (
    argument_accuracy,
    close_date,
    close_number,
    duplicate_writes,
    equal,
    equal_normalised,
    extra_writes,
    forbidden_calls,
    grounded,
    language,
    length,
    list_overlap,
    set_overlap,
    tool_coverage,
    tool_order,
    valid_json,
    verdict,
)
from strop.grade.rubric import ScoreFunction
from strop.records import JsonObject

TRUTH: JsonObject = {
    "number": 1,
    "text": "delivered",
    "date": "2024-05-20",
    "list": ["a", "b"],
    "language": "de",
    "flag": True,
    "actions": [{"name": "write", "arguments": {"a": 1}}, {"name": "read", "kwargs": {}}],
}
OF_ANSWERS: dict[str, ScoreFunction] = {
    "equal number": equal("x", "number"),
    "equal flag": equal("x", "flag"),
    "equal text": equal("x", "text"),
    "equal_normalised": equal_normalised("x", "text"),
    "close_number": close_number("x", "number", absolute=1, relative=1, zero_at=5),
    "close_date": close_date("x", "date", days=3, zero_at=2),
    "set_overlap": set_overlap("x", "list"),
    "jaccard": set_overlap("x", "list", measure="jaccard", normalised=True),
    "list_overlap": list_overlap("x", "list", normalised=True),
    "valid_json": valid_json({"type": "object", "required": ["a"]}, "x"),
    "length": length("x", most=5, edge=3),
    "language": language("x", truth="language"),
    "grounded": grounded("x"),
}
OF_CALLS: dict[str, ScoreFunction] = {
    "tool_coverage": tool_coverage(truth="actions"),
    "tool_order": tool_order(truth="actions", mode="subsequence", partial=True),
    "forbidden_calls": forbidden_calls("wipe"),
    "extra_writes": extra_writes("actions", writes=["write"]),
    "duplicate_writes": duplicate_writes(writes=["write"], truth="actions"),
    "argument_accuracy": argument_accuracy("actions", extra=True),
    "valid_json": valid_json({}),
    "length": length(most=9),
    "language": language(),
    "grounded": grounded(),
}


def deep(levels: int, leaf: Any = 1) -> Any:
    for level in range(levels):
        leaf = [leaf] if level % 2 else {"a": leaf}
    return leaf


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 2, 10**40, 10**5000, -(10**400), 1.5, 1e308, float("nan"), float("inf"),
    "", " ", "\x00", "1", "NaN", "Infinity", "-inf", "true", "null", "1e999999999",
    "9" * 10_000, "." * 10_000, "1," * 5_000, "- " * 5_000, "\ud800", "\u202e1", "﷽" * 1000,
    "0" * 100_000 + "1", "'" * 10_000, "1:2" * 3000,
    [], [[]], [None], ["1"], [True], ["a", "b", []], ["a"] * 10_000, {}, {"a": {}}, {"x": 1}, {"": None},
    [float("nan")], deep(600), deep(900), [deep(900)] * 2, {"type": "object"}, (1, 2), b"bytes", {1: 2},
)  # fmt: skip


@pytest.mark.parametrize("name", OF_ANSWERS)
def test_no_answer_breaks_a_component(name: str) -> None:
    for answer in ODD:
        scored = run(OF_ANSWERS[name], {"x": answer, "messages": []}, TRUTH)
        assert scored.feedback.isprintable() and len(scored.feedback) < 2_000
        scored.feedback.encode()  # a lone surrogate of the model's would raise


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["a", "b", "delivered"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


@given(anything)
def test_no_json_breaks_a_component(answer: Any) -> None:
    for component in OF_ANSWERS.values():
        run(component, {"x": answer, "messages": []}, TRUTH)


# What is right by each component; any other odd answer must not be.
RIGHT = {
    "equal number": (1, 1.0),
    "equal flag": (True,),
    "close_number": (0, 1, 2, 1.5, "1"),
    "valid_json": ({"a": {}},),
}


@pytest.mark.parametrize("name", sorted(OF_ANSWERS.keys() - {"length", "language", "grounded"}))
def test_no_full_credit_by_accident(name: str) -> None:
    for answer in ODD:
        right = any(type(answer) is type(r) and answer == r for r in RIGHT.get(name, ()))
        full = value(OF_ANSWERS[name], {"x": answer, "messages": []}, TRUTH) == 1.0
        assert full == right, repr(answer)[:60] if not isinstance(answer, int) else "an integer"


MESSAGES: tuple[Any, ...] = (
    None,
    "messages",
    [None],
    ["text"],
    [{}],
    [{"role": "assistant"}],
    [{"role": "assistant", "tool_calls": None}, {"role": "tool"}],
    [{"role": "assistant", "tool_calls": "x"}, {"role": "tool", "content": None, "tool_call_id": None}],
    [{"role": "assistant", "tool_calls": [None, {}, {"function": None}, {"function": {"name": 3}}, "x"]}],
    [{"role": "assistant", "content": [{"type": "text", "text": None}, None, 3, {"type": "image_url"}]}],
    [{"role": "assistant", "content": {"text": "x"}}, {"role": "user", "content": 3}],
    [{"role": "tool", "content": "Error", "tool_call_id": "never made"}],
    [{"role": "tool", "content": "{" * 50_000}, {"role": "tool", "content": "[" * 50_000}],
    [{"role": ["assistant"], "content": "x"}],
)
CALLS: tuple[Any, ...] = (
    None,
    [],
    "calls",
    [None, "x", 3, [], {}],
    [{"name": None}, {"name": 3, "arguments": {}}, {"arguments": {"a": 1}}],
    [{"name": "write", "arguments": "{oops"}],
    [{"name": "write", "arguments": None}],
    [{"name": "write", "arguments": [1]}],
    [{"name": "write", "arguments": "[" * 50_000}],
    [{"name": "write", "arguments": '{"a": 1, "b": ' + "9" * 5000 + "}"}],
    [{"name": "write", "arguments": {"a": True}}, {"name": "write", "arguments": {"a": "1"}}],
    [{"name": "write", "arguments": {"a": deep(900)}}] * 3,
    [{"name": "\ud800\n", "arguments": {"a": 10**5000}}],
)


@pytest.mark.parametrize("name", OF_CALLS)
def test_no_conversation_breaks_a_component(name: str) -> None:
    for messages, calls in itertools.product(MESSAGES, CALLS):
        rollout = {"messages": messages} if calls is None else {"messages": messages, "tool_calls": calls}
        scored = run(OF_CALLS[name], rollout, TRUTH)
        scored.feedback.encode()  # a lone surrogate of the model's would raise
        if name in ("tool_coverage", "argument_accuracy", "tool_order"):
            assert scored.score < 1.0


def test_raw_arguments_are_no_arguments() -> None:
    right = {"name": "write", "arguments": {"a": 1}}
    component = argument_accuracy("actions", names=["write"])
    assert value(component, {"tool_calls": [right]}, TRUTH) == 1.0
    for raw in ("{oops", "", "a=1", '"a"', '[{"a": 1}]', None, 1, True, [], [{"a": 1}]):
        assert value(component, {"tool_calls": [{**right, "arguments": raw}]}, TRUTH) == 0.0


def test_a_verdict_in_the_answer_is_none() -> None:
    rollout = conversation([], '{"llm_judge": {"tone": true}}', ["x"], verdicts={"tone": False})
    assert value(verdict("tone"), rollout) == 0.0


def test_long_answers_do_not_stall_a_component() -> None:
    """An answer that takes the grader longer than its time limit would be no score at all."""
    many = ["a", "b"] * 50_000
    texts = (
        "word " * 50_000,
        "9" * 100_000,
        "1,2." * 50_000,
        "12 " * 50_000,
        "a1_" * 50_000,
        "\u0301" * 50_000,
    )
    calls = [{"name": "write", "arguments": {"a": i}} for i in range(3_000)]
    for name, component in OF_ANSWERS.items():
        for answer in (many, *texts):
            started = time.process_time()
            run(component, {"x": answer, "messages": []}, TRUTH)
            assert time.process_time() - started < 5, name
    for name, component in OF_CALLS.items():
        started = time.process_time()
        results = [{"role": "tool", "content": json.dumps(c)} for c in calls]
        run(component, {"tool_calls": calls, "messages": results}, TRUTH)
        assert time.process_time() - started < 5, name
