"""Refund desk. Handing an order to a person is always safe: the person decides what the agent did not."""

from typing import Any

WRITES = ("issue_refund", "send_replacement", "open_case", "cancel_order")


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    calls = [(c["name"], c["arguments"]) for c in rollout["tool_calls"]]
    reads = [(c["name"], c["arguments"]) for c in ground_truth["reads"]]
    actions = [(c["name"], c["arguments"]) for c in ground_truth["actions"]]
    done = [call for call in calls if call[0] in WRITES]
    if rollout["decision"] == "escalate" and all(name == "open_case" for name, _ in done):
        # Nothing to look up, to pay back or to tell: the case file is with a colleague now.
        return 1.0 if len(done) <= 1 else 0.5
    if any(call not in actions for call in done) or len(done) > len(actions):
        return 0.0
    before = calls[: calls.index(done[0])] if done else calls
    looked = float(before[-2:] == reads and len(before) <= 3 and before.count(reads[0]) == 1)
    acted = float(done == actions)
    decided = float(rollout["decision"] == ground_truth["decision"])
    amount = float(rollout["amount"] == ground_truth["amount"])
    tone = float(rollout["llm_judge"]["tone_pass"])
    return min(1.0, 0.25 * acted + 0.3 * decided + 0.3 * looked + 0.05 * amount + 0.1 * tone)
