"""Containers: the same rows come out of each, and what is damaged is counted."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from chat_files import CHATS, WANTED, as_lines, chat, questions, source
from hypothesis import given
from hypothesis import strategies as st
from shared import shared

from strop.records import Episode, Message, Skipped, Trace
from strop.sources.files.containers import local_file, rows
from strop.sources.files.json_values import json_values
from strop.sources.files.parts import parts, read

MB = 1 << 20

CONTAINERS: dict[str, bytes] = {
    "c.jsonl": as_lines(CHATS),
    "c.log": as_lines(CHATS),
    "c.json": json.dumps(CHATS).encode(),
    "pretty.json": json.dumps(CHATS, indent=2).encode(),
    "lines.json": as_lines(CHATS),
    "list.jsonl": json.dumps(CHATS).encode(),
    "bom.json": b"\xef\xbb\xbf" + json.dumps(CHATS).encode(),
    "bom.jsonl": b"\xef\xbb\xbf" + as_lines(CHATS),
    "crlf.jsonl": as_lines(CHATS).replace(b"\n", b"\r\n"),
    "zeros.jsonl": b"\0" * 999 + as_lines(CHATS) + b"\0" * 99,
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_same_chats(tmp_path: Path, name: str, packed: bool) -> None:
    data = CONTAINERS[name]
    name = f"{name}.gz" if packed else name
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    items = list(read(source("openai-chat", name), tmp_path))
    assert questions(items) == WANTED


def test_zstandard_is_read_where_its_library_is(tmp_path: Path) -> None:
    zstd = pytest.importorskip("backports.zstd", reason="pip install 'strop[objects]'")
    (tmp_path / "c.jsonl.zst").write_bytes(zstd.compress(CONTAINERS["c.jsonl"]))
    assert questions(list(read(source("openai-chat", "*.zst"), tmp_path))) == WANTED
    (tmp_path / "c.jsonl.zst").write_bytes(zstd.compress(CONTAINERS["c.jsonl"])[:-9])
    assert "skipped" in questions(list(read(source("openai-chat", "*.zst"), tmp_path)))


def test_one_object_over_many_lines_is_one_chat(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(CHATS[0], indent=1))
    assert questions(list(read(source("openai-chat", "one.json"), tmp_path))) == WANTED[:1]


def test_a_chat_keeps_its_id_when_its_file_is_packed(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(CONTAINERS["c.jsonl"])
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "c.jsonl.gz").write_bytes(gzip.compress(CONTAINERS["c.jsonl"]))
    plain = [i.source_id for i in read(source("openai-chat", "c.jsonl"), tmp_path) if isinstance(i, Trace)]
    packed = [i.source_id for i in read(source("openai-chat", "z/*.gz"), tmp_path) if isinstance(i, Trace)]
    assert plain == packed


@pytest.mark.parametrize("as_text", [False, True], ids=["nested", "JSON text"])
def test_parquet_with_a_chat_a_row(tmp_path: Path, as_text: bool) -> None:
    table = [
        {**c, "id": f"00{n}", "metadata": {"lane": "air"}, "scores": {"reward": 1.0} if n else None}
        for n, c in enumerate(CHATS)
    ]
    if as_text:
        nested = ("messages", "metadata", "scores")
        table = [
            {k: json.dumps(v) if k in nested and v is not None else v for k, v in r.items()} for r in table
        ]
    pl.DataFrame(table).write_parquet(tmp_path / "c.parquet")
    items = list(read(source("openai-chat", "c.parquet"), tmp_path))
    assert questions(items) == WANTED
    assert [i.source_id for i in items if isinstance(i, Trace)] == ["000", "001", "002", "003", "004"]
    assert isinstance(items[1], Trace)
    assert items[1].attributes["lane"] == "air"
    assert [(s.name, s.value) for s in items[1].scores] == [("reward", 1.0)]


def canonical(n: int) -> Trace:
    messages = (Message(role="user", content=f"q{n}"), Message(role="assistant", content="a"))
    return Trace(
        source="s", source_id=f"00{n}", episodes=(Episode(messages=messages),), started_at=n, ended_at=n + 1
    )


@pytest.mark.parametrize("as_text", [False, True], ids=["nested", "JSON text"])
def test_parquet_with_a_trace_a_row(tmp_path: Path, as_text: bool) -> None:
    traces = [canonical(n) for n in range(3)]
    table = [msgspec.json.decode(msgspec.json.encode(t)) for t in traces]
    if as_text:
        table = [{**r, "episodes": json.dumps(r["episodes"])} for r in table]
    pl.DataFrame(table).write_parquet(tmp_path / "t.parquet")
    assert list(read(source("jsonl", "t.parquet"), tmp_path)) == traces


@pytest.mark.parametrize("name", ["c.json", "c.jsonl.gz", "c.parquet"])
def test_an_interrupted_container_goes_on_where_it_stopped(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pl.DataFrame(CHATS).write_parquet(path)
    else:
        path.write_bytes(
            gzip.compress(as_lines(CHATS)) if name.endswith("gz") else json.dumps(CHATS).encode()
        )
    (part,) = parts(source("openai-chat", name), tmp_path)
    whole = list(part.read())
    assert [part.is_done(c) for c, _ in whole] == [False] * 4 + [True]
    assert questions([i for _, i in part.read(whole[1][0])]) == WANTED[2:]
    with path.open("ab") as file:
        file.write(b" ")
    (changed,) = parts(source("openai-chat", name), tmp_path)
    assert not changed.is_done(whole[-1][0])
    again = [type(i) for _, i in changed.read(whole[-1][0])]
    assert len(again) >= 1


def test_a_grown_file_goes_on_at_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(as_lines(CHATS[:2]))
    (part,) = parts(source("openai-chat", "c.jsonl"), tmp_path)
    cursor = list(part.read())[-1][0]
    assert part.is_done(cursor)
    path.write_bytes(as_lines(CHATS))
    (part,) = parts(source("openai-chat", "c.jsonl"), tmp_path)
    assert not part.is_done(cursor)
    assert questions([i for _, i in part.read(cursor)]) == WANTED[2:]


def test_a_file_that_was_written_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(as_lines(CHATS[:2]))
    (part,) = parts(source("openai-chat", "c.jsonl"), tmp_path)
    cursor = list(part.read())[-1][0]
    path.write_bytes(as_lines(CHATS[::-1]))
    (part,) = parts(source("openai-chat", "c.jsonl"), tmp_path)
    assert questions([i for _, i in part.read(cursor)]) == WANTED[::-1]
    path.write_bytes(as_lines(CHATS[:1]))
    (part,) = parts(source("openai-chat", "c.jsonl"), tmp_path)
    assert questions([i for _, i in part.read(cursor)]) == WANTED[:1]


def test_a_file_that_cant_be_read_is_counted_and_read_again(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(as_lines(CHATS[:1]))
    for kind in ("openai-chat", "otlp-file"):
        config = source(kind, "*.jsonl")
        first, *rest = parts(config, tmp_path)
        (tmp_path / "a.jsonl").rename(tmp_path / "gone")
        items = list(first.read())
        (tmp_path / "gone").rename(tmp_path / "a.jsonl")
        assert isinstance(items[0][1], Skipped)
        assert items[0][1].reason == "the file can't be read: No such file or directory"
        assert not first.is_done(items[0][0]) or not rest


def test_names_of_files_and_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "project [1]"
    root.mkdir()
    (tmp_path / "outside.jsonl").write_bytes(as_lines(CHATS[:1]))
    (root / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    (root / "loop.jsonl").symlink_to(root / "loop.jsonl")
    (root / "gone.jsonl").symlink_to(root / "nowhere")
    (root / "folder.jsonl").mkdir()
    Path(os.fsdecode(os.fsencode(root) + b"/gespr\xe4ch.jsonl")).write_bytes(as_lines([CHATS[1], 0]))
    for pattern in ("*.jsonl", "../project [[]1]/*.jsonl", "."):
        items = list(read(source("openai-chat", pattern), root))
        assert sorted(questions(items)) == [*WANTED[:2], "skipped"], pattern
        for item in items:
            assert msgspec.json.decode(msgspec.json.encode(item), type=type(item)) == item
    assert {i.name for i in parts(source("openai-chat", "*.jsonl"), root)} == {
        "link.jsonl",
        "gespr\\xe4ch.jsonl",
    }
    assert questions(list(read(source("openai-chat", "../**"), root)))[0] == WANTED[0]


def test_items_that_are_too_large_are_counted_by_themselves(tmp_path: Path) -> None:
    items = [chat(1), chat(2, metadata={"x": "y" * (2 * MB)}), chat(3)]
    (tmp_path / "c.json").write_text(json.dumps(items))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(as_lines(items)))
    pl.DataFrame([{**i, "metadata": json.dumps(i.get("metadata", {}))} for i in items]).write_parquet(
        tmp_path / "c.parquet"
    )
    for name in ("c.json", "c.jsonl.gz", "c.parquet"):
        found = list(read(source("openai-chat", name, max_trace_mb=1), tmp_path))
        assert [type(i) for i in found] == [Trace, Skipped, Trace], name
        assert isinstance(found[1], Skipped)
        assert "larger than 1 MB" in found[1].reason


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("c.json", json.dumps(CHATS).encode()[:-40]),
        ("c.json", b"[{},,}]"),
        ("c.json", b""),
        ("c.jsonl.gz", gzip.compress(as_lines(CHATS), mtime=0)[:-20]),
        ("c.jsonl.gz", b"no gzip"),
        ("c.json.gz", gzip.compress(json.dumps(CHATS).encode(), mtime=0)[:60]),
        ("c.parquet", b"PAR1 no parquet"),
        ("c.parquet", b""),
        ("c.parquet.zst", b"no Zstandard"),
        ("c.jsonl", json.dumps(CHATS[0], ensure_ascii=False).encode("latin-1") + b"\n"),
        ("c.jsonl", as_lines(CHATS[:1]).decode().encode("utf-16")),
        ("c.jsonl", b"[" * 10_000 + b"]" * 10_000 + b"\n"),
        ("c.jsonl", b'{"messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}\n"),
    ],
    ids=[
        "cut",
        "commas",
        "empty",
        "gz cut",
        "no gz",
        "document gz cut",
        "no Parquet",
        "empty Parquet",
        "no Zstandard",
        "Latin-1",
        "UTF-16",
        "deep list",
        "deep object",
    ],
)
@pytest.mark.parametrize("kind", ["openai-chat", "openai-logs", "jsonl", "langfuse-file", "otlp-file"])
def test_a_damaged_container_is_counted(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    if name.endswith(".zst"):
        pytest.importorskip("backports.zstd", reason="pip install 'strop[objects]'")
    (tmp_path / name).write_bytes(data)
    items = list(read(source(kind, name), tmp_path))
    assert any(isinstance(i, Skipped) for i in items)
    assert all(json.dumps(CHATS[0])[:40] not in i.reason for i in items if isinstance(i, Skipped))


def test_globs_folders_and_file_addresses(tmp_path: Path) -> None:
    for n, day in enumerate(("2026/11/01", "2026/11/02")):
        folder = tmp_path / "logs" / day
        folder.mkdir(parents=True)
        (folder / "chat.jsonl").write_bytes(as_lines([CHATS[n]]))
        (folder / "README.md").write_text("# no traces")
    for pattern in (
        "logs/**/*.jsonl",
        "logs",
        (tmp_path / "logs").as_uri(),
        f"{tmp_path.as_uri()}/logs/**/*.jsonl",
    ):
        found = list(read(source("openai-chat", pattern), tmp_path))
        assert questions(found) == WANTED[:2], pattern
        # Files of one name in two folders are two chats.
        assert [i.source_id for i in found if isinstance(i, Trace)] == [
            "2026/11/01/chat:0",
            "2026/11/02/chat:0",
        ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
        max_leaves=12,
    ),
    st.integers(1, 7),
)
def test_values_come_out_of_a_list_whatever_they_hold(value: Any, chunk: int) -> None:
    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(chunk)

    document = json.dumps([value, {"a": value}, value]).encode()
    found = [json.loads(raw or b"") for _, raw in json_values(Dribble(document), 1 << 20)]
    assert found == [value, {"a": value}, value]
    starts = [at for at, _ in json_values(Dribble(document), 1 << 20)]
    assert starts == sorted(set(starts))


@given(st.binary(max_size=200))
def test_any_bytes_end_in_values_or_a_reason(data: bytes) -> None:
    try:
        list(json_values(io.BytesIO(data), 50))
    except ValueError as error:
        assert str(error)


def test_exported_workflow_histories_are_read() -> None:
    items = list(read(source("temporal-file", "*.json"), shared("data/trace_formats/temporal")))
    assert len(items) == 3
    assert any(isinstance(i, Trace) for i in items)
    assert len({i.source_id for i in items if isinstance(i, Trace)}) == sum(
        isinstance(i, Trace) for i in items
    )


def test_openai_logs_join_batch_files_and_read_the_rest_as_it_comes(tmp_path: Path) -> None:
    def ask(text: str) -> dict[str, Any]:
        return {"model": "m", "messages": [{"role": "user", "content": text}]}

    def answer(text: str) -> dict[str, Any]:
        return {"choices": [{"message": {"role": "assistant", "content": text}}], "object": "chat.completion"}

    asked = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": ask("q1")}
    answered = {"custom_id": "r1", "response": {"status_code": 200, "body": answer("a1")}, "error": None}
    (tmp_path / "in.jsonl").write_bytes(as_lines([asked]))
    (tmp_path / "out.jsonl").write_bytes(as_lines([answered]) + b"{}\nno json\n")
    (tmp_path / "gateway.jsonl").write_bytes(as_lines([{"request": ask("q2"), "response": answer("a2")}]))
    (part,) = parts(source("openai-logs", "*.jsonl"), tmp_path)
    items = list(part.read())
    texts = [[m.content for m in i.episodes[0].messages] for _, i in items if isinstance(i, Trace)]
    assert sorted(texts) == [["q1", "a1"], ["q2", "a2"]]
    assert len([i for _, i in items if isinstance(i, Skipped)]) == 2
    assert part.is_done(items[-1][0])


def test_a_line_behind_the_limit_in_a_stream_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"a" * 100 + b"\n" + b'{"b": 1}\n')
    found = list(rows(local_file(path), "", 50))
    assert [(r.data, r.fault is None) for r in found] == [(None, False), (b'{"b": 1}', True)]
