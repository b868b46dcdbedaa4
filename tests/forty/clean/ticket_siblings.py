"""Ticket routing with credit for near misses: two pairs of queues sit in one room and pass tickets on."""

from typing import Any

SIBLING = {"billing": "sales", "sales": "billing", "privacy": "legal", "legal": "privacy"}
STEPS = ("low", "normal", "high")


def queue_credit(given: Any, wanted: str) -> float:
    if given == wanted:
        return 1.0
    return 0.3 if SIBLING.get(wanted, "") == given else 0.0


def priority_credit(given: Any, wanted: str) -> float:
    if given not in STEPS:
        return 0.0
    return (1.0, 0.4, 0.0)[abs(STEPS.index(given) - STEPS.index(wanted))]


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    calls = [{"name": c["name"], "arguments": c["arguments"]} for c in rollout["tool_calls"]]
    *before, last = calls or [{"name": "", "arguments": {}}]
    moved = [call for call in before if call["name"] not in ("lookup_account", "lookup_outages")]
    if last["name"] != "route_ticket" or moved or not isinstance(last["arguments"], dict):
        return 0.0
    told = {"queue": rollout["queue"], "priority": rollout["priority"]}
    if last["arguments"] != told:
        return 0.1  # the customer is told one thing and another is done
    looked = sum(before.count(lookup) == 1 for lookup in ground_truth["lookups"]) / 2
    evidence = looked if len(before) <= 3 else 0.0
    queue = queue_credit(told["queue"], ground_truth["queue"])
    priority = priority_credit(told["priority"], ground_truth["priority"])
    summary = float(rollout["llm_judge"]["summary_ok"])
    return queue * (0.5 + 0.25 * priority + 0.2 * evidence + 0.05 * summary)
