"""What a judge said."""

from __future__ import annotations

from typing import Any

from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject


def verdict(name: str) -> ScoreFunction:
    """Score what the judge of this name in strop.toml said: 1 for yes, 0 for no, its number in [0, 1].

    Raises ValueError where there is no verdict: a judge that did not answer is no bad answer.
    """

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        verdicts: Any = rollout.get("llm_judge")
        said: Any = verdicts.get(name) if isinstance(verdicts, dict) else None
        if not isinstance(said, bool | float):
            raise ValueError(f"no verdict of a judge named {name!r}: add [judges.{name}] to strop.toml")
        if isinstance(said, bool):
            return Scored(1.0) if said else Scored(0.0, f"the judge {name} said no")
        return Scored(said, "" if said >= 1 else f"the judge {name} gave {said:.2g} of 1")

    return score
