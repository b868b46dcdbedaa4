"""docs/commands.md shows every command as it is, and code blocks call only what exists."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from documents import DOCUMENTS, ROOT, blocks, help_text, shown_helps

from strop.cli import COMMANDS, cli
from strop.errors import StropError

COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
REPAIR = "run: .venv/bin/python tests/docs/documents.py"


def calls(program: str) -> list[tuple[str, list[str]]]:
    """Return (document, arguments) of each call of a program in the documents' shell blocks."""
    found: list[tuple[str, list[str]]] = []
    for path in DOCUMENTS:
        for block in blocks(path.read_text(encoding="utf-8"), "sh"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == program:
                    found.append((path.name, words[1:]))
    return found


def subclasses(root: type[StropError]) -> set[type[StropError]]:
    return {root}.union(*(subclasses(kind) for kind in root.__subclasses__()))


def test_every_command_is_documented_in_its_order() -> None:
    assert re.findall(r"^## (\w+)$", COMMANDS_PAGE, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_is_what_the_program_prints(name: str) -> None:
    # Words are compared, not line breaks: those depend on click's version.
    shown = {" ".join(text.split()) for text in shown_helps(COMMANDS_PAGE)}
    assert " ".join(help_text(*filter(None, [name])).split()) in shown, REPAIR


def test_no_help_is_left_of_a_command_that_is_gone() -> None:
    assert len(shown_helps(COMMANDS_PAGE)) == len(COMMANDS) + 1


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_commands_say(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.name == name and command.help


def test_calls_of_strop_name_commands_and_options_that_exist() -> None:
    assert calls("strop")
    for document, (name, *arguments) in calls("strop"):
        assert name in COMMANDS, f"{document}: strop {name}"
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        for argument in arguments:
            assert not argument.startswith("-") or argument in known, f"{document}: {name} {argument}"


def test_calls_of_make_name_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w.-]+):", makefile, re.MULTILINE))
    assert {"demo", "test"} <= {arguments[0] for _, arguments in calls("make")}
    for document, arguments in calls("make"):
        assert set(arguments) <= targets, f"{document}: make {' '.join(arguments)}"
    assert set(re.findall(r"`make ([\w-]+)`", README)) <= targets


def test_every_exit_code_is_documented() -> None:
    table = set(re.findall(r"^\| (\d+) \|", COMMANDS_PAGE, re.MULTILINE))
    raised = {str(kind.exit_code) for kind in subclasses(StropError)}
    assert table == raised | {"0", "130"}
    said = README.split("**Exit codes**:", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"(?:^|; ?|\s)(\d+) ", said)) == table
