"""Latent journeys of shipments: what really happens, and the carrier events that tell of it.

A journey is a row of stages, each with a status, its opening informative event and neutral scans
after it. Times are seconds since the simulation's first midnight.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from logistics.carriers import Carrier

DAY: Final = 86_400.0
LATE_FROM: Final = 0.85  # share of the simulated days after which the unseen wordings are in use

# How shipments fare: (weight, statuses in order).
_COURSES: Final[tuple[tuple[float, tuple[str, ...]], ...]] = (
    (10, ("unknown", "in_transit", "delivered")),
    (12, ("in_transit", "delayed", "delivered")),
    (10, ("in_transit", "delayed", "in_transit", "delivered")),
    (9, ("in_transit", "exception", "in_transit", "delivered")),
    (17, ("in_transit", "exception", "returned")),
    (6, ("in_transit", "unknown", "delivered")),
    (9, ("unknown", "in_transit", "delayed", "delivered")),
    (6, ("in_transit", "exception", "delayed", "delivered")),
    (9, ("in_transit", "delayed", "exception", "returned")),
    (9, ("in_transit", "unknown", "delayed", "delivered")),
    (8, ("in_transit", "returned")),
    (8, ("unknown", "delayed", "in_transit", "delivered")),
)

# How eagerly customers ask while a shipment is in each status (shapes the class shares).
ASKING: Final = {
    "delivered": 0.72,
    "in_transit": 0.62,
    "delayed": 1.3,
    "exception": 1.75,
    "returned": 0.98,
    "unknown": 1.4,
}

# How many neutral scans follow the informative event: weights for 0, 1, 2.
_SCANS: Final = {
    "delivered": (1.0, 0.0, 0.0),
    "in_transit": (0.5, 0.4, 0.1),
    "delayed": (0.3, 0.6, 0.1),
    "exception": (0.3, 0.6, 0.1),
    "returned": (0.3, 0.6, 0.1),
    "unknown": (0.4, 0.6, 0.0),
}

_CITIES: Final = (
    "Ulm",
    "Kiel",
    "Köln",
    "Bonn",
    "Berlin",
    "Hamburg",
    "Essen",
    "Wien",
    "Paris",
    "London",
    "Leeds",
)


@dataclass(frozen=True)
class Event:
    """One carrier event; `informative` is latent and shown to nobody."""

    at: float
    city: str
    text: str
    status: str | None

    @property
    def informative(self) -> bool:
        """Whether the event sets the status."""
        return self.status is not None


@dataclass(frozen=True)
class Moment:
    """The time between two events: when a customer may ask, and what is true then."""

    start: float
    end: float
    status: str
    eta: float | None
    scans: int


@dataclass(frozen=True)
class Journey:
    """One shipment's events, and the moments between them."""

    events: tuple[Event, ...]
    moments: tuple[Moment, ...]


def journey(rng: random.Random, carrier: Carrier, days: int) -> Journey:
    """Let a shipment travel, starting anywhere from before the first day to the end of the last.

    days: length of the simulation. Unseen wordings are used only after LATE_FROM of it.
    """
    course = rng.choices([c for _, c in _COURSES], [w for w, _ in _COURSES])[0]
    at = rng.uniform(-5.0, days + 1.0) * DAY
    planned = at + rng.uniform(4.0, 7.0) * DAY
    events: list[Event] = []
    moments: list[Moment] = []
    for status in course:
        if status == "delayed":
            planned = max(planned, at) + rng.choice((1, 2)) * DAY
        eta = _eta(rng, status, max(planned, at + DAY))
        scans = rng.choices((0, 1, 2), _SCANS[status])[0]
        late = at > LATE_FROM * days * DAY
        events.append(Event(at, rng.choice(_CITIES), informative_wording(rng, carrier, status, late), status))
        for i in range(scans + 1):
            # Asked about little before the first scan, and most after the last one.
            end = at + rng.uniform(0.25, 0.6 if i < scans else 1.3) * DAY
            moments.append(Moment(at, end, status, eta, i))
            at = end
            if i < scans:
                late = at > LATE_FROM * days * DAY
                events.append(Event(at, rng.choice(_CITIES), _neutral_wording(rng, carrier, late), None))
    last = moments[-1]
    moments[-1] = Moment(last.start, last.end + DAY, last.status, last.eta, last.scans)
    return Journey(tuple(events), tuple(moments))


def informative_wording(rng: random.Random, carrier: Carrier, status: str, late: bool) -> str:
    """Return how the carrier words a change to `status`; late: the unseen wordings are in use."""
    if late and status in carrier.unseen and rng.random() < 0.8:
        return carrier.unseen[status]
    first, second = carrier.wordings[status]
    return first if rng.random() < 0.6 else second


def _neutral_wording(rng: random.Random, carrier: Carrier, late: bool) -> str:
    if late and "neutral" in carrier.unseen and rng.random() < 0.5:
        return carrier.unseen["neutral"]
    return rng.choice(carrier.neutral)


def _eta(rng: random.Random, status: str, planned: float) -> float | None:
    """Return when the shipment is expected; None for shipments that nobody expects any more."""
    if status in ("in_transit", "delayed"):
        return planned
    if status == "exception" and rng.random() < 0.5:
        return planned + DAY
    return None
