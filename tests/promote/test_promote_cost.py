from __future__ import annotations

from pathlib import Path

import pytest
from promote_arms import CONFIG, arm, grade, right_in

from strop.config import Config, Machine
from strop.promote.cost import cost, resolved
from strop.records import Grade

WEIGHTS = {"answer_ok": 0.6, "tool_ok": 0.25, "tone_ok": 0.15}


def test_a_ticket_is_resolved_when_its_outcome_is_right() -> None:
    assert resolved(grade(1.0, tool=0.0, tone=0.0), WEIGHTS)
    assert not resolved(grade(0.0), WEIGHTS)
    assert resolved(Grade(score=0.9), {})
    assert not resolved(Grade(score=0.89), {})


def test_failures_are_paid_too() -> None:
    document = cost(
        arm("teacher", right_in(0.8, 100)),
        arm("candidate", right_in(0.5, 100)),
        CONFIG,
        weights=WEIGHTS,
        train_seconds=3600,
        seconds_per_ticket=2.0,
    )
    assert document["teacher_scenario"]["usd"] == pytest.approx(0.20 / 0.8)
    assert document["teacher_list_price"]["usd"] == pytest.approx((300 * 2.5 + 60 * 10) / 1e6 / 0.8)
    training = 3600 * 40 / (30 * 86400) / 30_000
    assert document["candidate_machine"]["usd"] == pytest.approx((40 / 30_000 + training) / 0.5)
    assert document["candidate_marginal"]["usd"] == pytest.approx(2 * 40 / (30 * 86400) / 0.5)
    assert document["candidate_marginal"]["cpu_seconds"] == 4.0
    assert document["ratio"]["candidate_machine"] == pytest.approx(
        0.25 / document["candidate_machine"]["usd"]
    )
    assert "0.500 resolved" in document["candidate_machine"]["formula"]
    low, high = document["resolved"]["ci95"]["candidate"]
    assert low < 0.5 < high
    assert "$0.250000" in document["teacher_scenario"]["formula"]


def test_more_machines_where_one_is_too_slow() -> None:
    config = Config(root=Path(), machine=Machine(tickets_per_day=100_000))
    both = arm("teacher", right_in(0.8, 50)), arm("candidate", right_in(0.8, 50))
    document = cost(*both, config, weights=WEIGHTS, train_seconds=0, seconds_per_ticket=2.0)
    assert document["candidate_machine"]["machines"] == 3


def test_nothing_resolved_has_no_price() -> None:
    both = arm("teacher", right_in(0.8, 50)), arm("candidate", right_in(0.0, 50))
    document = cost(*both, CONFIG, weights=WEIGHTS, train_seconds=10)
    assert document["candidate_machine"]["usd"] is None
    assert document["ratio"]["candidate_machine"] is None
    assert "nothing resolved" in document["candidate_machine"]["formula"]


def test_grades_with_errors_are_counted_apart() -> None:
    grades = [Grade(error="judge down")] * 10 + [grade(1.0)] * 40
    both = arm("teacher", right_in(0.8, 50)), arm("candidate", grades)
    document = cost(*both, CONFIG, weights=WEIGHTS, train_seconds=10)
    assert document["resolved"]["candidate"] == 1.0
    assert document["resolved"]["ungraded"] == {"teacher": 0, "candidate": 10}


def test_an_arm_without_grades_resolves_nothing() -> None:
    both = arm("teacher", right_in(0.8, 20)), arm("candidate", [Grade(error="judge down")] * 20)
    document = cost(*both, CONFIG, weights=WEIGHTS, train_seconds=10)
    assert document["resolved"]["candidate"] == 0.0
    assert document["resolved"]["ci95"]["candidate"] is None
