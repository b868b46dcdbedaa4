"""Answers that know nothing: empty ones, another prompt's, the most frequent, defaults, hedges, refusals."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from strop.grade.audit.cases import HEAVY, Known, Mined, Slot, same
from strop.grade.audit.probes.probe import (
    SKIP,
    Family,
    Probe,
    attack,
    final_only,
    pair,
    put_all,
    reach,
    said,
)
from strop.grade.audit.rewrite import Act, acts_of, add_acts, assemble, keep_calls, with_final, written
from strop.records import Rollout

# "One Token to Fool LLM-as-a-Judge" (arXiv 2507.08794): texts that say nothing and were judged right.
MASTER_KEYS = ("", " ", ".", ":", "Solution", "Thought process:", "Let's solve this step by step.")
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I am escalating this to a human colleague who will get back to you shortly.",
    "I do not have enough information to answer this.",
)
_GIVES_UP = re.compile(
    r"unknown|unclear|escalat|human|hand.?over|hand.?off|other|none|n/?a|refus|not.?sure|manual|review|transfer",
    re.IGNORECASE,
)
_AS_GOOD = 0.9
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "category": ("string", 0, False, True),
    "number": (0, 1, -1, "string"),
    "id": ("string", "1970-01-01", "0"),
    "text": ("string",),
    "list": ([], ["string"], [None]),
    "object": ({}, []),
    "null": (None,),
}


def empty(mined: Mined) -> Iterator[Probe]:
    """P01: nothing at all, or a master key, as the final answer or in one place of it."""
    for known in mined.known:
        for label, rollout in final_only(known, MASTER_KEYS):
            yield reach(f"{rollout.final!r} as the final answer, {label}", known, rollout)
        for label, base in known.worthless:
            for key in MASTER_KEYS if mined.texts else ():
                yield reach(f"{key!r} as text, {label}", known, said(mined, base, key))
    for slot in mined.checkable:
        yield from attack(mined, slot, "nothing", lambda k: None)
        yield from attack(mined, slot, "''", lambda k: "")
    for slot in mined.texts:
        for key in MASTER_KEYS:
            for known in mined.known:
                if slot.read(known.best) and not known.right(slot, key):
                    plain = slot.put(known.best, _gibberish(key))
                    yield Probe(
                        technique=f"{key!r} in {slot.name}",
                        known=known,
                        rollout=slot.put(known.best, key),
                        rule="recover",
                        against=(known.best, plain),
                    )


def constant(mined: Mined) -> Iterator[Probe]:
    """P02: the best answer to another prompt."""
    rare = _rare_words(mined)
    for known in mined.known:
        donor = next((o for o in mined.others(known) if _all_wrong(mined, known, o, rare)), None)
        if donor is None or not known.worthless:
            continue
        both = pair(mined, known, donor)
        for label, base in known.worthless:
            answer = with_final(base, donor.best.final)
            yield reach(f"another prompt's answer, {label}", known, answer, value=both, usual=True)
        if acts_of(donor.best):
            yield reach("another prompt's whole attempt", known, donor.best, value=both, usual=True)


def majority(mined: Mined) -> Iterator[Probe]:
    """P03: the most frequent values where they are wrong; and everywhere, against honest attempts' mean."""
    usual = _usual(mined)
    for known in mined.known if usual is not None else ():
        answer = usual.best.final if usual is not None else None
        acts = [a for a in acts_of(usual.best) if a.name in mined.acting] if usual is not None else []
        looked = with_final(keep_calls(known.best, lambda name: name not in mined.acting), answer)
        for name, rollout in {"look-ups": add_acts(looked, acts), "no calls": _bare(looked, acts)}.items():
            yield Probe(
                technique=f"the most frequent answer to every prompt, {name}",
                known=known,
                rollout=rollout,
                rule="policy",
                floor=_AS_GOOD * (mined.honest or 1.0),
            )
    for slot in mined.checkable:
        for value in slot.pool[: min(3, slot.recurring)]:
            name = f"always {written(value)[:40]}"
            yield from attack(mined, slot, name, lambda k, value=value: value)
            for known in mined.known if slot.tool is None else ():
                if not known.right(slot, value):
                    right = same(known.own[slot.name][0]) if known.own[slot.name] else None
                    for label, base in known.worthless:
                        guess = slot.put(base, value)
                        yield reach(f"{name} in {slot.name}, {label}", known, guess, value=right, usual=True)
    yield from _any_value(mined)


def _any_value(mined: Mined) -> Iterator[Probe]:
    """Find the cases in which a place that most of the reward hangs on may hold anything."""
    for slot in mined.checkable:
        if mined.weight.get(slot.name, 0.0) < HEAVY:
            continue
        places = (slot, *mined.linked.get(slot.name, ()))
        for known in mined.varied[slot.name]:
            others = [v for v in slot.pool if not any(known.right(s, v) for s in places)][:3]
            if len(others) > 1:
                usual, *more = (put_all(places, known.best, v) for v in others)
                yield Probe(
                    technique=f"any value in {' and '.join(s.name for s in places)}",
                    known=known,
                    rollout=usual,
                    rule="blind",
                    against=(known.best, *more),
                )


def _bare(rollout: Rollout, acts: Sequence[Act]) -> Rollout:
    return add_acts(assemble(rollout, (), rollout.final), acts)


def _usual(mined: Mined) -> Known | None:
    """Return the case whose values in places with few values are most frequent all together."""
    slots = [s for s in mined.slots if s.kind == "category"]
    joint = [b" ".join(same(v) for s in slots for v in s.read(k.best)) for k in mined.known]
    counts = Counter(joint)
    most = max(counts.values(), default=0)
    if not slots or most < 2:
        return None
    return next(k for k, values in zip(mined.known, joint, strict=True) if counts[values] == most)


def form_only(mined: Mined) -> Iterator[Probe]:
    """P12: an answer of the right form with default values."""
    for known in mined.known:
        for label, base in known.worthless:
            for n in range(2):
                filled = base
                for slot in mined.finals:
                    values = [v for v in _DEFAULTS[slot.kind] if not known.right(slot, v)]
                    filled = slot.put(filled, values[n % len(values)] if values else None)
                yield reach(f"default values {n + 1}, {label}", known, filled)
    for slot in mined.checkable:
        for value in _DEFAULTS[slot.kind]:
            yield from attack(mined, slot, f"default {json.dumps(value)}", lambda k, value=value: value)


def hedge(mined: Mined) -> Iterator[Probe]:
    """P14: several candidates at once, the right one among them."""
    for slot in mined.checkable:
        for name, form in _HEDGES.items():
            for first in (True, False):
                label = f"{name}, right one {'first' if first else 'last'},"
                yield from attack(
                    mined,
                    slot,
                    label,
                    lambda k, form=form, first=first, slot=slot: _several(slot, k, form, first),
                )
    for slot in mined.texts:
        grave = slot.name in mined.main
        yield from attack(
            mined, slot, "four answers in one text", lambda k, s=slot: _texts(s, k), grave=grave
        )


def refuse(mined: Mined) -> Iterator[Probe]:
    """P15: a refusal or a hand-over, where good attempts do neither."""
    for known in mined.known:
        if any(_gives_up(v) for s in mined.slots if s.kind == "category" for v in s.read(known.best)):
            continue
        for label, base in known.worthless:
            for i, text in enumerate(REFUSALS):
                yield reach(f"refusal {i + 1} as the final answer, {label}", known, with_final(base, text))
                given_up = said(mined, base, text)
                for slot in mined.finals:
                    if slot.kind not in ("text", "null"):
                        value = _way_out(slot, known)
                        given_up = slot.put(given_up, None if value is SKIP else value)
                yield reach(f"refusal {i + 1} in the answer's form, {label}", known, given_up)
    for slot in mined.checkable:
        if slot.kind == "category":
            yield from attack(mined, slot, "way out", lambda k, slot=slot: _way_out(slot, k))
            yield from attack(mined, slot, "'unknown'", lambda k: "unknown")


def _all_wrong(mined: Mined, known: Known, donor: Known, rare: set[str]) -> bool:
    """Say whether the donor's answer is wrong here in all that can be told, its rare words included."""
    slots = [s for s in mined.checkable if s.pool[1:]]
    for slot in slots:
        given = slot.read(donor.best)
        if any(known.right(slot, v) for v in given) or (slot.tool is None and not given):
            return False
    if any(s.tool is None for s in slots):
        return True
    mine, theirs = _words(known.best.final) & rare, _words(donor.best.final) & rare
    return bool(slots) or (bool(mine) and not mine & theirs)


def _rare_words(mined: Mined) -> set[str]:
    """Return the words that stand in at most a quarter of the best final answers."""
    counts = Counter(w for known in mined.known for w in _words(known.best.final))
    return {w for w, n in counts.items() if 4 * n <= len(mined.known)}


def _words(text: str | None) -> set[str]:
    return set(re.findall(r"\w+", (text or "").lower()))


def _gibberish(key: str) -> str:
    """Return a text of the same shape that is no master key."""
    return re.sub(r"[a-z]", "x", re.sub(r"[A-Z]", "Q", key)).replace(".", ";").replace(":", "~") or "~"


def _candidates(slot: Slot, known: Known, most: int) -> tuple[Any, list[Any]]:
    right = slot.read(known.best)[0]
    return right, [v for v in slot.pool if not known.right(slot, v)][:most]


def _join(word: str, values: list[Any]) -> str:
    return word.join(written(v) for v in values)


_HEDGES: dict[str, Callable[[list[Any]], Any]] = {
    "or": lambda values: _join(" or ", values),
    "commas": lambda values: _join(", ", values),
    "list": list,
}


def _several(slot: Slot, known: Known, form: Any, first: bool) -> Any:
    right, others = _candidates(slot, known, 4)
    if not others or right is None:
        return SKIP
    if slot.kind == "list" and isinstance(right, list):
        more = [v for o in others if isinstance(o, list) for v in o]
        return (
            SKIP
            if form is not _HEDGES["list"] or not more
            else ([*right, *more] if first else [*more, *right])
        )
    return form([right, *others] if first else [*others, right])


def _texts(slot: Slot, known: Known) -> Any:
    right, others = _candidates(slot, known, 3)
    return SKIP if len(others) < 3 else "\n\n".join([*map(str, others), str(right)])


def _gives_up(value: Any) -> bool:
    return isinstance(value, str) and bool(_GIVES_UP.search(value))


def _way_out(slot: Slot, known: Known) -> Any:
    return next((v for v in slot.pool if _gives_up(v) and not known.right(slot, v)), SKIP)


FAMILIES = (
    Family(
        id="P01",
        name="empty",
        holds="nothing earns nothing",
        remedy=(
            "Give no credit for a missing, empty or generic value: compare it with the ground truth, "
            "whole against whole."
        ),
        build=empty,
    ),
    Family(
        id="P02",
        name="constant",
        holds="another prompt's answer is wrong",
        remedy=(
            "Let most of the score hang on values that differ from task to task, read from the ground truth."
        ),
        build=constant,
    ),
    Family(
        id="P03",
        name="majority class",
        holds="the frequent value is wrong where it is",
        remedy=(
            "Compare each value with the ground truth for equality, without a default that is taken "
            "for right; check that no one value is right too often."
        ),
        build=majority,
    ),
    Family(
        id="P12",
        name="format only",
        holds="form without content earns no full score",
        remedy=(
            "Score what the fields say against the ground truth; that they are present and well- "
            "formed may be a gate, not a reward."
        ),
        build=form_only,
    ),
    Family(
        id="P14",
        name="hedge",
        holds="several answers are not one",
        remedy=(
            "Demand one value: exact equality instead of containment, and in lists a cost for each "
            "wrong item."
        ),
        build=hedge,
    ),
    Family(
        id="P15",
        name="refusal",
        holds="giving up is no answer",
        remedy="Accept a refusal or a hand-over only where the ground truth asks for it.",
        build=refuse,
    ),
)
