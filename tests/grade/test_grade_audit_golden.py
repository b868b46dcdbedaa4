"""Golden cases: what can be written, what is wrong with what can't, and how a grade meets them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import InputError
from strop.grade.audit.golden import Golden, golden_line, parse_golden
from strop.records import Grade

TALK = [
    {"role": "system", "content": "You help."},
    {"role": "user", "content": "Where is parcel 007?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"n": "007"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "{}"},
]
ANSWER = '{"final_status": "delivered", "message": "Hello"}'
TRUTH = {"status": "delivered"}


def line(**changes: Any) -> str:
    said = {"rollout": {"messages": [*TALK, {"role": "assistant", "content": ANSWER}]}, "ground_truth": TRUTH}
    return json.dumps({k: v for k, v in {**said, "score": 0.85, **changes}.items() if v is not None})


def only(text: str) -> Golden:
    (case,) = parse_golden(text)
    return case


def test_a_conversation_becomes_what_each_form_sees() -> None:
    case = only(line(name="late"))
    rollout, truth = case.arguments("rollout", ("final_status", "eta"), {"tone_pass": True})
    assert (rollout["final_status"], rollout["eta"], truth) == ("delivered", None, TRUTH)
    assert rollout["tool_calls"] == [{"name": "lookup", "arguments": {"n": "007"}, "id": "c1"}]
    assert rollout["llm_judge"] == {"tone_pass": True} and len(rollout["messages"]) == 5
    sample, item = case.arguments("sample")
    assert sample["output_text"] == ANSWER and sample["output_json"]["message"] == "Hello"
    assert sample["output_tools"][0]["function"]["name"] == "lookup"
    assert item["status"] == "delivered" and [m["role"] for m in item["messages"]] == ["system", "user"]
    assert case.arguments("openai") == (sample, item)
    seen = case.view()
    assert seen is not None and seen.inquiry == "Where is parcel 007?"
    assert (case.name, case.line, case.expects) == ("late", 1, "0.85")


def test_final_may_stand_apart_and_verdicts_may_be_given() -> None:
    case = only(line(rollout={"messages": TALK, "final": ANSWER, "llm_judge": {"tone_pass": False}}))
    rollout, _ = case.arguments("rollout", ("final_status",), {"tone_pass": True})
    assert rollout["final_status"] == "delivered" and rollout["llm_judge"] == {"tone_pass": False}
    assert rollout["messages"][-1] == {"role": "assistant", "content": ANSWER}
    same = only(
        line(rollout={"messages": [*TALK, {"role": "assistant", "content": ANSWER}], "final": ANSWER})
    )
    assert len(same.arguments("rollout")[0]["messages"]) == 5
    unfinished = only(line(rollout={"messages": TALK}))
    assert unfinished.arguments("sample")[0]["output_text"] == ""


def test_as_the_grader_sees_it() -> None:
    case = only(line(rollout={"final_status": "lost", "tool_calls": []}))
    rollout, truth = case.arguments("rubric")
    assert rollout["final_status"] == "lost" and rollout["messages"] == [] and truth == TRUTH
    assert rollout["usage"] == {"prompt_tokens": 0, "completion_tokens": 0} and case.view() is None
    copied = {"messages": TALK, "tool_calls": [], "tools": [], "usage": {}, "llm_judge": {}, "eta": "x"}
    assert only(line(rollout=copied)).arguments("rollout")[0]["eta"] == "x"
    hosted = only('{"sample": {"output_text": "a"}, "item": {"b": 1}, "score": 1}')
    assert hosted.arguments("sample") == hosted.arguments("openai") == ({"output_text": "a"}, {"b": 1})


def test_a_case_for_the_other_kind_of_grader_says_what_to_write() -> None:
    with pytest.raises(InputError, match="gives rollout, but the grader takes sample and item") as found:
        only(line(rollout={"final_status": "lost"})).arguments("openai")
    assert found.value.where == "line 1" and "messages" in found.value.fix
    with pytest.raises(InputError, match="takes rollout"):
        only('{"sample": {}, "item": {}, "score": 1}').arguments("rubric")


@pytest.mark.parametrize(
    ("bounds", "meets", "misses", "expects"),
    [
        ({"score": 0.85}, [0.85, 0.846, 0.855], [0.84, 0.86, None], "0.85"),
        ({"score": 0.85, "tolerance": 0}, [0.85], [0.8501], "0.85"),
        ({"score": 1}, [1.0, 0.996], [0.99], "1"),
        ({"at_least": 0.5}, [0.5, 1.0], [0.49, None], "at least 0.5"),
        ({"at_most": 0.2}, [0.0, 0.2], [0.21, None], "at most 0.2"),
        ({"at_least": 0.2, "at_most": 0.4}, [0.2, 0.3, 0.4], [0.19, 0.41], "at least 0.2, at most 0.4"),
    ],
)
def test_what_meets_a_case(
    bounds: dict[str, float], meets: list[float], misses: list[float | None], expects: str
) -> None:
    case = only(line(**{"score": None, **bounds}))
    assert case.expects == expects
    assert all(case.holds(Grade(score=s)) for s in meets)
    assert not any(case.holds(Grade(error="x") if s is None else Grade(score=s)) for s in misses)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"rollout": ', "not JSON: Expecting value at character 13"),
        ("[1]", "the line is a JSON object, not list"),
        (line(score=None), "score is missing"),
        (line(at_least=0.5), "not both"),
        (line(score=1.2), "score is 1.2, not a number in [0, 1]"),
        (line(score=True), "score is true"),
        (line(score="0.85"), 'score is "0.85"'),
        (line(score=None, at_least=0.5, at_most=0.4), "at_least 0.5 is over at_most 0.4"),
        (line(scroe=1), "unknown key 'scroe'; known are at_least"),
        (line(ground_truth=None), "ground_truth is missing"),
        (line(ground_truth=[1]), "ground_truth is a JSON object, not list"),
        (line(rollout=None), "rollout is missing"),
        (line(rollout={"messages": 3}), "messages is a list"),
        (line(rollout={"messages": [{"role": "robot"}]}), "message 0: unknown role 'robot'"),
        (line(rollout={"messages": TALK[:2]}), "no assistant message"),
        (line(rollout={"messages": TALK, "final_status": "x"}), "can't have 'final_status'"),
        (line(rollout={"messages": TALK, "final": {"a": 1}}), "write JSON as a string"),
        (line(rollout={"messages": TALK, "llm_judge": {"tone": "yes"}}), "llm_judge is an object"),
        (line(rollout={"messages": TALK, "tools": [{"function": 1}]}), "tool without a name"),
        (line(sample={}), "stand in the place of"),
        ('{"sample": {}, "score": 1}', "item is missing"),
        (line(name=3), "name is a text"),
        (line(ground_truth={"a": "\ud800"}), "surrogates not allowed"),
        (line(score=None)[:-1] + ', "score": NaN}', "NaN is not JSON"),
    ],
)
def test_errors_name_the_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as found:
        parse_golden(f"{line()}\n\n{text}\n", "golden.jsonl")
    assert found.value.where == "golden.jsonl:3" and "line 3: " in found.value.what
    assert said in found.value.what and found.value.exit_code == 2


def test_several_faults_are_said_at_once_and_names_are_unique() -> None:
    with pytest.raises(InputError, match=r"line 1: .*; line 2: .*; line 3: .* \(and 2 more\)"):
        parse_golden("\n".join(["{}"] * 5))
    with pytest.raises(InputError, match="line 2: the name 'a' is taken by line 1"):
        parse_golden(f"{line(name='a')}\n{line(name='a')}")


texts = st.dictionaries(
    st.text(max_size=5), st.one_of(st.text(max_size=9), st.integers(-9, 9), st.none()), max_size=4
)


@given(st.sampled_from(["rollout", "rubric", "sample", "openai"]), texts, texts, st.floats(0, 1))
def test_a_written_line_reads_back(
    form: str, first: dict[str, Any], second: dict[str, Any], score: float
) -> None:
    given_first = {**first, "tool_calls": [], "messages": [], "tools": [], "llm_judge": {}, "usage": {}}
    case = only(golden_line(form, (given_first, second), score, "x"))
    assert case.arguments(form) == (given_first, second)
    assert case.name == "x" and case.holds(Grade(score=score))


@given(st.text(max_size=60))
def test_no_text_is_a_traceback(text: str) -> None:
    try:
        parse_golden(text)
    except InputError as error:
        assert "line " in error.what
