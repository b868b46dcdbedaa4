"""The training process: `python -m strop.train.job`, started and attached to by the loop.

Reads job folder STROP_JOB_DIR: `config.json` in; `progress.jsonl`, `rollouts.jsonl`, `checkpoints/`
and at last `result.json` out. Killed at any moment it continues from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import torch

from strop.config import Config
from strop.environments import Limits, ReplayTable, is_own, roll_out, task_of
from strop.environments.replay import recorded_results
from strop.errors import NotEnoughData, StropError
from strop.grade.scorer import Scorer
from strop.models.llama import Llama, load_llama, save_llama
from strop.models.local import best_dtype
from strop.models.render import Renderer
from strop.models.weights import base_folder, weights_digest
from strop.records import Curated, Grade, Rollout, Task, digest
from strop.store import Database, open_database
from strop.store.curated import load_curated
from strop.store.files import write_atomically
from strop.store.registry import own_models
from strop.train.checkpoint import Checkpoint, Checkpoints
from strop.train.data import Row, episode_row
from strop.train.grpo import Grpo, Reward
from strop.train.optimizer import MasterAdamW
from strop.train.order import mixed, pick
from strop.train.sft import sft_step

UNSAFE = "--unsafe-local-grader"


@dataclass
class Data:
    """What is learned from: rows to imitate, tasks to practise, hard ones among them, the record.

    weights: how often each row is imitated; task_weights: how likely a task is drawn; as curation decided.
    left_out: well graded episodes that are not imitated, by reason.
    """

    rows: list[Row]
    weights: list[float]
    task_weights: dict[str, float]
    tasks: list[Task]
    hard: list[Task]
    table: ReplayTable
    reference_ok: set[str]
    traces: list[str]
    sources: dict[str, dict[str, int]]
    left_out: dict[str, int]


@dataclass
class Run:
    """One training run in one process."""

    folder: Path
    config: Config
    data: Data
    base: Path
    dtype: torch.dtype
    renderer: Renderer
    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def report(self, line: dict[str, Any]) -> None:
        """Append one line for whoever follows the run."""
        self.steps.append(line)
        with (self.folder / "progress.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def main() -> int:
    """Train in STROP_JOB_DIR. Returns the exit code; the last line of output is the error."""
    folder = Path(os.environ["STROP_JOB_DIR"])
    config = Config.model_validate_json((folder / "config.json").read_bytes())
    try:
        result = train(folder, config)
    except StropError as error:
        print(error.what, file=sys.stderr)
        return error.exit_code
    write_atomically(folder / "result.json", result)
    # Only now: a kill between the two must not cost the training.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return 0


def train(folder: Path, config: Config) -> dict[str, Any]:
    """Run or continue SFT and GRPO; save the models under `.strop/models/<hash>`; return the result."""
    torch.set_num_threads(config.train.threads or len(os.sched_getaffinity(0)))
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()
    db = open_database(config.store_url, config.project.name)
    with Scorer(config, db, unsafe=UNSAFE in sys.argv) as scorer:
        base = base_folder(config.train.base, config.cache, config.root)
        renderer = Renderer(base)
        data = prepare(config, db, scorer, renderer)
        run = Run(folder, config, data, base, settled_dtype(folder, config), renderer)
        checkpoints = Checkpoints(folder / "checkpoints", config.train.checkpoint_seconds)
        found = checkpoints.latest()
        run.steps = list(found.notes["steps"]) if found else []
        model = load_llama(base, run.dtype)
        lineage = _lineage(run, scorer.grader_hash)
        warm = _sft(run, model, checkpoints, found, lineage)
        _grpo(run, model, warm, scorer, checkpoints, found if found and found.phase == "grpo" else None)
        result = {
            "candidate_id": "", "path": "", "sft_path": str(warm),
            **_keep(run, model, lineage),
            "lineage": lineage,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "steps": run.steps,
            "dtype": str(run.dtype).removeprefix("torch."),
            **_speed(run.steps),
            "seconds": sum(s["seconds"] for s in run.steps),
            "seconds_process": time.perf_counter() - started,
            "episodes": len(data.rows), "tasks": len(data.tasks), "hard_tasks": len(data.hard),
            "sources": data.sources, "left_out": data.left_out,
        }  # fmt: skip
    db.close()
    return result


def settled_dtype(folder: Path, config: Config) -> torch.dtype:
    """Return the run's dtype, probed once: a resumed run must not round otherwise than it began."""
    file = folder / "dtype.json"
    if not file.exists():
        wanted = config.train.dtype
        write_atomically(file, str(best_dtype()).removeprefix("torch.") if wanted == "auto" else wanted)
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[json.loads(file.read_text())]


def prepare(config: Config, db: Database, scorer: Scorer, renderer: Renderer) -> Data:
    """Read training traces, their grades and the record. Raises NotEnoughData where nothing is left.

    Imitated are well graded episodes. Practised are all tasks of the teacher's traces, and of the own
    models' traces those that they were graded well for.
    """
    curated = [c for c in load_curated(db, {"train"}) if c.trace.episodes]
    everything = load_curated(db, {"train"}, kept_only=False)
    table = ReplayTable(recorded_results(everything, {"train"}))
    grades = dict(scorer.grade_curated(curated))
    good = [c for c in curated if _score(grades, c) >= config.train.sft_min_score]
    encoded = {c.trace_hash: episode_row(renderer, c) for c in good}
    whole = {k: row for k, row in encoded.items() if row is not None}
    rows = {k: row for k, row in whole.items() if len(row.ids) <= config.train.max_tokens}
    left_out = {
        "it does not end with an answer": len(encoded) - len(whole),
        f"it is longer than train.max_tokens ({config.train.max_tokens})": len(whole) - len(rows),
    }
    weights = {c.trace_hash: c.weight for c in curated}
    good_ids = {c.trace_hash for c in good}
    own = own_models(db)
    admitted = [c for c in curated if c.ground_truth is not None]
    admitted = [c for c in admitted if c.trace_hash in good_ids or not is_own(c, own)]
    practised = [task for task in map(task_of, admitted) if task is not None]
    if not rows or not practised:
        raise NotEnoughData(
            f"{len(rows)} training episodes can be imitated: {len(good)} of {len(curated)} have a grade of "
            f"at least {config.train.sft_min_score}"
            + "".join(f"; {count} of them: {reason}" for reason, count in left_out.items() if count),
            fix="lower train.sft_min_score, raise train.max_tokens, or look at the grades: strop grade",
        )
    return Data(
        rows=list(rows.values()),
        weights=[weights[key] for key in rows],
        task_weights={task.task_id: weights[task.task_id] for task in practised},
        tasks=practised,
        hard=[task for task in practised if task.task_id not in good_ids],
        table=table,
        reference_ok={key for key, grade in grades.items() if grade.score is not None},
        traces=sorted(c.trace_hash for c in curated),
        sources=_sources(curated, own, set(rows), {task.task_id for task in practised}),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _sources(
    curated: Sequence[Curated], own: frozenset[str], imitated: set[str], practised: set[str]
) -> dict[str, dict[str, int]]:
    """Count training traces by who recorded them, own models' apart, and what became of them."""
    counts: dict[str, dict[str, int]] = {}
    for c in curated:
        name = f"{c.trace.source}, own model" if is_own(c, own) else c.trace.source
        row = counts.setdefault(name, {"traces": 0, "imitated": 0, "practised": 0})
        row["traces"] += 1
        row["imitated"] += c.trace_hash in imitated
        row["practised"] += c.trace_hash in practised
    return counts


def _score(grades: dict[str, Grade], curated: Curated) -> float:
    grade = grades[curated.trace_hash]
    return -1.0 if grade.score is None else grade.score


def _sft(
    run: Run, model: Llama, checkpoints: Checkpoints, found: Checkpoint | None, lineage: dict[str, Any]
) -> Path:
    """Warm-start the model in place; return the folder of the warm start."""
    s = run.config.train
    if found is not None and found.phase == "grpo":
        return Path(found.notes["warm"])
    optimizer = MasterAdamW(model)
    first = 0
    if found is not None:
        optimizer.load(found.tensors)
        first = found.step
    for step in range(first, s.sft_steps):
        rows = pick(run.data.rows, s.sft_batch, f"{s.seed}/sft", step, run.data.weights)
        telemetry = sft_step(model, optimizer, rows, step=step, steps=s.sft_steps, lr=s.sft_lr)
        run.report({"phase": "sft", "step": step + 1, "of": s.sft_steps, **telemetry})
        if checkpoints.due():
            checkpoints.save(Checkpoint("sft", step + 1, {"steps": run.steps}, optimizer.state()))
    return Path(_keep(run, model, lineage)["path"])


def _grpo(
    run: Run, model: Llama, warm: Path, scorer: Scorer, checkpoints: Checkpoints, found: Checkpoint | None
) -> None:
    """Improve the model in place by reward."""
    s = run.config.train
    frozen = load_llama(warm, run.dtype)
    model.load_state_dict(frozen.state_dict())
    optimizer = MasterAdamW(model, beta2=0.99)
    reward = _reward(scorer, run.data)
    limits = Limits(run.config.environment.max_turns, s.max_new_tokens, s.max_tokens, 64)
    first = 0
    if found is not None:
        optimizer.load(found.tensors)
        first, failed = found.step, set[str](found.notes["failed"])
    else:
        failed = _screen(run, model, limits, reward) if s.grpo_steps else set[str]()
    notes = {"warm": str(warm), "failed": sorted(failed)}
    if found is None:
        checkpoints.save(Checkpoint("grpo", 0, {**notes, "steps": run.steps}, optimizer.state()))
    grpo = Grpo(
        model=model, warm=frozen, base=load_llama(run.base, run.dtype), renderer=run.renderer,
        optimizer=optimizer, table=run.data.table, reward=reward, settings=s, limits=limits,
        tasks=run.data.tasks,
        hard=[task for task in run.data.tasks if task.task_id in failed] or run.data.hard,
        weights=run.data.task_weights,
    )  # fmt: skip
    _forget_rollouts(run.folder / "rollouts.jsonl", first)
    for step in range(first, s.grpo_steps):
        telemetry, graded = grpo.step(step)
        run.report({"phase": "grpo", "step": step + 1, "of": s.grpo_steps, **telemetry})
        _log_rollouts(run.folder / "rollouts.jsonl", step + 1, graded)
        if checkpoints.due():
            checkpoints.save(Checkpoint("grpo", step + 1, {**notes, "steps": run.steps}, optimizer.state()))


def _screen(run: Run, model: Llama, limits: Limits, reward: Reward) -> set[str]:
    """Let the warm start try some tasks once, greedily; return the ids of those that it fails.

    A group teaches only where its rewards differ, so practice begins where something is left to learn.
    """
    s = run.config.train
    started = time.perf_counter()
    tasks = mixed(
        run.data.hard,
        run.data.tasks,
        s.grpo_screen,
        s.grpo_hard_share,
        f"{s.seed}/screen",
        run.data.task_weights,
    )
    if not tasks:
        return set()
    trajectories = list(roll_out(model, run.renderer, tasks, run.data.table, limits))
    grades = reward([(t.task, t.rollout("warm start")) for t in trajectories])
    scores = {
        t.task.task_id: g.score for t, g in zip(trajectories, grades, strict=True) if g.score is not None
    }
    failed = {task_id for task_id, score in scores.items() if score < s.sft_min_score}
    run.report({
        "phase": "screen", "step": len(tasks), "of": len(tasks), "failed": len(failed),
        "reward": sum(scores.values()) / max(1, len(scores)),
        "tokens": sum(len(t.ids) for t in trajectories),
        "seconds": time.perf_counter() - started,
    })  # fmt: skip
    return failed


def _reward(scorer: Scorer, data: Data) -> Reward:
    def reward(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
        return scorer.score(pairs, reference_ok=data.reference_ok.__contains__)

    return reward


def _forget_rollouts(path: Path, done: int) -> None:
    """Remove the rollouts of steps that a crash makes the run take again, and a line cut short."""
    if not path.exists():
        return
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    draft = path.with_suffix(".draft")
    draft.write_bytes(b"".join(line for line in lines if msgspec.json.decode(line)["step"] <= done))
    draft.replace(path)


def _log_rollouts(path: Path, step: int, graded: Sequence[tuple[Rollout, Grade]]) -> None:
    with path.open("ab") as out:
        for rollout, grade in graded:
            out.write(msgspec.json.encode({"step": step, "rollout": rollout, "grade": grade}) + b"\n")


def _keep(run: Run, model: Llama, lineage: dict[str, Any]) -> dict[str, str]:
    """Save the model under its hash, its lineage and every trace hash beside it; return id and path."""
    models = run.config.state / "models"
    draft = models / f"draft.{run.folder.parent.name}"  # of this run alone: what a kill left is removed
    shutil.rmtree(draft, ignore_errors=True)
    save_llama(model, draft, run.base)
    write_atomically(draft / "lineage.json", {**lineage, "trace_hashes": run.data.traces})
    name = weights_digest(draft)
    target = models / name
    if target.exists():
        shutil.rmtree(draft)
    else:
        draft.rename(target)
    return {"candidate_id": name, "path": str(target)}


def _lineage(run: Run, grader_hash: str) -> dict[str, Any]:
    c = run.config
    return {
        "base": weights_digest(run.base),
        "base_name": c.train.base,
        "traces": digest(run.data.traces),
        "grader": grader_hash,
        "split": "train",
        "train": c.train.model_dump(mode="json"),
        "curate": c.curate.model_dump(mode="json"),
    }


def _speed(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    speed: dict[str, float] = {}
    for phase in ("sft", "grpo"):
        of_phase = [s for s in steps if s["phase"] == phase]
        if of_phase:
            speed[phase] = sum(s["tokens"] for s in of_phase) / sum(s["seconds"] for s in of_phase)
    sampling = [s for s in steps if s["phase"] == "grpo"]
    if sampling:
        seconds = sum(s["seconds_sample"] for s in sampling)
        speed["grpo_sampling"] = sum(s["sampled_tokens"] for s in sampling) / seconds
    return {"tokens_per_second": speed}


if __name__ == "__main__":
    sys.exit(main())
