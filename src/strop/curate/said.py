"""Numbers and dates that the words before them name: "Steuer-ID 86095742719", "call me at 555 0123"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from strop.curate.protect import named_business

_DATE = (
    r"\d{1,2}[./ -]{1,2}(?:\d{1,2}|[A-Za-zä]{3,9})[./ -]{1,2}\d{2,4}"
    r"|\d{4}-\d{2}-\d{2}|[A-Z][a-z]{2,8} \d{1,2},? \d{4}"
)
_NOT_PHONE = re.compile(r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4})(?: .*)?")
# What follows words that say what it is: (kind, parts of the words
# that are looked for first, the words, what comes between, the value).
_SAYINGS = (
    (
        "PHONE",
        ("tel", "phone", "mobil", "cell", "handy", "fax", "desk", "whatsapp", "rückruf"),
        r"tel|telefon|telefonnummer|phone|phone number|mobil|mobile|cell|handy|handynummer|fax|desk"
        r"|whatsapp|rückrufnummer",
        r"\b\.?(?:[ -](?:nr|no|number|nummer|is|ist|unter|lautet)\b\.?){0,2}[:\s]{1,3}",
        r"\+?\(?\d[\d /().-]{4,18}\d(?: ?(?:x|ext\.?) ?\d{1,5})?",
    ),
    (
        "PHONE",
        (
            "call",
            "reach",
            "ring",
            "text",
            "dial",
            "contact",
            "phone",
            "sms",
            "message",
            "answer",
            "whatsapp",
            "ruf",
            "erreich",
            "telefon",
            "mobil",
            "handy",
            "number",
        ),
        r"call|reach|ring|text|dial|contact|phone|sms|messages?|answering|whatsapp|rückruf|ruf\w*|anruf\w*|erreich\w*"
        r"|telefon\w*|mobil\w*|handy\w*|number",
        r"\b[^\d\n.?!]{0,30}?\b(?:at|on|to|under|unter|auf|an|is|lautet)[: ]{1,2}",
        r"\+?\(?\d[\d /().-]{5,16}\d(?: ?(?:x|ext\.?) ?\d{1,5})?",
    ),
    (
        "TAX_ID",
        ("steuer", "ident", "idnr", "id-nr", "st.", "stnr", "st-nr", "tax", "tin"),
        r"steuer-?(?:id\w*|nummer|nr)|(?:steuerliche )?identifikationsnummer|id-?nr|st\.?-?nr"
        r"|tax(?:payer)?[ -]?(?:id\w*|number|no)|tin",
        r"\b[^\d\n]{0,20}?",
        r"\d{2} ?\d{3} ?\d{3} ?\d{3}|\d{2,3}[/ ]\d{3,4}[/ ]\d{4,5}",
    ),
    (
        "VAT_ID",
        ("ust", "vat", "umsatz"),
        r"ust-?id\w*|umsatzsteuer-?id\w*|vat",
        r"[^\d\n]{0,20}?\b",
        r"(?:AT|BE|BG|CHE|CY|CZ|DE|DK|EE|EL|ES|FI|FR|GB|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK|XI)[ -]?"
        r"[A-Z]{0,2}\d(?:[ .-]?[A-Z0-9]){6,11}",
    ),
    (
        "SSN",
        ("social", "ssn", "soc"),
        r"social security|ssn|soc\.? sec",
        r"\b[^\d\n]{0,30}?",
        r"\d{3}[- ]?\d{2}[- ]?\d{4}",
    ),
    (
        "SSN",
        ("versicherungs", "sv"),
        r"sozialversicherungs\w*|rentenversicherungs\w*|sv-?(?:nr|nummer)|versicherungsnummer",
        r"\b[^\d\n]{0,20}?",
        r"\d{2} ?\d{6} ?[A-Z] ?\d{2} ?\d",
    ),
    (
        "DOCUMENT",
        ("licen", "passport", "ausweis", "reisepass", "führerschein", "id card", "identity"),
        r"driver'?s?'? licen[cs]e|driving licen[cs]e|passport|personalausweis\w*|reisepass\w*|führerschein\w*"
        r"|ausweis(?:nummer|-?nr)|id card|identity card",
        r"\b[^\d\n]{0,25}?(?<![\w-])",
        r"(?=[A-Z0-9-]*\d[A-Z0-9-]*\d)[A-Z0-9]{1,4}[0-9][A-Z0-9-]{3,14}",
    ),
    (
        "BIRTHDATE",
        ("born", "birth", "dob", "geb"),
        r"born|date of birth|birth ?date|dob|birthday|geboren|geb|geburtsdatum|geburtstag",
        r"\b\.?(?: (?:on|is|am|ist))?[: \n]{1,2}",
        _DATE,
    ),
    (
        "ADDRESS",
        ("zip", "post", "plz"),
        r"zip|zip ?code|post(?:al)? ?code|plz|postleitzahl",
        r"\b(?: (?:is|ist|lautet))?[: ]{1,2}",
        r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}"
        r"|(?:[A-Z]{1,2}-)?\d{3,5}(?:-\d{3,4}| \d{2,3})?(?: [A-Z]{2}(?![a-z]))?",
    ),
)
_SAID = tuple(
    (kind, parts, re.compile(rf"\b(?:{words}){between}(?P<value>{value})(?!\w)", re.IGNORECASE))
    for kind, parts, words, between, value in _SAYINGS
)


def said(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, kind) of what the words before it name."""
    low = text.lower()
    for kind, parts, pattern in _SAID:
        if not any(part in low for part in parts):
            continue
        for m in pattern.finditer(text):
            start, end = m.span("value")
            if kind != "PHONE" or (_is_phone(m.group("value")) and not named_business(text, start)):
                yield start, end, kind


def _is_phone(value: str) -> bool:
    count = sum(map(str.isdigit, re.split(r"x|ext", value)[0]))
    return 6 <= count <= 15 and _NOT_PHONE.fullmatch(value) is None
