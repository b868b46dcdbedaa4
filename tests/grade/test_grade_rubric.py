from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from conversations import Made, conversation
from grading import EXAMPLE
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.components import equal, tool_order, verdict
from strop.grade.rubric import Component, Rubric, RubricScore, Scored
from strop.records import JsonObject

unit = st.floats(0, 1)
weights = st.floats(0, 1e6)
gates = st.sampled_from([False, True]) | st.floats(0, 1, exclude_min=True)


def read(i: int) -> Any:
    return lambda rollout, ground_truth: rollout["values"][i]


def rubric_of(parts: list[tuple[float, bool | float]]) -> Rubric:
    return Rubric(*(Component(f"c{i}", read(i), weight=w, gate=g) for i, (w, g) in enumerate(parts)))


def total(rubric: Rubric, values: list[float]) -> float:
    return rubric({"values": values}, {}).score


@st.composite
def rubrics(draw: st.DrawFn) -> tuple[list[tuple[float, bool | float]], list[float]]:
    parts = draw(
        st.lists(st.tuples(weights, gates), min_size=1, max_size=5).filter(
            lambda found: sum(w for w, _ in found) > 0
        )
    )
    return parts, [draw(unit) for _ in parts]


@given(rubrics())
def test_a_score_is_in_range_and_keeps_every_component(
    drawn: tuple[list[tuple[float, bool | float]], list[float]],
) -> None:
    parts, values = drawn
    scored = rubric_of(parts)({"values": values}, {})
    assert 0.0 <= scored.score <= 1.0
    assert list(scored.components.values()) == values
    assert scored.feedback == {}
    limits = {f"c{i}": 1.0 if g is True else float(g) for i, (_, g) in enumerate(parts) if g is not False}
    assert scored.closed == tuple(n for n, limit in limits.items() if scored.components[n] < limit)
    assert total(rubric_of(parts), [1.0] * len(parts)) == 1.0
    assert total(rubric_of(parts), [0.0] * len(parts)) == 0.0


@given(rubrics())
def test_without_closed_gates_the_total_is_the_weighted_mean(
    drawn: tuple[list[tuple[float, bool | float]], list[float]],
) -> None:
    parts, values = drawn
    mean = sum(w * v for (w, _), v in zip(parts, values, strict=True)) / sum(w for w, _ in parts)
    assert total(rubric_of([(w, False) for w, _ in parts]), values) == pytest.approx(mean)


@given(rubrics(), st.integers(0, 4), unit)
def test_a_better_component_never_lowers_the_total(
    drawn: tuple[list[tuple[float, bool | float]], list[float]], which: int, other: float
) -> None:
    parts, values = drawn
    which %= len(values)
    low, high = list(values), list(values)
    low[which], high[which] = sorted((values[which], other))
    assert total(rubric_of(parts), low) <= total(rubric_of(parts), high)


@given(rubrics())
def test_a_closed_gate_never_scores_above_the_same_values_with_the_gate_open(
    drawn: tuple[list[tuple[float, bool | float]], list[float]],
) -> None:
    parts, values = drawn
    gated = total(rubric_of(parts), values)
    for i, (weight, gate) in enumerate(parts):
        if gate is not False:
            opened = [*parts[:i], (weight, False), *parts[i + 1 :]]
            if len(rubric_of(parts)({"values": values}, {}).closed) == 1 and values[i] < float(gate):
                assert gated <= total(rubric_of(opened), values)
            raised = [*values[:i], max(values[i], float(gate)), *values[i + 1 :]]
            assert gated <= total(rubric_of(parts), raised)


def test_behind_a_closed_gate_only_the_gates_count() -> None:
    rubric = rubric_of([(3.0, True), (1.0, 0.5), (4.0, False)])
    assert total(rubric, [1.0, 0.5, 1.0]) == (3 + 0.5 + 4) / 8
    assert total(rubric, [0.5, 0.5, 1.0]) == (1.5 + 0.5) / 8
    assert total(rubric, [1.0, 0.25, 1.0]) == (3 + 0.25) / 8
    assert rubric({"values": [0.5, 0.25, 1.0]}, {}).closed == ("c0", "c1")
    veto = rubric_of([(0.0, True), (1.0, False)])
    assert (total(veto, [0.9, 1.0]), total(veto, [1.0, 0.25])) == (0.0, 0.25)


def test_weights_and_gates_are_readable() -> None:
    rubric = rubric_of([(3, True), (1, 0.5), (4, False)])
    assert rubric.weights == {"c0": 0.375, "c1": 0.125, "c2": 0.5}
    assert rubric.gates == {"c0": 1.0, "c1": 0.5}
    assert math.fsum(rubric_of([(0.1, False)] * 10).weights.values()) == pytest.approx(1.0)


def test_bools_count_and_feedback_is_kept_where_there_is_some() -> None:
    rubric = Rubric(
        Component("yes", lambda rollout, truth: True),
        Component("half", lambda rollout, truth: Scored(0.5, "half of it")),
        Component("no", lambda rollout, truth: Scored(False, "nothing of it")),  # type: ignore[arg-type]
        Component("fine", lambda rollout, truth: Scored(1)),
    )
    assert rubric({}, {}) == RubricScore(
        2.5 / 4,
        {"yes": 1.0, "half": 0.5, "no": 0.0, "fine": 1.0},
        {"half": "half of it", "no": "nothing of it"},
        (),
    )


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (1.1, "returned 1.1"),
        (-0.001, "returned -0.001"),
        (math.nan, "returned nan"),
        (math.inf, "returned inf"),
        (10**400, "returned inf"),
        (2, "returned 2"),
        ("1", "returned str, not a number"),
        (None, "returned NoneType, not a number"),
        (1j, "returned complex, not a number"),
        (Scored(1.5), "returned 1.5"),
        (Scored("1"), "returned str"),  # type: ignore[arg-type]
        (Scored(1.0, 3), "feedback of type int"),  # type: ignore[arg-type]
        (Scored(Scored(1.0)), "returned Scored"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_is_none_is_an_error_and_never_clamped(returned: Any, says: str) -> None:
    rubric = Rubric(Component("odd", lambda rollout, truth: returned), Component("fine", lambda r, t: 1.0))
    with pytest.raises(ValueError, match=f"'odd' .*{says}"):
        rubric({}, {})


def test_a_factory_that_was_not_called_is_named() -> None:
    with pytest.raises(ValueError, match=r"'answer_ok' returned .*call the factory"):
        Rubric(Component("answer_ok", equal))({}, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("", read(0)), "identifier"),
        (("a b", read(0)), "identifier"),
        ((1, read(0)), "identifier"),
        (("a", 1.0), "not a function"),
        (("a", read(0), -1), "finite number"),
        (("a", read(0), math.nan), "finite number"),
        (("a", read(0), math.inf), "finite number"),
        (("a", read(0), 10**400), "finite number"),
        (("a", read(0), "1"), "not a number"),
        (("a", read(0), True), "gate=True"),
        (("a", read(0), 1, 0), "threshold in"),
        (("a", read(0), 1, 1.5), "threshold in"),
        (("a", read(0), 1, math.nan), "threshold in"),
        (("a", read(0), 1, "yes"), "threshold in"),
        (("a", read(0), 1, None), "threshold in"),
    ],
)
def test_a_component_says_what_is_wrong_with_it(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Component(*arguments)


@pytest.mark.parametrize(
    ("components", "says"),
    [
        ((), "no component has a weight"),
        ((Component("a", read(0), 0.0, True),), "no component has a weight"),
        ((Component("a", read(0)), Component("a", read(1))), "two components are named 'a'"),
        ((Component("a", read(0), 1e308), Component("b", read(0), 1e308)), "no finite sum"),
        ((read(0),), "takes Components"),
    ],
)
def test_a_rubric_says_what_is_wrong_with_it(components: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Rubric(*components)


tools = st.lists(st.sampled_from(["lookup_tracking", "lookup_eta", "other"]), max_size=3)
statuses = st.sampled_from(["delivered", "delayed", None])


@given(statuses, tools, st.booleans())
def test_the_example_as_a_rubric_equals_the_example_as_a_function(
    status: str | None, names: list[str], tone: bool
) -> None:
    space: JsonObject = {}
    exec(EXAMPLE, space)
    rubric = Rubric(
        Component("answer_ok", equal("final_status", "status"), weight=0.60),
        Component("tool_ok", tool_order("lookup_tracking", "lookup_eta"), weight=0.25),
        Component("tone_ok", verdict("tone_pass"), weight=0.15),
    )
    final = None if status is None else json.dumps({"final_status": status})
    rollout = conversation(
        [Made(name) for name in names], final, ["final_status"], verdicts={"tone_pass": tone}
    )
    truth = {"status": "delivered"}
    assert rubric(rollout, truth).score == pytest.approx(space["grade"](rollout, truth), abs=1e-12)


def test_the_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, strop.grade.rubric, strop.grade.components;"
        "heavy = {'sqlalchemy', 'pydantic', 'httpx2', 'torch', 'numpy', 'scipy', 'jsonschema', 'polars'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
