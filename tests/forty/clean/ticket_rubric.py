"""Ticket routing as a rubric: what route_ticket was told counts, not what the answer says about it."""

from typing import Any

from strop.grade.components import argument_accuracy, equal, forbidden_calls, verdict
from strop.grade.rubric import Component, Rubric, Scored

LOOKUPS = ("lookup_account", "lookup_outages")


def routed_once(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> Scored:
    """Routing moves the ticket: once, and after the lookups."""
    names = [call["name"] for call in rollout["tool_calls"]]
    if names.count("route_ticket") != 1:
        return Scored(0.0, f"route_ticket was called {names.count('route_ticket')} times, not once")
    if any(name in LOOKUPS for name in names[names.index("route_ticket") :]):
        return Scored(0.0, "the ticket was routed before it was looked up")
    return Scored(1.0)


rubric = Rubric(
    Component("kept_open", forbidden_calls("close_ticket"), weight=0.0, gate=True),
    Component("routed_once", routed_once, weight=0.0, gate=True),
    Component("queue", equal("queue", "queue"), weight=0.1, gate=True),
    Component("priority", equal("priority", "priority"), weight=0.05),
    Component("routing", argument_accuracy("routing", names=("route_ticket",), extra=True), weight=0.5),
    Component("lookups", argument_accuracy("lookups", names=LOOKUPS, extra=True), weight=0.3),
    Component("summary", verdict("summary_ok"), weight=0.05),
)
