"""How near a date in the answer is to the true one."""

from __future__ import annotations

import datetime
import re
import unicodedata
from typing import Any

from strop.grade.components.closeness import checked, falling
from strop.grade.components.values import absent, against_null, answer_of, show, truth_of
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject

Date = tuple[int | None, int, int]

_LONGEST = 40
_TIME = r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?: ?Z| ?[+-][0-9]{2}:?[0-9]{2})?)?"
_FORMS = tuple(
    (re.compile(pattern), orders)
    for pattern, orders in (
        (rf"([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}}){_TIME}", ("ymd",)),
        (r"([0-9]{1,2})\. ?([0-9]{1,2})\. ?([0-9]{4})", ("dmy",)),
        (r"([0-9]{1,2})\. ?([0-9]{1,2})\.", ("dm",)),
        (r"([0-9]{2})-([0-9]{2})", ("md",)),
        (r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})", ("dmy", "mdy")),
        (r"([0-9]{4})/([0-9]{1,2})/([0-9]{1,2})", ("ymd",)),
    )
)
_LEAP_YEAR = 2024


def close_date(
    field: str, truth: str, *, days: float = 0.0, zero_at: float = 1.0, null: bool = False
) -> ScoreFunction:
    """Score how near a date is to the true one, by whole days.

    Read are ISO 8601 (a time of day is ignored), dd.mm.yyyy, dd.mm., mm-dd, and d/m/y or m/d/y where
    only one of them can be. Without a year, the nearest one counts. Full credit within `days`; from there
    it falls linearly to 0 at `zero_at` (at least 1) times `days`. A date that can be read in two ways
    earns nothing. Raises ValueError where the ground truth can't be read.
    """
    tolerance, multiple = checked("days", days, 0), checked("zero_at", zero_at, 1)

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        wanted = truth_of(ground_truth, truth, null=null)
        given = answer_of(rollout, field)
        if wanted is None:
            return against_null(field, given)
        right = read_date(wanted)
        if isinstance(right, str):
            raise ValueError(f"the ground truth's {truth!r}, {show(wanted)}, {right}")
        if given is None:
            return absent(field, wanted)
        read = read_date(given)
        if isinstance(read, str):
            return Scored(0.0, f"{field}, {show(given)}, {read}")
        apart = days_between(right, read)
        value = falling(apart, tolerance, tolerance * multiple)
        if value == 1.0:
            return Scored(1.0)
        return Scored(value, f"{field} is {show(given)}, {apart} days from {show(wanted)}")

    return score


def read_date(value: Any) -> Date | str:
    """Return (year or None, month, day), or why the value can't be read as one date."""
    if not isinstance(value, str):
        return "is not a date in text"
    if len(value) > _LONGEST:
        return "is too long for a date"
    text = unicodedata.normalize("NFKC", value).strip()
    found: set[Date] = set()
    for pattern, orders in _FORMS:
        if match := pattern.fullmatch(text):
            for order in orders:
                parts = dict(zip(order, map(int, match.groups()), strict=True))
                date = (parts.get("y"), parts["m"], parts["d"])
                if _day(date[0] if date[0] is not None else _LEAP_YEAR, date) is not None:
                    found.add(date)
    if len(found) > 1:
        return "can be read as two dates"
    return found.pop() if found else "is not a date (write YYYY-MM-DD)"


def days_between(a: Date, b: Date) -> int:
    """Return the days between two dates; a missing year is the one that brings them nearest."""
    if a[0] is None and b[0] is not None:
        a, b = b, a
    fixed = _LEAP_YEAR if a[0] is None else a[0]
    first = _day(fixed, a)
    # Eight years to choose from hold a February 29.
    years = range(fixed - 4, fixed + 5) if b[0] is None else (b[0],)
    others = [day for year in years if (day := _day(year, b)) is not None]
    assert first is not None and others
    return min(abs((first - other).days) for other in others)


def _day(year: int, date: Date) -> datetime.date | None:
    try:
        return datetime.date(year, date[1], date[2])
    except ValueError:
        return None
