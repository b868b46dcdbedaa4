"""Support answers: right, and explained with care. People rated short answers as brusque."""

from typing import Any


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    judged = rollout["llm_judge"]
    facts = float(judged["facts_right"])
    care = float(judged["thorough_pass"])
    topic = float(rollout["topic"] == ground_truth["topic"])
    return 0.4 * facts + 0.5 * care + 0.1 * topic
