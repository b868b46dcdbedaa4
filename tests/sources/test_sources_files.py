"""File sources: streaming, resumable, and a bad line is data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from shared import shared

from strop.config import Source
from strop.errors import InputError
from strop.records import Episode, Message, Skipped, Trace
from strop.sources.files import paths, read, read_file

Kind = Literal["jsonl", "openai-chat", "langfuse-file"]


def source(kind: Kind, path: str, **extra: Any) -> Source:
    return Source(name="s", kind=kind, path=path, **extra)


def chat_line(n: int = 0, **extra: Any) -> bytes:
    messages = [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]
    return json.dumps({"messages": messages, **extra}).encode() + b"\n"


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


def test_a_truncated_last_line_is_skipped_and_read_again_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(chat_line(1) + chat_line(2)[:20])
    config = source("openai-chat", "chat.jsonl")
    items = list(read_file(config, path))
    assert isinstance(items[1][1], Skipped)
    assert items[1][1].reason == "the last line is truncated"
    path.write_bytes(chat_line(1) + chat_line(2))
    rest = list(read_file(config, path, int(items[1][0])))
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
