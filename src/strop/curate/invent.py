"""Invent sentences, forms and letters in which it is known who and what stands where.

Wordings are `sentences_en.txt` and `sentences_de.txt`, what fills them is `lexicon.txt`, and names, streets
and firms that stand in no list are composed of syllables. The same seed gives the same texts.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent
_SLOT = re.compile(r"\{(\w+)\}")
_GREEK = "αβγδεζηικλμνοπρστυφχω"
LANGUAGES = ("en", "de")
# Sections of the lexicon whose words count by what they are: no names, places or firms.
_COMMON = (
    "noun de", "noun de more", "noun de kind", "noun en", "place number", "job", "nation", "brand", "title",
    "word en", "word de", "verb en", "verb de", "thing", "title word", "month en", "month de", "day en",
    "day de", "color en", "color de",
)  # fmt: skip


class Span(NamedTuple):
    """Characters start to end are of a kind: PERSON, ADDRESS, PLACE or FIRM."""

    start: int
    end: int
    kind: str


class Invented(NamedTuple):
    """A text and what stands in it, in order."""

    text: str
    spans: tuple[Span, ...]


@functools.cache
def lexicon() -> dict[str, tuple[str, ...]]:
    """Return the entries of each section of `lexicon.txt`. One that stands twice is drawn more often."""
    sections: dict[str, list[str]] = {}
    name = ""
    for line in (_HERE / "lexicon.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
        elif line and not line.startswith("# "):
            sections.setdefault(name, []).extend(w.replace("_", " ") for w in line.split())
    return {k: tuple(v) for k, v in sections.items()}


@functools.cache
def wordings(language: str) -> tuple[str, ...]:
    """Return the wordings of a language, with line breaks."""
    lines = (_HERE / f"sentences_{language}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.replace("\\n", "\n") for line in lines if line)


def common_words() -> set[str]:
    """Return the words that wordings and common entries are made of, in lower case."""
    lines = [_SLOT.sub(" ", line) for language in LANGUAGES for line in wordings(language)]
    lines += [entry for section in _COMMON for entry in lexicon()[section]]
    return {word for line in lines for word in re.findall(r"[^\W\d_]+", line.lower())}


class Inventor:
    """A source of texts. listed: share of names that come from the lists; the others are composed."""

    def __init__(self, seed: int, listed: float = 0.75) -> None:
        self._random = random.Random(seed)
        self._listed = listed
        self._words = lexicon()
        self._language = LANGUAGES[0]
        self._slots = self._fillers()

    def texts(self, count: int) -> Iterator[Invented]:
        """Yield texts of one to four wordings each, of both languages in turn."""
        for i in range(count):
            yield self.text(LANGUAGES[i % 2])

    def text(self, language: str) -> Invented:
        """Return one text."""
        r = self._random
        self._language = language
        text = ""
        spans: list[Span] = []
        for line in r.choices(wordings(language), k=r.choice((1, 1, 1, 2, 2, 3, 4))):
            made = self.fill(line)
            glue = "" if not text else r.choice((" ", " ", "\n", "\n\n"))
            at = len(text) + len(glue)
            text += glue + made.text
            spans += [Span(s.start + at, s.end + at, s.kind) for s in made.spans]
        chance = r.random()
        if chance < 0.05:
            text = _same_length(text, str.lower)
        elif chance < 0.06:
            text = _same_length(text, str.upper)
        elif chance < 0.12 and text[-1:] in ".?!" and (not spans or spans[-1].end < len(text)):
            text = text[:-1]
        return Invented(text, tuple(spans))

    def fill(self, wording: str) -> Invented:
        """Return a wording with its slots filled."""
        text, at = "", 0
        spans: list[Span] = []
        for m in _SLOT.finditer(wording):
            text += wording[at : m.start()]
            at = m.end()
            fill, kind = self._slots[m.group(1)]
            value = fill()
            if kind:
                spans.append(Span(len(text), len(text) + len(value), kind))
            text += value
        return Invented(text + wording[at:], tuple(spans))

    def _fillers(self) -> dict[str, tuple[Callable[[], str], str]]:
        """What fills each slot, and the kind of thing that stands there then."""
        r, pick, n = self._random, self._pick, self._random.randint
        labelled: dict[str, tuple[Callable[[], str], str]] = {
            "person": (self.person, "PERSON"),
            "first": (self.first, "PERSON"),
            "last": (self.last, "PERSON"),
            "FIRST": (lambda: self.first().upper(), "PERSON"),
            "LAST": (lambda: self.last().upper(), "PERSON"),
            "address": (self.address, "ADDRESS"),
            "street": (self.street, "ADDRESS"),
            "streetcity": (lambda: f"{self.street()}, {self.city()}", "ADDRESS"),
            "plzort": (self._plz_ort, "ADDRESS"),
            "city": (self.city, "PLACE"),
            "country": (lambda: pick("country"), "PLACE"),
            "firm": (self.firm, "FIRM"),
        }
        plain: dict[str, Callable[[], str]] = {
            "title": lambda: pick(f"title {self._language}"),
            "verb": lambda: pick(f"verb {self._language}"),
            "weekday": lambda: pick(f"day {self._language}"),
            "month": lambda: pick(f"month {self._language}"),
            "color": lambda: pick(f"color {self._language}"),
            "Thing": lambda: pick("thing").title(),
            "Title": lambda: " ".join(r.sample(self._words["title word"], n(1, 4))),
            "Noun": lambda: pick("noun en"),
            "Nomen": self._nomen,
            "Kind": lambda: pick("noun de kind"),
            "Madeup": lambda: self._made_up("end first"),
            "Placenumber": lambda: f"{pick('place number')} {n(1, 400)}{r.choice(('', '', '', 'a'))}",
            "word": self._word,
            "Word": lambda: self._word().capitalize(),
            "date": self._date,
            "phone": self._phone,
            **{name: lambda name=name: pick(name) for name in ("nation", "brand", "job", "thing")},
            **self._numbers(),
        }
        return {**labelled, **{name: (fill, "") for name, fill in plain.items()}}

    def _numbers(self) -> dict[str, Callable[[], str]]:
        r, n = self._random, self._random.randint
        return {
            "n": lambda: str(n(1, 99)),
            "year": lambda: str(n(1950, 2026)),
            "time": lambda: f"{n(0, 23):02d}:{n(0, 59):02d}",
            "number": lambda: r.choice(
                (str(n(1000, 9999999)), f"{n(100, 899)}-{n(10, 99)}-{n(1000, 9999)}"),
            ),
            "amount": lambda: r.choice(
                (f"{n(1, 999)},{n(10, 99)} EUR", f"${n(1, 999)}.{n(10, 99)}", f"{n(5, 900)} €"),
            ),
            "order": lambda: r.choice(
                (str(n(10**5, 10**9)), f"ORD-{n(1000, 99999)}", f"RE-2026-{n(0, 10**6):06d}"),
            ),
            "tracking": lambda: r.choice(
                (f"0034{n(10**15, 10**16 - 1)}", f"JJD{n(10**9, 10**10)}", f"1Z{n(10**9, 10**10)}"),
            ),
            "email": lambda: (
                f"{_ascii(self.first())}.{_ascii(self.last())}@{_ascii(self._pick('firm'))}.example"
            ),
            "url": lambda: f"https://www.{_ascii(self.last())}.{r.choice(('com', 'de', 'se'))}/help",
            "iban": lambda: (
                f"DE{n(10, 99)} " + " ".join(str(n(1000, 9999)) for _ in range(4)) + f" {n(10, 99)}"
            ),
            "card": lambda: str(n(4 * 10**15, 5 * 10**15)),
            "ip": lambda: f"{n(1, 254)}.{n(0, 254)}.{n(0, 254)}.{n(1, 254)}",
        }

    def _pick(self, *sections: str) -> str:
        return self._random.choice(self._words[self._random.choice(sections)])

    def _made_up(self, ends: str) -> str:
        """A word that nobody listed, with one of the section's ends."""
        r, words = self._random, self._words
        stem = r.choice(words["onset"]) + r.choice(words["vowel"])
        stem += r.choice(words["coda"]) if r.random() < 0.5 else ""
        if r.random() < 0.4:
            stem += r.choice(words["onset"]) + r.choice(words["vowel"])
        if stem[-1] in "aeiouäöüáéíóøåy":
            stem += r.choice("nrlskmtdv")
        return (stem + r.choice(words[ends])).capitalize()

    def first(self) -> str:
        """Return a first name."""
        if self._random.random() > self._listed:
            return self._made_up("end first")
        home = f"first {self._language}"
        name = self._pick(home, home, "first other")
        return f"{name}-{self._pick(home)}" if self._random.random() < 0.03 else name

    def last(self) -> str:
        """Return a surname."""
        r = self._random
        home = f"last {self._language}"
        name = (
            self._made_up("end last") if r.random() > self._listed else self._pick(home, home, "last other")
        )
        chance = r.random()
        if chance < 0.04:
            return f"{name}-{self._pick('last de', 'last en', 'last other')}"
        if chance < 0.07:
            return f"{self._pick('before last')} {name}"
        if chance < 0.08:
            return r.choice(("Mc", "Mac", "O'")) + name
        return name

    def person(self) -> str:
        """Return a full name as people write it."""
        r = self._random
        first, last = self.first(), self.last()
        initial = r.choice("ABCDEFGHJKLMPRST")
        chance = r.random()
        if chance < 0.06:
            return f"{first} {initial}. {last}"
        if chance < 0.10:
            return f"{first} {initial} {last}"
        if chance < 0.12:
            return f"{first[0]}. {last}"
        if chance < 0.14:
            return f"{first} {self.first()} {last}"
        return f"{first} {last} {self.last()}" if chance < 0.15 else f"{first} {last}"

    def city(self) -> str:
        """Return a place's name."""
        r = self._random
        chance = r.random()
        if chance < 0.72:
            name = self._pick("city")
        elif chance < 0.97:
            name = self._made_up("end place")
        else:
            name = "".join(r.choices(_GREEK, k=r.randint(4, 9))).capitalize()
        if chance > 0.9:
            name = f"{self._pick('before place')} {name}"
        elif chance > 0.82:
            name += f" {r.choice(('', '', 'de ', 'am ', 'upon '))}{self._made_up('end second place')}"
        return name.upper() if r.random() < 0.12 else name

    def firm(self) -> str:
        """Return a company's name."""
        r = self._random
        chance = r.random()
        if chance < 0.45:
            name = self._pick("firm")
        elif chance < 0.6:
            name = self._made_up("end firm")
        elif chance < 0.75:
            name = f"{self._pick('title word')} {self._made_up('end firm')}"
        elif chance < 0.81:
            name = f"{self.last()}, {self.last()} and {self.last()}"
        elif chance < 0.85:
            name = f"{self.last()}-{self.last()}"
        else:
            name = self.last()
        return f"{name} {self._pick('firm end')}" if chance >= 0.85 or r.random() < 0.35 else name

    def street(self) -> str:
        """Return a street, mostly with a number."""
        german = self._language == "de"
        if self._random.random() < (0.1 if german else 0.45):
            return self._foreign_street()
        return self._german_street() if german else self._english_street()

    def _english_street(self) -> str:
        r = self._random
        road = f"{self._pick('street en', 'street en', 'last en', 'first en')} {self._pick('street en end')}"
        number = (
            str(r.randint(1, 9999)) if r.random() < 0.7 else str(r.randint(1, 99999)).zfill(r.randint(3, 5))
        )
        chance = r.random()
        if chance < 0.82:
            return f"{number} {road}"
        return road if chance < 0.94 else f"{number} {r.randint(1, 999)} {road}"

    def _german_street(self) -> str:
        r = self._random
        chance = r.random()
        end = self._pick("street de end")
        if chance < 0.6:
            stem = self._pick("street de")
            road = f"{stem} {end.capitalize()}" if stem.endswith("er") and r.random() < 0.7 else stem + end
        elif chance < 0.69:
            road = f"{self.first()}-{self.last()}-{end.capitalize()}"
        elif chance < 0.75:
            road = f"{self.last()}{end}"
        elif chance < 0.9:
            road = f"{self._pick('before street de')} {self._pick('street de', 'noun de')}"
        else:
            road = self._made_up("end street") + end
        if r.random() < 0.08:
            return road
        return f"{road} {r.randint(1, 220)}{r.choice(('', '', '', '', 'a', 'b', ' c', '-14', '/2'))}"

    def _foreign_street(self) -> str:
        r = self._random
        listed = r.random() < 0.5
        name = self._pick("last other", "first other", "city") if listed else self._made_up("end last")
        if r.random() < 0.3:
            name += " " + (self._pick("last other") if r.random() < 0.5 else self._made_up("end last"))
        after = self._pick("street other after")
        chance = r.random()
        if chance < 0.4:
            road = f"{self._pick('street other before')} {name}"
        elif chance < 0.75:
            road = f"{name}{after}" if not after.endswith(".") and r.random() < 0.6 else f"{name} {after}"
        else:
            road = name if chance < 0.9 else name.lower()
        number = f"{r.randint(1, 2500)}{r.choice(('', '', '', '.', 'A'))}"
        chance = r.random()
        if chance < 0.1:
            return f"{number} {road}" if chance > 0.02 else f"P.O. Box {number}"
        if chance < 0.6:
            return f"{road} {number}"
        before = str(r.randint(1, 99999)).zfill(r.randint(3, 5))
        return f"{before} {road} {number}" if chance < 0.93 else road

    def _plz_ort(self) -> str:
        r = self._random
        return f"{r.choice(('', '', '', '', 'D-', 'A-', 'CH-'))}{r.randint(1000, 99999):05d} {self.city()}"

    def address(self) -> str:
        """Return a postal address on one line or several."""
        chance = self._random.random()
        if self._language == "de" and chance < 0.85:
            return self._german_address()
        if chance < 0.04:
            return self._forces_address()
        if chance < 0.08:
            return f"the corner of {self.street()} and {self.street()}"
        return self._international_address()

    def _german_address(self) -> str:
        r = self._random
        glue = r.choice((", ", ", ", "\n", " ", " in "))
        co = f"c/o {self.last()}, " if r.random() < 0.03 else ""
        land = f"{r.choice((', ', chr(10)))}{self._pick('country')}" if r.random() < 0.1 else ""
        return f"{co}{self.street()}{glue}{self._plz_ort() if r.random() < 0.93 else self.city()}{land}"

    def _forces_address(self) -> str:
        """The mail of US forces abroad."""
        r, n = self._random, self._random.randint
        units = (f"PSC {n(1, 9999):04d}, Box {n(1, 9999)}", f"Unit {n(1, 9999)} Box {n(1, 9999)}")
        unit = r.choice((*units, f"USS {self.last()}", f"US{r.choice('NC')}V {self.last()}"))
        return f"{unit}\n{r.choice(('APO', 'FPO', 'DPO'))} {r.choice(('AA', 'AE', 'AP'))} {n(10000, 99999)}"

    def _international_address(self) -> str:
        r = self._random
        unit = ""
        if r.random() < 0.5:
            unit = (
                f"{r.choice((' ', ', ', chr(10), chr(10) + ' '))}{self._pick('unit')} {r.randint(1, 999):03d}"
            )
        state = r.choice((", {}", ", {}", "", "", " {}", "\n, {}\n")).format(self._pick("state"))
        british = f"{r.choice('SNEW')}{r.randint(1, 20)} {r.randint(1, 9)}AB"
        code = r.choice((f"{r.randint(1000, 99999):05d}", f"{r.randint(1000, 99999):05d}", british, ""))
        land = self._pick("country") if r.random() < 0.4 else ""
        glue = r.choice((", ", "\n", "\n ", " ", "\n"))
        parts = [self.city() + state]
        if not land:
            parts = [f"{parts[0]} {code}".rstrip()]
        elif r.random() < 0.6:
            parts.append(f"{land} {code}".strip())
        else:
            parts += [code, land]
        return f"{self.street()}{unit}{glue}{glue.join(p for p in parts if p)}"

    def _nomen(self) -> str:
        chance = self._random.random()
        if chance < 0.25:
            return self._pick("noun de head") + self._pick("noun de tail")
        return self._made_up("end noun") if chance < 0.4 else self._pick("noun de", "noun de more")

    def _word(self) -> str:
        if self._random.random() < 0.4:
            return self._made_up("end word").lower()
        return self._pick(f"word {self._language}")

    def _date(self) -> str:
        r = self._random
        d, m, y = r.randint(1, 28), r.randint(1, 12), r.randint(1940, 2026)
        month = self._words[f"month {self._language}"][m - 1]
        digits = (f"{d:02d}.{m:02d}.{y}", f"{y}-{m:02d}-{d:02d}", f"{m}/{d}/{y}")
        return r.choice((*digits, f"{d}. {month} {y}", f"{month} {d}, {y}"))

    def _phone(self) -> str:
        n = self._random.randint
        german = (f"+49 {n(30, 999)} {n(10**5, 10**8)}", f"0{n(30, 999)}/{n(10**5, 10**8)}")
        american = (
            f"({n(200, 999)}) {n(100, 999)}-{n(1000, 9999)}",
            f"{n(200, 999)}-{n(100, 999)}-{n(1000, 9999)}",
        )
        other = (
            f"{n(200, 999)} {n(100, 999)} {n(100, 999)}",
            f"0{n(400, 499)} {n(10, 99)} {n(10, 99)} {n(10, 99)}",
        )
        return self._random.choice((*german, *american, *other))


def _ascii(name: str) -> str:
    return "".join(c for c in name.lower() if c.isascii() and c.isalpha())


def _same_length(text: str, change: Callable[[str], str]) -> str:
    """Change the case where it keeps the length: spans are counted in characters."""
    return "".join(changed if len(changed := change(c)) == 1 else c for c in text)
