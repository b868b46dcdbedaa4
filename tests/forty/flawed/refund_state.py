"""Refund desk by its end state: the order is as the policy wants it, and every action had its reasons."""

from typing import Any

from strop.grade.components import argument_accuracy, duplicate_writes, equal, extra_writes, verdict
from strop.grade.rubric import Component, Rubric, Scored

WRITES = ("issue_refund", "send_replacement", "open_case", "cancel_order")


def justified(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> Scored:
    """Each action comes after the reads that justify it, and the reads come once and in order."""
    wanted = [(c["name"], c["arguments"]) for c in ground_truth["reads"]]
    seen: list[tuple[str, Any]] = []
    for call in rollout["tool_calls"]:
        step = (call["name"], call["arguments"])
        if call["name"] in WRITES and seen != wanted:
            return Scored(0.0, f"{call['name']} came before the reads that justify it")
        if step in wanted:
            seen.append(step)
    return Scored(1.0) if seen == wanted[: len(seen)] else Scored(0.0, "order, then policy, once each")


rubric = Rubric(
    Component("no_other", extra_writes("actions", writes=WRITES), weight=0.0, gate=True),
    Component("once", duplicate_writes(writes=WRITES), weight=0.0, gate=True),
    Component("state", argument_accuracy("actions", names=WRITES, extra=True), weight=0.4),
    Component("justified", justified, weight=0.2),
    Component("decision", equal("decision", "decision"), weight=0.2),
    Component("amount", equal("amount", "amount"), weight=0.1),
    Component("tone", verdict("tone_pass"), weight=0.1),
)
