"""The formula of a multi grader: `0.6 * answer + 0.4 * max(tone, style)`.

Guide "Graders", section "Combined graders": the keys of `graders` are the names; operators + - * / ^,
functions min max abs floor ceil exp sqrt log. What the guide leaves open is read as Python reads it:
`^` binds to the right and before a minus sign (`-2^2` is -4), `log` is the natural logarithm.
A formula becomes a list of steps for a stack, so that its length costs no recursion; nothing is
evaluated as Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

import msgspec

MAX_CHARACTERS = 100_000
MAX_DEPTH = 100
FUNCTIONS = frozenset({"min", "max", "abs", "floor", "ceil", "exp", "sqrt", "log"})

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[^\W\d]\w*)|(?P<sign>[-+*/^(),]))"
)
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
_MINUS_BINDS = 3

Step: TypeAlias = (
    tuple[Literal["number"], float] | tuple[Literal["name", "do"], str] | tuple[Literal["call"], str, int]
)


class FormulaError(ValueError):
    """A text is no formula; the message names the character."""


class FormulaValueError(ArithmeticError):
    """A formula has no finite value for these scores: division by zero, overflow, root of a negative."""


class Formula(msgspec.Struct, frozen=True):
    """A formula as read; names are the graders it mentions, steps its postfix form."""

    text: str
    names: frozenset[str]
    steps: tuple[Step, ...]

    def value(self, scores: Mapping[str, float]) -> float:
        """Return the value for the scores by name, any finite number.

        Raises KeyError for a name without a score and FormulaValueError where there is no finite value.
        """
        stack: list[float] = []
        for step in self.steps:
            if step[0] == "number":
                stack.append(step[1])
            elif step[0] == "name":
                stack.append(float(scores[step[1]]))
            else:
                self._apply(step, stack)
            if not math.isfinite(stack[-1]):
                raise FormulaValueError(f"{step[1]} gives {stack[-1]:g}")
        return stack[-1]

    def _apply(self, step: Step, stack: list[float]) -> None:
        taken = step[2] if step[0] == "call" else 1 if step[1] == "negate" else 2
        values = stack[-taken:]
        del stack[-taken:]
        try:
            stack.append(operate(str(step[1]), values))
        except (ArithmeticError, ValueError):
            shown = ", ".join(f"{v:g}" for v in values)
            raise FormulaValueError(f"{step[1]} of ({shown}) has no finite value") from None


@lru_cache(maxsize=256)
def parse_formula(text: str) -> Formula:
    """Read a formula. Raises FormulaError, naming the character, beyond 100,000 of them or 100 levels."""
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"the formula has {len(text)} characters; the limit is {MAX_CHARACTERS}")
    reader = _Reader(text)
    reader.expression(0, 0)
    if reader.kind != "end":
        raise reader.unexpected()
    names = frozenset(str(s[1]) for s in reader.steps if s[0] == "name")
    return Formula(text, names, tuple(reader.steps))


class _Reader:
    """Recursive descent by precedence; one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text, self.steps, self.at = text, list[Step](), 0
        self.kind, self.word, self.start = "", "", 0
        self._next()

    def expression(self, binds: int, depth: int) -> None:
        """Read operands joined by operators that bind at least as strongly as `binds`."""
        if depth > MAX_DEPTH:
            raise FormulaError(f"nested more than {MAX_DEPTH} levels deep at character {self.start}")
        self._operand(depth)
        while self.kind == "sign" and (strength := _BINDS.get(self.word, 0)) >= max(binds, 1):
            operator = self.word
            self._next()
            self.expression(strength if operator == "^" else strength + 1, depth + 1)
            self.steps.append(("do", operator))

    def unexpected(self) -> FormulaError:
        """Return the error for the token at hand."""
        if self.kind == "end":
            return FormulaError("the formula ends where a number, a name or a parenthesis is due")
        return FormulaError(f"{self.word[:40]!r} at character {self.start} does not belong there")

    def _operand(self, depth: int) -> None:
        negative = False
        signed = False
        while self._at("+-"):
            negative ^= self.word == "-"
            signed = True
            self._next()
        if signed:
            self.expression(_MINUS_BINDS, depth + 1)
            if negative:
                self.steps.append(("do", "negate"))
        elif self.kind == "number":
            self.steps.append(("number", self._number()))
            self._next()
        elif self.kind == "name":
            self._name(depth)
        elif self._at("("):
            self._next()
            self.expression(0, depth + 1)
            self._close()
        else:
            raise self.unexpected()

    def _name(self, depth: int) -> None:
        name, start = self.word, self.start
        self._next()
        if not self._at("("):
            self.steps.append(("name", name))
            return
        if name not in FUNCTIONS:
            raise FormulaError(
                f"{name[:40]!r} at character {start} is no function: {', '.join(sorted(FUNCTIONS))}"
            )
        self._next()
        count = 1
        self.expression(0, depth + 1)
        while self._at(","):
            self._next()
            self.expression(0, depth + 1)
            count += 1
        self._close()
        if count > 1 and name not in ("min", "max"):
            raise FormulaError(f"{name} at character {start} takes one argument, not {count}")
        self.steps.append(("call", name, count))

    def _at(self, signs: str) -> bool:
        return self.kind == "sign" and self.word in signs

    def _close(self) -> None:
        if not self._at(")"):
            raise self.unexpected()
        self._next()

    def _number(self) -> float:
        number = float(self.word)
        if not math.isfinite(number):
            raise FormulaError(f"the number at character {self.start} is too large")
        return number

    def _next(self) -> None:
        found = _TOKEN.match(self.text, self.at)
        if found is None or found.lastgroup is None:
            rest = self.text[self.at :].lstrip()
            self.start = len(self.text) - len(rest)
            self.kind, self.word = ("unknown", rest[:1]) if rest else ("end", "")
            return
        self.kind, self.at = found.lastgroup, found.end()
        self.word, self.start = found[self.kind], found.start(self.kind)


def operate(name: str, values: list[float]) -> float:
    """Apply an operator or a function of formulas. Raises ArithmeticError or ValueError as math does."""
    match name, values:
        case "+", [a, b]:
            return a + b
        case "-", [a, b]:
            return a - b
        case "*", [a, b]:
            return a * b
        case "/", [a, b]:
            return a / b
        case "^", [a, b]:
            return math.pow(a, b)
        case "negate", [a]:
            return -a
        case "min", _:
            return min(values)
        case "max", _:
            return max(values)
        case "floor", [a]:
            return float(math.floor(a))
        case "ceil", [a]:
            return float(math.ceil(a))
        case "exp", [a]:
            return math.exp(a)
        case "sqrt", [a]:
            return math.sqrt(a)
        case "log", [a]:
            return math.log(a)
        case _:
            return abs(values[0])
