from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promote_arms import CONFIG, arm, grade, right_in, rollout, tasks

from strop.config import Promote
from strop.promote.compare import Arm, compare
from strop.promote.gate import decide
from strop.records import Grade, Verdict

SETTINGS = Promote()


def judge(*arms: Arm, gate: Promote = SETTINGS) -> Verdict:
    return decide(compare(arms, CONFIG), gate, candidate_id="sha")


def test_a_clearly_better_candidate_is_promoted_with_its_numbers() -> None:
    verdict = judge(arm("teacher", right_in(0.75, 400)), arm("candidate", right_in(0.95, 400)))
    assert verdict.decision == "promote"
    assert verdict.needed_n is None
    assert verdict.evidence["tests"][0]["difference"] == pytest.approx(0.12)
    assert verdict.evidence["tests"][0]["lower"] > -0.03
    assert "n 400, 40 customers" in verdict.reasons[0]


def test_a_clearly_worse_candidate_is_rejected() -> None:
    verdict = judge(arm("teacher", right_in(0.95, 400)), arm("candidate", right_in(0.6, 400)))
    assert verdict.decision == "reject"
    assert "worse" in verdict.reasons[0]


def test_too_few_tasks_are_inconclusive_and_say_how_many_it_would_take() -> None:
    verdict = judge(arm("teacher", right_in(0.8, 60)), arm("candidate", right_in(0.8, 60, offset=13)))
    assert verdict.decision == "inconclusive"
    assert verdict.needed_n is not None
    assert verdict.needed_n > 60
    assert str(verdict.needed_n) in " ".join(verdict.reasons)


def test_a_collapsed_component_is_rejected_though_the_score_is_better() -> None:
    teacher = [grade(float(i % 10 < 6)) for i in range(400)]
    candidate = [grade(1.0, tone=float(i % 2)) for i in range(400)]
    verdict = judge(arm("teacher", teacher), arm("candidate", candidate))
    assert verdict.evidence["tests"][0]["lower"] > 0
    assert verdict.decision == "reject"
    assert verdict.reasons[0].startswith("component tone_ok")


def test_an_abandoned_tool_is_rejected_and_a_rare_one_is_not_missed() -> None:
    better, worse = right_in(0.95, 400), right_in(0.75, 400)
    verdict = judge(arm("teacher", worse), arm("candidate", better, tools=("lookup_tracking",)))
    assert verdict.decision == "reject"
    assert "lookup_eta is abandoned: candidate calls it in 0.0%" in verdict.reasons[0]
    asked = tasks(400)
    rare = [rollout(t, "teacher", ("a", "b") if i < 30 else ("a",)) for i, t in enumerate(asked)]
    teacher = Arm(name="teacher", tasks=asked, rollouts=rare, grades=worse)
    assert judge(teacher, arm("candidate", better, tools=("a",))).decision == "promote"


def test_few_customers_are_inconclusive() -> None:
    verdict = judge(
        arm("teacher", right_in(0.75, 400), customers=8), arm("candidate", right_in(0.95, 400), customers=8)
    )
    assert verdict.decision == "inconclusive"
    assert "effective customers" in verdict.reasons[0]


@pytest.mark.parametrize(("missing", "decision"), [(4, "promote"), (5, "inconclusive"), (12, "inconclusive")])
def test_calls_without_a_recorded_result(missing: int, decision: str) -> None:
    asked = tasks(400)
    rollouts = [rollout(t, "candidate", misses=int(i < missing)) for i, t in enumerate(asked)]
    candidate = Arm(name="candidate", tasks=asked, rollouts=rollouts, grades=right_in(0.95, 400))
    assert judge(arm("teacher", right_in(0.75, 400)), candidate).decision == decision


def test_misses_in_both_arms_count_too() -> None:
    asked = tasks(400)
    arms = [
        Arm(
            name=name,
            tasks=asked,
            rollouts=[rollout(t, name, misses=int(i < 10)) for i, t in enumerate(asked)],
            grades=right_in(share, 400),
        )
        for name, share in (("teacher", 0.75), ("candidate", 0.95))
    ]
    verdict = judge(*arms)
    assert verdict.decision == "inconclusive"
    assert "at most 2.0%" in verdict.reasons[0]


@pytest.mark.parametrize(("missing", "decision"), [(12, "reject"), (320, "inconclusive")])
def test_worse_even_if_every_unanswered_call_had_gone_well_is_rejected(missing: int, decision: str) -> None:
    asked = tasks(400)
    rollouts = [rollout(t, "candidate", misses=int(i < missing)) for i, t in enumerate(asked)]
    candidate = Arm(name="candidate", tasks=asked, rollouts=rollouts, grades=right_in(0.5, 400))
    verdict = judge(arm("teacher", right_in(0.95, 400)), candidate)
    assert verdict.decision == decision
    assert any("called what no recorded result answers" in reason for reason in verdict.reasons)
    assert ("settled in favour of candidate" in verdict.reasons[0]) == (decision == "reject")


@pytest.mark.parametrize(("failed", "decision"), [(20, "promote"), (21, "inconclusive")])
def test_the_failure_budget(failed: int, decision: str) -> None:
    grades = [Grade(error="timeout") if i < failed else g for i, g in enumerate(right_in(0.95, 400))]
    verdict = judge(arm("teacher", right_in(0.7, 400)), arm("candidate", grades))
    assert verdict.decision == decision


def test_without_a_teacher_there_is_no_verdict() -> None:
    verdict = judge(arm("candidate", right_in(1.0, 200)))
    assert verdict.decision == "inconclusive"
    assert verdict.reasons == ("there is no teacher in the comparison",)


def test_arms_on_different_tasks_are_no_evidence() -> None:
    verdict = judge(arm("teacher", right_in(0.7, 300)), arm("candidate", right_in(0.95, 400)))
    assert verdict.decision == "inconclusive"
    assert "given to one arm only" in verdict.reasons[0]


def test_the_champion_must_not_be_lost_either() -> None:
    teacher, candidate = arm("teacher", right_in(0.6, 400)), arm("candidate", right_in(0.75, 400))
    assert judge(teacher, candidate).decision == "promote"
    verdict = judge(teacher, candidate, arm("champion", right_in(0.99, 400)))
    assert verdict.decision == "reject"
    assert "candidate - champion" in verdict.reasons[0]


def test_equal_behaviour_is_not_proof_at_small_n() -> None:
    same: dict[str, Any] = {"customers": 40}
    few = judge(arm("teacher", [grade(1.0)] * 80, **same), arm("candidate", [grade(1.0)] * 80, **same))
    many = judge(arm("teacher", [grade(1.0)] * 200, **same), arm("candidate", [grade(1.0)] * 200, **same))
    assert (few.decision, many.decision) == ("inconclusive", "promote")
    assert few.needed_n is not None
    assert 80 < few.needed_n <= 200


def test_a_difference_of_exactly_the_margin_does_not_pass() -> None:
    gate = Promote(margin=0.0, component_margin=0.0)
    verdict = judge(arm("teacher", [grade(1.0)] * 200), arm("candidate", [grade(1.0)] * 200), gate=gate)
    assert verdict.decision == "inconclusive"


@settings(max_examples=25)
@given(
    st.floats(0.3, 1.0), st.floats(0.3, 1.0), st.floats(0.0, 0.2), st.integers(60, 300), st.integers(0, 99)
)
def test_laws_of_the_gate(a: float, b: float, margin: float, n: int, offset: int) -> None:
    teacher, candidate = arm("teacher", right_in(a, n)), arm("candidate", right_in(b, n, offset))
    narrow = judge(teacher, candidate, gate=Promote(margin=margin))
    wide = judge(teacher, candidate, gate=Promote(margin=margin + 0.05))
    if narrow.decision == "promote":
        assert wide.decision == "promote"
        assert narrow.evidence["tests"][0]["lower"] > -margin
    if wide.decision == "reject":
        assert narrow.decision == "reject"
    if narrow.needed_n is not None:
        assert narrow.needed_n > n


def test_breaking_the_grader_counts_as_nothing_in_every_component() -> None:
    floored = [Grade(score=0.0, floored=True) if i % 3 == 0 else grade(1.0) for i in range(400)]
    report = compare([arm("teacher", right_in(0.3, 400)), arm("candidate", floored)], CONFIG)
    pair = report["paired"]["candidate-teacher"]
    assert pair["components"]["tone_ok"]["n"] == 400
    assert pair["components"]["tone_ok"]["mean"] == pytest.approx(-134 / 400)
    assert report["arms"]["candidate"]["components"]["tone_ok"]["mean"] == pytest.approx(266 / 400)
    assert report["arms"]["candidate"]["floored"] == 134
    assert decide(report, SETTINGS, candidate_id="sha").decision == "reject"


def test_a_component_that_the_candidate_never_has_is_no_evidence() -> None:
    bare = [Grade(score=0.95, components={"answer_ok": 1.0}) for _ in range(400)]
    verdict = judge(arm("teacher", right_in(0.5, 400)), arm("candidate", bare))
    assert verdict.decision == "inconclusive"
    assert "tone_ok" in " ".join(verdict.reasons)
