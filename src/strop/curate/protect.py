"""Business identifiers: parcels, orders, invoices, articles, traces, times: redaction leaves them alone."""

from __future__ import annotations

import re

# At the beginning of a word that holds a digit, the first that fits.
_IDENTIFIERS = re.compile(
    r"""
    (?<![^\W_])(?=\S*\d)(?:
      (?:\(00\))?\d{18}(?![^\W_])                               # SSCC
    | (?:\d{20}|(?:\d{4}[ ]){4}\d{4})(?![^\W_])                  # DHL parcel, also as printed
    | J(?:JD|VGL)[0-9A-Z]{10,22}\b                              # DHL
    | 1Z(?:[ ]?[0-9A-Z]){16}\b                                  # UPS
    | (?!00491[5-7])\d{14}[A-Z]?(?![^\W_])                      # DPD, Hermes; no mobile phone
    | H\d{19}\b                                                 # Hermes
    | [A-Z]{2}\d{9}[A-Z]{2}\b                                   # postal, UPU S10
    | [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b    # UUID
    | (?=\d*[a-f])(?:[0-9a-f]{16}|[0-9a-f]{32})\b              # ids of spans and traces
    | (?!(?:AT|CH|DE|FL|FR|IT|NL|PL)-\d{4,5}\b)                # no postcode, but RE-2026-000123
      [A-Z]{2,8}[-_/](?:[A-Z]{1,6}[-_/])?\d{2,}(?:[-_/.][A-Z0-9]+)*\b
    )
    """,
    re.VERBOSE,
)
_TIMES = re.compile(
    r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?\b"
    r"|\b\d{1,2}[./]\d{1,2}[./]\d{4}\b"
)
_NAMED = (
    r"order|bestell\w*|auftrag\w*|invoice|rechnung\w*|beleg\w*|ref|referen\w+|sku|art|artikel\w*|ean|gtin|sendung\w*"
    r"|shipment|tracking\w*|parcel|paket\w*|ticket|case|vorgang\w*|id|kundennummer|kunden-?nr"
    r"|customer (?:no|number)"
    r"|dhl|ups|dpd|gls|hermes|fedex|tnt|usps"
)
_BEFORE = re.compile(
    rf"\b(?:{_NAMED})\b[ .:#-]*(?:(?:nr|no|number|nummer|id|code|is|ist|lautet)\b[ .:#-]*){{0,2}}$",
    re.IGNORECASE,
)


def identifiers(text: str) -> list[tuple[int, int]]:
    """Return where a text holds what has the form of a business identifier."""
    return [m.span() for m in _IDENTIFIERS.finditer(text)]


def times(text: str) -> list[tuple[int, int]]:
    """Return where a text holds a date, with a time or without."""
    return [m.span() for m in _TIMES.finditer(text)]


def is_identifier(text: str) -> bool:
    """Say whether a text as a whole has the form of a business identifier or a time."""
    return (_IDENTIFIERS.fullmatch(text) or _TIMES.fullmatch(text)) is not None


def named_business(text: str, start: int) -> bool:
    """Say whether the words before `start` call what follows an order, an invoice, a parcel or the like."""
    return _BEFORE.search(text[max(0, start - 40) : start]) is not None
