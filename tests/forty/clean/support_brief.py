"""Support answers on the chat widget, where more than sixty words make people scroll."""

from typing import Any


def brevity(answer: Any) -> float:
    """Full up to 60 words, falling to 0 at 120: being short is no merit below that."""
    words = len(answer.split()) if isinstance(answer, str) else 0
    return min(1.0, max(0.0, 2 - words / 60)) if words else 0.0


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    answer = rollout["answer"]
    # The judge reads the sentences; the value itself is checked here as well.
    stated = isinstance(answer, str) and ground_truth["value"] in answer
    facts = float(rollout["llm_judge"]["facts_right"] and stated)
    label = float(rollout["topic"] == ground_truth["topic"])
    manners = float(rollout["llm_judge"]["courteous"])
    return facts * (0.65 + 0.1 * brevity(answer) + 0.15 * manners) + 0.1 * label
