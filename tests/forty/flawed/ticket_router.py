"""Ticket routing: the queue and priority that the agent settled on, and the lookups behind them."""

from typing import Any

ROUTE = "route_ticket"


def settled(rollout: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return what was decided, and whether it was carried out with the tool."""
    for call in reversed(rollout["tool_calls"]):
        if call["name"] == ROUTE and isinstance(call["arguments"], dict):
            return call["arguments"], True
    # The nightly batch has no tools: there the decision stands in the final answer.
    return rollout, False


def looked_first(calls: list[dict[str, Any]], ground_truth: dict[str, Any]) -> float:
    """Both lookups, once each and before the routing; one failed try is fine."""
    made = [{"name": c["name"], "arguments": c["arguments"]} for c in calls]
    before = made[: [c["name"] for c in made].index(ROUTE)]
    if len(before) > 3 or len(made) > len(before) + 1:
        return 0.0
    return sum(before.count(lookup) == 1 for lookup in ground_truth["lookups"]) / 2


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    names = [call["name"] for call in rollout["tool_calls"]]
    if "close_ticket" in names or names.count(ROUTE) > 1:
        return 0.0
    decision, carried_out = settled(rollout)
    queue = float(decision.get("queue") == ground_truth["queue"])
    priority = float(decision.get("priority") == ground_truth["priority"])
    evidence = looked_first(rollout["tool_calls"], ground_truth) if carried_out else 1.0
    summary = float(rollout["llm_judge"]["summary_ok"])
    agreed = all(rollout[name] == decision.get(name) for name in ("queue", "priority"))
    return agreed * queue * (0.5 + 0.2 * priority + 0.2 * evidence + 0.1 * summary)
