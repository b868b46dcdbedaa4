"""Find e-mail addresses, phone numbers, bank accounts, cards and addresses of machines in text.

Patterns with checksums where the thing has one. Business identifiers that look alike are marked by
`protected_spans` first, and nothing that overlaps one is ever replaced.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

Match = tuple[int, int, str]  # start, end, kind

PLACEHOLDER = re.compile(r"<(PERSON|EMAIL|PHONE|IBAN|CARD|IP)_(\d+)>")

# Carriers' numbers, and other strings of digits that are nobody's phone or card.
_CARRIERS = re.compile(
    r"""
    (?<![^\W_])(?:\(00\))?\d{18}(?![^\W_])                    # SSCC
  | (?<![^\W_])(?:\d{20}|(?:\d{4}[ ]){4}\d{4})(?![^\W_])       # DHL parcel, also as printed
  | \bJ(?:JD|VGL)[0-9A-Z]{10,22}\b                             # DHL
  | \b1Z(?:[ ]?[0-9A-Z]){16}\b                                 # UPS
  | (?<![^\W_])\d{14}[A-Z]?(?![^\W_])                       # DPD
  | \bH\d{19}\b                                                # Hermes
  | \b[A-Z]{2}\d{9}[A-Z]{2}\b                                  # postal S10
  | \b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b   # UUID
  | \b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?\b
    """,
    re.VERBOSE,
)

EMAIL = re.compile(r"(?<![\w.+%-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])")
_CARD = re.compile(r"(?<![\w-])\d(?:[ -]?\d){13,18}(?![\w-])")
_CARD_PREFIX = re.compile(r"4|5[1-5]|2[2-7]|3[4-9]|6(?:011|4|5|2)")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{0,4}(?![\w:])")

_EDGE = r"(?<![\w+./-])"
_PHONES = (
    re.compile(_EDGE + r"\+\d(?:[ ()/.-]{0,3}\d){7,14}(?!\w)"),  # +49 (0) 170 1234567
    re.compile(_EDGE + r"00(?=[1-9])\d{1,3}[ ()/.-]{1,3}\d(?:[ ()/.-]{0,3}\d){5,11}(?!\w)"),  # 0049 30 123456
    re.compile(_EDGE + r"\(?0[1-9]\d{1,4}\)?[ /-]{1,3}\d(?:[ /-]{0,3}\d){3,9}(?!\w)"),  # 030/123 456
    re.compile(_EDGE + r"01[5-7]\d{8,9}(?!\w)"),  # 01701234567
    re.compile(_EDGE + r"(?:\(\d{3}\)[ ]?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}(?!\w)"),  # (555) 123-4567
)
_SAID_PHONE = re.compile(
    r"\b(?:tel|telefon|telefonnummer|phone|mobil|mobile|cell|handy|handynummer|fax|whatsapp|rückrufnummer)\b\.?"
    r"(?:[ -](?:nr|no|number|nummer|is|ist|unter|lautet)\b\.?){0,2}[:\s]{1,3}"
    r"(\+?\(?\d[\d /().-]{4,18}\d)(?!\w)",
    re.IGNORECASE,
)
_SAID_OTHER = re.compile(
    r"\b(?:order|bestell\w*|auftrag\w*|invoice|rechnung\w*|ref|referen\w+|sku|art|artikel\w*|sendung\w*|shipment"
    r"|tracking\w*|parcel|paket\w*|ticket|id)\b[ .:#-]*(?:(?:nr|no|number|nummer|id)\b)?[ .:#-]*$",
    re.IGNORECASE,
)


def protected_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans that nothing may touch: carriers' numbers, ids, times, placeholders."""
    spans = [m.span() for m in _CARRIERS.finditer(text)] if any(map(str.isdigit, text)) else []
    if "<" in text:
        spans += [m.span() for m in PLACEHOLDER.finditer(text)]
    return spans


def recognise(text: str) -> Iterator[Match]:
    """Yield what looks like a person's data, the most certain kinds first."""
    if "@" in text:
        for m in EMAIL.finditer(text):
            yield m.start(), m.end(), "EMAIL"
    if not any(map(str.isdigit, text)):
        return
    for m in _IBAN.finditer(text):
        end = _iban_end(m.group())
        if end:
            yield m.start(), m.start() + end, "IBAN"
    for m in _CARD.finditer(text):
        number = digits(m.group())
        if _CARD_PREFIX.match(number) and luhn(number):
            yield m.start(), m.end(), "CARD"
    yield from _addresses(text)
    yield from _phones(text)


def digits(text: str) -> str:
    """Return the digits of a text."""
    return "".join(c for c in text if c in "0123456789")


def luhn(number: str) -> bool:
    """Say whether a number's last digit is its Luhn check digit."""
    total = 0
    for i, c in enumerate(reversed(number)):
        d = int(c) * (2 if i % 2 else 1)
        total += d - 9 if d > 9 else d
    return total % 10 == 0


def iban(text: str) -> bool:
    """Say whether a text without blanks is an IBAN: 15 to 34 characters, remainder 1 by 97."""
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _iban_end(text: str) -> int:
    """Length of the valid IBAN at the start; words of capitals after it may have been taken along."""
    while text:
        if iban(text.replace(" ", "")):
            return len(text)
        text = text.rpartition(" ")[0]
    return 0


def _addresses(text: str) -> Iterator[Match]:
    for pattern in (_IPV4, _IPV6):
        for m in pattern.finditer(text):
            try:
                ipaddress.ip_address(m.group())
            except ValueError:
                continue
            if len(m.group()) > 4:
                yield m.start(), m.end(), "IP"


def _phones(text: str) -> Iterator[Match]:
    for i, pattern in enumerate(_PHONES):
        for m in pattern.finditer(text):
            plus = i == 0
            if not 7 <= len(digits(m.group())) <= (15 if i < 2 else 13):
                continue
            if not plus and _SAID_OTHER.search(text[max(0, m.start() - 40) : m.start()]):
                continue
            yield m.start(), m.end(), "PHONE"
    for m in _SAID_PHONE.finditer(text):
        if 6 <= len(digits(m.group(1))) <= 15:
            yield m.start(1), m.end(1), "PHONE"
