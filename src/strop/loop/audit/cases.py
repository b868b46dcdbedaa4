"""Attempts to examine a grader with: the teacher's recorded ones, and what the last training tried."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from strop.config import Config
from strop.environments import filled, is_own, reference_of, task_of
from strop.grade.audit.cases import Case
from strop.grade.extract import RESERVED, parse_answer
from strop.records import Rollout, Task, digest
from strop.store import Database
from strop.store.curated import load_curated
from strop.store.registry import own_models

SEEN = frozenset({"train", "validation"})  # the test split is the gate's alone


class _Logged(msgspec.Struct):
    """A line of the trainer's log."""

    step: int
    rollout: Rollout


def recorded_cases(db: Database) -> list[Case]:
    """Return the teacher's labelled episodes outside the test split, those of one prompt together."""
    own = own_models(db)
    tasks: dict[str, Task] = {}
    attempts: dict[str, list[Rollout]] = {}
    for curated in load_curated(db, SEEN):
        if curated.ground_truth is None or not curated.trace.episodes or is_own(curated, own):
            continue
        task = task_of(curated)
        if task is None:
            continue
        key = digest([task.messages, task.tools, task.ground_truth])
        tasks.setdefault(key, task)
        attempts.setdefault(key, []).append(reference_of(curated))
    return [Case(task, tuple(attempts[key])) for key, task in tasks.items()]


def practice(config: Config, db: Database) -> list[Case]:
    """Return the rollouts that the last training compared with each other, one case a group."""
    logs = sorted((config.state / "runs").glob("*/train/rollouts.jsonl"), key=lambda p: p.stat().st_mtime)
    if not logs:
        return []
    groups: dict[tuple[int, str], list[Rollout]] = {}
    for line in logs[-1].read_bytes().splitlines():
        try:
            logged = msgspec.json.decode(line, type=_Logged)
        except msgspec.DecodeError:  # a line that a kill cut short
            continue
        groups.setdefault((logged.step, logged.rollout.task_id), []).append(logged.rollout)
    wanted = {task_id for _, task_id in groups}
    tasks = {
        c.trace_hash: filled(task)
        for c in load_curated(db, SEEN)
        if c.trace_hash in wanted and (task := task_of(c)) is not None
    }
    return [Case(tasks[key[1]], tuple(rollouts)) for key, rollouts in groups.items() if key[1] in tasks]


def answer_fields(cases: Sequence[Case]) -> tuple[str, ...]:
    """Return the keys that most honest final answers have, in their order: what a grader may read."""
    counts: dict[str, int] = {}
    answers = 0
    for case in cases:
        for rollout in case.rollouts:
            answer = None if rollout.final is None else parse_answer(rollout.final)[0]
            if answer is not None:
                answers += 1
                for key in answer:
                    counts[key] = counts.get(key, 0) + 1
    return tuple(key for key, n in counts.items() if 2 * n > answers and key not in RESERVED)


def some(cases: Sequence[Case], most: int) -> tuple[Case, ...]:
    """Return at most so many prompts, those with several attempts first, chosen by their hash."""
    if len(cases) <= most:
        return tuple(cases)
    order = sorted(cases, key=lambda c: (len(c.rollouts) < 2, digest(["audit", c.task.task_id])))
    kept = {id(case) for case in order[:most]}
    return tuple(case for case in cases if id(case) in kept)
