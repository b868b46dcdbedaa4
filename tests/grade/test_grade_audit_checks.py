"""From measurements to verdicts, the lines that they are about, and the page that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strop.grade.audit.aliasing import aliasing
from strop.grade.audit.checks import (
    Check,
    of_distribution,
    of_reach,
    of_spread,
    of_tools,
    of_weights,
    overall,
)
from strop.grade.audit.hints import hint
from strop.grade.audit.incentives import incentive
from strop.grade.audit.page import html
from strop.grade.audit.shape import shape
from strop.grade.audit.stability import rank_stability
from strop.grade.audit.tools import Fallback, ToolIncentives
from strop.grade.audit.weights import correlations, effective_weights, outcome_reach
from strop.grade.load import load_grader


def by_id(checks: list[Check]) -> dict[str, str]:
    return {check.id: check.verdict for check in checks}


@pytest.mark.parametrize(
    ("scores", "attempts", "expected"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], 4, {"D1": "pass", "D2": "fail", "D3": "pass"}),
        ([[0.0, 1.0], [1.0, 1.0]], 4, {"D1": "pass", "D2": "fail", "D3": "pass"}),
        ([[0.0, 0.4], [0.7, 1.0]], 4, {"D1": "pass", "D2": "pass", "D3": "pass"}),
        ([[0.0, 0.4], [0.7, np.nan]], 4, {"D1": "fail", "D2": "pass", "D3": "pass"}),
        ([[np.nan, np.nan]], 2, {"D1": "fail"}),
    ],
    ids=["constant", "binary", "spread", "a quarter ungraded", "nothing graded"],
)
def test_the_distribution(scores: list[list[float]], attempts: int, expected: dict[str, str]) -> None:
    assert by_id(of_distribution(shape(scores), attempts, allow_binary=None, budget=0.05)) == expected


def test_a_binary_grader_may_be_allowed_with_a_reason() -> None:
    checks = of_distribution(shape([[0.0, 1.0]]), 2, allow_binary="a pilot", budget=0.05)
    assert (checks[1].verdict, "a pilot" in checks[1].what) == ("pass", True)


def test_groups_that_score_alike_warn() -> None:
    alike = np.repeat([[0.2], [0.9], [0.4], [1.0]], 4, axis=1)
    found = by_id(of_spread(shape(alike, group_size=4), enough=True))
    assert found == {"D4": "warn", "D5": "warn", "D6": "warn"}
    assert by_id(of_spread(shape(alike, group_size=4), enough=False)) == {"D4": "warn"}
    mixed = np.tile([0.1, 0.4, 0.6, 0.9], (4, 1))
    assert set(by_id(of_spread(shape(mixed, group_size=4), enough=True)).values()) == {"pass"}


def test_tools_that_do_not_pay_fail_and_the_limits_are_given() -> None:
    loses = incentive("refund", [0.2] * 10, [-0.3] * 40, [0.0] * 20)
    pays = incentive("lookup", [1.0] * 45, [0.0] * 5, [0.1] * 20)
    fallback = Fallback(strategy="a guess", mean=0.6, honest=0.9, n=20)
    checks = of_tools(ToolIncentives(tools=(loses, pays), fallback=fallback))
    assert by_id(checks) == {"T1": "fail", "T2": "pass", "T0": "warn"}
    assert "at most 0.00" in checks[0].remedy
    assert "collapse predicted" in checks[0].what


def weighed(components: Any, weights: list[float]) -> dict[str, str]:
    parts = np.asarray(components, dtype=np.float64)
    names = ["a", "b"]
    checks = of_weights(
        effective_weights(parts, weights, names=names),
        correlations(parts, names=names),
        aliasing(parts, weights),
        rank_stability(parts, weights),
        pooled=False,
        unexplained=0,
    )
    return by_id(checks)


def test_weights_that_are_not_what_they_say_warn() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((30, 6)), rng.random((30, 6))
    assert weighed(np.stack([a, b], axis=2), [0.5, 0.5])["W1"] == "pass"
    assert weighed(np.stack([a, np.ones_like(a)], axis=2), [0.5, 0.5])["W2"] == "warn"
    assert weighed(np.stack([a, 0.1 * b], axis=2), [0.5, 0.5])["W2"] == "warn"
    assert weighed(np.stack([a, 1 - 0.5 * a], axis=2), [0.6, 0.4])["W2"] == "warn"
    assert weighed(np.stack([a, a], axis=2), [0.5, 0.5])["WC"] == "warn"


def test_partial_credit_fails_only_where_the_outcome_is_named() -> None:
    rows = np.array([[[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]])
    found = outcome_reach(rows, [0.3, 0.3, 0.4], 0)
    assert of_reach(found, "a", named=True).verdict == "fail"
    assert of_reach(found, "a", named=False).verdict == "warn"
    safe = outcome_reach(rows, [0.8, 0.1, 0.1], 0)
    assert of_reach(safe, "a", named=True).verdict == "pass"


def test_the_worst_verdict_is_the_verdict() -> None:
    def made(*verdicts: Any) -> list[Check]:
        return [Check(part="tools", id="T", name="t", verdict=v, what="") for v in verdicts]

    assert overall(made("pass", "warn", "fail")) == "fail"
    assert overall(made("pass", "warn")) == "warn"
    assert overall(made("pass", "not applicable")) == "pass"
    assert overall([]) == "not applicable"


def test_lines_of_graders_are_named(tmp_path: Path) -> None:
    function = tmp_path / "grader.py"
    function.write_text(
        "def grade(rollout, ground_truth):\n    a = 1.0\n    b = 0.5\n    return 0.5 * a + 0.5 * b\n"
    )
    rubric = tmp_path / "rubric.py"
    rubric.write_text(
        "from strop.grade.components import equal\nfrom strop.grade.rubric import Component, Rubric\n"
        'rubric = Rubric(\n    Component("ok", equal("s", "s"), weight=0.7),\n'
        '    Component(name="more", score=equal("t", "t"), weight=0.3),\n)\n'
    )
    lines: list[int | None] = []
    for file, component in [
        (function, "b"),
        (function, None),
        (rubric, "ok"),
        (rubric, "more"),
        (rubric, None),
    ]:
        found = hint(load_grader(file), component)
        lines.append(found and found.line)
    assert lines == [3, 4, 4, 5, 3]
    assert hint(load_grader(function), "absent") is None


def test_the_page_shows_what_it_is_given_and_runs_nothing() -> None:
    evil = "<script>alert(1)</script>"
    check = {
        "part": "exploits",
        "id": "P01",
        "name": evil,
        "verdict": "fail",
        "what": evil,
        "remedy": evil,
        "hint": None,
    }
    worst = {
        "technique": evil,
        "score": 1.0,
        "against": [0.5],
        "messages": [],
        "final": evil,
        "task_id": evil,
    }
    page = html(
        {
            "grader": {"file": evil, "hash": "0" * 64}, "attempts": 3, "prompts": 3, "verdict": "fail",
            "checks": [check], "distribution": None, "weights": None, "tools": None,
            "exploits": {"probes": 1, "families": [
                {"id": "P01", "name": "empty", "verdict": "fail", "worst": [worst]}]},
        }
    )  # fmt: skip
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
