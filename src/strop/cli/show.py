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
    for line in (
        _near_duplicates(result["near_duplicates"]),
        *_balance(result),
        *_leakage(result["leakage"]),
    ):
        console.print(line, highlight=False, markup=False)


def _near_duplicates(near: Mapping[str, Any]) -> str:
    if not near["threshold"]:
        return "Near-duplicates: not looked for (curate.near_duplicate = 0)"
    retries = near["retries"]
    return (
        f"Near-duplicates (from {near['threshold']:g} on): {near['dropped']} dropped; "
        f"{retries['traces']} retries with other outcomes kept, in {retries['groups']} groups, never parted"
    )


def _balance(result: Mapping[str, Any]) -> list[str]:
    balance, loudest = result["balance"], result["loudest"]
    how = f"{balance['customers']} {balance['weights'] or ''}".rstrip()
    rows = f"{balance['training_rows']} training rows, worth {balance['effective_rows']:.0f} of equal weight"
    factors = [f"{n} x{o['factor']:g} ({o['training_rows']} rows)" for n, o in balance["oversample"].items()]
    lines = [f"Balance (customers {how}): {'; '.join([rows, *factors])}"]
    if loudest is not None:
        lines.append(
            f"Loudest customer in training: {loudest['customer']}, {loudest['share_before']:.1%} before, now "
            f"{loudest['share']:.1%} of the rows and {loudest['share_drawn']:.1%} of what is drawn"
        )
    return lines


def _leakage(leakage: Mapping[str, Any]) -> list[str]:
    pairs = leakage["near_duplicate_pairs"]
    least = "" if leakage["all_pairs_compared"] else "at least "
    found = f"{least}{_listed(pairs)}; {leakage['dropped_near_duplicates']} traces dropped for it"
    lines = [
        f"Near-duplicates across splits: {found if pairs or least else 'none'}",
        f"People in two splits: {_listed(leakage['identities']) or 'none'}",
    ]
    for model in leakage["earlier_models"]:
        name, seen = model["model"][:16], model["test_traces"]
        if seen is None:
            lines.append(f"Earlier model {name}: what it was trained on is not known")
        elif seen:
            lines.append(f"Earlier model {name} was trained on {seen} test traces or near-duplicates of them")
    if leakage["dropped_seen_by_base"]:
        lines.append(f"Dropped because the base model saw them: {leakage['dropped_seen_by_base']} traces")
    return lines


def _listed(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in found.items())


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
