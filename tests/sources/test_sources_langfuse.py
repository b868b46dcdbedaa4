"""Langfuse traces, pure: the dialects of agent frameworks, and whatever else is in an export."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared
from sources.langfuse_dialect_cases import (
    ARGS,
    ASK,
    DIALECTS,
    LC_AI,
    LC_HUMAN,
    LC_TOOL,
    OPENAI_CALL,
    TEXT,
    generation,
)
from sources.langfuse_server import agent_trace, at, score

from strop.loop.labels import score_label
from strop.records import Skipped, Trace
from strop.sources.langfuse.traces import read_exports, read_rows

EXPORTS = [
    "agno-2025-06-11",
    "autogen-2025-06-06",
    "claude-agent-2025-12-22",
    "crewai-2025-07-11",
    "google-adk-2025-08-28",
    "langgraph-python-2025-08-22",
    "llamaindex-2025-06-05",
    "openai-agents-2025-09-30",
    "pydantic-ai-tools-2025-12-04",
    "vercel-aisdk-2025-11-17",
]
Call = tuple[str, str]


def read(export: Any, customer_key: str = "customer") -> Trace | Skipped:
    (item,) = read_exports(export, source="lf", customer_key=customer_key, where="x.json")
    return item


def expected_calls(chatml: Any) -> set[Call]:
    """The (tool, canonical arguments) of the calls in the chat that Langfuse expects of an export."""
    found: set[Call] = set()
    for observation in chatml.values():
        for side in ("input", "output"):
            for message in observation.get(side, {}).get("data") or []:
                content = message.get("content")
                used = (
                    [p for p in content if p.get("type") == "tool_use"] if isinstance(content, list) else []
                )
                for call in [*(message.get("tool_calls") or []), *used]:
                    arguments = call.get("arguments", call.get("input")) or {}
                    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
                    found.add((call["name"], json.dumps(arguments, sort_keys=True)))
    return found


def calls_of(trace: Trace) -> set[Call]:
    return {
        (c.name, json.dumps(c.parsed(), sort_keys=True))
        for e in trace.episodes
        for m in e.messages
        for c in m.tool_calls
    }


@pytest.mark.parametrize("name", EXPORTS)
def test_the_calls_of_an_export_are_those_that_langfuse_reads(name: str) -> None:
    folder = shared("data/langfuse_exports")
    trace = read(json.loads((folder / f"{name}.trace.json").read_text()))
    assert isinstance(trace, Trace)
    want = expected_calls(json.loads((folder / f"{name}.chatml.json").read_text()))
    got = calls_of(trace)
    f1 = 2 * len(want & got) / (len(want) + len(got)) if want or got else 1.0
    assert f1 == 1.0


@pytest.mark.parametrize("name", EXPORTS)
def test_every_call_of_an_export_has_its_result(name: str) -> None:
    trace = read(json.loads((shared("data/langfuse_exports") / f"{name}.trace.json").read_text()))
    assert isinstance(trace, Trace)
    for episode in trace.episodes:
        asked = [c.id for m in episode.messages for c in m.tool_calls if c.name != "final_result"]
        answered = [m.tool_call_id for m in episode.messages if m.role == "tool"]
        assert sorted(asked) == sorted(i or "" for i in answered)
        assert len(asked) == len(set(asked))


def one(*rows: dict[str, Any], **trace: Any) -> Trace:
    made = read({"trace": {"id": "t1", "timestamp": at(0), **trace}, "observations": list(rows)})
    assert isinstance(made, Trace), made
    return made


@pytest.mark.parametrize("quoted", [0, 1, 2])
@pytest.mark.parametrize("name", DIALECTS)
def test_a_frameworks_dialect_gives_the_same_conversation(name: str, quoted: int) -> None:
    asked, answered = DIALECTS[name]
    for _ in range(quoted):  # v4 servers and files hold JSON in strings, some clients strings in strings
        asked = json.dumps(asked)
        answered = answered if isinstance(answered, str) else json.dumps(answered)
    trace = one(generation(asked, answered))
    (episode,) = trace.episodes
    messages = [m for m in episode.messages if m.role != "system"]
    assert messages[0].to_openai() == ASK
    assert (messages[-1].role, messages[-1].content) == ("assistant", "It is here.")
    if name != "n8n":
        assert [m.role for m in messages] == ["user", "assistant", "tool", "assistant"]
        (call,) = messages[1].tool_calls
        assert (call.name, call.parsed()) == ("find", ARGS)
        assert (messages[2].content, messages[2].tool_call_id) == ("here", call.id)
    assert trace.problems == ()


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}],
        [{"type": "function", "name": "find", "parameters": {"type": "object"}}],
        [{"name": "find", "input_schema": {"type": "object"}}],
        ['{"name": "find", "inputSchema": {"type": "object"}}'],
        [{"toolSpec": {"name": "find", "inputSchema": {"json": {"type": "object"}}}}],
        [{"functionDeclarations": [{"name": "find", "parameters": {"type": "object"}}]}],
        {"find": '{"description": "", "parameters": {"type": "object"}}'},
    ],
)
@pytest.mark.parametrize("place", ["input", "metadata", "attributes", "flat", "column"])
def test_tools_are_found_where_frameworks_keep_them(tools: Any, place: str) -> None:
    row = generation({"messages": [ASK]}, "Here.")
    if place == "input":
        row["input"]["tools"] = tools
    elif place == "metadata":
        row["metadata"] = {"tools": tools}
    elif place == "attributes":
        row["metadata"] = json.dumps({"attributes": {"gen_ai.tool.definitions": json.dumps(tools)}})
    elif place == "flat":
        row["metadata"] = {"attributes.ai.prompt.tools": json.dumps(tools)}
    else:
        row["toolDefinitions"] = tools
    (tool,) = one(row).episodes[0].tools
    assert (tool.name, tool.parameters) == ("find", {"type": "object"})


def test_inputs_that_hold_only_what_is_new_are_completed() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "here"}
    trace = one(generation([ASK], called), generation([result], "It is here.", 2))
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["user", "assistant", "tool", "assistant"]


def test_runs_answer_their_call_by_id_then_arguments_then_name() -> None:
    calls = [{"name": "find", "arguments": json.dumps({"order": o})} for o in ("1", "2")]
    calls += [{"id": "known", "name": "find", "arguments": "{}"}]
    tool = {"type": "TOOL", "name": "mcp__shop__find"}
    trace = one(
        generation([ASK], {"role": "assistant", "tool_calls": calls}),
        {**tool, "id": "a", "startTime": at(2), "input": {"input": {"order": "2"}}, "output": "two"},
        {
            **tool,
            "id": "b",
            "startTime": at(3),
            "input": None,
            "output": {"content": [{"type": "text", "text": "id"}]},
            "metadata": {"attributes": {"gen_ai.tool.call.id": "known"}},
        },
        {
            **tool,
            "id": "c",
            "startTime": at(4),
            "input": '{"order": "1"}',
            "output": '{"content": "one", "type": "tool"}',
        },
    )
    messages = trace.episodes[0].messages
    assert [m.content for m in messages if m.role == "tool"] == ["one", "two", "id"]
    assert [m.tool_call_id for m in messages if m.role == "tool"] == [c.id for c in messages[1].tool_calls]
    assert trace.problems == ()


def test_calls_with_the_same_id_are_told_apart() -> None:
    call = {"id": "find", "name": "find", "arguments": ARGS}
    turn = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "find", "content": "1"},
    ]
    again = [turn[0], {**turn[1], "content": "2"}]
    messages = one(generation([ASK, *turn, *again], "Done.")).episodes[0].messages
    ids = [c.id for m in messages for c in m.tool_calls]
    assert len(set(ids)) == 2
    assert [m.tool_call_id for m in messages if m.role == "tool"] == ids


@pytest.mark.parametrize("call_id", [None, "0"])
def test_conversations_that_count_their_calls_from_zero_get_their_own_results(call_id: str | None) -> None:
    rows: list[dict[str, Any]] = []
    for n, order in enumerate(("0042", "0043")):
        call = {"id": call_id, "name": "find", "arguments": {"order": order}}
        asked = {"role": "user", "content": f"Where is {order}?"}
        rows += [
            generation([asked], {"role": "assistant", "tool_calls": [call]}, 4 * n),
            {"id": f"t{n}", "type": "TOOL", "name": "find", "startTime": at(4 * n + 2), "output": order,
             "input": call["arguments"], "metadata": {"tool_call_id": call_id} if call_id else {}},
        ]  # fmt: skip
    trace = one(*rows)
    for episode, order in zip(trace.episodes, ("0042", "0043"), strict=True):
        (call,) = episode.messages[1].tool_calls
        assert call.parsed() == {"order": order}
        assert (episode.messages[2].content, episode.messages[2].tool_call_id) == (order, call.id)
    assert trace.problems == ()


def test_of_nested_generations_the_one_that_tells_most_counts() -> None:
    outer = generation({"messages": [ASK]}, {"role": "assistant", "tool_calls": [OPENAI_CALL]})
    inner = generation("user: Where is 0042?", "None", 0, id="inner", parentObservationId="g0")
    assert calls_of(one(outer, inner)) == {("find", TEXT)}
    wrapper = generation({"prompt": "Where is 0042?"}, "It is here.")
    assert len(one(wrapper, {**outer, "id": "o", "parentObservationId": "g0"}).episodes) == 1


def test_the_calls_that_langfuse_extracted_are_used_where_the_output_shows_none() -> None:
    row = generation(
        [ASK], "Let me look.", toolCalls=[json.dumps({"id": "c1", "arguments": TEXT})], toolCallNames=["find"]
    )
    last = one(row).episodes[0].messages[-1]
    assert last.content == "Let me look."
    assert [(c.id, c.name, c.arguments) for c in last.tool_calls] == [("c1", "find", TEXT)]


def test_calls_that_can_not_be_read_are_counted() -> None:
    broken = {"id": "c2", "function": None}
    for output in (
        {"role": "assistant", "tool_calls": [OPENAI_CALL, broken]},
        {"text": "", "toolCalls": [OPENAI_CALL, broken]},
        [{"role": "assistant", "content": "Wait."}, {"role": "assistant", "tool_calls": [OPENAI_CALL, "c2"]}],
    ):
        trace = one(generation([ASK], output))
        assert calls_of(trace) == {("find", TEXT)}
        assert "1 tool calls could not be read" in trace.problems


def test_a_message_whose_text_is_not_found_is_a_problem() -> None:
    trace = one(generation([ASK, {"role": "user", "Items": [{"Text": "Where?"}]}], "Here."))
    assert "a message has no text that could be found" in trace.problems


def test_several_results_in_one_message_answer_their_calls() -> None:
    calls = [{**OPENAI_CALL, "id": i} for i in ("c1", "c2")]
    results = [{"tool_call_id": i, "role": "tool", "content": i} for i in ("c2", "c1")]
    both = {"role": "tool", "content": "c2 c1", "tool_responses": results}
    (episode,) = one(generation([ASK, {"role": "assistant", "tool_calls": calls}, both], "Done.")).episodes
    assert [(m.content, m.tool_call_id) for m in episode.messages[2:4]] == [("c1", "c1"), ("c2", "c2")]


def test_calls_that_the_provider_ran_have_their_results() -> None:
    ran = {"type": "mcp_call", "id": "m1", "name": "find", "arguments": TEXT}
    block = {"type": "mcp_tool_use", "id": "m1", "name": "find", "server_name": "s", "input": ARGS}
    result = {"type": "mcp_tool_result", "tool_use_id": "m1", "content": [{"type": "text", "text": "here"}]}
    for output, told in (
        ([{**ran, "output": "here"}], "here"),
        ([{**ran, "error": "down"}], '{"error": "down"}'),
        ({"role": "assistant", "content": [block, result]}, "here"),
    ):
        (episode,) = one(generation([ASK], output)).episodes
        assert (episode.messages[1].tool_calls[0].parsed(), episode.messages[2].content) == (ARGS, told)
    custom = {"type": "custom_tool_call", "call_id": "c1", "name": "run", "input": "ls -l"}
    (episode,) = one(generation([ASK], [custom])).episodes
    assert episode.messages[1].tool_calls[0].parsed() == {"input": "ls -l"}


def test_a_result_that_looks_like_several_stays_one() -> None:
    called = {"role": "assistant", "tool_calls": [OPENAI_CALL]}
    listed = {"role": "tool", "tool_call_id": "c1", "content": [{"call_id": "k", "v": 1}]}
    (episode,) = one(generation([ASK, called, listed], "Done.")).episodes
    assert [m.tool_call_id for m in episode.messages if m.role == "tool"] == ["c1"]
    assert json.loads(episode.messages[2].content or "") == [{"call_id": "k", "v": 1}]


@pytest.mark.parametrize("question", ["message", "input", "question"])
def test_a_history_is_followed_by_the_question(question: str) -> None:
    history = [{"role": "USER", "message": "Hello."}, {"role": "CHATBOT", "message": "Hi."}]
    (episode,) = one(generation({"chat_history": history, question: "Where is 0042?"}, "Here.")).episodes
    told = [(m.role, m.content) for m in episode.messages]
    assert told[:2] == [("user", "Hello."), ("assistant", "Hi.")]
    assert told[2:] == [("user", "Where is 0042?"), ("assistant", "Here.")]


@pytest.mark.parametrize("form", ["parts", "indexed"])
def test_content_that_is_in_the_attributes_alone_is_read(form: str) -> None:
    parts = [{"role": "assistant", "parts": [{"type": "tool_call", "name": "find", "arguments": ARGS}]}]
    kept: dict[str, Any] = {
        "gen_ai.input.messages": json.dumps([ASK]),
        "gen_ai.output.messages": json.dumps(parts),
    }
    if form == "indexed":
        kept = {
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": "Where is 0042?",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.tool_calls.0.name": "find",
            "gen_ai.completion.0.tool_calls.0.arguments": TEXT,
        }
    run = {"id": "r", "type": "TOOL", "name": "find", "startTime": at(2), "input": ARGS, "output": "here"}
    trace = one(generation(None, None, metadata={"attributes": kept}), run)
    assert [m.content for m in trace.episodes[0].messages] == ["Where is 0042?", None, "here"]
    assert (calls_of(trace), trace.problems) == ({("find", TEXT)}, ())


def test_text_that_no_file_can_hold_stays_as_it_was_spelled() -> None:
    spelled = "role='assistant' content='\\ud800' tool_calls=None"
    trace = one(generation([ASK], spelled), generation([ASK, spelled], "Here.", 2))
    assert msgspec.json.encode(trace)


def test_a_graph_without_generations_is_read_by_its_state() -> None:
    state = {"messages": [LC_HUMAN, LC_AI, LC_TOOL, {"type": "ai", "content": "It is here."}]}
    span = {
        "id": "s",
        "type": "SPAN",
        "name": "LangGraph",
        "startTime": at(0),
        "input": {"messages": [LC_HUMAN]},
    }
    trace = one({**span, "output": state})
    assert [m.role for m in trace.episodes[0].messages] == ["user", "assistant", "tool", "assistant"]
    assert any("no generation" in p for p in trace.problems)
    own = read(
        {
            "id": "t",
            "timestamp": at(0),
            "observations": [],
            **{k: span[k] for k in ("input",)},
            "output": state,
        }
    )
    assert isinstance(own, Trace)


def test_spans_without_a_conversation_are_skipped() -> None:
    made = read(
        {"id": "t", "observations": [{"id": "s", "type": "SPAN", "input": {"n": 1}, "output": {"n": 2}}]}
    )
    assert isinstance(made, Skipped)
    assert made.reason == "no model call in the trace"


def test_ids_and_numbers_stay_as_they_were_written() -> None:
    exact = '{"tracking": 12345678901234567890123, "zip": "01067", "weight": 1.10}'
    row = generation(
        json.dumps([ASK]),
        json.dumps(
            {"role": "assistant", "tool_calls": [{"id": 7, "function": {"name": "find", "arguments": exact}}]}
        ),
    )
    (call,) = one(row).episodes[0].messages[-1].tool_calls
    assert (call.id, call.arguments) == ("7", exact)
    raw = b'{"id": "t", "observations": [{"id": "g", "type": "GENERATION", "input": "q", "output": '
    raw += b'{"tool_calls": [{"name": "find", "args": {"tracking": 12345678901234567890123}}]}}]}'
    made = read(msgspec.json.decode(raw))
    assert isinstance(made, Trace)
    assert made.episodes[0].messages[-1].tool_calls[0].arguments == '{"tracking": 12345678901234567890123}'


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("customer", {"metadata": {"customer": "C1"}}),
        ("metadata.customer", {"metadata": '{"customer": "C1"}'}),
        ("tenant.id", {"metadata": {"tenant": {"id": "C1"}}}),
        ("customer.id", {"metadata": {"attributes": {"customer.id": "C1"}}}),
        ("customer.id", {"metadata": {"resourceAttributes.customer.id": "C1"}}),
        ("environment", {"environment": "C1"}),
        ("project_id", {"projectId": "C1"}),
        ("customer", {"tags": ["prod", "customer:C1"]}),
    ],
)
def test_the_customer_is_found_in_metadata_fields_and_tags(key: str, place: dict[str, Any]) -> None:
    export = {"trace": {"id": "t", "timestamp": at(0), **place}, "observations": [generation([ASK], "Here.")]}
    trace = read(export, key)
    assert isinstance(trace, Trace)
    assert trace.customer == "C1"


def test_an_export_without_the_customer_has_none() -> None:
    trace = one(generation([ASK], "Here."), metadata={"other": "C1"}, tags=["customers:7"])
    assert (trace.customer, trace.workflow_id, trace.session_id, trace.identities) == (None, None, None, {})


def test_scores_of_every_type_come_with_the_trace_and_a_correction_is_a_label() -> None:
    rows = [
        score(0, "NUMERIC", 0.5),
        score(0, "BOOLEAN", True),
        score(0, "CATEGORICAL", "good"),
        score(0, "TEXT", "so"),
        score(0, "CORRECTION", '{"status": "late"}', name="output", source="API"),
        score(0, "NUMERIC", 0.5),
        {"name": "v3", "dataType": "BOOLEAN", "value": False, "source": "EVAL", "comment": "c"},
        {"name": "nothing", "dataType": "NUMERIC", "value": None},
        7,
        {"value": 1.0},
        None,
        {"name": "huge", "dataType": "NUMERIC", "value": 10**400},
    ]
    trace = one(generation([ASK], "Here."), scores=rows)
    assert [(s.name, s.value, s.source) for s in trace.scores] == [
        ("numeric", 0.5, "human"),
        ("boolean", True, "human"),
        ("categorical", "good", "human"),
        ("text", "so", "human"),
        ("output", '{"status": "late"}', "human"),
        ("v3", False, "llm"),
    ]
    assert score_label(trace, "output") == {"status": "late"}
    assert "5 scores could not be read" in trace.problems
    export = {"trace": {"id": "t1"}, "observations": [generation([ASK], "Here.")], "scores": rows}
    beside = read(export)
    assert isinstance(beside, Trace)
    assert beside.scores == trace.scores


@pytest.mark.parametrize(
    ("export", "reason"),
    [
        (None, "no object"),
        ([], "empty"),
        ({}, "no observations"),
        ({"trace": None}, "no observations"),
        ({"id": "t", "observations": ["o1", "o2"]}, "ids only"),
        ({"id": "t", "observations": "o1"}, "no observations"),
        ([[1], [2]], "list of lists"),
        ("secret of a person", "no object"),
    ],
)
def test_what_is_no_export_is_skipped_with_a_reason(export: Any, reason: str) -> None:
    made = read(export)
    assert isinstance(made, Skipped)
    assert reason in made.reason
    assert "secret" not in made.reason


def test_exports_wrapped_in_lists_pages_and_strings_are_read() -> None:
    export = {
        "trace": [{"id": "t", "timestamp": at(0)}],
        "observations": json.dumps([generation([ASK], "Here.")]),
    }
    for wrapped in (export, [export], [[export]], json.dumps(export)):
        assert isinstance(read(wrapped), Trace)
    rows = [row for n in range(3) for row in agent_trace(n)["observations"]]
    for page in (rows, {"data": rows, "meta": {}}):
        items = read_exports(page, source="lf", customer_key="customer", where="x")
        assert [type(i) for i in items] == [Trace, Trace, Trace]


def test_missing_parents_lost_rows_and_bad_times_are_problems_of_the_trace() -> None:
    orphan = generation([ASK], "Here.", parentObservationId="gone")
    trace = one(orphan, "row", {**generation("q", "a", 3), "startTime": "yesterday"})  # type: ignore[arg-type]
    lower = {**generation([ASK], "Here."), "type": "generation", "endTime": "never"}
    assert one(lower).started_at == one(generation([ASK], "Here.")).started_at
    told = " / ".join(trace.problems)
    assert "1 observations have a parent that is not there" in told
    assert "1 observations could not be read" in told
    assert "time could not be read" in told


@given(st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_rows_in_any_order_and_twice_give_the_same_traces(random_: random.Random) -> None:
    rows = [row for n in range(4) for row in agent_trace(n)["observations"]]
    want = read_rows(rows, source="lf", customer_key="customer")
    mixed = rows + random_.sample(rows, 5)
    random_.shuffle(mixed)
    made = read_rows(mixed, source="lf", customer_key="customer")
    assert sorted(made.traces, key=lambda t: t.source_id) == want.traces
    assert made.skipped == want.skipped == []
