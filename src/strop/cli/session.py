"""What every command shares: --json, -C, --set, the configuration, the store, and how errors end."""

from __future__ import annotations

import functools
import json
import os
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from strop.errors import ConfigError, StropError

if TYPE_CHECKING:
    from rich.console import Console

    from strop.config import Config
    from strop.store import Database


@dataclass
class Session:
    """One call of one command."""

    root: Path | None
    overrides: dict[str, Any]
    json: bool
    _config: Config | None = field(default=None)

    @functools.cached_property
    def out(self) -> Console:
        """For people: standard output, or standard error where that belongs to the JSON document."""
        from rich.console import Console

        return Console(stderr=self.json, soft_wrap=False)

    @functools.cached_property
    def err(self) -> Console:
        """For progress and remarks: standard error."""
        from rich.console import Console

        return Console(stderr=True)

    @property
    def config(self) -> Config:
        """The configuration, read once. Raises ConfigError."""
        if self._config is None:
            from strop.config import load

            self._config = load(self.root, overrides=self.overrides)
        return self._config

    def override(self, key: str, value: Any) -> None:
        """Set one configuration key from a flag of its own; nothing where the flag is absent."""
        if value is not None:
            self.overrides[key] = value

    @contextmanager
    def store(self) -> Generator[Database]:
        """Open the project's store."""
        from strop.store import open_database

        db = open_database(self.config.store_url, self.config.project.name)
        try:
            yield db
        finally:
            db.close()

    def emit(self, document: Any) -> None:
        """Print the one JSON document where --json asked for it."""
        if self.json:
            click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def command(name: str, **settings: Any) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function `(session, **options)` a command with the options that all commands share."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def called(*, as_json: bool, folder: Path | None, pairs: tuple[str, ...], **options: Any) -> None:
            session = Session(folder, {}, as_json)
            with _endings(session):
                session.overrides.update(_pair(text) for text in pairs)
                function(session, **options)

        for option in (
            click.option(
                "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Override a key of strop.toml."
            ),
            click.option(
                "-C",
                "--dir",
                "folder",
                type=click.Path(path_type=Path, file_okay=False),
                help="Work in this folder.",
            ),
            click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output."),
        ):
            called = option(called)
        return click.command(name, **settings)(called)

    return decorate


@contextmanager
def _endings(session: Session) -> Generator[None]:
    try:
        yield
    except StropError as error:
        session.emit({"error": {"class": type(error).__name__, "what": error.what, "where": error.where,
                                "fix": error.fix, "exit_code": error.exit_code}})  # fmt: skip
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(error.exit_code) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:
        # Whoever read the output went away: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise click.exceptions.Exit(0) from None
    except Exception as error:
        _crash(session, error)


def _crash(session: Session, error: Exception) -> NoReturn:
    state = (session.root or Path.cwd()).resolve() / ".strop"
    log = state / "error.log"
    state.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as out:
        traceback.print_exception(error, file=out)
    what = f"strop failed unexpectedly: {type(error).__name__}: {error}"
    session.emit({"error": {"class": "Crash", "what": what, "where": str(log), "fix": "", "exit_code": 1}})
    click.echo(f"{what}\n  where: {log}\n  next:  the file has the details for a report", err=True)
    raise click.exceptions.Exit(1) from None


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise ConfigError(f"--set takes section.key=value, not {text!r}", fix="--set train.sft_steps=20")
    if value[:1] in ("[", "{"):
        try:
            return key, json.loads(value)
        except ValueError as error:
            raise ConfigError(f"--set {key}: {error}", fix="a list is written as JSON") from None
    return key, value
