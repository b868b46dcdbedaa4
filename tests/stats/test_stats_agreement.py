"""Kappa, Spearman within prompts and Krippendorff's alpha: published values, brute force, laws, coverage."""

from __future__ import annotations

import json
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata
from shared import shared

from strop.stats.agreement import cohen_kappa, within_spearman
from strop.stats.krippendorff import Level, krippendorff_alpha

LABELS: tuple[str, ...] = ("low", "middle", "high", "top")
NAN = float("nan")
# Krippendorff 2011, section D: four observers, twelve units, missing data.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]
answers = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=3, max_size=40)


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def pairs(both: int, first: int, second: int, neither: int) -> tuple[list[str], list[str]]:
    """Two raters' yes and no from the cells of a table."""
    a = "y" * both + "y" * first + "n" * second + "n" * neither
    b = "y" * both + "n" * first + "y" * second + "n" * neither
    return list(a), list(b)


def test_kappa_of_a_textbook_table() -> None:
    found = cohen_kappa(*pairs(20, 5, 10, 15), ["y", "n"])
    assert found.kappa == pytest.approx(0.4)  # (0.70 - 0.50) / (1 - 0.50)
    assert found.agreement == pytest.approx(0.7)
    assert found.n == found.clusters == 50
    assert found.low is not None and found.high is not None
    assert found.low < 0.4 < found.high


def test_judges_against_the_programmatic_reward() -> None:
    path = shared("data/judge_vs_reward_airline/verdicts.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = {}
    for prompt in dict.fromkeys(r["judge_prompt_name"] for r in rows):
        own = [r for r in rows if r["judge_prompt_name"] == prompt]
        truth = ["pass" if r["tau2_reward"] == 1.0 else "fail" for r in own]
        kappa = cohen_kappa([r["judge_verdict"] for r in own], truth, ["pass", "fail"])
        assert kappa.kappa is not None
        found[prompt] = (round(kappa.kappa, 2), kappa.n, kappa.abstained, kappa.abstained_second)
    assert found == {
        "quick_triage_v1": (0.06, 50, 0, 0),
        "customer_outcome_v1": (-0.16, 50, 0, 0),
        "policy_conversation_v1": (0.37, 50, 0, 0),
        "policy_chain_of_thought_v1": (-0.14, 23, 27, 0),
    }


@settings(max_examples=80, deadline=None)
@given(answers, st.sampled_from(["nominal", "quadratic"]))
def test_kappa_is_observed_over_expected_disagreement(rows: list[tuple[str, str]], weights: str) -> None:
    a, b = ([LABELS.index(row[i]) for row in rows] for i in (0, 1))

    def gap(i: int, j: int) -> float:
        return (i - j) ** 2 if weights == "quadratic" else float(i != j)

    observed = np.mean([gap(i, j) for i, j in zip(a, b, strict=True)])
    expected = np.mean([gap(i, j) for i, j in product(a, b)])
    kappa = cohen_kappa(*zip(*rows, strict=True), LABELS, weights=weights).kappa  # type: ignore[arg-type]
    assert kappa == (None if expected == 0 else pytest.approx(1 - observed / expected))


@settings(max_examples=60, deadline=None)
@given(answers, st.randoms(use_true_random=False))
def test_kappa_does_not_depend_on_names_order_or_who_is_first(
    rows: list[tuple[str, str]], random: Random
) -> None:
    a, b = [r[0] for r in rows], [r[1] for r in rows]
    plain = cohen_kappa(a, b, LABELS)
    order = list(LABELS)
    random.shuffle(order)
    names = dict(zip(LABELS, order, strict=True))
    assert cohen_kappa([names[x] for x in a], [names[x] for x in b], order).kappa == plain.kappa
    renamed = cohen_kappa([names[x] for x in a], [names[x] for x in b], LABELS)
    for other in (renamed, cohen_kappa(b, a, LABELS)):
        assert other.kappa == (None if plain.kappa is None else pytest.approx(plain.kappa))
        assert other.low == (None if plain.low is None else pytest.approx(plain.low))
    weighted = cohen_kappa(a, b, LABELS, weights="quadratic").kappa
    reverse = cohen_kappa(a, b, LABELS[::-1], weights="quadratic").kappa
    assert reverse == (None if weighted is None else pytest.approx(weighted))


@settings(max_examples=60, deadline=None)
@given(answers, st.lists(st.sampled_from([None, "", "PASS", 7, "lowest"]), min_size=1, max_size=9))
def test_abstentions_are_counted_and_change_nothing_else(
    rows: list[tuple[str, str]], others: list[object]
) -> None:
    a, b = [r[0] for r in rows], [r[1] for r in rows]
    plain = cohen_kappa(a, b, LABELS)
    more = cohen_kappa([*a, *others], [*b, *("low" for _ in others)], LABELS)
    assert (more.kappa, more.low, more.high, more.n) == (plain.kappa, plain.low, plain.high, plain.n)
    assert (more.abstained, more.abstained_first, more.abstained_second) == (len(others), len(others), 0)


def test_perfect_agreement_has_a_bound_and_no_choice_is_undefined() -> None:
    perfect = cohen_kappa(*pairs(30, 0, 0, 20), ["y", "n"])
    assert perfect.kappa == perfect.high == 1.0
    assert perfect.low is not None and 0.8 < perfect.low < 0.9
    assert "no spread" in perfect.note
    constant = cohen_kappa(["y"] * 9, ["y"] * 9, ["y", "n"])
    assert (constant.kappa, constant.low, constant.n) == (None, None, 9)
    assert "not defined" in constant.note
    assert cohen_kappa([], [], ["y", "n"]).kappa is None
    with pytest.raises(ValueError, match="no pairs"):
        cohen_kappa(["y"], [], ["y", "n"])


def test_copies_of_a_pair_widen_nothing_when_clustered() -> None:
    a, b = pairs(20, 5, 10, 15)
    plain = cohen_kappa(a, b, ["y", "n"])
    copied = cohen_kappa(a * 4, b * 4, ["y", "n"], clusters=list(range(50)) * 4)
    naive = cohen_kappa(a * 4, b * 4, ["y", "n"])
    assert copied.low == pytest.approx(plain.low)
    assert copied.clusters == 50
    assert naive.low is not None and plain.low is not None and naive.low > plain.low + 0.05


def test_kappa_interval_covers() -> None:
    rng = np.random.default_rng(3)
    cells = np.array([0.40, 0.08, 0.12, 0.40])
    truth = 1 - 0.20 / (0.48 * 0.48 + 0.52 * 0.52)
    hits = 0
    for counts in rng.multinomial(60, cells, size=400):
        found = cohen_kappa(*pairs(*(int(c) for c in counts)), ["y", "n"])
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_spearman_within_prompts_is_not_the_pooled_one() -> None:
    rng = np.random.default_rng(4)
    level = np.repeat(np.arange(30.0), 8)
    first, second = level + rng.normal(0, 0.3, 240), level + rng.normal(0, 0.3, 240)
    found = within_spearman(first, second, level.tolist())
    assert spearman(first, second) > 0.97
    assert found.rho is not None and found.low is not None and found.high is not None
    assert abs(found.rho) < 0.2
    assert found.low < 0 < found.high
    each = [spearman(first[level == g], second[level == g]) for g in range(30)]
    assert found.rho == pytest.approx(np.mean(each))


def test_groups_without_spread_and_missing_scores_are_counted() -> None:
    found = within_spearman(
        [1, 2, 3, 5, 5, 5, 1, 2, 1, NAN, 4], [1, 2, 3, 1, 2, 3, 2, 1, 9, 5, 6], list("aaabbbccddd")
    )
    # a: +1 with weight 2; c: -1, weight 1; d: -1 (two pairs left), weight 1; b has no spread.
    assert found.rho == pytest.approx((2 * 1 - 1 - 1) / 4)
    assert (found.groups, found.without_spread, found.missing, found.n) == (3, 1, 1, 7)
    none = within_spearman([1.0, 1.0], [1.0, 2.0], ["a", "a"])
    assert (none.rho, none.groups, none.without_spread) == (None, 0, 1)


grouped = st.lists(
    st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.sampled_from("abc")), min_size=4, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(grouped)
def test_spearman_survives_monotone_maps(rows: list[tuple[int, int, str]]) -> None:
    a, b, names = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    plain = within_spearman(a, b, names).rho
    moved = within_spearman([x**3 + 2 * x for x in a], [np.exp(y) for y in b], names).rho
    turned = within_spearman([-x for x in a], b, names).rho
    assert moved == (None if plain is None else pytest.approx(plain))
    assert turned == (None if plain is None else pytest.approx(-plain))
    assert plain is None or -1 <= plain <= 1


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: Level, value: float) -> None:
    found = krippendorff_alpha(PUBLISHED, level)
    assert found.alpha == pytest.approx(value, abs=5e-4)
    assert (found.units, found.unpaired, found.n) == (11, 1, 40)


def test_alpha_of_two_observers() -> None:
    binary = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
    assert krippendorff_alpha(binary).alpha == pytest.approx(0.095, abs=5e-4)
    names = [[ord(c) for c in row] for row in ("aabbdcccedda", "babbbccceddd")]
    assert krippendorff_alpha(names).alpha == pytest.approx(0.692, abs=5e-4)


ratings = st.lists(
    st.lists(st.sampled_from([1.0, 2.0, 3.0, NAN]), min_size=3, max_size=3), min_size=3, max_size=15
)


@settings(max_examples=60, deadline=None)
@given(ratings, st.sampled_from(["nominal", "ordinal", "interval"]), st.randoms(use_true_random=False))
def test_alpha_laws(rows: list[list[float]], level: Level, random: Random) -> None:
    plain = krippendorff_alpha(np.array(rows).T, level).alpha
    mixed = [random.sample(row, 3) for row in random.sample(rows, len(rows))]
    maps = {
        "nominal": {1.0: 7.0, 2.0: -3.0, 3.0: 0.5},  # any renaming
        "ordinal": {1.0: 0.1, 2.0: 40.0, 3.0: 41.0},  # any increasing map
        "interval": {1.0: 12.0, 2.0: 10.0, 3.0: 8.0},  # any straight line
    }[level]
    mapped = [[maps.get(v, NAN) for v in row] for row in mixed]
    found = krippendorff_alpha(np.array(mapped).T, level).alpha
    assert found == (None if plain is None else pytest.approx(plain))
    assert plain is None or plain <= 1
    alike = [[row[0]] * 3 for row in rows]
    perfect = krippendorff_alpha(np.array(alike).T, level).alpha
    assert perfect == (1.0 if len({v for (v, *_) in alike if v == v}) > 1 else None)


def test_alpha_interval_covers() -> None:
    rng = np.random.default_rng(6)
    # Three raters copy the truth (two equal classes) with probability 0.8, else guess: alpha 0.64.
    hits = 0
    for _ in range(300):
        truth = rng.integers(0, 2, 60)
        rated = np.where(rng.random((3, 60)) < 0.8, truth, rng.integers(0, 2, (3, 60))).astype(float)
        rated[rng.random((3, 60)) < 0.2] = NAN
        found = krippendorff_alpha(rated)
        assert found.low is not None and found.high is not None
        hits += found.low <= 0.64 <= found.high
    assert 0.92 <= hits / 300 <= 0.98
