from __future__ import annotations

import json

import pytest
from promote_arms import CONFIG, STATUSES, arm, grade, right_in, rollout, tasks

from strop.promote.compare import Arm, compare
from strop.records import Grade


def test_the_report_is_json_and_says_what_the_arms_did() -> None:
    report = compare([arm("teacher", right_in(0.8, 200)), arm("candidate", right_in(0.9, 200))], CONFIG)
    assert json.loads(json.dumps(report)) == report
    candidate = report["arms"]["candidate"]
    assert candidate["mean"] == pytest.approx(0.6 * 0.9 + 0.4)
    assert candidate["ci95"][0] < candidate["mean"] < candidate["ci95"][1]
    assert (candidate["n"], candidate["clusters"], candidate["errors"]) == (200, 40, 0)
    assert candidate["components"]["answer_ok"]["mean"] == pytest.approx(0.9)
    assert candidate["tools"] == {"lookup_eta": 1.0, "lookup_tracking": 1.0}
    assert candidate["tool_order"]["expected"] == ["lookup_tracking", "lookup_eta"]
    assert candidate["latency"] == {"p50_s": 1.0, "p95_s": 1.0, "mean_s": 1.0}
    assert candidate["tokens"]["prompt_per_task"] == 300
    assert sum(candidate["histogram"]) == 200
    assert len(candidate["customers"]) == 40


def test_unseen_customers_stand_apart() -> None:
    teacher = compare([arm("teacher", right_in(0.8, 200))], CONFIG)["arms"]["teacher"]
    assert teacher["seen_customers"]["n"] + teacher["unseen_customers"]["n"] == 200
    assert teacher["unseen_customers"]["clusters"] == 4


def test_classes_and_facets() -> None:
    wording = {f"t{i}": "new" if i < 50 else "known" for i in range(200)}
    report = compare(
        [arm("teacher", right_in(0.8, 200))], CONFIG, label="status", facets={"wording": wording}
    )
    by = report["arms"]["teacher"]["by"]
    assert {row["name"] for row in by["class"]} == set(STATUSES)
    assert [(row["name"], row["n"]) for row in by["wording"]] == [("known", 150), ("new", 50)]
    assert 0 <= by["wording"][1]["components"]["answer_ok"] <= 1


def test_differences_are_paired_by_task_whatever_the_order() -> None:
    teacher, candidate = arm("teacher", right_in(0.8, 120)), arm("candidate", right_in(0.9, 120))
    backwards = Arm(
        name="candidate",
        tasks=candidate.tasks[::-1],
        rollouts=candidate.rollouts[::-1],
        grades=candidate.grades[::-1],
    )
    straight = compare([teacher, candidate], CONFIG)["paired"]["candidate-teacher"]["score"]
    turned = compare([teacher, backwards], CONFIG)["paired"]["candidate-teacher"]["score"]
    assert turned["mean"] == pytest.approx(straight["mean"])
    assert turned["se"] == pytest.approx(straight["se"])


def test_a_grade_with_an_error_is_excluded_from_the_pair_and_counted() -> None:
    broken = [Grade(error="judge down") if i < 3 else grade(1.0) for i in range(100)]
    report = compare([arm("teacher", right_in(0.8, 100)), arm("candidate", broken)], CONFIG)
    pair = report["paired"]["candidate-teacher"]
    assert (pair["pairs"], pair["excluded"]) == (97, 3)
    assert pair["errors"] == {"candidate": 3, "teacher": 0}
    assert report["arms"]["candidate"]["n"] == 97
    assert report["arms"]["candidate"]["error_reasons"] == {"judge down": 3}


def test_an_arm_of_errors_has_no_mean() -> None:
    candidate = arm("candidate", [Grade(error="judge down")] * 20)
    report = compare([arm("teacher", right_in(0.8, 20)), candidate], CONFIG)
    assert report["arms"]["candidate"]["mean"] is None
    assert report["paired"]["candidate-teacher"]["score"] is None


def test_misses_and_problems_are_counted() -> None:
    asked = tasks(10)
    rollouts = [rollout(t, "candidate", misses=2 if i == 0 else 0) for i, t in enumerate(asked)]
    missed = Arm(name="candidate", tasks=asked, rollouts=rollouts, grades=right_in(1.0, 10))
    misses = compare([missed], CONFIG)["arms"]["candidate"]["misses"]
    assert (misses["rollouts"], misses["calls"], misses["rate"]) == (1, 2, 0.1)
    assert misses["ci95"] == pytest.approx([0.0025, 0.4450], abs=1e-3)


def test_an_arm_out_of_step_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        Arm(name="x", tasks=tasks(2), rollouts=[], grades=[])
