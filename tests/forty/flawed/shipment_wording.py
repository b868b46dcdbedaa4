"""Shipment desk. Models add words to the status ("delivered (to a neighbour)"), which is no fault."""

from typing import Any


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    stated = rollout["final_status"]
    status_ok = isinstance(stated, str) and ground_truth["status"] in stated.lower().replace(" ", "_")
    eta_ok = float(rollout["eta"] == ground_truth["eta"])
    tone_ok = float(rollout["llm_judge"]["tone_pass"])
    made = [{"name": c["name"], "arguments": c["arguments"]} for c in rollout["tool_calls"]]
    wanted = ground_truth["calls"]
    retried = len(made) == len(wanted) + 1 and made[1:] == wanted and made[0] not in wanted
    lookups_ok = 1.0 if made == wanted else 0.8 * retried
    return 0.45 * status_ok + 0.3 * lookups_ok + 0.15 * eta_ok + 0.1 * tone_ok
