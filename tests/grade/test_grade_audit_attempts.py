"""Graded attempts as arrays."""

from __future__ import annotations

import numpy as np

from strop.grade.audit.attempts import tabulate
from strop.records import Grade


def grade(a: float, b: float) -> Grade:
    return Grade(score=0.75 * a + 0.25 * b, components={"a": a, "b": b})


def test_missing_attempts_and_errors_have_no_score() -> None:
    table = tabulate([[grade(1, 0), Grade(error="raised")], [grade(0, 1)]], {"a": 0.75, "b": 0.25}, {})
    assert np.isnan(table.scores_P_G).tolist() == [[False, True], [False, True]]
    assert table.components_P_G_K[0, 0].tolist() == [1.0, 0.0]
    assert (table.repeated, table.graded, table.unexplained()) == (0, 2, 0)


def test_behind_a_closed_gate_only_gates_add() -> None:
    closed = Grade(score=0.1, components={"a": 0.2, "b": 1.0})
    table = tabulate(
        [[closed, Grade(score=1.0, components={"a": 1.0, "b": 1.0})]], {"a": 0.5, "b": 0.5}, {"a": 1.0}
    )
    assert table.closed_P_G.tolist() == [[True, False]]
    assert table.components_P_G_K.tolist() == [[[0.2, 0.0], [1.0, 1.0]]]
    assert table.unexplained() == 0


def test_scores_that_are_no_weighted_sum_are_counted() -> None:
    early = Grade(score=0.0, components={"a": 1.0, "b": 1.0})
    table = tabulate([[early, grade(1, 1)]], {"a": 0.75, "b": 0.25}, {})
    assert table.unexplained() == 1


def test_pooled_is_one_group() -> None:
    table = tabulate([[grade(1, 0)], [grade(0, 1)]], {"a": 0.75, "b": 0.25}, {}).pooled()
    assert table.scores_P_G.tolist() == [[0.75, 0.25]]
    assert table.repeated == 1


def test_no_attempts_at_all() -> None:
    table = tabulate([], {}, {})
    assert (table.repeated, table.graded, table.unexplained()) == (0, 0, 0)
