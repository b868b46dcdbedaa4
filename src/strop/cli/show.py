"""Documents as a readable page: histogram, tables, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

_WIDTH = 40
_COLOURS = {"promote": "green", "reject": "red", "inconclusive": "yellow"}


def counts(console: Console, title: str, rows: Mapping[str, Any]) -> None:
    """Print names and numbers."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in rows.items():
        table.add_row(escape(str(name)), number(value))
    console.print(f"[italic]{escape(title)}[/italic]")  # a title of the table would be broken at its width
    console.print(table)


def histogram(console: Console, bins: Sequence[int], title: str) -> None:
    """Print counts of scores in equal bins over [0, 1], one bar a line."""
    console.print(f"[bold]{escape(title)}[/bold]")
    top = max(bins, default=0) or 1
    for i, count in enumerate(bins):
        low, high = i / len(bins), (i + 1) / len(bins)
        bar = "█" * round(_WIDTH * count / top) or ("▏" if count else "")
        console.print(f"  {low:4.2f}-{high:4.2f} [cyan]{bar:<{_WIDTH}}[/cyan] {count}")


def grades(console: Console, result: Mapping[str, Any]) -> None:
    """Print what `loop.grade` reports: the histogram, components, failures."""
    shape = result.get("distribution")
    if shape:
        mean = "none" if shape["mean"] is None else f"{shape['mean']:.3f}"
        histogram(console, shape["histogram"], f"Scores of {shape['n']} traces, mean {mean}")
    if result.get("components"):
        counts(console, "Components (mean)", result["components"])
    if result.get("errors"):
        counts(console, f"Not graded: {result['failed']}", result["errors"])
    if result.get("missing_labels"):
        console.print(f"Without ground truth: {result['missing_labels']}")


def curated(console: Console, result: Mapping[str, Any]) -> None:
    """Print what `loop.curate` decided."""
    if result.get("allow_small"):
        console.print(f"[yellow]Under the floor, allowed:[/yellow] {escape(str(result['allow_small']))}")
    kept = {"pulled": result["pulled"], "unique": result["unique"], "kept": result["kept"]}
    counts(console, "Rows", {**kept, "with ground truth": result["labelled"]})
    counts(console, "Splits", result["splits"])
    counts(console, "Sources", result["sources"])
    if result["captured"]["stored"]:
        of = result["captured"]
        console.print(
            f"Of {of['stored']} captured traces {of['merged']} are merged with the agent's own record"
        )
    if result["dropped"]:
        counts(console, "Dropped", result["dropped"])


def arms(console: Console, report_arms: Mapping[str, Any]) -> None:
    """Print one row an arm: mean with its 95 % interval, n, components."""
    names = list(dict.fromkeys(c for arm in report_arms.values() for c in arm.get("components", {})))
    table = Table(title="Test split, same grader", title_justify="left")
    for column in ("arm", "mean", "95 %", "n", *names):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for name, arm in report_arms.items():
        ci = arm.get("ci95")
        interval = f"{ci[0]:.3f} to {ci[1]:.3f}" if ci else "-"
        parts = [number(_mean(arm.get("components", {}).get(c))) for c in names]
        table.add_row(escape(name), number(arm.get("mean")), interval, number(arm.get("n")), *parts)
    console.print(table)


def verdict(console: Console, answer: Mapping[str, Any]) -> None:
    """Print a verdict with its reasons."""
    colour = _COLOURS.get(str(answer["decision"]), "white")
    lines = [f"- {escape(reason)}" for reason in answer["reasons"]]
    if answer.get("needed_n"):
        lines.append(f"- it would need about {answer['needed_n']} tasks")
    title = f"[bold {colour}]{str(answer['decision']).upper()}[/bold {colour}]"
    console.print(Panel("\n".join(lines), title=title, border_style=colour, expand=False))


def number(value: Any) -> str:
    """Format a value for a table cell."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))


def _mean(component: Any) -> Any:
    return component.get("mean") if isinstance(component, dict) else component
