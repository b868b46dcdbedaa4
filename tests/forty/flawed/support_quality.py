"""Support answers: the quality judge has read the handbook, the labels are checked here."""

from typing import Any


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    quality = float(rollout["llm_judge"]["quality_pass"])
    topic = float(rollout["topic"] == ground_truth["topic"])
    escalation = float(rollout["escalate"] == ground_truth["escalate"])
    return quality * (0.8 + 0.1 * topic + 0.1 * escalation) + 0.05 * topic * (1 - quality)
