"""Look for people who should be gone: known names, addresses and numbers in what was written.

Case, blanks, signs between words, umlauts written out, the order of a name's words and the ways to write a
phone number make no difference; nor does JSON's, a URL's or UTF-16's way to write a letter. A name that is
part of a longer word is none, but in binary data, where columns stand side by side, a long one may begin
and end anywhere. Thousands of values in gigabytes: a table of three-byte groups leaves the
places where a value may stand, and only those are read.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np

from strop.curate.identities import PHONE_LIKE, SPELLED, face, national_number
from strop.curate.recognise import EMAIL, digits

_SIGNS = bytes(i for i in range(128) if not chr(i).isalnum())
_KEPT = np.array([i not in _SIGNS for i in range(256)])
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\[nrt\"/\\]")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_NESTED = 4  # levels of JSON inside JSON
_BETWEEN = r"[ ()/.\-\xa0]{0,3}"
_UMLAUTS = re.compile(r"ae|oe|ue|ss|[^a-z0-9]+")
_SHORTEST, _LONG = 3, 6  # bytes: of an anchor, and from which on a second group of three counts


class _Value(NamedTuple):
    """words: as `_words` gives them, blanks around; number: of a phone, an account or the like.

    In binary data both may lack their bounds: `loose`. beside: what stands near each anchor.
    """

    text: str
    words: tuple[str, ...] = ()
    number: re.Pattern[str] | None = None
    loose: re.Pattern[str] | None = None
    beside: bytes = b""

    def stands_in(self, text: str, words: str, binary: bool) -> bool:
        """Say whether a text with these words holds the value."""
        if any(way in words for way in self.words) or (self.number and self.number.search(text)):
            return True
        return binary and self.loose is not None and bool(self.loose.search(text if self.number else words))


class _Anchor(NamedTuple):
    """Letters and digits that each way to write some values holds. ends: where they end, a word does."""

    plain: bytes
    ends: bool
    values: list[_Value]


class Sought:
    """Known values, ready to be looked for in any bytes; those of under three letters or digits are not.

    reach: how many bytes around a place may belong to a value.
    """

    def __init__(self, known: Iterable[str]) -> None:
        lines = dict.fromkeys(line.strip() for line in known)
        self.values = [v for v in lines if len(face(v).replace(" ", "")) >= _SHORTEST]
        self.reach = 64 + 12 * max(map(len, self.values), default=0)
        self._anchors: dict[bytes, list[_Anchor]] = defaultdict(list)
        self._first, self._second, self._short = (np.zeros(1 << 24, dtype=np.bool_) for _ in range(3))
        shared: dict[tuple[bytes, bool], _Anchor] = {}
        for text in self.values:
            value, anchors = _value(text)
            for plain, ends in anchors:
                if (plain, ends) not in shared:
                    shared[plain, ends] = self._add(_Anchor(plain, ends, []))
                shared[plain, ends].values.append(value)

    def found(self, data: bytes, begin: int = 0, end: int | None = None) -> set[str]:
        """Return the values that stand in the data, whose middle is from `begin` to before `end`."""
        hits: set[str] = set()
        low = data.lower()
        plain = low.translate(None, _SIGNS)
        places = self._candidates(plain)
        if not len(places):
            return hits
        origins = np.flatnonzero(_KEPT[np.frombuffer(low, dtype=np.uint8)])[places]
        inside = (origins >= begin) & (origins < (len(data) if end is None else end))
        for at, origin in zip(places[inside].tolist(), origins[inside].tolist(), strict=True):
            window, near = None, plain[max(0, at - self.reach) : at + self.reach]
            for anchor in self._beginning(plain, at):
                stop = origin + len(anchor.plain)
                if anchor.ends and low.startswith(anchor.plain, origin) and low[stop : stop + 1].isalnum():
                    continue
                for value in anchor.values:
                    if value.text in hits or value.beside not in near:
                        continue
                    if window is None:
                        window = _readings(data[max(0, origin - self.reach) : stop + self.reach])
                    if any(value.stands_in(*reading) for reading in window):
                        hits.add(value.text)
        return hits

    def _add(self, anchor: _Anchor) -> _Anchor:
        plain = anchor.plain
        self._anchors[plain[:_LONG]].append(anchor)
        self._first[int.from_bytes(plain[:3])] = True
        if len(plain) < _LONG:
            self._short[int.from_bytes(plain[:3])] = True
        else:
            self._second[int.from_bytes(plain[3:6])] = True
        return anchor

    def _candidates(self, plain: bytes) -> np.ndarray:
        if len(plain) < _SHORTEST:
            return np.zeros(0, np.intp)
        b = np.frombuffer(plain + bytes(3), dtype=np.uint8).astype(np.uint32)
        groups = (b[:-2] << 16) | (b[1:-1] << 8) | b[2:]
        begins = np.flatnonzero(self._first[groups[:-3]])
        return begins[self._short[groups[begins]] | self._second[groups[begins + 3]]]

    def _beginning(self, plain: bytes, at: int) -> Iterator[_Anchor]:
        for length in range(_SHORTEST, _LONG + 1):
            for anchor in self._anchors.get(plain[at : at + length], ()):
                if plain.startswith(anchor.plain, at):
                    yield anchor


def _value(text: str) -> tuple[_Value, set[tuple[bytes, bool]]]:
    """A value as it is compared, and its anchors."""
    count = len(digits(text))
    if PHONE_LIKE.fullmatch(text) and count >= 6:
        number = national_number(text)
        alone = r"(?<!\d)0?" if len(number) < 8 else ""
        pattern = _BETWEEN.join(number)
        value = _Value(text, (), re.compile(alone + pattern + r"(?!\d)"), _loose(pattern, number))
        return value, {(number.encode(), False)}
    plain = face(text).replace(" ", "")
    if count >= 6 and 2 * count >= len(plain) and plain.isascii():
        pattern = f"(?i:{_BETWEEN.join(plain)})"
        bounded = re.compile(rf"(?<![^\W_]){pattern}(?![^\W_])")
        return _Value(text, (), bounded, _loose(pattern, plain)), {(plain.encode(), False)}
    words = _words(text)
    ways = [words]
    if words.count(" ") in (3, 4) and not EMAIL.fullmatch(text) and not count:
        *others, last = words.split()
        ways.append(f" {' '.join([last, *others])} ")
    loose = _loose("|".join(re.escape(way.strip()) for way in ways), plain)
    anchors, beside = _anchors(text, words, loose is None)
    return _Value(text, tuple(ways), None, loose, beside), anchors


def _loose(pattern: str, plain: str) -> re.Pattern[str] | None:
    return re.compile(pattern) if len(plain) >= _LONG else None


def _anchors(text: str, words: str, bounded: bool) -> tuple[set[tuple[bytes, bool]], bytes]:
    """The longest piece of a word without umlauts, else all that a program may have made of the word.

    And the second longest piece, or nothing.
    """
    pieces = [(p, bounded and word.endswith(p)) for word in words.split() for p in _UMLAUTS.split(word)]
    pieces.sort(key=lambda p: -len(p[0]))
    piece, ends = pieces[0]
    if len(piece) >= _SHORTEST:
        return {(piece.encode(), ends)}, pieces[1][0].encode() if len(pieces) > 1 else b""
    written: set[bytes] = set()
    word = max(face(unicodedata.normalize("NFC", text)).split(), key=len)
    for form in {word, word.translate(SPELLED), unicodedata.normalize("NFD", word)}:
        for cased in {form, form.upper(), form.title()}:
            for way in (cased, json.dumps(cased), quote(cased, safe="")):
                written.add(way.encode("utf-8", "replace").lower().translate(None, _SIGNS))
    return {(way, False) for way in written if len(way) >= _SHORTEST}, b""


def _words(text: str) -> str:
    """The words of a text, umlauts written out, in lower case, with a blank around each."""
    return f" {face(unicodedata.normalize('NFC', text).translate(SPELLED))} "


def _readings(data: bytes) -> list[tuple[str, str, bool]]:
    """What a few bytes may say, as they are and without escapes: text, its words, whether data is binary."""
    binary = _BINARY.search(data) is not None
    texts = [data.decode("utf-8", "replace")]
    if binary:
        texts += [data[i:].decode(code, "replace") for code in ("utf-16-le", "utf-16-be") for i in (0, 1)]
    texts += [plain for text in texts if (plain := _unescaped(text)) != text]
    return [(text, _words(text), binary) for text in texts]


def _unescaped(text: str) -> str:
    if "%" in text:
        text = unquote(text)
    for _ in range(_NESTED):
        if "\\" not in text:
            break
        text = _ESCAPE.sub(lambda m: _written(m.group()), text)
    return text


@lru_cache(maxsize=4096)
def _written(escape: str) -> str:
    return json.loads(f'"{escape}"')
