"""grade."""

from __future__ import annotations

import click

from strop.cli.data import step
from strop.cli.session import Session, command


@command("grade")
@click.option("--allow-binary", metavar="REASON", help="Accept scores that are all 0 or 1, for this reason.")
@click.option("--unsafe-local-grader", is_flag=True, help="Run the grader without the sandbox's limits.")
def grade(session: Session, allow_binary: str | None, unsafe_local_grader: bool) -> None:
    """Score the curated traces with your grader, in a process of its own with limits."""
    from strop.cli import show
    from strop.loop.grade import GraderBroken

    try:
        result = step(session, "grade", {"allow_binary": allow_binary, "unsafe": unsafe_local_grader})
    except GraderBroken as broken:
        show.grades(session.err, broken.result)
        raise
    session.emit(result)
    if not session.json:
        show.grades(session.out, result)
        if allow_binary:
            session.out.print(f"Binary scores, allowed: {allow_binary}", markup=False)
