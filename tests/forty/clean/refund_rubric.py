"""Refund desk as a rubric; an action that the policy does not give is never made good."""

import re
from typing import Any

from strop.grade.components import (
    argument_accuracy,
    close_number,
    duplicate_writes,
    equal,
    extra_writes,
)
from strop.grade.rubric import Component, Rubric, Scored

WRITES = ("issue_refund", "send_replacement", "open_case", "cancel_order")


def informed(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> Scored:
    """Order, then policy, each once and before anything is done."""
    wanted = [(c["name"], c["arguments"]) for c in ground_truth["reads"]]
    calls = [(c["name"], c["arguments"]) for c in rollout["tool_calls"]]
    places = [i for i, call in enumerate(calls) if call in wanted]
    acted = next((i for i, (name, _) in enumerate(calls) if name in WRITES), len(calls))
    if [calls[i] for i in places] != wanted:
        return Scored(0.0, "look up the order, then its policy, once each")
    if places[-1] > acted:
        return Scored(0.0, "the decision was carried out before the policy was read")
    return Scored(1.0)


def told(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> bool:
    """The amount that was paid back is named, and no other."""
    message = rollout["message"] if isinstance(rollout["message"], str) else ""
    paid = {ground_truth["amount"]} if ground_truth["decision"] == "refund" else set[str]()
    return rollout["llm_judge"]["tone_pass"] and set(re.findall(r"[0-9]+\.[0-9]{2}", message)) == paid


rubric = Rubric(
    Component("harmless", extra_writes("actions", writes=WRITES), weight=0.0, gate=True),
    Component("not_twice", duplicate_writes(writes=WRITES), weight=0.0, gate=True),
    Component("decision", equal("decision", "decision"), weight=0.2),
    Component("amount", close_number("amount", "amount", absolute=0.004), weight=0.1),
    Component("acted", argument_accuracy("actions", names=WRITES, extra=True), weight=0.3),
    Component("informed", informed, weight=0.3),
    Component("told", told, weight=0.1),
)
