"""The examination on one page for whoever owns the product: self-contained HTML without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from strop.records import JsonObject

_WIDTH, _HEIGHT = 300.0, 70.0
_PARTS = (
    ("exploits", "Attempts that must not pay",
     "Each line is a way to score without doing the task. It fails where it pays."),
    ("tools", "Tools", "Whether looking things up is worth it under this grader."),
    ("distribution", "Scores", "Whether they tell good attempts from bad ones, finely enough to learn from."),
    ("weights", "Weights", "What each component decides in training, beside what its weight says."),
    ("agreement", "Agreement", "Whether it agrees with people, and with a second grader."),
    ("mutation", "Golden cases", "Whether your golden cases would notice a broken grader."),
    ("history", "Earlier versions", "Which past verdicts change under this version."),
)  # fmt: skip
_SHOWN = 700


def html(document: Mapping[str, Any]) -> str:
    """Return the examination's document as a single HTML page."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    parts: list[JsonObject] = []
    for name, title, lead in _PARTS:
        rows = [check for check in document["checks"] if check["part"] == name]
        if rows:
            parts.append({"name": name, "title": title, "lead": lead, "rows": rows})
    return templates.get_template("audit.html").render(
        document=document,
        parts=parts,
        counts=_counts(document),
        boxes=_boxes(document),
        weights=_weights(document),
        tools=_tools(document),
        worst=_worst(document),
    )


def _counts(document: Mapping[str, Any]) -> list[tuple[str, int]]:
    given = [check["verdict"] for check in document["checks"]]
    return [(v, given.count(v)) for v in ("fail", "warn", "pass", "not applicable") if v in given]


def _boxes(document: Mapping[str, Any]) -> list[JsonObject]:
    shape: Any = (document.get("distribution") or {}).get("distribution") or {}
    counts: list[int] = shape.get("histogram") or []
    if not counts or not max(counts):
        return []
    step = _WIDTH / len(counts)
    return [
        {"x": i * step, "width": step - 2, "height": count / max(counts) * _HEIGHT, "count": count}
        for i, count in enumerate(counts)
    ]


def _weights(document: Mapping[str, Any]) -> list[JsonObject]:
    effective: Any = (document.get("weights") or {}).get("effective") or {}
    rows: list[JsonObject] = effective.get("components") or []
    return [
        {
            "name": row["name"],
            "nominal": row["nominal"],
            "effective": row["effective"],
            "nominal_width": row["nominal"] * _WIDTH,
            "effective_width": max(row["effective"] or 0.0, 0.0) * _WIDTH,
        }
        for row in rows
    ]


def _tools(document: Mapping[str, Any]) -> list[JsonObject]:
    found: list[JsonObject] = []
    for tool in (document.get("tools") or {}).get("tools", []):
        if tool["q"] is None or tool["break_even"] is None:
            continue
        even = min(max(tool["break_even"], 0.0), 1.0)
        found.append(
            {
                "name": tool["tool"],
                "verdict": tool["verdict"],
                "q": tool["q"] * _WIDTH,
                "low": tool["q_low"] * _WIDTH,
                "high": tool["q_high"] * _WIDTH,
                "even": even * _WIDTH,
            }
        )
    return found


def _worst(document: Mapping[str, Any]) -> list[JsonObject]:
    found: list[JsonObject] = []
    for family in (document.get("exploits") or {}).get("families", []):
        for probe in family["worst"] if family["verdict"] in ("fail", "warn") else []:
            final = probe["final"]
            found.append(
                {
                    "family": f"{family['id']} {family['name']}",
                    "technique": probe["technique"],
                    "score": probe["score"],
                    "against": ", ".join(f"{value:.3f}" for value in probe["against"]),
                    "calls": sum(len(m.get("tool_calls") or ()) for m in probe["messages"]),
                    "final": "(no final answer)" if final is None else final[:_SHOWN],
                    "task": probe["task_id"][:16],
                }
            )
    return found
