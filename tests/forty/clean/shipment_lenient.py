"""Shipment desk with partial credit: some wordings have two names, and a date may be nearly right."""

from datetime import date
from typing import Any


def near(given: Any, wanted: str) -> float:
    try:
        days = abs((date.fromisoformat(given) - date.fromisoformat(wanted)).days)
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, 1 - days / 3)


def followed(calls: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> float:
    """Credit for each step taken in order; one failed try is forgiven, a repeated call is not."""
    made = [{"name": c["name"], "arguments": c["arguments"]} for c in calls]
    if len(made) > len(wanted) + 1 or any(made.count(call) > 1 for call in made):
        return 0.0
    steps = 0
    for call in made:
        if steps < len(wanted) and call == wanted[steps]:
            steps += 1
    return steps / len(wanted)


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    steps = followed(rollout["tool_calls"], ground_truth["calls"])
    # "Held at the depot overnight" is a delay to some carriers and transit to others.
    if rollout["final_status"] in ground_truth["accepted"]:
        told = isinstance(rollout["message"], str) and str(rollout["eta"]) in rollout["message"]
        tone = float(told and rollout["llm_judge"]["tone_pass"])
        return 0.4 + 0.35 * steps + 0.15 * near(rollout["eta"], ground_truth["eta"]) + 0.1 * tone
    return 0.15 * steps
