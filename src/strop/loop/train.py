"""The train step: a child process that is attached to, never doubled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strop.config import Config
from strop.loop.jobs import run_job
from strop.promote.registry import register
from strop.records import Candidate
from strop.store import Database
from strop.store.files import write_atomically


def train(
    config: Config,
    db: Database,
    run_id: str,
    *,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    unsafe: bool = False,
) -> dict[str, Any]:
    """Train a candidate in `.strop/runs/<run_id>/train`, or attach to the training that runs there.

    Returns candidate_id, path, sft_path, lineage, steps (telemetry), tokens_per_second by phase and
    seconds; registers the candidate. on_progress gets each step's telemetry.
    """
    folder: Path = config.state / "runs" / run_id / "train"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "config.json", config.model_dump(mode="json"))
    result = run_job(
        folder,
        # -P: a file of the project's folder must not pass for a module of the trainer's.
        [sys.executable, "-P", "-m", "strop.train.job", *(["--unsafe-local-grader"] if unsafe else [])],
        cwd=config.root,
        on_progress=on_progress or (lambda line: None),
    )
    register(
        db,
        Candidate(
            candidate_id=result["candidate_id"],
            path=result["path"],
            created_at=result["finished_at"],
            lineage=result["lineage"],
        ),
    )
    return result
