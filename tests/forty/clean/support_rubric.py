"""Support answers: the facts are the gate, the manners and the labels come after."""

from strop.grade.components import equal, verdict
from strop.grade.rubric import Component, Rubric

rubric = Rubric(
    Component("facts", verdict("facts_right"), weight=0.6, gate=True),
    Component("courtesy", verdict("courteous"), weight=0.2),
    Component("topic", equal("topic", "topic"), weight=0.1),
    Component("escalation", equal("escalate", "escalate"), weight=0.1),
)
