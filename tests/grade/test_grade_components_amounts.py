"""Amounts and dates: what is read, what is not guessed, and how credit falls."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from typing import Any

import pytest
from conversations import run, value
from hypothesis import given
from hypothesis import strategies as st

from strop.grade.components import close_date, close_number
from strop.grade.components.amounts import read_amount
from strop.grade.components.dates import days_between, read_date


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1.234,56 EUR", "1234.56"),
        ("$1,234.56", "1234.56"),
        ("US$ 1,234.56", "1234.56"),
        ("€1.234.567", "1234567"),
        ("1,234,567.8", "1234567.8"),
        ("1 234,56 €", "1234.56"),
        ("1\u202f234,56\u00a0€", "1234.56"),
        ("CHF 1'234.50", "1234.50"),
        ("1’234.50", "1234.50"),
        ("12", "12"),
        ("12,5", "12.5"),
        ("12.50", "12.50"),
        ("0.123", "0.123"),
        ("1234.567", "1234.567"),
        ("1,234.567", "1234.567"),
        ("-5", "-5"),
        ("-$5.00", "-5.00"),
        ("$-5.00", "-5.00"),
        ("\u22125 EUR", "-5"),
        ("+7", "7"),
        (".5", "0.5"),
        ("１２", "12"),
        ("5 euros", "5"),
        ("00012", "12"),
        (12, "12"),
        (12.5, "12.5"),
        (-(10**30), str(-(10**30))),
    ],
)
def test_amounts_that_can_be_read(text: Any, amount: str) -> None:
    read = read_amount(text)
    assert not isinstance(read, str) and read[0] == Decimal(amount)


@pytest.mark.parametrize(
    "text",
    [
        "1,234", "1.234", "$1,234", "12 15", "12-15", "12 or 15", "1.23,456", "1,23.4", "1.2.3", "1,2,3",
        "5.", "5,", "12k", "1.2M", "50 cents", "5%", "1e5", "NaN", "Infinity", "-inf", "0x10", "", " ", "EUR",
        "EUR 5 USD", "--5", "-$-5", "(5)", "twelve", "about 12", "not 12 EUR", "1 23", "1 234 56", "١٢",
        True, False, None, [], [12], {"a": 12}, float("nan"), float("inf"), 10**100, "9" * 65, "9" * 10**6,
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_amounts_that_are_not_guessed(text: Any) -> None:
    assert isinstance(read_amount(text), str)
    assert value(close_number("x", "y", absolute=1e9), {"x": text}, {"y": 12}) == 0.0


def test_the_decimal_mark_settles_what_is_ambiguous() -> None:
    for text, mark, amount in (
        ("1,234", ".", "1234"),
        ("1,234", ",", "1.234"),
        ("1.234", ".", "1.234"),
        ("1.234", ",", "1234"),
        ("1.234,5", ",", "1234.5"),
        ("12.345.678", ",", "12345678"),
    ):
        read = read_amount(text, mark)  # type: ignore[arg-type]
        assert not isinstance(read, str) and read[0] == Decimal(amount)
    for text, mark in (("1.234,5", "."), ("1,5", "."), ("1.5", ","), ("1.234.567", "."), ("1 234,567", ".")):
        assert isinstance(read_amount(text, mark), str)  # type: ignore[arg-type]
    assert "two ways" in run(close_number("x", "y"), {"x": "1,234"}, {"y": 1234}).feedback
    with pytest.raises(ValueError, match="ground truth's 'y', '1,234'"):
        close_number("x", "y")({"x": 1234}, {"y": "1,234"})


@given(st.integers(0, 10**9), st.integers(0, 99))
def test_both_ways_to_write_an_amount_are_read_alike(whole: int, cents: int) -> None:
    english = f"{whole:,}.{cents:02}"
    german = english.translate(str.maketrans(",.", ".,"))
    expected = Decimal(f"{whole}.{cents:02}")
    for text in (english, f"${english}", german, f"{german} EUR"):
        read = read_amount(text)
        assert not isinstance(read, str) and read[0] == expected


def test_currencies_must_not_differ_where_both_are_named() -> None:
    for answer, wanted, expected in (
        ("5 EUR", "€5", 1.0),
        ("5", "5 EUR", 1.0),
        (5, "5 EUR", 1.0),
        ("$5", "5 USD", 1.0),
        ("$5", "5 CAD", 1.0),
        ("5 USD", "5 CAD", 0.0),
        ("5 EUR", "$5", 0.0),
        ("5 XYZ", "5 EUR", 0.0),
    ):
        assert value(close_number("x", "y"), {"x": answer}, {"y": wanted}) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [(100, 1.0), (101, 1.0), (99, 1.0), (102, 0.5), (98, 0.5), (103, 0.0), (500, 0.0), (-100, 0.0)],
)
def test_credit_falls_linearly_to_the_given_multiple(given: int, expected: float) -> None:
    assert value(close_number("x", "y", absolute=1, zero_at=3), {"x": given}, {"y": 100}) == expected
    assert value(close_number("x", "y", relative=0.01, zero_at=3), {"x": given}, {"y": 100}) == expected


def test_tolerances_are_exact_and_the_larger_counts() -> None:
    assert value(close_number("x", "y", absolute=0.1), {"x": 0.3}, {"y": 0.2}) == 1.0
    assert value(close_number("x", "y", absolute=0.1), {"x": 0.31}, {"y": 0.2}) == 0.0
    assert value(close_number("x", "y", absolute=5, relative=0.01), {"x": 105}, {"y": 100}) == 1.0
    assert value(close_number("x", "y", absolute=0.5, relative=0.1), {"x": 110}, {"y": 100}) == 1.0
    assert value(close_number("x", "y"), {"x": 100.0}, {"y": 100}) == 1.0
    assert value(close_number("x", "y", zero_at=9), {"x": 100.1}, {"y": 100}) == 0.0
    assert value(close_number("x", "y", relative=0.5), {"x": 0.1}, {"y": 0}) == 0.0


numbers = st.integers(-1000, 1000)


@given(numbers, numbers, numbers, st.floats(0, 100), st.floats(0, 1), st.floats(1, 10))
def test_a_nearer_number_never_scores_lower(
    truth: int, a: int, b: int, absolute: float, relative: float, multiple: float
) -> None:
    component = close_number("x", "y", absolute=absolute, relative=relative, zero_at=multiple)
    near, far = sorted((a, b), key=lambda n: abs(n - truth))
    assert value(component, {"x": near}, {"y": truth}) >= value(component, {"x": far}, {"y": truth})
    assert value(component, {"x": truth}, {"y": truth}) == 1.0


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2024-05-20", (2024, 5, 20)),
        ("2024-05-20T23:59:59.5Z", (2024, 5, 20)),
        ("2024-05-20 08:00+02:00", (2024, 5, 20)),
        ("20.05.2024", (2024, 5, 20)),
        ("1. 2. 2024", (2024, 2, 1)),
        ("20.05.", (None, 5, 20)),
        ("05-20", (None, 5, 20)),
        ("02-29", (None, 2, 29)),
        (" 05-20 ", (None, 5, 20)),
        ("13/05/2024", (2024, 5, 13)),
        ("05/13/2024", (2024, 5, 13)),
        ("05/05/2024", (2024, 5, 5)),
        ("2024/05/20", (2024, 5, 20)),
    ],
)
def test_dates_that_can_be_read(text: str, date: Any) -> None:
    assert read_date(text) == date


@pytest.mark.parametrize(
    "text",
    [
        "04/05/2024", "20-05", "00-10", "2024-13-01", "2023-02-29", "31.04.2024", "20.05.24", "2024-05",
        "May 20", "2024-05-20 or 2024-05-21", "0000-01-01", "tomorrow", "", "NaN", "9" * 10**6, "٠٥-٢٠",
        20240520, 1716163200.0, True, None, [], ["05-20"], {"date": "05-20"},
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_dates_that_are_not_guessed(text: Any) -> None:
    assert isinstance(read_date(text), str)
    assert value(close_date("x", "y", days=10**6), {"x": text}, {"y": "2024-05-20"}) == 0.0


@pytest.mark.parametrize(
    ("a", "b", "days"),
    [
        ("2024-05-20", "20.05.2024", 0),
        ("2024-02-28", "2024-03-01", 2),
        ("12-31", "01-01", 1),
        ("2023-12-31", "01-01", 1),
        ("2024-01-01", "12-30", 2),
        ("05-20", "2019-05-21", 1),
        ("02-29", "2023-03-01", 365),
        ("0001-01-01", "12-31", 364),
        ("9999-12-31", "01-01", 364),
    ],
)
def test_days_between_dates_with_and_without_a_year(a: str, b: str, days: int) -> None:
    first, second = read_date(a), read_date(b)
    assert not isinstance(first, str) and not isinstance(second, str)
    assert days_between(first, second) == days_between(second, first) == days


dates = st.dates(datetime.date(1990, 1, 1), datetime.date(2040, 1, 1))


@given(dates, dates, st.integers(0, 30), st.floats(1, 5))
def test_dates_score_by_their_days(a: datetime.date, b: datetime.date, days: int, multiple: float) -> None:
    component = close_date("x", "y", days=days, zero_at=multiple)
    apart = abs((a - b).days)
    scores = {value(component, {"x": a.strftime(f)}, {"y": b.isoformat()}) for f in ("%Y-%m-%d", "%d.%m.%Y")}
    zero = days * multiple
    expected = 1.0 if apart <= days else 0.0 if apart >= zero else (zero - apart) / (zero - days)
    assert len(scores) == 1 and scores.pop() == pytest.approx(expected)
    yearless = value(component, {"x": a.strftime("%m-%d")}, {"y": b.isoformat()})
    assert yearless >= expected - 1e-9


def test_a_truth_that_is_no_date_or_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="ground truth's 'y', 'soon'"):
        close_date("x", "y")({"x": "05-20"}, {"y": "soon"})
    with pytest.raises(ValueError, match="ground truth's 'y', True"):
        close_number("x", "y")({"x": 1}, {"y": True})


def test_feedback_says_how_far_off() -> None:
    assert (
        run(close_date("x", "y"), {"x": "05-22"}, {"y": "05-20"}).feedback
        == "x is '05-22', 2 days from '05-20'"
    )
    said = run(close_number("x", "y", absolute=0.5), {"x": "$13"}, {"y": 12}).feedback
    assert said == "x is '$13', expected 12 within 0.5"
