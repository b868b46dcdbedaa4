"""The parts of an OpenAI grader that only an endpoint can answer, asked before the sandbox runs the rest.

Each question is paid once, for the content of its request; see judge.py. An answer out of range, none of the
labels or unparsable is no verdict: asked once more, and then an error. (OpenAI clips a number to the range
and makes 0 of no number.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from strop.grade.judge import MODELS, Judges, NoVerdict, Question, Reading, content_of
from strop.grade.openai.asking import label_in, no_verdict, number_in, request_of
from strop.grade.openai.outcome import Fault
from strop.grade.openai.schema import Grader, LabelModel, Multi, ScoreModel, Single, TextSimilarity
from strop.grade.openai.similarity import MAX_CHARACTERS, NoEmbedding, cosine
from strop.grade.openai.template import MissingVariable, parse_template
from strop.records import JsonObject, digest

EMBEDDING_MODEL = "text-embedding-3-large"  # what OpenAI documents for cosine
_Asked: TypeAlias = ScoreModel | LabelModel | TextSimilarity


class ModelGraders:
    """A grader's score_model, label_model and cosine parts, by key; `""` is the key of a single grader."""

    def __init__(self, grader: Grader, judges: Judges) -> None:
        parts = grader.graders if isinstance(grader, Multi) else {"": grader}
        self._parts = {key: part for key, part in parts.items() if _is_asked(part)}
        self._judges = judges

    @property
    def needed(self) -> bool:
        """Say whether the grader has such parts."""
        return bool(self._parts)

    def given(self, items: Sequence[tuple[JsonObject, JsonObject]]) -> list[dict[str, float] | str]:
        """Return each item's scores by key, in the parts' own ranges, or the reason why there is no verdict.

        A part whose prompt can't be written (a variable that the answer lacks) is left out: it isn't asked,
        and the run of the grader says why.
        """
        questions: dict[str, Question] = {}
        asked: list[dict[str, str | float]] = []
        for sample, item in items:
            known: dict[str, str | float] = {}
            for name, part in self._parts.items():
                found = _question(name or part.name, part, sample, item)
                if isinstance(found, tuple):
                    questions.setdefault(*found)
                    known[name] = found[0]
                elif found is not None:
                    known[name] = found
            asked.append(known)
        answers = self._judges.answers(questions)
        return [self._scores(known, answers) for known in asked]

    def _scores(
        self, known: Mapping[str, str | float], answers: Mapping[str, float | str]
    ) -> dict[str, float] | str:
        scores: dict[str, float] = {}
        for name, key in known.items():
            answer = answers[key] if isinstance(key, str) else key
            if isinstance(answer, str):
                return answer
            part = self._parts[name]
            passing = isinstance(part, LabelModel) and part.labels[int(answer)] in part.passing_labels
            scores[name] = float(passing) if isinstance(part, LabelModel) else answer
        return scores


def _is_asked(part: Single) -> bool:
    similar = isinstance(part, TextSimilarity) and part.evaluation_metric == "cosine"
    return similar or isinstance(part, ScoreModel | LabelModel)


def _question(
    judge: str, part: Single, sample: Mapping[str, Any], item: Mapping[str, Any]
) -> tuple[str, Question] | float | None:
    """Return the question and its content hash, the score where it is known, None for no prompt."""
    try:
        if isinstance(part, TextSimilarity):
            return _embedding(judge, part, sample, item)
        assert isinstance(part, ScoreModel | LabelModel)
        body = request_of(part, sample, item)
    except (MissingVariable, Fault, ValueError):
        return None

    def read(raw: bytes) -> Reading:
        content = content_of(raw)
        value: float | None = None
        if isinstance(part, LabelModel):
            label = label_in(part, content)
            value = None if label is None else float(part.labels.index(label))
        else:
            number = number_in(content)
            value = number if number is not None and part.bounds[0] <= number <= part.bounds[1] else None
        if value is None:
            raise NoVerdict(no_verdict(part, content))
        return Reading(value, content)

    # The range is not in the request, but it says what a verdict is. Which labels pass is decided later.
    meant = list(part.bounds) if isinstance(part, ScoreModel) else None
    key = digest(["model grader", body, meant])
    return key, Question(judge=judge, endpoint=MODELS, body=body, read=read)


def _embedding(
    judge: str, part: TextSimilarity, sample: Mapping[str, Any], item: Mapping[str, Any]
) -> tuple[str, Question] | float | None:
    text = parse_template(part.input).render(sample, item)
    reference = parse_template(part.reference).render(sample, item)
    if max(len(text), len(reference)) > MAX_CHARACTERS:
        return None
    if not (text.strip() and reference.strip()):
        return 0.0  # the service refuses an empty text, and an answer must not gain an error by being empty
    body: JsonObject = {"model": EMBEDDING_MODEL, "input": [text, reference], "encoding_format": "float"}

    def read(raw: bytes) -> Reading:
        try:
            found = msgspec.json.decode(raw, type=_Embeddings).data
            vectors = [one.embedding for one in sorted(found, key=lambda one: one.index)]
            return Reading(cosine(text, reference, lambda texts: vectors))
        except (msgspec.DecodeError, RecursionError, NoEmbedding) as error:
            raise NoVerdict(f"no embeddings: {error}"[:200]) from None

    key = digest(["embedding", body])
    return key, Question(judge=judge, endpoint=MODELS, body=body, read=read, path="embeddings")


class _Embedding(msgspec.Struct):
    index: int
    embedding: list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
