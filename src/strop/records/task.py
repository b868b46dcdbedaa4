"""What a model is asked, and what it did."""

from __future__ import annotations

from typing import Literal

import msgspec

from strop.records.conversation import JsonObject, Message, Tool
from strop.records.trace import Trace, Usage

Split = Literal["train", "validation", "test", "unseen"]


class RecordedResult(msgspec.Struct, frozen=True):
    """One recorded tool result: `key` is `ToolCall.key()`, `at` the trace's time in UTC ns."""

    key: str
    result: str
    at: int
    split: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked in training or comparison.

    task_id: the hash of the trace it came from; at: the trace's end in UTC ns, replay's clock;
    ground_truth: for graders only, None where the label is missing; never rendered into a prompt.
    split "unseen": test tasks of customers that were held out whole.
    """

    task_id: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    customer: str
    group: str
    split: Split
    at: int
    ground_truth: JsonObject | None = None


class Curated(msgspec.Struct, frozen=True, kw_only=True):
    """A trace with what curation decided; ground_truth joins later and is None where missing.

    weight: how often training draws it, relative to the others (1 where customers are not weighted).
    """

    trace_hash: str
    trace: Trace
    kept: bool
    reason: str
    group: str
    split: Split
    ground_truth: JsonObject | None = None
    weight: float = 1.0


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A model's attempt at a Task.

    messages: everything after the prompt: assistant turns and tool results.
    final: the last assistant content, None where the model never ended with an answer.
    misses: calls that no recorded result answers (the model saw an error result).
    problem: why the rollout ended early ("turn limit", "length", ...), data and not a crash.
    """

    task_id: str
    policy: str
    messages: tuple[Message, ...]
    final: str | None
    usage: Usage = Usage()
    latency_s: float = 0.0
    turns: int = 0
    misses: int = 0
    problem: str | None = None
