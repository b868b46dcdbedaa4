"""A grader file with a rubric, graded like any other: in the sandbox, stored, with words."""

from __future__ import annotations

from pathlib import Path

import pytest
from grading import project, rollout, task

from strop.errors import ConfigError
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox
from strop.grade.scorer import Scorer
from strop.records import Grade

RUBRIC = """
from strop.grade.components import equal, tool_order
from strop.grade.rubric import Component, Rubric, Scored


def short(rollout, ground_truth):
    words = len((rollout["message"] or "").split())
    return Scored(1.0 if 0 < words <= 5 else 0.5, "" if 0 < words <= 5 else f"{words} words")


rubric = Rubric(
    Component("answer_ok", equal("final_status", "status"), weight=6, gate=True),
    Component("tool_ok", tool_order("lookup_tracking", "lookup_eta"), weight=3),
    Component("short_ok", short, weight=1),
)
"""
RIGHT = '{"final_status": "delivered", "message": "It is there."}'
WORDY = '{"final_status": "delivered", "message": "It is there, as far as we can tell."}'
WRONG = '{"final_status": "returned", "message": "It is there."}'


def test_components_gates_and_feedback_come_with_the_grade(tmp_path: Path) -> None:
    config, db = project(tmp_path, RUBRIC)
    pairs = [(task(), rollout(RIGHT)), (task(), rollout(WORDY, tools=())), (task(), rollout(WRONG))]
    with Scorer(config, db) as scorer:
        assert scorer.weights == {"answer_ok": 0.6, "tool_ok": 0.3, "short_ok": 0.1}
        right, wordy, wrong = scorer.score(pairs)
        assert right == Grade(score=1.0, components={"answer_ok": 1.0, "tool_ok": 1.0, "short_ok": 1.0})
        assert wordy.score == pytest.approx(0.65)
        assert wordy.components == {"answer_ok": 1.0, "tool_ok": 0.0, "short_ok": 0.5}
        assert set(wordy.feedback) == {"tool_ok", "short_ok"} and wordy.feedback["short_ok"] == "9 words"
        # Behind a closed gate the rest counts for nothing, and is shown all the same.
        assert (wrong.score, wrong.components["tool_ok"]) == (0.0, 1.0)
    with Scorer(config, db) as again:
        assert again.score(pairs) == [right, wordy, wrong]
    db.close()


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("lambda r, t: 7", "raised ValueError: component 'a' returned 7"),
        ("lambda r, t: float('nan')", "component 'a' returned nan"),
        ("lambda r, t: 'good'", "component 'a' returned str"),
        ("lambda r, t: r['nothing']", "raised KeyError"),
        ("lambda r, t: exit()", "raised SystemExit"),
    ],
)
def test_a_component_that_fails_is_that_items_error(tmp_path: Path, function: str, says: str) -> None:
    path = tmp_path / "grader.py"
    path.write_text(
        "from strop.grade.rubric import Component, Rubric\n"
        f"rubric = Rubric(Component('a', {function}), Component('b', lambda r, t: 1.0))\n"
    )
    with Sandbox(load_grader(path), Limits(workers=1)) as sandbox:
        (grade,) = sandbox.run([({}, {})])
    assert grade.score is None and grade.components == {} and grade.feedback == {}
    assert grade.error is not None and says in grade.error


def test_a_rubric_that_does_not_build_stops_the_step(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text(
        "from strop.grade.rubric import Component, Rubric\nrubric = Rubric(Component('no name', abs))\n"
    )
    with pytest.raises(ConfigError, match="does not load: it raised ValueError: a component's name"):
        Sandbox(load_grader(path), Limits(workers=1)).__enter__()


def test_a_huge_feedback_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text(
        "from strop.grade.rubric import Component, Rubric, Scored\n"
        "rubric = Rubric(Component('a', lambda r, t: Scored(0.5, 'x' * 10**7)))\n"
    )
    with Sandbox(load_grader(path), Limits(workers=1)) as sandbox:
        (grade,) = sandbox.run([({}, {})])
    assert grade.score == 0.5 and len(grade.feedback["a"]) == 400
