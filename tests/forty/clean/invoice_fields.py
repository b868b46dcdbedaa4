"""Invoice fields against the booked ones. An invoice with a wrong total must not be paid."""

import re
from collections import Counter
from typing import Any


def money(value: Any) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}\.[0-9]{2}", value) else None


def plain(text: Any) -> str:
    return " ".join(text.split()).casefold() if isinstance(text, str) else ""


def vendor(given: Any, wanted: str) -> float:
    if plain(given) == plain(wanted):
        return 1.0
    # The trade name without "GmbH" or "Ltd" is what the printed head often says.
    return (
        0.5
        if plain(given) == plain(re.sub(r" (?:GmbH.*|Ltd|SARL|AG|AS|S\.r\.l\.|S\.A\.)$", "", wanted))
        else 0.0
    )


def lines(given: Any, wanted: list[dict[str, str]]) -> float:
    """F1 of the lines, as a multiset of description and amount."""
    if not isinstance(given, list):
        return 0.0
    rows = [row for row in given if isinstance(row, dict)]
    found = Counter((plain(row.get("description")), money(row.get("amount")) or "") for row in rows)
    right = Counter((plain(row["description"]), row["amount"]) for row in wanted)
    return 2 * (found & right).total() / (len(given) + len(wanted))


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    parts = (
        (0.3, 1.0),
        (0.2, float(rollout["invoice_date"] == ground_truth["invoice_date"])),
        (0.15, vendor(rollout["vendor"], ground_truth["vendor"])),
        (0.2, lines(rollout["line_items"], ground_truth["line_items"])),
        (0.1, float(money(rollout["tax"]) == ground_truth["tax"])),
        (0.05, float(rollout["currency"] == ground_truth["currency"])),
    )
    payable = money(rollout["total"]) == ground_truth["total"]
    score = sum(weight * value for weight, value in parts)
    return min(1.0, score) if payable else 0.4 * (score - 0.3)
