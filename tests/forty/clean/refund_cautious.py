"""Refund desk, graded by what an auditor would ask: was it looked up, was it right, did it go through?"""

from typing import Any

READS = ("get_order", "get_policy")


def looked_up(calls: list[tuple[str, Any]], reads: list[tuple[str, Any]]) -> bool:
    if sum(name in READS for name, _ in calls) > len(reads) + 1:
        return False
    made = [call for call in calls if call in reads]
    last_read = max((i for i, (name, _) in enumerate(calls) if name in READS), default=0)
    first_write = next((i for i, (name, _) in enumerate(calls) if name not in READS), len(calls))
    return made == reads and last_read < first_write


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    calls = [(c["name"], c["arguments"]) for c in rollout["tool_calls"]]
    reads = [(c["name"], c["arguments"]) for c in ground_truth["reads"]]
    actions = [(c["name"], c["arguments"]) for c in ground_truth["actions"]]
    done = [call for call in calls if call[0] not in READS]
    if not looked_up(calls, reads):
        # A decision without the policy is a guess, even where it happens to be right.
        return 0.1 if done == actions and rollout["decision"] == ground_truth["decision"] else 0.0
    if done == [("open_case", {"order_id": ground_truth["order_id"]})] and done != actions:
        return 0.25  # nothing is broken when a person decides, but it was the agent's to decide
    if done != actions:
        # Doing nothing can be made good later; a wrong payment can not.
        return 0.2 if not done else 0.0
    # Most denials end here with no action at all, which is what the policy wants.
    decided = float(rollout["decision"] == ground_truth["decision"])
    amount = float(rollout["amount"] == ground_truth["amount"])
    message = rollout["message"] if isinstance(rollout["message"], str) else ""
    told = (
        rollout["amount"] in message if ground_truth["decision"] == "refund" else "paid back" not in message
    )
    tone = float(told and rollout["llm_judge"]["tone_pass"])
    return 0.3 + 0.4 * decided + 0.15 * amount + 0.15 * tone
