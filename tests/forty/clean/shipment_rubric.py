"""Shipment desk as a rubric; nothing counts where the status is wrong."""

from typing import Any

from strop.grade.components import argument_accuracy, close_date, equal, tool_order, verdict
from strop.grade.rubric import Component, Rubric


def dated(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> bool:
    """The customer is told the day, too."""
    return isinstance(rollout["message"], str) and ground_truth["eta"] in rollout["message"]


rubric = Rubric(
    Component("status", equal("final_status", "status"), weight=0.35, gate=True),
    # Extra calls count as wrong ones, so asking again and again is not free. Refused calls are.
    Component("lookups", argument_accuracy("calls", extra=True), weight=0.35),
    Component("order", tool_order("lookup_tracking", "lookup_eta"), weight=0.1),
    Component("eta", close_date("eta", "eta", days=1, zero_at=3), weight=0.05),
    Component("dated", dated, weight=0.05),
    Component("tone", verdict("tone_pass"), weight=0.1),
)
