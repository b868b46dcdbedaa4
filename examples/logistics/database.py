"""The company's database: SQLite by default, PostgreSQL by URL.

The tools read `shipments`, `events` and `etas`. `outcomes` is the truth, written from the latent
journey, read by no tool: strop's graders join it by SQL on the ticket (`[labels]` in strop.toml).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from logistics.world import FIRST_MIDNIGHT, Inquiry, World, date

metadata = sa.MetaData()

customers = sa.Table(
    "customers",
    metadata,
    sa.Column("customer_id", sa.Text, primary_key=True),
    sa.Column("share", sa.Float, nullable=False),
)
people = sa.Table(
    "people",
    metadata,
    sa.Column("email", sa.Text, primary_key=True),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("phone", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
)
shipments = sa.Table(
    "shipments",
    metadata,
    sa.Column("tracking", sa.Text, primary_key=True),
    sa.Column("carrier", sa.Text, nullable=False),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("recipient", sa.Text, nullable=False),
)
# Times are seconds since 1970 (UTC).
events = sa.Table(
    "events",
    metadata,
    sa.Column("tracking", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("city", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
etas = sa.Table(
    "etas",
    metadata,
    sa.Column("tracking", sa.Text, primary_key=True),
    sa.Column("known_from", sa.Float, primary_key=True),
    sa.Column("eta", sa.Text),
)
inquiries = sa.Table(
    "inquiries",
    metadata,
    sa.Column("ticket", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("phone", sa.Text, nullable=False),
    sa.Column("tracking", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("defect", sa.Text, nullable=False),
    sa.Column("copies", sa.Integer, nullable=False),
    sa.Column("feedback", sa.Float),
)
outcomes = sa.Table(
    "outcomes",
    metadata,
    sa.Column("workflow_id", sa.Text, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("eta", sa.Text),
    sa.Column("known_at", sa.Float, nullable=False),
    sa.Column("carrier", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("unseen_event", sa.Boolean, nullable=False),
    sa.Column("unseen_question", sa.Boolean, nullable=False),
)

# What the world was built from, so that it can be built again.
worlds = sa.Table(
    "worlds",
    metadata,
    sa.Column("days", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
)

EVENTS_SHOWN: Final = 5


class Asked(NamedTuple):
    """One inquiry as the agent gets it."""

    ticket: str
    at: float
    customer_id: str
    name: str
    email: str
    phone: str
    tracking: str
    text: str
    defect: str
    copies: int
    feedback: float | None


def save(engine: sa.Engine, world: World, seed: int) -> None:
    """Write a world, replacing the one that was there."""
    carrier = {s.tracking: s.carrier for s in world.shipments}
    rows: dict[sa.Table, list[dict[str, Any]]] = {
        customers: [{"customer_id": c.customer_id, "share": c.share} for c in world.customers],
        people: [
            {
                "email": p.email,
                "customer_id": c.customer_id,
                "name": p.name,
                "phone": p.phone,
                "language": p.language,
                "role": role,
            }
            for c in world.customers
            for role, group in (("contact", c.people), ("recipient", c.recipients))
            for p in group
        ],
        shipments: [
            {
                "tracking": s.tracking,
                "carrier": s.carrier,
                "customer_id": s.customer_id,
                "recipient": s.recipient.name,
            }
            for s in world.shipments
        ],
        events: [
            {"tracking": s.tracking, "number": i, "at": FIRST_MIDNIGHT + e.at, "city": e.city, "text": e.text}
            for s in world.shipments
            for i, e in enumerate(s.journey.events)
        ],
        etas: [
            {"tracking": s.tracking, "known_from": FIRST_MIDNIGHT + m.start, "eta": date(m.eta)}
            for s in world.shipments
            for m in s.journey.moments
        ],
        inquiries: [_inquiry_row(i) for i in world.inquiries],
        worlds: [
            {"days": world.days, "number": sum(i.day <= world.days for i in world.inquiries), "seed": seed}
        ],
        outcomes: [_outcome_row(i, carrier[i.tracking]) for i in world.inquiries],
    }
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for table, values in rows.items():
            connection.execute(table.insert(), values)


def _inquiry_row(i: Inquiry) -> dict[str, Any]:
    return {
        "ticket": i.ticket,
        "at": FIRST_MIDNIGHT + i.at,
        "day": i.day,
        "customer_id": i.customer_id,
        "name": i.person.name,
        "email": i.person.email,
        "phone": i.person.phone,
        "tracking": i.tracking,
        "text": i.text,
        "defect": i.defect,
        "copies": i.copies,
        "feedback": i.feedback,
    }


def _outcome_row(i: Inquiry, carrier: str) -> dict[str, Any]:
    return {
        "workflow_id": i.ticket,
        "status": i.status,
        "eta": date(i.eta),
        "known_at": FIRST_MIDNIGHT + i.known_at,
        "carrier": carrier,
        "language": i.person.language,
        "kind": i.kind,
        "unseen_event": i.unseen_event,
        "unseen_question": i.unseen_question,
    }


def asked(engine: sa.Engine, from_day: int, to_day: int, limit: int | None = None) -> list[Asked]:
    """Return the inquiries of some days (1 is the first), in order of time."""
    c = inquiries.c
    query = (
        sa.select(*(c[name] for name in Asked._fields))
        .where(c.day.between(from_day, to_day))
        .order_by(c.at, c.ticket)
    )
    with engine.connect() as connection:
        return [Asked(*row) for row in connection.execute(query.limit(limit))]


def true_statuses(engine: sa.Engine, tickets: Sequence[str]) -> dict[str, str]:
    """Return the true status by ticket: for the people whose feedback is simulated, for no tool."""
    wanted = set(tickets)
    query = sa.select(outcomes.c.workflow_id, outcomes.c.status)
    with engine.connect() as connection:
        return {ticket: status for ticket, status in connection.execute(query) if ticket in wanted}
