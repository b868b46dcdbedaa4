"""Replace what is somebody's in the texts of one trace: the same identity is the same placeholder everywhere.

The order decides: business identifiers that the trace or the tenant names, then known identities, then
what has the form of personal data, then names and addresses that a finder sees in sentences.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import quote, unquote

from strop.curate.identities import CARRIERS, JsonTexts, Known, normal
from strop.curate.people import People
from strop.curate.protect import is_identifier
from strop.curate.recognise import EMAIL, PLACEHOLDER, Match, recognise
from strop.records import JsonObject

# A value of a JSON text, with the key before it: a string, or a number of six signs or more. Or a key alone.
_STRING = r'"{}[^"\\]*+(?:\\.[^"\\]*+)*+{}"'
_KEY = _STRING.format("", "") + r"\s*+:\s*+"
_VALUE = re.compile(
    rf"(?:{_KEY})?(?:{_STRING.format('(', ')')}(?!\s*:)|(?<![\d.eE+-])(-?\d[\d.eE+-]{{5,}}))|{_KEY}"
)
# Without any of these a short string holds no address, no number and no JSON.
_SUSPECT = re.compile(
    r"[@{\[]|%[0-9A-Fa-f]{2}|\d(?:[^\w\n]{0,3}\d){3}|[A-Z]\d+[A-Z]+\d|(?:[0-9A-Fa-f]{0,4}[:-]){3}"
)
# A part of a URL, or of a form that was sent, with signs written as percents.
_QUOTED = re.compile(
    r"[^\s&=?#/\"'<>;,(){}\[\]\\@%]*+(?:%[0-9A-Fa-f]{2}[^\s&=?#/\"'<>;,(){}\[\]\\@%]*+)+(?!@)"
)
_WORDS = re.compile(r"[^\W\d_]{2,}")
Find = Callable[[str], Sequence[tuple[int, int, str]]]
Search = Literal["all", "sentences", "none"]


class _Taken(NamedTuple):
    start: int
    end: int
    kind: str
    key: str


class Replacements:
    """The replacements inside one trace.

    business: values that survive; highest: placeholder numbers that the trace already uses, by kind;
    find: names and addresses of a text, as (start, end, kind), or None. read: JSON that was read before.
    """

    def __init__(
        self,
        known: Iterable[Known],
        protect: Sequence[re.Pattern[str]],
        business: set[str],
        highest: dict[str, int],
        find: Find | None = None,
        read: JsonTexts | None = None,
    ) -> None:
        self.counts: dict[str, int] = {}
        self.numbers: dict[tuple[str, str], int] = {}
        self._highest = dict(highest)
        self._protect = protect
        self._business = sorted(business)
        self._known = People(known)
        self._find = find
        self._read = read or JsonTexts()
        self._clean: set[str] = set()  # short texts in which there is nothing

    def optional(self, text: str | None, search: Search = "sentences") -> str | None:
        """Redact a text that may be absent."""
        return None if text is None else self.text(text, search)

    def value(self, value: Any, search: Search = "sentences") -> Any:
        """Redact all strings of a JSON value, never its keys."""
        if isinstance(value, str):
            return self.text(value, search)
        if isinstance(value, dict):
            return {k: self.value(v, search) for k, v in cast(JsonObject, value).items()}
        if isinstance(value, list | tuple):
            return [self.value(v, search) for v in cast("list[Any]", value)]
        return value

    def text(self, text: str, search: Search = "sentences") -> str:
        """Redact a text; one that is a JSON object or array stays valid JSON.

        search: whether the finder looks for names. "all": in somebody's words, however few; "sentences":
        where the text reads like one; "none": in what a program's author wrote, such as tools.
        """
        if self._read.leaves(text) is None:
            return self._free(text, search)
        return self._json(text, "sentences" if search == "all" else search)

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Return what the first look at a text takes: (start, end, kind), in order and apart."""
        taken: list[tuple[int, int, str]] = []
        for start, end, kind, _ in sorted(self._taken(text, self._find is not None)):
            if not taken or start >= taken[-1][1]:
                taken.append((start, end, kind))
        return taken

    def count(self, kind: str) -> None:
        """Count one replacement."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def _json(self, text: str, search: Search) -> str:
        out: list[str] = []
        at = 0
        for m in _VALUE.finditer(text):
            string, number = m.groups()
            if string is not None:
                if string in self._clean:
                    continue
                old = json.loads(f'"{string}"') if "\\" in string else string
                new = self._leaf(old, search)
                if new == old:
                    continue
                start, literal = m.start(1) - 1, json.dumps(new, ensure_ascii="\\u" in string)
            elif number is not None and (owner := self._known.whole_number(number)):
                start, literal = m.start(2), json.dumps(self._placeholder(*owner))
            else:
                continue
            out += [text[at:start], literal]
            at = m.end()
        return "".join([*out, text[at:]]) if out else text

    def _leaf(self, text: str, search: Search) -> str:
        """Redact a string of a JSON text; most are codes and times, which is seen at a glance."""
        if len(text) < 40:
            dull = not _SUSPECT.search(text) or is_identifier(text)
            if dull and not self._known.find(text) and not is_sentence(text):
                if "\\" not in text:  # the strings of a JSON text are compared as they are written
                    self._clean.add(text)
                return text
        return self.text(text, search)

    def _quoted(self, quoted: str) -> str:
        """Redact what percents hide; whatever stays is written with percents again."""
        plain = quoted
        while (once := unquote(plain)) != plain:
            plain = once
        if not EMAIL.search(plain):
            plain = plain.replace("+", " ")
        clean = self.text(plain, "all" if " " in plain else "none")
        if clean == plain:
            return quoted
        pieces = re.split(f"({PLACEHOLDER.pattern})", clean)
        return "".join(piece if i % 4 == 1 else quote(piece) for i, piece in enumerate(pieces) if i % 4 < 2)

    def _free(self, text: str, search: Search) -> str:
        """Replace until nothing is left to: a placeholder changes what the words around it look like."""
        if "%" in text:
            text = _QUOTED.sub(lambda m: self._quoted(m.group()), text)
        searched = self._find is not None and (
            search == "all" or (search == "sentences" and is_sentence(text))
        )
        while True:
            taken = self._taken(text, searched)
            if not taken:
                return text
            out: list[str] = []
            at = 0
            for start, end, kind, key in sorted(taken):
                if start >= at:
                    out += [text[at:start], self._placeholder(kind, key)]
                    at = end
            text = "".join([*out, text[at:]])

    def _taken(self, text: str, searched: bool) -> list[_Taken]:
        known = self._known.find(text)
        formal, looks = recognise(text)
        found = self._find(text) if searched and self._find is not None else ()
        if not known and not formal and not found:
            return []
        placed = [m.span() for m in PLACEHOLDER.finditer(text)] if "<" in text else []
        firm = [m.span() for p in self._protect for m in p.finditer(text) if m.end() > m.start()]
        business = [span for value in self._business for span in _standing(value, text)]
        taken: list[_Taken] = []
        for start, end, kind, key in known:
            # A number that only looks like a business identifier, but is somebody's phone, goes.
            kept = business + [span for span in (*looks, *firm) if span != (start, end)]
            if not any(s <= start and end <= e for s, e in kept):
                taken.append(_Taken(start, end, kind, key))
        for match in formal:
            kept = (*placed, *firm, *business) if match.said else (*looks, *firm, *business)
            if match.kind == "EMAIL":  # parts of it may look like an order's number, or be one
                kept = (*placed, *(span for span in firm if span[0] <= match.start and match.end <= span[1]))
            if not _meets(match.start, match.end, kept):
                _add(taken, match, text)
        for start, end, kind in found:
            for s, e in _around(start, end, (*looks, *firm, *business), text):
                cut = kind == "ADDRESS" and (s, e) != (start, end)
                if cut and not any(map(str.isdigit, text[s:e])):
                    continue  # the word before an order's number
                if e - s > 1 and text[s:e].casefold() not in CARRIERS:
                    _add(taken, Match(s, e, kind), text)
        return taken

    def _placeholder(self, kind: str, key: str) -> str:
        if (kind, key) not in self.numbers:
            self._highest[kind] = self._highest.get(kind, 0) + 1
            self.numbers[kind, key] = self._highest[kind]
        self.count(kind)
        return f"<{kind}_{self.numbers[kind, key]}>"


def is_sentence(text: str) -> bool:
    """Say whether a text reads like a sentence: four words or more, one of them in lower case."""
    if text.count(" ") < 3:
        return False
    words = _WORDS.findall(text, 0, 400)
    return len(words) >= 4 and any(w.islower() for w in words)


def _standing(value: str, text: str) -> Iterator[tuple[int, int]]:
    """Where a value stands in a text as a word of its own."""
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        if not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
            yield start, end
        start = text.find(value, start + 1)


def _meets(start: int, end: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(start < e and s < end for s, e in spans)


def _add(taken: list[_Taken], match: Match, text: str) -> None:
    """Take a match. Of one that is partly taken, the rest is: nothing of a number or a name may stay.

    An address of mail or of a house swallows what is in it; a name in which somebody known stands is his.
    """
    start, end, kind, _ = match
    key = normal(kind, text[start:end])
    clash = [t for t in taken if start < t.end and t.start < end]
    inside = all(start <= t.start and t.end <= end and t[:2] != (start, end) for t in clash)
    owners = {(t.kind, t.key) for t in clash}
    if clash and inside and kind == "PERSON" and len(owners) == 1 and clash[0].kind == "PERSON":
        if sum(map(str.isalpha, text[start:end])) - sum(t.end - t.start for t in clash) < 2:
            return  # only the s of a genitive
        key = clash[0].key
    elif clash and not (inside and kind in ("EMAIL", "ADDRESS")):
        for s, e in _around(start, end, [t[:2] for t in clash], text, least=1):
            taken.append(_Taken(s, e, kind, normal(kind, text[s:e])))
        return
    taken[:] = [t for t in taken if t not in clash]
    taken.append(_Taken(start, end, kind, key))


def _around(
    start: int, end: int, kept: Iterable[tuple[int, int]], text: str, least: int = 2
) -> list[tuple[int, int]]:
    """Return what is left of a span beside those that must stay, where it has so many letters or digits."""
    inside = sorted((s, e) for s, e in kept if start < e and s < end)
    if not inside:
        return [(start, end)]
    pieces: list[tuple[int, int]] = []
    at = start
    for s, e in (*inside, (end, end)):
        piece = text[at:s]
        if sum(map(str.isalnum, piece)) >= least:
            core = piece.strip(" \n\t,;:.()<>-/")
            begin = at + piece.index(core)
            pieces.append((begin, begin + len(core)))
        at = max(at, e)
    return pieces
