"""Grades, candidates and verdicts."""

from __future__ import annotations

from typing import Literal

import msgspec

from strop.records.conversation import JsonObject


class Grade(msgspec.Struct, frozen=True, omit_defaults=True):
    """A score in [0, 1] with its components, or an error; never both, and an error is never 0.

    floored: the grader raised on this rollout but not on the task's reference, so the score is
    the floor 0.0: a model must not gain by breaking its grader.
    forged: the answer carried reserved keys or duplicate keys (ignored or invalid, and counted).
    feedback: what a rubric's components say, in words, where they say something.
    """

    score: float | None = None
    components: dict[str, float] = {}
    error: str | None = None
    floored: bool = False
    forged: bool = False
    feedback: dict[str, str] = {}

    def __post_init__(self) -> None:
        if (self.score is None) == (self.error is None):
            raise ValueError("a grade is a score or an error, never both and never neither")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A trained model with its lineage.

    candidate_id: SHA-256 of the weights; lineage: trace hashes digest, grader hash, split, config,
    base model, parent candidate.
    """

    candidate_id: str
    path: str
    created_at: str
    lineage: JsonObject = {}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Promote, reject or inconclusive, with the evidence that anyone can recompute.

    needed_n: tasks that an inconclusive comparison would need at the observed spread.
    """

    decision: Literal["promote", "reject", "inconclusive"]
    reasons: tuple[str, ...]
    candidate_id: str
    against: str
    evidence: JsonObject = {}
    needed_n: int | None = None
