"""Find what is somebody's by its form: mail addresses, numbers of phones, accounts, machines and papers.

Numbers with check digits are checked; those without any count only where the words around them say what
they are. Business identifiers that look alike are looked for first, and what overlaps one stays.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from strop.curate import checks
from strop.curate.protect import identifiers, named_business, times
from strop.curate.said import said

KINDS = (
    "PERSON", "ADDRESS", "EMAIL", "PHONE", "IBAN", "CARD", "IP", "MAC", "TAX_ID", "VAT_ID", "SSN", "DOCUMENT",
    "BIRTHDATE",
)  # fmt: skip
PLACEHOLDER = re.compile(rf"<({'|'.join(KINDS)})_(\d+)>")


class Match(NamedTuple):
    """Characters start to end are of a kind. said: the words before say so, which outweighs mere form."""

    start: int
    end: int
    kind: str
    said: bool = False


EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.%+-]{1,64}(?:['’][\w.%+-]{1,64}){0,2}@(?:[\w-]{1,63}\.)+"
    r"(?:[^\W\d_]{2,24}|xn--[\w-]{1,60})(?![\w-])"
)
_DIGIT = re.compile(r"\d")
# What a text must hold for the longer patterns to be worth a try.
_MANY_DIGITS = re.compile(r"\d(?:[^\w\n]{0,3}\d){5}|\d{6} ?[A-Z] ?\d")
_LETTERED = re.compile(r"[A-Za-z]{2}\d\d ?[A-Za-z0-9]{4} ?[A-Za-z0-9]{4}")
_MACHINES = re.compile(r"(?:\d{1,3}\.){3}\d|(?:[0-9A-Fa-f]{0,4}:){3}|(?:[0-9A-Fa-f]{2}-){5}")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])")
_IBAN_LOW = re.compile(r"(?<![A-Za-z0-9])[a-z]{2}\d{2}[a-z0-9]{11,30}(?![A-Za-z0-9])")
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){11,18}(?![\w-])")
_CARD_PREFIX = re.compile(r"(?:4|5[1-5]|2[2-7]|6(?:011|4|5|2)|35)\d*$|3[47]\d{13}$|(?:2131|1800)\d{11}$")
_CARD_WORD = re.compile(r"card|karte|\bcc\b|visa|amex|maestro", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])")
_VAT = re.compile(r"(?<!\w)(?:DE ?(\d{3}) ?(\d{3}) ?(\d{3})|ATU\d{8}|CHE-\d{3}\.\d{3}\.\d{3})(?!\w)")
_STEUER_ID = re.compile(r"(?<![\w-])\d{2} \d{3} \d{3} \d{3}(?![\w-])")
_PENSION = re.compile(
    r"(?<!\w)\d{2} ?(?:0[1-9]|[12]\d|3[01]|[5-8]\d)(?:0[1-9]|1[0-2])\d{2} ?[A-Z] ?\d{2} ?\d(?!\w)"
)

_EDGE = r"(?<![\w+./-])"
BLANKS = " \xa0\u2009\u202f"
DASHES = "\u2010-\u2015-"  # the last stands for itself
_ANY = f"[{BLANKS}()/.{DASHES}]"
_SOME = f"[{BLANKS}/{DASHES}]"
_MORE = r"(?: ?(?:x|ext\.?) ?\d{1,5})?(?!\w)"  # an extension
_PHONES = (
    re.compile(_EDGE + rf"\+\d(?:{_ANY}{{0,3}}\d){{7,14}}" + _MORE),  # +49 (0) 170 1234567
    re.compile(
        _EDGE + rf"00(?=[1-9])\d{{1,3}}{_ANY}{{1,3}}\d(?:{_ANY}{{0,3}}\d){{5,11}}(?!\w)"
    ),  # 0049 30 123456
    re.compile(
        _EDGE + rf"\(?0[1-9]\d{{1,4}}\)?{_SOME}{{1,3}}\d(?:{_SOME}{{0,3}}\d){{3,9}}(?!\w)"
    ),  # 030/123 456
    re.compile(_EDGE + r"0[1-9]\d{1,3}\.\d{3}\.\d{3,5}(?![\w.])"),  # 0170.123.4567
    re.compile(_EDGE + r"(?:0049|0)1[5-7]\d{8,9}(?!\w)"),  # 01701234567
    re.compile(
        _EDGE + r"(?:1[ .-])?(?:\(\d{3}\)[ ]?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}" + _MORE
    ),  # (555) 123-4567
    re.compile(_EDGE + r"0\d(?:[ .-]\d{2}){4}(?![\w.])"),  # 03.93.92.16.85
    re.compile(_EDGE + r"\(0?\d{2,4}\) ?\d{3}[ -]?\d{3,4}(?!\w)"),  # (99) 645-791
)


class Seen(NamedTuple):
    """What is in a text: matches, the most certain first, and spans that mere form must not touch."""

    matches: list[Match]
    protected: list[tuple[int, int]]


def recognise(text: str) -> Seen:
    """Look for a person's data, and for business identifiers, times and placeholders, which are protected.

    Matches may overlap protected spans: where words before them name them, they count all the same.
    """
    found = [Match(m.start(), m.end(), "EMAIL") for m in EMAIL.finditer(text)] if "@" in text else []
    if not _DIGIT.search(text):
        return Seen(found, [])
    placeholders = [m.span() for m in PLACEHOLDER.finditer(text)] if "<" in text else []
    protected = placeholders + identifiers(text)
    rest = _without(text, protected)
    if _CARD_WORD.search(text):
        found += _cards(text, _without(text, placeholders))
    if not _DIGIT.search(rest):
        return Seen(found, protected)
    protected += times(text)
    many = _MANY_DIGITS.search(rest)
    if many or _LETTERED.search(rest):
        found += _accounts(rest)
        found += _cards(text, rest)
    found += [Match(s, e, kind, said=kind not in ("PHONE", "ADDRESS")) for s, e, kind in said(rest)]
    if _MACHINES.search(rest):
        found += _machines(rest)
    if many:
        found += [
            match
            for match in (*_numbered(rest), *_phones(rest))
            if text[match.start] == "+" or not named_business(text, match.start)
        ]
    return Seen(found, protected)


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text of the same length with line breaks instead of the spans."""
    for start, end in spans:
        text = f"{text[:start]}{chr(10) * (end - start)}{text[end:]}"
    return text


def digits(text: str) -> str:
    """Return the digits of a text."""
    return "".join(c for c in text if c in "0123456789")


def _accounts(text: str) -> Iterator[Match]:
    for m in _IBAN.finditer(text):
        end = _iban_end(m.group())
        if end:
            yield Match(m.start(), m.start() + end, "IBAN")
    for m in _IBAN_LOW.finditer(text):
        if checks.iban(m.group()):
            yield Match(m.start(), m.end(), "IBAN")


def _cards(text: str, searched: str) -> Iterator[Match]:
    for m in _CARD.finditer(searched):
        number = digits(m.group())
        if not checks.luhn(number) or not number.strip("0") or named_business(text, m.start()):
            continue
        if _CARD_WORD.search(text[max(0, m.start() - 40) : m.start()]):
            yield Match(m.start(), m.end(), "CARD", said=True)
        elif len(number) >= 14 and _CARD_PREFIX.match(number):
            yield Match(m.start(), m.end(), "CARD")


def _iban_end(text: str) -> int:
    """Length of the valid IBAN at the start; words of capitals after it may have been taken along."""
    while text:
        if checks.iban(text.replace(" ", "")):
            return len(text)
        text = text.rpartition(" ")[0]
    return 0


def _machines(text: str) -> Iterator[Match]:
    for m in _MAC.finditer(text):
        yield Match(m.start(), m.end(), "MAC")
    for pattern in (_IPV4, _IPV6):
        for m in pattern.finditer(text):
            try:
                ipaddress.ip_address(m.group())
            except ValueError:
                continue
            if len(m.group()) > 4:
                yield Match(m.start(), m.end(), "IP")


def _numbered(text: str) -> Iterator[Match]:
    """Numbers of people and firms that check digits tell without a word."""
    for m in _VAT.finditer(text):
        if m.group(1) is None or checks.ust_id("".join(m.groups())):
            yield Match(m.start(), m.end(), "VAT_ID")
    for m in _STEUER_ID.finditer(text):
        if checks.steuer_id(digits(m.group())):
            yield Match(m.start(), m.end(), "TAX_ID")
    for m in _PENSION.finditer(text):
        if checks.pension_number(m.group().replace(" ", "")):
            yield Match(m.start(), m.end(), "SSN")


def _phones(text: str) -> Iterator[Match]:
    for i, pattern in enumerate(_PHONES):
        for m in pattern.finditer(text):
            if 7 <= len(digits(re.split(r"x|ext", m.group())[0])) <= (13 if 2 <= i < 4 or i > 4 else 15):
                yield Match(m.start(), m.end(), "PHONE")
