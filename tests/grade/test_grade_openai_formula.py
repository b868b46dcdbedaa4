from __future__ import annotations

import contextlib
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.grade.openai.formula import (
    FUNCTIONS,
    MAX_CHARACTERS,
    Formula,
    FormulaError,
    FormulaValueError,
    parse_formula,
)

PYTHON: dict[str, Any] = {
    "__builtins__": {}, "min": min, "max": max, "abs": abs, "floor": math.floor, "ceil": math.ceil,
    "exp": math.exp, "sqrt": math.sqrt, "log": math.log,
}  # fmt: skip


class Tree:
    """A formula as text with the texts of all its parts."""

    def __init__(self, text: str, *parts: Tree) -> None:
        self.text = text
        self.all = [text, *(t for part in parts for t in part.all)]


def bracketed(tree: Tree) -> Tree:
    return Tree(f"({tree.text})", tree)


def trees() -> st.SearchStrategy[Tree]:
    number = st.floats(0, 9, allow_subnormal=False).map(lambda x: Tree(repr(x)))
    name = st.sampled_from("abc").map(Tree)

    def grow(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        operand = inner.map(bracketed)
        space = st.sampled_from(["", " ", "  "])
        return st.one_of(
            st.builds(lambda a, s, o, b: Tree(f"{a.text}{s}{o}{s}{b.text}", a, b),
                      operand, space, st.sampled_from("+-*/^"), operand),
            operand.map(lambda a: Tree(f"-{a.text}", a)),
            st.builds(lambda f, a: Tree(f"{f}({a.text})", a),
                      st.sampled_from(sorted(FUNCTIONS - {"min", "max"})), inner),
            st.builds(lambda f, xs: Tree(f"{f}({', '.join(x.text for x in xs)})", *xs),
                      st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=4)),
        )  # fmt: skip

    return st.recursive(number | name, grow, max_leaves=8)


def by_python(text: str, names: dict[str, float]) -> float | None:
    """What Python makes of it; None for an error, a complex number or no finite one."""
    try:
        value = eval(text.replace("^", "**"), dict(PYTHON), names)
        return float(value) if not isinstance(value, complex) and math.isfinite(value) else None
    except (ArithmeticError, ValueError):
        return None


@settings(max_examples=300)
@given(trees(), st.tuples(*[st.floats(-5, 5)] * 3))
def test_a_formula_means_what_python_means(tree: Tree, scores: tuple[float, ...]) -> None:
    names = dict(zip("abc", scores, strict=True))
    expected = by_python(tree.text, names)
    if any(by_python(part, names) is None for part in tree.all):
        with pytest.raises(FormulaValueError):
            parse_formula(tree.text).value(names)
    else:
        assert parse_formula(tree.text).value(names) == pytest.approx(expected, rel=1e-12, abs=1e-300)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "-", "+", "--"]), st.sampled_from(["a", "b", "2.0", "0.5", "3.0"])),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.sampled_from("+-*/^"), min_size=5, max_size=5),
)
def test_precedence_without_brackets_is_pythons(
    operands: list[tuple[str, str]], operators: list[str]
) -> None:
    text = "".join(
        s + x + o for (s, x), o in zip(operands, [*operators[: len(operands) - 1], ""], strict=True)
    )
    names = {"a": 1.25, "b": 0.75}
    expected = by_python(text, names)
    try:
        value = parse_formula(text).value(names)
    except FormulaValueError:
        value = None
    assert value == (None if expected is None else pytest.approx(expected, rel=1e-12))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-2^2", -4.0),
        ("2^-1", 0.5),
        ("2^3^2", 512.0),
        ("2^-2^0.5 * 0", 0.0),
        ("8 / 4 / 2", 1.0),
        ("1 - 1 - 1", -1.0),
        (".5 + 5. + 1e-1 + 2E0", 7.6),
        ("max(1)", 1.0),
        ("min(3, 1, 2)", 1.0),
        ("floor(-0.5) + ceil(0.1) + abs(-2)", 2.0),
        ("log(exp(1))", 1.0),
        ("min + max(min, 2)", 3.0),
        ("\n 1 +\t1 ", 2.0),
    ],
)
def test_examples(text: str, value: float) -> None:
    names = {"min": 1.0}
    assert parse_formula(text).value(names) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the formula ends"),
        ("1 +", "the formula ends"),
        ("(1", "the formula ends"),
        ("0.5 * a + 0.5 * b)", "')' at character 17"),
        ("1 2", "'2' at character 2"),
        ("2a", "'a' at character 1"),
        ("a b", "'b' at character 2"),
        ("1 ** 2", "'*' at character 3"),
        ("a = 1", "'=' at character 2"),
        ("a.b", "'.' at character 1"),
        ("a[0]", "'[' at character 1"),
        ("min()", "')' at character 4"),
        ("sqrt(1, 2)", "takes one argument"),
        ("eval(1)", "is no function"),
        ("__import__('os')", "is no function"),
        ("1e999", "too large"),
        ("1;2", "';' at character 1"),
        ("1,2", "',' at character 1"),
        ("()", "')' at character 1"),
        ("lambda: 1", "':' at character 6"),
    ],
)
def test_what_is_no_formula_is_refused_by_place(text: str, says: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["1 / 0", "1 / (a - a)", "0 ^ -1", "(0 - 8) ^ (1 / 3)", "sqrt(0 - 1)", "log(0)", "log(0 - 1)",
     "exp(1000)", "10 ^ 400", "1e200 * 1e200", "1e308 + 1e308", "1 / (1e200 * 1e200)"],
)  # fmt: skip
def test_no_finite_value_is_an_error(text: str) -> None:
    with pytest.raises(FormulaValueError):
        parse_formula(text).value({"a": 1.0})


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(FormulaValueError):
        parse_formula("0 * a").value({"a": math.nan})
    with pytest.raises(KeyError):
        parse_formula("a + b").value({"a": 1.0})


def test_names_are_those_mentioned() -> None:
    assert parse_formula("0.5 * ä_1 + max(b, sqrt)").names == {"ä_1", "b", "sqrt"}


def test_length_and_depth_are_bounded_and_cheap() -> None:
    started = time.process_time()
    with pytest.raises(FormulaError, match="1000000 characters"):
        parse_formula("1+" * 499_999 + "11")
    flat = "a+" * ((MAX_CHARACTERS - 1) // 2) + "a"
    assert parse_formula(flat).value({"a": 1.0}) == len(flat) // 2 + 1
    for deep in ("(" * 40_000 + "1" + ")" * 40_000, "-(" * 30_000, "2^" * 40_000 + "1", "abs(" * 20_000):
        with pytest.raises(FormulaError, match="100 levels"):
            parse_formula(deep)
    assert parse_formula("-" * 90_000 + "1").value({}) == 1.0
    assert parse_formula("(" * 90 + "1" + ")" * 90).value({}) == 1.0
    assert time.process_time() - started < 30


@given(st.text(max_size=30) | st.text("ab01.+-*/^(), minmaxsqrt", max_size=30))
def test_any_text_is_a_formula_or_an_error(text: str) -> None:
    try:
        formula = parse_formula(text)
    except FormulaError:
        return
    assert isinstance(formula, Formula)
    scores = dict.fromkeys(formula.names, 0.5)
    with contextlib.suppress(FormulaValueError):
        assert math.isfinite(formula.value(scores))
