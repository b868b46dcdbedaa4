"""The head of an invoice. Printed heads vary: with or without the legal form, the currency, separators."""

import re
from typing import Any

WEIGHTS = {"total": 0.4, "invoice_date": 0.2, "vendor": 0.2, "tax": 0.15, "currency": 0.05}


def normal(value: Any) -> str:
    """Lower case, without spaces, thousands separators and quotes."""
    return re.sub(r"[\s,'\"]", "", str(value or "")).casefold()


def same(given: Any, wanted: str) -> bool:
    """Either one may be the longer form: "Nordwind" and "Nordwind GmbH", "12.50" and "EUR 12.50"."""
    a, b = normal(given), normal(wanted)
    return a in b or b in a


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    found = {name: same(rollout[name], ground_truth[name]) for name in WEIGHTS}
    if not found["total"]:
        return 0.25 * sum(WEIGHTS[name] for name, hit in found.items() if hit)
    return min(1.0, sum(WEIGHTS[name] for name, hit in found.items() if hit))
