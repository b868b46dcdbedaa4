"""Model graders: the request that a score_model or label_model sends, and what its answer means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from strop.grade.openai.outcome import Fault
from strop.grade.openai.schema import (
    Block,
    InputAudio,
    InputImage,
    InputMessage,
    LabelModel,
    SamplingParams,
    ScoreModel,
)
from strop.grade.openai.template import parse_template
from strop.records import JsonObject

MAX_PROMPT_CHARACTERS = 1_000_000
_ATTEMPTS = 2


class ModelRequest(msgspec.Struct, frozen=True):
    """One chat completion, fully rendered: `body` has model, messages, response_format, sampling."""

    body: JsonObject


class ModelReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: content, or a failure with its reason. model and usage as the service states them."""

    content: str | None = None
    failure: Literal["server", "timeout", "refusal"] | None = None
    reason: str = ""
    model: str = ""
    usage: dict[str, int] = {}


class Models(Protocol):
    """Whoever asks grading models; it returns failures and doesn't raise them."""

    def __call__(self, request: ModelRequest) -> ModelReply:
        """Ask once."""
        ...


class _Result(msgspec.Struct):
    result: float


class _Label(msgspec.Struct):
    result: str


def request_of(
    grader: ScoreModel | LabelModel, sample: Mapping[str, Any], item: Mapping[str, Any]
) -> JsonObject:
    """Return the body of the chat completion that a model grader asks for.

    Raises MissingVariable and ValueError as templates do, and Fault for a prompt that is too long.
    """
    if isinstance(grader, ScoreModel):
        return _body(grader, sample, item, "score", {"type": "number"}, grader.sampling_params)
    return _body(grader, sample, item, "label", {"type": "string", "enum": grader.labels}, None)


def number_in(content: str) -> float | None:
    """Return the number that a grading model wrote, in range or not; None for none."""
    try:
        return msgspec.json.decode(content, type=_Result).result
    except (msgspec.DecodeError, RecursionError):
        return None


def label_in(grader: LabelModel, content: str) -> str | None:
    """Return the label that a grading model wrote, None for one that isn't the grader's."""
    try:
        label = msgspec.json.decode(content, type=_Label).result
    except (msgspec.DecodeError, RecursionError):
        return None
    return label if label in grader.labels else None


def no_verdict(grader: ScoreModel | LabelModel, content: str) -> str:
    """Say what is missing in a grading model's answer."""
    if isinstance(grader, LabelModel):
        return f"no label in {content[:80]!r}"
    low, high = grader.bounds
    return f"no number in [{low:g}, {high:g}] in {content[:80]!r}"


def score_of_model(
    grader: ScoreModel,
    sample: Mapping[str, Any],
    item: Mapping[str, Any],
    models: Models | None,
    spent: dict[str, dict[str, int]],
    *,
    strict: bool,
) -> float:
    """Return the model's number within the grader's range; raises Fault.

    OpenAI clips a number to the range and makes 0 of no number. strict=True: both are no verdict, asked
    once more and then a Fault, since a failure of the judge is no score.
    """
    body = request_of(grader, sample, item)
    low, high = grader.bounds
    said = ""
    for _ in range(_ATTEMPTS if strict else 1):
        said = _ask(body, models, spent)
        value = number_in(said)
        if value is None:
            continue
        if low <= value <= high:
            return value
        if not strict and not math.isnan(value):
            return min(high, max(low, value))
    raise Fault(no_verdict(grader, said), from_answer=False, model_grader_parse_error=True)


def label_of_model(
    grader: LabelModel,
    sample: Mapping[str, Any],
    item: Mapping[str, Any],
    models: Models | None,
    spent: dict[str, dict[str, int]],
) -> float:
    """Return 1.0 for a passing label and 0.0 for another; raises Fault.

    An answer that is none of the labels is no verdict: asked once more, then a Fault. The output format
    for labels isn't documented; this is score_model's with the labels in place of the number.
    """
    body = request_of(grader, sample, item)
    said = ""
    for _ in range(_ATTEMPTS):
        said = _ask(body, models, spent)
        label = label_in(grader, said)
        if label is not None:
            return float(label in grader.passing_labels)
    raise Fault(no_verdict(grader, said), from_answer=False, model_grader_parse_error=True)


def _ask(body: JsonObject, models: Models | None, spent: dict[str, dict[str, int]]) -> str:
    if models is None:
        why = "no endpoint for grading models"
        raise Fault(
            why, from_answer=False, model_grader_server_error=True, model_grader_server_error_details=why
        )
    reply = models(ModelRequest(body))
    counts = spent.setdefault(reply.model or body["model"], {})
    for key, value in reply.usage.items():
        counts[key] = counts.get(key, 0) + value
    if reply.failure == "timeout":
        raise Fault(reply.reason or "no answer in time", from_answer=False, unresponsive_reward_error=True)
    if reply.failure == "refusal":
        raise Fault(
            f"the grading model refused: {reply.reason[:200]}",
            from_answer=False,
            model_grader_refusal_error=True,
        )
    if reply.failure == "server":
        raise Fault(
            reply.reason or "the grading model's service failed",
            from_answer=False,
            model_grader_server_error=True,
            model_grader_server_error_details=reply.reason,
        )
    return reply.content or ""


def _body(
    grader: ScoreModel | LabelModel,
    sample: Mapping[str, Any],
    item: Mapping[str, Any],
    title: str,
    result: JsonObject,
    sampling: SamplingParams | None,
) -> JsonObject:
    messages = [_message(message, sample, item) for message in grader.input]
    if len(msgspec.json.encode(messages)) > MAX_PROMPT_CHARACTERS:
        raise Fault(
            f"the grading prompt is over {MAX_PROMPT_CHARACTERS:,} characters",
            from_answer=True,
            truncated_observation_error=True,
        )
    body: JsonObject = {
        "model": grader.model,
        "messages": messages,
        "response_format": _format(title, result),
    }
    for key, value in msgspec.to_builtins(sampling or SamplingParams()).items():
        if value is not None:
            body["max_completion_tokens" if key == "max_completions_tokens" else key] = value
    return body


def _message(message: InputMessage, sample: Mapping[str, Any], item: Mapping[str, Any]) -> JsonObject:
    if isinstance(message.content, str):
        content: Any = parse_template(message.content).render(sample, item)
    else:
        parts = message.content if isinstance(message.content, list) else [message.content]
        content = [_part(part, sample, item) for part in parts]
    return {"role": message.role, "content": content}


def _part(part: str | Block, sample: Mapping[str, Any], item: Mapping[str, Any]) -> JsonObject:
    # From the Responses API's blocks to those of chat completions.
    if isinstance(part, InputImage):
        image: JsonObject = {"url": parse_template(part.image_url).render(sample, item)}
        return {"type": "image_url", "image_url": image | ({"detail": part.detail} if part.detail else {})}
    if isinstance(part, InputAudio):
        data = parse_template(part.input_audio.data).render(sample, item)
        return {"type": "input_audio", "input_audio": {"data": data, "format": part.input_audio.format}}
    text = part if isinstance(part, str) else part.text
    return {"type": "text", "text": parse_template(text).render(sample, item)}


def _format(title: str, result: JsonObject) -> JsonObject:
    # The guide, "Score model grader outputs": {"result": float, "steps": [{description, conclusion}]}.
    step: JsonObject = {
        "type": "object",
        "properties": {"description": {"type": "string"}, "conclusion": {"type": "string"}},
        "required": ["description", "conclusion"],
        "additionalProperties": False,
    }
    schema: JsonObject = {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": step}, "result": result},
        "required": ["steps", "result"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": title, "strict": True, "schema": schema}}
