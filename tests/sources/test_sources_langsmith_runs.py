"""What LangSmith's runs hold, in the spellings of those that write them: pure, without a server."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from damage import mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared
from sources import langsmith_server as server
from sources.langsmith_server import START, agent_trace

from strop.config import Source
from strop.records import Score, Trace
from strop.sources.langsmith.runs import feedback_scores, read_runs
from strop.sources.platform import SECOND, Made

SOURCE = Source(name="s", kind="langsmith", project="agent", customer_key="tenant")


def made(rows: list[Any], **changes: Any) -> Made:
    return read_runs(rows, SOURCE.model_copy(update=changes))


def only(rows: list[Any]) -> Trace:
    result = made(rows)
    assert not result.skipped
    (trace,) = result.traces
    return trace


def llm(inputs: Any, outputs: Any, extra: Any = None, **fields: Any) -> dict[str, Any]:
    return server.run_of(
        1, 0, [], "llm", "m", START, inputs=inputs, outputs=outputs, extra=extra or {}, **fields
    )


CALL = ("assistant", None, (("c1", 'f {"x":"007"}'),), None)
SPELLED = {
    "pairs": ({"messages": [["system", "S"], ["human", "Q"]]}, {"output": "A"}),
    "dumped": (
        {"messages": [{"type": "system", "data": {"content": "S"}},
                      {"type": "human", "data": {"content": "Q"}}]},
        {"generations": [{"text": "A"}]},
    ),
    "anthropic": (
        {"system": [{"type": "text", "text": "S"}], "messages": [{"role": "user", "content": "Q"}]},
        {"role": "assistant", "type": "message", "content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A"}]},
    ),
    "responses": (
        {"instructions": "S", "input": "Q"},
        {"output": [{"type": "reasoning", "summary": []},
                    {"type": "message", "content": [{"type": "output_text", "text": "A"}]}]},
    ),
    "gemini": (
        {"config": {"system_instruction": "S"}, "contents": [{"role": "user", "parts": [{"text": "Q"}]}]},
        {"messages": [{"role": "model", "parts": [{"text": "A"}]}]},
    ),
    "as text": (json.dumps({"messages": [["system", "S"], {"role": "user", "content": "Q"}]}),
                {"choices": [{"message": {"role": "assistant", "content": "A"}}]}),
    "Vercel's exporter": (
        {"messages": [{"type": "system", "data": {"content": "S"}}, {"role": "user", "content": "Q"}]},
        {"llm_output": {"type": "ai", "data": {"content": "A"}}},
    ),
    "decorated function": (
        {"args": [], "kwargs": {"messages": [["system", "S"], ["human", "Q"]]}}, {"output": "A"},
    ),
    "gemini's own client": (
        {"config": {"system_instruction": "S"}, "contents": "Q"},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "A"}]}}]},
    ),
    "serialised answer": (
        {"input": {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]}},
        {"output": server.serialised({"role": "assistant", "content": "A"})},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLED)
def test_prompts_and_answers_of_every_writer_are_read(name: str) -> None:
    messages = only([llm(*SPELLED[name])]).episodes[0].messages
    assert [(m.role, m.content) for m in messages] == [("system", "S"), ("user", "Q"), ("assistant", "A")]


def test_a_completion_has_only_a_prompt() -> None:
    for inputs in ({"prompts": ["Q"]}, {"prompt": "Q"}, {"text": "Q"}, {"messages": "Q"}):
        messages = only([llm(inputs, {"choices": [{"text": "A"}]})]).episodes[0].messages
        assert [(m.role, m.content) for m in messages] == [("user", "Q"), ("assistant", "A")]


def test_an_answer_that_is_json_stays_text() -> None:
    for outputs in (
        {"output": '{"status": "delivered"}'},
        {"generations": [[{"text": '{"status": "delivered"}'}]]},
    ):
        trace = only([llm({"input": '{"order": "007"}'}, outputs)])
        assert [m.content for m in trace.episodes[0].messages] == [
            '{"order": "007"}',
            '{"status": "delivered"}',
        ]


@pytest.mark.parametrize(
    "message",
    [
        {"content": "", "tool_calls": [{"name": "f", "args": {"x": "007"}, "id": "c1", "type": "tool_call"}]},
        {"content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"x": "007"}}],
         "tool_calls": [{"name": "f", "args": {"x": "007"}, "id": "c1"}]},
        {"content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"x": "007"}}]},
        {"content": "", "tool_calls": [], "additional_kwargs": {"tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": "007"}'}}]}},
        {"content": "", "invalid_tool_calls": [{"name": "f", "args": '{"x": "007"}', "id": "c1"}]},
    ],
)  # fmt: skip
def test_tool_calls_of_every_writer_are_read_once(message: dict[str, Any]) -> None:
    answer = {
        "id": ["langchain", "schema", "messages", "AIMessageChunk"],
        "kwargs": {"type": "AIMessageChunk", **message},
    }
    trace = only([llm({"prompt": "Q"}, {"generations": [[{"text": "", "message": answer}]]})])
    said = trace.episodes[0].messages[1]
    assert (said.role, said.content, tuple((c.id, c.key()) for c in said.tool_calls), None) == CALL


def test_chat_messages_as_items_keep_their_calls() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    items = [{"role": "user", "content": "Q"}, turn, {"role": "tool", "tool_call_id": "c1", "content": "R"}]
    trace = only([llm({"input": items}, {"output": [{"role": "assistant", "content": "A"}]})])
    assert [(m.role, m.content, m.tool_call_id) for m in trace.episodes[0].messages] == [
        ("user", "Q", None),
        ("assistant", None, None),
        ("tool", "R", "c1"),
        ("assistant", "A", None),
    ]
    assert [c.id for c in trace.episodes[0].messages[1].tool_calls] == ["c1"]


@pytest.mark.parametrize(
    ("outputs", "read"),
    [
        ({"output": "00340434161094042557"}, "00340434161094042557"),
        ({"status": "ok", "no": 12345678901234567890}, '{"status": "ok", "no": 12345678901234567890}'),
        ({"output": {"status": "ok"}}, '{"status": "ok"}'),
        ({"output": "content='it\\'s \"here\"' name='f' tool_call_id='c1'"}, 'it\'s "here"'),
        ({"output": {"type": "tool", "content": "ok", "tool_call_id": "c1"}}, "ok"),
        ({"output": [{"type": "text", "text": "o"}, {"type": "text", "text": "k"}]}, "ok"),
        (
            {"output": {"update": {"messages": [{"type": "tool", "content": "ok", "tool_call_id": "c1"}]}}},
            "ok",
        ),
        (None, '{"error": "timed out"}'),
    ],
)
def test_results_of_every_writer_fill_what_no_later_call_repeats(outputs: Any, read: str) -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]}
    root = server.run_of(1, 0, [], "chain", "a", START)
    model = server.run_of(1, 1, [root], "llm", "m", START + SECOND, inputs={"prompt": "Q"},
                          outputs={"choices": [{"message": call}]})  # fmt: skip
    tool = server.run_of(1, 2, [root], "tool", "f", START + 2 * SECOND, outputs=outputs,
                         error=None if outputs else "timed out")  # fmt: skip
    trace = only([root, model, tool])
    assert [(m.role, m.content, m.tool_call_id) for m in trace.episodes[0].messages[2:]] == [
        ("tool", read, "c1")
    ]
    assert trace.problems == ()


def test_tools_are_found_where_the_writer_keeps_them() -> None:
    anthropic = {"name": "f", "input_schema": {"type": "object"}}
    gemini = {"function_declarations": [{"name": "f", "parameters": {"type": "object"}}]}
    hosted = {"type": "web_search"}
    for inputs, extra in (
        ({"prompt": "Q", "tools": [hosted, anthropic]}, {}),
        ({"prompt": "Q"}, {"invocation_params": {"tools": [anthropic]}}),
        (
            {"prompt": "Q"},
            {"metadata": {"ls_invocation_params": {}}, "invocation_params": {"functions": [anthropic]}},
        ),
        ({"contents": "Q", "config": {"tools": [gemini]}}, {}),
    ):
        trace = only([llm(inputs, {"output": "A"}, extra)])
        assert [(t.name, t.description, t.parameters) for t in trace.episodes[0].tools] == [
            ("f", "", {"type": "object"})
        ]


def test_of_nested_model_runs_the_innermost_counts() -> None:
    rows = agent_trace()
    outer = server.run_of(1, 20, rows[:1], "llm", "with_retries", START + 5_000_000, 400_000_000,
                          inputs={"prompt": "wrapped"}, outputs={"output": "wrapped"})  # fmt: skip
    rows[1]["parent_run_id"], rows[1]["parent_run_ids"] = outer["id"], [rows[0]["id"], outer["id"]]
    assert only([*rows, outer]).episodes == only(agent_trace()).episodes


def test_a_model_inside_a_tool_leaves_the_outer_call_in_place() -> None:
    outer = llm({"prompt": "Q"}, {"output": "A"})
    tool = server.run_of(1, 1, [outer], "tool", "f", START + SECOND, outputs={"output": "B"})
    inner = server.run_of(1, 2, [outer, tool], "llm", "m", START + 2 * SECOND, inputs={"prompt": "R"},
                          outputs={"output": "B"})  # fmt: skip
    assert [e.messages[0].content for e in only([outer, tool, inner]).episodes] == ["Q", "R"]


def test_errors_are_the_traces() -> None:
    rows = agent_trace(status="error", error="RateLimitError('slow down')")
    trace = only(rows)
    assert (trace.status, trace.error) == ("error", "RateLimitError('slow down')")


def test_what_is_kept_outside_of_the_database_is_a_problem() -> None:
    rows = agent_trace()
    rows[1]["inputs"], rows[1]["inputs_s3_urls"] = {}, {"ROOT": {"presigned_url": "https://bucket/x"}}
    rows[2]["outputs"], rows[2]["s3_urls"] = None, {"outputs": {"presigned_url": "https://bucket/y"}}
    problems = only(rows).problems
    assert "run ChatCompletion: its inputs are a payload kept outside of LangSmith's database" in problems
    assert "run get_order: its outputs are a payload kept outside of LangSmith's database" in problems
    assert not [p for p in problems if "bucket" in p]


def test_runs_without_their_root_are_of_the_time_when_it_began() -> None:
    trace = only(agent_trace()[1:])
    assert trace.started_at == START
    assert "no root span" in trace.problems
    assert trace.episodes == only(agent_trace()).episodes


def test_a_run_that_goes_on_is_a_problem() -> None:
    assert "the run has not ended" in only(agent_trace(end_time=None)).problems


def test_traces_past_the_limit_are_skipped() -> None:
    result = made([*agent_trace(1), *agent_trace(2, error="x" * 50_000)], max_trace_mb=0.02)
    assert [t.source_id for t in result.traces] == [server.uuid(1)]
    assert [(s.item, s.reason) for s in result.skipped] == [
        (f"s:{server.uuid(2)}", "the trace is larger than 0.02 MB")
    ]


@pytest.mark.parametrize(
    ("row", "item", "reason"),
    [
        ({"id": "a", "run_type": "llm", "trace_id": "a"}, "s:a", "no run: it has no start_time"),
        ({"run_type": "llm", "secret": 1}, "s:row-", "no run: it has no id"),
        ({"id": "a"}, "s:a", "no run: it has no run_type"),
        ({"id": "a", "run_type": "chain", "start_time": "2026-11-23", "end_time": "2026-11-23"}, "s:a",
         "no model call in the trace"),
        ([1], "s:row-", "no run: it is a list, not an object"),
    ],
)  # fmt: skip
def test_what_is_no_run_is_skipped_with_the_reason(row: Any, item: str, reason: str) -> None:
    result = made([*agent_trace(), row])
    assert len(result.traces) == 1
    (skipped,) = result.skipped
    assert skipped.item.startswith(item)
    assert skipped.reason == reason


@pytest.mark.parametrize(
    ("file", "answer"),
    [
        ("langsmith_py_wrap_openai_.json", "Howdy! How can I assist you today?"),
        ("langsmith_py_wrap_openai_stream.json", "Howdy! How can I assist you today?"),
    ],
)
def test_recorded_runs_of_the_openai_wrapper(file: str, answer: str) -> None:
    batch = json.loads(shared(f"data/trace_formats/langsmith/{file}").read_text())
    (post,), (patch,) = batch["post"], batch["patch"]
    trace = only([{**post, **patch}])
    assert [(m.role, m.content) for m in trace.episodes[0].messages] == [
        ("user", "howdy"),
        ("assistant", answer),
    ]
    assert trace.model in ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert trace.usage.prompt_tokens == 9


BASE = [
    *agent_trace(1),
    *agent_trace(2, START + 5 * SECOND, "langchain"),
    *agent_trace(3, START + SECOND, "langgraph"),
]
UNHURT = made(BASE)


@given(st.data())
def test_a_damaged_run_is_counted_and_hurts_no_other_trace(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(BASE) - 1))
    rows: list[Any] = [*BASE[:at], mutated(BASE[at], data), *BASE[at + 1 :]]
    result = made(rows)
    assert len(result.traces) + len(result.skipped) >= 3
    hurt = BASE[at]["trace_id"]
    found = {t.source_id: t for t in result.traces}
    for trace in UNHURT.traces:
        if trace.source_id != hurt and not claims_to_be(rows[at], trace.source_id):
            assert found[trace.source_id] == trace
    encoded = msgspec.json.encode(result.traces)
    assert msgspec.json.encode(msgspec.json.decode(encoded, type=list[Trace])) == encoded
    assert not [s for s in result.skipped if "Mustermann" in s.reason]


def claims_to_be(row: Any, trace_id: str) -> bool:
    return trace_id in json.dumps(row)


@settings(max_examples=40)
@given(st.permutations(range(len(BASE))), st.lists(st.integers(0, len(BASE) - 1), max_size=8))
def test_order_and_repetition_of_rows_change_nothing(order: list[int], again: list[int]) -> None:
    result = made([BASE[i] for i in (*order, *again)])
    assert sorted(result.traces, key=lambda t: t.source_id) == sorted(
        UNHURT.traces, key=lambda t: t.source_id
    )
    assert not result.skipped


@settings(max_examples=50)
@given(st.lists(st.dictionaries(
    st.sampled_from(["key", "score", "value", "comment", "correction", "feedback_source", "extra"]),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
              st.text(max_size=4), st.just({"desired": "x"}), st.just({"a": 1, "b": [1]})),
), max_size=3))  # fmt: skip
def test_feedback_of_any_shape_gives_scores_that_can_be_stored(rows: list[dict[str, Any]]) -> None:
    scores = [score for row in rows for score in feedback_scores(row)]
    stored = msgspec.json.decode(msgspec.json.encode(scores), type=list[Score])
    assert [s.name for s in stored] == [s.name for s in scores]
