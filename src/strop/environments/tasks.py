"""From a curated trace to the task it poses and the reference it holds."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from strop.curate.surrogates import fill
from strop.records import Curated, Rollout, Task
from strop.store.traces import CAPTURE


def is_own(curated: Curated, own_models: Collection[str]) -> bool:
    """Say whether a trace is one of the project's own models at work, not the teacher."""
    return curated.trace.source == CAPTURE or curated.trace.model in own_models


def task_of(curated: Curated) -> Task | None:
    """Return the task of a trace's first episode, or None where the trace holds no prompt."""
    if not curated.trace.episodes:
        return None
    episode = curated.trace.episodes[0]
    prompt = episode.prompt()
    if not any(m.role == "user" for m in prompt):
        return None
    return Task(
        task_id=curated.trace_hash,
        messages=prompt,
        tools=episode.tools,
        customer=curated.trace.customer or "unknown",
        group=curated.group,
        split=curated.split,
        at=curated.trace.ended_at,
        ground_truth=curated.ground_truth,
    )


def filled(task: Task) -> Task:
    """Return the task as a model sees it: placeholders of redacted people filled with surrogates.

    A model's answer names the surrogates, so it is graded against this prompt.
    """
    return msgspec.structs.replace(task, messages=fill(task.messages, task.task_id))


def reference_of(curated: Curated, policy: str = "teacher") -> Rollout:
    """Return the recorded episode as a rollout of whoever produced it."""
    episode = curated.trace.episodes[0]
    messages = episode.messages[len(episode.prompt()) :]
    # The same rule as in offline grading: an episode that goes on after its answer has not ended with it.
    last = messages[-1] if messages else None
    final = last.content if last is not None and last.role == "assistant" and not last.tool_calls else None
    return Rollout(
        task_id=curated.trace_hash,
        policy=policy,
        messages=messages,
        final=final,
        usage=curated.trace.usage,
        latency_s=curated.trace.latency_s,
        turns=sum(m.role == "assistant" for m in messages),
        problem=curated.trace.error,
    )
