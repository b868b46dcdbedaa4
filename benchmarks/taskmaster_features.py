"""What can be seen of an agent's next step in a coffee order: features for `taskmaster_grader.py`.

Written by hand from rows of its training part: does the step cover what the customer wished, are ids and
options among those offered, does it repeat itself, is the order confirmed before it is finished; beside
them the step's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Json = dict[str, Any]

# What customers ask of a drink, as patterns over the words of both sides.
WISHES = {
    "oat": r"\boat",
    "almond": r"\balmond",
    "soy": r"\bsoy",
    "nonfat": r"\b(non ?fat|skim|fat free)",
    "two percent": r"(\b2 ?(%|percent)|\btwo percent)",
    "lactose": r"\blactose",
    "whole": r"\b(whole|regular)( milk)?\b",
    "half and half": r"\bhalf and half\b",
    "half the milk": r"\bhalf (of )?(the )?milk\b",
    "decaf": r"\bdecaf",
    "half caff": r"\bhalf ?caf",
    "iced": r"\b(iced?|cold(?! ?br))\b",
    "extra hot": r"\bextra hot\b",
    "hot": r"(?<!extra )\bhot\b(?! choc)",
    "room temperature": r"\broom temp",
    "single": r"\bsingle\b",
    "double": r"\b(double|two shots?|2 shots?)",
    "triple": r"\btrip",
    "quad": r"\bquad",
    "vanilla": r"\bvanill",
    "hazelnut": r"\bhazel",
    "caramel": r"\bcaramel",
    "chocolate": r"(?<!hot )\bchoc",
    "honey": r"\bhoney",
    "lavender": r"\blavender",
    "sugar free": r"\b(sugar ?free|sf)\b",
    "unsweetened": r"\bunsweet|\bno (sweeten|sugar)",
    "sugar": r"\bsugar\b(?! ?free)",
    "foam": r"\b(foam|dry)",
    "short": r"\bshort\b",
    "cream": r"\bcream",
    "to go": r"\b(to ?go|take ?out|take ?away)\b",
    "for here": r"\b(here|mug)\b",
}
DRINKS = {
    "cappuccino": r"\bcap+[aeuo]*c+h?[ieu]*[nao]|\bcap{1,2}\b|\bcappucion",
    "macchiato": r"\bm[ao]+c+h?[ia]+t",
    "cortado": r"\bcortad",
    "espresso": r"\be[sx]press?o",
    "mocha": r"\bmoch?a\b",
    "americano": r"\bamerican",
    "cold brew": r"\bcold ?brew",
    "steamer": r"\bsteamer",
    "hot chocolate": r"\bhot ch?oc",
    "flat white": r"\bflat white",
    "london fog": r"\blondon",
    "matcha": r"\bmat?cha?\b",
    "chai": r"\bchai",
    "latte": r"\blat+e",
    "tea": r"\b(tea|rooibos|roiboos|earl|jasmine|oolong|herbal)",
}
# The arguments that each API takes; anything else is invented.
APIS = {
    "show_menu": set[str](),
    "get_menu_items": {"query", "fields"},
    "get_addons": {"query", "menu_item_id", "scope"},
    "add_order_item": {"order_id", "menu_item_id", "quantity", "attributes", "addons", "notes"},
    "update_order_item": {"order_item_id", "attributes", "addons", "notes", "quantity"},
    "update_order": {"order_id", "attributes"},
    "remove_order_item": {"order_item_id"},
    "get_order_details": {"order_id"},
    "cancel_order": {"order_id"},
    "finish_order": {"order_id"},
}
_WISH = {name: re.compile(pattern) for name, pattern in WISHES.items()}
_DRINK = {name: re.compile(pattern) for name, pattern in DRINKS.items()}


def words(text: str) -> str:
    """Return the lower-case words, one space between them."""
    return " ".join(re.findall(r"[a-z0-9%]+", text.lower()))


def named(text: str, patterns: dict[str, re.Pattern[str]]) -> set[str]:
    """Return which of the wishes or drinks a text names."""
    plain = words(text)
    return {name for name, pattern in patterns.items() if pattern.search(plain)}


@dataclass
class State:
    """What has happened before the step: said, called, answered, offered."""

    users: list[str]
    agents: list[str]
    calls: list[tuple[str, Json]]
    last: str
    empty: bool
    items: dict[str, str]
    newest: set[str]
    offered: dict[str, set[str]]
    asked: bool
    order: str
    orders: set[str]


def state_of(context: Sequence[Json]) -> State:
    """Read a context; a turn that fits no pattern only shows as the last event."""
    s = State([], [], [], "start", False, {}, set(), {}, False, "", set())
    for turn in context:
        s.empty = False
        if turn["role"] == "user":
            s.users.append(turn.get("text", ""))
            s.last = "user"
        elif "text" in turn:
            s.agents.append(turn["text"])
            s.last = "agent"
        elif isinstance(turn.get("api"), dict):
            s.calls += [(k, v if isinstance(v, dict) else {}) for k, v in turn["api"].items()]
        elif isinstance(turn.get("response"), dict):
            for name, answer in turn["response"].items():
                s.last, s.empty = name, not isinstance(answer, dict) or not answer
                _learn(s, name, answer if isinstance(answer, dict) else {})
    return s


def _learn(s: State, name: str, answer: Json) -> None:
    """Take over what an API's answer offers."""
    if name == "get_menu_items":
        found = {str(i.get("menu_item_id")): str(i.get("name")) for i in answer.get("items", [])}
        s.items.update(found)
        s.newest = set(found)
    if name == "get_addons":
        s.asked = True
        for part in answer.get("attributes", []):
            s.offered.setdefault(str(part.get("attribute_id")), set()).update(
                str(o).lower() for o in part.get("options", [])
            )
        for part in answer.get("addons", []):
            s.offered.setdefault(str(part.get("addon_id")), set()).update({"add", "no"})
    if name == "get_order_details":
        s.order = json.dumps(answer)
    if "order_id" in answer:
        s.orders.add(str(answer["order_id"]))


def features(context: Sequence[Json], step: Json) -> dict[str, float]:
    """Return the named features of a step in its context."""
    s = state_of(context)
    call = step.get("api")
    if isinstance(call, dict) and call:
        name, arguments = next(iter(call.items()))
        arguments = arguments if isinstance(arguments, dict) else {}
        kind, out = name or "nothing", _of_call(s, name, arguments)
        said = " ".join(_leaves(arguments))
    else:
        said = str(step.get("text", ""))
        kind, out = "text", _of_text(s, said)
    event = s.last + (" empty" if s.empty else "")
    out |= {f"kind {kind}": 1.0, f"{event} > {kind}": 1.0, f"turns > {kind}": len(context) / 10}
    out |= {f"{kind}: {k}": v for k, v in _coverage(s, said).items()}
    tokens = words(said).split()
    out |= {f"{kind} word {t}": 0.3 for t in tokens}
    out[f"{kind}: length"] = np.log1p(len(tokens))
    return {key: float(value) for key, value in out.items()}


def _leaves(value: Any) -> list[str]:
    """Return all texts and numbers inside a JSON value."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [str(value)]


def _coverage(s: State, said: str) -> dict[str, float]:
    """Compare what the customer wished and what the step names."""
    heard = " . ".join(s.users)
    wished, last = named(heard, _WISH), named(s.users[-1] if s.users else "", _WISH)
    got = named(said, _WISH)
    spoken, known = set(words(heard).split()), set(words(said).split()) - {"or", "milk", "and", "the", "a"}
    drinks, mine = named(heard, _DRINK), named(said, _DRINK)
    chosen = named(" ".join(s.items.values()), _DRINK)
    out = {
        "wishes missed": len(wished - got),
        "any wish missed": bool(wished - got),
        "last wish missed": bool(last - got),
        "wishes invented": len(got - wished),
        "any wish invented": bool(got - wished),
        "wishes met": len(got & wished),
        "wishes": len(wished),
        "words invented": len(known - spoken) / max(len(known), 1),
        "drink invented": bool(mine - drinks),
        "drink met": bool(mine & drinks),
        "drink of the context not wished": bool(s.items) and bool(drinks) and not (chosen & drinks),
        "part of the drink lost": bool(s.items) and bool(drinks - chosen),
        "several drinks": len(drinks) > 1,
    }
    return (
        {k: float(v) for k, v in out.items()}
        | {f"missed {w}": 1.0 for w in wished - got}
        | {f"invented {w}": 1.0 for w in got - wished}
    )


def _of_call(s: State, name: str, arguments: Json) -> dict[str, float]:
    """Return what is right and wrong with a call's form."""
    earlier = [given for called, given in s.calls if called == name]
    query = words(str(arguments.get("query", "")))
    item = str(arguments.get("menu_item_id", ""))
    out = {
        "call repeated": any(given == arguments for given in earlier),
        "api repeated": bool(earlier),
        "query repeated": bool(query) and any(words(str(g.get("query", ""))) == query for g in earlier),
        "item unknown": bool(item) and item not in s.items,
        "item not the newest": bool(item) and bool(s.newest) and item not in s.newest,
        "item named otherwise": bool(item)
        and not (named(s.items.get(item, item), _DRINK) & named(" ".join(s.users), _DRINK)),
        "order unknown": "order_id" in arguments and str(arguments["order_id"]) not in s.orders,
        "order id missing": name == "add_order_item" and bool(s.orders) and "order_id" not in arguments,
        "whole order": "scope" in arguments,
        "whole order without place": "scope" in arguments and not named(query, _WISH) & {"to go", "for here"},
        "no item": name == "get_addons" and not item and "scope" not in arguments,
        "finished unconfirmed": name == "finish_order" and not s.order,
    }
    out = {f"{name}: {k}": float(v) for k, v in out.items()}
    out["api unknown"] = float(bool(name) and name not in APIS)
    out["arguments unknown"] = float(bool(set(arguments) - APIS.get(name, set(arguments))))
    if name == "get_menu_items":
        out |= _of_query(s, query, str(arguments.get("query", "")))
    if name in ("add_order_item", "update_order_item"):
        out |= {f"item: {k}": float(v) for k, v in _of_item(s, arguments).items()}
    return out


def _of_query(s: State, query: str, raw: str) -> dict[str, float]:
    wanted = named(s.users[-1] if s.users else "", _DRINK)
    asked = named(query, _DRINK)
    modifiers = named(query, _WISH)
    return {
        "menu: modifier in query": float(bool(modifiers)),
        "menu: in the customer's words": float(query in words(s.users[-1] if s.users else "")),
        "menu: drink part lost": float(bool(wanted - asked)),
        "menu: another drink": float(bool(asked - wanted)),
        "menu: drink unnamed": float(not wanted),
        "menu: space at the end": float(raw != raw.strip()),
        "menu: words": float(len(query.split())),
    }


def _of_item(s: State, arguments: Json) -> dict[str, float]:
    """Return whether options, addons and notes of an order item are among those offered."""
    attributes = [a for a in _list(arguments.get("attributes")) if isinstance(a, dict)]
    addons = [a for a in _list(arguments.get("addons")) if isinstance(a, dict)]
    notes = str(arguments.get("notes", ""))
    chosen = [(str(a.get("attribute_id", "")), str(a.get("option", "")).lower()) for a in attributes]
    options = " . ".join(o for values in s.offered.values() for o in values)
    names = " . ".join(s.offered)
    wished = named(" . ".join(s.users), _WISH)
    set_here = named(" . ".join(_leaves(attributes) + _leaves(addons)), _WISH)
    available = named(options, _WISH) | named(names, _WISH)
    noted = named(notes, _WISH)
    numbers = re.findall(r"\b(\d+|two|three|four)\b", words(" ".join(s.users)))
    return {
        "attribute unknown": any(a and a not in s.offered for a, _ in chosen),
        "addon among attributes": any("addon_id" in a for a in attributes),
        "option unknown": any(a in s.offered and o not in s.offered[a] for a, o in chosen),
        "addon unknown": any(str(a.get("addon_id")) not in s.offered for a in addons),
        "attribute twice": len({a for a, _ in chosen}) < len(chosen),
        "offered wish not set": len((wished & available) - set_here),
        "offered wish only noted": bool((noted & available) - set_here),
        "set without wish": bool(set_here - wished),
        "set both": bool(noted & set_here),
        "notes": bool(notes),
        "notes repeat the customer": bool(notes) and words(notes) == words(s.users[-1] if s.users else ""),
        "wish never looked up": bool(wished) and not s.asked,
        "wish not offered, not noted": len(wished - available - noted - {"to go", "for here"}),
        "number not kept": bool(numbers) and str(arguments.get("quantity", "1")) == "1",
        "number invented": not numbers and str(arguments.get("quantity", "1")) != "1",
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_DENIES = re.compile(r"\b(not|don t|doesn t|isn t|unavailable|unfortunately|sorry|no)\b")
_CONFIRMS = re.compile(r"\b(correct|right|confirm|look|looks|ready|screen|check)\b")
_ASKS = re.compile(r"\?|\b(would you|can you|could you|do you|please)\b", re.I)


def _of_text(s: State, said: str) -> dict[str, float]:
    """Return what is right and wrong with a sentence."""
    plain, own = words(said), set(words(said).split())
    before = [set(words(a).split()) for a in s.agents]
    closest = max((len(own & b) / max(len(own | b), 1) for b in before), default=0.0)
    offered = named(" ".join(s.items.values()), _DRINK)
    ordered, wished = named(s.order, _WISH), named(" . ".join(s.users), _WISH)
    event = s.last + (" empty" if s.empty else "")
    out = {
        "repeats itself": closest,
        "denies": bool(_DENIES.search(plain)),
        "denies what is offered": bool(_DENIES.search(plain)) and bool(named(said, _DRINK) & offered),
        "confirms": bool(_CONFIRMS.search(plain)),
        "asks": bool(_ASKS.search(said)),
        "names a drink not offered": bool(s.items) and bool(named(said, _DRINK) - offered),
        "order lacks a wish": bool(s.order) and bool(wished - ordered - {"to go", "for here"}),
        "order has another wish": bool(s.order) and bool(ordered - wished - {"to go", "for here"}),
    }
    return {f"text: {k}": float(v) for k, v in out.items()} | {
        f"{event} text: {k}": float(v) for k, v in out.items() if k in ("denies", "confirms", "asks")
    }
