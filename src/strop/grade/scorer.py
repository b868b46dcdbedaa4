"""From rollout to grade: view, judges, sandbox, each only where no stored grade answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType

import msgspec

from strop.config import Config
from strop.grade.extract import View, view_of_episode, view_of_rollout
from strop.grade.judge import Judges, Verdict, models_url
from strop.grade.load import GraderSource, load_grader
from strop.grade.openai.file import read_grader
from strop.grade.openai.models import ModelGraders
from strop.grade.openai.sample import arguments_of
from strop.grade.sandbox import Limits, Sandbox
from strop.grade.sandbox.pool import Item
from strop.records import Curated, Episode, Grade, JsonObject, Rollout, Task
from strop.store import Database
from strop.store.grades import load_grades, save_grades

NO_GROUND_TRUTH = "no ground truth"
_CHUNK = 100
# The first chunk is small, so that a grader that fails on everything is found out early.
_FIRST_CHUNK = 20


class Scorer:
    """Grade rollouts and curated traces with the project's grader; use as a context manager.

    Workers and judges start with the first item that has no stored grade. From one thread at a time.
    grader_hash changes with the grader file, the extracted fields and the judges' rubrics; weights
    are those of the return expression, empty where it is no linear combination. What an OpenAI grader's
    models say is asked for here and handed in; judges counts these calls, too.
    Raises ConfigError for a file that holds no grader, and for one that asks models without an endpoint.
    """

    def __init__(self, config: Config, db: Database, *, unsafe: bool = False) -> None:
        self._config, self._db, self._unsafe = config, db, unsafe
        questions = {
            name: [j.model, j.rubric, j.field, *([list(j.scale)] if j.scale else [])]
            for name, j in config.judges.items()
        }
        self._grader = load_grader(
            config.path(config.grade.file), extract=config.grade.extract, judges=questions
        )
        self.grader_hash = self._grader.hash
        self.weights = self._grader.weights
        self.judges = Judges(config, db)
        self._models: ModelGraders | None = None
        if self._grader.form == "openai":
            models = ModelGraders(read_grader(self._grader.source, str(self._grader.path)), self.judges)
            if models.needed:
                models_url(config)  # without an endpoint nothing can be graded: say so now
                self._models = models
        self._sandbox: Sandbox | None = None

    @property
    def grader(self) -> GraderSource:
        """The grader as read."""
        return self._grader

    @property
    def asks_models(self) -> bool:
        """Say whether the grader itself asks models."""
        return self._models is not None

    def subject(self, curated: Curated) -> str:
        """Return what a recorded trace's grade is stored under; it has a ground truth."""
        fields = self._config.grade.extract
        seen = view_of_episode(_episode(curated), curated.trace.usage, fields)
        return seen.subject(curated.ground_truth or {})

    def __enter__(self) -> Scorer:
        self.judges.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.judges.close()
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def score(
        self,
        pairs: Sequence[tuple[Task, Rollout]],
        *,
        reference_ok: Callable[[str], bool] | None = None,
    ) -> list[Grade]:
        """Grade rollouts, in order.

        reference_ok(task_id): whether the grader runs on the task's reference; where it does but
        raises on the rollout, the grade is the floor 0.0, marked as floored.
        """
        grades: list[Grade] = []
        for start in range(0, len(pairs), _CHUNK):
            part = pairs[start : start + _CHUNK]
            seen = [(view_of_rollout(t, r, self._config.grade.extract), t.ground_truth) for t, r in part]
            for (task, _), grade in zip(part, self._grade(seen), strict=True):
                raised = grade.error is not None and grade.error.startswith("raised ")
                if raised and reference_ok is not None and reference_ok(task.task_id):
                    grade = Grade(score=0.0, floored=True, forged=grade.forged)
                grades.append(grade)
        return grades

    def grade_curated(
        self, curated: Iterable[Curated], on_progress: Callable[[int], None] | None = None
    ) -> Iterator[tuple[str, Grade]]:
        """Grade recorded traces by (trace hash, grade), storing each chunk; on_progress gets the count."""
        source = iter(curated)
        done = 0
        while part := list(islice(source, _CHUNK if done else _FIRST_CHUNK)):
            fields = self._config.grade.extract
            seen = [(view_of_episode(_episode(c), c.trace.usage, fields), c.ground_truth) for c in part]
            grades = self._grade(seen)
            done += len(part)
            if on_progress is not None:
                on_progress(done)
            yield from zip([c.trace_hash for c in part], grades, strict=True)

    def _grade(self, seen: Sequence[tuple[View, JsonObject | None]]) -> list[Grade]:
        subjects = [None if truth is None else view.subject(truth) for view, truth in seen]
        known = load_grades(self._db, self.grader_hash, sorted({s for s in subjects if s is not None}))
        fresh: dict[str, tuple[View, JsonObject]] = {}
        for subject, (view, truth) in zip(subjects, seen, strict=True):
            if subject is not None and truth is not None and subject not in known:
                fresh[subject] = (view, truth)
        known.update(self._run(fresh))
        return [Grade(error=NO_GROUND_TRUTH) if s is None else known[s] for s in subjects]

    def _run(self, fresh: dict[str, tuple[View, JsonObject]]) -> dict[str, Grade]:
        if not fresh:
            return {}
        found: dict[str, Grade] = {}
        ready: dict[str, Item] = {}
        verdicts = self.judges.verdicts([view for view, _ in fresh.values()])
        for (subject, (view, truth)), verdict in zip(fresh.items(), verdicts, strict=True):
            if isinstance(verdict, str):
                found[subject] = Grade(error=verdict, forged=view.forged)
            else:
                ready[subject] = self.arguments(view, truth, verdict)
        if self._models is not None:
            asked = self._models.given([(item[0], item[1]) for item in ready.values()])
            for subject, given in zip(list(ready), asked, strict=True):
                sample, item, *_ = ready.pop(subject)
                if isinstance(given, str):
                    found[subject] = Grade(error=given, forged=fresh[subject][0].forged)
                else:
                    ready[subject] = (sample, item, given)
        for subject, grade in zip(ready, self._warm().run(list(ready.values())), strict=True):
            found[subject] = msgspec.structs.replace(grade, forged=fresh[subject][0].forged)
        save_grades(self._db, self.grader_hash, {s: g for s, g in found.items() if not is_transient(g)})
        return found

    def arguments(self, view: View, truth: JsonObject, verdicts: dict[str, Verdict]) -> Item:
        """Return what the grader gets of a view."""
        if self._grader.form == "openai":
            return arguments_of(view, truth, verdicts)
        return view.arguments(self._grader.form, truth, verdicts)

    def _warm(self) -> Sandbox:
        if self._sandbox is None:
            g = self._config.grade
            limits = Limits(timeout_s=g.timeout_s, cpu_s=g.cpu_s, memory_mb=g.memory_mb, workers=g.workers)
            self._sandbox = Sandbox(self._grader, limits, unsafe=self._unsafe).__enter__()
        return self._sandbox


def _episode(curated: Curated) -> Episode:
    episodes = curated.trace.episodes
    return episodes[0] if episodes else Episode(())


def is_transient(grade: Grade) -> bool:
    """Say whether a failure is the machinery's (timeout, crash, judge), to be tried again next time."""
    return grade.error is not None and grade.error.startswith(("timeout", "crashed", "judge "))
