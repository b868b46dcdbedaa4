"""A run of the agent as its platform recorded it."""

from __future__ import annotations

from typing import Literal

import msgspec

from strop.records.canonical import digest
from strop.records.conversation import Episode, JsonObject


class Usage(msgspec.Struct, frozen=True):
    """Tokens as counted by whoever served the model."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """A judgement that the platform kept beside the trace."""

    name: str
    value: float | bool | str
    source: Literal["human", "llm", "code", "end_user"] = "human"
    comment: str = ""


class Trace(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One run of the agent. Times are UTC nanoseconds; ids are strings end to end.

    problems: what could not be understood, in words; a trace with problems is still a trace.
    identities: known personal values by field, for redaction only; empty in everything stored.
    """

    version: int = 1
    source: str
    source_id: str
    episodes: tuple[Episode, ...]
    customer: str | None = None
    workflow_id: str | None = None
    session_id: str | None = None
    started_at: int
    ended_at: int
    model: str | None = None
    agent: str | None = None
    status: Literal["ok", "error"] = "ok"
    error: str | None = None
    usage: Usage = Usage()
    cost_usd: float | None = None
    scores: tuple[Score, ...] = ()
    tags: tuple[str, ...] = ()
    attributes: JsonObject = {}
    problems: tuple[str, ...] = ()
    identities: dict[str, str] = {}

    @property
    def latency_s(self) -> float:
        """Wall time of the run in seconds."""
        return (self.ended_at - self.started_at) / 1e9


class Skipped(msgspec.Struct, frozen=True):
    """An item that a stage could not use, with the reason: counted, never dropped silently."""

    stage: str
    item: str
    reason: str


def trace_hash(trace: Trace) -> str:
    """Hash a redacted trace: episodes, customer and workflow id, without ids, times and scores.

    Call ids are replaced by their order of appearance, so that two exports of one run are equal.
    """
    order: dict[str, str] = {}

    def position(call_id: str) -> str:
        return order.setdefault(call_id, f"#{len(order)}")

    episodes: list[object] = []
    for episode in trace.episodes:
        messages: list[object] = []
        for m in episode.messages:
            calls = [[position(c.id), c.key()] for c in m.tool_calls]
            result_of = position(m.tool_call_id) if m.tool_call_id is not None else None
            messages.append([m.role, m.content, calls, result_of])
        episodes.append([messages, episode.tools])
    return digest([episodes, trace.customer, trace.workflow_id])
