"""The customers and the people who write for them: names, e-mail addresses, phone numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from logistics.inquiries import Language

CUSTOMERS: Final = 52
LARGEST_SHARE: Final = 0.31
# The others follow rank ** -0.6: very unequal, the smallest about a hundredth of the largest's traffic.
EXPONENT: Final = 0.6

_FIRST: Final[dict[Language, str]] = {
    "de": "Anna Jonas Lena Paul Marie Felix Laura Lukas Julia Max Sophie Tim Clara Jan Eva Nils Ida Karl "
    "Greta Otto Frieda Emil Hanna Moritz Petra Uwe Sabine Jürgen Katrin Stefan",
    "en": "Emma Oliver Grace Harry Alice George Lucy Jack Ruby Henry Chloe Thomas Megan Daniel Holly Samuel "
    "Amy Simon Rachel Peter Helen Martin Susan Kevin Diane Brian Nora Colin Joyce Alan",
}
_LAST: Final[dict[Language, str]] = {
    "de": "Schmidt Weber Wagner Becker Hoffmann Schäfer Koch Bauer Richter Klein Wolf Neumann Schwarz Braun "
    "Krüger Hartmann Lange Werner Krause Lehmann Köhler Maier Huber Fuchs Vogel Keller Jung Hahn Roth Frank "
    "Winter Sommer Albrecht Brandt Haas Schreiber Graf Dietrich Ziegler Kuhn",
    "en": "Smith Jones Taylor Brown Wilson Evans Walker Wright Roberts Green Hall Wood Clarke Harris Lewis "
    "Turner Hill Cooper Ward Baker Morris Parker Cook Bell Kelly Murphy Price Russell Foster Graham Stone "
    "Hughes Fisher Palmer Marsh Webb Hunt Barker Pearce Dixon",
}
_FIRMS: Final = (
    "nordholz alpenglas rheinstahl baltica kornhaus elbwerk saarform lindner isartech hansedruck "
    "ostwind waldner berglicht seehafen papierow mainmetall fjordline brightco oakfield stonemill "
    "greenway harbourex millbrook ironside westgate fairline redhill larkspur kingsway ashford "
    "bluepeak whitby falkenau morgenrot steinbach lichtenau talwerk auerbach grenzland kupferau "
    "silbersee tannhof meadowco ridgeway cobalto elmwood foxglove hazelton ivybridge juniper kestrel "
    "lowell"
)


@dataclass(frozen=True)
class Person:
    """Someone who writes inquiries or receives shipments."""

    name: str
    email: str
    phone: str
    language: Language


@dataclass(frozen=True)
class Customer:
    """One customer: `share` of the traffic, the people who write for it, and colleagues in no field."""

    customer_id: str
    share: float
    people: tuple[Person, ...]
    recipients: tuple[Person, ...]
    colleagues: tuple[str, ...]


def customers(rng: random.Random) -> list[Customer]:
    """Make all customers, the largest first. No two people of the company share a name."""
    names: dict[Language, list[str]] = {"de": _names(rng, "de"), "en": _names(rng, "en")}
    rest = [rank**-EXPONENT for rank in range(1, CUSTOMERS)]
    shares = [LARGEST_SHARE, *((1 - LARGEST_SHARE) * w / sum(rest) for w in rest)]
    return [_customer(rng, i, share, names) for i, share in enumerate(shares)]


def _names(rng: random.Random, language: Language) -> list[str]:
    names = [f"{first} {last}" for first in _FIRST[language].split() for last in _LAST[language].split()]
    rng.shuffle(names)
    return names


def _customer(rng: random.Random, index: int, share: float, names: dict[Language, list[str]]) -> Customer:
    firm = _FIRMS.split()[index]
    home: Language = "en" if index % 5 in (2, 4) else "de"
    size = 20 if index == 0 else 4
    people = [_person(rng, firm, _language(rng, index, home), names) for _ in range(size)]
    recipients = [_person(rng, firm, home, names) for _ in range(size)]
    colleagues = [names[home].pop() for _ in range(max(1, size // 4))]
    return Customer(f"cust-{firm}", share, tuple(people), tuple(recipients), tuple(colleagues))


def _language(rng: random.Random, index: int, home: Language) -> Language:
    """Most people write their company's language; the largest customer works in both."""
    other: Language = "en" if home == "de" else "de"
    return other if rng.random() < (0.4 if index == 0 else 0.12) else home


def _person(rng: random.Random, firm: str, language: Language, names: dict[Language, list[str]]) -> Person:
    name = names[language].pop()
    email = f"{_ascii(name).lower().replace(' ', '.')}@{firm}.example"
    return Person(name, email, _phone(rng, language), language)


def _ascii(name: str) -> str:
    return name.translate(str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}))


def _phone(rng: random.Random, language: Language) -> str:
    """A phone number as people of the language write it, always with separators."""
    a, b = rng.randint(100, 999), rng.randint(1000, 9999)
    if language == "de":
        area = rng.choice(("40", "30", "89", "211", "69"))
        return rng.choice((f"+49 {area} {a}{b}", f"0{area} {a}{b}", f"0{area}/{a} {b}", f"0{area}-{a}{b}"))
    return rng.choice((f"+44 20 7{a} {b}", f"020 7{a} {b}", f"(020) 7{a} {b}", f"+44 161 {a} {b}"))
