"""How much of a list in the answer is in the true one: as a set, or in order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

from strop.grade.components.normal import normalise
from strop.grade.components.values import absent, answer_of, hashable, show, truth_of
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject

_NAMED = 3


def set_overlap(
    field: str, truth: str, *, measure: Literal["f1", "jaccard"] = "f1", normalised: bool = False
) -> ScoreFunction:
    """Score two lists as sets: F1 (2|A∩B| / (|A| + |B|)) or Jaccard (|A∩B| / |A∪B|).

    normalised: compare text items without case, white space and punctuation. Two empty lists score 1.
    Raises ValueError where the ground truth is no list.
    """
    if measure not in ("f1", "jaccard"):
        raise ValueError(f"measure is {measure!r}; give 'f1' or 'jaccard'")

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        wanted = _truth_list(ground_truth, truth)
        given = answer_of(rollout, field)
        if not isinstance(given, list):
            return _no_list(field, given, wanted)
        found, right = set(_keys(given, normalised)), set(_keys(wanted, normalised))
        if found == right:
            return Scored(1.0)
        both = len(found & right)
        value = 2 * both / (len(found) + len(right)) if measure == "f1" else both / len(found | right)
        return Scored(value, _difference(field, given, wanted, normalised))

    return score


def list_overlap(field: str, truth: str, *, normalised: bool = False) -> ScoreFunction:
    """Score two lists in order: 2 LCS / (n + m), LCS their longest common subsequence.

    normalised: compare text items without case, white space and punctuation. Two empty lists score 1.
    Raises ValueError where the ground truth is no list.
    """

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        wanted = _truth_list(ground_truth, truth)
        given = answer_of(rollout, field)
        if not isinstance(given, list):
            return _no_list(field, given, wanted)
        found, right = _keys(given, normalised), _keys(wanted, normalised)
        if found == right:
            return Scored(1.0)
        value = 2 * common_subsequence(right, found) / (len(found) + len(right))
        return Scored(
            value,
            _difference(field, given, wanted, normalised)
            or f"{field} has its items in another order or number",
        )

    return score


def common_subsequence(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Return the length of the longest common subsequence.

    Bit-parallel (Crochemore et al. 2001): one step for each item of `second`, over the bits of `first`;
    an answer of a hundred thousand items must not stall the grader.
    """
    places: dict[Hashable, int] = {}
    for i, item in enumerate(first):
        places[item] = places.get(item, 0) | 1 << i
    full = (1 << len(first)) - 1
    row = full
    for item in second:
        if matched := row & places.get(item, 0):
            row = ((row + matched) | (row - matched)) & full
    return len(first) - row.bit_count()


def _truth_list(ground_truth: JsonObject, truth: str) -> list[Any]:
    wanted = truth_of(ground_truth, truth)
    if not isinstance(wanted, list):
        raise ValueError(f"the ground truth's {truth!r} is {show(wanted)}, not a list")
    return wanted


def _no_list(field: str, given: Any, wanted: list[Any]) -> Scored:
    if given is None:
        return absent(field, wanted)
    return Scored(0.0, f"{field} is {show(given)}, not a list; expected {show(wanted)}")


def _keys(items: list[Any], normalised: bool) -> list[Hashable]:
    if normalised:
        items = [normalise(item) or item if isinstance(item, str) else item for item in items]
    return [hashable(item) for item in items]


def _difference(field: str, given: list[Any], wanted: list[Any], normalised: bool) -> str:
    found, right = set(_keys(given, normalised)), set(_keys(wanted, normalised))
    lacking = [v for v, key in zip(wanted, _keys(wanted, normalised), strict=True) if key not in found]
    beside = [v for v, key in zip(given, _keys(given, normalised), strict=True) if key not in right]
    parts = [
        f"{word} {', '.join(show(v) for v in values[:_NAMED])}{' ...' if len(values) > _NAMED else ''}"
        for word, values in (("lacks", lacking), ("has beside", beside))
        if values
    ]
    return f"{field} {' and '.join(parts)}" if parts else ""
