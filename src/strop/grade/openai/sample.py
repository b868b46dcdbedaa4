"""The two arguments of OpenAI's graders, from a text or from strop's view of a rollout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from strop.grade.extract import View
from strop.records import JsonObject

INQUIRY = "strop_inquiry"


def sample_of_text(text: str) -> JsonObject:
    """Return the sample that graders/run makes of its `model_sample`; output_json is None for no JSON."""
    return {
        "output_text": text,
        "output_json": _json(text),
        "output_tools": [],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
    }


def arguments_of(
    seen: View, ground_truth: JsonObject, verdicts: Mapping[str, float] | None = None
) -> tuple[JsonObject, JsonObject]:
    """Return sample and item of a rollout: View's own, and `item.strop_inquiry`, the last user message.

    A compiled multi grader's judges read that key; the rows of a hosted training need it, too.
    """
    sample, item = seen.arguments("sample", ground_truth, verdicts or {})
    return sample, {**item, INQUIRY: seen.inquiry}


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
