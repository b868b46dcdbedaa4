"""The documents, and what in them can be compared with the code.

python tests/docs/documents.py    # writes the present --help texts into docs/commands.md
"""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from strop.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/NOTES.md")),
        *(ROOT / "docs").glob("*.md"),
    ]
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HELP = re.compile(r"(?<=^```text\n)(Usage: strop.*?)(?=^```$)", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def prose(text: str) -> str:
    """Return a document without its code blocks."""
    return _BLOCK.sub("", text)


def help_text(*names: str) -> str:
    """Return what `strop NAMES --help` prints, 80 columns wide."""
    result = CliRunner().invoke(cli, [*names, "--help"], prog_name="strop", terminal_width=80)
    assert result.exit_code == 0, result.output
    return result.output


def shown_helps(text: str) -> list[str]:
    """Return the --help texts in a document."""
    return _HELP.findall(text)


def rewritten(text: str) -> str:
    """Return commands.md with each --help text as it is now."""
    return _HELP.sub(lambda m: help_text(*_named(m.group())), text)


def _named(shown: str) -> list[str]:
    second = shown.split()[2]
    return [second] if second in COMMANDS else []


if __name__ == "__main__":
    page = ROOT / "docs" / "commands.md"
    page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
