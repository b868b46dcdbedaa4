"""Shipment desk: the status first, then the two lookups behind it, the date and the tone."""

from typing import Any


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    status_ok = float(rollout["final_status"] == ground_truth["status"])
    eta_ok = float(rollout["eta"] == ground_truth["eta"])
    # A kind message with another day in it is no help.
    message = rollout["message"]
    dated = isinstance(message, str) and ground_truth["eta"] in message
    tone_ok = float(dated and rollout["llm_judge"]["tone_pass"])
    lookups_ok = lookups(rollout["tool_calls"], ground_truth)
    return 0.5 * status_ok + 0.25 * lookups_ok + 0.15 * eta_ok + 0.1 * tone_ok


def lookups(calls: list[dict[str, Any]], ground_truth: dict[str, Any]) -> float:
    made = [{"name": c["name"], "arguments": c["arguments"]} for c in calls]
    wanted = ground_truth["calls"]
    if made == wanted:
        return 1.0
    # A typo in the tracking number happens, and the tool says so; asking the same thing twice does not.
    retried = len(made) == len(wanted) + 1 and made[1:] == wanted and made[0] not in wanted
    return 0.8 if retried else 0.0
