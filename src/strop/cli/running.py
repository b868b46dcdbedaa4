"""run: the whole loop, durable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from strop.cli.session import Session, command


@command("run")
@click.option("--allow-small", metavar="REASON", help="Go on below curate.min_rows, for this reason.")
@click.option("--allow-binary", metavar="REASON", help="Accept scores that are all 0 or 1, for this reason.")
@click.option("--unsafe-local-grader", is_flag=True, help="Run the grader without the sandbox's limits.")
def run(
    session: Session, allow_small: str | None, allow_binary: str | None, unsafe_local_grader: bool
) -> None:
    """Pull, curate, grade, train, compare, promote: to a verdict, whatever dies on the way.

    The same command continues: finished steps are not repeated, a training that is alive is attached to.
    It exits 0 for promote, 1 for reject and inconclusive, 75 while it waits for approval.
    """
    options = {"allow_small": allow_small, "allow_binary": allow_binary, "unsafe_grader": unsafe_local_grader}
    result = run_loop(session, options)
    session.emit(result)
    if not session.json:
        show_result(session, result)
    if not result["promoted"]:
        raise click.exceptions.Exit(1)


def run_loop(session: Session, options: dict[str, Any]) -> dict[str, Any]:
    """Run the loop with its progress on standard error."""
    from strop.cli.progress import Progressing
    from strop.loop.run import run as run_durably

    with session.store() as db, Progressing(session.err) as watch:
        return run_durably(
            session.config,
            db,
            options,
            watch=watch,
            say=lambda text: session.err.print(text, highlight=False, markup=False),
        )


def show_result(session: Session, result: dict[str, Any]) -> None:
    """Print what a run came to."""
    from strop.cli import show
    from strop.loop.steps import read_json

    show.curated(session.out, result["curate"])
    show.grades(session.out, result["grade"])
    show.arms(session.out, read_json(Path(result["compare"]["report"]))["arms"])
    show.verdict(session.out, result["verdict"])
    session.out.print(f"report: {result['compare']['page']}", highlight=False)
