"""Model calls and tool runs of one trace -> the agents' conversations.

Calls are ordered in their agent's lane. A call whose input extends the transcript so far belongs to
the same episode, and its own transcript wins; anything else (compaction, a sub-agent, a parallel
branch) starts a new one. Results that no later call repeats come from the tool spans, by call id,
else by name and order.
"""

from __future__ import annotations

from collections.abc import Sequence

from strop.records import Episode, Message, Tool
from strop.sources.conventions import ModelCall, ToolRun
from strop.sources.messages import same_messages
from strop.sources.spans import Span


def episodes_of(
    calls: Sequence[ModelCall],
    runs: Sequence[ToolRun],
    agents: dict[str, Span],
    parents: dict[str, str | None],
) -> tuple[list[Episode], list[str]]:
    """Return the episodes in order of their start, and the problems in words."""
    lanes: dict[str, list[ModelCall]] = {}
    for call in sorted(calls, key=lambda c: (c.span.started_at, c.span.ended_at, c.span.span_id)):
        lanes.setdefault(_lane(call.span, agents, parents), []).append(call)
    pool = sorted(runs, key=lambda r: (r.span.started_at, r.span.span_id))
    episodes: list[Episode] = []
    problems: list[str] = []
    for lane in lanes.values():
        for transcript, tools in _chains(lane):
            episode, missing = _complete(transcript, tools, pool)
            problems += missing
            episodes.append(episode)
    return episodes, problems


def _lane(span: Span, agents: dict[str, Span], parents: dict[str, str | None]) -> str:
    seen: set[str] = set()
    parent = span.parent_id
    while parent is not None and parent not in seen:
        if parent in agents:
            return parent
        seen.add(parent)
        parent = parents.get(parent)
    return ""


def _chains(lane: Sequence[ModelCall]) -> list[tuple[tuple[Message, ...], tuple[Tool, ...]]]:
    chains: list[tuple[tuple[Message, ...], tuple[Tool, ...]]] = []
    for call in lane:
        transcript = call.given + call.said
        if not transcript:
            continue
        if not call.given and chains:  # the platform recorded only what is new
            so_far, tools = chains[-1]
            chains[-1] = (so_far + call.said, call.tools or tools)
            continue
        for i in range(len(chains) - 1, -1, -1):
            so_far, tools = chains[i]
            if len(call.given) >= len(so_far) and same_messages(so_far, call.given[: len(so_far)]):
                chains[i] = (transcript, call.tools or tools)
                break
        else:
            chains.append((transcript, call.tools))
    return chains


def _complete(
    transcript: Sequence[Message], tools: tuple[Tool, ...], pool: list[ToolRun]
) -> tuple[Episode, list[str]]:
    out: list[Message] = []
    problems: list[str] = []
    i = 0
    while i < len(transcript):
        message = transcript[i]
        out.append(message)
        i += 1
        if message.role != "assistant" or not message.tool_calls:
            continue
        results: dict[str | None, Message] = {}
        while i < len(transcript) and transcript[i].role == "tool":
            results[transcript[i].tool_call_id] = transcript[i]
            i += 1
        for call in message.tool_calls:
            result = results.pop(call.id, None) or _from_spans(call.id, call.name, pool)
            if result is None:
                problems.append(f"call {call.name} has no result")
            else:
                out.append(result)
        out.extend(results.values())
    return Episode(messages=tuple(out), tools=tools), problems


def _from_spans(call_id: str, name: str, pool: list[ToolRun]) -> Message | None:
    found = next((r for r in pool if r.call_id == call_id), None)
    found = found or next((r for r in pool if r.call_id is None and r.name == name), None)
    if found is None or found.result is None:
        return None
    pool.remove(found)
    return Message(role="tool", content=found.result, tool_call_id=call_id)
