"""Balance: the loudest customer capped or weighted, traits oversampled, Kish's effective size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from strop.config import Curate, load
from strop.curate.balance import customer_weights, effective_size, loudest, over_share, oversampled, rare
from strop.errors import ConfigError

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=20)


def rows(sizes: list[int]) -> NDArray[np.int32]:
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


@given(
    st.lists(st.integers(1, 60), min_size=5, max_size=20), st.sampled_from([0.2, 0.3, 0.5]), st.integers(0, 9)
)
def test_the_loudest_ends_at_its_share(sizes: list[int], share: float, seed: int) -> None:
    customers = rows(sizes)
    ranks = np.random.default_rng(seed).permutation(len(customers))
    dropped = over_share(customers, ranks, share)
    kept = Counter(customers[~dropped].tolist())
    first = loudest(customers)
    assert first == sizes.index(max(sizes))
    assert (customers[dropped] == first).all()
    assert kept[first] <= share * kept.total() + 1e-9 or len(sizes) * share < 1
    if dropped.any():
        assert (kept[first] + 1) > share * (kept.total() + 1)
        own = customers == first
        assert ranks[own & dropped].min() > ranks[own & ~dropped].max(initial=-1)
    order = np.random.default_rng(seed + 1).permutation(len(customers))
    assert np.array_equal(over_share(customers[order], ranks[order], share), dropped[order])


def test_one_customer_is_not_capped_away() -> None:
    six = np.arange(6)
    assert not over_share(np.zeros(6, np.int32), six, 0.2).any()
    assert not over_share(np.full(6, -1, np.int32), six, 0.2).any()
    assert loudest(np.full(6, -1, np.int32)) is None


@given(SIZES, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_customers_rows_weigh_a_power_of_their_number_together(sizes: list[int], exponent: float) -> None:
    customers = rows(sizes)
    weights = customer_weights(customers, exponent)
    together = np.bincount(customers, weights=weights)
    assert together == pytest.approx([n**exponent for n in sizes])


def test_the_default_is_the_square_root() -> None:
    assert Curate().exponent == 0.5
    assert Curate().customers == "capped"
    assert Curate(weights="n^0.25").customers == "weighted"
    assert Curate(weights="n^0.25", customers="capped").customers == "capped"
    assert Curate(weights="n^0").exponent == 0
    again = Curate.model_validate(Curate().model_dump())
    assert again.customers == "capped"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('weights = "n^x"', "curate.weights: write n^ and a number from 0"),
        ("test_share = 1.5", "curate.test_share"),
        ("test_share = 0.6\nvalidation_share = 0.4", "leave nothing to train on"),
        ("failure_budget = 7", "curate.failure_budget"),
        ("min_rows = -5", "curate.min_rows"),
        ("[curate.oversample]\nfailng = 2", "curate.oversample.failng"),
        ("near_duplicat = 0.9", "unknown key: curate.near_duplicat"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "strop.toml").write_text(f"[curate]\n{text}\n")
    with pytest.raises(ConfigError) as error:
        load(tmp_path, environ={})
    assert said in error.value.what
    assert "[key]" not in error.value.what
    assert "Value error" not in error.value.what


@given(SIZES)
def test_equal_weights_stay_exactly_one(sizes: list[int]) -> None:
    n = sum(sizes)
    some = np.arange(n) % 2 == 0
    assert set(oversampled(np.ones(n), {"new": some}, {}).tolist()) == {1.0}
    assert set(oversampled(np.ones(n), {"new": np.ones(n, np.bool_)}, {"new": 3.0}).tolist()) == {1.0}


def test_traits_multiply() -> None:
    traits = {"failing": np.array([True, True, False, False]), "new": np.array([True, False, True, False])}
    weights = oversampled(np.ones(4), traits, {"failing": 2.0, "new": 3.0})
    assert weights == pytest.approx(np.array([6, 2, 3, 1]) / 3)


def test_rare_is_what_two_per_cent_do() -> None:
    sequences = np.array([7] * 96 + [8, 9] + [5, 5], dtype=np.int64)
    assert np.flatnonzero(rare(sequences)).tolist() == [96, 97, 98, 99]
    assert not rare(sequences[:98][:-1])[:96].any()


@given(SIZES)
def test_the_effective_size_is_at_most_the_number_of_rows(sizes: list[int]) -> None:
    customers = rows(sizes)
    assert effective_size(np.ones(len(customers))) == pytest.approx(len(customers))
    weights = customer_weights(customers, 0.5)
    assert 1 - 1e-9 <= effective_size(weights) <= len(customers) + 1e-9
    assert effective_size(weights) == pytest.approx(effective_size(weights * 17))


def test_nothing_has_an_effective_size_of_nothing() -> None:
    assert effective_size(np.empty(0)) == 0
    assert len(oversampled(np.empty(0), {}, {})) == 0
