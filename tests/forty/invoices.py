"""Invoice extraction: everything that is asked for stands in the document; no tools."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from forty.world import Attempt, Kind, Simulated, World, plan, rollout, task
from strop.records import JsonObject, Rollout, Task

NAME = "invoices"
SYSTEM = (
    "Read the invoice and reply with JSON: vendor (the full legal name), invoice_date (YYYY-MM-DD), "
    "currency (three letters), tax and total (as 0.00, without signs or separators), line_items (a list "
    "of objects with description and amount, amounts as 0.00). Copy, do not guess."
)
VENDORS = (
    ("Nordwind Logistik", "GmbH"),
    ("Baker & Sons Tools", "Ltd"),
    ("Atelier Morel", "SARL"),
    ("Kranich Papier", "AG"),
    ("Blue Fjord Seafood", "AS"),
    ("Officina Rossi", "S.r.l."),
    ("Hallmann Elektro", "GmbH & Co. KG"),
    ("Verde Campo", "S.A."),
)
GOODS = (
    "Pallet transport Hamburg to Graz",
    "Stretch film, 20 rolls",
    "Forklift rental, two days",
    "Maintenance of conveyor",
    "Copper cable 50 m",
    "Packing tape, 36 pieces",
    "Night surcharge",
    "Storage, November",
    "Label printer",
    "Customs handling",
    "Safety gloves, 10 pairs",
    "Site inspection",
)
CURRENCIES = ("EUR", "EUR", "EUR", "GBP", "CHF")
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Invoice:
    """One invoice as it is."""

    name: str
    form: str
    day: date
    due: date
    currency: str
    rate: int
    lines: tuple[tuple[str, Decimal], ...]

    @property
    def net(self) -> Decimal:
        """The sum of the lines."""
        return sum((amount for _, amount in self.lines), Decimal(0))

    @property
    def tax(self) -> Decimal:
        """The tax on the sum, to the cent."""
        return (self.net * self.rate / 100).quantize(CENT)

    def fields(self) -> JsonObject:
        """Return the right answer."""
        return {
            "vendor": f"{self.name} {self.form}",
            "invoice_date": self.day.isoformat(),
            "currency": self.currency,
            "tax": str(self.tax),
            "total": str(self.net + self.tax),
            "line_items": [{"description": text, "amount": str(amount)} for text, amount in self.lines],
        }

    def text(self, number: int) -> str:
        """Return the document."""
        rows = "\n".join(f"{i}  {text:<36} {amount:>10}" for i, (text, amount) in enumerate(self.lines, 1))
        return (
            f"{self.name} {self.form}\nHafenstrasse {number + 3}, 20457 Hamburg\n\n"
            f"INVOICE 2026-{1100 + number}\nDate of invoice: {self.day}\nPayable by: {self.due}\n"
            f"Delivered: {self.day - timedelta(days=4)}\n\n{rows}\n\n"
            f"Net {self.net}\nTax {self.rate} % {self.tax}\nTotal {self.currency} {self.net + self.tax}\n"
        )


def build() -> Simulated:
    """Build the world: 64 invoices, seven attempts each."""
    rng = random.Random(20263)
    cases: list[tuple[Task, tuple[Rollout, ...]]] = []
    quality: dict[str, tuple[float, ...]] = {}
    for number in range(64):
        invoice = _invoice(rng)
        about = task(NAME, number, SYSTEM, invoice.text(number), (), invoice.fields())
        attempts = [_attempt(rng, invoice, kind) for kind in plan(rng)]
        cases.append((about, tuple(rollout(about, a) for a in attempts)))
        quality[about.task_id] = tuple(a.quality for a in attempts)
    world = World(
        name=NAME,
        extract=("vendor", "invoice_date", "currency", "tax", "total", "line_items"),
        cases=tuple(cases),
        judges={},
        judge_fields={},
        reads=frozenset(),
        writes=frozenset(),
    )
    return Simulated(world, quality)


def _invoice(rng: random.Random) -> Invoice:
    name, form = rng.choice(VENDORS)
    day = date(2026, 9, 1) + timedelta(days=rng.randrange(75))
    goods = rng.sample(GOODS, rng.choice((2, 3, 3, 4)))
    lines = tuple((text, Decimal(rng.randrange(900, 90000, 5)) / 100) for text in goods)
    return Invoice(
        name=name,
        form=form,
        day=day,
        due=day + timedelta(days=rng.choice((14, 30))),
        currency=rng.choice(CURRENCIES),
        rate=rng.choice((7, 19, 20)),
        lines=tuple((text, amount.quantize(CENT)) for text, amount in lines),
    )


def _attempt(rng: random.Random, invoice: Invoice, kind: Kind) -> Attempt:
    answer = invoice.fields()
    if kind == "good":
        return Attempt(1.0, (), answer)
    if kind == "slip":
        fault = rng.choice(("short name", "shortened line", "order"))
        if fault == "short name":
            return Attempt(0.8, (), {**answer, "vendor": invoice.name})
        items = [dict(item) for item in answer["line_items"]]
        if fault == "order":
            return Attempt(0.95, (), {**answer, "line_items": items[::-1]})
        items[0]["description"] = items[0]["description"].split(",")[0].split(" to ")[0].lower()
        return Attempt(0.85, (), {**answer, "line_items": items})
    return _wrong(rng, invoice, answer)


def _wrong(rng: random.Random, invoice: Invoice, answer: JsonObject) -> Attempt:
    fault = rng.choice(("net", "misread", "misread", "missing line", "format", "due date", "several"))
    total = invoice.net + invoice.tax
    misread = str(total + rng.choice((Decimal("0.90"), Decimal(-90), Decimal(30), Decimal("0.05"))))
    if fault == "net":
        return Attempt(0.45, (), {**answer, "total": str(invoice.net), "tax": "0.00"})
    if fault == "misread":
        return Attempt(0.4, (), {**answer, "total": misread})
    if fault == "missing line":
        return Attempt(0.35, (), {**answer, "line_items": answer["line_items"][:-1], "total": misread})
    if fault == "format":
        date_text, total_text = f"{invoice.day:%d.%m.%Y}", f"{total:,} {invoice.currency}"
        return Attempt(0.3, (), {**answer, "invoice_date": date_text, "total": total_text})
    if fault == "due date":
        return Attempt(0.5, (), {**answer, "invoice_date": invoice.due.isoformat()})
    several: JsonObject = {"invoice_date": f"{invoice.due:%d.%m.%Y}", "total": misread, "tax": "0.00"}
    several["line_items"] = answer["line_items"][:1]
    return Attempt(0.1, (), {**answer, **several, "vendor": invoice.name})
