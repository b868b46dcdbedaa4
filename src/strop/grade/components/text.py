"""How long an answer is."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Literal

from strop.grade.components.closeness import checked, falling
from strop.grade.components.messages import final_text
from strop.grade.components.values import absent, answer_of, show
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject


def length(
    field: str | None = None,
    *,
    most: float,
    least: float = 1,
    unit: Literal["words", "characters"] = "words",
    edge: float = 0.0,
) -> ScoreFunction:
    """Score 1 for a text of `least` to `most` words or characters, falling linearly to 0 at `edge` beyond.

    field: of the answer; None for the whole final answer. Words stand between white space.
    """
    checked("least", least, 0)
    soft = checked("edge", edge, 0)
    if math.isnan(most) or most < least:
        raise ValueError(f"most is {most!r}, under least ({least!r})")
    if unit not in ("words", "characters"):
        raise ValueError(f"unit is {unit!r}; give 'words' or 'characters'")

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        text = final_text(rollout) if field is None else answer_of(rollout, field)
        where = field or "the final answer"
        if text is None:
            return absent(where)
        if not isinstance(text, str):
            return Scored(0.0, f"{where} is {show(text)}, not a text")
        count = len(text.split()) if unit == "words" else len(text)
        if least <= count <= most:
            return Scored(1.0)
        beyond = (
            Decimal(count) - Decimal(repr(most)) if count > most else Decimal(repr(least)) - Decimal(count)
        )
        value = falling(beyond, 0, soft)
        bound = f"at most {most:g}" if count > most else f"at least {least:g}"
        return Scored(value, f"{where} has {count} {unit}, expected {bound}")

    return score
