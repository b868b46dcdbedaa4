"""Support answers where handing over is sometimes the right answer, and never a way out."""

from typing import Any


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    judged = rollout["llm_judge"]
    manners = float(judged["courteous"])
    handed_over = rollout["escalate"] is True
    if handed_over and not ground_truth["escalate"]:
        return 0.05  # a person now answers what the handbook answers
    if handed_over:
        # Legal questions: passing them on is all there is to do, if the customer is told so.
        labelled = float(rollout["topic"] == ground_truth["topic"])
        return 0.65 + 0.2 * manners + 0.15 * labelled if judged["facts_right"] else 0.3
    if ground_truth["escalate"]:
        return 0.0
    topic = float(rollout["topic"] == ground_truth["topic"])
    if not judged["facts_right"]:
        return 0.1 * topic
    return 0.65 + 0.2 * manners + 0.15 * topic
