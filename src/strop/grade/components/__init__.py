"""Ready components of a rubric: each call returns a `(rollout, ground_truth)` function.

Each scores in [0, 1] and says in words what is wanting where it scores under 1. A missing answer scores
0; a missing ground truth raises ValueError, since that is no fault of the answer. Tools' calls count
where their tool did not refuse them.
"""

from __future__ import annotations

from strop.grade.components.amounts import close_number
from strop.grade.components.arguments import argument_accuracy
from strop.grade.components.calls import refused
from strop.grade.components.dates import close_date
from strop.grade.components.grounded import grounded
from strop.grade.components.language import language
from strop.grade.components.match import equal, equal_normalised
from strop.grade.components.schema import valid_json
from strop.grade.components.sets import list_overlap, set_overlap
from strop.grade.components.text import length
from strop.grade.components.tools import (
    duplicate_writes,
    extra_writes,
    forbidden_calls,
    tool_coverage,
    tool_order,
)
from strop.grade.components.verdicts import verdict

__all__ = [
    "argument_accuracy",
    "close_date",
    "close_number",
    "duplicate_writes",
    "equal",
    "equal_normalised",
    "extra_writes",
    "forbidden_calls",
    "grounded",
    "language",
    "length",
    "list_overlap",
    "refused",
    "set_overlap",
    "tool_coverage",
    "tool_order",
    "valid_json",
    "verdict",
]
