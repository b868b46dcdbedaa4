"""train, compare: single steps in a run folder of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from strop.cli.session import Session, command

if TYPE_CHECKING:
    from strop.config import Config


@command("train")
def train(session: Session) -> None:
    """Train a candidate on the graded traces: SFT warm start, then GRPO against replayed tools.

    The same command continues a training that was stopped; lengths: --set train.sft_steps=20.
    """
    from strop.cli.progress import Progressing
    from strop.loop.jobs import stop_all
    from strop.loop.steps import Folder, steps

    folder = manual_run(session.config)
    with session.store() as db, Progressing(session.err) as watch:
        try:
            trained = steps(session.config, db)["train"]({}, Folder(folder.name, folder, "train", watch))
        except KeyboardInterrupt:
            stop_all(folder)
            raise
    session.emit({"run_id": folder.name, **trained})
    if not session.json:
        for reason, count in trained.get("left_out", {}).items():
            session.err.print(f"{count} well graded episodes were not imitated: {reason}", highlight=False)
        session.out.print(f"candidate {trained['candidate_id']}\n  {trained['path']}", highlight=False)


@command("compare")
@click.option("--max-tasks", type=click.IntRange(min=1), help="At most this many test tasks.")
def compare(session: Session, max_tasks: int | None) -> None:
    """Compare base, teacher and the last trained candidate on the untouched test split."""
    session.override("compare.max_tasks", max_tasks)
    from strop.cli import show
    from strop.cli.progress import Progressing
    from strop.loop.steps import REPORT, TRAINED, Folder, latest_with, read_json, steps

    folder = latest_with(session.config, TRAINED)
    trained = read_json(folder / TRAINED)
    with session.store() as db, Progressing(session.err) as watch:
        context = Folder(folder.name, folder, "compare", watch)
        done = steps(session.config, db)["compare"]({"trained": trained}, context)
    report = read_json(folder / REPORT)
    session.emit({"run_id": folder.name, **report})
    if not session.json:
        show.arms(session.out, report["arms"])
        session.out.print(f"report: {done['page']}", highlight=False)


def manual_run(config: Config) -> Path:
    """Return the run folder of a training outside `strop run`.

    It is the newest one that isn't finished and began under the same inputs, else a fresh one.
    """
    from strop.loop.steps import TRAINED, inputs_digest

    inputs = inputs_digest(config)
    runs = config.state / "runs"
    known = sorted(runs.glob("manual-*"))
    if known:
        begun = known[-1] / "inputs"
        same = begun.is_file() and begun.read_text() == inputs
        if same and not (known[-1] / TRAINED).exists():
            return known[-1]
    folder = runs / f"manual-{len(known) + 1:03d}"
    folder.mkdir(parents=True)
    (folder / "inputs").write_text(inputs)
    return folder
