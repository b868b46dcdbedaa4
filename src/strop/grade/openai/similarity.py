"""How alike two texts are: the metrics of a text_similarity grader, in [0, 1] (cosine in [-1, 1]).

OpenAI documents the names, that fuzzy_match uses the library rapidfuzz and that cosine uses
text-embedding-3-large; it doesn't say which function, tokens or smoothing. These are strop's choices, each
from the metric's paper, and scores of OpenAI's service may differ:

- fuzzy_match: rapidfuzz's `fuzz.ratio`, the normalised Indel similarity 2 LCS / (|a| + |b|) over characters.
  Not `WRatio`: that gives 0.855 to any long answer with one word of the reference.
- bleu: BLEU-4 of one sentence (Papineni et al. 2002, sections 2.1 to 2.3), tokens between white space,
  uniform weights, no smoothing. An answer of fewer than four tokens is measured by n-grams up to its length.
- gleu: Wu et al. 2016 (arXiv:1609.08144, section 5): the lesser of precision and recall
  over all n-grams, n = 1 to 4.
- rouge_1 to rouge_5, rouge_l: F1 (Lin 2004, sections 2 and 3), tokens as in the rouge-score library without a
  stemmer: lower case, runs of a-z and 0-9. Letters outside ASCII split words there, and here; a text of
  fewer than n words has no n-gram and scores 0, even against itself.
- meteor: see meteor.py.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

from strop.grade.openai.meteor import meteor
from strop.grade.openai.schema import Metric

MAX_CHARACTERS = 50_000

Embed: TypeAlias = Callable[[Sequence[str]], Sequence[Sequence[float]]]

_WORD = re.compile(r"[a-z0-9]+")


class TooLong(ValueError):
    """A text is longer than 50,000 characters: comparing it would take too long."""


class NoEmbedding(RuntimeError):
    """cosine needs an embedding endpoint, and there is none or it answered nonsense."""


def similarity(metric: Metric, text: str, reference: str, embed: Embed | None = None) -> float:
    """Return how alike two texts are. Raises TooLong; for cosine also NoEmbedding.

    embed: texts to vectors of one length; only cosine calls it.
    """
    longest = max(len(text), len(reference))
    if longest > MAX_CHARACTERS:
        raise TooLong(f"a text of {longest:,} characters is compared; the limit is {MAX_CHARACTERS:,}")
    if metric == "cosine":
        return cosine(text, reference, embed)
    if metric == "fuzzy_match":
        return fuzzy_match(text, reference)
    if metric == "rouge_l":
        return rouge_l(text, reference)
    if metric.startswith("rouge_"):
        return rouge_n(text, reference, int(metric[-1]))
    return {"bleu": bleu, "gleu": gleu, "meteor": meteor}[metric](text, reference)


def fuzzy_match(text: str, reference: str) -> float:
    """Return 2 LCS / (|a| + |b|) over characters; 1.0 for two empty texts. Symmetric."""
    total = len(text) + len(reference)
    return 2 * _common(text, reference) / total if total else 1.0


def bleu(text: str, reference: str) -> float:
    """Return the sentence's BLEU; 0.0 where some n-gram order has no match. Not symmetric."""
    given, wanted = text.split(), reference.split()
    orders = min(4, len(given))
    logs = 0.0
    for n in range(1, orders + 1):
        grams = _grams(given, n)
        matched = (grams & _grams(wanted, n)).total()
        if not matched:
            return 0.0
        logs += math.log(matched / grams.total()) / orders
    if not given:
        return 0.0
    brevity = min(0.0, 1 - len(wanted) / len(given))
    return math.exp(brevity + logs)


def gleu(text: str, reference: str) -> float:
    """Return matched n-grams over the larger count of n-grams, n = 1 to 4. Symmetric."""
    given, wanted = text.split(), reference.split()
    ours: Counter[tuple[str, ...]] = Counter()
    theirs: Counter[tuple[str, ...]] = Counter()
    for n in range(1, 5):
        ours += _grams(given, n)
        theirs += _grams(wanted, n)
    most = max(ours.total(), theirs.total())
    return (ours & theirs).total() / most if most else 0.0


def rouge_n(text: str, reference: str, n: int) -> float:
    """Return the F1 of shared n-grams. Symmetric."""
    given, wanted = _grams(_words(text), n), _grams(_words(reference), n)
    return _f1((given & wanted).total(), given.total(), wanted.total())


def rouge_l(text: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence of words. Symmetric."""
    given, wanted = _words(text), _words(reference)
    return _f1(_common(given, wanted), len(given), len(wanted))


def cosine(text: str, reference: str, embed: Embed | None) -> float:
    """Return the cosine of the two texts' embeddings, in [-1, 1]. Raises NoEmbedding."""
    if embed is None:
        raise NoEmbedding("no embedding endpoint: cosine needs one")
    vectors = embed([text, reference])
    if len(vectors) != 2 or len(vectors[0]) != len(vectors[1]):
        raise NoEmbedding("the embedding endpoint did not answer with two vectors of one length")
    norms = math.hypot(*vectors[0]) * math.hypot(*vectors[1])
    if not (norms > 0 and math.isfinite(norms)):
        raise NoEmbedding("the embedding endpoint answered with a vector without a direction")
    return max(-1.0, min(1.0, math.fsum(a * b for a, b in zip(*vectors, strict=True)) / norms))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _f1(matched: int, given: int, wanted: int) -> float:
    return 2 * matched / (given + wanted) if matched else 0.0


def _common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    # The length of the longest common subsequence, a bit a position (Hyyrö 2004): 50,000 characters
    # against 50,000 take seconds where the table of the textbook would take hours.
    if len(a) < len(b):
        a, b = b, a
    where: dict[Hashable, int] = {}
    for i, token in enumerate(b):
        where[token] = where.get(token, 0) | 1 << i
    row = every = (1 << len(b)) - 1
    for token in a:
        matched = row & where.get(token, 0)
        row = (row + matched | row - matched) & every
    return len(b) - row.bit_count()
