"""Ticket routing by team: what matters is that the ticket reaches the right people."""

from typing import Any

TEAM = {"billing": "finance", "sales": "commercial", "access": "identity"}


def team(queue: Any) -> str:
    """Return who works on a queue; engineering takes everything that has no team of its own."""
    return TEAM.get(queue, "engineering") if isinstance(queue, str) else "nobody"


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    calls = [{"name": c["name"], "arguments": c["arguments"]} for c in rollout["tool_calls"]]
    names = [call["name"] for call in calls]
    if names.count("route_ticket") != 1 or "close_ticket" in names or names[-1] != "route_ticket":
        return 0.0
    *before, last = calls
    told = {"queue": rollout["queue"], "priority": rollout["priority"]}
    wanted = team(ground_truth["queue"])
    if last["arguments"] != told or team(told["queue"]) != wanted:
        return 0.1
    looked = sum(before.count(lookup) == 1 for lookup in ground_truth["lookups"]) / 2
    evidence = looked if len(before) <= 3 else 0.0
    priority = float(told["priority"] == ground_truth["priority"])
    summary = float(rollout["llm_judge"]["summary_ok"])
    return 0.45 + 0.2 * priority + 0.25 * evidence + 0.1 * summary
