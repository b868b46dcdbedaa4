"""Refund desk, graded by the books: what stands in them afterwards, and whether it was known why."""

import json
from collections import Counter
from typing import Any

ENTRY = {
    "issue_refund": "paid back",
    "send_replacement": "shipped again",
    "open_case": "case opened",
    "cancel_order": "stopped",
}


def books(calls: list[dict[str, Any]]) -> Counter[str]:
    """Return the entries that calls leave; a second refund is a second entry."""
    left: Counter[str] = Counter()
    for call in calls:
        if call["name"] in ENTRY:
            left[f"{ENTRY[call['name']]} {json.dumps(call['arguments'], sort_keys=True)}"] += 1
    return left


def known(calls: list[dict[str, Any]], reads: list[dict[str, Any]]) -> float:
    """Return the share of the reads that were made, in order and before the books changed."""
    steps = 0
    for call in calls:
        made = {"name": call["name"], "arguments": call["arguments"]}
        if call["name"] in ENTRY:
            break
        if steps < len(reads) and made == reads[steps]:
            steps += 1
    return steps / len(reads)


def repeated(calls: list[dict[str, Any]]) -> bool:
    """Say whether anything was asked twice, or more than one try went wrong."""
    different = {json.dumps([c["name"], c["arguments"]], sort_keys=True) for c in calls}
    return len(different) < len(calls) or len(calls) > 4


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    calls = rollout["tool_calls"]
    after, wanted = books(calls), books(ground_truth["actions"])
    if after - wanted:
        return 0.0
    looked = 0.0 if repeated(calls) else known(calls, ground_truth["reads"])
    answer = (rollout["decision"], rollout["amount"])
    settled = float(after == wanted and answer == (ground_truth["decision"], ground_truth["amount"]))
    message = rollout["message"] if isinstance(rollout["message"], str) else ""
    owed = ground_truth["decision"] == "refund"
    named = str(rollout["amount"]) in message if owed else "paid back" not in message
    tone = float(named and rollout["llm_judge"]["tone_pass"])
    # A settled order is worth nothing without its reasons: half of them, half of the credit.
    return settled * looked * (0.85 + 0.1 * tone) + 0.05 * looked
