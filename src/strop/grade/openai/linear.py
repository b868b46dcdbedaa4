"""The weights of a multi grader's parts, where its formula is a weighted sum."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from strop.grade.openai.formula import operate, parse_formula
from strop.grade.openai.schema import Multi, ScoreModel, Single

_ROUNDING = 1e-9


class _Sum(msgspec.Struct):
    # constant + sum(weights[name] * component)
    constant: float
    weights: dict[str, float]


def unit_score(grader: Single, score: float) -> float | None:
    """Return a part's score as a component in [0, 1], a model's by its range; None where it is outside."""
    low, high = grader.bounds if isinstance(grader, ScoreModel) else (0.0, 1.0)
    value = (score - low) / (high - low)
    return value if 0.0 <= value <= 1.0 else None


def weights_of(multi: Multi) -> dict[str, float]:
    """Return the weight of each part, as a component in [0, 1]; {} where the formula is no weighted sum.

    A model's range is part of its weight: `0.1 * tone` with a tone from 0 to 10 weighs 1. Parts that the
    formula leaves out weigh 0. A formula with a constant of its own, such as `0.1 + 0.9 * a`, is no
    weighted sum: there the weights don't say what the score is made of.
    """
    stack: list[_Sum] = []
    for step in parse_formula(multi.calculate_output).steps:
        if step[0] == "number":
            stack.append(_Sum(step[1], {}))
        elif step[0] == "name":
            stack.append(_component(step[1], multi.graders))
        else:
            taken = step[2] if step[0] == "call" else 1 if step[1] == "negate" else 2
            result = _apply(str(step[1]), stack[-taken:])
            if result is None:
                return {}
            stack[-taken:] = [result]
    total = stack[-1]
    finite = all(math.isfinite(w) for w in (total.constant, *total.weights.values()))
    if not finite or abs(total.constant) > _ROUNDING or not any(total.weights.values()):
        return {}
    return {name: total.weights.get(name, 0.0) for name in multi.graders}


def _component(name: str, graders: Mapping[str, Single]) -> _Sum:
    grader = graders[name]
    low, high = grader.bounds if isinstance(grader, ScoreModel) else (0.0, 1.0)
    return _Sum(low, {name: high - low})


def _apply(name: str, values: list[_Sum]) -> _Sum | None:
    if not any(value.weights for value in values):
        try:
            return _Sum(operate(name, [value.constant for value in values]), {})
        except (ArithmeticError, ValueError):
            return None
    if name == "negate":
        return _scaled(values[0], -1.0)
    if name in ("+", "-"):
        left, right = values[0], values[1] if name == "+" else _scaled(values[1], -1.0)
        for key, weight in right.weights.items():
            left.weights[key] = left.weights.get(key, 0.0) + weight
        return _Sum(left.constant + right.constant, left.weights)
    if name == "*" and not (values[0].weights and values[1].weights):
        factor, other = sorted(values, key=lambda value: bool(value.weights))
        return _scaled(other, factor.constant)
    if name == "/" and not values[1].weights and values[1].constant:
        return _scaled(values[0], 1.0 / values[1].constant)
    return None


def _scaled(value: _Sum, factor: float) -> _Sum:
    return _Sum(value.constant * factor, {name: w * factor for name, w in value.weights.items()})
