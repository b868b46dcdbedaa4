"""The airline's grader: what was written to its books, against the gold actions of the task.

Only calls that took effect count: a refused one changed nothing. Looking things up is free, and so is
handing over to a person, which writes nothing. A write is right if it holds every gold argument; fields
beside those (a flight's airports beside its number) say the same thing at more length.
"""

import json

WRITES = {
    "book_reservation",
    "cancel_reservation",
    "send_certificate",
    "update_reservation_baggages",
    "update_reservation_flights",
    "update_reservation_passengers",
}


def written(messages):
    # Paired in order, not by id: recorded agents do use one call id twice in a conversation.
    open_calls, done = [], []
    for message in messages:
        open_calls += message.get("tool_calls", [])
        if message["role"] == "tool" and open_calls:
            function = open_calls.pop(0)["function"]
            if function["name"] in WRITES and not (message["content"] or "").startswith("Error"):
                done.append((function["name"], json.loads(function["arguments"])))
    return done


def holds(given, gold):
    if isinstance(gold, dict):
        return isinstance(given, dict) and all(k in given and holds(given[k], gold[k]) for k in gold)
    if isinstance(gold, list):
        return isinstance(given, list) and len(given) == len(gold) and all(map(holds, given, gold))
    return given == gold


def grade(rollout, ground_truth):
    gold = [(a["name"], a["kwargs"]) for a in ground_truth["actions"] if a["name"] in WRITES]
    missing, forbidden = list(gold), 0
    for name, arguments in written(rollout["messages"]):
        match = next((g for g in missing if g[0] == name and holds(arguments, g[1])), None)
        if match is None:
            forbidden += 1
        else:
            missing.remove(match)
    # A task without a gold write is done right by writing nothing. Elsewhere a wrong write costs what a
    # right one earns: somebody has to find it and undo it.
    if not gold:
        return float(forbidden == 0)
    return max(0.0, (len(gold) - len(missing) - forbidden) / len(gold))
