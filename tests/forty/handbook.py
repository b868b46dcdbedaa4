"""What the support desk knows: one fact with one condition a topic."""

from __future__ import annotations

import re
from dataclasses import dataclass

HANDOVER = "I hand this over to a colleague of our legal team, who answers you in person."
QUANTITY = re.compile(r"\b\d+\s+(?:working )?(?:day|hour|week|month|year|euro)s?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Fact:
    """One topic: what to say (value and condition), how it is asked, and what people get wrong."""

    topic: str
    value: str
    condition: str
    says: str
    then: str
    wrong: str
    asked: tuple[str, ...]
    premise: str


FACTS = (
    Fact("returns", "30 days", "original receipt", "you can send an article back within {v}.",
         "Please enclose the original receipt with the parcel.", "60 days",
         ("How long can I send something back?", "Until when may I return a pair of shoes?"),
         "I can still return my jacket after 60 days, right?"),
    Fact("warranty", "24 months", "serial number", "your device is under warranty for {v}.",
         "We only need the serial number from its back.", "36 months",
         ("My mixer broke, is it still under warranty?", "What warranty do you give on devices?"),
         "The warranty is 36 months, so my kettle is covered, yes?"),
    Fact("delivery", "4 working days", "tracking link", "a delivery takes {v} on average.",
         "You can follow it with the tracking link in our mail.", "2 working days",
         ("How long does delivery take?", "When will my delivery be here if I order today?"),
         "Your shop promises delivery in 2 working days, correct?"),
    Fact("express", "9 euros", "before noon", "express shipping costs you {v} per order.",
         "Your order has to reach us before noon.", "5 euros",
         ("What do you charge for express?", "Can I get express shipping, and at what price?"),
         "Express is 5 euros, isn't it?"),
    Fact("repairs", "10 working days", "prepaid label", "a repair takes us {v} at most.",
         "Please use the prepaid label from your account.", "5 working days",
         ("How long would a repair take?", "I need a repair of my drill, how long is that?"),
         "A repair is done in 5 working days as I read, right?"),
    Fact("vouchers", "36 months", "voucher code", "a gift voucher is valid for {v}.",
         "You enter the voucher code at the checkout.", "12 months",
         ("Does my gift voucher run out?", "How long is a voucher good for?"),
         "My voucher ran out after 12 months, did it?"),
    Fact("price match", "7 days", "link to the offer", "we match a lower price for {v} after your order.",
         "Please send us the link to the offer.", "14 days",
         ("I found it cheaper elsewhere, do you match that?", "How does your price match work?"),
         "You match a cheaper price for 14 days, don't you?"),
    Fact("cancellation", "2 hours", "order number", "you can cancel an order for free within {v}.",
         "Please write to us with your order number.", "24 hours",
         ("Can I still cancel?", "I ordered the wrong size and want to cancel."),
         "I have 24 hours to cancel, right?"),
    Fact("copies", "10 years", "customer portal", "we keep copies of invoices for {v}.",
         "You find them as files in the customer portal.", "3 years",
         ("I need a copy of an old invoice.", "How far back can I get a copy of my bills?"),
         "You only keep a copy for 3 years, correct?"),
    Fact("trial", "21 days", "payment details", "you can use the free trial for {v}.",
         "We ask for payment details only at its end.", "30 days",
         ("How long is the free trial?", "What happens after the trial?"),
         "The trial lasts 30 days, so I need not pay yet, yes?"),
)  # fmt: skip
LEGAL = (
    "Your parcel van scratched my car and my lawyer wants a statement.",
    "I will sue you over the broken glass, who answers for that?",
    "My lawyer asks for your liability insurer.",
)
# The word that tells a topic apart in an inquiry.
SIGNS = {
    "returns": r"send something back|return a|return my",
    "warranty": r"warranty",
    "delivery": r"\bdelivery\b",
    "express": r"\bexpress\b",
    "repairs": r"\brepair\b",
    "vouchers": r"\bvoucher\b",
    "price match": r"\bcheaper\b|\bprice match\b",
    "cancellation": r"\bcancel\b",
    "copies": r"\bcopy\b",
    "trial": r"\btrial\b",
    "legal": r"\blawyer\b|\bsue\b",
}


def topic_of(inquiry: str) -> str:
    """Return the topic of an inquiry, "" for none."""
    return next((topic for topic, sign in SIGNS.items() if re.search(sign, inquiry, re.IGNORECASE)), "")


def fact_of(topic: str) -> Fact | None:
    """Return a topic's fact, None for the legal one."""
    return next((fact for fact in FACTS if fact.topic == topic), None)


def handbook() -> str:
    """Return the handbook as the agent's instructions quote it."""
    return " ".join(f"{f.topic}: {f.says.format(v=f.value)} {f.then}" for f in FACTS)
