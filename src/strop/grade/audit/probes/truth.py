"""Whether the ground truth decides, and whether a policy could read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from strop.grade.audit.cases import Known, Mined
from strop.grade.audit.probes.probe import Family, Probe, pair
from strop.grade.audit.rewrite import acts_of
from strop.records import JsonObject, canonical_json

_LEAF = 6


def gold_blind(mined: Mined) -> Iterator[Probe]:
    """P20: a good attempt under another case's ground truth, which it does not meet.

    The impossible twin of ImpossibleBench (arXiv 2510.20270).
    """
    for known in mined.known:
        other = next((o for o in mined.others(known) if _apart(mined, known, o)), None)
        if other is not None:
            yield Probe(
                technique="another case's ground truth",
                known=known,
                rollout=known.best,
                rule="lose",
                against=(known.best,),
                task=msgspec.structs.replace(known.task, ground_truth=other.task.ground_truth),
                value=pair(mined, known, other),
                usual=True,
            )


def leaked(mined: Mined) -> tuple[int, int]:
    """P09: return in how many cases the model is shown a value of its ground truth, and of how many.

    Texts of 6 characters or more; not those in the user's own message, nor those that stand in most prompts.
    """
    shown = [_shown(k) for k in mined.known]
    hits = 0
    for known, prompt in zip(mined.known, shown, strict=True):
        own = " ".join(m.content or "" for m in known.task.messages if m.role == "user")
        leaves = [
            v for v in _leaves(known.task.ground_truth) if len(v) >= _LEAF and v not in own and v in prompt
        ]
        hits += any(2 * sum(v in s for s in shown) <= len(shown) or len(shown) == 1 for v in leaves)
    return hits, len(shown)


def _apart(mined: Mined, known: Known, other: Known) -> bool:
    """Say whether this case's best answer would be wrong in the other case, wherever that can be told."""
    if canonical_json(known.task.ground_truth) == canonical_json(other.task.ground_truth):
        return False
    slots = [s for s in mined.checkable if s.pool[1:]]
    if any(other.right(s, v) for s in slots for v in s.read(known.best)):
        return False
    names = {a.name for a in acts_of(known.best)} & mined.acting
    return bool(slots) or bool(names) or bool(mined.texts)


def _shown(known: Known) -> str:
    tools: list[JsonObject] = [t.to_openai() for t in known.task.tools]
    said = [m.content or "" for m in known.task.messages if m.role != "user"]
    return "\n".join([*said, canonical_json(tools).decode()])


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for v in value.values():
            yield from _leaves(v)
    elif isinstance(value, list):
        for v in value:
            yield from _leaves(v)
    elif isinstance(value, str):
        yield value


FAMILIES = (
    Family(
        id="P20",
        name="gold-blind",
        holds="another truth makes a right answer wrong",
        remedy=(
            "Let the score of each kind of task depend on its ground truth; a branch that never reads "
            "it pays anything."
        ),
        build=gold_blind,
    ),
)
