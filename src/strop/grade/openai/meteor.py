"""METEOR with its first two stages: equal words, then words of equal stem.

Banerjee & Lavie 2005, section 2: Fmean = 10 P R / (R + 9 P), penalty = 0.5 (chunks / matches)^3,
score = Fmean (1 - penalty). What differs: there is no synonym stage (it needs WordNet), so a paraphrase
scores lower than with it; and words are aligned as nltk's `meteor_score` does, from the last word to the
first, each to the latest free equal one, instead of searching the alignment with the fewest crossings.
Even equal texts stay under 1: m words in one chunk score 1 - 0.5 / m^3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

_STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"),
    ("abli", "able"), ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"),
    ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"), ("iveness", "ive"),
    ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"),
)  # fmt: skip
_STEP_3 = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"),
    ("ful", ""), ("ness", ""),
)  # fmt: skip
_STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism",
    "ate", "iti", "ous", "ive", "ize",
)  # fmt: skip


def meteor(text: str, reference: str) -> float:
    """Return METEOR of two texts, tokens between white space in lower case; 0.0 without a match."""
    given, wanted = text.lower().split(), reference.lower().split()
    matches, given_left, wanted_left = _align(list(enumerate(given)), list(enumerate(wanted)))
    stemmed = [[(i, stem(word)) for i, word in left] for left in (given_left, wanted_left)]
    matches = sorted(matches + _align(*stemmed)[0])
    if not matches:
        return 0.0
    precision, recall = len(matches) / len(given), len(matches) / len(wanted)
    mean = 10 * precision * recall / (recall + 9 * precision)
    chunks = 1 + sum(b != (a[0] + 1, a[1] + 1) for a, b in pairwise(matches))
    return mean * (1 - 0.5 * (chunks / len(matches)) ** 3)


def stem(word: str) -> str:
    """Return the stem of a word in lower case.

    Porter 1980, "An algorithm for suffix stripping", steps 1a to 5b, without later extensions.
    """
    word = _step_1(word)
    word = _replace(word, _STEP_2)
    word = _replace(word, _STEP_3)
    word = _step_4(word)
    return _step_5(word)


def _align(
    given: Sequence[tuple[int, str]], wanted: Sequence[tuple[int, str]]
) -> tuple[list[tuple[int, int]], list[tuple[int, str]], list[tuple[int, str]]]:
    free: defaultdict[str, list[int]] = defaultdict(list)
    for j, word in wanted:
        free[word].append(j)
    matches: list[tuple[int, int]] = []
    left: list[tuple[int, str]] = []
    for i, word in reversed(given):
        if free.get(word):
            matches.append((i, free[word].pop()))
        else:
            left.append((i, word))
    taken = {j for _, j in matches}
    return matches, left[::-1], [(j, word) for j, word in wanted if j not in taken]


def _kinds(word: str) -> str:
    # c for consonant, v for vowel; a y is a vowel after a consonant.
    kinds = ""
    for character in word:
        vowel = character in "aeiou" or (character == "y" and kinds.endswith("c"))
        kinds += "v" if vowel else "c"
    return kinds


def _measure(word: str) -> int:
    return _kinds(word).count("vc")


def _ends_short(word: str) -> bool:
    return len(word) >= 3 and _kinds(word)[-3:] == "cvc" and word[-1] not in "wxy"


def _doubled(word: str) -> bool:
    return len(word) >= 2 and word[-1] == word[-2] and _kinds(word)[-1] == "c"


def _step_1(word: str) -> str:
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    else:
        for suffix in ("ed", "ing"):
            if word.endswith(suffix) and "v" in _kinds(word[: -len(suffix)]):
                word = _mended(word[: -len(suffix)])
                break
    if word.endswith("y") and "v" in _kinds(word[:-1]):
        word = word[:-1] + "i"
    return word


def _mended(word: str) -> str:
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _doubled(word) and word[-1] not in "lsz":
        return word[:-1]
    return word + "e" if _measure(word) == 1 and _ends_short(word) else word


def _replace(word: str, rules: Sequence[tuple[str, str]]) -> str:
    for suffix, instead in rules:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest + instead if _measure(rest) > 0 else word
    return word


def _step_4(word: str) -> str:
    for suffix in _STEP_4:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            holds = _measure(rest) > 1 and (suffix != "ion" or rest.endswith(("s", "t")))
            return rest if holds else word
    return word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        if _measure(rest) > 1 or (_measure(rest) == 1 and not _ends_short(rest)):
            word = rest
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word
