"""audit."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strop.cli.session import Session, command
from strop.errors import ConfigError, InputError

if TYPE_CHECKING:
    from strop.config import Config
    from strop.grade.audit.cases import Case
    from strop.store import Database


@command("audit")
@click.option("--attempts", type=click.Path(path_type=Path), metavar="FILE",
              help="Honest attempts from this JSONL file, instead of the recorded episodes.")  # fmt: skip
@click.option("--grader", metavar="FILE", help="Examine this grader instead of grade.file.")
@click.option("--allow-binary", metavar="REASON", help="Accept scores that are all 0 or 1, for this reason.")
@click.option("--ask-judges", type=click.IntRange(min=0), default=0, metavar="N",
              help="Ask each judge about N attempts again and changed: up to 8 N calls.")  # fmt: skip
@click.option("--fix-hints", is_flag=True, help="Name the line of the grader that each finding is about.")
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE",
              help="Where the page for people goes; in a project .strop/audit.html by default.")  # fmt: skip
@click.option("--unsafe-local-grader", is_flag=True, help="Run the grader without the sandbox's limits.")
def audit(
    session: Session,
    attempts: Path | None,
    grader: str | None,
    allow_binary: str | None,
    ask_judges: int,
    fix_hints: bool,
    page: Path | None,
    unsafe_local_grader: bool,
) -> None:
    """Examine your grader before you train on it: can it be fooled, does it tell attempts apart?

    Exit code 1 where it fails. With --attempts and --grader no project is needed.
    """
    from strop.cli import examined
    from strop.grade.audit.page import html
    from strop.loop.audit import audit as examine
    from strop.loop.audit import keep

    session.override("grade.file", str(Path(grader).resolve()) if grader else None)
    started = time.monotonic()
    with _place(session, attempts, grader) as (config, db, cases):
        document = examine(
            config,
            db,
            cases=cases,
            allow_binary=allow_binary,
            ask_judges=ask_judges,
            unsafe=unsafe_local_grader,
            on_progress=lambda text: session.err.print(text, style="dim", highlight=False),
        )
        # What training looks at is the project's own grader, not one that was only tried.
        kept = keep(config, document) if cases is None and grader is None else None
    session.emit(document)
    if not session.json:
        examined.page(session.out, document, hints=fix_hints)
    if page is not None:
        _write(page, html(document))
    page = page or kept
    where = f", {page}" if page is not None else ""
    session.err.print(f"{time.monotonic() - started:.1f} s{where}", style="dim", highlight=False)
    if document["verdict"] == "fail":
        raise click.exceptions.Exit(1)


@contextmanager
def _place(
    session: Session, attempts: Path | None, grader: str | None
) -> Generator[tuple[Config, Database, tuple[Case, ...] | None]]:
    """Yield configuration, store and cases: the project's, or else a passing store for a file's attempts."""
    if attempts is None:
        with session.store() as db:
            yield session.config, db, None
        return
    from strop.grade.audit.attempts import read_attempts
    from strop.store import open_database

    cases = read_attempts(attempts)
    config = _configuration(session, grader, cases)
    with tempfile.TemporaryDirectory(prefix="strop-audit-") as folder:
        db = open_database(f"sqlite:///{folder}/strop.db", config.project.name)
        try:
            yield config, db, cases
        finally:
            db.close()


def _configuration(session: Session, grader: str | None, cases: tuple[Case, ...]) -> Config:
    """Return strop.toml's configuration, or the defaults where there is none and a grader is named."""
    from strop.config import defaults
    from strop.loop.audit import answer_fields

    try:
        config = session.config
    except ConfigError as error:
        if grader is None or "no strop.toml" not in error.what:
            raise
        config = defaults(session.root or Path.cwd(), overrides=session.overrides)
    if not config.grade.extract:
        fields = answer_fields(cases)
        config = config.model_copy(update={"grade": config.grade.model_copy(update={"extract": fields})})
        session.err.print(f"grade.extract, from the answers: {', '.join(fields) or 'none'}", style="dim")
    return config


def _write(page: Path, text: str) -> None:
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the page can't be written: {error}", where=str(page), fix="--html FILE") from error
