"""Arms made by hand: one call of each tool, scores as given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from strop.config import Config
from strop.promote.compare import Arm
from strop.records import Grade, Message, Rollout, Task, ToolCall, Usage

CONFIG = Config(root=Path())
TOOLS = ("lookup_tracking", "lookup_eta")
STATUSES = ("delivered", "in_transit", "delayed", "exception")


def tasks(n: int, customers: int = 40) -> list[Task]:
    return [
        Task(
            task_id=f"t{i}",
            messages=(Message(role="user", content=f"where is {i}?"),),
            tools=(),
            customer=f"c{i % customers}",
            group=f"g{i}",
            split="unseen" if i % customers >= 0.9 * customers else "test",
            at=i,
            ground_truth={"status": STATUSES[i % 4]},
        )
        for i in range(n)
    ]


def rollout(task: Task, policy: str, tools: Sequence[str] = TOOLS, *, misses: int = 0) -> Rollout:
    calls = tuple(ToolCall(f"k{i}", name, "{}") for i, name in enumerate(tools))
    results = tuple(Message(role="tool", tool_call_id=c.id, content="{}") for c in calls)
    answer = Message(role="assistant", content="{}")
    return Rollout(
        task_id=task.task_id,
        policy=policy,
        messages=(Message(role="assistant", tool_calls=calls), *results, answer),
        final="{}",
        usage=Usage(300, 60),
        latency_s=1.0,
        turns=2,
        misses=misses,
    )


def grade(answer: float, tool: float = 1.0, tone: float = 1.0) -> Grade:
    components = {"answer_ok": answer, "tool_ok": tool, "tone_ok": tone}
    return Grade(score=0.6 * answer + 0.25 * tool + 0.15 * tone, components=components)


def arm(name: str, grades: Sequence[Grade], *, customers: int = 40, tools: Sequence[str] = TOOLS) -> Arm:
    asked = tasks(len(grades), customers)
    rollouts = [rollout(t, name, tools) for t in asked]
    return Arm(name=name, tasks=asked, rollouts=rollouts, grades=list(grades))


def right_in(share: float, n: int, offset: int = 0) -> list[Grade]:
    """Grades with the answer right in `share` of n tasks, in an order that fits no customer."""
    order = sorted(range(n), key=lambda i: hash_of(i + offset))
    right = set(order[: round(share * n)])
    return [grade(float(i in right)) for i in range(n)]


def hash_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()
