"""Run a grader on a sample. Everything that leaves the process is handed in: models, Python, embeddings."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from strop.grade.openai.asking import Models, label_of_model, score_of_model
from strop.grade.openai.formula import FormulaError, FormulaValueError, parse_formula
from strop.grade.openai.outcome import Errors, Fault, Outcome
from strop.grade.openai.schema import (
    Grader,
    LabelModel,
    Multi,
    PythonGrader,
    ScoreModel,
    Single,
    StringCheck,
    TextSimilarity,
)
from strop.grade.openai.similarity import Embed, NoEmbedding, TooLong, similarity
from strop.grade.openai.template import MissingVariable, TemplateError, parse_template

RunPython: TypeAlias = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Any]
_ROUNDING = 1e-9


class SandboxFailed(RuntimeError):
    """What runs Python graders failed, not the grader: `kind` is a word such as timeout or crashed."""

    def __init__(self, kind: str, why: str = "") -> None:
        super().__init__(why or kind)
        self.kind = kind


def evaluate(
    grader: Grader,
    sample: Mapping[str, Any],
    item: Mapping[str, Any],
    models: Models | None = None,
    *,
    run_python: RunPython | None = None,
    embed: Embed | None = None,
    given: Mapping[str, float] | None = None,
    strict: bool = True,
) -> Outcome:
    """Run a grader on a sample and its item.

    strict=True keeps strop's rules: a failure is an error and never a score, a score out of range is an
    error and never clipped, the total is in [0, 1]. A score_model with another range is scaled linearly
    into [0, 1] where it is the whole grader; inside of a multi grader the formula sees the raw number.
    strict=False does as OpenAI documents: 0 for whatever fails (its flag is set all the same), a model's
    score clipped to its range, no scaling, no check of the total.

    run_python: (source, sample, item) to grade's return value; raises SandboxFailed for its own failures,
    anything else counts as the source's. It must confine the source where that isn't trusted.
    embed: texts to vectors; raises NoEmbedding where it can't.
    given: scores that were found before, in their own ranges, by key; `""` is the key of a single grader.
    """
    known = given or {}
    spent: dict[str, dict[str, int]] = {}
    run = partial(
        _single, sample=sample, item=item, models=models, run_python=run_python, embed=embed,
        strict=strict, spent=spent,
    )  # fmt: skip
    scores: dict[str, float] = {}
    faults: list[tuple[str, Fault]] = []
    score: float | None = None
    if isinstance(grader, Multi):
        for key, inner in grader.graders.items():
            try:
                scores[key] = known[key] if key in known else run(inner)
            except Fault as fault:
                faults.append((f"{key}: ", fault))
    try:
        if not isinstance(grader, Multi):
            score = known[""] if "" in known else run(grader)
        elif not (faults and strict):
            score = _combined(grader.calculate_output, dict.fromkeys(grader.graders, 0.0) | scores)
        if strict and score is not None:
            score = _in_unit(grader, score)
    except Fault as fault:
        faults.append(("", fault))
    if faults:
        score = None if strict else score or 0.0
    flags: dict[str, Any] = {}
    for _, fault in faults:
        flags.update(fault.flags)
    return Outcome(
        score=score,
        error="; ".join(prefix + fault.why for prefix, fault in faults)[:400] if faults and strict else None,
        errors=Errors(**flags),
        from_answer=bool(faults) and all(fault.from_answer for _, fault in faults),
        sub_scores=scores,
        usage=spent,
    )


def _single(
    grader: Single,
    sample: Mapping[str, Any],
    item: Mapping[str, Any],
    models: Models | None,
    run_python: RunPython | None,
    embed: Embed | None,
    spent: dict[str, dict[str, int]],
    *,
    strict: bool,
) -> float:
    try:
        match grader:
            case StringCheck() | TextSimilarity():
                text = parse_template(grader.input).render(sample, item)
                reference = parse_template(grader.reference).render(sample, item)
                if isinstance(grader, StringCheck):
                    return _string_check(grader.operation, text, reference)
                return similarity(grader.evaluation_metric, text, reference, embed)
            case ScoreModel():
                return score_of_model(grader, sample, item, models, spent, strict=strict)
            case LabelModel():
                return label_of_model(grader, sample, item, models, spent)
            case PythonGrader():
                return _python(grader.source, sample, item, run_python)
    except MissingVariable as missing:
        raise _missing(missing, sample) from None
    except TooLong as error:
        raise Fault(str(error), from_answer=True, truncated_observation_error=True) from None
    except (NoEmbedding, TemplateError) as error:
        raise Fault(str(error), from_answer=False, other_error=True) from None
    except ValueError as error:
        raise Fault(str(error), from_answer=True, other_error=True) from None


def _string_check(operation: str, text: str, reference: str) -> float:
    if operation == "eq":
        return float(text == reference)
    if operation == "ne":
        return float(text != reference)
    if operation == "like":
        return float(reference in text)
    return float(reference.casefold() in text.casefold())


def _missing(missing: MissingVariable, sample: Mapping[str, Any]) -> Fault:
    variable = missing.variable
    if (
        variable.namespace == "sample"
        and variable.path[0] == "output_json"
        and sample.get("output_json") is None
    ):
        return Fault(f"{variable}: the answer is no JSON", from_answer=True, sample_parse_error=True)
    return Fault(str(missing), from_answer=variable.namespace == "sample", invalid_variable_error=True)


def _python(
    source: str, sample: Mapping[str, Any], item: Mapping[str, Any], run_python: RunPython | None
) -> float:
    try:
        if run_python is None:
            raise SandboxFailed("no sandbox")
        returned = run_python(source, sample, item)
        value = float(returned) if isinstance(returned, numbers.Real) else math.nan
    except SandboxFailed as failed:
        raise Fault(
            f"the Python grader did not run: {failed}",
            from_answer=False,
            python_grader_server_error=True,
            python_grader_server_error_type=failed.kind,
        ) from None
    except Exception as raised:
        raise _raised(f"raised {type(raised).__name__}: {raised}"[:300]) from None
    if not math.isfinite(value):
        raise _raised(f"grade returned {_shown(returned)}, no finite number")
    return value


def _raised(why: str) -> Fault:
    return Fault(
        why, from_answer=True, python_grader_runtime_error=True, python_grader_runtime_error_details=why
    )


def _shown(value: object) -> str:
    return repr(value)[:60] if isinstance(value, str | bytes | float | None) else f"a {type(value).__name__}"


def _combined(text: str, scores: Mapping[str, float]) -> float:
    try:
        formula = parse_formula(text)
        unknown = sorted(formula.names - scores.keys())
        if unknown:
            raise Fault(f"the formula names {unknown[0]!r}", from_answer=False, invalid_variable_error=True)
        return formula.value(scores)
    except FormulaError as error:
        raise Fault(
            f"the formula can't be read: {error}", from_answer=False, formula_parse_error=True
        ) from None
    except FormulaValueError as error:
        raise Fault(f"the formula: {error}", from_answer=True, other_error=True) from None


def _in_unit(grader: Grader, score: float) -> float:
    if isinstance(grader, ScoreModel):
        low, high = grader.bounds
        score = (score - low) / (high - low)
    if isinstance(grader, Multi) and -_ROUNDING <= score <= 1.0 + _ROUNDING:
        # 0.1 + 0.2 + 0.7 may be a little over 1: that is arithmetic, not a grade out of range.
        return min(1.0, max(0.0, score))
    if not 0.0 <= score <= 1.0:
        why = f"the score is {score:g}, outside [0, 1]"
        raise (
            _raised(why)
            if isinstance(grader, PythonGrader)
            else Fault(why, from_answer=True, other_error=True)
        )
    return score
