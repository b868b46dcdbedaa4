"""Tool calls: how results pair with calls, and what coverage, order, arguments and repetition score."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from conversations import Made, conversation, run, value
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.components import (
    argument_accuracy,
    duplicate_writes,
    extra_writes,
    forbidden_calls,
    refused,
    tool_coverage,
    tool_order,
)
from strop.grade.components.assignment import assign
from strop.grade.components.calls import effective_calls
from strop.records import JsonObject

ERROR = '{"error":"not found"}'


def called(*names: str) -> JsonObject:
    return conversation([Made(name) for name in names])


def gold(*calls: tuple[str, Any]) -> JsonObject:
    return {"actions": [{"name": name, "arguments": arguments} for name, arguments in calls]}


def names_of(rollout: JsonObject) -> list[str]:
    return [call.name for call in effective_calls(rollout)]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("Error: no seats", True),
        ("  Error", True),
        (ERROR, True),
        ('{"status":409,"error":{"code":1}}', True),
        ('{"error":null,"booked":true}', False),
        ('{"error":false}', False),
        ('{"error":""}', False),
        ('{"errors":0}', False),
        ('[{"error":"x"}]', False),
        ('{"message":"\\"error\\": x"}', False),
        ('{"error": "cut off', False),
        ("", False),
        ("No error", False),
        ("{" * 100_000 + '"error"', False),
    ],
    ids=itertools.count(),
)
def test_what_a_refusal_looks_like(result: str, expected: bool) -> None:
    assert refused(result) is expected


def test_another_predicate_can_tell_refusals() -> None:
    rollout = conversation([Made("pay", {}, "DECLINED"), Made("pay", {}, "Error 0: fine")])
    declined = tool_coverage("pay", "pay", refused=lambda result: result == "DECLINED")
    assert value(declined, rollout) == 0.5
    assert value(tool_coverage("pay", "pay"), rollout) == 0.5
    assert value(tool_coverage("pay", "pay", refused=lambda result: False), rollout) == 1.0


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("call_id", [None, "call_1"])
def test_results_pair_in_order_where_ids_repeat(together: bool, call_id: str | None) -> None:
    made = [Made("a", {}, ERROR), Made("b"), Made("c", {}, ERROR), Made("d")]
    assert names_of(conversation(made, call_id=call_id, together=together)) == ["b", "d"]


def test_results_in_another_order_pair_by_id() -> None:
    rollout = conversation([Made("a", {}, ERROR), Made("b")], together=True)
    first, second = (m for m in rollout["messages"] if m["role"] == "tool")
    rollout["messages"][3:5] = [second, first]
    assert names_of(rollout) == ["b"]


@pytest.mark.parametrize("call_id", [None, "call_1"])
def test_a_call_without_a_result_shifts_no_other(call_id: str | None) -> None:
    made = [Made("a", {}, None), Made("b", {}, ERROR), Made("c"), Made("d", {}, None)]
    rollout = conversation(made, call_id=call_id)
    # A user's word between them ends the first turn.
    rollout["messages"].insert(3, {"role": "user", "content": "and?"})
    assert names_of(rollout) == ["a", "c", "d"]


def test_calls_of_the_prompt_are_not_the_rollouts() -> None:
    rollout = conversation([Made("a", {}, ERROR), Made("b")])
    earlier = conversation([Made("z", {}, ERROR), Made("a")])
    rollout["messages"] = [*earlier["messages"], *rollout["messages"]]
    assert names_of(rollout) == ["b"]
    del rollout["tool_calls"]
    assert names_of(rollout) == ["a", "b"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=6), st.booleans())
def test_refused_calls_are_as_if_never_made(calls: list[tuple[str, bool]], together: bool) -> None:
    made = [Made(name, {}, ERROR if fails else "{}") for name, fails in calls]
    rollout = conversation(made, together=together)
    without = conversation([one for one in made if one.result != ERROR])
    truth = {"actions": [{"name": "a"}, {"name": "b"}], "order": ["a", "b"]}
    for component in (
        tool_coverage(truth="actions"),
        tool_order("a", "b"),
        tool_order("a", "b", mode="subsequence", partial=True),
        argument_accuracy("actions", extra=True),
        forbidden_calls("c"),
        extra_writes("actions", writes="abc"),
        duplicate_writes(writes="abc"),
    ):
        assert value(component, rollout, truth) == value(component, without, truth)


def test_coverage_asks_for_writes_and_leaves_reads_free() -> None:
    truth = {"actions": [{"name": "read"}, {"name": "write", "kwargs": {"n": 1}}, {"name": "write"}]}
    writes = tool_coverage(truth="actions", writes=["write"])
    assert value(writes, called("write", "write"), truth) == 1.0
    assert value(writes, called("read", "write"), truth) == 0.5
    assert value(writes, called(), truth) == 0.0
    assert value(writes, called(), {"actions": [{"name": "read"}]}) == 1.0
    both = tool_coverage(truth="actions", writes=["write"], reads=True)
    assert value(both, called("write", "write"), truth) == pytest.approx(2 / 3)
    assert value(tool_coverage(truth="actions"), called("write", "write"), truth) == pytest.approx(2 / 3)
    said = run(tool_coverage("read", "write", "write"), called("read")).feedback
    assert said == "not called: 'write (2 times)'"


@pytest.mark.parametrize(
    ("names", "prefix", "subsequence", "share"),
    [
        (("a", "b"), 1.0, 1.0, 1.0),
        (("a", "b", "c"), 1.0, 1.0, 1.0),
        (("a", "c", "b"), 0.0, 1.0, 0.5),
        (("c", "a", "b"), 0.0, 1.0, 0.0),
        (("b", "a"), 0.0, 0.0, 0.0),
        (("a",), 0.0, 0.0, 0.5),
        ((), 0.0, 0.0, 0.0),
    ],
)
def test_order(names: tuple[str, ...], prefix: float, subsequence: float, share: float) -> None:
    truth = {"names": ["a", "b"], "calls": [{"name": "a", "kwargs": {}}, {"name": "b"}]}
    rollout = called(*names)
    for order in (tool_order("a", "b"), tool_order(truth="names"), tool_order(truth="calls")):
        assert value(order, rollout, truth) == prefix
    assert value(tool_order("a", "b", mode="subsequence"), rollout) == subsequence
    assert value(tool_order(truth="names", partial=True), rollout, truth) == share


def test_a_forbidden_call_scores_nothing() -> None:
    component = forbidden_calls("wipe", "drop")
    assert value(component, called("read", "write")) == 1.0
    assert value(component, conversation([Made("wipe", {}, ERROR)])) == 1.0
    assert run(component, called("wipe", "read", "wipe")).feedback == "forbidden: 'wipe (2 times)'"
    assert value(component, called("drop")) == 0.0


def test_writes_beside_the_gold_ones_cost() -> None:
    truth = gold(("write", {"n": 1}), ("read", {}))
    component = extra_writes("actions", writes=["write", "send"])
    assert value(component, called(), truth) == 1.0
    assert value(component, called("write", "read", "read", "read"), truth) == 1.0
    assert value(component, called("write", "write"), truth) == 0.5
    assert value(component, called("send", "write", "send"), truth) == pytest.approx(1 / 3)
    assert value(component, called("send"), truth) == 0.0


def test_duplicate_writes_are_equal_calls() -> None:
    component = duplicate_writes(writes=["write"])
    one, other = Made("write", {"a": 1, "b": [1, {"c": 2, "d": 3}]}), Made("write", {"a": 2})
    turned = Made("write", '{"b": [1.0, {"d": 3, "c": 2}], "a": 1}')
    assert value(component, conversation([one, other, Made("read"), Made("read")])) == 1.0
    assert value(component, conversation([one, other, turned])) == 0.5
    assert value(component, conversation([one, turned, one])) == pytest.approx(1 / 3)
    assert value(component, conversation([Made("write", {"a": 1}), Made("write", {"a": True})])) == 1.0
    assert value(component, conversation([Made("write", "oops"), Made("write", "oops")])) == 0.5
    twice = gold(("write", {"a": 2}), ("write", {"a": 2}))
    allowing = duplicate_writes(writes=["write"], truth="actions")
    assert value(allowing, conversation([other, other]), twice) == 1.0
    assert value(allowing, conversation([other, other, other]), twice) == 0.5
    assert value(allowing, conversation([other, other]), gold()) == 0.5


def test_argument_accuracy_by_call() -> None:
    truth = gold(("w", {"a": 1, "b": "x", "c": [1, {"d": 2}], "e": None}))
    right = {"a": 1, "b": "x", "c": [1, {"d": 2}], "e": None}
    component, strict = argument_accuracy("actions"), argument_accuracy("actions", strict=True)

    def both(arguments: Any) -> tuple[float, float]:
        rollout = conversation([Made("w", arguments)])
        return value(component, rollout, truth), value(strict, rollout, truth)

    assert both(right) == (1.0, 1.0)
    assert both({**right, "z": 1}) == (1.0, 0.8)
    assert both({**right, "c": [1, {"d": 2, "z": 0}]}) == (1.0, 0.75)
    assert both({**right, "a": True}) == (0.75, 0.75)
    assert both({**right, "a": "1"}) == (0.75, 0.75)
    assert both({k: v for k, v in right.items() if k != "e"}) == (0.75, 0.75)
    assert both({}) == (0.0, 0.0)
    assert both("oops") == both('["a"]') == both("3") == (0.0, 0.0)
    assert value(component, conversation([Made("v", right)]), truth) == 0.0


def test_argument_accuracy_over_several_calls() -> None:
    truth = gold(("w", {"a": 1}), ("w", {"a": 2}), ("v", {"b": 1}))
    one, two, third = Made("w", {"a": 1}), Made("w", {"a": 2}), Made("v", {"b": 1})
    for order in itertools.permutations([one, two, third]):
        assert value(argument_accuracy("actions"), conversation(order), truth) == 1.0
    part = conversation([two, Made("u")])
    assert value(argument_accuracy("actions"), part, truth) == pytest.approx(1 / 3)
    assert value(argument_accuracy("actions", missing=False), part, truth) == 1.0
    assert value(argument_accuracy("actions", extra=True), part, truth) == 0.25
    assert value(argument_accuracy("actions", missing=False, extra=True), part, truth) == 0.5
    assert value(argument_accuracy("actions", names=["w"], extra=True), part, truth) == 0.5
    nothing = conversation([])
    assert value(argument_accuracy("actions", missing=False), nothing, truth) == 0.0
    assert value(argument_accuracy("actions"), nothing, gold()) == 1.0
    assert value(argument_accuracy("actions", extra=True), part, gold()) == 0.0
    assert value(argument_accuracy("actions"), conversation([Made("w", "oops")]), gold(("w", {}))) == 0.0


def test_argument_feedback_names_what_is_wrong() -> None:
    truth = gold(("w", {"a": 1, "b": 2}), ("v", {}))
    said = run(argument_accuracy("actions"), conversation([Made("w", {"a": 3})]), truth).feedback
    assert said == "w: a is 3, expected 1; b is missing, expected 2; no v for {}"


def test_gold_calls_in_each_spelling() -> None:
    rollout = conversation([Made("w", {"a": 1})])
    for call in ({"kwargs": {"a": 1}}, {"arguments": {"a": 1}}, {"arguments": '{"a": 1}'}, {}):
        assert value(argument_accuracy("x.y"), rollout, {"x": {"y": [{"name": "w", **call}]}}) == 1.0


@pytest.mark.parametrize(
    "actions",
    [{"name": "w"}, "w", [None], ["w"], [{"kwargs": {}}], [{"name": 1}], [{"name": "w", "arguments": [1]}]],
    ids=itertools.count(),
)
def test_gold_calls_that_are_none_are_an_error(actions: Any) -> None:
    with pytest.raises(ValueError, match=r"the ground truth's '?actions"):
        argument_accuracy("actions")(called("w"), {"actions": actions})


json_leaves = st.sampled_from([1, 2, True, "1", "x", None, [1], {"k": 1}])
arguments = st.dictionaries(st.sampled_from("abc"), json_leaves, max_size=3)
calls = st.lists(st.tuples(st.sampled_from(["w", "v"]), arguments), max_size=4)


def turned(value: Any) -> Any:
    """The same JSON with its keys the other way round."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


@given(calls, calls)
def test_key_order_and_call_order_are_free(wanted: list[Any], made: list[Any]) -> None:
    truth = gold(*wanted)
    there = conversation([Made(name, given) for name, given in made])
    back = conversation([Made(name, json.dumps(turned(given), indent=1)) for name, given in reversed(made)])
    for component in (
        argument_accuracy("actions", extra=True, strict=True),
        argument_accuracy("actions"),
        duplicate_writes(writes=["w", "v"]),
        extra_writes("actions", writes=["w"]),
        tool_coverage(truth="actions"),
    ):
        assert value(component, there, truth) == pytest.approx(value(component, back, truth))


@given(calls, calls)
def test_one_more_gold_call_never_lowers_accuracy(wanted: list[Any], made: list[Any]) -> None:
    if not wanted:
        return
    before = [Made(name, given) for name, given in made]
    after = [*before, Made(*wanted[-1])]
    component = argument_accuracy("actions")
    truth = gold(*wanted)
    assert (
        value(component, conversation(after), truth) >= value(component, conversation(before), truth) - 1e-12
    )
    replay = conversation([Made(name, given) for name, given in wanted])
    assert value(argument_accuracy("actions", extra=True, strict=True), replay, truth) == 1.0


@given(
    st.integers(1, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=columns, max_size=columns),
            min_size=1,
            max_size=4,
        )
    )
)
def test_the_assignment_is_the_best_of_all(worth: list[list[float]]) -> None:
    rows, columns = len(worth), len(worth[0])
    chosen = assign(worth)
    taken = [c for c in chosen if c is not None]
    assert len(taken) == len(set(taken)) == min(rows, columns)
    reached = sum(worth[r][c] for r, c in enumerate(chosen) if c is not None)
    if rows <= columns:
        best = max(
            sum(worth[r][c] for r, c in enumerate(order))
            for order in itertools.permutations(range(columns), rows)
        )
    else:
        best = max(
            sum(worth[r][c] for c, r in enumerate(order))
            for order in itertools.permutations(range(rows), columns)
        )
    assert reached == pytest.approx(best)
