"""Roll a policy out over many tasks at once: each goes on with its next turn as soon as its tools answered.

Tokens in, tokens out: a sampled token is never decoded and encoded again, so what is trained on is
exactly what was sampled. Placeholders of redacted people are filled with seeded surrogates.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from strop.curate.surrogates import fill_text
from strop.environments.replay import ReplayTable, tool_message
from strop.environments.tasks import filled
from strop.records import Message, Rollout, Task, Usage

if TYPE_CHECKING:
    from strop.models.llama import Llama
    from strop.models.render import Renderer
    from strop.models.sampler import Sampled, Sampler


@dataclass(frozen=True)
class Limits:
    """How far a rollout may go: turns, new tokens a turn, tokens in all, rows a batch."""

    max_turns: int = 4
    max_new_tokens: int = 160
    max_tokens: int = 1024
    rows: int = 64


@dataclass
class Trajectory:
    """A rollout with its tokens.

    task: as the policy saw it (`filled`); ids: prompt and everything after it; sampled: True where the
    policy chose the token; logprobs, entropies: of the sampled tokens under the policy that sampled
    them, in order.
    """

    task: Task
    ids: list[int]
    sampled: list[bool]
    prompt_tokens: int
    logprobs: list[float] = field(default_factory=list[float])
    entropies: list[float] = field(default_factory=list[float])
    messages: list[Message] = field(default_factory=list[Message])
    prompt_read: int = 0
    turns: int = 0
    misses: int = 0
    problem: str | None = None
    final: str | None = None
    seconds: float = 0.0

    def rollout(self, policy: str) -> Rollout:
        """Return the rollout, without tokens. latency_s is the batch's wall time a rollout."""
        return Rollout(
            task_id=self.task.task_id,
            policy=policy,
            messages=tuple(self.messages),
            final=self.final,
            usage=Usage(self.prompt_read, sum(self.sampled)),
            latency_s=self.seconds,
            turns=self.turns,
            misses=self.misses,
            problem=self.problem,
        )


def roll_out(
    model: Llama,
    renderer: Renderer,
    tasks: Sequence[Task],
    table: ReplayTable,
    limits: Limits,
    *,
    group: int = 1,
    temperature: float = 0.0,
    seed: str = "",
) -> Iterator[Trajectory]:
    """Yield `group` trajectories a task, tasks in order.

    seed: with the task's id and the index in the group it fixes every draw, whatever the batch.
    """
    from strop.models.sampler import Sampler

    per_batch = max(1, limits.rows // group)
    sampler: Sampler | None = None
    for start in range(0, len(tasks), per_batch):
        batch = tasks[start : start + per_batch]
        if sampler is None:
            sampler = Sampler(model, min(len(tasks), per_batch) * group, limits.max_tokens)
        yield from _batch(sampler, renderer, batch, table, limits, group, temperature, seed)


def _batch(
    sampler: Sampler,
    renderer: Renderer,
    tasks: Sequence[Task],
    table: ReplayTable,
    limits: Limits,
    group: int,
    temperature: float,
    seed: str,
) -> list[Trajectory]:
    started = time.perf_counter()
    longest = limits.max_tokens - limits.max_new_tokens
    prompts: list[list[int]] = []
    fits: list[bool] = []
    tasks = [filled(task) for task in tasks]
    for task in tasks:
        ids = renderer.prompt(task.messages, task.tools)
        fits.append(len(ids) <= longest)
        prompts.append(ids if fits[-1] else ids[:1])  # a place in the batch that costs nothing
    sampler.start(prompts, copies=group)
    rows = [
        Trajectory(task, list(ids), [False] * len(ids), len(ids), problem=None if fit else "prompt too long")
        for task, ids, fit in zip(tasks, prompts, fits, strict=True)
        for _ in range(group)
    ]
    generators = [generator(seed, t.task.task_id, i % group) for i, t in enumerate(rows)]

    def reply(i: int, sampled: Sampled) -> list[int] | None:
        row = rows[i]
        after = _take_turn(row, sampled, renderer, table)
        if after is None:
            return None
        if len(after) + limits.max_new_tokens > sampler.room(i):
            row.problem = "length"
        elif row.turns == limits.max_turns:
            row.problem = "turn limit"
        else:
            row.ids += after
            row.sampled += [False] * len(after)
            return after
        return None

    sampler.converse(
        [i for i, t in enumerate(rows) if t.problem is None],
        limits.max_new_tokens,
        renderer.end,
        reply,
        temperature=temperature,
        uniforms=(lambda i: generators[i].random(limits.max_new_tokens)) if temperature > 0 else None,
    )
    seconds = (time.perf_counter() - started) / len(rows)
    for trajectory in rows:
        trajectory.seconds = seconds
    return rows


def _take_turn(
    trajectory: Trajectory, sampled: Sampled, renderer: Renderer, table: ReplayTable
) -> list[int] | None:
    """Record one sampled turn; return the tokens that follow it, or None where the rollout ended."""
    from strop.models.render import parse_reply

    t = trajectory
    t.prompt_read += len(t.ids)
    t.turns += 1
    t.ids += sampled.ids
    t.sampled += [True] * len(sampled.ids)
    t.logprobs += sampled.logprobs
    t.entropies += sampled.entropies
    text = renderer.decode(sampled.ids[:-1] if sampled.stopped else sampled.ids)
    message = parse_reply(text, sum(len(m.tool_calls) for m in t.messages))
    t.messages.append(message)
    if not sampled.stopped:
        t.problem = "length"
        return None
    if not message.tool_calls:
        t.final = message.content
        return None
    results: list[Message] = []
    for call in message.tool_calls:
        answer = table.answer(call, t.task.at)
        t.misses += answer is None
        if answer is not None:
            answer = fill_text(answer, t.task.task_id)
        results.append(tool_message(call, answer))
    t.messages += results
    return renderer.after_reply(results)


def generator(seed: str, task_id: str, index: int) -> np.random.Generator:
    """Return the random generator of one rollout: seeded by what it is, not by where it runs."""
    whole = hashlib.sha256(f"{seed}/{task_id}/{index}".encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(whole[:16], "big")))
