"""How near an amount in the answer is to the true one."""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal
from typing import Any, Literal

from strop.grade.components.closeness import checked, falling
from strop.grade.components.values import absent, against_null, answer_of, show, truth_of
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject

_LONGEST = 64
_LARGEST = 10**_LONGEST
_UNIT = r"(?:[A-Z]{1,2}\$|[$€£¥₹₽₺₩₫]|[A-Z]{3}|(?i:eur|usd|gbp|chf|jpy|euros?|dollars?|pounds?|kr|zł|kč))"
_AMOUNT = re.compile(
    rf"([+-]?) ?({_UNIT})? ?([+-]?)([.,]?[0-9][0-9.,' ]{{0,{_LONGEST}}}) ?({_UNIT})?", re.ASCII
)
_SPACED = re.compile(
    r"[0-9]{1,3}(?:( )[0-9]{3}(?: [0-9]{3})*|(')[0-9]{3}(?:'[0-9]{3})*)(?:[.,][0-9]+)?", re.ASCII
)
_DOLLARS = frozenset({"USD", "CAD", "AUD", "NZD", "SGD", "HKD"})
_CURRENCIES = {
    "$": _DOLLARS, "DOLLAR": _DOLLARS, "DOLLARS": _DOLLARS, "US$": frozenset({"USD"}),
    "€": frozenset({"EUR"}), "EURO": frozenset({"EUR"}), "EUROS": frozenset({"EUR"}),
    "£": frozenset({"GBP"}), "POUND": frozenset({"GBP"}), "POUNDS": frozenset({"GBP"}),
    "¥": frozenset({"JPY", "CNY"}), "₹": frozenset({"INR"}), "R$": frozenset({"BRL"}),
    "A$": frozenset({"AUD"}), "C$": frozenset({"CAD"}), "ZŁ": frozenset({"PLN"}), "KČ": frozenset({"CZK"}),
    "KR": frozenset({"DKK", "NOK", "SEK"}),
}  # fmt: skip

Mark = Literal[".", ","]
Read = tuple[Decimal, frozenset[str]]


def close_number(
    field: str,
    truth: str,
    *,
    absolute: float = 0.0,
    relative: float = 0.0,
    zero_at: float = 1.0,
    decimal: Mark | None = None,
    null: bool = False,
) -> ScoreFunction:
    """Score how near a number or an amount in words ("1.234,56 EUR", "$1,234.56") is to the true one.

    Full credit within the tolerance, the larger of `absolute` and `relative` times the true value; from
    there credit falls linearly to 0 at `zero_at` (at least 1) times the tolerance. What can be read in
    two ways ("1,234") earns nothing unless `decimal` names the decimal mark; so does another currency.
    Raises ValueError where the ground truth can't be read.
    """
    within, share = checked("absolute", absolute, 0), checked("relative", relative, 0)
    multiple = checked("zero_at", zero_at, 1)
    if decimal not in (None, ".", ","):
        raise ValueError(f"decimal is {decimal!r}; give '.', ',' or None")

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        wanted = truth_of(ground_truth, truth, null=null)
        given = answer_of(rollout, field)
        if wanted is None:
            return against_null(field, given)
        right = read_amount(wanted, decimal)
        if isinstance(right, str):
            raise ValueError(f"the ground truth's {truth!r}, {show(wanted)}, {right}")
        if given is None:
            return absent(field, wanted)
        read = read_amount(given, decimal)
        if isinstance(read, str):
            return Scored(0.0, f"{field}, {show(given)}, {read}")
        if read[1] and right[1] and not read[1] & right[1]:
            return Scored(0.0, f"{field} is {show(given)}, another currency than {show(wanted)}")
        tolerance = max(within, share * abs(right[0]))
        value = falling(abs(read[0] - right[0]), tolerance, tolerance * multiple)
        if value == 1.0:
            return Scored(1.0)
        return Scored(value, f"{field} is {show(given)}, expected {show(wanted)} within {float(tolerance):g}")

    return score


def read_amount(value: Any, decimal: Mark | None = None) -> Read | str:
    """Return an amount and the currencies it can be in (empty: none named), or why it can't be read."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) if isinstance(value, float) else abs(value) >= _LARGEST:
            return "is not a finite number of a usable size"
        return Decimal(value) if isinstance(value, int) else Decimal(repr(value)), frozenset()
    if not isinstance(value, str):
        return "is not a number"
    if len(value) > _LONGEST:
        return "is too long for a number"
    text = " ".join(unicodedata.normalize("NFKC", value).split())
    found = _AMOUNT.fullmatch(text.replace("\u2212", "-").replace("\u2019", "'"))
    if found is None:
        return "is not a number with at most a currency beside it"
    sign, before, inner, digits, after = found.groups()
    if sign and inner:
        return "has two signs"
    units = [_CURRENCIES.get(u.upper(), frozenset({u.upper()})) for u in (before, after) if u]
    currencies: frozenset[str] = units[0] if units else frozenset()
    for unit in units[1:]:
        currencies &= unit
        if not currencies:
            return "names two currencies"
    number = _plain(digits.rstrip(), decimal)
    if number is None:
        return "can be read in two ways, or none, by its separators"
    return (-number if "-" in (sign, inner) else number), currencies


def _plain(digits: str, decimal: Mark | None) -> Decimal | None:
    # The value of digits with separators; None where they can be read in two ways or are misplaced.
    spaced = " " in digits or "'" in digits
    if spaced:
        if not _SPACED.fullmatch(digits):
            return None
        digits = digits.replace(" ", "").replace("'", "")
    points, commas = digits.count("."), digits.count(",")
    if not points and not commas:
        return Decimal(digits)
    last: Mark = "." if digits.rfind(".") > digits.rfind(",") else ","
    whole, _, fraction = digits.rpartition(last)
    if not fraction:
        return None
    if points and commas:
        mark = last
    elif points + commas > 1:
        mark = _other(last)
    elif decimal is not None:
        mark = decimal
    elif len(fraction) == 3 and 1 <= len(whole) <= 3 and whole[0] != "0" and not spaced:
        return None
    else:
        mark = last
    if decimal not in (None, mark):
        return None
    if mark != last:
        whole, fraction = digits, ""
    group = _other(mark)
    if group in whole and not re.fullmatch(rf"[1-9][0-9]{{0,2}}(?:{re.escape(group)}[0-9]{{3}})+", whole):
        return None
    if mark in whole:
        return None
    return Decimal(f"{whole.replace(group, '') or '0'}.{fraction or '0'}")


def _other(mark: Mark) -> Mark:
    return "," if mark == "." else "."
