"""The compare step: all arms on the untouched test tasks, under one grader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from strop.config import Config
from strop.environments import Limits, ReplayTable, filled, is_own, reference_of, roll_out, task_of
from strop.environments.replay import recorded_results
from strop.environments.serial import converse
from strop.errors import NotEnoughData
from strop.grade.scorer import Scorer
from strop.models.weights import base_folder
from strop.promote.baselines import baselines
from strop.promote.compare import Arm
from strop.promote.compare import compare as compare_arms
from strop.promote.cost import cost
from strop.promote.registry import champion
from strop.records import Curated, Rollout, Task, digest
from strop.store import Database
from strop.store.curated import load_curated
from strop.store.registry import own_models

Progress = Callable[[dict[str, Any]], None]
TEST = frozenset({"test", "unseen"})
_WARM = 4  # tickets that warm the engine up before it is timed


def compare(
    config: Config,
    db: Database,
    run_id: str,
    trained: dict[str, Any],
    *,
    on_progress: Progress | None = None,
    unsafe: bool = False,
) -> dict[str, Any]:
    """Compare base, teacher, warm start and candidate (and a champion) on the test split.

    The teacher's arm is its recorded episodes: no paid call. The others are rolled out at
    temperature 0 against the record, with the same prompt and limits. Rollouts are kept in the run's
    folder, so that a comparison that was killed continues. Raises NotEnoughData without test tasks.
    """
    recorded = _recorded(db)
    tested = choose([pair for pair in recorded if pair[0].split in TEST], config.compare.max_tasks)
    if not tested:
        raise NotEnoughData(
            "the test split holds no labelled trace of the teacher", fix="strop curate   # shows the splits"
        )
    tasks = [task for task, _ in tested]
    table = ReplayTable(
        recorded_results(load_curated(db, kept_only=False), {"train", "validation", "test", "unseen"})
    )
    folder = config.state / "runs" / run_id
    models = _models(config, db, trained)
    with Scorer(config, db, unsafe=unsafe) as scorer:
        references = [reference_of(c) for _, c in tested]
        teacher = _graded(scorer, "teacher", tasks, references, "recorded episodes, no call was made")
        graded = zip(tasks, teacher.grades, strict=True)
        sound = {task.task_id for task, grade in graded if grade.score is not None}
        arms = [teacher]
        for name, path in models.items():
            dtype = trained["dtype"]
            file = folder / f"rollouts-{name}-{_identity(config, path, dtype)}.jsonl"
            rollouts = _rolled(config, file, name, path, dtype, tasks, table, on_progress)
            arms.append(_graded(scorer, name, [filled(t) for t in tasks], rollouts, "", sound))
        facets = {key: _values(tasks, key) for key in config.compare.facets}
        report = compare_arms(
            arms, config, label=config.baselines.label, facets=facets, weights=scorer.weights
        )
        training = [(t, reference_of(c)) for t, c in recorded if t.split == "train"]
        report["baselines"] = baselines(
            training, list(zip(tasks, references, strict=True)), config, score=scorer.score
        )
    by_name = {arm.name: arm for arm in arms}
    report["serving"] = _serving(config, models["candidate"], tasks, table)
    report["cost"] = cost(
        teacher,
        by_name["candidate"],
        config,
        weights=scorer.weights,
        train_seconds=trained["seconds"],
        seconds_per_ticket=report["serving"]["seconds_per_ticket"],
    )
    report["run_id"] = run_id
    report["grader"] = scorer.grader_hash
    return report


def _recorded(db: Database) -> list[tuple[Task, Curated]]:
    """Return the labelled traces of the teacher, those of strop's own models left out."""
    own = own_models(db)
    curated = [c for c in load_curated(db) if c.trace.episodes and c.ground_truth is not None]
    return [(t, c) for c in curated if not is_own(c, own) and (t := task_of(c)) is not None]


def choose(pairs: Sequence[tuple[Task, Curated]], most: int | None) -> list[tuple[Task, Curated]]:
    """Return all pairs, or `most` of them by the hash of their task: the same ones for every run."""
    if most is None or len(pairs) <= most:
        return list(pairs)
    chosen = sorted(pairs, key=lambda pair: digest(["compare", pair[0].task_id]))[:most]
    kept = {task.task_id for task, _ in chosen}
    return [pair for pair in pairs if pair[0].task_id in kept]


def _serving(
    config: Config, path: Path, tasks: Sequence[Task], table: ReplayTable
) -> dict[str, float | int | None]:
    """Measure the candidate as it would be served: one ticket at a time, warm."""
    from strop.models.local import LocalModel

    model = LocalModel.load(path, threads=config.train.threads)
    limits = _limits(config)
    sample = sorted(tasks, key=lambda task: digest(["serving", task.task_id]))[: _WARM + config.compare.timed]
    timed = [converse(model, task, table, limits, "candidate") for task in sample]
    timed = timed[_WARM:] or timed
    turns = [seconds for one in timed for seconds in one.turns]
    return {
        "tickets": len(timed),
        "turns": len(turns),
        "seconds_per_ticket": sum(turns) / len(timed),
        "turn_p50_s": float(np.quantile(turns, 0.50)),
        "turn_p95_s": float(np.quantile(turns, 0.95)),
    }


def _limits(config: Config) -> Limits:
    t, e = config.train, config.environment
    return Limits(e.max_turns, t.max_new_tokens, t.max_tokens, config.compare.batch)


def _values(tasks: Sequence[Task], key: str) -> dict[str, str]:
    return {t.task_id: str(t.ground_truth[key]) for t in tasks if t.ground_truth and key in t.ground_truth}


def _models(config: Config, db: Database, trained: dict[str, Any]) -> dict[str, Path]:
    models = {
        "base": base_folder(config.train.base, config.cache, config.root),
        "sft": Path(trained["sft_path"]),
        "candidate": Path(trained["path"]),
    }
    reigning = champion(db)
    if reigning is not None and reigning.candidate_id != trained["candidate_id"]:
        models["champion"] = Path(reigning.path)
    return models


def _graded(
    scorer: Scorer,
    name: str,
    tasks: Sequence[Task],
    rollouts: Sequence[Rollout],
    note: str,
    sound: set[str] | None = None,
) -> Arm:
    reference_ok = sound.__contains__ if sound is not None else None
    grades = scorer.score(list(zip(tasks, rollouts, strict=True)), reference_ok=reference_ok)
    return Arm(name=name, tasks=tasks, rollouts=rollouts, grades=grades, note=note)


def _rolled(
    config: Config,
    file: Path,
    name: str,
    path: Path,
    dtype: str,
    tasks: Sequence[Task],
    table: ReplayTable,
    on_progress: Progress | None,
) -> list[Rollout]:
    """Return one rollout a task, those of an interrupted comparison read from the run's folder.

    dtype: the training's, for all arms alike.
    """
    import torch

    from strop.models.llama import load_llama
    from strop.models.render import Renderer

    _mend(file)
    known = {r.task_id: r for r in _read(file)}
    missing = [task for task in tasks if task.task_id not in known]
    if missing:
        torch.set_num_threads(config.train.threads or len(os.sched_getaffinity(0)))
        limits = _limits(config)
        model, renderer = load_llama(path, getattr(torch, dtype)), Renderer(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as out:
            for trajectory in roll_out(model, renderer, missing, table, limits):
                rollout = trajectory.rollout(name)
                known[rollout.task_id] = rollout
                out.write(msgspec.json.encode(rollout) + b"\n")
                out.flush()
                if on_progress is not None:
                    on_progress({"done": len(known), "total": len(tasks), "text": f"rollouts of {name}"})
    return [known[task.task_id] for task in tasks]


def _read(file: Path) -> Iterable[Rollout]:
    if not file.exists():
        return
    with file.open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Rollout)


def _mend(file: Path) -> None:
    """Remove a last line that a kill cut short: its rollout is made again, and what follows stays whole."""
    if file.exists():
        whole = file.read_bytes().rfind(b"\n") + 1
        if whole < file.stat().st_size:
            os.truncate(file, whole)


def _identity(config: Config, path: Path, dtype: str) -> str:
    """Identify what rollouts depend on beside their tasks, so that none is taken for another model's."""
    t = config.train
    limits = [config.environment.max_turns, t.max_new_tokens, t.max_tokens]
    return digest([str(path), dtype, *limits])[:12]
