"""Model calls and tool runs of one trace -> the agents' conversations.

Calls are ordered in their agent's lane. A call whose input extends the transcript so far belongs to
the same episode, and its own transcript wins; anything else (compaction, a sub-agent, a parallel
branch) starts a new one. Results that no later call repeats come from the tool spans, by call id,
else by name and order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from strop.records import Episode, Message, Tool, ToolCall
from strop.sources.spans.conventions import ModelCall, ToolRun
from strop.sources.spans.messages import face
from strop.sources.spans.nesting import Tree, canonical_arguments

_ANY = "*"  # any lane, or any arguments


class _Chain:
    """A transcript that later calls may extend."""

    def __init__(self, lane: str, transcript: tuple[Message, ...], tools: tuple[Tool, ...]) -> None:
        self.lane, self.transcript, self.tools = lane, transcript, tools


def episodes_of(
    calls: Sequence[ModelCall], runs: Sequence[ToolRun], tree: Tree
) -> tuple[list[Episode], list[str]]:
    """Return the episodes in order of their start, and the problems in words."""
    chains = _chains(calls, tree)
    known = {c.id for chain in chains for m in chain.transcript for c in m.tool_calls}
    pool = _Pool(runs, known, tree)
    episodes: list[Episode] = []
    problems: list[str] = []
    for chain in chains:
        messages = _complete(chain, pool, problems)
        episodes.append(Episode(messages=_unique_ids(messages), tools=chain.tools))
    return episodes, problems


def _chains(calls: Sequence[ModelCall], tree: Tree) -> list[_Chain]:
    chains: list[_Chain] = []
    newest: dict[str, _Chain] = {}  # by lane
    ends: dict[tuple[str, int], list[_Chain]] = {}  # by lane and hash of the whole transcript
    for call in sorted(calls, key=lambda c: (c.span.started_at, c.span.ended_at, c.span.span_id)):
        lane = tree.lane(call.span.span_id)
        transcript = call.given + call.said
        if not transcript:
            continue
        chain: _Chain | None = None
        if not call.given:  # the platform recorded only what is new
            chain = newest.get(lane)
            transcript = chain.transcript + call.said if chain is not None else transcript
        else:
            for key in reversed(_prefixes(lane, call.given)):
                if ends.get(key):
                    chain = ends[key].pop()
                    break
        if chain is None:
            chain = _Chain(lane, transcript, call.tools)
            chains.append(chain)
        chain.transcript, chain.tools = transcript, call.tools or chain.tools
        newest[lane] = chain
        ends.setdefault(_prefixes(lane, transcript)[-1], []).append(chain)
    return chains


def _prefixes(lane: str, messages: Sequence[Message]) -> list[tuple[str, int]]:
    """Return a key for each beginning of a transcript, shortest first."""
    keys: list[tuple[str, int]] = []
    so_far = 0
    for message in messages:
        so_far = hash((so_far, face(message)))
        keys.append((lane, so_far))
    return keys


class _Pool:
    """The tool runs, for the calls whose results no transcript holds.

    Each waits under its call id where a transcript names it, else under its tool's name, with its lane and
    arguments and without them.
    """

    def __init__(self, runs: Sequence[ToolRun], known: set[str], tree: Tree) -> None:
        self._by_id: dict[tuple[str, str], deque[ToolRun]] = {}
        self._by_name: dict[tuple[str, str, str | bytes | None], deque[ToolRun]] = {}
        self._used: set[str] = set()
        for run in runs:
            for lane in (tree.lane(run.span.span_id), _ANY):
                if run.call_id is not None and run.call_id in known:
                    self._by_id.setdefault((run.call_id, lane), deque()).append(run)
                    continue
                for arguments in (canonical_arguments(run.arguments), _ANY):
                    self._by_name.setdefault((run.name, lane, arguments), deque()).append(run)

    def take(self, call: ToolCall, lane: str) -> Message | None:
        """Return the result of a call: by id, else the oldest run of that tool, best with its arguments.

        A run inside another agent is not this one's: what a tool gave back its own sub-agent has not seen.
        """
        lanes = (lane, "") if lane else ("", _ANY)
        run = next((r for r in (self._same_id(call.id, where) for where in lanes) if r is not None), None)
        if run is None:
            wanted = (canonical_arguments(call.arguments), None, _ANY)
            run = self._oldest([(call.name, where, arguments) for arguments in wanted for where in lanes])
        if run is None or run.result is None:
            return None
        return Message(role="tool", content=run.result, tool_call_id=call.id)

    def _same_id(self, call_id: str, lane: str) -> ToolRun | None:
        """One run answers its call in every transcript; several with one id answer in their order."""
        waiting = self._by_id.get((call_id, lane))
        if not waiting:
            return None
        return waiting.popleft() if len(waiting) > 1 else waiting[0]

    def _oldest(self, keys: Sequence[tuple[str, str, str | bytes | None]]) -> ToolRun | None:
        for key in keys:
            waiting = self._by_name.get(key)
            while waiting:
                run = waiting.popleft()
                if run.span.span_id not in self._used:
                    self._used.add(run.span.span_id)
                    return run
        return None


def _complete(chain: _Chain, pool: _Pool, problems: list[str]) -> list[Message]:
    """Put each call's result behind its turn, in the order of the calls."""
    out: list[Message] = []
    transcript, i = chain.transcript, 0
    while i < len(transcript):
        message = transcript[i]
        out.append(message)
        i += 1
        if message.role != "assistant" or not message.tool_calls:
            continue
        results: list[Message] = []
        while i < len(transcript) and transcript[i].role == "tool":
            results.append(transcript[i])
            i += 1
        for call in message.tool_calls:
            own = next((r for r in results if r.tool_call_id == call.id), None)
            if own is not None:
                results.remove(own)
            result = own or pool.take(call, chain.lane)
            if result is None:
                problems.append(f"call {call.name} has no result")
            else:
                out.append(result)
        out.extend(results)
    return out


def _unique_ids(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Rename call ids that come again in a later turn: some frameworks count from zero in each."""
    uses: dict[str, int] = {}
    renamed: dict[str, str] = {}
    out: list[Message] = []
    for message in messages:
        if message.role == "assistant" and message.tool_calls:
            renamed = {}
            for call in message.tool_calls:
                if call.id not in renamed:
                    uses[call.id] = uses.get(call.id, 0) + 1
                    renamed[call.id] = call.id if uses[call.id] == 1 else f"{call.id}.{uses[call.id]}"
            if any(new != old for old, new in renamed.items()):
                calls = tuple(ToolCall(renamed[c.id], c.name, c.arguments) for c in message.tool_calls)
                message = msgspec.structs.replace(message, tool_calls=calls)
        elif message.role == "tool" and message.tool_call_id in renamed:
            message = msgspec.structs.replace(message, tool_call_id=renamed[message.tool_call_id])
        out.append(message)
    return tuple(out)
