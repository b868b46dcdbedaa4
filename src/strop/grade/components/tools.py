"""Which tools were called: the wanted ones, in order, no others, none twice.

Only calls that took effect count: one that its tool refused is not done, and trying again is free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Literal

from strop.grade.components.calls import Call, Refused, effective_calls, gold_calls, refused
from strop.grade.components.sets import common_subsequence
from strop.grade.components.values import hashable, show, truth_of
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject

_NAMED = 5


def tool_coverage(
    *names: str,
    truth: str | None = None,
    writes: Collection[str] | None = None,
    reads: bool = False,
    refused: Refused = refused,
) -> ScoreFunction:
    """Score the share of required calls that were made, by name; a tool that is required twice counts twice.

    Required are `names`, or the gold calls under the key `truth`: those to tools in `writes`, and with
    reads=True (or without `writes`) all. 1 where nothing is required.
    Raises ValueError where the ground truth has no gold calls' list.
    """
    _one_of(names, truth)
    required = None if writes is None or reads else frozenset(writes)

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        gold = names if truth is None else [c.name for c in gold_calls(ground_truth, truth, required)]
        lacking = Counter(gold)
        lacking -= Counter(call.name for call in effective_calls(rollout, refused))
        if not lacking:
            return Scored(1.0)
        return Scored(1 - lacking.total() / len(gold), f"not called: {_counted(lacking)}")

    return score


def tool_order(
    *names: str,
    truth: str | None = None,
    mode: Literal["prefix", "subsequence"] = "prefix",
    partial: bool = False,
    refused: Refused = refused,
) -> ScoreFunction:
    """Score 1 where the tools were called in an order, else 0.

    The order is `names`, or the list under the key `truth`, of names or gold calls. prefix: the first
    calls are these; subsequence: others may come between. partial: the share of the order that is met
    (its longest common prefix or subsequence with the calls) instead of 0.
    Raises ValueError where the ground truth has no such list.
    """
    _one_of(names, truth)
    if mode not in ("prefix", "subsequence"):
        raise ValueError(f"mode is {mode!r}; give 'prefix' or 'subsequence'")

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        wanted = list(names) if truth is None else _order(ground_truth, truth)
        called = [call.name for call in effective_calls(rollout, refused)]
        if mode == "prefix":
            met = next((i for i, (a, b) in enumerate(zip(wanted, called, strict=False)) if a != b), None)
            met = min(len(wanted), len(called)) if met is None else met
        else:
            met = common_subsequence(wanted, called)
        if met == len(wanted):
            return Scored(1.0)
        value = met / len(wanted) if partial else 0.0
        return Scored(value, f"called {_listed(called)}, expected {mode} {_listed(wanted)}")

    return score


def forbidden_calls(*names: str, refused: Refused = refused) -> ScoreFunction:
    """Score 0 where any of these tools was called and did not refuse, else 1."""
    if not names:
        raise ValueError("forbidden_calls() forbids nothing: name the tools")
    banned = frozenset(names)

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        found = Counter(call.name for call in effective_calls(rollout, refused) if call.name in banned)
        return Scored(0.0, f"forbidden: {_counted(found)}") if found else Scored(1.0)

    return score


def extra_writes(truth: str, *, writes: Collection[str], refused: Refused = refused) -> ScoreFunction:
    """Score the share of writes that a gold call of the same tool accounts for; 1 without any write.

    Right tools with wrong arguments are argument_accuracy's to find.
    Raises ValueError where the ground truth has no gold calls' list.
    """
    watched = frozenset(writes)

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        gold = Counter(call.name for call in gold_calls(ground_truth, truth, watched))
        made = Counter(call.name for call in effective_calls(rollout, refused) if call.name in watched)
        beside = made - gold
        if not beside:
            return Scored(1.0)
        return Scored(1 - beside.total() / made.total(), f"not wanted: {_counted(beside)}")

    return score


def duplicate_writes(
    *, writes: Collection[str], truth: str | None = None, refused: Refused = refused
) -> ScoreFunction:
    """Score 1 / (1 + n), n the writes that repeat an earlier one with equal arguments.

    truth: key of gold calls, which may repeat themselves as often as they do there.
    """
    watched = frozenset(writes)

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        calls = [call for call in effective_calls(rollout, refused) if call.name in watched]
        allowed: Counter[Hashable] = Counter()
        if truth is not None:
            allowed = Counter(_identity(call) for call in gold_calls(ground_truth, truth, watched))
        repeated: Counter[str] = Counter()
        seen: Counter[Hashable] = Counter()
        for call in calls:
            identity = _identity(call)
            seen[identity] += 1
            if seen[identity] > max(1, allowed[identity]):
                repeated[call.name] += 1
        if not repeated:
            return Scored(1.0)
        return Scored(1 / (1 + repeated.total()), f"written again with equal arguments: {_counted(repeated)}")

    return score


def _identity(call: Call) -> Hashable:
    return call.name, hashable(call.raw if call.arguments is None else call.arguments)


def _one_of(names: Sequence[str], truth: str | None) -> None:
    if bool(names) is (truth is not None):
        raise ValueError("give the tools' names, or the ground truth's key that holds them as truth=...")


def _order(ground_truth: JsonObject, key: str) -> list[str]:
    listed = truth_of(ground_truth, key)
    if isinstance(listed, list) and all(isinstance(name, str) for name in listed):
        return listed
    return [call.name for call in gold_calls(ground_truth, key)]


def _counted(names: Counter[str]) -> str:
    return _listed(name if count == 1 else f"{name} ({count} times)" for name, count in names.items())


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = ", ..." if len(shown) > _NAMED else ""
    return (", ".join(show(name) for name in shown[:_NAMED]) + more) or "nothing"
