"""Train `names.npz`, the finder of names and addresses, from invented sentences: minutes on one core.

    python -m strop.curate.train_names [--out names.npz] [--texts 24000] [--epochs 4] [--seed 1]

A conditional random field (Lafferty et al. 2001) over the features of `names.py`, by AdaGrad. Equal
arguments give an equal file on the same machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strop.curate import names
from strop.curate.invent import Invented, Inventor, common_words, lexicon
from strop.curate.names import BITS, COLUMNS, FEATURES, LABELS, LISTS, WORD, Words

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_SECTIONS = {
    names.FIRST: ("first de", "first en", "first other"),
    names.LAST: ("last de", "last en", "last other"),
    names.CITY: ("city",),
    names.COUNTRY: ("country",),
    names.TITLE: ("title",),
    names.ROAD: ("street en end", "street other before", "street other after", "street de end"),
    names.FIRM: ("firm", "firm end"),
}
_UNITS = ("apt", "suite", "unit", "flat", "floor", "box", "psc", "apo", "fpo", "dpo", "etage", "postfach")
# So often a word is taken out of its lists while training, so that unlisted names are found by their place.
_UNLISTED = {"PERSON": 0.3, "ADDRESS": 0.15, "PLACE": 0.3, "FIRM": 0.5, "": 0.0}
_WORD_DROPOUT = 0.12
_BATCH_WORDS = 2400


def word_lists() -> dict[int, int]:
    """Return the lists that each word stands in, by the word's key."""
    found: dict[int, int] = {}
    for bit, sections in _SECTIONS.items():
        for section in sections:
            for entry in lexicon()[section]:
                for start, end in names.tokens(entry):
                    if entry[start:end].isalpha() and end - start > 1:
                        k = names.key(entry[start:end])
                        found[k] = found.get(k, 0) | bit
    for bit, words in ((names.UNIT, _UNITS), (names.COMMON, common_words())):
        for word in words:
            found[names.key(word)] = found.get(names.key(word), 0) | bit
    return found


class Example:
    """One text: places of its features in the table of weights (words, features), and labels."""

    def __init__(self, made: Invented, words: Words, rng: np.random.Generator) -> None:
        places = names.tokens(made.text)
        kinds, labels = _labels(made, places)
        columns = np.array(
            [_columns(made.text[s:e], kind, words, rng) for (s, e), kind in zip(places, kinds, strict=True)],
            dtype=np.uint32,
        ).reshape(len(places), COLUMNS)
        border = words.table[0]
        padded = np.concatenate([[border] * 3, columns, [border] * 3]).astype(np.uint32)
        self.places = np.ascontiguousarray(names.buckets(padded).T[3:-3].astype(np.int32))
        self.labels = np.array(labels, dtype=np.int32)


def _columns(word: str, kind: str, words: Words, rng: np.random.Generator) -> list[int]:
    columns = words.columns(word)
    if word.isalpha():
        if rng.random() < _UNLISTED[kind]:
            columns[LISTS] &= names.COMMON | names.TITLE | names.ROAD | names.UNIT
        if columns[WORD] and rng.random() < _WORD_DROPOUT:
            columns[WORD] = 0
            columns[LISTS] &= ~names.COMMON
    return columns


def _labels(made: Invented, places: Sequence[tuple[int, int]]) -> tuple[list[str], list[int]]:
    kinds: list[str] = []
    labels: list[int] = []
    spans = list(made.spans)
    for start, end in places:
        while spans and spans[0].end <= start:
            spans.pop(0)
        if not spans or end <= spans[0].start:
            kinds.append("")
            labels.append(0)
            continue
        first = not kinds or start <= spans[0].start or labels[-1] == 0
        kinds.append(spans[0].kind)
        labels.append(LABELS.index(f"{'B' if first else 'I'}-{spans[0].kind}"))
    return kinds, labels


def _batches(examples: Sequence[Example], rng: np.random.Generator) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield (places (B, T, features), labels (B, T), lengths (B,)), texts of about one length together."""
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i].labels), i))
    groups: list[list[int]] = [[]]
    for i in order:
        longest = len(examples[i].labels)
        if groups[-1] and (len(groups[-1]) + 1) * longest > _BATCH_WORDS:
            groups.append([])
        groups[-1].append(i)
    for g in rng.permutation(len(groups)):
        chosen = [examples[i] for i in groups[g]]
        lengths = np.array([len(e.labels) for e in chosen], dtype=np.int32)
        places = np.zeros((len(chosen), int(lengths.max()), len(FEATURES)), dtype=np.int32)
        labels = np.zeros(places.shape[:2], dtype=np.int32)
        for row, example in enumerate(chosen):
            places[row, : len(example.labels)] = example.places
            labels[row, : len(example.labels)] = example.labels
        yield places, labels, lengths


def train(examples: Sequence[Example], epochs: int, seed: int) -> tuple[Floats, Floats]:
    """Return weights (2 ** BITS, labels) and moves (labels, labels) of greatest penalised likelihood."""
    rng = np.random.default_rng(seed)
    size = (1 << BITS, len(LABELS))
    weights, squares = np.zeros(size, np.float32), np.full(size, 1e-2, np.float32)
    moves, move_squares = (
        np.zeros((size[1], size[1]), np.float32),
        np.full((size[1], size[1]), 1e-1, np.float32),
    )
    for epoch in range(epochs):
        began, total, words = time.monotonic(), 0.0, 0
        for places, labels, lengths in _batches(examples, rng):
            scores = weights[places].sum(axis=2)
            loss, d_scores, d_moves = _gradient(scores, moves, labels, lengths)
            flat = places.reshape(-1)
            real = np.broadcast_to(d_scores[:, :, None, :], (*places.shape, size[1])).reshape(len(flat), -1)
            gradient = np.stack(
                [np.bincount(flat, real[:, k], minlength=size[0]) for k in range(size[1])], axis=1
            ).astype(np.float32)
            gradient += 2e-3 * weights * (gradient != 0)
            squares += gradient * gradient
            weights -= 0.1 * gradient / np.sqrt(squares)
            move_squares += d_moves * d_moves
            moves -= 0.1 * d_moves / np.sqrt(move_squares)
            total, words = total + loss, words + int(lengths.sum())
        print(
            f"epoch {epoch + 1}: loss {total / words:.4f} a word, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    return weights, moves


def _gradient(scores: Floats, moves: Floats, labels: Ints, lengths: Ints) -> tuple[float, Floats, Floats]:
    """Negative log likelihood of a batch, and its gradient by scores (B, T, L) and moves (L, L).

    Before the first and after the last word stands label O, as where the finder begins and ends.
    """
    B, T, L = scores.shape
    inside = np.arange(T)[None, :] < lengths[:, None]
    # In the space of probabilities, scaled at each step (Rabiner 1989, section V.A).
    e = np.exp(scores - scores.max(axis=2, keepdims=True)).astype(np.float64)
    m = np.exp(moves.astype(np.float64))
    rows = np.arange(B)
    alpha = np.zeros((B, T, L))
    scale = np.ones((B, T))
    step = m[0][None, :] * e[:, 0]
    for t in range(T):
        if t:
            step = (alpha[:, t - 1] @ m) * e[:, t]
        scale[:, t] = np.where(inside[:, t], step.sum(axis=1), 1.0)
        alpha[:, t] = np.where(
            inside[:, t, None], step / step.sum(axis=1, keepdims=True), alpha[:, t - 1] if t else 0
        )
    end = (alpha[rows, lengths - 1] * m[:, 0]).sum(axis=1)
    beta = np.zeros((B, T, L))
    expected = np.zeros((L, L))
    following = np.zeros((B, L))
    for t in range(T - 1, -1, -1):
        last = lengths - 1 == t
        if t < T - 1:
            carried = e[:, t + 1] * following / scale[:, t + 1, None]
            beta[:, t] = carried @ m.T
            live = inside[:, t + 1, None]
            pair = (alpha[:, t] * live).T @ carried
            expected += pair * m
        beta[:, t] = np.where(last[:, None], m[:, 0] / end[:, None], beta[:, t]) * inside[:, t, None]
        following = beta[:, t]
    gamma = alpha * beta * inside[:, :, None]
    first = gamma[:, 0].sum(axis=0)
    final = (gamma[rows, lengths - 1]).sum(axis=0)
    expected[0] += first
    expected[:, 0] += final
    gold = np.zeros((B, T, L))
    gold[rows[:, None], np.arange(T)[None, :], labels] = 1
    gold *= inside[:, :, None]
    counted = np.zeros((L, L))
    before = np.concatenate([np.zeros((B, 1), np.int32), labels[:, :-1]], axis=1)
    np.add.at(counted, (before[inside], labels[inside]), 1)
    np.add.at(counted, (labels[rows, lengths - 1], np.zeros(B, np.int32)), 1)
    shifted = scores - scores.max(axis=2, keepdims=True)
    path = (shifted * gold).sum() + (counted * moves).sum()
    loss = float(np.log(scale).sum() + np.log(end).sum() - path)
    return loss, (gamma - gold).astype(np.float32), (expected - counted).astype(np.float32)


def save(path: Path, weights: Floats, moves: Floats, lists: dict[int, int]) -> None:
    """Write the model, weights as 8-bit numbers of one unit."""
    unit = float(np.quantile(np.abs(weights[weights != 0]), 0.9995)) / 127
    small = np.clip(np.rint(weights / unit), -127, 127).astype(np.int8)
    keys = sorted(lists)
    np.savez_compressed(
        path,
        weights=small,
        moves=moves,
        unit=np.float64(unit),
        keys=np.array(keys, dtype=np.uint32),
        lists=np.array([lists[k] for k in keys], dtype=np.uint16),
    )


def main() -> None:
    """Train, write and say how large the file is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=names.MODEL)
    parser.add_argument("--texts", type=int, default=24_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    lists = word_lists()
    words = Words(lists)
    rng = np.random.default_rng(given.seed)
    examples = [Example(made, words, rng) for made in Inventor(given.seed).texts(given.texts)]
    print(f"{len(examples)} texts, {sum(len(e.labels) for e in examples)} words", flush=True)
    weights, moves = train(examples, given.epochs, given.seed)
    save(given.out, weights, moves, lists)
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
