from __future__ import annotations

import json
from typing import Any

import pytest
from grading import turns
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import ConfigError
from strop.grade.extract import RESERVED, View, judged_text, parse_answer, view, view_of_episode
from strop.records import Episode, Message, ToolCall, Usage, canonical_json

FIELDS = ("final_status", "eta", "message")
PROMPT = (Message("system", "s"), Message("user", "first"), Message("user", "Where is it?"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from([*RESERVED, *FIELDS, "other"])


def seen(final: str | None, messages: tuple[Message, ...] = ()) -> View:
    return view(PROMPT, (), messages or turns(final), final, Usage(3, 4), FIELDS)


@given(st.dictionaries(keys, json_values))
def test_a_model_never_writes_its_own_grade(answer: dict[str, Any]) -> None:
    mine, honest = seen(json.dumps(answer)), seen("{}")
    for key in RESERVED & mine.rollout.keys() - {"messages"}:
        assert mine.rollout[key] == honest.rollout[key]
    assert [m["role"] for m in mine.rollout["messages"]] == [m["role"] for m in honest.rollout["messages"]]
    assert {f: mine.rollout[f] for f in FIELDS} == {f: answer.get(f) for f in FIELDS}
    assert mine.forged == (not RESERVED.isdisjoint(answer))
    assert "other" not in mine.rollout
    first, second = mine.arguments("rollout", {"status": "x"}, {"tone": False})
    assert first["llm_judge"] == {"tone": False} and second == {"status": "x"}


@given(st.one_of(st.none(), st.text(), st.binary().map(lambda b: b.decode("latin-1"))))
def test_every_answer_gives_every_field(final: str | None) -> None:
    mine = seen(final)
    assert all(field in mine.rollout for field in FIELDS)
    assert mine.invalid == (final is not None and mine.answer is None)
    canonical_json(mine.rollout)


@given(json_values)
def test_parsing_agrees_with_json(value: Any) -> None:
    parsed, _ = parse_answer(json.dumps(value))
    assert parsed == (value if isinstance(value, dict) else None)


@pytest.mark.parametrize(
    ("answer", "forged"),
    [
        ('{"final_status": "a", "final_status": "b"}', True),
        ('{"final_status": "a", "x": {"y": 1, "y": 2}}', True),
        ('{"final_status": "a", "final_\\u0073tatus": "b"}', True),
        ('{"final_status": NaN}', False),
        ('{"final_status": -Infinity}', False),
        ('{"final_status": 1e999}', False),
        ('{"final_status": "\\ud800"}', False),
        ('[{"final_status": "a"}]', False),
        ('"a"', False),
        ("", False),
        ('{"final_status": "a"', False),
        ('{"final_status": "a"} trailing', False),
        ("[" * 100_000, False),
        ('{"final_status": ' + "9" * 5000 + "}", False),
    ],
)
def test_invalid_answers_have_no_fields(answer: str, forged: bool) -> None:
    mine = seen(answer)
    assert mine.invalid and mine.forged == forged
    assert [mine.rollout[f] for f in FIELDS] == [None, None, None]


def test_strings_stay_strings_and_large_numbers_whole() -> None:
    mine = seen('{"final_status": "00340434161094042557", "eta": 340434161094042557340434161094042557}')
    assert mine.rollout["final_status"] == "00340434161094042557"
    assert mine.rollout["eta"] == 340434161094042557340434161094042557


def test_tool_calls_are_in_order_over_all_turns() -> None:
    messages = (
        Message("assistant", None, (ToolCall("1", "a", '{"x": 1}'), ToolCall("2", "b", "not json"))),
        Message("tool", "{}", tool_call_id="1"),
        Message("assistant", None, (ToolCall("3", "a", "[1]"),)),
        Message("assistant", "{}"),
    )
    assert seen("{}", messages).rollout["tool_calls"] == [
        {"name": "a", "arguments": {"x": 1}, "id": "1"},
        {"name": "b", "arguments": "not json", "id": "2"},
        {"name": "a", "arguments": "[1]", "id": "3"},
    ]


def test_calls_in_the_prompt_are_not_the_models() -> None:
    prompt = (Message("user", "q"), Message("assistant", None, (ToolCall("1", "a", "{}"),)))
    mine = view(prompt, (), (Message("assistant", "{}"),), "{}", Usage(), ())
    assert mine.rollout["tool_calls"] == [] and mine.arguments("sample", {}, {})[0]["output_tools"] == []


def test_a_reserved_field_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="llm_judge"):
        view(PROMPT, (), (), None, Usage(), ("llm_judge",))


def test_the_final_answer_of_an_episode_is_its_last_turn() -> None:
    whole = Episode((*PROMPT, *turns('{"eta": "x"}')))
    assert view_of_episode(whole, Usage(), FIELDS).rollout["eta"] == "x"
    assert view_of_episode(Episode((*PROMPT, *turns(None))), Usage(), FIELDS).final is None
    assert view_of_episode(Episode(()), Usage(), FIELDS).final is None


def test_openai_form() -> None:
    sample, item = seen('{"eta": "x"}').arguments("sample", {"status": "y", "messages": "?"}, {"tone": True})
    assert sample["output_text"] == '{"eta": "x"}' and sample["output_json"] == {"eta": "x"}
    assert [c["function"]["name"] for c in sample["output_tools"]] == ["lookup_tracking", "lookup_eta"]
    assert sample["choices"][0]["message"]["content"] == '{"eta": "x"}'
    assert item["status"] == "y" and item["messages"][-1] == {"role": "user", "content": "Where is it?"}


def test_judges_read_a_field_or_the_whole() -> None:
    mine = seen('{"message": "Hello", "eta": {"b": 1, "a": 2}}')
    assert mine.inquiry == "Where is it?"
    assert judged_text(mine, "message") == "Hello" and judged_text(mine, "eta") == '{"a":2,"b":1}'
    assert judged_text(mine, "final_status") is None and judged_text(mine, None) == mine.final
    assert judged_text(seen("nonsense"), "message") is None and judged_text(seen(None), None) is None


def test_the_subject_ignores_usage_and_follows_the_rest() -> None:
    mine, other = seen("{}"), view(PROMPT, (), turns("{}"), "{}", Usage(9, 9), FIELDS)
    assert mine.subject({"a": 1}) == other.subject({"a": 1}) != mine.subject({"a": 2})
    assert mine.subject({}) != seen('{"x": 1}').subject({})
