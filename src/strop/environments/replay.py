"""Tools that answer from the record: nothing is called, and nothing is invented."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection, Iterable

from strop.records import Curated, Message, RecordedResult, ToolCall

MISS = '{"error": "no recorded result for this call"}'


class ReplayTable:
    """Recorded results by call: the newest that was recorded at or before the task's time.

    Pooled over traces, so that a policy may look up what another run looked up.
    """

    def __init__(self, results: Iterable[RecordedResult]) -> None:
        self._results: dict[str, list[tuple[int, str]]] = {}
        for result in results:
            insort(self._results.setdefault(result.key, []), (result.at, result.result))

    def answer(self, call: ToolCall, at: int) -> str | None:
        """Return the recorded result of a call as of `at` (UTC ns), or None: a miss."""
        known = self._results.get(call.key(), [])
        newest = bisect_right(known, at, key=lambda entry: entry[0])
        return known[newest - 1][1] if newest else None

    def __len__(self) -> int:
        return len(self._results)


def recorded_results(curated: Iterable[Curated], splits: Collection[str]) -> Iterable[RecordedResult]:
    """Yield every tool result of the given splits' traces, dated by the trace's end.

    Results that carry no call of their own trace are left out: nobody can ask for them.
    """
    for one in curated:
        if one.split not in splits:
            continue
        for episode in one.trace.episodes:
            # Agents do use an id twice in a conversation: a result answers the newest call of its id.
            calls: dict[str, ToolCall] = {}
            for message in episode.messages:
                calls.update({call.id: call for call in message.tool_calls})
                call = calls.get(message.tool_call_id or "") if message.role == "tool" else None
                if call is not None and message.content is not None:
                    yield RecordedResult(call.key(), message.content, one.trace.ended_at, one.split)


def tool_message(call: ToolCall, answer: str | None) -> Message:
    """Return the tool turn that a call's answer becomes; a miss is an error result."""
    return Message(
        role="tool", content=MISS if answer is None else answer, tool_call_id=call.id, name=call.name
    )
