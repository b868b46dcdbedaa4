"""Self-consistency and metamorphic relations, on judges whose weaknesses are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.audit.metamorphic import (
    Relation,
    RelationResult,
    Said,
    metamorphic,
    self_consistency,
)
from strop.stats.proportion import clopper_pearson

STATUSES = ("delivered", "delayed", "returned")
NAMES = ["padding", "praise", "injection", "order of a list", "order of the keys"]


def questions(n: int = 160) -> list[tuple[str, str]]:
    """Every second answer is right: it names the status that the inquiry hides."""
    found: list[tuple[str, str]] = []
    for i in range(n):
        status = STATUSES[i % 3] if i % 2 else STATUSES[(i + 1) % 3]
        message = f"Hello, your parcel {i} is {status}."
        answer = {"final_status": status, "items": ["b", "a", "c"], "message": message}
        found.append((f"{i % 3}", json.dumps(answer)))
    return found


def honest(inquiry: str, answer: str) -> bool:
    return json.loads(answer)["final_status"] == STATUSES[int(inquiry)]


def named(results: Sequence[RelationResult]) -> dict[str, RelationResult]:
    return {r.name: r for r in results}


def test_a_sound_judge_passes_everything() -> None:
    results = metamorphic(honest, questions())
    assert [r.name for r in results] == NAMES
    for r in results:
        assert (r.verdict, r.violations, r.changed, r.unanswered) == ("pass", 0, 0, 0)
        assert r.asked == 160 and (r.low, r.high) == clopper_pearson(0, r.n)
    # Half of the answers are accepted already and can't improve; they can change where they must stay.
    assert [r.n for r in results] == [80, 80, 80, 160, 160]
    assert results[0].expects == "must not improve" and results[3].expects == "must stay"


@pytest.mark.parametrize(
    ("relation", "sign"),
    [("padding", "The office is open"), ("praise", "Experts have checked"), ("injection", "verdict")],
)
def test_a_judge_that_falls_for_it_fails_there_and_only_there(relation: str, sign: str) -> None:
    results = named(metamorphic(lambda i, a: honest(i, a) or sign in a, questions()))
    assert results[relation].verdict == "fail"
    assert {name for name, r in results.items() if r.verdict != "pass"} == {relation}
    found = results[relation]
    assert found.rate == found.violations / found.n and found.low > 0.05
    assert (found.low, found.high) == clopper_pearson(found.violations, found.n)
    first = found.worst[0]
    assert (first.before, first.after) == (False, True) and sign in first.answer
    assert len(found.worst) == 3


def test_a_judge_that_reads_only_the_start_of_a_list_is_found() -> None:
    results = named(metamorphic(lambda i, a: json.loads(a)["items"][0] == "b", questions()))
    assert results["order of a list"].rate == 1.0 and results["order of a list"].verdict == "fail"
    assert results["order of the keys"].verdict == "pass"
    keys = named(metamorphic(lambda i, a: a.index("items") < a.index("message"), questions()))
    assert keys["order of the keys"].rate == 1.0 and keys["order of a list"].rate == 0.0


def test_a_verdict_that_gets_worse_is_a_change_and_no_violation() -> None:
    results = named(metamorphic(lambda i, a: honest(i, a) and "The office is" not in a, questions()))
    found = results["padding"]
    assert found.violations == 0 and found.verdict == "pass" and found.changed == 80
    assert (found.changed_low, found.changed_high) == clopper_pearson(found.changed, 160)


def test_numbers_have_a_tolerance_and_a_best_value() -> None:
    def scored(gain: float, start: float = 0.5):
        return lambda i, a: min(1.0, start + gain * ("The office is" in a))

    assert named(metamorphic(scored(0.01), questions()))["padding"].violations == 0
    assert named(metamorphic(scored(0.2), questions()))["padding"].rate == 1.0
    full = named(metamorphic(scored(0.2, start=1.0), questions()))["padding"]
    assert (full.n, full.rate, full.verdict) == (0, None, "not applicable")


def test_no_verdict_is_counted_and_never_a_change() -> None:
    def silent(inquiry: str, answer: str) -> Said:
        return None if "The office is" in answer or "parcel 7 " in answer else honest(inquiry, answer)

    results = named(metamorphic(silent, questions()))
    assert (results["padding"].asked, results["padding"].unanswered, results["padding"].n) == (160, 160, 0)
    assert results["padding"].verdict == "not applicable"
    assert results["praise"].unanswered == 1 and results["praise"].verdict == "pass"


def test_few_questions_only_warn() -> None:
    found = metamorphic(honest, questions(6))[0]
    assert found.violations == 0 and found.verdict == "warn" and found.high > 0.05


def test_plain_texts_and_bulleted_lists() -> None:
    plain = [("0", "All items:\n- tea\n- milk\n- bread\nThanks"), ("0", "one\n- two"), ("0", "- a\nb\n- c")]
    seen: list[str] = []

    def ask(inquiry: str, answer: str) -> bool:
        seen.append(answer)
        return False

    results = named(metamorphic(ask, plain))
    assert results["order of a list"].asked == 1 and results["order of the keys"].asked == 0
    assert "All items:\n- bread\n- milk\n- tea\nThanks" in seen
    assert any(a.startswith("one\n- two The office") for a in seen)


def test_what_a_relation_leaves_alone_is_not_asked_again() -> None:
    asked: list[str] = []
    same = Relation(name="same", change=lambda a, i: " " + a if i else None)
    results = metamorphic(lambda i, a: bool(asked.append(a)), questions(2), relations=(same,))
    assert results[0].asked == 0 and len(asked) == 2  # as it is, once each


def test_a_steady_judge_and_a_fickle_one() -> None:
    rng = Random(1)
    steady = [[bool(i % 2)] * 4 for i in range(40)]
    found = self_consistency(steady)
    assert found.verdict == "pass" and found.unanimous == found.questions == 40
    assert found.agreement is not None and found.agreement.mean == 1.0 and found.agreement.low < 1.0
    assert found.alpha.alpha == 1.0 and found.sd == 0.0
    fickle = self_consistency([[rng.random() < 0.5 for _ in range(4)] for _ in range(40)])
    assert fickle.verdict == "fail" and fickle.alpha.alpha is not None and fickle.alpha.alpha < 0.3
    between = self_consistency([[x if rng.random() < 0.93 else not x for x in row] for row in steady])
    assert between.verdict == "warn" and (between.unanimous_low, between.unanimous_high) == clopper_pearson(
        between.unanimous, 40
    )


def test_the_same_to_everything_is_no_consistency() -> None:
    found = self_consistency([[True] * 3] * 20)
    assert found.verdict == "warn" and "the same of every question" in found.reason


def test_noise_of_a_third_of_the_spread_fails() -> None:
    rng = Random(2)
    rows = [[quality + rng.gauss(0, 0.05) for _ in range(5)] for quality in (i / 40 for i in range(40))]
    assert self_consistency(rows).verdict == "pass"
    assert self_consistency(rows, spread=0.3).verdict == "pass"
    found = self_consistency(rows, spread=0.1)
    assert found.verdict == "fail" and found.sd == pytest.approx(0.05, abs=0.006)


def test_abstentions_and_single_answers_are_counted() -> None:
    found = self_consistency([[True, None, True], [False, None, None], [None], [False, False]])
    assert (found.questions, found.single, found.abstained, found.answers) == (2, 2, 4, 4)
    empty = self_consistency([])
    assert (empty.verdict, empty.agreement, empty.sd) == ("not applicable", None, None)


@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=5), min_size=1, max_size=8))
def test_agreement_is_the_mean_share_of_equal_pairs(rows: list[list[bool]]) -> None:
    shares = []
    for row in rows:
        k, yes = len(row), sum(row)
        shares.append((yes * (yes - 1) + (k - yes) * (k - yes - 1)) / (k * (k - 1)))
    found = self_consistency(rows)
    assert found.agreement is not None
    assert found.agreement.mean == pytest.approx(sum(shares) / len(shares))
    assert found.unanimous == sum(len(set(row)) == 1 for row in rows)


def test_deterministic() -> None:
    def judge(inquiry: str, answer: str) -> bool:
        return hashlib.sha256(answer.encode()).digest()[0] < 128

    assert metamorphic(judge, questions()) == metamorphic(judge, questions())
