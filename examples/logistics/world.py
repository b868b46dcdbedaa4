"""The simulated company: shipments, who asks about them and when, and the truth at that moment.

Everything follows from (days, inquiries, seed). Nothing here is read by the agent or its tools: they
see what `database.save` writes into the shipments, events and etas tables.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from logistics import carriers, inquiries, people
from logistics.journeys import ASKING, DAY, LATE_FROM, Journey, Moment, journey

FIRST_MIDNIGHT: Final = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
PER_SHIPMENT: Final = 7
ARRIVED_SHARE: Final = 0.23
COLLEAGUE_SHARE: Final = 0.04
OFFICE_HOURS: Final = (6, 20)


@dataclass(frozen=True)
class Shipment:
    """One shipment with its latent journey."""

    tracking: str
    carrier: str
    customer_id: str
    recipient: people.Person
    journey: Journey


@dataclass(frozen=True)
class Inquiry:
    """One inquiry ticket. `status` and `eta` are the latent truth when it was asked.

    defect: how the export of its run breaks ("" for almost all); copies: how often it is exported;
    feedback: None, or a number in [0, 1) that decides a thumb together with the answer's correctness.
    """

    ticket: str
    at: float
    day: int
    customer_id: str
    person: people.Person
    tracking: str
    text: str
    kind: inquiries.Kind
    question: str
    status: str
    eta: float | None
    known_at: float
    colleague: str | None
    unseen_event: bool
    unseen_question: bool
    defect: str = ""
    copies: int = 1
    feedback: float | None = None


@dataclass(frozen=True)
class World:
    """All of the simulation. Inquiries are in order of time; those of day `days` + 1 come after it."""

    days: int
    customers: tuple[people.Customer, ...]
    shipments: tuple[Shipment, ...]
    inquiries: tuple[Inquiry, ...]


def date(at: float | None) -> str | None:
    """Return a time of the simulation as the tools write it: MM-DD (UTC)."""
    return None if at is None else datetime.fromtimestamp(FIRST_MIDNIGHT + at, UTC).strftime("%m-%d")


def build(days: int = 14, number: int = 2400, seed: int = 7) -> World:
    """Simulate `days` days with exactly `number` inquiries, and one more day after them.

    Raises ValueError where there are too few inquiries for the customers to ask more than once.
    """
    if number < 2 * people.CUSTOMERS or days < 3:
        raise ValueError(f"at least {2 * people.CUSTOMERS} inquiries and 3 days, not {number} and {days}")
    rng = random.Random(f"logistics {seed}")
    customers = people.customers(rng)
    shipments: list[Shipment] = []
    asked: list[Inquiry] = []
    used: set[str] = set()
    for customer, quota in zip(customers, _quotas([c.share for c in customers], number), strict=True):
        made = 0
        while made < quota:
            shipment = _shipment(rng, customer, days, used)
            tickets = _ask(rng, customer, shipment, days, max(2, quota - made))
            if tickets:
                shipments.append(shipment)
                asked += tickets
                made += sum(t.day <= days for t in tickets)
    asked = _trim(rng, sorted(asked, key=lambda i: (i.at, i.tracking)), days, number)
    tickets = tuple(_finish(rng, i, n) for n, i in enumerate(asked, 1))
    return World(days, tuple(customers), tuple(shipments), tickets)


def _quotas(shares: list[float], total: int) -> list[int]:
    """Split `total` by shares, rounded down with the remainder to the largest remainders, at least 2."""
    exact = [share * total for share in shares]
    counts = [max(2, math.floor(x)) for x in exact]
    order = sorted(range(len(shares)), key=lambda i: math.floor(exact[i]) - exact[i])
    for i in order[: max(0, total - sum(counts))]:
        counts[i] += 1
    return counts


def _shipment(rng: random.Random, customer: people.Customer, days: int, used: set[str]) -> Shipment:
    carrier = rng.choices(carriers.CARRIERS, [c.share for c in carriers.CARRIERS])[0]
    tracking = carriers.tracking_number(carrier.name, rng)
    while tracking in used:
        tracking = carriers.tracking_number(carrier.name, rng)
    used.add(tracking)
    recipient = rng.choice(customer.recipients)
    return Shipment(tracking, carrier.name, customer.customer_id, recipient, journey(rng, carrier, days))


def _ask(
    rng: random.Random, customer: people.Customer, shipment: Shipment, days: int, most: int
) -> list[Inquiry]:
    """Let the customer's people ask about a shipment, more than once, while the simulation runs."""
    inside = [m for m in shipment.journey.moments if m.start > 0.0 and m.start < (days + 1) * DAY]
    share = len(inside) / len(shipment.journey.moments)
    count = min(most, max(2, round(share * (PER_SHIPMENT + rng.choice((-1, 0, 1))))))
    times: list[tuple[float, Moment]] = []
    for _ in range(40 * count):
        if len(times) == count or not inside:
            break
        moment = rng.choices(inside, [ASKING[m.status] * _interest(m) for m in inside])[0]
        at = rng.uniform(moment.start + 300.0, moment.end - 300.0)
        apart = all(abs(at - other) > 1800.0 for other, _ in times)
        if apart and at < (days + 1) * DAY and OFFICE_HOURS[0] <= at % DAY / 3600 < OFFICE_HOURS[1]:
            times.append((at, moment))
    if len(times) < 2:
        return []
    times.sort(key=lambda pair: pair[0])
    # "Has it arrived?" is never the first question about a shipment.
    return [_inquiry(rng, customer, shipment, days, at, m, i == 0) for i, (at, m) in enumerate(times)]


def _interest(moment: Moment) -> float:
    return (moment.end - moment.start) / DAY * (1.0 if moment.scans else 0.75)


def _inquiry(
    rng: random.Random,
    customer: people.Customer,
    shipment: Shipment,
    days: int,
    at: float,
    moment: Moment,
    first: bool,
) -> Inquiry:
    person = rng.choice(customer.people)
    kind: inquiries.Kind = "status" if rng.random() < 0.6 else "eta"
    if not first and rng.random() < ARRIVED_SHARE:
        kind = "arrived"
    colleague = rng.choice(customer.colleagues) if rng.random() < COLLEAGUE_SHARE else None
    signature = person.name
    if colleague is None:
        draw = rng.random()
        signature += f", {person.email}" if draw < 0.15 else f", Tel. {person.phone}" if draw < 0.30 else ""
    words = inquiries.write(
        rng,
        person.language,
        kind,
        shipment.tracking,
        signature=signature,
        colleague=colleague,
        late=at > LATE_FROM * days * DAY,
    )
    seen = [e for e in shipment.journey.events if e.at <= at][-5:]
    deciding = max((e for e in seen if e.informative), key=lambda e: e.at)
    return Inquiry(
        ticket="",
        at=at,
        day=int(at // DAY) + 1,
        customer_id=customer.customer_id,
        person=person,
        tracking=shipment.tracking,
        text=words.text,
        kind=kind,
        question=words.question,
        status=moment.status,
        eta=moment.eta,
        known_at=deciding.at,
        colleague=colleague,
        unseen_event=any(e.text in carriers.UNSEEN_EVENTS for e in seen),
        unseen_question=words.unseen,
    )


def _trim(rng: random.Random, asked: list[Inquiry], days: int, number: int) -> list[Inquiry]:
    """Drop the surplus over `number` in the first `days` days.

    A shipment's first inquiry stays (the later ones rely on its having been looked up), and at least
    two stay of each, as long as that leaves enough to drop.
    """
    first = {i.tracking: i for i in reversed(asked)}
    during = [i for i in asked if i.day <= days]
    left = Counter(i.tracking for i in during)
    droppable = [i for i in rng.sample(during, len(during)) if i is not first[i.tracking]]
    dropped: set[int] = set()
    for least in (2, 1):
        for i in droppable:
            if len(during) - len(dropped) > number and id(i) not in dropped and left[i.tracking] > least:
                left[i.tracking] -= 1
                dropped.add(id(i))
    return [i for i in asked if id(i) not in dropped]


def _finish(rng: random.Random, inquiry: Inquiry, n: int) -> Inquiry:
    """Number a ticket and decide what happens to its run's export and whether people react."""
    defect, copies = "", 1
    draw = rng.random()
    if draw < 0.004:
        defect = rng.choice(("no_root_ids", "bad_arguments", "cut_messages"))
    elif draw < 0.034:
        copies = 2
    feedback = rng.random() if rng.random() < 0.10 else None
    return replace(inquiry, ticket=f"tkt-{n:06d}", defect=defect, copies=copies, feedback=feedback)
