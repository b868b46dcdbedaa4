"""Matches, lists, schemas, verdicts and lengths; other components have files of their own."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from conversations import conversation, run, value
from hypothesis import given
from hypothesis import strategies as st

from strop.grade import components
from strop.grade.components import (
    equal,
    equal_normalised,
    length,
    list_overlap,
    set_overlap,
    valid_json,
    verdict,
)
from strop.grade.components.normal import normalise
from strop.grade.components.sets import common_subsequence
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox
from strop.records import Grade

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_every_ready_component_is_exported() -> None:
    assert sorted(components.__all__) == components.__all__
    assert all(callable(getattr(components, name)) for name in components.__all__)


@given(json_values.filter(lambda v: v is not None))
def test_a_value_equals_itself_and_nothing_that_is_written_otherwise(wanted: Any) -> None:
    truth = {"a": {"b": wanted}}
    assert value(equal("x", "a.b"), {"x": json.loads(json.dumps(wanted))}, truth) == 1.0
    for other in ([wanted], {"x": wanted}, json.dumps(wanted) + " ", None):
        assert value(equal("x", "a.b"), {"x": other}, truth) == 0.0


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        (1, 1.0, 1.0),
        (True, 1, 0.0),
        (1, True, 0.0),
        (0, False, 0.0),
        ("1", 1, 0.0),
        (1, "1", 0.0),
        ("true", True, 0.0),
        ("null", "null", 1.0),
        ([1, True], [1.0, True], 1.0),
        ([1, 2], [2, 1], 0.0),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1}, 1.0),
        ({"a": 1, "b": 2}, {"a": 1}, 0.0),
        ("007", "7", 0.0),
        (10**5000, 10**5000, 1.0),
        (10**5000, 10**5000 + 1, 0.0),
    ],
    ids=itertools.count(),
)
def test_equality_is_that_of_json(given: Any, wanted: Any, expected: float) -> None:
    assert value(equal("x", "y"), {"x": given}, {"y": wanted}) == expected


def test_paths_reach_into_answers_and_truths() -> None:
    rollout = {"order": {"items": [{"sku": "A"}, {"sku": "B"}]}, "a.b": "dotted"}
    assert value(equal("order.items.1.sku", "want.0"), rollout, {"want": ["B"]}) == 1.0
    assert value(equal("a.b", "c.d"), rollout, {"c.d": "dotted"}) == 1.0
    for lacking in (
        "order.items.2.sku",
        "order.items.x",
        "order.items.-1.sku",
        "nothing",
        "order.items.1.sku.a",
    ):
        scored = run(equal(lacking, "want"), rollout, {"want": "B"})
        assert scored.score == 0.0 and "is missing from the answer" in scored.feedback


READERS = {
    "equal": equal("x", "y"),
    "equal_normalised": equal_normalised("x", "y"),
    "close_number": components.close_number("x", "y"),
    "close_date": components.close_date("x", "y"),
    "set_overlap": set_overlap("x", "y"),
    "list_overlap": list_overlap("x", "y"),
    "tool_coverage": components.tool_coverage(truth="y"),
    "tool_order": components.tool_order(truth="y"),
    "argument_accuracy": components.argument_accuracy("y"),
    "extra_writes": components.extra_writes("y", writes=["w"]),
    "duplicate_writes": components.duplicate_writes(writes=["w"], truth="y"),
    "language": components.language("x", truth="y"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("truth", [{}, {"y": None}, {"z": 1}], ids=["empty", "null", "other"])
def test_a_missing_truth_is_the_machinerys_failure(name: str, truth: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the ground truth"):
        READERS[name]({"x": None, "messages": [], "tool_calls": []}, truth)


@pytest.mark.parametrize("make", [equal, equal_normalised, components.close_number, components.close_date])
def test_a_null_truth_is_met_by_null_where_that_is_allowed(make: Any) -> None:
    component = make("x", "y", null=True)
    assert value(component, {"x": None}, {"y": None}) == 1.0
    assert value(component, {"x": "05-20"}, {"y": None}) == 0.0
    with pytest.raises(ValueError, match="has no 'y'"):
        component({"x": None}, {})


@given(st.text())
def test_normalising_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(alphabet="Åå\u0301e.-_ ﬁI1\u0345ß\u03a3, 5\u2212\u1e9e"))
def test_normalising_is_idempotent_where_forms_meet(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        ("In  Transit.", "in_transit", 1.0),
        ("in-transit", "IN TRANSIT", 1.0),
        ("Zu\u0308rich", "Zürich", 1.0),
        ("ＦＵＬＬ", "full", 1.0),
        ("STRASSE", "Straße", 1.0),
        ("“Delivered”", "delivered", 1.0),
        ("intransit", "in transit", 0.0),
        ("-5", "5", 0.0),
        ("1.5", "15", 0.0),
        ("1.5", "1 5", 0.0),
        ("\u22125", "-5", 1.0),
        ("!!!", "???", 0.0),
        ("???", "???", 1.0),
        ("", "?", 0.0),
        ("1", 1, 0.0),
        (True, "true", 0.0),
        (["a"], "a", 0.0),
    ],
)
def test_normalised_matches(given: Any, wanted: Any, expected: float) -> None:
    assert value(equal_normalised("x", "y"), {"x": given}, {"y": wanted}) == expected


small = st.lists(st.sampled_from([1, 1.0, True, "1", "a", "A", None, [1], [True], {"k": 1}]), max_size=6)


def key(item: Any) -> str:
    return json.dumps(item).replace("1.0", "1")


@given(small, small)
def test_set_overlap_is_f1_or_jaccard(given: list[Any], wanted: list[Any]) -> None:
    a, b = {key(x) for x in given}, {key(x) for x in wanted}
    f1 = 1.0 if a == b else 2 * len(a & b) / (len(a) + len(b))
    jaccard = 1.0 if a == b else len(a & b) / len(a | b)
    rollout, truth = {"x": given}, {"y": wanted}
    assert value(set_overlap("x", "y"), rollout, truth) == pytest.approx(f1)
    assert value(set_overlap("x", "y", measure="jaccard"), rollout, truth) == pytest.approx(jaccard)
    assert value(set_overlap("x", "y"), {"x": given[::-1]}, truth) == pytest.approx(f1)


def longest(first: list[str], second: list[str]) -> int:
    """By definition: the longest subsequence of the first that is one of the second."""

    def within(part: tuple[str, ...]) -> bool:
        rest = iter(second)
        return all(item in rest for item in part)

    lengths = range(len(first), 0, -1)
    return next((n for n in lengths if any(map(within, itertools.combinations(first, n)))), 0)


letters = st.lists(st.sampled_from("abc"), max_size=7)


@given(letters, letters)
def test_list_overlap_counts_the_longest_common_subsequence(given: list[str], wanted: list[str]) -> None:
    common = longest(given, wanted)
    assert common_subsequence(wanted, given) == common_subsequence(given, wanted) == common
    expected = 1.0 if given == wanted else 2 * common / (len(given) + len(wanted))
    assert value(list_overlap("x", "y"), {"x": given}, {"y": wanted}) == pytest.approx(expected)


def test_lists_can_be_compared_without_case_and_punctuation() -> None:
    rollout, truth = {"x": ["In Transit.", "DELIVERED"]}, {"y": ["in_transit", "delivered"]}
    for make in (set_overlap, list_overlap):
        assert value(make("x", "y"), rollout, truth) == 0.0
        assert value(make("x", "y", normalised=True), rollout, truth) == 1.0


def test_list_feedback_names_what_lacks() -> None:
    said = run(set_overlap("x", "y"), {"x": ["a", "z"]}, {"y": ["a", "b"]}).feedback
    assert said == "x lacks 'b' and has beside 'z'"
    assert "another order" in run(list_overlap("x", "y"), {"x": ["b", "a"]}, {"y": ["a", "b"]}).feedback


@pytest.mark.parametrize("make", [set_overlap, list_overlap])
def test_no_list_scores_nothing_and_a_truth_that_is_none_is_an_error(make: Any) -> None:
    for answer in (None, "ab", {"a": 1}, 1):
        assert value(make("x", "y"), {"x": answer}, {"y": []}) == 0.0
    assert value(make("x", "y"), {"x": []}, {"y": []}) == 1.0
    with pytest.raises(ValueError, match="not a list"):
        make("x", "y")({"x": []}, {"y": "ab"})


SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0}, "s": {"enum": ["a", "b"]}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"n": 1}, 1.0),
        ({"n": 1.0, "s": "a"}, 1.0),
        ({"n": True}, 0.0),
        ({"n": "1"}, 0.0),
        ({"n": -1, "s": "c", "z": 0}, 0.0),
        ({}, 0.0),
        ([], 0.0),
        (None, 0.0),
        ({"n": -(10**5000)}, 0.0),
    ],
    ids=itertools.count(),
)
def test_schema_validity_of_a_field(given: Any, expected: float) -> None:
    assert value(valid_json(SCHEMA, "x"), {"x": given}) == expected


def test_schema_validity_of_the_whole_answer() -> None:
    for final, expected in (
        ('{"n": 3}', 1.0),
        ('{"n": 3, "n": 4}', 0.0),
        ('{"n": NaN}', 0.0),
        ("n is 3", 0.0),
        (None, 0.0),
    ):
        assert value(valid_json(SCHEMA), conversation([], final)) == expected
    assert run(valid_json(SCHEMA, "x"), {"x": {"n": "1"}}).feedback == "x: n: '1' breaks type: 'integer'"


def test_a_schema_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="schema is none"):
        valid_json({"type": "objekt"}, "x")({"x": 1}, {})
    for reference in ("https://example.org/schema.json", "#/$defs/none"):
        with pytest.raises(ValueError, match="can't be resolved"):
            valid_json({"$ref": reference}, "x")({"x": 1}, {})


def test_a_schema_is_checked_inside_the_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text(
        "from strop.grade.components import valid_json\n"
        "from strop.grade.rubric import Component, Rubric\n"
        "checks = Rubric(Component('ok', valid_json({'type': 'integer'}, 'x')))\n"
        "def grade(rollout, ground_truth):\n    return checks(rollout, ground_truth).score\n"
    )
    with Sandbox(load_grader(path), Limits(timeout_s=60, cpu_s=60, workers=1)) as sandbox:
        graded = sandbox.run([({"x": 1}, {}), ({"x": "1"}, {})])
    assert graded == [Grade(score=1.0), Grade(score=0.0)]


def test_a_verdict_is_a_judges_or_an_error() -> None:
    assert value(verdict("tone"), {"llm_judge": {"tone": True}}) == 1.0
    assert run(verdict("tone"), {"llm_judge": {"tone": False}}).feedback == "the judge tone said no"
    for judged in ({}, {"llm_judge": {}}, {"llm_judge": {"tone": None}}, {"llm_judge": {"tone": 1}}):
        with pytest.raises(ValueError, match="no verdict of a judge named 'tone'"):
            verdict("tone")(judged, {})


@pytest.mark.parametrize(
    ("words", "expected"), [(0, 0.0), (1, 0.5), (2, 1.0), (10, 1.0), (11, 0.5), (12, 0.0), (99, 0.0)]
)
def test_length_has_soft_edges(words: int, expected: float) -> None:
    component = length("x", least=2, most=10, edge=2)
    assert value(component, {"x": "wort " * words}) == expected


def test_length_of_characters_and_of_the_final_answer() -> None:
    assert value(length("x", most=3, unit="characters"), {"x": "a b"}) == 1.0
    assert value(length("x", most=3, unit="characters"), {"x": "a bc"}) == 0.0
    assert value(length(most=1), conversation([], "Done.")) == 1.0
    assert value(length(most=1), conversation([], "All done.")) == 0.0
    assert value(length(most=1), conversation([], None)) == 0.0
    for answer in (None, "", 1, ["a"]):
        assert value(length("x", most=5), {"x": answer}) == 0.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: length("x", most=1, least=2), "under least"),
        (lambda: length("x", most=float("nan")), "under least"),
        (lambda: length("x", most=1, edge=-1), "edge"),
        (lambda: length("x", most=1, unit="lines"), "unit"),
        (lambda: set_overlap("x", "y", measure="dice"), "measure"),
        (lambda: components.close_number("x", "y", absolute=-1), "absolute"),
        (lambda: components.close_number("x", "y", relative=float("inf")), "relative"),
        (lambda: components.close_number("x", "y", zero_at=0.5), "zero_at"),
        (lambda: components.close_number("x", "y", decimal=";"), "decimal"),
        (lambda: components.close_date("x", "y", days=float("nan")), "days"),
        (lambda: components.tool_order(), "give the tools' names"),
        (lambda: components.tool_order("a", truth="b"), "give the tools' names"),
        (lambda: components.tool_coverage(), "give the tools' names"),
        (lambda: components.tool_order("a", mode="suffix"), "mode"),
        (lambda: components.forbidden_calls(), "name the tools"),
        (lambda: components.language(expected="tlh"), "known here"),
        (lambda: components.language(expected="de", truth="y"), "not both"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
