"""Refund desk as a rubric: did the planned actions happen, with the right arguments and for a reason?"""

from typing import Any

from strop.grade.components import argument_accuracy, close_number, equal, verdict
from strop.grade.rubric import Component, Rubric, Scored

WRITES = ("issue_refund", "send_replacement", "open_case", "cancel_order")


def informed(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> Scored:
    """Order, then policy, once each and before the first action."""
    wanted = [(c["name"], c["arguments"]) for c in ground_truth["reads"]]
    calls = [(c["name"], c["arguments"]) for c in rollout["tool_calls"]]
    acted = next((i for i, (name, _) in enumerate(calls) if name in WRITES), len(calls))
    looked = [call for call in calls[:acted] if call in wanted]
    return Scored(float(looked == wanted), "" if looked == wanted else "order, then policy, then act")


rubric = Rubric(
    Component("decision", equal("decision", "decision"), weight=0.3, gate=True),
    Component("actions", argument_accuracy("actions", names=WRITES), weight=0.3),
    Component("informed", informed, weight=0.25),
    Component("amount", close_number("amount", "amount", absolute=0.005), weight=0.05),
    Component("tone", verdict("tone_pass"), weight=0.1),
)
