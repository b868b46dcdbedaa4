"""What goes into the replay table: each result under the call that it answered."""

from __future__ import annotations

from strop.environments import ReplayTable
from strop.environments.replay import recorded_results
from strop.records import Curated, Episode, Message, ToolCall, Trace


def test_an_id_that_is_used_twice_does_not_mix_the_results() -> None:
    first, second = ToolCall("call_1", "look", '{"at": "A"}'), ToolCall("call_1", "look", '{"at": "B"}')
    messages = (
        Message("user", "Compare A and B."),
        Message("assistant", None, (first,)),
        Message("tool", "a", tool_call_id="call_1"),
        Message("assistant", None, (second,)),
        Message("tool", "b", tool_call_id="call_1"),
        Message("assistant", "They differ."),
    )
    trace = Trace(source="s", source_id="1", episodes=(Episode(messages),), started_at=1, ended_at=2)
    curated = Curated(trace_hash="h", trace=trace, kept=True, reason="", group="g", split="train")
    table = ReplayTable(recorded_results([curated], {"train"}))
    assert (table.answer(first, 2), table.answer(second, 2)) == ("a", "b")
    assert len(table) == 2
