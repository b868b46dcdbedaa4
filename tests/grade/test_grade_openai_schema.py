from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import ConfigError
from strop.grade.openai.schema import (
    MAX_SOURCE_BYTES,
    LabelModel,
    Multi,
    PythonGrader,
    ScoreModel,
    StringCheck,
    parse_grader,
)

CHECK: dict[str, Any] = {
    "type": "string_check", "name": "check", "input": "{{sample.output_text}}", "reference": "{{item.label}}",
    "operation": "eq",
}  # fmt: skip
SIMILAR: dict[str, Any] = {
    "type": "text_similarity", "name": "similar", "input": "{{sample.output_text}}",
    "reference": "{{ item.r }}", "evaluation_metric": "fuzzy_match", "pass_threshold": 0.8,
}  # fmt: skip
# The examples of the OpenAPI document.
SCORE: dict[str, Any] = {
    "type": "score_model",
    "name": "score",
    "model": "gpt-5-mini",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Reference: {{item.label}}\nAnswer: {{sample.output_text}}"},
                {"type": "input_image", "image_url": "https://example.com/reference.png", "file_id": None,
                 "detail": "auto"},
            ],
        }
    ],
    "sampling_params": {"temperature": 1, "top_p": 1, "seed": 42, "max_completions_tokens": 32768,
                        "reasoning_effort": "medium"},
}  # fmt: skip
LABEL: dict[str, Any] = {
    "type": "label_model",
    "name": "label",
    "model": "gpt-4o-2024-08-06",
    "input": [
        {
            "type": "message",
            "role": "system",
            "content": {"type": "input_text", "text": "Classify: {{item.r}}"},
        }
    ],
    "passing_labels": ["positive"],
    "labels": ["positive", "neutral", "negative"],
}
PYTHON: dict[str, Any] = {
    "type": "python", "name": "python", "source": "def grade(sample, item):\n    return 1.0\n",
    "image_tag": "2025-05-08",
}  # fmt: skip
MULTI: dict[str, Any] = {
    "type": "multi", "name": "multi",
    "graders": {"a": CHECK, "b": SIMILAR, "c": LABEL, "d": PYTHON, "e": SCORE},
    "calculate_output": "0.5 * a + 0.5 * b * max(c, d) * e",
}  # fmt: skip
ALL = [CHECK, SIMILAR, SCORE, LABEL, PYTHON, MULTI]


def refusal(raw: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_grader(raw)
    return caught.value


def without(raw: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in raw.items() if k != key}


@pytest.mark.parametrize("raw", ALL)
def test_each_type_is_read_and_written_again(raw: dict[str, Any]) -> None:
    grader = parse_grader(raw)
    assert grader.name == raw["name"] and grader.__struct_config__.tag == raw["type"]
    written = msgspec.to_builtins(grader)
    assert parse_grader(written) == grader
    if raw is not SCORE and raw is not MULTI:
        assert written == raw


def test_graders_of_a_multi_may_be_an_object_a_list_or_one() -> None:
    outer = {"type": "multi", "name": "m", "calculate_output": "check + similar"}
    as_list = parse_grader({**outer, "graders": [CHECK, SIMILAR]})
    as_object = parse_grader({**outer, "graders": {"check": CHECK, "similar": SIMILAR}})
    assert isinstance(as_list, Multi) and as_list == as_object
    as_one = parse_grader({**outer, "calculate_output": "check", "graders": CHECK})
    assert isinstance(as_one, Multi) and list(as_one.graders) == ["check"]
    # In an object the key counts, not the grader's own name.
    keyed = parse_grader({**outer, "calculate_output": "x", "graders": {"x": CHECK, "type": SIMILAR}})
    assert isinstance(keyed, Multi) and list(keyed.graders) == ["x", "type"]


def test_names_may_be_missing_where_the_guide_leaves_them_out() -> None:
    python = parse_grader(without(PYTHON, "name"))
    assert isinstance(python, PythonGrader) and python.name == "python"
    multi = parse_grader({**without(MULTI, "name"), "invalid_grade": 0.0})
    assert isinstance(multi, Multi) and multi.name == "multi"
    assert "name" in refusal(without(CHECK, "name")).what


def test_defaults_and_nulls() -> None:
    score = parse_grader({**SCORE, "range": None, "sampling_params": None})
    assert isinstance(score, ScoreModel) and score.bounds == (0.0, 1.0)
    ranged = parse_grader({**SCORE, "range": [1, 10]})
    assert isinstance(ranged, ScoreModel) and ranged.bounds == (1.0, 10.0)
    assert isinstance(parse_grader(LABEL), LabelModel) and isinstance(parse_grader(CHECK), StringCheck)


def user(content: Any, role: str = "user") -> dict[str, Any]:
    return {**SCORE, "input": [{"role": role, "content": content}]}


@pytest.mark.parametrize(
    ("raw", "what", "where"),
    [
        ([], "JSON object", "$"),
        (without(CHECK, "type"), "required field `type`", "$"),
        ({**CHECK, "type": "exact"}, "Invalid value 'exact'", "$.type"),
        ({**CHECK, "operation": "neq"}, "Invalid enum value 'neq'", "$.operation"),
        ({**CHECK, "input": 3}, "Expected `str`, got `int`", "$.input"),
        ({**CHECK, "referenc": ""}, "unknown field `referenc`", "$"),
        ({**CHECK, "input": "{{ label }}"}, "names no variable", "$.input"),
        ({**SIMILAR, "reference": "{{ item.a"}, "never closed", "$.reference"),
        ({**SIMILAR, "evaluation_metric": "rouge_6"}, "Invalid enum value 'rouge_6'", "$.evaluation_metric"),
        ({**SCORE, "input": []}, "needs a message", "$.input"),
        ({**SCORE, "range": [0]}, "length 2", "$.range"),
        ({**SCORE, "range": [1, 1]}, "low before high", "$.range"),
        ({**SCORE, "range": [0, float("inf")]}, "low before high", "$.range"),
        ({**SCORE, "sampling_params": {"temp": 1}}, "unknown field `temp`", "$.sampling_params"),
        (user("x", "tool"), "Invalid enum value 'tool'", "$.input[0].role"),
        (user([{"type": "input_text", "text": "{{bad}}"}]), "names no variable", "$.input[0].content"),
        (user(["ok", "{{bad}}"]), "names no variable", "$.input[0].content[1]"),
        (user([{"type": "input_video"}]), "input_video", "$.input[0].content[0].type"),
        ({**LABEL, "passing_labels": ["good"]}, "'good' is none of the labels", "$.passing_labels"),
        ({**LABEL, "labels": [], "passing_labels": []}, "distinct", "$.labels"),
        ({**LABEL, "labels": ["positive", "positive"]}, "distinct", "$.labels"),
        ({**PYTHON, "source": "x = 1"}, "no function named grade", "$.source"),
        (
            {**PYTHON, "source": "class grade: pass\nclass A:\n def grade(a, b): pass"},
            "no function",
            "$.source",
        ),
        ({**PYTHON, "source": "def grade(sample): return 1"}, "two arguments", "$.source"),
        ({**PYTHON, "source": "def grade(a, b, c): return 1"}, "two arguments", "$.source"),
        ({**PYTHON, "source": "def grade(a, b) return 1"}, "not Python", "$.source"),
        ({**PYTHON, "source": "\0"}, "not Python", "$.source"),
        ({**MULTI, "graders": {}}, "at least one", "$.graders"),
        ({**MULTI, "graders": "a"}, "object of graders", "$.graders"),
        ({**MULTI, "graders": [CHECK, CHECK]}, "two graders are named 'check'", "$.graders[1]"),
        ({**MULTI, "graders": {"a": MULTI}}, "can't contain another", "$.graders.a"),
        ({**MULTI, "graders": {"a b": {**CHECK, "input": 1}}}, "got `int`", "$.graders['a b'].input"),
        ({**MULTI, "graders": {"a": CHECK, "b": {}}}, "required field `type`", "$.graders.b"),
        ({**MULTI, "calculate_output": "a + f"}, "names 'f'", "$.calculate_output"),
        ({**MULTI, "calculate_output": "a +"}, "can't be read", "$.calculate_output"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(raw: object, what: str, where: str) -> None:
    error = refusal(raw)
    assert what in error.what and error.where == where and error.exit_code == 2


def test_the_documents_own_multi_example_is_refused_for_what_is_wrong_with_it() -> None:
    example = {
        "type": "multi",
        "name": "example multi grader",
        "graders": [
            {**SIMILAR, "name": "example text similarity grader"},
            {**CHECK, "name": "Example string check grader"},
        ],
        "calculate_output": "0.5 * text_similarity_score +  0.5 * string_check_score)",
    }
    assert "')' at character 55" in refusal(example).what
    closed = {**example, "calculate_output": "0.5 * text_similarity_score"}
    assert "'text_similarity_score'" in refusal(closed).what
    assert "example text similarity grader" in refusal(closed).fix


def test_sources_stay_under_256_kb() -> None:
    def padded(size: int) -> dict[str, Any]:
        return {**PYTHON, "source": PYTHON["source"] + "#" * (size - len(PYTHON["source"]))}

    parse_grader(padded(MAX_SOURCE_BYTES - 1))
    error = refusal(padded(MAX_SOURCE_BYTES))
    assert "256,000" in error.what and error.where == "$.source"
    assert "256,000" in refusal({**PYTHON, "source": PYTHON["source"] + "#é" * 90_000}).what


@pytest.mark.parametrize(
    "source", ["(" * 200_000, "-" * 100_000 + "1", "a" + ".b" * 50_000, "[" * 200 + "]" * 200]
)
def test_sources_that_nest_too_deeply_are_an_error(source: str) -> None:
    assert "source" in refusal({**PYTHON, "source": source}).what


@pytest.mark.parametrize(
    "source",
    ["grade = lambda s, i: 1", "def grade(s, i, c=1): return 1", "def grade(*a): return 1",
     "from numpy import sum as grade", "if True:\n    def grade(s, i): return 1"],
)  # fmt: skip
def test_grade_may_be_bound_in_other_ways(source: str) -> None:
    assert isinstance(parse_grader({**PYTHON, "source": source}), PythonGrader)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(ALL), st.data())
def test_any_json_is_a_grader_or_an_error(raw: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(raw)))
    try:
        grader = parse_grader({**raw, key: data.draw(json_values)})
    except ConfigError as error:
        assert error.where.startswith("$")
        return
    assert parse_grader(msgspec.to_builtins(grader)) == grader
