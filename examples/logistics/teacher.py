"""The stand-in for the frontier model: a scripted endpoint that answers as one would, faults included.

    python -m logistics.teacher [--port 0]

It decides from the messages it is sent and nothing else. Its faults:

- it misreads two wordings as `exception` (MISREAD), always;
- it skips `lookup_eta` where the customer asks only whether the shipment has arrived, always;
- it answers German inquiries that open without a greeting just as curtly (`Zugestellt.`), always;
- it gets RANDOM_ERRORS of the other statuses wrong, seeded by the messages.

Price and latency are modelled and sent as headers (`x-modelled-cost-usd`, `x-modelled-latency-ms`);
tokens are estimated by `endpoint.count_tokens`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from typing import Any, Final

from logistics import endpoint
from logistics.carriers import MEANING, find_tracking
from logistics.inquiries import ONLY_ARRIVED, Language, has_opening
from logistics.judge import language_of

MODEL: Final = "frontier-stand-in"
DISCLOSURE: Final = "stand-in for the frontier model"
USD_PER_MILLION_PROMPT: Final = 2.50
USD_PER_MILLION_COMPLETION: Final = 10.0
RANDOM_ERRORS: Final = 0.06

MISREAD: Final = {("DHL", "Annahme verweigert"), ("UPS", "Delayed by weather"), ("DPD", "Termin verschoben")}

# What a random error turns a status into; never what a misread wording really means.
_CONFUSED: Final = {
    "delivered": "in_transit",
    "in_transit": "delayed",
    "delayed": "in_transit",
    "exception": "in_transit",
    "returned": "in_transit",
    "unknown": "in_transit",
}

_SENTENCE: Final[dict[Language, dict[str, str]]] = {
    "de": {
        "delivered": "Ihre Sendung wurde zugestellt.",
        "in_transit": "Ihre Sendung ist unterwegs.",
        "delayed": "Ihre Sendung ist verspätet.",
        "exception": "Bei Ihrer Sendung gibt es ein Problem.",
        "returned": "Ihre Sendung geht zurück.",
        "unknown": "Der Stand Ihrer Sendung ist unklar.",
    },
    "en": {
        "delivered": "your shipment was delivered.",
        "in_transit": "your shipment is on its way.",
        "delayed": "your shipment is delayed.",
        "exception": "there is a problem with your shipment.",
        "returned": "your shipment is going back.",
        "unknown": "the state of your shipment is unclear.",
    },
}
_EXPECTED: Final[dict[Language, str]] = {"de": " Sie kommt am {eta} an.", "en": " It arrives on {eta}."}
_GREETING: Final[dict[Language, str]] = {"de": "Guten Tag, ", "en": "Hello, "}
_CURT: Final = {
    "delivered": "Zugestellt",
    "in_transit": "Unterwegs",
    "delayed": "Verspätet",
    "exception": "Problem",
    "returned": "Geht zurück",
    "unknown": "Unklar",
}


def respond(request: dict[str, Any]) -> endpoint.Reply:
    """Answer one chat completion request: the next tool call, or the final answer."""
    inquiry = endpoint.asked(request)
    messages: list[dict[str, Any]] = request["messages"]
    offered = [tool["function"]["name"] for tool in request.get("tools") or []]
    results = _tool_results(messages)
    tracking = find_tracking(inquiry)
    wanted = ["lookup_tracking"] if ONLY_ARRIVED.search(inquiry) else ["lookup_tracking", "lookup_eta"]
    missing = [name for name in wanted if name in offered and name not in results]
    seed = json.dumps(messages, ensure_ascii=False, sort_keys=True)
    if tracking and missing:
        return _reply(seed, _call(missing[0], tracking, seed), "tool_calls")
    return _reply(seed, {"role": "assistant", "content": _answer(inquiry, results, seed)}, "stop")


def _tool_results(messages: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the last parsed result by tool name."""
    names = {call["id"]: call["function"]["name"] for m in messages for call in m.get("tool_calls") or []}
    found: dict[str, dict[str, Any]] = {}
    for message in messages:
        if message["role"] == "tool" and message.get("tool_call_id") in names:
            try:
                value = json.loads(message["content"])
            except ValueError:
                value = None
            found[names[message["tool_call_id"]]] = value if isinstance(value, dict) else {}
    return found


def _call(name: str, tracking: str, seed: str) -> dict[str, Any]:
    arguments = json.dumps({"tracking": tracking})
    call_id = f"call_{hashlib.sha256(f'{name} {seed}'.encode()).hexdigest()[:12]}"
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def _answer(inquiry: str, results: dict[str, dict[str, Any]], seed: str) -> str:
    tracked = results.get("lookup_tracking", {})
    status, evidence = read_status(str(tracked.get("carrier")), tracked.get("events") or [])
    if _uniform(seed, "status") < RANDOM_ERRORS:
        status = _CONFUSED[status]
    eta: str | None = results.get("lookup_eta", {}).get("eta")
    language = language_of(inquiry) or "en"
    if language == "de" and not has_opening(inquiry):
        message = _CURT[status] + (f", {eta}." if eta else ".")
    else:
        expected = _EXPECTED[language].format(eta=eta) if eta else ""
        message = _GREETING[language] + _SENTENCE[language][status] + expected
    answer = {"evidence": evidence, "final_status": status, "eta": eta, "message": message}
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def read_status(carrier: str, events: list[str]) -> tuple[str, str | None]:
    """Conclude the status from event lines (`MM-DD City: wording`), misreadings and all.

    Returns it with the wording that it rests on, None where no event says anything.
    """
    for line in reversed(events):
        wording = line.split(": ", 1)[-1]
        if (carrier, wording) in MEANING:
            status = "exception" if (carrier, wording) in MISREAD else MEANING[carrier, wording]
            return status, wording
    return "unknown", None


def _reply(seed: str, message: dict[str, Any], finish_reason: str) -> endpoint.Reply:
    prompt = endpoint.count_tokens(seed)
    completion = endpoint.count_tokens(message["content"] or json.dumps(message["tool_calls"]))
    cost = (prompt * USD_PER_MILLION_PROMPT + completion * USD_PER_MILLION_COMPLETION) / 1e6
    latency_ms = 700 + 14 * completion + 600 * _uniform(seed, "latency")
    headers = {
        "x-modelled-latency-ms": f"{latency_ms:.0f}",
        "x-modelled-cost-usd": f"{cost:.6f}",
        "x-disclosure": DISCLOSURE,
    }
    return endpoint.Reply(message, finish_reason, prompt, completion, headers)


def _uniform(seed: str, purpose: str) -> float:
    """Return a number in [0, 1) that follows from the messages alone."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {seed}".encode()).digest()[:7]) / 2**56


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="logistics.teacher", description=DISCLOSURE)
    parser.add_argument("--port", type=int, default=0)
    endpoint.run(respond, MODEL, parser.parse_args().port)


if __name__ == "__main__":
    main()
