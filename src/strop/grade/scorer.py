"""From rollout to grade: view, judges, sandbox, each only where no stored grade answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType

import msgspec

from strop.config import Config
from strop.grade.extract import View, view_of_episode, view_of_rollout
from strop.grade.judge import Judges
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox
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
    are those of the return expression, empty where it is no linear combination.
    """

    def __init__(self, config: Config, db: Database, *, unsafe: bool = False) -> None:
        self._config, self._db, self._unsafe = config, db, unsafe
        questions = {name: [j.model, j.rubric, j.field] for name, j in config.judges.items()}
        self._grader = load_grader(
            config.path(config.grade.file), extract=config.grade.extract, judges=questions
        )
        self.grader_hash = self._grader.hash
        self.weights = self._grader.weights
        self.judges = Judges(config, db)
        self._sandbox: Sandbox | None = None

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
        items: list[tuple[JsonObject, JsonObject]] = []
        judged: list[str] = []
        verdicts = self.judges.verdicts([view for view, _ in fresh.values()])
        for (subject, (view, truth)), verdict in zip(fresh.items(), verdicts, strict=True):
            if isinstance(verdict, str):
                found[subject] = Grade(error=verdict, forged=view.forged)
            else:
                items.append(view.arguments(self._grader.form, truth, verdict))
                judged.append(subject)
        for subject, grade in zip(judged, self._warm().run(items), strict=True):
            found[subject] = msgspec.structs.replace(grade, forged=fresh[subject][0].forged)
        save_grades(self._db, self.grader_hash, {s: g for s, g in found.items() if not is_transient(g)})
        return found

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
