"""Roll out one task through a model's chat interface: what serving it costs, one at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from strop.curate.surrogates import fill, fill_text
from strop.environments.replay import ReplayTable, tool_message
from strop.environments.rollouts import Limits
from strop.errors import InputError
from strop.models.chat import ChatModel
from strop.records import Message, Rollout, Task, Usage


@dataclass(frozen=True)
class Timed:
    """A rollout with the wall time of each of its turns in seconds."""

    rollout: Rollout
    turns: tuple[float, ...]


def converse(model: ChatModel, task: Task, table: ReplayTable, limits: Limits, policy: str) -> Timed:
    """Answer a task greedily, turn by turn, with tools from the record."""
    messages: list[Message] = list(fill(task.messages, task.task_id))
    asked = len(messages)
    seconds: list[float] = []
    read, written, misses = 0, 0, 0
    final, problem = None, "turn limit"
    for _ in range(limits.max_turns):
        started = time.perf_counter()
        try:
            reply = model.chat(messages, task.tools, max_new_tokens=limits.max_new_tokens)
        except InputError:
            problem = "prompt too long"
            break
        seconds.append(time.perf_counter() - started)
        read, written = read + reply.usage.prompt_tokens, written + reply.usage.completion_tokens
        messages.append(reply.message)
        if reply.finish_reason == "length":
            problem = "length"
            break
        if not reply.message.tool_calls:
            final, problem = reply.message.content, None
            break
        for call in reply.message.tool_calls:
            answer = table.answer(call, task.at)
            misses += answer is None
            messages.append(tool_message(call, None if answer is None else fill_text(answer, task.task_id)))
    rollout = Rollout(
        task_id=task.task_id, policy=policy, messages=tuple(messages[asked:]), final=final,
        usage=Usage(read, written), latency_s=sum(seconds), turns=len(seconds), misses=misses,
        problem=problem,
    )  # fmt: skip
    return Timed(rollout, tuple(seconds))
