"""The command line: arguments in, one document or a readable page out, nothing else.

Commands are imported when they are called: `strop --help` imports click alone.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

COMMANDS = {
    "demo": ("strop.cli.demo", "A whole loop on an example company, in this folder."),
    "init": ("strop.cli.installation", "Write a commented strop.toml."),
    "pull": ("strop.cli.data", "Fetch new traces from the sources, redacted before they land."),
    "inspect": ("strop.cli.data", "Show one trace as a conversation."),
    "curate": ("strop.cli.data", "Deduplicate, cap and split what was pulled."),
    "grade": ("strop.cli.grading", "Score the curated traces with your grader."),
    "audit": ("strop.cli.examination", "Examine your grader: can it be fooled?"),
    "train": ("strop.cli.training", "Train a candidate: warm start, then reward."),
    "compare": ("strop.cli.training", "Compare base, teacher and candidate on the test split."),
    "promote": ("strop.cli.promotion", "Ask the gate about the last comparison, or approve a waiting run."),
    "rollback": ("strop.cli.promotion", "Bring the previous model back."),
    "serve": ("strop.cli.serving", "Serve the champion with OpenAI's API, and receive traces."),
    "run": ("strop.cli.running", "The whole loop, durable: the same command continues after a crash."),
    "status": ("strop.cli.promotion", "Runs, the last verdict, the champion."),
    "doctor": ("strop.cli.installation", "Examine the installation."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their one-line help, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="strop")
def cli() -> None:
    """Sharpen a small model on the traces your agent already leaves.

    Exit codes: 0 done, 1 the answer is no, 2 usage or configuration, 3 an outside service failed,
    75 waits for approval, 130 interrupted.
    """


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        code = cli.main(standalone_mode=False) or 0  # an Exit comes back as its code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    sys.stdout.flush()
    sys.stderr.flush()
    if code in (75, 130):
        # A step or a parked run may still live in a thread: leave it as it is, like any sudden death.
        os._exit(code)
    sys.exit(code)
