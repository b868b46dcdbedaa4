"""Refund requests: two dependent reads, then at most one write, and a policy that forbids many."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

from forty.tone import tone_pass
from forty.world import Act, Attempt, Kind, Simulated, World, plan, rollout, task, tool
from strop.records import JsonObject, Rollout, Task

NAME = "refunds"
SYSTEM = (
    "You settle refund requests. First get_order, then get_policy for the order's category; decide; "
    "only then act, once. Rules in this order: paid over 500.00: open_case and decide escalate. Damaged "
    "with a photo on file: send_replacement and decide replace. Delivered within the return window: "
    "issue_refund of the paid amount less the restocking fee and decide refund. Anything else: deny, "
    "without any action. cancel_order is for orders that have not shipped. Reply with JSON: decision "
    "(refund, replace, escalate, deny), amount (what is paid back, as 0.00), message (a greeting and "
    "full sentences, 45 words at most)."
)
TOOLS = (
    tool("get_order", "An order with its category, price and delivery", order_id="string"),
    tool("get_policy", "Return window and restocking fee of a category", category="string"),
    tool("issue_refund", "Pay money back", order_id="string", amount="string"),
    tool("send_replacement", "Ship the same article again", order_id="string"),
    tool("open_case", "Hand the order to a person", order_id="string"),
    tool("cancel_order", "Stop an order that has not shipped", order_id="string"),
)
WRITES = frozenset({"issue_refund", "send_replacement", "open_case", "cancel_order"})
POLICIES: dict[str, tuple[int, int]] = {  # category -> (window in days, fee in percent)
    "electronics": (14, 15),
    "clothing": (30, 0),
    "furniture": (14, 20),
    "books": (60, 0),
    "toys": (30, 10),
}
ITEMS = {
    "electronics": ("desk lamp", "headset", "router"),
    "clothing": ("rain jacket", "scarf", "boots"),
    "furniture": ("side table", "shelf", "armchair"),
    "books": ("atlas", "cookbook", "box set"),
    "toys": ("train set", "puzzle", "kite"),
}
ASKED = (
    "I would like my money back for order {n}, the {item} is not what I expected.",
    "Please refund {n}. The {item} does not suit me.",
    "Order {n}: I want to send the {item} back.",
)
BROKEN = ("Order {n}: the {item} arrived damaged.", "The {item} from order {n} is broken, what now?")
SAID = {
    "refund": "we have paid back {amount} euros for your order. It reaches your account within days.",
    "replace": "we have sent the same article again. You need not return the first one.",
    "escalate": "a colleague looks at your order in person. You will hear from us within two days.",
    "deny": "we can not take this order back. Our return policy does not cover your case.",
}
CURT = {"refund": "Refunded.", "replace": "New one sent.", "escalate": "Passed on.", "deny": "No refund."}


@dataclass(frozen=True)
class Order:
    """What is true of one order, and what follows from it."""

    order_id: str
    category: str
    item: str
    paid: Decimal
    days: int
    photo: bool

    def decision(self) -> str:
        """Return what the policy says."""
        if self.paid > 500:
            return "escalate"
        if self.photo:
            return "replace"
        return "refund" if self.days <= POLICIES[self.category][0] else "deny"

    def refund(self) -> str:
        """Return the price less the restocking fee."""
        fee = self.paid * POLICIES[self.category][1] / 100
        return str((self.paid - fee).quantize(Decimal("0.01")))

    def reads(self) -> tuple[Act, Act]:
        """Return the two right reads, in order."""
        window, fee = POLICIES[self.category]
        order: JsonObject = {"order_id": self.order_id, "category": self.category, "paid": str(self.paid)}
        order.update(delivered_days_ago=self.days, damage_photo_on_file=self.photo)
        policy: JsonObject = {"return_window_days": window, "restocking_fee_percent": fee}
        by_id = Act("get_order", {"order_id": self.order_id}, order)
        return by_id, Act("get_policy", {"category": self.category}, policy)

    def act(self, decision: str, amount: str) -> tuple[Act, ...]:
        """Return the write that goes with a decision, none for deny."""
        about: JsonObject = {"order_id": self.order_id}
        done: JsonObject = {"ok": True}
        if decision == "refund":
            return (Act("issue_refund", {**about, "amount": amount}, done),)
        name = {"replace": "send_replacement", "escalate": "open_case"}.get(decision)
        return () if name is None else (Act(name, about, done),)


def build() -> Simulated:
    """Build the world: 70 requests, seven attempts each."""
    rng = random.Random(20262)
    cases: list[tuple[Task, tuple[Rollout, ...]]] = []
    quality: dict[str, tuple[float, ...]] = {}
    wanted = ["refund"] * 28 + ["deny"] * 21 + ["replace"] * 11 + ["escalate"] * 10
    rng.shuffle(wanted)
    for number, outcome in enumerate(wanted):
        order = _order(rng, outcome)
        decision = order.decision()
        amount = order.refund() if decision == "refund" else "0.00"
        truth: JsonObject = {
            "decision": decision,
            "amount": amount,
            "order_id": order.order_id,
            "category": order.category,
            "reads": [{"name": a.name, "arguments": a.arguments} for a in order.reads()],
            "actions": [{"name": a.name, "arguments": a.arguments} for a in order.act(decision, amount)],
        }
        asked = rng.choice(BROKEN if order.photo else ASKED).format(n=order.order_id, item=order.item)
        about = task(NAME, number, SYSTEM, asked, TOOLS, truth)
        attempts = [_attempt(rng, order, kind) for kind in plan(rng)]
        cases.append((about, tuple(rollout(about, a) for a in attempts)))
        quality[about.task_id] = tuple(a.quality for a in attempts)
    world = World(
        name=NAME,
        extract=("decision", "amount", "message"),
        cases=tuple(cases),
        judges={"tone_pass": tone_pass},
        judge_fields={"tone_pass": "message"},
        reads=frozenset({"get_order", "get_policy"}),
        writes=WRITES,
    )
    return Simulated(world, quality)


def _order(rng: random.Random, wanted: str) -> Order:
    category = rng.choice(tuple(POLICIES))
    window = POLICIES[category][0]
    late = wanted == "deny"
    low, high = (510, 1400) if wanted == "escalate" else (12, 480)
    return Order(
        order_id=f"A-{rng.randrange(10000, 99999)}",
        category=category,
        item=rng.choice(ITEMS[category]),
        paid=Decimal(rng.randrange(low * 100, high * 100, 5)) / 100,
        days=rng.randrange(window + 1, window + 40) if late else rng.randrange(1, window),
        photo=wanted == "replace",
    )


def _attempt(rng: random.Random, order: Order, kind: Kind) -> Attempt:
    right = order.decision()
    amount = order.refund() if right == "refund" else "0.00"
    by_id, policy = order.reads()
    turns = ((by_id,), (policy,), *((act,) for act in order.act(right, amount)))
    if kind == "good":
        return Attempt(1.0, turns, _answer(rng, right, amount))
    if kind == "slip":
        if rng.random() < 0.6:
            return Attempt(0.8, turns, _answer(rng, right, amount, curt=True))
        wrong_id = order.order_id.replace("A-", "")
        failed = Act("get_order", {"order_id": wrong_id}, {"error": "order not found"})
        return Attempt(0.9, ((failed,), *turns), _answer(rng, right, amount))
    fault = rng.choice(("decision", "decision", "amount", "no act", "no policy", "hasty"))
    if fault == "amount" and right == "refund":
        full = str(order.paid.quantize(Decimal("0.01")))
        if full != amount:
            turns = ((by_id,), (policy,), order.act("refund", full))
            return Attempt(0.4, turns, _answer(rng, right, full))
    if fault == "no act" and right != "deny":
        return Attempt(0.35, ((by_id,), (policy,)), _answer(rng, right, amount))
    wrong = rng.choice([d for d in ("refund", "refund", "deny", "deny", "replace", "escalate") if d != right])
    paid = order.refund() if wrong == "refund" else "0.00"
    acts = tuple((act,) for act in order.act(wrong, paid))
    if fault == "no policy":
        return Attempt(0.15, ((by_id,), *acts), _answer(rng, wrong, paid))
    if fault == "hasty":
        return Attempt(0.05, acts, _answer(rng, wrong, paid, curt=True))
    return Attempt(0.25, ((by_id,), (policy,), *acts), _answer(rng, wrong, paid))


def _answer(rng: random.Random, decision: str, amount: str, *, curt: bool = False) -> JsonObject:
    if curt:
        message = CURT[decision]
    else:
        message = rng.choice(("Hello, ", "Good day, ", "Hi, ")) + SAID[decision].format(amount=amount)
    return {"decision": decision, "amount": amount, "message": message}
