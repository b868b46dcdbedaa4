"""Invoices as the auditor checks them: each field against the books, and whether the sheet adds up."""

from decimal import Decimal, InvalidOperation
from typing import Any

FIELDS = {"vendor": 0.2, "invoice_date": 0.2, "currency": 0.05, "tax": 0.15, "total": 0.4}


def adds_up(rollout: dict[str, Any]) -> bool:
    net = sum((Decimal(row["amount"]) for row in rollout["line_items"]), Decimal(0))
    return net + Decimal(rollout["tax"]) == Decimal(rollout["total"])


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    try:
        balanced = adds_up(rollout)
    except (InvalidOperation, TypeError, KeyError, ValueError):
        return 0.0  # no numbers, no audit
    score = sum(weight * (rollout[name] == ground_truth[name]) for name, weight in FIELDS.items())
    # A sheet that does not add up was read wrongly somewhere, whatever else is right. One that does
    # may be of another invoice, so adding up earns nothing by itself.
    doubt = 1.0 if balanced else 0.5
    if len(rollout["line_items"]) != len(ground_truth["line_items"]):
        doubt *= 0.5
    return doubt * score
