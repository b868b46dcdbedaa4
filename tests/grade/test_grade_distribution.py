from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.distribution import BINS, distribution

scores = st.lists(st.floats(0, 1), min_size=1, max_size=200)


@given(scores)
def test_sums(values: list[float]) -> None:
    shape = distribution(values)
    assert len(shape.histogram) == BINS and sum(shape.histogram) == shape.n == len(values)
    assert shape.mean == pytest.approx(statistics.fmean(values))
    assert shape.sd == pytest.approx(statistics.pstdev(values), abs=1e-9)
    assert shape.distinct == len(set(values))
    assert (shape.broken is None) == (shape.remedy == "")
    assert (shape.broken == "constant") == (shape.distinct == 1)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(2, 16))
def test_binary_scores_teach_only_mixed_groups(passed: int, failed: int, group: int) -> None:
    shape = distribution([1.0] * passed + [0.0] * failed, group)
    p = passed / (passed + failed)
    assert shape.broken == "binary" and shape.zero_advantage == pytest.approx(p**group + (1 - p) ** group)
    assert shape.mass_at_1 == pytest.approx(p) and shape.mass_at_0 == pytest.approx(1 - p)
    assert "--allow-binary" in shape.remedy


def test_two_values_that_are_not_0_and_1_are_not_binary() -> None:
    assert distribution([0.4, 1.0, 1.0]).broken is None


def test_no_scores() -> None:
    shape = distribution([])
    assert shape.n == 0 and shape.mean is None and shape.broken is None
