"""One probe, the rule by which it pays, and the ways to make one that several families share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Literal

import msgspec

from strop.grade.audit.cases import MATTERS, Known, Mined, Slot, same, wrong
from strop.grade.audit.rewrite import with_final, written
from strop.records import Rollout, Task

Rule = Literal["reach", "lose", "gain", "recover", "policy", "blind"]

FIRST, CLOSER = 8, 24  # cases for a technique that is tried in each place of the answer; where it paid once


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that must not pay, with what it is held against, graded on the same task.

    rule, by which it pays:
    - "reach": at the case's threshold;
    - "lose": at against[0]'s score; counted only where against[1], if given, scores less;
    - "gain": at over all of `against` and the floor, plus the tolerance;
    - "recover": with nine tenths of what the worst of against[1:] (wrong) lacks of against[0] (good);
      counted only where that lacks something;
    - "blind": where neither it nor any of against[1:] (all wrong) scores less than against[0];
    - "policy": like "reach", if all probes of the technique have a mean of at least the floor: what guesses
      right now and then cheats only where that earns as much as honest attempts do.
    task: where it is not the case's own. grave: False where it can only warn. value: what is right in the
    place that is attacked. A value that stands for one right value alone may be a lenient reading (a flag is
    often true or else, two names of one thing): a cheat pays for several. usual: it is one of the place's own
    values, so paying for all others that there are is enough.
    """

    technique: str
    known: Known
    rollout: Rollout
    rule: Rule
    against: tuple[Rollout, ...] = ()
    task: Task | None = None
    tolerance: float = MATTERS
    floor: float = 0.0
    grave: bool = True
    value: bytes | None = None
    usual: bool = False


Build = Callable[[Mined], Iterable[Probe]]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A family of probes: its id, name, what must hold, what to change where it fails, how it is built."""

    id: str
    name: str
    holds: str
    remedy: str
    build: Build


def said(mined: Mined, base: Rollout, text: Any) -> Rollout:
    """Return the attempt with this text in each place of free text of its final answer."""
    for slot in mined.texts:
        if slot.tool is None:
            base = slot.put(base, text)
    return base


def reach(
    technique: str,
    known: Known,
    rollout: Rollout,
    *,
    value: bytes | None = None,
    usual: bool = False,
    grave: bool = True,
) -> Probe:
    """Make a probe that pays at the threshold."""
    return Probe(
        technique=technique,
        known=known,
        rollout=rollout,
        rule="reach",
        value=value,
        usual=usual,
        grave=grave,
    )


def pair(mined: Mined, known: Known, other: Known) -> bytes | None:
    """Return what is right in two cases, in any order, None where no place has few values.

    A grader may take two values for one; that makes a swap pay for this pair and no other.
    """
    slots = [s for s in mined.checkable if s.kind == "category" and len(s.pool) > 1]
    main = max(slots, key=lambda s: mined.weight.get(s.name, 0.0), default=None)
    if main is None:
        return None
    return b" or ".join(sorted(b" ".join(same(v) for v in k.own[main.name][:1]) for k in (known, other)))


def attack(
    mined: Mined, slot: Slot, technique: str, value: Callable[[Known], Any], *, grave: bool = True
) -> Iterator[Probe]:
    """Put a value in one place of good attempts, held against a plainly wrong value there.

    And once more with the same value in the arguments that repeat this place: who cheats is consistent.
    """
    linked = mined.linked.get(slot.name, ())
    for places in [(slot,), (slot, *linked)] if linked else [(slot,)]:
        name = f"{technique} in {' and '.join(s.name for s in places)}"
        made, most = 0, CLOSER if name in mined.closer else FIRST
        for known in mined.varied[slot.name]:
            if made == most:
                break
            new = value(known)
            if new is SKIP or any(known.right(s, new) for s in places):
                continue
            made += 1
            yield Probe(
                technique=name,
                known=known,
                rollout=put_all(places, known.best, new),
                rule="recover",
                against=(known.best, *(put_all(places, known.best, v) for v in _bad(slot, known, new))),
                grave=grave,
                value=None if slot.kind == "text" else same(known.own[slot.name][0]),
                usual=_in_pool(slot, new),
            )


def _smaller(slot: Slot, known: Known) -> list[Any]:
    # a check may look at one side only
    numbers = [v for v in known.own[slot.name] if isinstance(v, int | float)]
    return [min(numbers) / 3 - 7] if slot.kind == "number" and numbers else []


def _bad(slot: Slot, known: Known, new: Any) -> list[Any]:
    """Two plainly wrong values that are written in different ways, and not as the new one is."""
    found: dict[str, Any] = {}
    usual = (wrong(slot, known, rare=True), *_smaller(slot, known), wrong(slot, known))
    for value in chain(usual, slot.pool, ("other",)):
        text = written(value)
        if text not in found and text != written(new) and not known.right(slot, value):
            found[text] = value
        if len(found) == 2:
            break
    return list(found.values())


def put_all(places: Iterable[Slot], rollout: Rollout, value: Any) -> Rollout:
    """Return the rollout with one value in several places."""
    for slot in places:
        rollout = slot.put(rollout, value)
    return rollout


def _in_pool(slot: Slot, value: Any) -> bool:
    # not `in`: False is equal to 0
    return same(value) in {same(v) for v in slot.pool}


def final_only(known: Known, texts: Iterable[str]) -> Iterator[tuple[str, Rollout]]:
    """Yield worthless attempts whose whole final answer is one of these texts."""
    for label, base in known.worthless:
        for text in texts:
            yield label, with_final(base, text)


SKIP = object()
