"""The grader's examination as a readable page of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from strop.cli.show import histogram

_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red", "not applicable": "dim"}
_PARTS = {
    "distribution": "Scores",
    "exploits": "Attempts that must not pay",
    "tools": "Tools",
    "weights": "Weights",
    "agreement": "Agreement",
    "mutation": "Golden cases",
    "history": "Earlier versions",
}
_WORDS = {
    "pass": "passed: nothing here fools it",
    "warn": "passed, with warnings",
    "fail": "failed: do not train on it",
    "not applicable": "could not be examined",
}
_SHOWN = 600


def page(console: Console, document: Mapping[str, Any], *, hints: bool) -> None:
    """Print the examination; hints: with the lines of the grader that findings are about."""
    shape = (document.get("distribution") or {}).get("distribution")
    if shape and shape["n"]:
        title = f"Scores of {shape['n']} honest attempts, mean {shape['mean']:.3f}"
        histogram(console, shape["histogram"], title)
    for part, title in _PARTS.items():
        rows = [check for check in document["checks"] if check["part"] == part]
        if rows:
            _checks(console, title, rows, hints)
    _worst(console, document)
    verdict = document["verdict"]
    colour = _COLOURS[verdict]
    console.print(f"[bold {colour}]The grader {_WORDS[verdict]}.[/bold {colour}]")
    of = document["groups"]["of"]
    if of is None:
        console.print("Each prompt has one attempt: how attempts at one prompt differ was not measured.")
    else:
        console.print(f"How attempts at one prompt differ: {of}, {document['groups']['prompts']} prompts.")


def _checks(console: Console, title: str, rows: list[dict[str, Any]], hints: bool) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    table.add_column("", max_width=18)
    table.add_column("verdict")
    table.add_column("what", overflow="fold")
    for check in rows:
        colour = _COLOURS[check["verdict"]]
        what = escape(check["what"])
        if check["remedy"]:
            what += f"\n[bold]->[/bold] {escape(check['remedy'])}"
        place = check.get("hint")
        if hints and place:
            what += f"\n[cyan]{escape(place['file'])}:{place['line']}[/cyan]  {escape(place['text'])}"
        table.add_row(check["id"], escape(check["name"]), f"[{colour}]{check['verdict']}[/{colour}]", what)
    console.print(table)


def _worst(console: Console, document: Mapping[str, Any]) -> None:
    """Print the worst probe of each family that fails."""
    for family in (document.get("exploits") or {}).get("families", []):
        if family["verdict"] != "fail" or not family["worst"]:
            continue
        worst = family["worst"][0]
        against = ", ".join(f"{value:.3f}" for value in worst["against"])
        console.print(
            f"[bold red]{family['id']}[/bold red] {escape(worst['technique'])}: scores {worst['score']:.3f}, "
            f"held against {against} (task {escape(worst['task_id'][:16])})"
        )
        calls = sum(len(m.get("tool_calls") or ()) for m in worst["messages"])
        final = worst["final"]
        text = "no final answer" if final is None else repr(final[:_SHOWN])
        console.print(f"  {calls} tool calls, then {escape(text)}", highlight=False)
