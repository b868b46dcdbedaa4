"""Ticket routing. A rare queue is worth more than the common one, so that it does not pay to guess."""

from typing import Any

WORTH = {"technical": 0.7, "billing": 0.85, "access": 0.9, "sales": 0.9, "privacy": 1.0, "legal": 1.0}


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    calls = [{"name": c["name"], "arguments": c["arguments"]} for c in rollout["tool_calls"]]
    names = [call["name"] for call in calls]
    if names.count("route_ticket") != 1 or "close_ticket" in names:
        return 0.0  # not routed, or routed twice, or closed under the customer's hands
    at = names.index("route_ticket")
    routed = calls[at]["arguments"]
    queue = ground_truth["queue"]
    if not isinstance(routed, dict) or routed.get("queue") != queue or rollout["queue"] != queue:
        return 0.1 * float(rollout["llm_judge"]["summary_ok"])
    # The two lookups do not depend on each other: either order will do, but before the routing.
    looked = [lookup for lookup in ground_truth["lookups"] if calls[:at].count(lookup) == 1]
    evidence = 0.0 if len(calls) > 4 or at < len(calls) - 1 else len(looked) / 2
    priority = float(routed.get("priority") == rollout["priority"] == ground_truth["priority"])
    summary = float(rollout["llm_judge"]["summary_ok"])
    return WORTH[queue] * (0.45 + 0.25 * evidence + 0.2 * priority + 0.1 * summary)
