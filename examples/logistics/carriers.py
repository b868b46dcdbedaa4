"""The carriers: their tracking numbers and the words they use for what happens to a shipment.

An *informative* wording sets the shipment's status; a *neutral* scan keeps it. So the status is the
class of the last informative event. `unseen` wordings come into use on the last fifth of the days.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Final

STATUSES: Final = ("delivered", "in_transit", "delayed", "exception", "returned", "unknown")


@dataclass(frozen=True)
class Carrier:
    """One carrier: `share` of all shipments, wordings by status, neutral scans, late wordings by status."""

    name: str
    share: float
    wordings: dict[str, tuple[str, ...]]
    neutral: tuple[str, ...]
    unseen: dict[str, str] = field(default_factory=dict[str, str])


CARRIERS: Final = (
    Carrier(
        "DHL",
        0.30,
        {
            "in_transit": ("Abgeholt", "Zoll freigegeben"),
            "delayed": ("Transport verspätet", "Einen Tag Verzug"),
            "exception": ("Adresse falsch", "Ware defekt"),
            "returned": ("Annahme verweigert", "Zurück an Absender"),
            "delivered": ("Zugestellt", "Beim Nachbarn abgegeben"),
            "unknown": ("Daten angekündigt", "Scans unklar"),
        },
        ("Im Paketzentrum", "Weitergeleitet", "Sortiert"),
        {"delivered": "In Briefkasten zugestellt"},
    ),
    Carrier(
        "DPD",
        0.19,
        {
            "in_transit": ("Paket übernommen", "Wieder im Plan"),
            "delayed": ("Tour verspätet", "Termin verschoben"),
            "exception": ("Adresse unklar", "Paket defekt"),
            "returned": ("Retoure gestartet", "Geht zurück"),
            "delivered": ("Paket zugestellt", "An Empfang abgegeben"),
            "unknown": ("Auftrag angelegt", "Scans im Konflikt"),
        },
        ("Im Depot", "Depot verlassen", "Im Hub sortiert"),
        {"delayed": "Tour stark verspätet"},
    ),
    Carrier(
        "GLS",
        0.12,
        {
            "in_transit": ("Vom Kunden abgeholt", "Zoll erledigt"),
            "delayed": ("Stau, kommt später", "Fahrt verschoben"),
            "exception": ("Kein Name am Haus", "Ware fehlt"),
            "returned": ("Retoure an Absender", "Wird retourniert"),
            "delivered": ("Zustellung erfolgt", "Im Shop abgegeben"),
            "unknown": ("Nur Daten erhalten", "Widerspruch in Scans"),
        },
        ("Eingang Depot", "Ausgang Depot", "Umgeladen"),
        {"neutral": "Im Depot umgeladen"},
    ),
    Carrier(
        "UPS",
        0.22,
        {
            "in_transit": ("Picked up", "Customs released"),
            "delayed": ("Delayed by weather", "Held up at border"),
            "exception": ("Wrong address", "Package damaged"),
            "returned": ("Returning to sender", "Refused, sent back"),
            "delivered": ("Delivered", "Left at front door"),
            "unknown": ("Label created", "Conflicting scans"),
        },
        ("Arrived at hub", "Departed", "Sorted"),
        {"returned": "Sent back to sender"},
    ),
    Carrier(
        "FedEx",
        0.17,
        {
            "in_transit": ("Shipment collected", "Back on schedule"),
            "delayed": ("Delivery postponed", "Running late"),
            "exception": ("Recipient not found", "Contents missing"),
            "returned": ("Return to shipper", "On its way back"),
            "delivered": ("Delivery completed", "Signed for"),
            "unknown": ("Shipment data received", "Scan data unclear"),
        },
        ("At depot", "Left depot", "Through the hub"),
        {"exception": "Damaged on the road"},
    ),
)

BY_NAME: Final = {carrier.name: carrier for carrier in CARRIERS}

# Every informative wording's status, by (carrier, wording): what a careful reader knows.
MEANING: Final = {
    **{(c.name, text): s for c in CARRIERS for s, texts in c.wordings.items() for text in texts},
    **{(c.name, text): s for c in CARRIERS for s, text in c.unseen.items() if s != "neutral"},
}

UNSEEN_EVENTS: Final = tuple(text for carrier in CARRIERS for text in carrier.unseen.values())

# 20 digits (SSCC), JJD + 18, 1Z + 16, 14 digits, 12 digits, 11 digits: the longest first.
TRACKING: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:00340[0-9]{15}|JJD[0-9]{18}|1Z[0-9A-Z]{16}|0[0-9]{13}|[0-9]{12}|[0-9]{11})(?![0-9A-Za-z])"
)


def find_tracking(text: str) -> str | None:
    """Return the first tracking number in a text, as a string with its leading zeros."""
    found = TRACKING.search(text)
    return found.group(0) if found else None


def tracking_number(carrier: str, rng: random.Random) -> str:
    """Make a tracking number in the carrier's own format."""
    match carrier:
        case "DHL" if rng.random() < 0.7:
            body = "00340434" + _digits(rng, 11)
            return body + _sscc_check(body)
        case "DHL":
            return "JJD00" + _digits(rng, 16)
        case "UPS":
            body = "".join(rng.choice("0123456789AEFWXY") for _ in range(6)) + _digits(rng, 9)
            return "1Z" + body + _ups_check(body)
        case "DPD":
            return "01" + _digits(rng, 12)
        case "GLS":
            return str(rng.randint(1, 9)) + _digits(rng, 10)
        case _:
            return str(rng.randint(1, 9)) + _digits(rng, 11)


def _digits(rng: random.Random, n: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(n))


def _sscc_check(body: str) -> str:
    """GS1 modulo 10: weights 3 and 1 from the right."""
    total = sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body)))
    return str(-total % 10)


def _ups_check(body: str) -> str:
    """UPS modulo 10: letters count as (code - 63) mod 10, each second character twice."""
    values = [int(c) if c.isdigit() else (ord(c) - 63) % 10 for c in body]
    return str(-sum(v * (2 if i % 2 else 1) for i, v in enumerate(values)) % 10)
