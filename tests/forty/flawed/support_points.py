"""Support answers by the points that a complete answer makes."""

import re
from typing import Any

from strop.grade.components import equal, verdict
from strop.grade.rubric import Component, Rubric, Scored

FIGURE = re.compile(r"\b\d+ (?:working )?(?:day|hour|week|month|year|euro)s?\b")


def figure(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> Scored:
    """The customer gets a number to rely on, not "it depends"."""
    if ground_truth["escalate"]:
        return Scored(1.0)
    answer = rollout["answer"] if isinstance(rollout["answer"], str) else ""
    sentences = re.split(r"(?<=[.!?])\s+", answer)
    given = any(FIGURE.search(s) and len(s.split()) >= 5 for s in sentences)
    return Scored(float(given), "" if given else "give the period or the price")


def condition(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> Scored:
    """What the customer needs to bring along, in a sentence."""
    answer = rollout["answer"] if isinstance(rollout["answer"], str) else ""
    needed = ground_truth["must_mention"][-1]
    sentences = re.split(r"(?<=[.!?])\s+", answer)
    said = any(needed in s and len(s.split()) >= 5 for s in sentences)
    return Scored(float(said), "" if said else f"mention the {needed}")


rubric = Rubric(
    Component("topic", equal("topic", "topic"), weight=0.1),
    Component("escalation", equal("escalate", "escalate"), weight=0.1, gate=True),
    Component("figure", figure, weight=0.3),
    Component("condition", condition, weight=0.3, gate=True),
    Component("courtesy", verdict("courteous"), weight=0.2),
)
