"""Text as it is compared: without its case, its white space and its punctuation."""

from __future__ import annotations

import unicodedata

_DASHES = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2010": "-", "\u2011": "-"})


def normalise(text: str) -> str:
    """Return text in NFKC, case-folded, with punctuation as single spaces; idempotent.

    Punctuation between two digits and a minus before a number stay: -5 is not 5, and 1.5 is not 15.
    """
    if text.isascii() and text.isalnum():
        return text.lower()
    # One step can make work for another (removing a dot joins an accent to its letter), hence a loop;
    # it ends since each further step shortens or composes.
    while (after := _step(text)) != text:
        text = after
    return text


def _step(text: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(_DASHES)
    kept: list[str] = []
    for i, character in enumerate(text):
        if unicodedata.category(character)[0] == "P" and not _numeric(text, i):
            kept.append(" ")
        else:
            kept.append(character)
    return " ".join("".join(kept).split())


def _numeric(text: str, i: int) -> bool:
    before, after = text[i - 1 : i], text[i + 1 : i + 2]
    if not after.isdigit():
        return False
    return before.isdigit() or (text[i] == "-" and (not before or before.isspace()))
