"""Langfuse scores of every API generation -> records.Score.

A CORRECTION is what a person wrote in place of an answer: a score with the platform's own name for it
("output"), the corrected answer as its value, and source "human". `[labels] score = "output"` hands it to the
grader as ground truth, as it does with any other score.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

from strop.records import JsonObject, Score
from strop.sources.spans.conventions import number

CORRECTION_NAME = "output"
_SOURCES: dict[str, Literal["human", "llm", "code"]] = {"ANNOTATION": "human", "EVAL": "llm"}


def read_score(raw: Any) -> Score | None:
    """Read one score (v1, v2, v3, or of an export file); None for what is none."""
    if not isinstance(raw, dict):
        return None
    row = cast(JsonObject, raw)
    kind = str(row.get("dataType") or row.get("data_type") or "").upper()
    name = row.get("name") or (CORRECTION_NAME if kind == "CORRECTION" else None)
    value = _value(row, kind)
    if not isinstance(name, str) or value is None:
        return None
    source = "human" if kind == "CORRECTION" else _SOURCES.get(str(row.get("source")).upper(), "code")
    comment = row.get("comment")
    # What a judge wrote about an answer quotes it; only people's own comments are kept.
    kept = comment if source == "human" and isinstance(comment, str) else ""
    return Score(name, value, source, kept)


def _value(row: JsonObject, kind: str) -> float | bool | str | None:
    value = row.get("value")
    text = next((row[k] for k in ("stringValue", "string_value", "longStringValue", "long_string_value")
                 if isinstance(row.get(k), str) and row[k]), None)  # fmt: skip
    if kind in ("CATEGORICAL", "TEXT", "CORRECTION"):
        return text if text is not None else (value if isinstance(value, str) else None)
    if isinstance(value, str) and kind in ("NUMERIC", "BOOLEAN"):
        return _spelt(value, kind)
    if kind == "BOOLEAN" and value is None and text is not None:
        return _spelt(text, kind)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        known = number(value)
        return bool(known) if kind == "BOOLEAN" and known is not None else known
    return value if isinstance(value, str) else text


def _spelt(value: str, kind: str) -> float | bool | None:
    if kind == "BOOLEAN" and value.lower() in ("true", "false"):
        return value.lower() == "true"
    known = number(value)
    return bool(known) if kind == "BOOLEAN" and known is not None else known


def read_scores(*lists: Any) -> tuple[tuple[Score, ...], int]:
    """Read the scores of several lists; also return how many were no scores. One id counts once."""
    scores: list[Score] = []
    seen: set[str] = set()
    bad = 0
    for listed in lists:
        for raw in cast("Iterable[Any]", listed) if isinstance(listed, list) else ():
            given_id = cast(JsonObject, raw).get("id") if isinstance(raw, dict) else None
            if isinstance(given_id, str):
                if given_id in seen:
                    continue
                seen.add(given_id)
            score = read_score(raw)
            if score is None:
                bad += 1
            else:
                scores.append(score)
    return tuple(scores), bad
