"""Rollouts: every draw is its own, and what is trained on is exactly what was sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from taught import Taught, episode, taught

from strop.environments import Limits, ReplayTable, Trajectory, roll_out, task_of
from strop.environments.replay import MISS, recorded_results
from strop.models.render import parse_reply
from strop.records import Message, Task, ToolCall

LIMITS = Limits(max_turns=3, max_new_tokens=70, max_tokens=400, rows=64)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return taught(tmp_path_factory.mktemp("taught"), steps=80, lr=0.01)


def tasks_of(policy: Taught) -> list[Task]:
    return [task for task in map(task_of, policy.episodes) if task is not None]


def table_of(policy: Taught) -> ReplayTable:
    return ReplayTable(recorded_results(policy.episodes, {"train"}))


def rolled(policy: Taught, tasks: Sequence[Task], limits: Limits = LIMITS, **how: Any) -> list[Trajectory]:
    return list(roll_out(policy.model, policy.renderer, tasks, table_of(policy), limits, **how))


def test_the_taught_policy_repeats_its_episodes(policy: Taught) -> None:
    assert policy.losses[-1] < 0.05 < policy.losses[0]
    for one, expected in zip(rolled(policy, tasks_of(policy)), policy.episodes, strict=True):
        got = one.rollout("tiny")
        assert [m.content for m in got.messages] == [
            m.content for m in expected.trace.episodes[0].messages[1:]
        ]
        assert (
            got.messages[0].tool_calls[0].key() == expected.trace.episodes[0].messages[1].tool_calls[0].key()
        )
        assert (got.final, got.turns, got.misses, got.problem) == (
            expected.trace.episodes[0].messages[-1].content, 2, 0, None,
        )  # fmt: skip


def test_a_rollout_depends_on_its_seed_task_and_index_alone(policy: Taught) -> None:
    tasks = [
        *tasks_of(policy),
        *(t for n in (3, 4, 5) if (t := task_of(episode(n, asked=f"where is {n}?" * n))) is not None),
    ]
    sampled = {"temperature": 1.5, "seed": "s/0"}
    together = rolled(policy, tasks, group=3, **sampled)
    by_place = {(t.task.task_id, i % 3): t for i, t in enumerate(together)}
    assert [t.task.task_id for t in together] == [t.task_id for t in tasks for _ in range(3)]
    assert len({tuple(t.ids) for t in together}) == len(together)
    alone = rolled(policy, tasks, replace(LIMITS, rows=3), group=3, **sampled)
    backwards = rolled(policy, tasks[::-1], replace(LIMITS, rows=7), group=2, **sampled)
    single = rolled(policy, tasks[2:], group=1, **sampled)
    for size, others in ((3, alone), (2, backwards), (1, single)):
        for i, other in enumerate(others):
            one = by_place[other.task.task_id, i % size]
            assert one.ids == other.ids
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    elsewhere = rolled(policy, tasks, group=3, temperature=1.5, seed="s/1")
    assert all(a.ids != b.ids for a, b in zip(together, elsewhere, strict=True))


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_tokens_in_are_tokens_out(policy: Taught, temperature: float) -> None:
    renderer = policy.renderer
    for t in rolled(policy, tasks_of(policy), group=4, temperature=temperature, seed="x"):
        assert t.ids[: t.prompt_tokens] == renderer.prompt(t.task.messages, t.task.tools)
        assert len(t.ids) == len(t.sampled)
        assert sum(t.sampled) == len(t.logprobs) == len(t.entropies)
        at, calls = t.prompt_tokens, 0
        messages = list(t.messages)
        while messages:
            turn: list[int] = []
            while at < len(t.ids) and t.sampled[at]:
                turn.append(t.ids[at])
                at += 1
            stopped = turn[-1] == renderer.end
            assert renderer.end not in turn[:-1]
            said = parse_reply(renderer.decode(turn[:-1] if stopped else turn), calls)
            assert messages.pop(0) == said
            calls += len(said.tool_calls)
            results = [messages.pop(0) for _ in said.tool_calls if stopped]
            if stopped and said.tool_calls and at < len(t.ids):
                after = renderer.after_reply(results)
                assert t.ids[at : at + len(after)] == after
                assert not any(t.sampled[at : at + len(after)])
                at += len(after)
        assert at == len(t.ids)
        assert t.rollout("p").usage.completion_tokens == sum(t.sampled)


def test_a_call_that_was_never_recorded_gets_an_error_and_is_counted(policy: Taught) -> None:
    tasks = tasks_of(policy)
    empty = list(roll_out(policy.model, policy.renderer, tasks, ReplayTable([]), LIMITS))
    for t in empty:
        assert t.misses >= 1
        assert t.messages[1] == Message("tool", MISS, tool_call_id="call_0", name="t")
        assert t.rollout("p").misses == t.misses
    # The same call, asked before anybody had looked it up.
    early = msgspec.structs.replace(tasks[0], at=tasks[0].at - 1)
    (t,) = rolled(policy, [early])
    assert t.misses >= 1


def test_turn_limit_and_length(policy: Taught) -> None:
    task = tasks_of(policy)[0]
    (one,) = rolled(policy, [task], replace(LIMITS, max_turns=1))
    assert (one.problem, one.final, one.turns, len(one.messages)) == ("turn limit", None, 1, 2)
    (cut,) = rolled(policy, [task], replace(LIMITS, max_new_tokens=10))
    assert (cut.problem, cut.final, sum(cut.sampled)) == ("length", None, 10)
    prompt = one.prompt_tokens
    # Room for the call's turn, not for its result and another whole turn.
    (full,) = rolled(policy, [task], replace(LIMITS, max_tokens=prompt + 75))
    assert (full.problem, full.turns) == ("length", 1)
    assert len(full.ids) <= prompt + 75


@pytest.mark.parametrize("limit", [100, 60])
def test_a_prompt_that_is_too_long_is_data(policy: Taught, limit: int) -> None:
    long = msgspec.structs.replace(
        tasks_of(policy)[0], messages=(Message("user", "x" * 500),), task_id="long"
    )
    limits = replace(LIMITS, max_tokens=max(limit, LIMITS.max_new_tokens))
    (t,) = rolled(policy, [long], limits)
    assert (t.problem, t.turns, t.messages, t.final) == ("prompt too long", 0, [], None)
    assert not any(t.sampled)
    both = rolled(policy, [long, *tasks_of(policy)], LIMITS, group=2)
    assert [t.problem for t in both] == ["prompt too long"] * 2 + [None] * 4


def test_labels_never_reach_the_policy_and_redacted_people_get_names(policy: Taught) -> None:
    curated = episode(9, asked="<PERSON_1> asks: 09?")
    labelled = msgspec.structs.replace(curated, ground_truth={"s": "LABEL"})
    task = task_of(labelled)
    assert task is not None
    (t,) = rolled(policy, [task])
    text = policy.renderer.decode(t.ids)
    assert "LABEL" not in text
    assert "PERSON_1" not in text
    # The grader is shown the very names that the policy answered to.
    assert (t.task.messages[0].content or "") in text
    assert t.task.ground_truth == {"s": "LABEL"}


def test_results_are_those_of_the_call(policy: Taught) -> None:
    tasks = tasks_of(policy)
    for t, task in zip(rolled(policy, tasks, group=1), tasks, strict=True):
        call: ToolCall = t.messages[0].tool_calls[0]
        assert t.messages[1].content == table_of(policy).answer(call, task.at)
