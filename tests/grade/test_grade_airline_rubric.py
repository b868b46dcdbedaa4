"""A rubric of ready components over a benchmark's airline tasks: what it must reward and what it must not.

50 tasks with gold actions; 30 of them have a gold write, 20 are done right by writing nothing.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from conversations import Made, conversation
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared

from strop.grade.components import argument_accuracy, duplicate_writes, extra_writes, tool_coverage
from strop.grade.extract import view_of_episode
from strop.grade.rubric import Component, Rubric
from strop.records import Episode, JsonObject, Message, Usage

WRITES = (
    "book_reservation",
    "cancel_reservation",
    "send_certificate",
    "update_reservation_baggages",
    "update_reservation_flights",
    "update_reservation_passengers",
)
RUBRIC = Rubric(
    Component("writes_right", argument_accuracy("actions", names=WRITES, extra=True), weight=0.6, gate=True),
    Component("writes_made", tool_coverage(truth="actions", writes=WRITES), weight=0.2),
    Component("nothing_else", extra_writes("actions", writes=WRITES), weight=0.1),
    Component("nothing_twice", duplicate_writes(writes=WRITES, truth="actions"), weight=0.1),
)
REFUSALS = (
    "Error: payment amount does not add up, total price is 375, but paid 299",
    "Error",
    '{"error": "no such reservation"}',
    ' {"status": 409, "error": {"code": "conflict"}}',
)
Gold = list[tuple[str, JsonObject]]


@cache
def trials() -> list[JsonObject]:
    return json.loads(shared("data/tau_airline_gpt4o/trials_0_1.json").read_text())


@cache
def tasks() -> list[tuple[JsonObject, Gold]]:
    """Ground truth and gold actions of each task."""
    actions = {t["task_id"]: t["info"]["task"]["actions"] for t in trials()}
    assert len(actions) == 50
    return [({"actions": a}, [(c["name"], c["kwargs"]) for c in a]) for _, a in sorted(actions.items())]


def writing_tasks() -> list[tuple[JsonObject, Gold]]:
    found = [(truth, gold) for truth, gold in tasks() if any(name in WRITES for name, _ in gold)]
    assert len(found) == 30
    return found


def score(truth: JsonObject, calls: Gold) -> float:
    return RUBRIC(conversation([Made(name, arguments) for name, arguments in calls]), truth).score


def writes_of(gold: Gold) -> list[int]:
    return [i for i, (name, _) in enumerate(gold) if name in WRITES]


def test_gold_actions_replayed_score_one() -> None:
    scores = [score(truth, gold) for truth, gold in tasks()]
    print(f"gold replayed: {sum(s == 1.0 for s in scores)} of {len(scores)} tasks score 1.0")
    assert scores == [1.0] * 50


def dropped(gold: Gold) -> Iterator[Gold]:
    for i in writes_of(gold):
        yield gold[:i] + gold[i + 1 :]


def swapped(gold: Gold) -> Iterator[Gold]:
    for i in writes_of(gold):
        for other in WRITES:
            if other != gold[i][0]:
                yield [*gold[:i], (other, gold[i][1]), *gold[i + 1 :]]


def duplicated(gold: Gold) -> Iterator[Gold]:
    for i in writes_of(gold):
        yield [*gold[: i + 1], *gold[i:]]
        yield [*gold, gold[i]]


def added(gold: Gold) -> Iterator[Gold]:
    for name in WRITES:
        for arguments in ({}, {"reservation_id": "ZZZZZ9"}, {"user_id": "nobody_0000", "amount": 1}):
            for at in (0, len(gold)):
                yield [*gold[:at], (name, arguments), *gold[at:]]


def corrupted(gold: Gold) -> Iterator[Gold]:
    for i in writes_of(gold):
        name, arguments = gold[i]
        for path in places(arguments):
            for replacement in replacements(at(arguments, path)):
                yield [*gold[:i], (name, replaced(arguments, path, replacement)), *gold[i + 1 :]]
        for key in arguments:
            yield [*gold[:i], (name, {k: v for k, v in arguments.items() if k != key}), *gold[i + 1 :]]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every argument and everything in it."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def replaced(arguments: JsonObject, path: tuple[Any, ...], new: Any) -> JsonObject:
    changed = copy.deepcopy(arguments)
    at(changed, path[:-1])[path[-1]] = new
    return changed


def replacements(old: Any) -> list[Any]:
    """Other values, each of them something that the tool would do otherwise or refuse."""
    if isinstance(old, str):
        return [old + "X", old[:-1], "", None, [old]]
    if isinstance(old, int):
        return [old + 1, old - 1, -old - 1, str(old), None, bool(old), [old]]
    if isinstance(old, list):
        return [old[:-1], [*old, old[-1]], [], None]
    return [{}, None, *({k: v for k, v in old.items() if k != key} for key in old)]


MUTATIONS = {
    "a write dropped": dropped,
    "its tool swapped": swapped,
    "an argument corrupted": corrupted,
    "a write duplicated": duplicated,
    "an unknown write added": added,
}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_mutations_of_the_gold_writes_lower_the_score(kind: str) -> None:
    chosen = tasks() if kind == "an unknown write added" else writing_tasks()
    scores = [score(truth, calls) for truth, gold in chosen for calls in MUTATIONS[kind](gold)]
    lower = sum(s < 1.0 for s in scores)
    print(
        f"{kind}: {lower} of n = {len(scores)} lower ({lower / len(scores):.2%}), "
        f"mean {sum(scores) / len(scores):.3f}, highest {max(scores):.3f}"
    )
    assert len(scores) >= 40
    assert lower >= 0.99 * len(scores)


def test_changes_without_a_meaning_cost_nothing() -> None:
    n = 0
    for truth, gold in writing_tasks():
        longer = [(name, {**arguments, "reason": "as asked"}) for name, arguments in gold]
        turned = [(name, dict(reversed(arguments.items()))) for name, arguments in gold]
        floats = [
            (name, json.loads(json.dumps(arguments), parse_int=float)) for name, arguments in gold
        ]  # 5 and 5.0 are one JSON number
        only_writes = [gold[i] for i in writes_of(gold)]
        for calls in (longer, turned, floats, only_writes):
            assert score(truth, calls) == 1.0
            n += 1
    print(f"changes without a meaning: {n} of {n} still score 1.0")


def test_an_agent_that_does_nothing() -> None:
    idle = {bool(writes_of(gold)): list[float]() for _, gold in tasks()}
    for truth, gold in tasks():
        idle[bool(writes_of(gold))].append(score(truth, []))
    mean = {has: sum(scores) / len(scores) for has, scores in idle.items()}
    print(f"do nothing, {len(idle[True])} tasks with a gold write: mean {mean[True]:.3f}")
    print(f"do nothing, {len(idle[False])} tasks without one: mean {mean[False]:.3f}")
    assert (len(idle[True]), len(idle[False])) == (30, 20)
    assert mean[True] <= 0.1
    assert mean[False] == 1.0  # by construction: writing nothing is right there


def test_a_write_where_none_is_wanted_scores_nothing_of_the_outcome() -> None:
    for truth, gold in tasks():
        if not writes_of(gold):
            assert score(truth, [*gold, ("cancel_reservation", {"reservation_id": "Z7GOZK"})]) == 0.0


@given(st.data())
def test_a_retry_after_a_tool_error_costs_nothing(data: st.DataObject) -> None:
    truth, gold = data.draw(st.sampled_from(tasks()))
    made = [Made(name, arguments) for name, arguments in gold]
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(made)))
        name = data.draw(st.sampled_from([*WRITES, *(one.name for one in made)]))
        arguments = data.draw(
            st.sampled_from([one.arguments for one in made] + ['{"reservation_id": "?"}', "{oops"])
        )
        made.insert(where, Made(name, arguments, data.draw(st.sampled_from(REFUSALS))))
    ids = data.draw(st.sampled_from([None, "call_1"]))  # recorded agents do use an id twice
    together = data.draw(st.booleans())
    assert RUBRIC(conversation(made, call_id=ids, together=together), truth).score == 1.0


@settings(max_examples=100)
@given(st.data())
def test_the_order_of_reads_is_free(data: st.DataObject) -> None:
    truth, gold = data.draw(st.sampled_from([t for t in tasks() if len(t[1]) > 2]))
    reads = [call for call in gold if call[0] not in WRITES]
    kept = data.draw(st.lists(st.sampled_from(range(len(gold))), unique=True))
    writes = [gold[i] for i in sorted(kept) if gold[i][0] in WRITES]
    shuffled = data.draw(st.permutations(reads))
    assert score(truth, [*shuffled, *writes]) == score(truth, [*reads, *writes]) == score(truth, writes)


def test_what_the_benchmark_rewards_scores_one() -> None:
    passed: list[float] = []
    failed: list[float] = []
    flaws: Counter[str] = Counter()
    for trial in trials():
        episode = Episode(tuple(Message.from_openai(m) for m in trial["traj"]))
        truth = {"actions": trial["info"]["task"]["actions"]}
        rollout, _ = view_of_episode(episode, Usage(0, 0), ()).arguments("rollout", truth, {})
        scored = RUBRIC(rollout, truth)
        (passed if trial["reward"] == 1.0 else failed).append(scored.score)
        assert set(scored.feedback) == {name for name, c in scored.components.items() if c < 1.0}
        flaws.update(scored.feedback.keys())
    print(f"recorded with reward 1: n = {len(passed)}, mean {sum(passed) / len(passed):.3f}")
    print(f"recorded with reward 0: n = {len(failed)}, mean {sum(failed) / len(failed):.3f}, {dict(flaws)}")
    assert len(passed) + len(failed) == 100
    assert set(passed) == {1.0}
    # The benchmark also asks for spoken answers, which this rubric leaves out: two trials fail by these.
    assert sum(s == 1.0 for s in failed) <= 2
