"""Refund desk: what was done to the order comes first, then how the decision was reached and told."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

WRITES = {"issue_refund", "send_replacement", "open_case", "cancel_order"}


def same_amount(given: Any, wanted: str) -> bool:
    try:
        return isinstance(given, str) and Decimal(given) == Decimal(wanted)
    except InvalidOperation:
        return False


def amounts_in(message: Any) -> set[str]:
    return set(re.findall(r"[0-9]+\.[0-9]{2}", message)) if isinstance(message, str) else set()


def read_first(calls: list[dict[str, Any]], reads: list[dict[str, Any]]) -> float:
    """Both reads, in order and before the first write; one failed try is fine."""
    before: list[dict[str, Any]] = []
    for call in calls:
        if call["name"] in WRITES:
            break
        before.append(call)
    looked = len(before) in (len(reads), len(reads) + 1) and before[-len(reads) :] == reads
    return float(looked and before.count(reads[0]) == 1)


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    calls = [{"name": c["name"], "arguments": c["arguments"]} for c in rollout["tool_calls"]]
    done = [call for call in calls if call["name"] in WRITES]
    allowed = ground_truth["actions"]
    if any(call not in allowed for call in done) or len(done) > len(allowed):
        return 0.0  # money or goods went where they must not
    acted = float(done == allowed)
    decided = float(rollout["decision"] == ground_truth["decision"])
    amount = float(same_amount(rollout["amount"], ground_truth["amount"]))
    paid = {ground_truth["amount"]} if ground_truth["decision"] == "refund" else set[str]()
    told = float(rollout["llm_judge"]["tone_pass"] and amounts_in(rollout["message"]) == paid)
    looked = read_first(calls, ground_truth["reads"])
    return min(1.0, 0.3 * acted + 0.25 * decided + 0.3 * looked + 0.05 * amount + 0.1 * told)
