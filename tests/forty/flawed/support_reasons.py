"""Support answers, read as a whole by two judges: is the reason sound, and is anything left open?"""

from strop.grade.components import verdict
from strop.grade.rubric import Component, Rubric

rubric = Rubric(
    Component("sound", verdict("reasoned_pass"), weight=0.6, gate=True),
    Component("complete", verdict("complete_pass"), weight=0.4),
)
