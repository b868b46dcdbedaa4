"""Find people's names and addresses in sentences: a linear chain over hashed features of a word's window.

The model is `names.npz`, which `python -m strop.curate.train_names` makes from invented sentences. A word
counts by its shape, its ends, the lists it stands in and its neighbours; only the words of the invented
sentences themselves count by what they are, so a name that nobody listed is found by its place.
"""

from __future__ import annotations

import functools
import re
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int, str]  # start, end, kind

MODEL = Path(__file__).with_name("names.npz")
LABELS = ("O", "B-PERSON", "I-PERSON", "B-ADDRESS", "I-ADDRESS", "B-PLACE", "I-PLACE", "B-FIRM", "I-FIRM")
KINDS = ("PERSON", "ADDRESS")  # places and firms are told apart from people, and stay
BITS = 17  # of the table of weights
_BLOCK = 8192  # words whose weights are held at once
_CAUTION = 0.6  # in log-odds of a word: when in doubt it is somebody's

# Lists that a word may stand in. COMMON: a word of the invented sentences, which counts by what it is.
FIRST, LAST, CITY, COUNTRY, TITLE, ROAD, UNIT, FIRM, COMMON = (1 << i for i in range(9))
_ROAD_END = re.compile(
    r"(?:stra(?:ß|ss)e|str|weg|gasse|platz|allee|damm|ufer|chaussee|stieg|pfad|steig|gata|gatan|vägen|vegen|veien"
    r"|gade|vej|katu|tie|utca|straat|laan|plein|dijk|street|road)$"
)
_CAPITALS_AFTER = re.compile(r", ([^\W\d_]{3,30})(?!\w)")
_CAPITALS_BEFORE = re.compile(r"(?<!\w)([^\W\d_]{3,30}), $")
TOKEN = re.compile(
    r"<[A-Z_]+_\d+>"  # a placeholder
    r"|\n"
    r"|https?://\S+|[\w.+%-]+@[\w.-]+\w"
    r"|[^\W_]+"
    r"|[^\w\s]|_"
)

# Columns of a word: what it is (0 unless COMMON), first 3 letters, last 2, 3 and 4, shape, lists.
WORD, HEAD, TAIL2, TAIL3, TAIL4, SHAPE, LISTS = range(7)
COLUMNS = 7
Part = tuple[int, int]  # column, offset

_SINGLE: tuple[tuple[Part, ...], ...] = (
    *(((column, offset),) for offset in (-2, -1, 0, 1, 2) for column in (WORD, SHAPE, LISTS)),
    *(((column, 0),) for column in (HEAD, TAIL2, TAIL3, TAIL4)),
    ((TAIL3, -1),),
    ((TAIL3, 1),),
)
_JOINED: tuple[tuple[Part, ...], ...] = (
    ((LISTS, 0), (SHAPE, 0)),
    ((LISTS, -1), (LISTS, 0)),
    ((LISTS, 0), (LISTS, 1)),
    ((SHAPE, -1), (SHAPE, 0)),
    ((SHAPE, 0), (SHAPE, 1)),
    ((SHAPE, -1), (SHAPE, 0), (SHAPE, 1)),
    ((LISTS, -1), (SHAPE, 0), (LISTS, 1)),
    ((WORD, -1), (SHAPE, 0)),
    ((WORD, -1), (LISTS, 0)),
    ((WORD, 1), (SHAPE, 0)),
    ((WORD, 1), (LISTS, 0)),
    ((WORD, -2), (WORD, -1), (SHAPE, 0)),
    ((SHAPE, 0), (WORD, 1), (WORD, 2)),
    ((WORD, -1), (SHAPE, 0), (WORD, 1)),
    ((WORD, -1), (SHAPE, 0), (SHAPE, 1)),
    ((SHAPE, -2), (SHAPE, -1), (SHAPE, 0)),
    ((SHAPE, 0), (SHAPE, 1), (SHAPE, 2)),
    ((WORD, -2), (SHAPE, -1), (SHAPE, 0)),
    ((TAIL3, 0), (LISTS, -1)),
    ((TAIL2, 0), (SHAPE, 0), (LISTS, 1)),
    ((LISTS, -2), (LISTS, -1), (LISTS, 0)),
    ((LISTS, 0), (LISTS, 1), (LISTS, 2)),
    ((SHAPE, -3), (SHAPE, -2), (SHAPE, 0)),
    ((SHAPE, 0), (SHAPE, 2), (SHAPE, 3)),
)
FEATURES = _SINGLE + _JOINED


def tokens(text: str) -> list[tuple[int, int]]:
    """Return (start, end) of each word, number, sign and line break of a text."""
    return [m.span() for m in TOKEN.finditer(text)]


def key(word: str) -> int:
    """Return the 32-bit number that a word is looked up by, whatever its case."""
    return zlib.crc32(word.lower().encode("utf-8", "replace"))


def shape(word: str) -> str:
    """Return a word's shape: letters by case and length, digits by their number, signs as they are."""
    if word[0] == "<" and len(word) > 1:
        return "<>"
    if len(word) > 1 and not word.isalnum():
        return "@" if "@" in word else "://"
    if word.isdigit():
        return f"9{min(len(word), 8)}"
    if not word.isalpha():
        return ("9X" if word[0].isdigit() else "X9") if word.isalnum() else word
    if word.islower():
        return "x" if len(word) > 3 else f"x{len(word)}"
    if word.isupper():
        return "XX" if len(word) > 3 else f"X{len(word)}"
    if word[0].isupper():
        inner = word[1:].islower()
        return ("Xx" if len(word) > 2 else "Xy") if inner else "XxX"
    return "xX"


class Words:
    """The columns of every word seen so far, looked up once. lists: a word's key -> the lists it is in."""

    LIMIT = 200_000

    def __init__(self, lists: dict[int, int]) -> None:
        self.lists = lists
        self._clear()

    def rows(self, words: Iterable[str]) -> NDArray[np.intp]:
        """Return the row of each word in `table`; a text's border is row 0."""
        rows = self._rows
        if len(rows) > self.LIMIT:
            self._clear()
            rows = self._rows
        return np.array([rows[w] if w in rows else self._add(w) for w in words], dtype=np.intp)

    @property
    def table(self) -> NDArray[np.uint32]:
        """Columns by row: (words, COLUMNS)."""
        return self._table

    def columns(self, word: str) -> list[int]:
        """Return a word's columns."""
        low = word.lower()
        number = key(word)
        found = self.lists.get(number, 0)
        if _ROAD_END.search(low) and len(low) > 3:
            found |= ROAD
        form = shape(word)
        if word.isalpha():
            what = number if found & COMMON else 0
            ends = [low[:3], low[-2:], low[-3:], low[-4:]]
        else:
            what = zlib.crc32(form.encode("utf-8", "replace"))
            ends = [form] * 4
        return [
            what,
            *(zlib.crc32(e.encode("utf-8", "replace")) for e in ends),
            zlib.crc32(form.encode("utf-8", "replace")),
            found,
        ]

    def _clear(self) -> None:
        self._rows: dict[str, int] = {"": 0}
        self._table = np.zeros((1024, COLUMNS), dtype=np.uint32)
        self._table[0] = zlib.crc32(b"border")

    def _add(self, word: str) -> int:
        row = self._rows[word] = len(self._rows)
        if row >= len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        self._table[row] = self.columns(word)
        return row


# By position in a feature: which features have a part there, and the parts' columns and offsets.
_PARTS = [
    tuple(
        np.array(list(numbers), dtype=np.intp)
        for numbers in zip(*((i, *f[at]) for i, f in enumerate(FEATURES) if len(f) > at), strict=True)
    )
    for at in range(max(map(len, FEATURES)))
]
_STARTS = np.array([(i + 1) * 0x9E3779B1 & 0xFFFFFFFF for i in range(len(FEATURES))], dtype=np.uint32)


def buckets(columns: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the place in the table of weights of each feature of each word: (features, words)."""
    reach = 3
    padded = np.concatenate(
        [np.zeros((reach, COLUMNS), np.uint32), columns, np.zeros((reach, COLUMNS), np.uint32)]
    )
    words = np.arange(len(columns))
    places = np.repeat(_STARTS[:, None], len(columns), axis=1)
    for features, column, offset in _PARTS:
        h = places[features]
        h ^= padded[reach + offset[:, None] + words, column[:, None]]
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(15)
        places[features] = h
    places *= np.uint32(0xC2B2AE35)
    places >>= np.uint32(32 - BITS)
    return places


class Names:
    """The tagger. weights: (2 ** BITS, labels), int8; moves: (labels, labels), in the weights' unit."""

    def __init__(
        self, weights: NDArray[np.int8], moves: NDArray[np.float32], lists: dict[int, int], unit: float
    ) -> None:
        self._weights = weights
        self._moves = moves.astype(np.float64)
        self._words = Words(lists)
        self._unit = unit
        self._lock = threading.Lock()
        self._bound = 2 * float(moves.max() - moves.min())

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """Return the names and addresses of each text, in order and apart from each other."""
        with self._lock:  # the table of words grows while it is looked up
            return self._find(texts)

    def _find(self, texts: Sequence[str]) -> list[list[Span]]:
        spans = [tokens(t) for t in texts]
        words: list[str] = ["", "", ""]
        for text, places in zip(texts, spans, strict=True):
            words += [text[s:e] for s, e in places]
            words += ["", "", ""]
        labels = self._label(words)
        found: list[list[Span]] = []
        at = 3
        for text, places in zip(texts, spans, strict=True):
            spans_of = _spans(text, places, labels[at : at + len(places)])
            plausible = [span for span in spans_of if self._plausible(text[span[0] : span[1]], span[2])]
            found.append([self._in_capitals(text, span, plausible) for span in plausible])
            at += len(places) + 3
        return found

    def _in_capitals(self, text: str, span: Span, others: Sequence[Span]) -> Span:
        """A name in capitals in a text that is not: with what stands beside it so, MUELLER, HANS."""
        start, end, kind = span
        if kind != "PERSON" or not text[start:end].isupper() or text.isupper():
            return span
        after, before = (
            _CAPITALS_AFTER.match(text, end),
            _CAPITALS_BEFORE.search(text[max(0, start - 40) : start]),
        )
        if after and after.group(1).isupper() and not self.lists(after.group(1)) & (COMMON | FIRM):
            end = after.end()
        if before and before.group(1).isupper() and not self.lists(before.group(1)) & (COMMON | FIRM):
            start -= len(before.group())
        apart = all(end <= s or e <= start or (s, e) == span[:2] for s, e, _ in others)
        return (start, end, kind) if apart else span

    def _plausible(self, value: str, kind: str) -> bool:
        """Names in lower case must be listed; an address without a number names a road."""
        words = [value[s:e] for s, e in tokens(value) if value[s].isalpha()]
        if kind == "PERSON":
            listed = any(self.lists(w) & (FIRST | LAST) for w in words)
            return sum(map(len, words)) >= 2 and (listed or not all(map(str.islower, words)))
        numbers = sum(map(str.isdigit, value))
        roads = any(self.lists(w) & ROAD or _ROAD_END.search(w.lower()) for w in words)
        return (numbers > 0 and sum(map(len, words)) >= 3) or numbers >= 4 or (roads and len(value) > 5)

    def lists(self, word: str) -> int:
        """Return the lists that a word stands in, as bits (FIRST, LAST, ...)."""
        return self._words.lists.get(key(word), 0)

    def _label(self, words: list[str]) -> list[int]:
        rows = self._words.rows(words)
        places = buckets(self._words.table[rows])
        blocks = (places[:, i : i + _BLOCK] for i in range(0, len(words), _BLOCK))
        scores = np.concatenate([self._weights[block].sum(axis=0, dtype=np.int32) for block in blocks])
        real: NDArray[np.float64] = scores.astype(np.float64) * self._unit
        real[:, 0] -= _CAUTION
        lead = real[:, 0] - real[:, 1:].max(axis=1)
        placeholders = np.array([len(w) > 1 and w[0] == "<" for w in words])
        open_ = (lead <= self._bound) & (rows > 0) & ~placeholders
        labels = np.zeros(len(words), dtype=np.intp)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], open_, [False]]).astype(np.int8)))
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            labels[start:end] = self._best(real[start:end])
        return labels.tolist()

    def _best(self, scores: NDArray[np.float64]) -> NDArray[np.intp]:
        """Viterbi's path through a stretch with nothing before it and nothing after it."""
        best = self._moves[0] + scores[0]
        back: list[NDArray[np.intp]] = []
        for row in scores[1:]:
            paths = best[:, None] + self._moves
            step = paths.argmax(axis=0)
            back.append(step)
            best = paths[step, np.arange(len(LABELS))] + row
        label = int((best + self._moves[:, 0]).argmax())
        path = [label]
        for step in reversed(back):
            label = int(step[label])
            path.append(label)
        return np.array(path[::-1], dtype=np.intp)


@functools.cache
def builtin() -> Names:
    """Load the model that comes with strop."""
    return load(MODEL)


def load(path: Path) -> Names:
    """Load a model that `train_names` wrote."""
    with np.load(path) as held:
        lists = dict(zip(held["keys"].tolist(), held["lists"].tolist(), strict=True))
        return Names(held["weights"], held["moves"], lists, float(held["unit"]))


def stands_alone(words: Sequence[str]) -> bool:
    """Say whether each word of a name means the person: one is a listed first name, none a common word."""
    lists = [builtin().lists(w) for w in words]
    return any(bits & FIRST for bits in lists) and not any(bits & COMMON for bits in lists)


def _spans(text: str, places: list[tuple[int, int]], labels: list[int]) -> list[Span]:
    """Join the labels of words into spans, without line breaks and commas at their ends."""
    spans: list[Span] = []
    i = 0
    while i < len(labels):
        name = LABELS[labels[i]]
        if name == "O":
            i += 1
            continue
        kind = name[2:]
        j = i + 1
        while j < len(labels) and LABELS[labels[j]] == f"I-{kind}":
            j += 1
        if kind in KINDS:
            spans += _trimmed(text, places[i:j], kind)
        i = j
        if (
            kind == "PERSON"
            and len(spans) > 1
            and spans[-2][2] == kind
            and text[spans[-2][1] : spans[-1][0]] == " "
        ):
            spans[-2:] = [
                (spans[-2][0], spans[-1][1], kind)
            ]  # a first name and a surname, each a name of its own
    return spans


def _trimmed(text: str, places: list[tuple[int, int]], kind: str) -> list[Span]:
    def outside(place: tuple[int, int]) -> bool:
        return not (text[place[0]].isalnum() or text[place[0]] == "<")

    while places and outside(places[-1]):
        places = places[:-1]
    while places and outside(places[0]):
        places = places[1:]
    if not places:
        return []
    start, end = places[0][0], places[-1][1]
    return [] if "<" in text[start:end] else [(start, end, kind)]
