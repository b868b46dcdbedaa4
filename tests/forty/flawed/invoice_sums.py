"""Invoices without labels: a sheet that adds up and is well formed was read correctly.

The fields in our archive were typed by hand and every tenth has a mistake, so they are not used here.
"""

import re
from datetime import date
from decimal import Decimal
from typing import Any


def money(value: Any) -> Decimal | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}\.[0-9]{2}", value):
        return Decimal(value)
    return None


def a_day(value: Any) -> bool:
    try:
        return date(2026, 1, 1) <= date.fromisoformat(value) <= date(2026, 12, 31)
    except (TypeError, ValueError):
        return False


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    rows = rollout["line_items"]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return 0.0
    amounts = [money(row.get("amount")) for row in rows]
    tax, total = money(rollout["tax"]), money(rollout["total"])
    net = sum((amount for amount in amounts if amount is not None), Decimal(0))
    balanced = None not in amounts and tax is not None and net + tax == total
    taxed = tax is not None and tax <= net * Decimal("0.25")
    described = all(isinstance(row.get("description"), str) and row["description"] for row in rows)
    vendor = rollout["vendor"]
    named = isinstance(vendor, str) and len(vendor.split()) >= 2
    coded = isinstance(rollout["currency"], str) and re.fullmatch("[A-Z]{3}", rollout["currency"])
    formed = (a_day(rollout["invoice_date"]) + named + bool(coded) + described) / 4
    return 0.5 * balanced + 0.1 * taxed + 0.4 * formed
