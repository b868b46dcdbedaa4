"""What a world of the forty is, and the bricks that all of them are built from."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from strop.records import JsonObject, Message, Rollout, Task, Tool, ToolCall, Usage

Judge = Callable[[str, str], bool]
Cases = tuple[tuple[Task, tuple[Rollout, ...]], ...]
Kind = Literal["good", "slip", "wrong"]

CUSTOMERS = ("acme", "borealis", "cygnus", "delphi", "elbe")
POLICY = "simulated-agent"


@dataclass(frozen=True)
class World:
    """Tasks with honest attempts, and what a grader may read of them.

    extract: answer fields that are lifted; judges: (inquiry, answer text) -> verdict, deterministic;
    judge_fields: the answer field that a judge reads, None for the whole answer; reads and writes:
    names of the tools that only look and of those that change something.
    """

    name: str
    extract: tuple[str, ...]
    cases: Cases
    judges: dict[str, Judge]
    judge_fields: dict[str, str | None]
    reads: frozenset[str]
    writes: frozenset[str]


@dataclass(frozen=True)
class Simulated:
    """A world and, by task, the latent quality in [0, 1] of each attempt. Graders never see it."""

    world: World
    quality: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Act:
    """One tool call and what the tool answered."""

    name: str
    arguments: JsonObject
    result: JsonObject


@dataclass(frozen=True)
class Attempt:
    """What the simulated agent did: its calls by turn, its answer, and how good that was."""

    quality: float
    turns: tuple[tuple[Act, ...], ...]
    answer: JsonObject
    thought: str | None = None


def plan(rng: random.Random) -> list[Kind]:
    """Draw how seven attempts at one task turn out: four or five good, the rest slips and errors.

    So the agent's skill is 57 to 71 % on each task, and the median attempt is a good one.
    """
    wrong, slips = rng.choice(((1, 1), (1, 2), (2, 1), (2, 1)))
    counts: tuple[tuple[Kind, int], ...] = (("wrong", wrong), ("slip", slips), ("good", 7 - wrong - slips))
    kinds: list[Kind] = [kind for kind, count in counts for _ in range(count)]
    rng.shuffle(kinds)
    return kinds


def tool(name: str, description: str, **parameters: str) -> Tool:
    """Declare a tool whose parameters are all required; values are JSON types."""
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    schema: JsonObject = {"type": "object", "properties": properties, "required": list(parameters)}
    return Tool(name, description, schema)


def task(
    world: str,
    number: int,
    system: str,
    user: str,
    tools: Sequence[Tool],
    ground_truth: JsonObject,
) -> Task:
    """Make one task; ids are stable across runs."""
    return Task(
        task_id=f"{world}-{number:03d}",
        messages=(Message("system", system), Message("user", user)),
        tools=tuple(tools),
        customer=CUSTOMERS[number % len(CUSTOMERS)],
        group=f"{world}-{number:03d}",
        split="train",
        at=1_790_000_000_000_000_000 + number * 3_600_000_000_000,
        ground_truth=ground_truth,
    )


def rollout(about: Task, attempt: Attempt) -> Rollout:
    """Write an attempt down as the messages that it would have left."""
    messages: list[Message] = []
    count = 0
    for turn, acts in enumerate(attempt.turns):
        calls: list[ToolCall] = []
        results: list[Message] = []
        for act in acts:
            count += 1
            call_id = f"call_{count}"
            calls.append(ToolCall(call_id, act.name, compact(act.arguments)))
            results.append(Message("tool", compact(act.result), tool_call_id=call_id))
        thought = attempt.thought if turn == 0 else None
        messages += [Message("assistant", thought, tuple(calls)), *results]
    final = json.dumps(attempt.answer, ensure_ascii=False)
    messages.append(Message("assistant", final))
    words = sum(len((m.content or "").split()) for m in messages) + 12 * count
    return Rollout(
        task_id=about.task_id,
        policy=POLICY,
        messages=tuple(messages),
        final=final,
        usage=Usage(prompt_tokens=220 + 40 * len(messages), completion_tokens=words),
        latency_s=0.8 + 0.6 * len(attempt.turns),
        turns=len(attempt.turns) + 1,
    )


def compact(value: JsonObject) -> str:
    """Write a value as tools and models do: JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
