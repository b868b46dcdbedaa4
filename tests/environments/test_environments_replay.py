"""Replay answers from the record as of the task's time, and never invents."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from strop.environments import ReplayTable, reference_of, task_of
from strop.environments.replay import MISS, recorded_results, tool_message
from strop.records import (
    Curated,
    Episode,
    Message,
    RecordedResult,
    Split,
    Tool,
    ToolCall,
    Trace,
    Usage,
    trace_hash,
)

TOOL = Tool("lookup", "Find a parcel", {"type": "object", "properties": {"id": {"type": "string"}}})


def call(arguments: str, name: str = "lookup") -> ToolCall:
    return ToolCall("c", name, arguments)


def curated(
    n: int = 0,
    split: Split = "train",
    *,
    after: tuple[Message, ...] = (),
    result: str = '{"state": "here"}',
    kept: bool = True,
) -> Curated:
    asked = (Message("system", "You help."), Message("user", f"Where is {n:03d}?"))
    turns = (
        Message("assistant", None, (ToolCall("c1", "lookup", f'{{"id": "{n:03d}"}}'),)),
        Message("tool", result, tool_call_id="c1"),
        Message("assistant", '{"state": "here"}'),
    )
    trace = Trace(
        source="otlp",
        source_id=str(n),
        episodes=(Episode((*asked, *turns, *after), (TOOL,)),),
        customer="acme",
        started_at=n * 10**9,
        ended_at=(n + 2) * 10**9,
        usage=Usage(30, 12),
    )
    return Curated(
        trace_hash=trace_hash(trace),
        trace=trace,
        kept=kept,
        reason="" if kept else "over the share",
        group=f"w{n}",
        split=split,
        ground_truth={"secret_label": "here"},
    )


results_lists = st.lists(
    st.builds(
        RecordedResult,
        key=st.sampled_from(
            [call('{"id": "1"}').key(), call('{"id": "2"}').key(), call("{}", "other").key()]
        ),
        result=st.text(max_size=5),
        at=st.integers(0, 20),
        split=st.just("train"),
    ),
    max_size=30,
)


@given(
    results_lists, st.sampled_from(['{"id": "1"}', '{"id": "2"}', '{"id": "3"}', "{}"]), st.integers(-1, 21)
)
def test_the_answer_is_the_newest_that_was_known_and_nothing_else(
    results: list[RecordedResult], arguments: str, at: int
) -> None:
    asked = call(arguments)
    known = [r for r in results if r.key == asked.key() and r.at <= at]
    answer = ReplayTable(results).answer(asked, at)
    if not known:
        assert answer is None
    else:
        newest = max(r.at for r in known)
        assert answer in {r.result for r in known if r.at == newest}


@given(results_lists, st.randoms())
def test_the_order_of_the_record_does_not_matter(results: list[RecordedResult], random: object) -> None:
    shuffled = list(results)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = ReplayTable(results), ReplayTable(shuffled)
    for arguments in ('{"id": "1"}', '{"id": "2"}'):
        for at in range(21):
            assert one.answer(call(arguments), at) == other.answer(call(arguments), at)


def test_arguments_are_compared_as_values_not_as_text() -> None:
    table = ReplayTable([RecordedResult(call('{"a": "007", "b": 1}').key(), "found", 5, "train")])
    assert table.answer(call('{ "b":1,\n"a":"007"}'), 5) == "found"
    assert table.answer(call('{"a": "7", "b": 1}'), 5) is None  # leading zeros mean something
    assert table.answer(call('{"a": 7, "b": 1}'), 5) is None
    assert table.answer(call('{"a": "007", "b": 1}', "other"), 5) is None
    assert table.answer(call('{"a": "007", "b": 1'), 5) is None  # unparsable: its own text is the key
    assert table.answer(call('{"a": "007", "b": 1}'), 4) is None


def test_a_miss_is_an_error_result() -> None:
    message = tool_message(call("{}"), None)
    assert (message.role, message.content, message.tool_call_id) == ("tool", MISS, "c")
    assert "error" in json.loads(MISS)


def test_the_record_holds_the_splits_that_were_asked_for() -> None:
    splits: tuple[Split, ...] = ("train", "validation", "test", "unseen")
    traces = [curated(n, split) for n, split in enumerate(splits)]
    assert [r.split for r in recorded_results(traces, {"train"})] == ["train"]
    (only,) = recorded_results(traces, {"test"})
    assert only == RecordedResult(call('{"id": "002"}').key(), '{"state": "here"}', 4 * 10**9, "test")
    assert len(list(recorded_results(traces, set(splits)))) == 4


def test_a_result_without_its_call_is_left_out() -> None:
    stray = (Message("tool", "lost", tool_call_id="nowhere"), Message("assistant", "ok"))
    assert [r.result for r in recorded_results([curated(after=stray)], {"train"})] == ['{"state": "here"}']


def test_a_task_is_the_prompt_and_nothing_of_the_answer() -> None:
    one = curated(7)
    task = task_of(one)
    assert task is not None
    assert [m.role for m in task.messages] == ["system", "user"]
    assert (task.task_id, task.at, task.split, task.group) == (one.trace_hash, 9 * 10**9, "train", "w7")
    assert task.ground_truth == {"secret_label": "here"}
    reference = reference_of(one)
    assert reference.messages == one.trace.episodes[0].messages[2:]
    assert (reference.final, reference.turns, reference.usage) == ('{"state": "here"}', 2, Usage(30, 12))
    assert reference.latency_s == 2.0


def test_an_episode_that_does_not_end_with_an_answer_has_none() -> None:
    assert reference_of(curated(after=(Message("user", "Thanks!"),))).final is None


def test_a_trace_without_a_question_is_no_task() -> None:
    trace = Trace(source="s", source_id="1", episodes=(), started_at=0, ended_at=1)
    empty = Curated(trace_hash="h", trace=trace, kept=True, reason="", group="g", split="train")
    assert task_of(empty) is None
