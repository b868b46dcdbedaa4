from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.fine_tuning.alpha import GraderRunResponse
from openai.types.fine_tuning.alpha.grader_run_response import MetadataErrors

from strop.grade.openai.asking import ModelReply, ModelRequest
from strop.grade.openai.execute import SandboxFailed, evaluate
from strop.grade.openai.outcome import Errors, Outcome, run_response
from strop.grade.openai.python import run_in_process
from strop.grade.openai.sample import sample_of_text
from strop.grade.openai.schema import Multi, parse_grader

ITEM: dict[str, Any] = {"label": "yes", "n": 1.0}
ANSWER: dict[str, Any] = {"name": "score", "model": "judge-1"}
USER = [{"role": "user", "content": "Is {{ sample.output_text }} like {{ item.label }}?"}]


class Judge:
    """A grading model that gives its replies in order, the last one again and again."""

    def __init__(self, *replies: str | ModelReply) -> None:
        self.replies, self.asked = list(replies), list[dict[str, Any]]()

    def __call__(self, request: ModelRequest) -> ModelReply:
        self.asked.append(request.body)
        reply = self.replies[0] if len(self.replies) == 1 else self.replies.pop(0)
        usage = {"prompt_tokens": 10, "total_tokens": 12}
        return (
            reply
            if isinstance(reply, ModelReply)
            else ModelReply(content=reply, model="judge-1a", usage=usage)
        )


def check(operation: str, text: str, reference: str) -> dict[str, Any]:
    return {
        "type": "string_check",
        "name": "c",
        "input": text,
        "reference": reference,
        "operation": operation,
    }


def score_model(**more: Any) -> dict[str, Any]:
    return {"type": "score_model", "name": "s", "model": "judge-1", "input": USER, **more}


LABEL: dict[str, Any] = {
    "type": "label_model", "name": "l", "model": "judge-1", "input": USER, "labels": ["good", "fair", "bad"],
    "passing_labels": ["good", "fair"],
}  # fmt: skip


def python(body: str) -> dict[str, Any]:
    return {"type": "python", "name": "p", "source": f"def grade(sample, item):\n    {body}\n"}


def multi(formula: str, **graders: dict[str, Any]) -> dict[str, Any]:
    return {"type": "multi", "name": "m", "graders": graders, "calculate_output": formula}


def run(raw: Mapping[str, Any], text: str = "yes", judge: Judge | None = None, **more: Any) -> Outcome:
    more = {"run_python": run_in_process, **more}
    return evaluate(parse_grader(raw), sample_of_text(text), ITEM, judge, **more)


def result(value: object) -> str:
    return json.dumps({"steps": [], "result": value})


def failed(outcome: Outcome, *flags: str) -> Outcome:
    """Assert that there is no score and that exactly these flags are set."""
    assert outcome.score is None and outcome.error
    set_flags = {k for k, v in msgspec.to_builtins(outcome.errors).items() if v}
    assert set_flags == set(flags)
    return outcome


# string_check


@pytest.mark.parametrize(
    ("operation", "text", "reference", "score"),
    [
        ("eq", "yes", "yes", 1.0),
        ("eq", "yes", "Yes", 0.0),
        ("ne", "yes", "no", 1.0),
        ("ne", "yes", "yes", 0.0),
        ("like", "oh yes!", "yes", 1.0),
        ("like", "yes", "oh yes!", 0.0),
        ("like", "oh YES", "yes", 0.0),
        ("ilike", "oh YES", "yes", 1.0),
        ("ilike", "STRASSE", "straße", 1.0),
        ("ilike", "no", "yes", 0.0),
        ("like", "x", "", 1.0),
    ],
)
def test_string_check(operation: str, text: str, reference: str, score: float) -> None:
    outcome = run(check(operation, "{{ sample.output_text }}", reference), text)
    assert outcome == Outcome(score=score)


def test_references_come_from_the_item() -> None:
    assert run(check("eq", "{{sample.output_text}}", "{{ item.label }}")).score == 1.0
    assert run(check("eq", "{{sample.output_json.a[1]}}", "{{ item.n }}"), '{"a": [0, 1.0]}').score == 1.0


def test_text_similarity_is_the_metric() -> None:
    raw = {"type": "text_similarity", "name": "t", "input": "{{sample.output_text}}",
           "reference": "{{item.label}}", "evaluation_metric": "fuzzy_match"}  # fmt: skip
    assert run(raw, "ye").score == pytest.approx(0.8)
    cosine = {**raw, "evaluation_metric": "cosine"}
    assert run(cosine, embed=lambda texts: [[1.0, 0.0], [0.6, 0.8]]).score == pytest.approx(0.6)
    assert "no embedding endpoint" in str(failed(run(cosine), "other_error").error)
    failed(run(cosine, embed=lambda texts: [[1.0], [-1.0]]), "other_error")
    assert run(cosine, embed=lambda texts: [[1.0], [-1.0]], strict=False).score == -1.0


# variables


def test_a_missing_variable_is_an_error_and_says_whose_fault_it_is() -> None:
    outcome = failed(run(check("eq", "x", "{{ item.truth.status }}")), "invalid_variable_error")
    assert outcome.error == "no variable item.truth.status" and not outcome.from_answer
    tool = check("eq", "x", "{{sample.output_tools[0].function.name}}")
    assert failed(run(tool), "invalid_variable_error").from_answer


def test_reading_json_of_an_answer_that_is_none() -> None:
    grader = check("eq", "{{ sample.output_json.status }}", "x")
    assert failed(run(grader, "not json"), "sample_parse_error").from_answer
    assert failed(run(grader, '{"status": NaN}'), "sample_parse_error").from_answer
    assert failed(run(grader, '{"other": 1}'), "invalid_variable_error").from_answer
    assert run(grader, '{"status": "x"}').score == 1.0


@given(st.text(max_size=20))
def test_an_answer_can_not_name_variables(said: str) -> None:
    text = "{{ item.label }}" + said
    assert run(check("eq", "{{ sample.output_text }}", "yes"), text).score == float(text == "yes")
    judge = Judge(result(0.5))
    run(score_model(), text, judge)
    assert judge.asked[0]["messages"][0]["content"] == f"Is {text} like yes?"


# score_model


def test_score_model_asks_for_a_number_in_openais_format() -> None:
    judge = Judge(result(0.75))
    sampling = {
        "seed": 1,
        "temperature": 0.2,
        "top_p": None,
        "max_completions_tokens": 99,
        "reasoning_effort": "low",
    }
    outcome = run(score_model(sampling_params=sampling), "no", judge)
    assert outcome.score == 0.75 and outcome.usage == {"judge-1a": {"prompt_tokens": 10, "total_tokens": 12}}
    (body,) = judge.asked
    schema = body.pop("response_format")["json_schema"]["schema"]
    assert schema["properties"]["result"] == {"type": "number"}
    assert set(schema["properties"]["steps"]["items"]["properties"]) == {"description", "conclusion"}
    assert body == {
        "model": "judge-1",
        "messages": [{"role": "user", "content": "Is no like yes?"}],
        "seed": 1,
        "temperature": 0.2,
        "max_completion_tokens": 99,
        "reasoning_effort": "low",
    }


def test_blocks_become_those_of_chat_completions() -> None:
    content = [
        "plain {{item.label}}",
        {"type": "input_text", "text": "{{item.label}}"},
        {"type": "output_text", "text": "out"},
        {"type": "input_image", "image_url": "https://x/{{item.label}}.png", "detail": "low"},
        {"type": "input_image", "image_url": "u"},
        {"type": "input_audio", "input_audio": {"data": "{{item.label}}", "format": "wav"}},
    ]
    judge = Judge(result(1))
    one = {"role": "developer", "content": {"type": "input_text", "text": "one"}}
    run(score_model(input=[{"role": "user", "content": content}, one]), "x", judge)
    assert judge.asked[0]["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "plain yes"},
                {"type": "text", "text": "yes"},
                {"type": "text", "text": "out"},
                {"type": "image_url", "image_url": {"url": "https://x/yes.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "u"}},
                {"type": "input_audio", "input_audio": {"data": "yes", "format": "wav"}},
            ],
        },
        {"role": "developer", "content": [{"type": "text", "text": "one"}]},
    ]


NO_NUMBERS = ("", "0.5", "[]", '{"result": "0.5"}', '{"score": 1}', result(None), '{"result": NaN}',
              '{"result": 1e999}', "[" * 100_000)  # fmt: skip


@pytest.mark.parametrize("said", NO_NUMBERS)
def test_no_number_is_no_score_and_openai_makes_0_of_it(said: str) -> None:
    judge = Judge(said)
    outcome = failed(run(score_model(), "x", judge), "model_grader_parse_error")
    assert len(judge.asked) == 2 and not outcome.from_answer
    assert outcome.usage["judge-1a"]["prompt_tokens"] == 20
    lenient = run(score_model(), "x", Judge(said), strict=False)
    assert lenient.score == 0.0 and lenient.error is None and lenient.errors.model_grader_parse_error


def test_the_second_answer_counts_where_the_first_is_none() -> None:
    assert run(score_model(), "x", Judge("?", result(0.25))).score == 0.25


@pytest.mark.parametrize(("said", "clipped"), [(1.5, 1.0), (-0.25, 0.0), (1e300, 1.0)])
def test_out_of_range_is_an_error_and_openai_clips_it(said: float, clipped: float) -> None:
    failed(run(score_model(), "x", Judge(result(said))), "model_grader_parse_error")
    assert run(score_model(), "x", Judge(result(said)), strict=False).score == clipped


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.floats(0, 1))
def test_another_range_is_scaled_at_the_top_and_raw_in_a_formula(
    low: float, width: float, share: float
) -> None:
    high = low + width
    said = min(high, max(low, low + share * width))
    ranged = score_model(range=[low, high])
    judge = Judge(result(said))
    top = run(ranged, "x", judge).score
    assert top is not None and 0.0 <= top <= 1.0 and top == pytest.approx((said - low) / (high - low))
    assert run(ranged, "x", judge, strict=False).score == said
    inside = run(multi("0 * s", s=ranged), "x", judge)
    assert inside.score == 0.0 and inside.sub_scores == {"s": said}


# label_model


def test_label_model() -> None:
    judge = Judge(result("fair"))
    assert run(LABEL, "x", judge).score == 1.0
    assert judge.asked[0]["response_format"]["json_schema"]["schema"]["properties"]["result"] == {
        "type": "string",
        "enum": ["good", "fair", "bad"],
    }
    assert run(LABEL, "x", Judge(result("bad"))).score == 0.0
    assert run(LABEL, "x", Judge(result("awful"), result("good"))).score == 1.0


@pytest.mark.parametrize("said", [result("awful"), result("GOOD"), result(1), "good", ""])
def test_a_label_of_its_own_is_no_verdict(said: str) -> None:
    judge = Judge(said)
    failed(run(LABEL, "x", judge), "model_grader_parse_error")
    assert len(judge.asked) == 2
    assert run(LABEL, "x", judge, strict=False).score == 0.0


@pytest.mark.parametrize("raw", [score_model(), LABEL])
def test_failures_of_the_grading_model_are_not_the_answers(raw: dict[str, Any]) -> None:
    server = failed(
        run(raw, "x", Judge(ModelReply(failure="server", reason="HTTP 500"))),
        "model_grader_server_error", "model_grader_server_error_details",
    )  # fmt: skip
    assert server.errors.model_grader_server_error_details == "HTTP 500"
    refusal = run(raw, "x", Judge(ModelReply(failure="refusal", reason="I can't")))
    slow = run(raw, "x", Judge(ModelReply(failure="timeout")))
    absent = run(raw, "x", None)
    failed(refusal, "model_grader_refusal_error")
    failed(slow, "unresponsive_reward_error")
    failed(absent, "model_grader_server_error", "model_grader_server_error_details")
    assert not any(outcome.from_answer for outcome in (server, refusal, slow, absent))


def test_a_prompt_over_the_limit_is_refused_and_not_cut() -> None:
    judge = Judge(result(1))
    assert failed(run(score_model(), "x" * 1_000_001, judge), "truncated_observation_error").from_answer
    assert judge.asked == []
    similar = {"type": "text_similarity", "name": "t", "input": "{{sample.output_text}}", "reference": "x",
               "evaluation_metric": "rouge_l"}  # fmt: skip
    assert failed(run(similar, "x" * 50_001), "truncated_observation_error").from_answer


# python


@pytest.mark.parametrize(
    ("body", "score"),
    [
        ("return 0.25", 0.25),
        ("return sample['output_text'] == item['label']", 1.0),
        ("return 0", 0.0),
        ("return sample['choices'][0]['message']['content'] == 'yes' and not sample['output_tools']", 1.0),
    ],
)
def test_python(body: str, score: float) -> None:
    assert run(python(body)) == Outcome(score=score)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return item['nope']", "KeyError: 'nope' (line 2)"),
        ("raise SystemExit(3)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return None", "None"),
        ("return '1'", "'1'"),
        ("return [1]", "a list"),
        ("return float('nan')", "nan"),
        ("return float('inf')", "inf"),
        ("return 10 ** 400", "OverflowError"),
        ("return 1.5", "outside [0, 1]"),
        ("return -0.1", "outside [0, 1]"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
    ],
)
def test_no_valid_number_from_python_is_an_error_with_its_reason(body: str, says: str) -> None:
    flags = ("python_grader_runtime_error", "python_grader_runtime_error_details")
    outcome = failed(run(python(body)), *flags)
    assert says in str(outcome.error) and says in str(outcome.errors.python_grader_runtime_error_details)
    assert outcome.from_answer


def test_openai_makes_0_of_a_python_failure() -> None:
    outcome = run(python("return 1 / 0"), strict=False)
    assert outcome.score == 0.0 and outcome.errors.python_grader_runtime_error
    assert run(python("return 1.5"), strict=False).score == 1.5


def test_a_sandbox_that_fails_is_not_the_answers_fault() -> None:
    def broken(source: str, sample: Mapping[str, Any], item: Mapping[str, Any]) -> float:
        raise SandboxFailed("timeout", "no grade within 120 s")

    flags = ("python_grader_server_error", "python_grader_server_error_type")
    outcome = failed(run(python("return 1"), run_python=broken), *flags)
    assert outcome.errors.python_grader_server_error_type == "timeout" and not outcome.from_answer
    assert failed(run(python("return 1"), run_python=None), *flags).error


def test_one_python_grader_does_not_see_what_another_did() -> None:
    vandal = python("sample.clear(); item['label'] = 'mine'; return 1.0")
    honest = python("return float(sample['output_text'] == item['label'] == 'yes')")
    assert run(multi("a * b * c", a=vandal, b=honest, c=vandal)).score == 1.0


# multi


def test_multi_is_its_formula() -> None:
    name = check("eq", "{{sample.output_json.name}}", "Ann")
    email = check("eq", "{{sample.output_json.email}}", "a@x")
    outcome = run(multi("(name + email) / 2", name=name, email=email), '{"name": "Ann", "email": "b@x"}')
    assert outcome.score == 0.5 and outcome.sub_scores == {"name": 1.0, "email": 0.0}


def test_a_part_that_fails_is_no_0_in_the_formula_but_in_openais() -> None:
    grader = multi("0.5 * a + 0.5 * b", a=check("eq", "yes", "{{item.label}}"), b=python("return 1 / 0"))
    flags = ("python_grader_runtime_error", "python_grader_runtime_error_details")
    outcome = failed(run(grader), *flags)
    assert str(outcome.error).startswith("b: raised") and outcome.sub_scores == {"a": 1.0}
    # Nor does the formula see it: 1 / b is not the error here.
    failed(run(multi("1 / b", b=python("return 1 / 0"))), *flags)
    lenient = run(grader, strict=False)
    assert lenient.score == 0.5 and lenient.errors.python_grader_runtime_error


def test_the_floor_is_due_only_where_every_failure_is_the_answers() -> None:
    answers, tasks = python("return 1 / 0"), check("eq", "x", "{{ item.missing }}")
    assert run(multi("a", a=answers, b=answers)).from_answer
    both = run(multi("a", a=answers, b=tasks))
    assert not both.from_answer and "a: raised" in str(both.error) and "b: no variable" in str(both.error)
    assert not run(check("eq", "x", "x")).from_answer


@pytest.mark.parametrize("formula", ["1 / a", "sqrt(a - 1)", "exp(1000 + a)", "a + 2", "a - 0.1"])
def test_a_formula_without_a_value_in_0_to_1_is_an_error(formula: str) -> None:
    grader = multi(formula, a=check("eq", "a", "b"))
    assert failed(run(grader), "other_error").from_answer


def test_rounding_is_not_out_of_range() -> None:
    one = check("eq", "a", "a")
    assert 0.7 + 0.1 + 0.1 + 0.1 != 1.0
    assert run(multi("0.1 * a + 0.2 * a + 0.3 * a + 0.4 * a + 0.0000000001 * a", a=one)).score == 1.0
    failed(run(multi("1.000001 * a", a=one)), "other_error")
    assert run(multi("1.5 * a", a=one), strict=False).score == 1.5


def test_formulas_that_were_not_checked_fail_when_run() -> None:
    inner = parse_grader(check("eq", "a", "a"))
    for formula, flag in (("a +", "formula_parse_error"), ("a + b", "invalid_variable_error")):
        grader = Multi(name="m", graders={"a": inner}, calculate_output=formula)
        failed(evaluate(grader, sample_of_text("x"), {}), flag)
        assert evaluate(grader, sample_of_text("x"), {}, strict=False).score == 0.0


# the sample of a text, and the response of graders/run


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1]", [1]),
        ("3", 3),
        ("no", None),
        ("", None),
        ("NaN", None),
        ("[" * 99_999, None),
    ],
)
def test_the_sample_of_a_text(text: str, parsed: object) -> None:
    sample = sample_of_text(text)
    assert sample["output_text"] == text and sample["output_json"] == parsed and sample["output_tools"] == []
    assert sample["choices"][0]["message"] == {"role": "assistant", "content": text}


def test_the_response_has_the_shape_that_the_sdk_reads() -> None:
    grader = parse_grader(multi("s", s=score_model(), b=LABEL))
    judge = Judge(result(0.5), result("good"))
    outcome = evaluate(grader, sample_of_text("x"), ITEM, judge)
    body = run_response(grader, outcome, 0.25)
    response = GraderRunResponse.model_validate(body)
    assert response.reward == 0.5 and response.sub_rewards == {"s": 0.5, "b": 1.0}
    assert response.metadata.name == "m" and response.metadata.type == "multi"
    assert body["model_grader_token_usage_per_model"] == {
        "judge-1a": {"prompt_tokens": 20, "total_tokens": 24}
    }
    assert response.metadata.token_usage == 24
    error = evaluate(grader, sample_of_text("x"), ITEM, Judge("?"))
    broken = GraderRunResponse.model_validate(run_response(grader, error, 0.1))
    assert broken.reward == 0.0 and broken.metadata.errors.api_model_grader_parse_error


def test_every_flag_of_the_response_is_one_of_ours() -> None:
    assert {field.alias or name for name, field in MetadataErrors.model_fields.items()} == set(
        Errors.__struct_fields__
    )


def embed_unused(texts: Sequence[str]) -> Sequence[Sequence[float]]:
    raise AssertionError("only cosine embeds")


def test_nothing_is_asked_that_is_not_needed() -> None:
    judge = Judge(result(1))
    assert run(check("eq", "a", "a"), "x", judge, embed=embed_unused).score == 1.0 and judge.asked == []


def test_values_nested_too_deeply_are_an_error() -> None:
    nested: Any = "x"
    for _ in range(5_000):
        nested = [nested]
    sample = {**sample_of_text("x"), "output_json": {"a": nested}}
    grader = parse_grader(check("eq", "{{ sample.output_json.a }}", "x"))
    failed(evaluate(grader, sample, {}), "other_error")
    graded = parse_grader(python("return 1.0"))
    flags = ("python_grader_runtime_error", "python_grader_runtime_error_details")
    failed(evaluate(graded, sample, {}, run_python=run_in_process), *flags)
