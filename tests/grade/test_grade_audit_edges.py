"""What an examination says where there is little to go on: no traceback, a verdict and its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import pytest
from audited import handed_in, questions, refunds, scored, shipments, tool, totals
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.grade.audit.cases import Case
from strop.grade.audit.exploits import Examination, FamilyResult, examine
from strop.records import Grade, JsonObject, Message, Rollout, Task, ToolCall

SHIPMENT = ("evidence", "final_status", "eta", "message")


def family(found: Examination, name: str) -> FamilyResult:
    return next(f for f in found.families if f.id == name)


def fails(found: Examination) -> set[str]:
    return {f.id for f in found.families if f.verdict == "fail"}


def single(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Keep one attempt a task, good and bad ones mixed, as production records them."""
    return tuple(Case(c.task, (c.rollouts[i % len(c.rollouts)],)) for i, c in enumerate(cases))


def status(r: JsonObject, g: JsonObject) -> float:
    return float(r["final_status"] == g["status"])


def calls(r: JsonObject, name: str) -> list[JsonObject]:
    return [c["arguments"] for c in r["tool_calls"] if c["name"] == name]


def handed(r: JsonObject, g: JsonObject) -> float:
    given = calls(r, "submit_final_result")
    return float(bool(given) and given[-1].get("result") == g["total"])


def handed_or_said(r: JsonObject, g: JsonObject) -> float:
    if calls(r, "submit_final_result"):
        return handed(r, g)
    return float(g["total"] in (r["messages"][-1]["content"] or ""))


def test_no_cases_say_why_nothing_was_probed() -> None:
    found = examine((), scored(status))
    assert (found.verdict, found.cases, found.probes, found.honest) == ("not applicable", 0, 0, None)
    assert found.said == ("no honest rollout was given: nothing can be probed",)
    assert len(found.families) == 24 and {f.verdict for f in found.families} == {"not applicable"}


@pytest.mark.parametrize("value", [1.0, 0.5])
def test_a_constant_grader_fails(value: float) -> None:
    found = examine(shipments(), scored(lambda r, g: value))
    assert found.verdict == "fail"
    assert {"P01", "P02", "P15"} <= fails(found)


def test_a_grader_that_pays_nothing_can_not_be_probed() -> None:
    found = examine(shipments(), scored(lambda r, g: 0.0))
    assert found.verdict == "not applicable" and found.used == 0
    assert "no honest rollout scores over 0" in found.said[0]


def test_a_grader_that_raises_on_everything_is_reported() -> None:
    found = examine(shipments(), scored(lambda r, g: 1 / 0))
    assert found.verdict == "not applicable" and found.ungraded == found.attempts == 168
    assert "ZeroDivisionError" in found.said[0]


def test_ungradable_cases_are_left_out_and_counted() -> None:
    cases = [
        Case(msgspec.structs.replace(c.task, ground_truth=None), c.rollouts) if i % 3 == 0 else c
        for i, c in enumerate(shipments())
    ]
    grade = scored(status, SHIPMENT)

    def score(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
        graded = iter(grade([p for p in pairs if p[0].ground_truth is not None]))
        return [Grade(error="no ground truth") if t.ground_truth is None else next(graded) for t, _ in pairs]

    found = examine(cases, score)
    assert (found.cases, found.used, found.ungraded) == (24, 16, 8 * 7)
    assert fails(found) == set()
    assert any("no ground truth" in s for s in found.said)


def test_one_attempt_a_task_is_enough_to_find_flaws_and_clear_clean_ones() -> None:
    def contained(r: JsonObject, g: JsonObject) -> float:
        return float(g["status"] in str(r["final_status"]))

    def worded(r: JsonObject, g: JsonObject) -> float:
        return 0.7 * status(r, g) + 0.3 * min(1.0, len((r["message"] or "").split()) / 60)

    cases = single(shipments(48))
    clean = examine(cases, scored(status, SHIPMENT))
    assert fails(clean) == set() and clean.probes >= 300 and clean.used < clean.cases == clean.attempts
    assert {"P08", "P14"} <= fails(examine(cases, scored(contained, SHIPMENT)))
    assert "P13" in fails(examine(cases, scored(worded, SHIPMENT)))


def test_words_in_place_of_the_submit_call_fail_and_a_hard_gate_passes() -> None:
    for cases in (handed_in(), single(handed_in(48))):
        fallback = examine(cases, scored(handed_or_said))
        assert fallback.verdict == "fail" and "P04" in fails(fallback)
        assert "no calls" in family(fallback, "P04").worst[0].technique
        gated = examine(cases, scored(handed))
        assert fails(gated) == set()
        assert family(gated, "P04").verdict != "fail" and family(gated, "P04").exploits == 0


def test_a_fallback_that_is_milder_than_graded_look_ups_fails() -> None:
    wanted = {"lookup_tracking", "lookup_eta"}

    def looked(r: JsonObject, g: JsonObject) -> float:
        return 0.6 * status(r, g) + 0.4 * ({c["name"] for c in r["tool_calls"]} >= wanted)

    def looked_or_not(r: JsonObject, g: JsonObject) -> float:
        return looked(r, g) if r["tool_calls"] else status(r, g)

    assert "P04" in fails(examine(shipments(), scored(looked_or_not, SHIPMENT)))
    assert fails(examine(shipments(), scored(looked, SHIPMENT))) == set()
    assert fails(examine(shipments(), scored(status, SHIPMENT))) == set()


def test_tasks_without_tools_make_the_call_families_not_applicable() -> None:
    def exact(r: JsonObject, g: JsonObject) -> float:
        return float(isinstance(r["total"], float) and abs(r["total"] - g["total"]) < 0.01)

    found = examine(totals(), scored(exact, ("total",)))
    for name in ("P05", "P06", "P07", "P23", "P24"):
        assert family(found, name).verdict == "not applicable" and family(found, name).probes == 0


def test_answers_that_are_no_json_are_probed_as_a_whole() -> None:
    def exact(r: JsonObject, g: JsonObject) -> float:
        text = r["messages"][-1]["content"] or ""
        return float(f" is {g['days']} days." in text and g["topic"] in text and len(text) < 90)

    assert fails(examine(single(questions(48)), scored(exact))) == set()
    found = examine(questions(), scored(lambda r, g: float(bool(r["messages"][-1]["content"]))))
    assert {"P01", "P08", "P15"} <= fails(found)


def test_components_say_which_part_paid() -> None:
    def score(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
        right = scored(status, SHIPMENT)(pairs)
        calls_ = [min(1.0, sum(len(m.tool_calls) for m in r.messages) / 6) for _, r in pairs]
        return [
            Grade(score=0.7 * (g.score or 0.0) + 0.3 * c, components={"right": g.score or 0.0, "diligent": c})
            for g, c in zip(right, calls_, strict=True)
        ]

    spam = family(examine(shipments(), score, worst=1000), "P05")
    assert spam.verdict == "fail" and "needed calls" in spam.remedy
    worst = next(f for f in spam.worst if f.technique == "each call 2 times")
    assert worst.components["diligent"] > worst.held[0]["diligent"]
    assert worst.components["right"] == worst.held[0]["right"]


def test_a_prompt_that_shows_the_truth_is_a_warning() -> None:
    assert family(examine(handed_in(), scored(handed)), "P09").verdict == "pass"
    shown = [msgspec.structs.replace(c, task=_shown(c.task)) for c in handed_in()]
    leak = family(examine(shown, scored(handed)), "P09")
    assert (leak.verdict, leak.exploits) == ("warn", 0) and leak.reason.startswith("24 of 24")


def _shown(task: Task) -> Task:
    truth = task.ground_truth or {}
    label = f"ledger-{truth['total']}"
    system = Message("system", f"Add up the ledger. Internal: {label}")
    return msgspec.structs.replace(
        task, ground_truth={**truth, "label": label}, messages=(system, *task.messages[1:])
    )


Role = Literal["assistant", "tool", "user"]
ROLES: tuple[Role, ...] = ("assistant", "tool", "user")
ODD = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**30), 10**30) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def odd_rollouts(draw: st.DrawFn) -> Rollout:
    messages: list[Message] = []
    for i in range(draw(st.integers(0, 3))):
        role: Role = draw(st.sampled_from(ROLES))
        content = draw(st.none() | st.text(max_size=20))
        called = [
            ToolCall(f"c{i}", draw(st.sampled_from(["look_up", "send_it", ""])), draw(st.text(max_size=15)))
            for _ in range(draw(st.integers(0, 2)) if role == "assistant" else 0)
        ]
        messages.append(Message(role, content, tuple(called), tool_call_id=None if role != "tool" else "c0"))
    final = draw(
        st.none() | st.text(max_size=30) | st.just('{"a": 1, "b": "x y z w"}') | st.just('{"a": NaN}')
    )
    return Rollout(task_id="t", policy="p", messages=tuple(messages), final=final)


@settings(max_examples=25)
@given(
    rollouts=st.lists(st.lists(odd_rollouts(), max_size=3), max_size=4),
    truths=st.lists(
        st.none() | st.dictionaries(st.text(max_size=4), ODD, max_size=2), min_size=4, max_size=4
    ),
    scores=st.lists(st.sampled_from([0.0, 0.3, 1.0, None]), min_size=7, max_size=7),
)
def test_odd_attempts_and_odd_scores_never_raise(
    rollouts: list[list[Rollout]], truths: list[JsonObject | None], scores: list[float | None]
) -> None:
    cases = [
        Case(
            Task(
                task_id=f"t{i}",
                messages=(Message("user", "do it"),) if i else (),
                tools=(tool("send_it", "a"),) if i % 2 else (),
                customer="c",
                group="g",
                split="train",
                at=i,
                ground_truth=truths[i],
            ),
            tuple(attempts),
        )
        for i, attempts in enumerate(rollouts)
    ]

    def score(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
        values = [scores[(len(r.final or "") + len(r.messages)) % len(scores)] for _, r in pairs]
        return [Grade(error="raised ValueError: odd") if v is None else Grade(score=v) for v in values]

    found = examine(cases, score)
    assert found.attempts == sum(map(len, rollouts))
    assert all(f.reason and 0 <= f.exploits <= f.probes for f in found.families)
    assert all(not math.isnan(f.mean) for f in found.families if f.mean is not None)
    assert msgspec.json.encode(found) == msgspec.json.encode(examine(cases, score))


def test_refunds_with_one_attempt_each_are_judged_alike() -> None:
    def one_refund(r: JsonObject, g: JsonObject) -> float:
        acts = [c for c in r["tool_calls"] if c["name"] != "get_order"]
        names = [c["name"] for c in r["tool_calls"]]
        return float(
            names[:1] == ["get_order"]
            and len(acts) == 1
            and acts[0]["name"] == "issue_refund"
            and acts[0]["arguments"] == g["actions"][0]["arguments"]
        )

    def some_refund(r: JsonObject, g: JsonObject) -> float:
        return float(g["actions"][0]["arguments"] in calls(r, "issue_refund"))

    cases = single(refunds(48))
    assert fails(examine(cases, scored(one_refund, ("decision", "message")))) == set()
    assert {"P07", "P23"} <= fails(examine(cases, scored(some_refund, ("decision", "message"))))


def test_the_same_question_twice_is_no_guess() -> None:
    asked_twice = tuple(case for case in shipments(12) for _ in range(2))
    found = examine(asked_twice, scored(status, SHIPMENT))
    assert fails(found) == set()
