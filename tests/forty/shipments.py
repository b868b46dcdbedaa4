"""Shipment status: two reads, the second of which needs what the first one returns."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

from forty.tone import tone_pass
from forty.world import Act, Attempt, Kind, Simulated, World, plan, rollout, task, tool
from strop.records import JsonObject, Rollout, Task

NAME = "shipments"
STATUSES = ("delivered", "in_transit", "delayed", "exception", "returned")
SYSTEM = (
    "You answer shipment inquiries. Call lookup_tracking with the tracking number, then lookup_eta with "
    "the route that it returns, each once, then reply with JSON: final_status (one of "
    f"{', '.join(STATUSES)}), eta (YYYY-MM-DD), message (a greeting and full sentences, 45 words at most)."
)
TOOLS = (
    tool("lookup_tracking", "Carrier events and the current route", tracking="string"),
    tool("lookup_eta", "Expected or actual day of arrival on a route", route="string"),
)
WORDINGS = {
    "delivered": ("Signed for by neighbour", "Left at the front door", "Collected from the parcel shop"),
    "in_transit": ("Sorted at the hub", "Departed the sorting centre", "Loaded for the line haul"),
    "delayed": ("Missed connection, replanned", "Vehicle breakdown, next tour", "Snow: tour cancelled"),
    "exception": ("Address not found", "Label unreadable", "Customs papers missing"),
    "returned": ("Refused at the door, to sender", "Storage time over, to sender", "Recalled by shipper"),
}
# One wording that the desk accepts under either of two names.
EITHER = ("Held at the depot overnight", "delayed", "in_transit")
CONFUSED = {
    "delivered": "in_transit",
    "in_transit": "delayed",
    "delayed": "exception",
    "exception": "delayed",
    "returned": "exception",
}
SAID = {
    "delivered": "your parcel was delivered on {eta}.",
    "in_transit": "your parcel is on its way to you. It should arrive on {eta}.",
    "delayed": "your parcel is held up. It should now arrive on {eta}.",
    "exception": "there is a problem with your parcel. We expect news by {eta}.",
    "returned": "your parcel is going back to the sender. It should be there on {eta}.",
}
CURT = {
    "delivered": "Delivered, {eta}.",
    "in_transit": "Under way, {eta}.",
    "delayed": "Late, {eta}.",
    "exception": "Problem, see {eta}.",
    "returned": "Going back, {eta}.",
}
CITIES = ("Leipzig", "Hamburg", "Graz", "Lyon", "Malmö", "Gdansk")
ASKED = (
    "Where is my parcel {n}?",
    "Any news on shipment {n}? I have been waiting since Monday.",
    "Tracking number {n}, please: when does it come?",
    "Hi, {n} should have been here by now.",
)


@dataclass(frozen=True)
class Shipment:
    """What is true of one parcel."""

    tracking: str
    route: str
    carrier: str
    status: str
    eta: str
    events: tuple[str, ...]

    def tracked(self) -> Act:
        """Return the right first call."""
        result: JsonObject = {"carrier": self.carrier, "route": self.route, "events": list(self.events)}
        return Act("lookup_tracking", {"tracking": self.tracking}, result)

    def expected(self) -> Act:
        """Return the right second call."""
        return Act("lookup_eta", {"route": self.route}, {"eta": self.eta})


def build() -> Simulated:
    """Build the world: 64 inquiries, seven attempts each."""
    rng = random.Random(20261)
    cases: list[tuple[Task, tuple[Rollout, ...]]] = []
    quality: dict[str, tuple[float, ...]] = {}
    for number in range(64):
        parcel, accepted = _shipment(rng)
        acts = (parcel.tracked(), parcel.expected())
        truth: JsonObject = {
            "status": parcel.status,
            "accepted": accepted,
            "eta": parcel.eta,
            "tracking": parcel.tracking,
            "route": parcel.route,
            "calls": [{"name": a.name, "arguments": a.arguments} for a in acts],
        }
        asked = rng.choice(ASKED).format(n=parcel.tracking)
        about = task(NAME, number, SYSTEM, asked, TOOLS, truth)
        attempts = [_attempt(rng, parcel, kind) for kind in plan(rng)]
        cases.append((about, tuple(rollout(about, a) for a in attempts)))
        quality[about.task_id] = tuple(a.quality for a in attempts)
    world = World(
        name=NAME,
        extract=("final_status", "eta", "message"),
        cases=tuple(cases),
        judges={"tone_pass": tone_pass},
        judge_fields={"tone_pass": "message"},
        reads=frozenset({"lookup_tracking", "lookup_eta"}),
        writes=frozenset(),
    )
    return Simulated(world, quality)


def _shipment(rng: random.Random) -> tuple[Shipment, list[str]]:
    status = rng.choices(STATUSES, weights=(34, 28, 18, 12, 8))[0]
    wording = rng.choice(WORDINGS[status])
    accepted = [status]
    if status == "delayed" and rng.random() < 0.4:
        wording, accepted = EITHER[0], [EITHER[1], EITHER[2]]
    day = date(2026, 11, 2) + timedelta(days=rng.randrange(20))
    events = [f"{day - timedelta(days=2):%m-%d} {rng.choice(CITIES)}: Shipment data received"]
    events.append(f"{day - timedelta(days=1):%m-%d} {rng.choice(CITIES)}: Sorted at the hub")
    events.append(f"{day:%m-%d} {rng.choice(CITIES)}: {wording}")
    eta = day if status == "delivered" else day + timedelta(days=rng.randrange(1, 6))
    parcel = Shipment(
        tracking=f"0034{rng.randrange(10**9, 10**10)}",
        route=f"R{rng.randrange(10**4, 10**5)}-{rng.choice('ABCDEF')}",
        carrier=rng.choice(("DHL", "DPD", "GLS", "UPS")),
        status=status,
        eta=eta.isoformat(),
        events=tuple(events),
    )
    return parcel, accepted


def _attempt(rng: random.Random, parcel: Shipment, kind: Kind) -> Attempt:
    thought = rng.choice((None, None, "Let me look that up."))
    turns = ((parcel.tracked(),), (parcel.expected(),))
    if kind == "good":
        return Attempt(1.0, turns, _answer(rng, parcel.status, parcel.eta), thought)
    if kind == "slip":
        return _slip(rng, parcel, turns, thought)
    fault = rng.choice(("status", "status", "no eta", "both", "neither", "hedge"))
    wrong = CONFUSED[parcel.status]
    if fault == "status":
        return Attempt(0.3, turns, _answer(rng, wrong, parcel.eta), thought)
    if fault == "hedge":
        answer = _answer(rng, parcel.status, parcel.eta)
        return Attempt(0.35, turns, {**answer, "final_status": f"{parcel.status} or {wrong}"}, thought)
    guess = (date.fromisoformat(parcel.eta) + timedelta(days=rng.choice((-2, 1, 2, 3)))).isoformat()
    if fault == "no eta":
        return Attempt(0.4, turns[:1], _answer(rng, parcel.status, guess), thought)
    if fault == "both":
        return Attempt(0.15, turns, _answer(rng, wrong, guess, curt=True), thought)
    usual = "delivered" if parcel.status == "in_transit" else "in_transit"
    return Attempt(0.05, (), _answer(rng, usual, guess))


def _slip(
    rng: random.Random, parcel: Shipment, turns: tuple[tuple[Act, ...], ...], thought: str | None
) -> Attempt:
    fault = rng.choice(("curt", "curt", "eta", "retry"))
    if fault == "curt":
        return Attempt(0.8, turns, _answer(rng, parcel.status, parcel.eta, curt=True), thought)
    if fault == "eta":
        near = (date.fromisoformat(parcel.eta) + timedelta(days=rng.choice((-1, 1)))).isoformat()
        return Attempt(0.75, turns, _answer(rng, parcel.status, near), thought)
    typo = parcel.tracking[:-2] + parcel.tracking[-1] + parcel.tracking[-2] + "0"
    failed = Act("lookup_tracking", {"tracking": typo}, {"error": "unknown tracking number"})
    return Attempt(0.9, ((failed,), *turns), _answer(rng, parcel.status, parcel.eta), thought)


def _answer(rng: random.Random, status: str, eta: str, *, curt: bool = False) -> JsonObject:
    if curt:
        message = CURT[status].format(eta=eta)
    else:
        message = rng.choice(("Hello, ", "Good day, ", "Hi, ")) + SAID[status].format(eta=eta)
    return {"final_status": status, "eta": eta, "message": message}
