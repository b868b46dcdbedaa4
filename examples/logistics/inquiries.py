"""How customers ask: openings, questions and signatures in German and English.

`{t}` is the tracking number. `UNSEEN_QUESTIONS` come into use on the last fifth of the days.
"""

from __future__ import annotations

import random
import re
from typing import Final, Literal, NamedTuple

Language = Literal["de", "en"]
Kind = Literal["status", "eta", "arrived"]

OPENINGS: Final[dict[Language, tuple[str, ...]]] = {
    "de": ("Guten Tag, ", "Hallo, ", "Hallo Team, "),
    "en": ("Hello, ", "Hi, ", "Hi team, "),
}

QUESTIONS: Final[dict[tuple[Language, Kind], tuple[str, ...]]] = {
    ("de", "status"): (
        "wo ist {t}?",
        "wie steht es um {t}?",
        "was ist mit der Sendung {t}?",
        "wie ist der Stand von {t}?",
    ),
    ("de", "eta"): ("wann kommt {t} bei uns an?", "bis wann ist {t} da?", "wann ist mit {t} zu rechnen?"),
    ("de", "arrived"): ("ist {t} schon da?", "ist {t} bereits angekommen?"),
    ("en", "status"): (
        "where is {t}?",
        "what is the status of {t}?",
        "what is going on with {t}?",
        "can you check on {t}?",
    ),
    ("en", "eta"): (
        "when will {t} get to us?",
        "when can we expect {t}?",
        "what is the delivery date of {t}?",
    ),
    ("en", "arrived"): ("has {t} arrived yet?", "is {t} already there?"),
}

UNSEEN_QUESTIONS: Final[dict[tuple[Language, Kind], str]] = {
    ("de", "status"): "gibt es etwas Neues zu {t}?",
    ("en", "eta"): "by when will we have {t}?",
}

# What asks only whether the shipment is there (the teacher skips lookup_eta for these).
ONLY_ARRIVED: Final = re.compile(r"\b(?:schon da|bereits angekommen|arrived yet|already there)\b")

COLLEAGUE: Final[dict[Language, tuple[str, ...]]] = {
    "de": ("{name} wartet darauf.", "Bitte auch an {name}."),
    "en": ("{name} is waiting for it.", "Please tell {name} too."),
}

REGARDS: Final[dict[Language, tuple[str, ...]]] = {
    "de": ("Gruß ", "Danke, "),
    "en": ("Thanks, ", "Regards, "),
}


class Wording(NamedTuple):
    """One inquiry's text and how it was put together."""

    text: str
    kind: Kind
    question: str
    unseen: bool


def has_opening(text: str) -> bool:
    """Return whether an inquiry opens with a greeting, in either language."""
    return text.startswith(tuple(o.strip(" ") for both in OPENINGS.values() for o in both))


def write(
    rng: random.Random,
    language: Language,
    kind: Kind,
    tracking: str,
    *,
    signature: str,
    colleague: str | None,
    late: bool,
) -> Wording:
    """Write one inquiry. late: the last fifth of the days, when the unseen questions are in use."""
    question = rng.choice(QUESTIONS[language, kind])
    new = UNSEEN_QUESTIONS.get((language, kind))
    unseen = late and new is not None and rng.random() < 0.3
    if unseen and new is not None:
        question = new
    body = question.format(t=tracking)
    parts = [rng.choice(OPENINGS[language]) + body if rng.random() < 0.65 else body[0].upper() + body[1:]]
    if colleague:
        parts.append(rng.choice(COLLEAGUE[language]).format(name=colleague))
    parts.append((rng.choice(REGARDS[language]) if rng.random() < 0.5 else "") + signature)
    return Wording(" ".join(parts), kind, question, unseen)
