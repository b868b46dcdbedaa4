"""File sources: streaming, resumable, and a bad line is data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import pytest
from shared import shared

from strop.config import Source
from strop.errors import InputError
from strop.records import Episode, Message, Skipped, Trace, Usage
from strop.sources.files.parts import parts, paths, read

Kind = Literal["jsonl", "openai-chat", "langfuse-file"]


def source(kind: Kind, path: str, **extra: Any) -> Source:
    return Source(name="s", kind=kind, path=path, **extra)


def chat_line(n: int = 0, **extra: Any) -> bytes:
    messages = [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]
    return json.dumps({"messages": messages, **extra}).encode() + b"\n"


def test_a_page_of_langfuse_traces_is_many_traces(tmp_path: Path) -> None:
    one = json.loads(shared("data/langfuse_exports/agno-2025-06-11.trace.json").read_text())
    two = json.loads(shared("data/langfuse_exports/autogen-2025-06-06.trace.json").read_text())
    (tmp_path / "page.json").write_text(json.dumps({"data": [one, {"id": "x"}, two], "meta": {"page": 1}}))
    (part,) = parts(source("langfuse-file", "page.json"), tmp_path)
    items = list(part.read())
    assert [type(item) for _, item in items] == [Trace, Skipped, Trace]
    assert [part.is_done(cursor) for cursor, _ in items] == [False, False, True]


def test_canonical_traces_come_back_as_they_were(tmp_path: Path) -> None:
    messages = (Message(role="user", content="ü"), Message(role="assistant", content="a"))
    trace = Trace(
        source="s",
        source_id="0042",
        episodes=(Episode(messages=messages),),
        started_at=1,
        ended_at=2,
        customer="c",
    )
    (tmp_path / "t.jsonl").write_bytes(msgspec.json.encode(trace) + b"\n")
    assert list(read(source("jsonl", "t.jsonl"), tmp_path)) == [trace]


def test_chat_logs_carry_their_metadata(tmp_path: Path) -> None:
    line = chat_line(
        tools=[{"type": "function", "function": {"name": "look", "parameters": {}}}],
        id="7",
        customer="C1",
        started_at="2026-11-01T10:00:00Z",
        scores={"reward": 1.0},
        ground_truth={"status": "delivered"},
        metadata={"workflow_id": "007", "lane": "air", "user_name": "Erika Mustermann"},
    )
    (tmp_path / "chat.jsonl").write_bytes(line)
    (trace,) = read(source("openai-chat", "*.jsonl"), tmp_path)
    assert isinstance(trace, Trace)
    assert (trace.source_id, trace.customer, trace.workflow_id) == ("7", "C1", "007")
    assert trace.started_at == 1793527200 * 10**9
    assert [(s.name, s.value) for s in trace.scores] == [
        ("reward", 1.0),
        ("ground_truth", '{"status":"delivered"}'),
    ]
    assert trace.attributes["lane"] == "air"
    assert trace.identities == {"user_name": "Erika Mustermann"}
    assert [t.name for t in trace.episodes[0].tools] == ["look"]


def test_lines_without_times_stay_in_order(tmp_path: Path) -> None:
    (tmp_path / "chat.jsonl").write_bytes(chat_line(1) + chat_line(2))
    first, second = read(source("openai-chat", "chat.jsonl"), tmp_path)
    assert isinstance(first, Trace)
    assert isinstance(second, Trace)
    assert first.started_at < second.started_at
    assert first.source_id != second.source_id


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b'{"messages": 3}',
        b'{"messages": [{"role": "king"}]}',
        b"\xff\xfe",
        b'{"messages": [3]}',
    ],
)
def test_a_bad_line_is_skipped_and_the_rest_is_read(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "chat.jsonl").write_bytes(chat_line(1) + line + b"\n" + chat_line(2))
    items = list(read(source("openai-chat", "chat.jsonl"), tmp_path))
    assert [type(i) for i in items] == [Trace, Skipped, Trace]


@pytest.mark.parametrize(
    "line",
    [
        {"messages": [{"role": "Erika Mustermann", "content": "q"}]},
        {"messages": [], "started_at": "Erika Mustermann"},
        {"messages": [], "started_at": 10**30},
        {"messages": [], "started_at": -1},
        {"messages": [], "scores": {"Erika Mustermann": 10**400}},
        {"messages": [], "scores": {"Erika Mustermann": []}},
        {"messages": [], "metadata": "Erika Mustermann"},
        {"messages": [], "tools": ["Erika Mustermann"]},
    ],
)
def test_a_reason_quotes_nobody(tmp_path: Path, line: dict[str, Any]) -> None:
    (tmp_path / "chat.jsonl").write_bytes(json.dumps(line).encode() + b"\n")
    (item,) = read(source("openai-chat", "chat.jsonl"), tmp_path)
    assert isinstance(item, Skipped)
    assert "Erika" not in item.reason


@pytest.mark.parametrize("extra", [{"started_at": 10**30}, {"ended_at": -1}])
def test_a_trace_with_an_impossible_time_is_skipped(tmp_path: Path, extra: dict[str, int]) -> None:
    trace: dict[str, Any] = {"source": "s", "source_id": "1", "episodes": [], "started_at": 1, "ended_at": 2}
    (tmp_path / "t.jsonl").write_bytes(json.dumps(trace | extra).encode() + b"\n")
    (item,) = read(source("jsonl", "t.jsonl"), tmp_path)
    assert isinstance(item, Skipped)


@pytest.mark.parametrize("unit", [1, 1000, 1_000_000, 1_000_000_000])
def test_a_times_unit_is_told_by_its_size(tmp_path: Path, unit: int) -> None:
    (tmp_path / "chat.jsonl").write_bytes(chat_line(created=1793527200 * unit))
    (trace,) = read(source("openai-chat", "chat.jsonl"), tmp_path)
    assert isinstance(trace, Trace)
    assert trace.started_at == 1793527200 * 10**9


def test_odd_fields_of_a_chat_are_read_as_what_can_be_stored(tmp_path: Path) -> None:
    tool = {"name": "look", "description": {"de": "schau"}, "parameters": ["q"]}
    usage = {"prompt_tokens": -5, "completion_tokens": "7"}
    (tmp_path / "chat.jsonl").write_bytes(chat_line(tools=[tool], usage=usage, tags="vip", id=10**29))
    (trace,) = read(source("openai-chat", "chat.jsonl"), tmp_path)
    assert isinstance(trace, Trace)
    assert msgspec.json.decode(msgspec.json.encode(trace), type=Trace) == trace
    assert (trace.usage, trace.tags, trace.source_id) == (Usage(0, 7), ("vip",), "1" + "0" * 29)


def test_a_whole_last_line_that_is_no_chat_is_not_called_truncated(tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text('{"data": []}')
    for kind, reason in (("openai-chat", "no chat: there is no list of messages"), ("jsonl", "no trace")):
        (part,) = parts(source(cast(Kind, kind), "chat.json"), tmp_path)
        ((cursor, item),) = part.read()
        assert isinstance(item, Skipped)
        assert item.reason.startswith(reason)
        assert part.is_done(cursor)


def test_a_truncated_last_line_is_skipped_and_read_again_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(chat_line(1) + chat_line(2)[:20])
    (part,) = parts(source("openai-chat", "chat.jsonl"), tmp_path)
    items = list(part.read())
    assert isinstance(items[1][1], Skipped)
    assert items[1][1].reason == "the last line is truncated"
    path.write_bytes(chat_line(1) + chat_line(2))
    rest = list(part.read(items[1][0]))
    assert [type(i) for _, i in rest] == [Trace]


def test_a_line_of_50_mb_is_skipped_without_being_loaded(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    with path.open("wb") as file:
        file.write(chat_line(1))
        for _ in range(50):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + chat_line(2))
    items = list(read(source("openai-chat", "chat.jsonl", max_trace_mb=1), tmp_path))
    assert [type(i) for i in items] == [Trace, Skipped, Trace]
    assert isinstance(items[1], Skipped)
    assert items[1].reason == "the line is larger than 1 MB"


def test_no_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        paths(source("jsonl", "none/*.jsonl"), tmp_path)


def expected_calls(chatml: Any) -> set[tuple[str, str]]:
    """The (tool, canonical arguments) of the tool calls that the platform itself reads."""
    found: set[tuple[str, str]] = set()
    for observation in chatml.values():
        for side in ("input", "output"):
            for message in observation.get(side, {}).get("data") or []:
                for call in message.get("tool_calls") or []:
                    arguments = call.get("arguments") or "{}"
                    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
                    found.add((call["name"], json.dumps(arguments, sort_keys=True)))
    return found


STRAIGHT = ["google-adk-2025-08-28", "langgraph-python-2025-08-22", "openai-agents-2025-09-30",
            "pydantic-ai-tools-2025-12-04", "vercel-aisdk-2025-11-17"]  # fmt: skip


@pytest.mark.parametrize("name", STRAIGHT)
def test_langfuse_exports_hold_the_calls_that_langfuse_reads(name: str) -> None:
    folder = shared("data/langfuse_exports")
    (trace,) = read(source("langfuse-file", f"{name}.trace.json"), folder)
    assert isinstance(trace, Trace)
    calls = {
        (c.name, json.dumps(c.parsed(), sort_keys=True))
        for e in trace.episodes
        for m in e.messages
        for c in m.tool_calls
    }
    assert calls == expected_calls(json.loads((folder / f"{name}.chatml.json").read_text()))
    offered = {t.name for e in trace.episodes for t in e.tools}
    assert {c for c, _ in calls} - offered <= {"final_result"}  # structured output is no tool of the agent


def test_every_langfuse_export_becomes_a_trace_or_a_reason() -> None:
    items = list(read(source("langfuse-file", "*.trace.json"), shared("data/langfuse_exports")))
    assert len(items) == 10
    traces = [i for i in items if isinstance(i, Trace)]
    answered = [t for t in traces if any(e.messages[-1].role == "assistant" for e in t.episodes)]
    assert len(traces) == 10
    assert len(answered) >= 9


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]x", b'{"trace": {"id": "1"}, "observations": [3]}', b"[1]"]
)
def test_a_damaged_export_is_skipped(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "x.json").write_bytes(damage)
    assert [type(i) for i in read(source("langfuse-file", "x.json"), tmp_path)] == [Skipped]
