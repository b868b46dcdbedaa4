"""What running a grader gives: a score or an error, with OpenAI's error flags."""

from __future__ import annotations

import msgspec

from strop.grade.openai.schema import Grader
from strop.records import JsonObject


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of graders/run, `metadata.errors` (OpenAPI document 2.3.0, RunGraderResponse).

    OpenAI names but doesn't describe them; here they mean:
    formula_parse_error: the formula can't be read. sample_parse_error: a template reads output_json of an
    answer that is no JSON. truncated_observation_error: a text is over strop's limit (it is refused, not
    cut). unresponsive_reward_error: a grading model timed out. invalid_variable_error: a variable or a
    name in the formula is missing. python_grader_server_error: there is no sandbox, or it failed;
    python_grader_runtime_error: the source raised or returned no valid number.
    model_grader_server_error, _refusal_error, _parse_error: the grading model failed, refused, or wrote
    no score in range or no label. other_error: the rest (embedding, arithmetic, a total outside [0, 1]).
    """

    formula_parse_error: bool = False
    sample_parse_error: bool = False
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False
    invalid_variable_error: bool = False
    other_error: bool = False
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False
    model_grader_server_error_details: str | None = None


class Fault(Exception):
    """Why a grader gives no score. flags: what it sets in Errors.

    from_answer: the same answer fails again wherever it is graded (a variable that it lacks, a source that
    raises on it), so the floor is due if the grader runs on the task's reference; else the machinery or
    the task is at fault, and that never becomes a score.
    """

    def __init__(self, why: str, *, from_answer: bool, **flags: bool | str) -> None:
        super().__init__(why)
        self.why, self.from_answer, self.flags = why, from_answer, flags


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One grader's result on one sample.

    score: in [0, 1], None exactly where error is set; as OpenAI would give it (0 for a failure, a model's
    score in its own range) where the run was not strict. sub_scores: a multi grader's parts, by key, in
    their own ranges; parts that failed are left out. from_answer: see Fault; True only if all failures are.
    usage: tokens by grading model, summed.
    """

    score: float | None
    error: str | None = None
    errors: Errors = Errors()
    from_answer: bool = False
    sub_scores: dict[str, float] = {}
    usage: dict[str, dict[str, int]] = {}


def run_response(grader: Grader, outcome: Outcome, seconds: float) -> JsonObject:
    """Return the body of graders/run for an outcome; its reward is 0.0 where there is no score.

    `token_usage` is the number of tokens as the document types it; its example shows an object there,
    which is under `model_grader_token_usage_per_model`.
    """
    tokens = sum(counts.get("total_tokens", 0) for counts in outcome.usage.values())
    return {
        "reward": 0.0 if outcome.score is None else outcome.score,
        "metadata": {
            "name": grader.name,
            "type": grader.__struct_config__.tag,
            "errors": msgspec.to_builtins(outcome.errors),
            "execution_time": seconds,
            "scores": {},
            "token_usage": tokens if outcome.usage else None,
            "sampled_model_name": next(iter(outcome.usage), None),
        },
        "sub_rewards": dict(outcome.sub_scores),
        "model_grader_token_usage_per_model": outcome.usage,
    }
