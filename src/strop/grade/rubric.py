"""A weighted grader made of components, with optional gates."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from strop.records import JsonObject


class Scored(msgspec.Struct, frozen=True):
    """What a component found: a score in [0, 1] and, in words, what is wanting."""

    score: float
    feedback: str = ""


ScoreFunction: TypeAlias = Callable[[JsonObject, JsonObject], float | bool | Scored]


class Component(msgspec.Struct, frozen=True):
    """One weighted part of a rubric.

    score: `(rollout, ground_truth) -> float | bool | Scored` in [0, 1]. weight: finite, at least 0.
    gate: False for none, True for a threshold of 1, else the threshold in (0, 1]; under it the gate
    is closed. Raises ValueError for anything else.
    """

    name: str
    score: ScoreFunction
    weight: float = 1.0
    gate: bool | float = False

    def __post_init__(self) -> None:
        # Typed `Any`: a grader file is not type-checked before it runs.
        name, score, weight, gate = _untyped(self.name, self.score, self.weight, self.gate)
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a component's name is an identifier, like answer_ok; this is {name!r}")
        if not callable(score):
            raise ValueError(
                f"component {name!r}: score is {score!r}, not a function; "
                "write (rollout, ground_truth) -> float or take one from strop.grade.components"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ValueError(f"component {name!r}: weight is {weight!r}, not a number; a gate is gate=True")
        if not (weight >= 0 and _finite(weight)):
            raise ValueError(f"component {name!r}: weight is {weight!r}; give a finite number, at least 0")
        if not isinstance(gate, bool) and not (isinstance(gate, int | float) and 0 < gate <= 1):
            raise ValueError(
                f"component {name!r}: gate is {gate!r}; give True (closed under 1) or a threshold in (0, 1]"
            )

    @property
    def threshold(self) -> float | None:
        """The score under which the gate is closed, None where this is no gate."""
        return None if self.gate is False else float(self.gate)


class RubricScore(msgspec.Struct, frozen=True):
    """A rollout's score in [0, 1], and what it is made of.

    components: every component's value, also behind a closed gate. feedback: only where there is some.
    closed: the gates that did not hold.
    """

    score: float
    components: dict[str, float]
    feedback: dict[str, str]
    closed: tuple[str, ...]


class Rubric:
    """Weighted components: total = sum(w_i c_i) / sum(w_i).

    Where a gate is closed (its value is under its threshold) only the gates' own weighted values count.
    weights: by name, normalised to sum 1. gates: thresholds by name.
    Raises ValueError unless names are unique and some weight is over 0.
    """

    def __init__(self, *components: Component) -> None:
        for component in components:
            if not isinstance(_untyped(component)[0], Component):
                raise ValueError(f"Rubric(...) takes Components; this is {component!r}")
        names = [c.name for c in components]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two components are named {twice!r}: rename one")
        try:
            total = math.fsum(c.weight for c in components)
        except OverflowError:
            raise ValueError("the components' weights have no finite sum: use smaller ones") from None
        if not total > 0:
            raise ValueError("no component has a weight over 0: give one weight=1.0")
        self.components = components
        self.weights: dict[str, float] = {c.name: c.weight / total for c in components}
        self.gates: dict[str, float] = {c.name: t for c in components if (t := c.threshold) is not None}
        self._total = total

    def __call__(self, rollout: JsonObject, ground_truth: JsonObject) -> RubricScore:
        """Score one rollout.

        Raises ValueError, naming the component, for a value outside [0, 1], NaN or no number; and
        whatever a component raises.
        """
        values: dict[str, float] = {}
        feedback: dict[str, str] = {}
        for component in self.components:
            name = component.name
            value, said = _value(name, component.score(rollout, ground_truth))
            values[name] = value
            if said:
                feedback[name] = said
        closed = tuple(name for name, threshold in self.gates.items() if values[name] < threshold)
        # fsum on both sides: all ones are exactly 1, and no rounding lifts a total over it.
        total = math.fsum(
            c.weight * values[c.name] for c in self.components if not closed or c.gate is not False
        )
        return RubricScore(total / self._total, values, feedback, closed)


def _value(name: str, returned: Any) -> tuple[float, str]:
    feedback: Any = ""
    if isinstance(returned, Scored):
        feedback, returned = returned.feedback, _untyped(returned.score)[0]
        if not isinstance(feedback, str):
            raise ValueError(f"component {name!r} gave feedback of type {type(feedback).__name__}, not str")
    if not isinstance(returned, numbers.Real):
        hint = "; call the factory: equal(...), not equal" if callable(returned) else ""
        raise ValueError(f"component {name!r} returned {type(returned).__name__}, not a number{hint}")
    try:
        value = float(returned)
    except OverflowError:
        value = math.inf
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"component {name!r} returned {value:g}; a component's value is in [0, 1]")
    return value, feedback


def _finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _untyped(*values: Any) -> tuple[Any, ...]:
    return values
