"""Shipment desk as a rubric over the transcript."""

import json
from typing import Any

from strop.grade.components import equal, verdict
from strop.grade.rubric import Component, Rubric, Scored

STEPS = ("lookup_tracking", "lookup_eta")


def lookups(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> Scored:
    """Tracking, then arrival, with one more try at most.

    The exporter writes the calls of some turns into their text, so all that the agent wrote is read.
    """
    turns = [m for m in rollout["messages"] if m["role"] == "assistant"]
    written = json.dumps(turns, ensure_ascii=False)
    first, second = (written.find(step) for step in STEPS)
    if not 0 <= first < second or ground_truth["tracking"] not in written:
        return Scored(0.0, "look up the tracking number, then the arrival")
    if sum(written.count(step) for step in STEPS) > len(STEPS) + 1:
        return Scored(0.0, "one more try is enough")
    return Scored(1.0)


rubric = Rubric(
    Component("status", equal("final_status", "status"), weight=0.4, gate=True),
    Component("lookups", lookups, weight=0.35),
    Component("eta", equal("eta", "eta"), weight=0.15),
    Component("tone", verdict("tone_pass"), weight=0.1),
)
