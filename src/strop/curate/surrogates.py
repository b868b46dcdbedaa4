"""Fill placeholders with invented people, so that a model trained on redacted traces has seen names.

The same seed gives the same people; a placeholder is the same person throughout. Numbers come from
ranges that are reserved for fiction or from documented examples, so nobody's phone rings; streets and
towns are made up.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from strop.curate.recognise import PLACEHOLDER
from strop.records import Message, ToolCall

_FIRST = (
    "Anna", "Ben", "Clara", "David", "Eva", "Felix", "Greta", "Hannah", "Ida", "Jonas", "Katrin", "Lukas",
    "Maria", "Nina", "Oskar", "Paula", "Ralf", "Sophie", "Tom", "Uwe", "Alice", "Charlotte", "Daniel",
    "Emma", "George", "Harry", "Isla", "Jack", "Liam", "Megan", "Noah", "Olivia", "Ruby", "Samuel", "Thomas",
)  # fmt: skip
_LAST = (
    "Albrecht", "Bauer", "Dietrich", "Engel", "Fischer", "Graf", "Hoffmann", "Jansen", "Keller", "Lorenz",
    "Meier", "Neumann", "Otto", "Pohl", "Richter", "Seidel", "Thiel", "Ulrich", "Vogel", "Winkler", "Adams",
    "Barker", "Clarke", "Dawson", "Ellis", "Foster", "Hughes", "Jenkins", "Marshall", "Norris", "Osborne",
    "Palmer", "Reynolds", "Sutton", "Turner", "Walsh",
)  # fmt: skip
_IBANS = ("DE89370400440532013000", "GB82WEST12345698765432", "AT611904300234573201", "NL91ABNA0417164300")
_STREETS = (
    "Musterweg", "Beispielstraße", "Am Probefeld", "Testallee", "Lindenmusterring", "Erfundene Gasse",
)  # fmt: skip
_TOWNS = ("Musterstadt", "Beispielhausen", "Probeheim", "Neu Testingen", "Erfundsburg")
_TAX_IDS = ("86 095 742 719", "47 036 892 816", "65 929 970 489")
_VAT_IDS = ("DE136695976", "ATU13585627")
_SSNS = ("15 070649 C 103", "65 170839 J 003")
_CARDS = ("4111111111111111", "5555555555554444", "4012888888881881", "378282246310005")

_EXAMPLES = {"IBAN": _IBANS, "CARD": _CARDS, "TAX_ID": _TAX_IDS, "VAT_ID": _VAT_IDS, "SSN": _SSNS}


def fill(messages: Sequence[Message], seed: str | int) -> tuple[Message, ...]:
    """Return the messages with every placeholder filled, in text, calls and results alike."""
    return tuple(
        Message(
            role=m.role,
            content=None if m.content is None else fill_text(m.content, seed),
            tool_calls=tuple(ToolCall(c.id, c.name, fill_text(c.arguments, seed)) for c in m.tool_calls),
            tool_call_id=m.tool_call_id,
            name=m.name,
        )
        for m in messages
    )


def fill_text(text: str, seed: str | int) -> str:
    """Return a text with every placeholder filled. JSON stays valid: surrogates hold no quotes."""
    if "<" not in text:
        return text
    return PLACEHOLDER.sub(lambda m: surrogate(m.group(1), int(m.group(2)), seed), text)


def surrogate(kind: str, number: int, seed: str | int) -> str:
    """Return the invented value of one placeholder. EMAIL n is named after PERSON n."""
    person = random.Random(f"{seed}:PERSON:{number}")
    first, last = person.choice(_FIRST), person.choice(_LAST)
    if kind == "PERSON":
        return f"{first} {last}"
    if kind == "EMAIL":
        return f"{first}.{last}@{person.choice(('example.com', 'example.org', 'example.net'))}".lower()
    draw = random.Random(f"{seed}:{kind}:{number}")
    if kind == "PHONE":
        tail = draw.randrange(1000)
        return draw.choice((f"+49 30 23125 {tail:03d}", f"0171 3920{tail:03d}", f"+44 20 7946 0{tail:03d}"))
    if kind == "ADDRESS":
        street = f"{draw.choice(_STREETS)} {draw.randrange(1, 120)}"
        return f"{street}, {draw.randrange(10, 100)}000 {draw.choice(_TOWNS)}"
    if kind == "IP":
        return f"192.0.2.{draw.randrange(1, 255)}"
    if kind == "MAC":
        return f"00:00:5E:00:53:{draw.randrange(256):02X}"
    if kind == "DOCUMENT":
        return f"L01X00T{draw.randrange(100):02d}"
    if kind == "BIRTHDATE":
        return f"{draw.randrange(1, 29):02d}.{draw.randrange(1, 13):02d}.{draw.randrange(1940, 2005)}"
    return draw.choice(_EXAMPLES[kind])
