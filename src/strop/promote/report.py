"""The run on one page, for whoever decides: self-contained HTML, no script, no outside file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from strop.records import JsonObject

_ARMS = ("base", "teacher", "sft", "candidate", "champion")
_WIDTH, _HEIGHT = 300.0, 70.0
# What a step may report, in the order of preference, and what the curve is then called.
_CURVES = (("reward", "reward"), ("loss", "loss"))


def html(document: Mapping[str, Any]) -> str:
    """Return the report of one run as a single HTML page.

    document: the run's JSON document, or a comparison alone. Known keys, each of which may be absent:
    project, run_id, at, rows, scores (arms by name, and `baselines`), distribution (ten counts of
    historical grades), train, verdict, cost, serving, seconds, simulated (a list of what stood in for
    something real).
    """
    scores: Mapping[str, Any] = document.get("scores") or document.get("arms") or {}
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["number"] = number
    return templates.get_template("report.html").render(
        document=document,
        verdict=document.get("verdict") or {},
        bars=_bars(scores),
        components=_components(scores),
        table=_table(scores),
        histograms=_histograms(document, scores),
        curves=_curves(document.get("train") or {}),
        lines=_cost_lines(document.get("cost") or {}),
        baselines=_baselines(scores.get("baselines") or document.get("baselines") or {}),
    )


def number(value: Any, digits: int = 3) -> str:
    """Return a figure with fixed digits, other things as text, and a dash for what is absent."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)


def _arms(scores: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, scores[name]) for name in _ARMS if (scores.get(name) or {}).get("mean") is not None]


def _bars(scores: Mapping[str, Any]) -> list[JsonObject]:
    rows: list[JsonObject] = []
    for name, arm in _arms(scores):
        low, high = arm.get("ci95") or (arm["mean"], arm["mean"])
        rows.append(
            {
                "name": name,
                "mean": arm["mean"],
                "low": low,
                "high": high,
                "n": arm.get("n"),
                "clusters": arm.get("clusters"),
                "width": arm["mean"] * _WIDTH,
                "x1": low * _WIDTH,
                "x2": high * _WIDTH,
            }
        )
    return rows


def _components(scores: Mapping[str, Any]) -> list[str]:
    return sorted({part for _, arm in _arms(scores) for part in arm.get("components") or {}})


def _table(scores: Mapping[str, Any]) -> list[JsonObject]:
    return [
        {
            "name": name,
            "components": arm.get("components") or {},
            "seen": (arm.get("seen_customers") or {}).get("mean"),
            "unseen": (arm.get("unseen_customers") or {}).get("mean"),
            "unseen_n": (arm.get("unseen_customers") or {}).get("n"),
            "order": ((arm.get("tool_order") or {}).get("right") or {}).get("mean"),
            "misses": (arm.get("misses") or {}).get("rate"),
            "p95": (arm.get("latency") or {}).get("p95_s"),
            "errors": arm.get("errors"),
        }
        for name, arm in _arms(scores)
    ]


def _baselines(rows: Mapping[str, Any]) -> list[JsonObject]:
    return [
        {
            "name": name,
            "accuracy": (row.get("accuracy") or {}).get("mean"),
            "accuracy_n": (row.get("accuracy") or {}).get("n"),
            "mean": row.get("mean"),
            "n": row.get("n"),
        }
        for name, row in rows.items()
    ]


def _histograms(document: Mapping[str, Any], scores: Mapping[str, Any]) -> list[JsonObject]:
    distribution: Any = document.get("distribution")
    counted: list[tuple[str, Any]] = [("history", distribution)]
    counted += [
        (name, arm.get("histogram")) for name, arm in _arms(scores) if name in ("teacher", "candidate")
    ]
    out: list[JsonObject] = []
    for name, counts in counted:
        if isinstance(counts, Mapping):
            counts = counts.get("histogram")
        if not counts or not max(counts):
            continue
        step = _WIDTH / len(counts)
        boxes = [
            {"x": i * step, "height": c / max(counts) * _HEIGHT, "width": step - 2, "count": c}
            for i, c in enumerate(counts)
        ]
        out.append({"name": name, "boxes": boxes, "n": sum(counts)})
    return out


def _curves(train: Mapping[str, Any]) -> list[JsonObject]:
    steps: Any = train.get("steps")
    if not isinstance(steps, Sequence):
        return []
    phases: dict[str, list[Mapping[str, Any]]] = {}
    for step in steps:
        phases.setdefault(str(step.get("phase", "training")), []).append(step)
    out: list[JsonObject] = []
    for phase, rows in phases.items():
        for key, title in _CURVES:
            values = [float(row[key]) for row in rows if isinstance(row.get(key), (int, float))]
            if len(values) > 1:
                out.append({"name": f"{phase}: {title}", **_line(values)})
                break
    return out


def _line(values: Sequence[float]) -> JsonObject:
    low, high = min(values), max(values)
    spread = (high - low) or 1.0
    step = _WIDTH / (len(values) - 1)
    points = " ".join(
        f"{i * step:.1f},{_HEIGHT - (v - low) / spread * _HEIGHT:.1f}" for i, v in enumerate(values)
    )
    return {
        "points": points,
        "low": low,
        "high": high,
        "first": values[0],
        "last": values[-1],
        "n": len(values),
    }


def _cost_lines(cost: Mapping[str, Any]) -> list[JsonObject]:
    names = {
        "teacher_scenario": "teacher, scenario price",
        "teacher_list_price": "teacher, list price x tokens",
        "candidate_machine": "candidate, machine and training",
        "candidate_marginal": "candidate, marginal CPU",
    }
    return [
        {"name": text, "usd": cost[key].get("usd"), "formula": cost[key].get("formula", "")}
        for key, text in names.items()
        if key in cost
    ]
