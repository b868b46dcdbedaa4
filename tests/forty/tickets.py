"""Ticket routing: two independent reads, one write that does the routing, six uneven classes."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from forty.world import Act, Attempt, Kind, Simulated, World, plan, rollout, task, tool
from strop.records import JsonObject, Rollout, Task

NAME = "tickets"
SHARES = {"technical": 45, "billing": 18, "access": 13, "sales": 10, "privacy": 8, "legal": 6}
PRIORITIES = ("low", "normal", "high")
PRODUCTS = ("Ledger", "Shelf", "Courier", "Beacon")
SYSTEM = (
    "You route tickets. Look up the account (lookup_account) and the product's outages "
    "(lookup_outages), in any order, then call route_ticket once. Queues: "
    f"{', '.join(SHARES)}. Priority: high for an enterprise plan during an outage, normal for one of the "
    "two, else low. Never close a ticket. Then reply with JSON: queue, priority, summary (one sentence "
    "of 5 to 25 words that names the product)."
)
TOOLS = (
    tool("lookup_account", "Plan and seats of an account", account_id="string"),
    tool("lookup_outages", "Whether a product has an outage", product="string"),
    tool("route_ticket", "Put the ticket into a queue", queue="string", priority="string"),
    tool("close_ticket", "Close the ticket", ticket_id="string"),
)
TEXTS = {
    "technical": (
        "{p} shows a blank page since this morning.",
        "Export from {p} stops at 40 percent every time.",
        "{p} crashes when I open large files.",
        "The sync in {p} hangs and the log says timeout.",
    ),
    "billing": ("We were charged twice for {p} in October.", "The invoice for {p} has the wrong VAT id."),
    "access": ("I lost my second factor and can not enter {p}.", "Please unlock my login to {p}."),
    "sales": ("What would 50 more seats of {p} cost?", "We think of moving to the bigger plan of {p}."),
    "privacy": ("Please delete all my personal data in {p}.", "Who has seen my records in {p}? (GDPR)"),
    "legal": ("Our lawyers object to clause 7 of the {p} contract.", "We give notice of a claim over {p}."),
}
CONFUSED = {
    "technical": "access",
    "billing": "sales",
    "access": "technical",
    "sales": "billing",
    "privacy": "access",
    "legal": "billing",
}
SUMMARIES = {
    "technical": "The customer reports that {p} does not work as it should.",
    "billing": "The customer objects to a charge or an invoice for {p}.",
    "access": "The customer can not log in to {p} and asks for help.",
    "sales": "The customer asks for an offer for more of {p}.",
    "privacy": "The customer asks about personal data that is kept in {p}.",
    "legal": "The customer raises a legal objection that concerns {p}.",
}


@dataclass(frozen=True)
class Ticket:
    """What is true of one ticket."""

    ticket_id: str
    account_id: str
    product: str
    queue: str
    enterprise: bool
    outage: bool

    @property
    def priority(self) -> str:
        """The priority that the rules give."""
        return PRIORITIES[self.enterprise + self.outage]

    def reads(self) -> tuple[Act, Act]:
        """Return the two right reads."""
        account: JsonObject = {"plan": "enterprise" if self.enterprise else "team", "seats": 12}
        outage: JsonObject = {"product": self.product, "ongoing": self.outage}
        return (
            Act("lookup_account", {"account_id": self.account_id}, account),
            Act("lookup_outages", {"product": self.product}, outage),
        )


def summary_ok(inquiry: str, answer: str) -> bool:
    """Say whether a summary is one sentence of 5 to 25 words about the ticket's product."""
    named = {p for p in PRODUCTS if re.search(rf"\b{p}\b", answer)}
    asked = {p for p in PRODUCTS if re.search(rf"\b{p}\b", inquiry)}
    words = answer.split()
    one_sentence = re.fullmatch(r"The customer [^.!?]+\.", answer.strip()) is not None
    return one_sentence and named == asked and 5 <= len(words) <= 25 and len({*words}) > 0.7 * len(words)


def build() -> Simulated:
    """Build the world: 78 tickets, 36 of them technical, seven attempts each."""
    rng = random.Random(20264)
    cases: list[tuple[Task, tuple[Rollout, ...]]] = []
    quality: dict[str, tuple[float, ...]] = {}
    queues = [queue for queue, share in SHARES.items() for _ in range(share * 4 // 5)]
    rng.shuffle(queues)
    for number, queue in enumerate(queues):
        ticket = Ticket(
            ticket_id=f"T{7000 + number}",
            account_id=f"ac-{rng.randrange(100, 999)}",
            product=rng.choice(PRODUCTS),
            queue=queue,
            enterprise=rng.random() < 0.45,
            outage=rng.random() < 0.35,
        )
        truth: JsonObject = {
            "queue": ticket.queue,
            "priority": ticket.priority,
            "account_id": ticket.account_id,
            "product": ticket.product,
            "lookups": [{"name": a.name, "arguments": a.arguments} for a in ticket.reads()],
            "routing": [{"name": "route_ticket", "arguments": {"queue": queue, "priority": ticket.priority}}],
        }
        text = rng.choice(TEXTS[ticket.queue]).format(p=ticket.product)
        asked = f"Ticket {ticket.ticket_id}, account {ticket.account_id}, product {ticket.product}:\n{text}"
        about = task(NAME, number, SYSTEM, asked, TOOLS, truth)
        attempts = [_attempt(rng, ticket, kind) for kind in plan(rng)]
        cases.append((about, tuple(rollout(about, a) for a in attempts)))
        quality[about.task_id] = tuple(a.quality for a in attempts)
    world = World(
        name=NAME,
        extract=("queue", "priority", "summary"),
        cases=tuple(cases),
        judges={"summary_ok": summary_ok},
        judge_fields={"summary_ok": "summary"},
        reads=frozenset({"lookup_account", "lookup_outages"}),
        writes=frozenset({"route_ticket", "close_ticket"}),
    )
    return Simulated(world, quality)


def _attempt(rng: random.Random, ticket: Ticket, kind: Kind) -> Attempt:
    reads = list(ticket.reads())
    rng.shuffle(reads)
    both = (tuple(reads),) if rng.random() < 0.4 else tuple((read,) for read in reads)
    if kind == "good":
        return _done(1.0, both, ticket, ticket.queue, ticket.priority)
    other = rng.choice([p for p in PRIORITIES if p != ticket.priority])
    if kind == "slip":
        fault = rng.choice(("summary", "summary", "retry"))
        if fault == "summary":
            return _done(0.85, both, ticket, ticket.queue, ticket.priority, sloppy=True)
        failed = Act("lookup_account", {"account_id": ticket.ticket_id}, {"error": "no such account"})
        return _done(0.9, ((failed,), *both), ticket, ticket.queue, ticket.priority)
    fault = rng.choice(("queue", "queue", "priority", "not routed", "no reads", "one read"))
    wrong = CONFUSED[ticket.queue]
    if fault == "queue":
        return _done(0.3, both, ticket, wrong, ticket.priority)
    if fault == "priority":
        return _done(0.5, both, ticket, ticket.queue, other)
    if fault == "not routed":
        done = _done(0.35, both, ticket, ticket.queue, ticket.priority)
        return Attempt(0.35, both, done.answer)
    if fault == "one read":
        return _done(0.4, (tuple(reads[:1]),), ticket, ticket.queue, other)
    return _done(0.1, (), ticket, wrong, "normal", sloppy=True)


def _done(
    quality: float,
    before: tuple[tuple[Act, ...], ...],
    ticket: Ticket,
    queue: str,
    priority: str,
    *,
    sloppy: bool = False,
) -> Attempt:
    routed = Act("route_ticket", {"queue": queue, "priority": priority}, {"ok": True})
    summary = f"{ticket.product} problem" if sloppy else SUMMARIES[queue].format(p=ticket.product)
    answer: JsonObject = {"queue": queue, "priority": priority, "summary": summary}
    return Attempt(quality, (*before, (routed,)), answer)
