"""The weights of a multi grader are what its formula makes of its parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.openai.formula import parse_formula
from strop.grade.openai.linear import unit_score, weights_of
from strop.grade.openai.schema import Multi, ScoreModel, parse_grader

RANGES: dict[str, list[float] | None] = {"a": None, "b": None, "tone": [1, 5], "deep": [-2, 2]}


def multi(formula: str) -> Multi:
    graders: dict[str, Any] = {}
    for name, bounds in RANGES.items():
        graders[name] = {
            "type": "string_check",
            "name": name,
            "input": "x",
            "reference": "x",
            "operation": "eq",
        }
        if bounds:
            graders[name] = {
                "type": "score_model", "name": name, "model": "m", "range": bounds,
                "input": [{"role": "user", "content": "?"}],
            }  # fmt: skip
    grader = parse_grader({"type": "multi", "graders": graders, "calculate_output": formula})
    assert isinstance(grader, Multi)
    return grader


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("0.6 * a + 0.4 * b", {"a": 0.6, "b": 0.4}),
        ("(a + b) / 2", {"a": 0.5, "b": 0.5}),
        ("a", {"a": 1.0}),
        ("0.5 * (a - b) + a", {"a": 1.5, "b": -0.5}),
        ("-(-a) * 2^3 / max(4, 8)", {"a": 1.0}),
        ("0.8 * a + 0.2 * (tone - 1) / 4", {"a": 0.8, "tone": 0.2}),
        ("0.5 * a + 0.125 * (deep + 2)", {"a": 0.5, "deep": 0.5}),
        ("0.8 * a + 0.2 * tone", None),  # at least 0.2, whatever the answer
        ("0.1 + 0.9 * a", None),
        ("a * b", None),
        ("a * (0.5 + 0.5 * b)", None),
        ("min(a, b)", None),
        ("a ^ 2", None),
        ("1 / a", None),
        ("a / 0", None),
        ("a / (b - b)", None),
        ("sqrt(0 - 1) * a", None),
        ("0.5", None),
        ("a - a", None),
        ("1e300 * 1e300 * a", None),
    ],
)
def test_weights_of_a_formula(formula: str, expected: dict[str, float] | None) -> None:
    weights = weights_of(multi(formula))
    assert weights == ({} if expected is None else pytest.approx(dict.fromkeys(RANGES, 0.0) | expected))
    assert expected is None or tuple(weights) == tuple(RANGES)


_NUMBERS = st.integers(-40, 40).map(lambda n: n / 8)
_LEAVES = st.sampled_from([*RANGES]) | _NUMBERS.map(str)
_FORMULAS = st.recursive(
    _LEAVES,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=12,
)


@given(_FORMULAS, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_where_there_are_weights_they_give_the_value(formula: str, shares: list[float]) -> None:
    grader = multi(formula)
    weights = weights_of(grader)
    raw: dict[str, float] = {}
    for (name, bounds), share in zip(RANGES.items(), shares, strict=True):
        low, high = bounds or (0.0, 1.0)
        raw[name] = min(high, max(low, low + share * (high - low)))
    components = {name: unit_score(grader.graders[name], value) or 0.0 for name, value in raw.items()}
    if weights:
        value = parse_formula(formula).value(raw)
        summed = sum(weight * components[name] for name, weight in weights.items())
        assert value == pytest.approx(summed, abs=1e-6, rel=1e-6)


def test_a_score_outside_of_its_range_is_no_component() -> None:
    parts = multi("a + tone").graders
    tone = parts["tone"]
    assert isinstance(tone, ScoreModel)
    assert [unit_score(tone, s) for s in (1, 3, 5, 0.9, 5.1)] == [0.0, 0.5, 1.0, None, None]
    assert [unit_score(parts["a"], s) for s in (0.0, 1.0, -0.1, 7.0)] == [0.0, 1.0, None, None]
