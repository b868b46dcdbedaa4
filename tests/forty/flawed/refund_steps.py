"""Refund desk, step by step: the steps of the plan that were taken, and no others."""

import json
from collections import Counter
from typing import Any

WRITES = ("issue_refund", "send_replacement", "open_case", "cancel_order")


def step(call: dict[str, Any]) -> str:
    return f"{call['name']} {json.dumps(call['arguments'], sort_keys=True)}"


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    plan = Counter(step(call) for call in ground_truth["reads"] + ground_truth["actions"])
    made = Counter(step(call) for call in rollout["tool_calls"])
    missing, beside = plan - made, made - plan
    if any(name.startswith(WRITES) for name in beside):
        return 0.0
    # One call beside the plan is a failed try; from the second on it is wandering about.
    steps = 1 - missing.total() / plan.total() - 0.5 * max(0, beside.total() - 1)
    repeated = any(name in plan for name in beside)
    decided = float(rollout["decision"] == ground_truth["decision"])
    amount = float(rollout["amount"] == ground_truth["amount"])
    tone = float(rollout["llm_judge"]["tone_pass"])
    walked = 0.0 if repeated else max(0.0, steps)
    return walked * (0.5 + 0.35 * decided + 0.05 * amount + 0.1 * tone)
