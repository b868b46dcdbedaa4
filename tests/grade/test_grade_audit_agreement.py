"""Agreement with people, between two graders, and of judges with their reference."""

from __future__ import annotations

import json
import math
from itertools import combinations
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import shared

from strop.grade.audit.agreement import (
    Judged,
    JudgeFit,
    Labelled,
    judge_fit,
    judge_fits,
    to_levels,
    with_held_out,
    with_people,
)
from strop.stats.agreement import cohen_kappa
from strop.stats.krippendorff import krippendorff_alpha

ENUM = ("pass", "fail")


def row(
    prompt: int | str,
    answer: int | str,
    label: float,
    score: float | None,
    annotator: str = "ann",
    **more: str,
) -> Labelled:
    return Labelled(
        prompt=str(prompt), answer=str(answer), label=label, score=score, annotator=annotator, **more
    )


def table(seed: int, noise: float, annotators: int = 3, levels: int = 5, prompts: int = 40) -> list[Labelled]:
    """Answers with a quality that people see up to one level, and a grader with so much noise."""
    rng = Random(seed)
    rows: list[Labelled] = []
    for prompt in range(prompts):
        for answer in range(4):
            quality = rng.random()
            score = min(1.0, max(0.0, quality + rng.gauss(0, noise)))
            for a in range(annotators):
                seen = min(1.0, max(0.0, quality + rng.gauss(0, 0.08)))
                rows.append(row(prompt, answer, 1.0 + round(seen * (levels - 1)), score, f"person {a}"))
    return rows


def test_judges_against_the_programmatic_reward() -> None:
    path = shared("data/judge_vs_reward_airline/verdicts.jsonl")
    raw = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [
        Judged(
            judge=r["judge_prompt_name"],
            answer=r["judge_verdict"],
            reference="pass" if r["tau2_reward"] == 1.0 else "fail",
            cluster=r["task_id"],
        )
        for r in raw
    ]
    found = judge_fits(rows, ENUM)
    shown = [
        (f.judge, None if f.kappa.kappa is None else round(f.kappa.kappa, 2), f.kappa.n, f.kappa.abstained)
        for f in found
    ]
    assert shown == [
        ("quick_triage_v1", 0.06, 50, 0),
        ("customer_outcome_v1", -0.16, 50, 0),
        ("policy_conversation_v1", 0.37, 50, 0),
        ("policy_chain_of_thought_v1", -0.14, 23, 27),
    ]
    assert all(f.refused and f.verdict == "fail" for f in found)
    assert "kappa with the reference, 0.37" in found[2].reason and "under 0.4" in found[2].reason
    last = found[3]
    assert sum(last.outside.values()) == 27 and not set(last.outside) & set(ENUM)
    assert "27 of 50 answers are none of pass, fail" in last.reason
    assert last.abstained == pytest.approx(0.54)
    assert last.abstained_low < 0.54 < last.abstained_high


def judged(both: int, first: int, second: int, neither: int, silent: int = 0) -> list[Judged]:
    pairs = [("pass", "pass")] * both + [("pass", "fail")] * first + [("fail", "pass")] * second
    pairs += [("fail", "fail")] * neither + [("unsure", "pass")] * silent
    return [Judged(judge="j", answer=a, reference=r) for a, r in pairs]


@pytest.mark.parametrize(
    ("rows", "refused", "verdict", "said"),
    [
        (judged(45, 5, 5, 45), False, "pass", "0.80"),
        (judged(45, 5, 5, 45, silent=9), False, "warn", "9 of 109 answers are none of"),
        (judged(9, 3, 3, 9), False, "warn", "may be under 0.4; about"),
        (judged(34, 16, 16, 34), True, "fail", "is under 0.4"),
        (judged(50, 0, 0, 0), True, "fail", "no kappa"),
        ([], True, "fail", "no kappa"),
    ],
)
def test_a_judge_is_refused_by_its_kappa(rows: list[Judged], refused: bool, verdict: str, said: str) -> None:
    found = judge_fit(rows, ENUM)
    assert (found.refused, found.verdict) == (refused, verdict)
    assert said in found.reason


def test_the_number_of_answers_that_would_settle_it() -> None:
    few = judge_fit(judged(9, 3, 3, 9), ENUM)
    assert few.needed is not None and few.kappa.kappa == pytest.approx(0.5)
    times = -(-few.needed // 24)
    more = judge_fit(judged(9 * times, 3 * times, 3 * times, 9 * times), ENUM)
    assert more.kappa.low is not None and more.kappa.low == pytest.approx(0.4, abs=0.03)
    assert judge_fit(judged(14, 6, 6, 14), ENUM, least=0.4).needed is None  # kappa is 0.4 itself
    assert not judge_fit(judged(14, 6, 6, 14), ENUM).refused


def test_copies_of_a_context_add_no_certainty() -> None:
    rows = judged(30, 8, 8, 30)
    once = judge_fit([msgspec.structs.replace(r, cluster=str(i)) for i, r in enumerate(rows)], ENUM)
    again = judge_fit([msgspec.structs.replace(r, cluster=str(i % 76)) for i, r in enumerate(rows * 4)], ENUM)
    assert again.kappa.clusters == once.kappa.clusters == 76
    assert (again.kappa.kappa, again.kappa.low) == pytest.approx((once.kappa.kappa, once.kappa.low))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([(0.0, 1.0), (1.0, 2.0, 3.0, 5.0)]))
def test_a_score_goes_to_the_nearest_level(scores: list[float], levels: tuple[float, ...]) -> None:
    places = [(v - levels[0]) / (levels[-1] - levels[0]) for v in levels]
    for score, level in zip(scores, to_levels(np.array(scores), levels), strict=True):
        assert level is not None
        nearest = min(abs(score - p) for p in places)
        assert abs(score - places[levels.index(level)]) == pytest.approx(nearest, abs=1e-9)


def test_levels_inside_the_unit_interval_stay_and_the_middle_goes_up() -> None:
    assert to_levels(np.array([0.49, 0.5, math.nan, 0.9]), (0.2, 0.8)) == [0.2, 0.8, None, 0.8]


def test_a_good_grader_agrees_with_people_on_a_scale() -> None:
    rows = table(1, noise=0.05)
    found = with_people(rows, levels=(1, 2, 3, 4, 5))
    assert found.verdict == "pass" and found.alternative is not None and found.alternative.passed
    labels = [r.label for r in rows]
    binned = to_levels(np.array([r.score for r in rows], dtype=np.float64), (1, 2, 3, 4, 5))
    expected = cohen_kappa(
        binned, labels, (1, 2, 3, 4, 5), weights="quadratic", clusters=[r.prompt for r in rows]
    )
    assert found.kappa == expected and found.kappa.n == 480
    assert found.kappa.kappa is not None and found.kappa.kappa > 0.85
    assert found.spearman.rho is not None and found.spearman.rho > 0.8 and found.spearman.groups == 40
    ratings = np.array(labels).reshape(-1, 3).T
    assert found.alpha == krippendorff_alpha(ratings, "ordinal")
    assert found.with_grader is not None and found.with_grader.n == 640
    assert found.not_applicable == {"auc": "the labels have 5 levels, not 2"}
    assert (found.labels, found.answers, found.prompts, found.annotators) == (480, 160, 40, 3)


def test_noise_fails_and_a_grader_between_warns() -> None:
    rng = Random(3)
    noise = [msgspec.structs.replace(r, score=rng.random()) for r in table(2, noise=0)]
    assert with_people(noise).verdict == "fail"
    # It ranks as people do, on another scale: no agreement, and yet no failure.
    shifted = [msgspec.structs.replace(r, score=0.9 + 0.1 * (r.score or 0.0)) for r in table(2, noise=0.02)]
    found = with_people(shifted)
    assert found.verdict == "warn" and found.kappa is not None and found.kappa.kappa is not None
    assert found.kappa.kappa < 0.4 and found.spearman.rho is not None and found.spearman.rho > 0.8


def test_two_annotators_are_too_few_and_the_reason_is_said() -> None:
    found = with_people(table(4, noise=0.05, annotators=2, levels=2))
    assert found.alternative is None
    assert found.not_applicable == {"alternative": "2 named annotators: the test needs 3"}
    assert found.auc is not None and found.auc.auc is not None and found.auc.auc > 0.9
    assert found.auc.positives + found.auc.negatives == 320 and found.auc.clusters == 40
    short = with_people(table(4, noise=0.05, prompts=5))
    assert short.not_applicable["alternative"] == "no annotator has 30 answers that another one labelled, too"


def test_contradictions_are_counted_and_named() -> None:
    rows = [
        row(1, "a", 1, 0.9, "ann"), row(1, "a", 0, 0.9, "ben"), row(1, "a", 1, 0.9, "ann"),
        row(2, "a", 1, 0.8, "ann"), row(2, "a", 0, 0.8, "ann"),
        row(3, "a", 1, 0.7, "ann"), row(3, "a", 1, 0.7, "ben"),
        row(3, "b", 0, 0.1, "ann"),
    ]  # fmt: skip
    found = with_people(rows)
    named = [(c.prompt, c.answer, c.labels, c.annotators) for c in found.contradictions]
    assert named == [("1", "a", {"0": 1, "1": 2}, ()), ("2", "a", {"0": 1, "1": 1}, ("ann",))]
    assert (found.twice_labelled, found.contradicted) == (3, pytest.approx(2 / 3))
    assert found.contradicted_low < 2 / 3 < found.contradicted_high
    # All labels count for kappa: six of eight are on their score's side of 0.5.
    assert found.kappa is not None and (found.kappa.n, found.kappa.agreement) == (8, pytest.approx(6 / 8))


def test_unnamed_labels_are_other_people() -> None:
    rows = [row(i, "a", float(i % 2), 0.5 + 0.4 * (i % 2 - 0.5), "") for i in range(20) for _ in range(2)]
    found = with_people(rows)
    assert (found.annotators, found.labels, found.answers) == (0, 40, 20)
    assert found.alpha is not None and (found.alpha.alpha, found.alpha.units) == (1.0, 20)
    assert found.not_applicable["alternative"] == "0 named annotators: the test needs 3"


def test_what_cannot_be_used_is_counted() -> None:
    rows = [row(i, j, float(j), None if i == 0 else 0.2 + 0.6 * j) for i in range(6) for j in range(2)]
    found = with_people([*rows, row(9, "a", math.nan, 0.5)])
    assert (found.labels, found.ungraded, found.unlabelled) == (12, 2, 1)
    assert found.kappa is not None and (found.kappa.n, found.kappa.abstained_first) == (10, 2)
    assert found.auc is not None and found.auc.missing == 2
    beyond = with_people(rows, levels=(1.0, 2.0))
    assert beyond.kappa is not None and beyond.kappa.abstained_second == 6


@pytest.mark.parametrize("rows", [[], [row(1, "a", 1, 0.5), row(1, "b", 1, 0.7)]])
def test_without_two_labels_nothing_is_said(rows: list[Labelled]) -> None:
    found = with_people(rows)
    assert found.verdict == "not applicable" and found.kappa is None and found.auc is None
    assert set(found.not_applicable) == {"kappa", "alpha", "with_grader", "alternative", "auc"}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0, None]), st.sampled_from([0.0, 0.3, 1.0])
        ),
        max_size=24,
    )
)
def test_opposite_pairs_are_counted(rows: list[tuple[int, float | None, float]]) -> None:
    found = with_held_out([r[1] for r in rows], [r[2] for r in rows], [f"p{r[0]}" for r in rows])
    opposite = ordered = ties = 0
    for one, other in combinations(rows, 2):
        if one[0] != other[0] or one[1] is None or other[1] is None:
            continue
        product = (one[1] - other[1]) * (one[2] - other[2])
        ties, ordered, opposite = ties + (product == 0), ordered + (product != 0), opposite + (product < 0)
    assert (found.opposite_pairs, found.pairs, found.ties) == (opposite, ordered, ties)
    if ordered:
        assert found.opposite is not None and found.opposite.mean == pytest.approx(opposite / ordered)
        assert found.opposite.low <= found.opposite.mean <= found.opposite.high


def two(seed: int, noise: float, prompts: int) -> tuple[list[float], list[float], list[str]]:
    rng = np.random.default_rng(seed)
    first = rng.random(prompts * 8)
    second = first + rng.normal(0, noise, first.size)
    return first.tolist(), second.tolist(), [f"p{i // 8}" for i in range(first.size)]


@pytest.mark.parametrize(
    ("noise", "prompts", "verdict"),
    [(0.05, 40, "pass"), (0.25, 60, "warn"), (2.0, 60, "fail"), (0.35, 5, "warn")],
)
def test_the_verdict_on_two_graders(noise: float, prompts: int, verdict: str) -> None:
    found = with_held_out(*two(7, noise, prompts))
    assert found.verdict == verdict and f"{prompts} prompts" in found.reason
    assert found.spearman.n == 8 * prompts


def test_pooling_does_not_credit_hard_prompts() -> None:
    # Both graders know which prompt is easy, and order its answers oppositely.
    prompts = [f"p{i // 4}" for i in range(80)]
    first = [i // 4 + 0.01 * (i % 4) for i in range(80)]
    second = [i // 4 - 0.01 * (i % 4) for i in range(80)]
    found = with_held_out(first, second, prompts)
    assert found.spearman.rho == pytest.approx(-1.0) and found.verdict == "fail"
    assert found.opposite is not None and found.opposite.mean == 1.0


def test_nothing_in_common_is_not_applicable() -> None:
    found = with_held_out([None, 0.5], [0.1, 0.2], ["a", "a"])
    assert (found.verdict, found.opposite, found.spearman.missing) == ("not applicable", None, 1)


def test_results_are_data() -> None:
    people = with_people(table(5, noise=0.1, prompts=12))
    encoded = msgspec.json.encode(people)
    assert encoded == msgspec.json.encode(with_people(table(5, noise=0.1, prompts=12)))
    fit = judge_fit(judged(9, 3, 3, 9), ENUM)
    assert msgspec.json.decode(msgspec.json.encode(fit), type=JudgeFit) == fit
