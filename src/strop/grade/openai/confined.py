"""A grader file of OpenAI's JSON as the sandboxed worker runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strop.grade.openai.execute import evaluate
from strop.grade.openai.file import read_grader
from strop.grade.openai.linear import unit_score
from strop.grade.openai.outcome import Outcome
from strop.grade.openai.python import run_in_process
from strop.grade.openai.schema import Multi


class Confined:
    """One grader, read once. Its Python sources run in this process, afresh for each item."""

    def __init__(self, source: str, filename: str) -> None:
        self._grader = read_grader(source, filename)

    def grade(
        self, sample: Mapping[str, Any], item: Mapping[str, Any], given: Mapping[str, float] | None = None
    ) -> tuple[float | None, dict[str, float], str | None]:
        """Return score, components and error; score and error exclude each other.

        given: what the models said, by key: they were asked outside. An error that the answer is at fault
        for begins with `raised`, as that of a Python file does, and no other does.
        """
        outcome = evaluate(self._grader, sample, item, run_python=run_in_process, given=given)
        if outcome.score is None:
            why = "raised on this answer" if outcome.from_answer else "no score"
            return None, {}, f"{why}: {outcome.error}"
        return outcome.score, self._components(outcome), None

    def _components(self, outcome: Outcome) -> dict[str, float]:
        if not isinstance(self._grader, Multi):
            return {}
        values = {key: unit_score(self._grader.graders[key], s) for key, s in outcome.sub_scores.items()}
        return {key: value for key, value in values.items() if value is not None}
