"""Whether the calls that were made have the gold calls' arguments."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from strop.grade.components.assignment import assign
from strop.grade.components.calls import Call, Refused, effective_calls, gold_calls, refused
from strop.grade.components.values import same, show
from strop.grade.rubric import Scored, ScoreFunction
from strop.records import JsonObject

_NAMED = 3


def argument_accuracy(
    truth: str,
    *,
    names: Collection[str] | None = None,
    missing: bool = True,
    extra: bool = False,
    strict: bool = False,
    refused: Refused = refused,
) -> ScoreFunction:
    """Score the mean, over gold calls, of the share of their arguments that are right.

    truth: key of the gold calls. names: only these tools. Each gold call is matched with at most one
    call of its name that was not refused, such that the shares are largest together. missing: a gold
    call without a match counts as all wrong; else it is left out (but without any match the score is 0).
    extra: a call that no gold call accounts for counts as one more, all wrong. strict: arguments beside
    the gold ones, which else say the same at more length, count as wrong. 1 where nothing is to be
    compared. Raises ValueError where the ground truth has no gold calls' list.
    """
    wanted_names = None if names is None else frozenset(names)

    def score(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
        gold = gold_calls(ground_truth, truth, wanted_names)
        calls = effective_calls(rollout, refused)
        if wanted_names is not None:
            calls = [call for call in calls if call.name in wanted_names]
        matches = _matched(gold, calls, strict)
        said: list[str] = []
        shares: list[float] = []
        for wanted, match in zip(gold, matches, strict=True):
            if match is None:
                said.append(f"no {wanted.name} for {show(wanted.arguments)}")
            else:
                shares.append(match[1])
                if match[1] < 1.0:
                    said.append(_objection(calls[match[0]], wanted, strict))
        counted = len(gold) if missing else len(shares)
        if extra:
            taken = {match[0] for match in matches if match is not None}
            beside = [call for i, call in enumerate(calls) if i not in taken]
            counted += len(beside)
            said += [f"{show(call.name)} with {show(call.raw)} is not wanted" for call in beside]
        if not counted:
            return Scored(0.0, _joined(said)) if gold else Scored(1.0)
        # Left-out gold calls are no fault here; tool_coverage counts them.
        value = sum(shares) / counted
        return Scored(1.0) if value == 1.0 else Scored(value, _joined(said))

    return score


def share_right(call: Call, gold: Call, strict: bool = False) -> float:
    """Return the share of a gold call's arguments that a call of its name has right, in [0, 1]."""
    given, wanted = call.arguments, gold.arguments or {}
    if given is None:
        return 0.0
    right = sum(name in given and same(given[name], wanted[name], extra=not strict) for name in wanted)
    of = len(wanted.keys() | given.keys()) if strict else len(wanted)
    return right / of if of else 1.0


def _matched(gold: Sequence[Call], calls: Sequence[Call], strict: bool) -> list[tuple[int, float] | None]:
    matches: list[tuple[int, float] | None] = [None] * len(gold)
    for name in dict.fromkeys(call.name for call in gold):
        rows = [i for i, call in enumerate(gold) if call.name == name]
        columns = [i for i, call in enumerate(calls) if call.name == name]
        if not columns:
            continue
        worth = [[share_right(calls[c], gold[r], strict) for c in columns] for r in rows]
        for row, shares, column in zip(rows, worth, assign(worth), strict=True):
            if column is not None:
                matches[row] = (columns[column], shares[column])
    return matches


def _objection(call: Call, gold: Call, strict: bool) -> str:
    given, wanted = call.arguments, gold.arguments or {}
    if given is None:
        return f"{gold.name} with {show(call.raw)}, which is no JSON object; expected {show(wanted)}"
    wrong = [
        f"{name} is {show(given[name]) if name in given else 'missing'}, expected {show(value)}"
        for name, value in wanted.items()
        if name not in given or not same(given[name], value, extra=not strict)
    ]
    if strict:
        wrong += [f"{show(name)} is not wanted" for name in given if name not in wanted]
    return f"{gold.name}: {_joined(wrong)}"


def _joined(parts: Sequence[str]) -> str:
    more = len(parts) - _NAMED
    return "; ".join(parts[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
