"""What honest rollouts tell of a task: its answer's fields, its tools, and what a good attempt scores.

Nothing is read from the grader's source: probes must find what a policy could find.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from statistics import median
from typing import Any, Literal

import msgspec

from strop.grade.audit.acting import hands_in, is_write
from strop.grade.audit.rewrite import acts_of, assemble, keep_calls, map_acts, with_final, written
from strop.grade.extract import parse_answer
from strop.records import Grade, JsonObject, Rollout, Task, canonical_json

Kind = Literal["category", "number", "id", "text", "list", "object", "null"]
Score = Callable[[Sequence[tuple[Task, Rollout]]], list[Grade]]


EPS = 1e-9
MATTERS = 0.02
HEAVY = 0.25
_TEXT_WORDS = 4
_POOL = 40
_SPOILT = 12
_NEUTRAL = (
    "The office is open on weekdays from nine until five. Several rooms were painted last summer. "
    "A small garden lies behind the main building. Most people arrive by train or on foot. "
    "Lunch is served on the second floor near the stairs. The library keeps older maps in a drawer. "
    "In winter the lights are switched on earlier than usual. Some of the chairs have been repaired."
)


class Case(msgspec.Struct, frozen=True):
    """Honest attempts at one prompt."""

    task: Task
    rollouts: tuple[Rollout, ...]


class Slot(msgspec.Struct, frozen=True):
    """A place that an attempt fills: a key of the final answer or an argument of an acting tool.

    key "" is a final answer that is no JSON. pool: values of good attempts, most frequent first;
    recurring: how many of them occur in more than one case.
    """

    tool: str | None
    key: str
    kind: Kind
    pool: tuple[Any, ...]
    recurring: int

    @property
    def name(self) -> str:
        """The place in words."""
        return (self.key or "answer") if self.tool is None else f"{self.tool}({self.key})"

    def read(self, rollout: Rollout) -> list[Any]:
        """Return the values that a rollout has there: none, one, or one for each call."""
        if self.tool is not None:
            given = [a.parsed() for a in acts_of(rollout) if a.name == self.tool]
            return [arguments[self.key] for arguments in given if self.key in arguments]
        if self.key == "":
            return [] if rollout.final is None else [rollout.final]
        answer = _answer(rollout)
        return [answer[self.key]] if self.key in answer else []

    def put(self, rollout: Rollout, value: Any) -> Rollout:
        """Return the rollout with this value there; value may be what JSON does not know (NaN)."""
        if self.tool is not None:
            return map_acts(
                rollout,
                lambda act: (
                    [msgspec.structs.replace(act, arguments=written({**act.parsed(), self.key: value}))]
                    if act.name == self.tool
                    else [act]
                ),
            )
        if self.key == "":
            return with_final(rollout, written(value))
        return with_final(rollout, written({**_answer(rollout), self.key: value}))


class Own(msgspec.Struct, frozen=True):
    """What tells quickly whether accepted attempts have a value in one place."""

    keys: frozenset[bytes]
    numbers: frozenset[float]
    void: bool


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One case that says something: at least one honest attempt reaches the threshold.

    accepted: attempts at or over the threshold, the best first. failing: graded ones under it, the worst
    first. acts: every accepted attempt called an acting tool, so that doing nothing is wrong. own: what
    the accepted attempts have in each place, by its name; equal: the same, to compare with; others: what
    of the place's pool they have not. nothing: no call at all and a wrong answer. worthless: attempts
    with nothing right (all values wrong, no acting call), without calls and with look-ups; none where
    doing nothing may be right and no value of the answer is known to be graded.
    """

    index: int
    task: Task
    threshold: float
    accepted: tuple[Rollout, ...]
    failing: tuple[Rollout, ...]
    acts: bool = False
    own: dict[str, tuple[Any, ...]] = {}
    equal: dict[str, Own] = {}
    others: dict[str, tuple[Any, ...]] = {}
    nothing: Rollout | None = None
    worthless: tuple[tuple[str, Rollout], ...] = ()

    @property
    def best(self) -> Rollout:
        """The best attempt."""
        return self.accepted[0]

    def right(self, slot: Slot, value: Any) -> bool:
        """Say whether an accepted attempt has this value there, or one that a reader may take for it.

        A number is the same as text and as a number; what is empty is as good as nothing.
        """
        own = self.equal[slot.name]
        if same(value) in own.keys:
            return True
        number = _number(value)
        return number in own.numbers if number is not None else own.void and _void(value)


class Mined(msgspec.Struct, frozen=True, kw_only=True):
    """All that probes are built from.

    honest: mean honest score; failure: mean score of honest attempts under their threshold. said: what could
    not be used, in words. weight: what a good attempt loses on average where a place (by name), its
    acting calls ("acts") or its other calls ("reads") go wrong. linked: by the name of a place in the
    answer, the arguments of acting tools that have its value in good attempts. varied: by the name of a
    place, the cases that fill it, those with different right values first. closer: techniques that paid
    once and are to be tried in more cases.
    """

    known: tuple[Known, ...]
    slots: tuple[Slot, ...]
    acting: frozenset[str]
    typical: tuple[str, ...]
    honest: float | None
    failure: float
    attempts: int
    ungraded: int
    said: tuple[str, ...]
    weight: dict[str, float] = {}
    linked: dict[str, tuple[Slot, ...]] = {}
    varied: dict[str, tuple[Known, ...]] = {}
    closer: frozenset[str] = frozenset()

    @property
    def finals(self) -> tuple[Slot, ...]:
        """Places in the final answer."""
        return tuple(s for s in self.slots if s.tool is None)

    @property
    def checkable(self) -> tuple[Slot, ...]:
        """Places whose value is right or wrong, free text is not."""
        return tuple(s for s in self.slots if s.kind not in ("text", "null"))

    @property
    def texts(self) -> tuple[Slot, ...]:
        """Places of free text."""
        return tuple(s for s in self.slots if s.kind == "text")

    @property
    def main(self) -> frozenset[str]:
        """Names of the places of the answer that most of the reward hangs on: a quarter or more of it."""
        lost = {s.name: self.weight.get(s.name, 0.0) for s in self.finals}
        most = max(lost.values(), default=0.0)
        return frozenset(name for name, value in lost.items() if value >= max(HEAVY, most - EPS))

    @property
    def effects(self) -> frozenset[str]:
        """Acting tools that change the world; those that only hand an answer in may be called again."""
        return frozenset(n for n in self.acting if not hands_in(n))

    def others(self, known: Known) -> list[Known]:
        """Return the other cases, in an order that starts after this one."""
        at = next(i for i, k in enumerate(self.known) if k.index == known.index)
        return [*self.known[at + 1 :], *self.known[:at]]


def mine(
    cases: Sequence[Case], score: Score, *, writes: frozenset[str] | None = None, limit: int = 40
) -> Mined:
    """Grade the honest attempts and describe them; at most `limit` cases are kept, evenly spread."""
    pairs = [(case.task, rollout) for case in cases for rollout in case.rollouts]
    grades = score(pairs) if pairs else []
    graded = iter(grades)
    table = [[next(graded).score for _ in case.rollouts] for case in cases]
    values = [s for row in table for s in row if s is not None]
    known = _known(cases, table, values)
    names = {call.name for k in known for r in k.accepted for call in acts_of(r)}
    names |= {tool.name for case in cases for tool in case.task.tools}
    acting = frozenset(n for n in names if (n in writes if writes is not None else is_write(n)))
    known = [msgspec.structs.replace(k, acts=_acts(k, acting)) for k in known]
    calls = Counter(name for k in known for name in {a.name for a in acts_of(k.best)})
    slots = tuple(_slots(known, acting))
    mined = Mined(
        known=tuple(_with_own(k, slots) for k in _spread(known, limit)),
        slots=slots,
        acting=acting,
        typical=tuple(sorted(n for n, c in calls.items() if 2 * c >= len(known))),
        honest=sum(values) / len(values) if values else None,
        failure=_failure(cases, table, known),
        attempts=len(pairs),
        ungraded=len(pairs) - len(values),
        said=tuple(_said(cases, grades, values, known)),
        linked=_linked(known, slots),
    )
    mined = msgspec.structs.replace(mined, weight=_weights(mined, score))
    mined = msgspec.structs.replace(mined, known=tuple(_with_worthless(mined, k) for k in mined.known))
    return msgspec.structs.replace(mined, varied={s.name: _varied(mined.known, s) for s in slots})


def wrong(slot: Slot, known: Known, *, rare: bool = False) -> Any:
    """Return a value that no accepted attempt has there: common ones first, or the rarest."""
    others = known.others[slot.name]
    own = known.own[slot.name]
    if slot.kind == "number":
        numbers = [abs(v) for v in own if isinstance(v, int | float)]
        return 3 * max(numbers, default=1) + 7
    if slot.kind == "text":
        return neutral(max((len(str(v).split()) for v in own), default=12))
    if slot.kind == "list":
        mine_ = {same(v) for value in own if isinstance(value, list) for v in value}
        apart = [v for v in others if isinstance(v, list) and v and not mine_ & {same(x) for x in v}]
        return apart[0] if apart else ["other"]
    if slot.kind == "id":
        dated = [v for v in own if isinstance(v, str) and re.match(r"\d{4}-\d\d-\d\d", v)]
        if dated:
            return f"{int(dated[0][:4]) - 7:04d}{dated[0][4:]}"
    if slot.kind == "category" and all(isinstance(v, bool) for v in (*own, *others)):
        return not own[0] if own else False
    if others:
        return others[-1] if rare else others[0]
    return {} if slot.kind == "object" else "other"


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _void(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {} or _number(value) == 0


def neutral(words: int) -> str:
    """Return so many words of English text that answers nothing."""
    given = _NEUTRAL.split()
    text = [given[i % len(given)] for i in range(max(words, 1))]
    return " ".join(text).rstrip(".") + "."


def same(value: Any) -> bytes:
    """Return what equal values share; 1 and 1.0 are equal."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return canonical_json(value.strip() if isinstance(value, str) else value)


def _with_own(known: Known, slots: Sequence[Slot]) -> Known:
    own: dict[str, tuple[Any, ...]] = {}
    for slot in slots:
        values = {same(v): v for r in reversed(known.accepted) for v in reversed(slot.read(r))}
        own[slot.name] = tuple(reversed(values.values()))
    equal = {
        name: Own(
            frozenset(same(v) for v in values),
            frozenset(n for v in values if (n := _number(v)) is not None),
            any(_void(v) for v in values),
        )
        for name, values in own.items()
    }
    known = msgspec.structs.replace(known, own=own, equal=equal)
    others = {slot.name: tuple(v for v in slot.pool if not known.right(slot, v)) for slot in slots}
    return msgspec.structs.replace(known, others=others)


def _varied(cases: Sequence[Known], slot: Slot) -> tuple[Known, ...]:
    seen: Counter[bytes] = Counter()
    order: list[tuple[int, int, Known]] = []
    for i, known in enumerate(cases):
        if slot.read(known.best):
            right = same(known.own[slot.name][0])
            order.append((seen[right], i, known))
            seen[right] += 1
    return tuple(known for _, _, known in sorted(order, key=lambda o: o[:2]))


def _with_worthless(mined: Mined, known: Known) -> Known:
    answer = known.best
    for slot in mined.finals:
        if slot.kind != "null":
            answer = slot.put(answer, wrong(slot, known))
    nothing = assemble(answer, (), answer.final)
    finals = [s for s in mined.checkable if s.tool is None]
    acting = any(k.acts for k in mined.known)
    if not known.acts and acting and not any(mined.weight.get(s.name, 0.0) > MATTERS for s in finals):
        return msgspec.structs.replace(known, nothing=nothing)
    found = [("no calls", nothing)]
    if any(act.name not in mined.acting for act in acts_of(answer)):
        found.append(("look-ups", keep_calls(answer, lambda name: name not in mined.acting)))
    return msgspec.structs.replace(known, nothing=nothing, worthless=tuple(found))


def _failure(cases: Sequence[Case], table: Sequence[Sequence[float | None]], known: Sequence[Known]) -> float:
    rows = {k.index: k.threshold for k in known}
    failed = [
        s for i in range(len(cases)) if i in rows for s in table[i] if s is not None and s < rows[i] - EPS
    ]
    return sum(failed) / len(failed) if failed else 0.0


def _weights(mined: Mined, score: Score) -> dict[str, float]:
    """Measure what good attempts lose where one thing is made wrong, or its calls are left out."""
    spoilt: dict[str, list[tuple[Known, Rollout]]] = {}
    for known in _spread(list(mined.known), _SPOILT):
        best = known.best
        for slot in mined.slots:
            if slot.kind != "null" and slot.read(best):
                spoilt.setdefault(slot.name, []).append((known, slot.put(best, wrong(slot, known))))
        names = {act.name for act in acts_of(best)}
        if names & mined.acting:
            rest = keep_calls(best, lambda name: name not in mined.acting)
            spoilt.setdefault("acts", []).append((known, rest))
        if names - mined.acting:
            rest = keep_calls(best, lambda name: name in mined.acting)
            spoilt.setdefault("reads", []).append((known, rest))
    pairs = [
        (k.task, r)
        for made in spoilt.values()
        for known, bad in made
        for k, r in ((known, known.best), (known, bad))
    ]
    graded = iter(score(pairs) if pairs else [])
    weight: dict[str, float] = {}
    for name, made in spoilt.items():
        losses = [(next(graded).score, next(graded).score) for _ in made]
        known_losses = [good - (bad or 0.0) for good, bad in losses if good is not None]
        weight[name] = sum(known_losses) / len(known_losses) if known_losses else 0.0
    return weight


def _known(
    cases: Sequence[Case], table: Sequence[Sequence[float | None]], values: list[float]
) -> list[Known]:
    if not values or max(values) <= 0:
        return []
    # Where most attempts fail, the median is a failure's score: then only the upper half is good.
    floor = max(median(values), (min(values) + max(values)) / 2)
    found: list[Known] = []
    for i, (case, row) in enumerate(zip(cases, table, strict=True)):
        scored = [(s, j) for j, s in enumerate(row) if s is not None]
        if not scored or case.task.ground_truth is None:
            continue
        threshold = max(floor, median(s for s, _ in scored))
        good = sorted((-s, j) for s, j in scored if s >= threshold - EPS)
        poor = sorted((s, j) for s, j in scored if s < threshold - EPS)
        if good:
            rollouts = case.rollouts
            found.append(
                Known(
                    index=i,
                    task=case.task,
                    threshold=threshold,
                    accepted=tuple(rollouts[j] for _, j in good),
                    failing=tuple(rollouts[j] for _, j in poor),
                )
            )
    return found


def _slots(known: Sequence[Known], acting: frozenset[str]) -> list[Slot]:
    answers = [_answer(r) for k in known for r in k.accepted]
    plain = 2 * sum(bool(a) for a in answers) < len(answers)
    places: dict[tuple[str | None, str], None] = {(None, ""): None} if plain else {}
    if not plain:
        places.update({(None, key): None for a in answers for key in a})
    for k in known:
        for rollout in k.accepted:
            for act in acts_of(rollout):
                if act.name in acting:
                    places.update({(act.name, key): None for key in act.parsed()})
    slots: list[Slot] = []
    for tool, key in places:
        draft = Slot(tool, key, "null", (), 0)
        by_case = [[v for r in k.accepted for v in draft.read(r)] for k in known]
        counts = Counter(c for values in by_case for c in {same(v) for v in values if v is not None})
        first = {same(v): v for values in reversed(by_case) for v in reversed(values)}
        order = sorted(counts, key=lambda c: (-counts[c], c))
        kind = _kind([first[c] for c in order], sum(1 for v in by_case if v))
        recurring = sum(n > 1 for n in counts.values())
        slots.append(Slot(tool, key, kind, tuple(first[c] for c in order[:_POOL]), recurring))
    return slots


def _linked(known: Sequence[Known], slots: Sequence[Slot]) -> dict[str, tuple[Slot, ...]]:
    """Find the arguments that repeat a place of the answer, in four of five attempts that have both."""
    found: dict[str, tuple[Slot, ...]] = {}
    for slot in (s for s in slots if s.tool is None and s.key and s.kind not in ("text", "null")):
        said: list[Slot] = []
        for other in (s for s in slots if s.tool is not None and s.kind == slot.kind):
            both = [(slot.read(k.best), other.read(k.best)) for k in known]
            both = [(a, b) for a, b in both if a and b]
            equal = sum(same(a[0]) in {same(v) for v in b} for a, b in both)
            if len(both) > 1 and 5 * equal >= 4 * len(both):
                said.append(other)
        found[slot.name] = tuple(said)
    return found


def _kind(distinct: list[Any], cases: int) -> Kind:
    """Tell what sort of value stands in a place, by its distinct values and in how many cases it occurs."""
    if not distinct:
        return "null"
    if all(isinstance(v, bool) for v in distinct):
        return "category"
    sorts: list[tuple[type, Kind]] = [(dict, "object"), (list, "list")]
    for sort, kind in sorts:
        if sum(isinstance(v, sort) for v in distinct) * 2 > len(distinct):
            return kind
    if sum(isinstance(v, int | float) for v in distinct) * 2 > len(distinct):
        return "number"
    words = median(len(str(v).split()) for v in distinct)
    if words >= _TEXT_WORDS and median(_prose(str(v)) for v in distinct) >= 0.6:
        return "text"
    return "category" if len(distinct) <= max(2, cases // 3) else "id"


def _prose(text: str) -> float:
    """Return the share of a text's parts that are words; formulas, addresses and lists of codes have few."""
    parts = text.split()
    return sum(bool(re.fullmatch(r"\W?[^\W\d_]{2,}\W*", part)) for part in parts) / max(len(parts), 1)


def _said(
    cases: Sequence[Case], grades: Sequence[Grade], values: Sequence[float], known: Sequence[Known]
) -> Iterable[str]:
    if not grades:
        yield "no honest rollout was given: nothing can be probed"
    errors = Counter(g.error for g in grades if g.error is not None)
    if errors:
        first = min(errors.items(), key=lambda e: (-e[1], e[0]))[0]
        yield f"{sum(errors.values())} of {len(grades)} honest rollouts got no score, most often: {first}"
    if values and not known:
        yield "no honest rollout scores over 0: what a cheat would have to reach is not known"
    elif values and len(known) < len(cases):
        yield f"{len(cases) - len(known)} of {len(cases)} cases left out: no attempt there was good"


def _acts(known: Known, acting: frozenset[str]) -> bool:
    return all(any(a.name in acting for a in acts_of(r)) for r in known.accepted)


def _answer(rollout: Rollout) -> JsonObject:
    return {} if rollout.final is None else _parsed(rollout.final)


@lru_cache(maxsize=4096)
def _parsed(final: str) -> JsonObject:
    """The same answers are taken apart thousands of times; what is returned is never changed."""
    return parse_answer(final)[0] or {}


def _spread(known: list[Known], limit: int) -> list[Known]:
    if len(known) <= limit:
        return known
    return [known[i * len(known) // limit] for i in range(limit)]
