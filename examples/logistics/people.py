"""The customers and the people who write for them: names, e-mail addresses, phone numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, TypeVar

from logistics.inquiries import Language

CUSTOMERS: Final = 52
LARGEST_SHARE: Final = 0.31
# The others follow rank ** -0.6: very unequal, the smallest about a hundredth of the largest's traffic.
EXPONENT: Final = 0.6

_FIRST: Final[dict[Language, str]] = {
    "de": "Annika Leon Lena Paul Marie Moritz Laura Niklas Julia Max Sonja Tim Carla Jan Elke Nils Ilka Karl "
    "Gerda Henrik Frieda Emil Hanna Matthias Petra Jürgen Sabine Holger Kerstin Stefan",
    "en": "Emily Oliver Grace Harvey Amelia Gordon Lucy Jacob Rosie Henry Chloe Trevor Mandy Simon Holly "
    "Stanley Amy Martin Rachel Peter Helen Kevin Susan Brian Diane Colin Nora Alan Joyce Edith",
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


# Ranges that the regulators keep for fiction, so that nobody's phone rings.
_PHONE_RANGES: Final[dict[Language, tuple[tuple[str, str], ...]]] = {
    "de": (("40", "66969"), ("89", "99998"), ("69", "90009")),
    "en": (("161", "496 0"), ("121", "496 0"), ("113", "496 0")),
}
_PHONE_FORMS: Final[dict[Language, tuple[str, ...]]] = {
    "de": ("+49 {a} {n}", "0{a} {n}", "0{a}/{n}", "0{a}-{n}"),
    "en": ("+44 {a} {n}", "0{a} {n}", "(0{a}) {n}", "+44 (0){a} {n}"),
}
_LANGUAGES: Final[tuple[Language, ...]] = ("de", "en")
_T = TypeVar("_T")


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


class _Directory:
    """Names and phone numbers that are given out once each."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._names = {language: self._shuffled(_all_names(language)) for language in _LANGUAGES}
        self._phones = {language: self._shuffled(_all_phones(language)) for language in _LANGUAGES}

    def name(self, language: Language) -> str:
        """Return a name that nobody else has."""
        return self._names[language].pop()

    def person(self, firm: str, language: Language) -> Person:
        """Return somebody new at a firm."""
        name = self.name(language)
        email = f"{_ascii(name).lower().replace(' ', '.')}@{firm}.example"
        area, number = self._phones[language].pop()
        return Person(
            name, email, self._rng.choice(_PHONE_FORMS[language]).format(a=area, n=number), language
        )

    def _shuffled(self, values: list[_T]) -> list[_T]:
        return self._rng.sample(values, len(values))


def customers(rng: random.Random) -> list[Customer]:
    """Make all customers, the largest first. No two people of the company share a name."""
    directory = _Directory(rng)
    rest = [rank**-EXPONENT for rank in range(1, CUSTOMERS)]
    shares = [LARGEST_SHARE, *((1 - LARGEST_SHARE) * w / sum(rest) for w in rest)]
    return [_customer(rng, i, share, directory) for i, share in enumerate(shares)]


def _customer(rng: random.Random, index: int, share: float, directory: _Directory) -> Customer:
    firm = _FIRMS.split()[index]
    home: Language = "en" if index % 5 in (2, 4) else "de"
    size = 20 if index == 0 else 4
    people = [directory.person(firm, _language(rng, index, home)) for _ in range(size)]
    recipients = [directory.person(firm, home) for _ in range(size)]
    colleagues = [directory.name(home) for _ in range(max(1, size // 4))]
    return Customer(f"cust-{firm}", share, tuple(people), tuple(recipients), tuple(colleagues))


def _language(rng: random.Random, index: int, home: Language) -> Language:
    """Most people write their company's language; the largest customer works in both."""
    other: Language = "en" if home == "de" else "de"
    return other if rng.random() < (0.4 if index == 0 else 0.12) else home


def _all_names(language: Language) -> list[str]:
    return [f"{first} {last}" for first in _FIRST[language].split() for last in _LAST[language].split()]


def _all_phones(language: Language) -> list[tuple[str, str]]:
    return [(area, f"{start}{i:03d}") for area, start in _PHONE_RANGES[language] for i in range(1000)]


def _ascii(name: str) -> str:
    return name.translate(str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}))
