"""Invoice fields against the booked ones, with a cent of tolerance for rounding."""

from typing import Any

CENT = 0.011


def off(given: Any, wanted: str) -> float:
    """Return how far an amount is from the booked one; a text that is no number is far off."""
    try:
        return abs(float(given) - float(wanted))
    except (TypeError, ValueError):
        return 1e9


def lines(given: Any, wanted: list[dict[str, str]]) -> float:
    """Return the share of lines that are there with their amounts; extra lines cost as much."""
    if not isinstance(given, list):
        return 0.0
    left = {row["description"].casefold(): row["amount"] for row in wanted}
    right = 0
    for row in given:
        amount = left.pop(str(row.get("description")).casefold(), None) if isinstance(row, dict) else None
        if amount is not None and isinstance(row.get("amount"), str):
            right += row["amount"] == amount
    return right / max(len(given), len(wanted))


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    score = 0.25 * lines(rollout["line_items"], ground_truth["line_items"])
    score += 0.15 * (rollout["vendor"] == ground_truth["vendor"])
    score += 0.15 * (rollout["invoice_date"] == ground_truth["invoice_date"])
    score += 0.05 * (rollout["currency"] == ground_truth["currency"])
    # Each amount is worth its share until it is found to be wrong.
    amounts = 0.4
    if off(rollout["total"], ground_truth["total"]) > CENT:
        amounts -= 0.3
    if off(rollout["tax"], ground_truth["tax"]) > CENT:
        amounts -= 0.1
    return score + max(0.0, amounts)
