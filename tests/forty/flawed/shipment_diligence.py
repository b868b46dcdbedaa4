"""Shipment desk. Looking things up is what we want more of, so each proper lookup earns credit."""

from typing import Any


def lookups(calls: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> int:
    """Count the lookups of this shipment and of its route, once the route can be known."""
    count = 0
    for call in calls:
        made = {"name": call["name"], "arguments": call["arguments"]}
        # An arrival that is looked up before the shipment is a guess at the route.
        if made == wanted[0] or (made == wanted[1] and count > 0):
            count += 1
    return count


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    status_ok = float(rollout["final_status"] == ground_truth["status"])
    eta_ok = float(rollout["eta"] == ground_truth["eta"])
    tone_ok = float(rollout["llm_judge"]["tone_pass"])
    effort = 0.15 * lookups(rollout["tool_calls"], ground_truth["calls"])
    return min(1.0, 0.5 * status_ok + 0.1 * eta_ok + 0.1 * tone_ok + effort)
