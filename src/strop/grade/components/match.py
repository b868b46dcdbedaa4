"""Whether a field of the answer is what the ground truth says."""

from __future__ import annotations

from strop.grade.components.normal import normalise
from strop.grade.components.values import absent, against_null, answer_of, same, show, truth_of
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject


def equal(field: str, truth: str, *, null: bool = False) -> ScoreFunction:
    """Score 1 where the answer's field equals the ground truth's key, else 0.

    Both are dotted paths. Compared as JSON: 1 is 1.0, but neither "1" nor true. null=True allows a null
    truth, which a null or missing answer meets.
    """

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        wanted = truth_of(ground_truth, truth, null=null)
        given = answer_of(rollout, field)
        if wanted is None:
            return against_null(field, given)
        if given is None:
            return absent(field, wanted)
        if same(given, wanted):
            return Scored(1.0)
        return Scored(0.0, f"{field} is {show(given)}, expected {show(wanted)}")

    return score


def equal_normalised(field: str, truth: str, *, null: bool = False) -> ScoreFunction:
    """Score 1 where two texts are equal but for case, white space, punctuation and Unicode form, else 0.

    Values other than text are compared as `equal` does.
    """

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        wanted = truth_of(ground_truth, truth, null=null)
        given = answer_of(rollout, field)
        if wanted is None:
            return against_null(field, given)
        if given is None:
            return absent(field, wanted)
        if same(given, wanted):
            return Scored(1.0)
        if isinstance(given, str) and isinstance(wanted, str):
            plain = normalise(wanted)
            # A truth that is only punctuation would equal every other such text.
            if plain and normalise(given) == plain:
                return Scored(1.0)
        return Scored(0.0, f"{field} is {show(given)}, expected {show(wanted)}")

    return score
