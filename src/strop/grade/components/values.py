"""Values in a rollout and its ground truth: found by path, compared as JSON, shown in feedback.

What the answer gives is never trusted to have a type, a size or a depth.
"""

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Mapping
from typing import Any, Final

from strop.grade.rubric import Scored
from strop.records import JsonObject

MISSING: Final[Any] = object()
_SHOWN_BITS = 200


def find(record: Mapping[str, Any], path: str) -> Any:
    """Return the value at a key or a dotted path (`order.items.0.sku`), MISSING where there is none."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def truth_of(ground_truth: JsonObject, path: str, *, null: bool = False) -> Any:
    """Return a value of the ground truth; null=True allows a null.

    Raises ValueError where it is missing: that is no fault of the answer, so it is no score.
    """
    value = find(ground_truth, path)
    if value is MISSING:
        raise ValueError(f"the ground truth has no {path!r}: add it to [labels], or name another key")
    if value is None and not null:
        raise ValueError(
            f"the ground truth's {path!r} is null: leave such traces out, or pass null=True where the right "
            "answer can be null"
        )
    return value


def answer_of(rollout: JsonObject, field: str) -> Any:
    """Return a field of the answer, None where it is missing or null."""
    value = find(rollout, field)
    return None if value is MISSING else value


def against_null(field: str, answer: Any) -> Scored:
    """Score an answer whose truth is null: right where it is null or absent."""
    if answer is None:
        return Scored(1.0)
    return Scored(0.0, f"{field} is {show(answer)}, expected null")


def absent(field: str, expected: Any = MISSING) -> Scored:
    """Score a missing answer, which is 0."""
    wanted = "" if expected is MISSING else f", expected {show(expected)}"
    return Scored(0.0, f"{field} is missing from the answer{wanted}")


def same(given: Any, wanted: Any, *, extra: bool = False) -> bool:
    """Say whether two JSON values are equal: 1 is 1.0, but neither "1" nor true.

    extra: `given` may hold object keys beside the wanted ones, at any depth.
    """
    pairs = [(given, wanted)]
    while pairs:  # a loop, since an answer can nest deeper than Python recurses
        a, b = pairs.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if not (a.keys() >= b.keys() if extra else a.keys() == b.keys()):
                return False
            pairs += [(a[key], b[key]) for key in b]
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pairs += zip(a, b, strict=True)
        elif isinstance(a, bool) or isinstance(b, bool):
            if a is not b:
                return False
        elif isinstance(a, int | float) and isinstance(b, int | float):
            if a != b:
                return False
        elif type(a) is not type(b) or a != b:
            return False
    return True


def hashable(value: Any) -> Hashable:
    """Return a key that is equal for JSON values that are `same`, and for no others."""
    if isinstance(value, str):
        return value
    try:
        return _frozen(value)
    except RecursionError:
        return object()  # too deep to read: equal to nothing


def _frozen(value: Any) -> Hashable:
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float):
        return ("number", value) if value == value else object()
    if isinstance(value, dict):
        return ("object", frozenset((key, _frozen(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("array", tuple(_frozen(item) for item in value))
    return object()


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlist, self.maxdict = 2, 60, 5, 5

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to print integers of over 4,300 digits.
        return repr(x) if x.bit_length() <= _SHOWN_BITS else f"an integer of {x.bit_length()} bits"


_short = _Short()


def show(value: Any) -> str:
    """Return a value in words short enough for feedback, escaped, whatever it is."""
    text = _short.repr(value)
    return text if len(text) <= 160 else text[:157] + "..."
