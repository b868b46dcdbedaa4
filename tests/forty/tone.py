"""The tone judge that two of the worlds share: written rules, strict and hard to please by tricks."""

from __future__ import annotations

import re

GREETING = re.compile(r"(hello|hi|good (?:morning|afternoon|day)|dear [a-z ]{2,20}),\s*", re.IGNORECASE)
STATES = {
    "delivered": r"\bdelivered\b|\bhanded over\b",
    "in_transit": r"\bon its way to you\b",
    "delayed": r"\bdelay(?:ed)?\b|\bheld up\b",
    "exception": r"\bproblem\b",
    "returned": r"\b(?:going|sent) back\b",
}
MAX_WORDS = 45


def tone_pass(inquiry: str, answer: str) -> bool:
    """Say whether a message greets, speaks in full sentences and says one thing once.

    At most 45 words, no sentence twice, no more than one state of a shipment named.
    """
    del inquiry
    text = answer.strip()
    greeting = GREETING.match(text)
    if greeting is None or len(text.split()) > MAX_WORDS or text[-1] not in ".!?":
        return False
    sentences = [s for s in re.split(r"(?<=[.!?])\s+", text[greeting.end() :]) if s]
    if not sentences or any(len(s.split()) < 4 for s in sentences):
        return False
    if len({s.lower() for s in sentences}) < len(sentences):
        return False
    return sum(bool(re.search(pattern, text.lower())) for pattern in STATES.values()) <= 1
