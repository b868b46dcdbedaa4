"""Object stores: the real client against a stand-in for S3 on the loopback, and its store in memory.

No test speaks to a cloud.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import polars as pl
import pytest
from chat_files import CHATS, WANTED, as_lines, questions, source
from otlp_lines import ids, spread

from strop.errors import ConfigError, InputError, OutsideServiceError
from strop.records import Trace
from strop.sources.files.containers import File
from strop.sources.files.objects import glob_regex, objects
from strop.sources.files.parts import parts, read
from strop.sources.otlp.files import read_otlp


def test_globs_over_keys() -> None:
    assert re.fullmatch(glob_regex("logs/**/*.jsonl.gz"), "logs/2026/11/a.jsonl.gz")
    assert re.fullmatch(glob_regex("logs/**/*.jsonl.gz"), "logs/a.jsonl.gz")
    assert not re.fullmatch(glob_regex("logs/*.jsonl"), "logs/2026/a.jsonl")
    assert re.fullmatch(glob_regex("a?.(x)"), "ab.(x)")
    for pattern, key in (
        ("a[0-9].x", "a7.x"),
        ("a[!0-9].x", "ab.x"),
        ("a[]b].x", "a].x"),
        ("a[^b].x", "a^.x"),
    ):
        assert re.fullmatch(glob_regex(pattern), key), pattern
    assert not re.fullmatch(glob_regex("a[!0-9]x"), "a/x")
    assert re.fullmatch(glob_regex("a[b"), "a[b")


def test_without_the_library_the_next_step_is_named(tmp_path: Path) -> None:
    if importlib.util.find_spec("obstore") is not None:
        pytest.skip("obstore is installed here")
    with pytest.raises(ConfigError, match=r"pip install 'strop\[objects\]'"):
        parts(source("jsonl", "s3://bucket/x.jsonl"), tmp_path)


@contextmanager
def bucket(contents: dict[str, bytes], faults: list[int] | None = None) -> Generator[str]:
    """A stand-in for S3: ListObjectsV2, HEAD and ranged GET of one bucket."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(head=True)

        def do_GET(self) -> None:
            self.answer()

        def answer(self, *, head: bool = False) -> None:
            url = urlsplit(self.path)
            if faults:
                self.reply(faults.pop(0), b"<Error/>", head=head)
                return
            key = unquote(url.path).removeprefix("/bucket").lstrip("/")
            if not key:
                self.reply(200, listing(parse_qs(url.query).get("prefix", [""])[0]), head=head)
            elif key not in contents:
                self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>", head=head)
            else:
                data, wanted = contents[key], self.headers.get("Range")
                if wanted is None:
                    self.reply(200, data, head=head)
                    return
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                part = data[int(first) : int(last) + 1 if last else None]
                self.reply(206, part, f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}", head=head)

        def reply(self, status: int, data: bytes, content_range: str = "", *, head: bool) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
            self.send_header("ETag", '"1"')
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()
            if not head:
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    def listing(prefix: str) -> bytes:
        found = "".join(
            f"<Contents><Key>{escape(k)}</Key><Size>{len(v)}</Size><ETag>1</ETag>"
            "<LastModified>2026-11-02T10:00:00.000Z</LastModified></Contents>"
            for k, v in sorted(contents.items())
            if k.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    pytest.importorskip("obstore", reason="pip install 'strop[objects]'")
    monkeypatch.setenv("STORE_USER", "someone")
    monkeypatch.setenv("STORE_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    return {"user_env": "STORE_USER", "api_key_env": "STORE_KEY"}


def test_an_s3_bucket_is_read_like_a_folder(tmp_path: Path, keys: dict[str, str]) -> None:
    table = io.BytesIO()
    pl.DataFrame([CHATS[2]]).write_parquet(table)
    contents = {
        "logs/2026/a.jsonl": as_lines(CHATS[:1]),
        "logs/2026/b.jsonl.gz": gzip.compress(as_lines(CHATS[1:2])),
        "logs/c.parquet": table.getvalue(),
        "logs/d.json": json.dumps(CHATS[3:]).encode(),
        "logs/read.me": b"no traces",
        "else/e.jsonl": as_lines(CHATS),
    }
    with bucket(contents) as url:
        for address in ("s3://bucket/logs", "s3://bucket/logs/"):
            found = list(read(source("openai-chat", address, url=url, **keys), tmp_path))
            assert sorted(questions(found)) == sorted(WANTED), address
        one = list(read(source("openai-chat", "s3://bucket/logs/2026/a.jsonl", url=url, **keys), tmp_path))
        assert questions(one) == WANTED[:1]
        assert [i.source_id for i in one if isinstance(i, Trace)] == ["a:0"]
        some = parts(source("openai-chat", "s3://bucket/logs/**/*.jsonl*", url=url, **keys), tmp_path)
        assert [p.name for p in some] == ["s3://bucket/logs/2026/a.jsonl", "s3://bucket/logs/2026/b.jsonl.gz"]
        cursor = list(some[0].read())[-1][0]
        assert some[0].is_done(cursor)
        contents["logs/2026/a.jsonl"] += as_lines(CHATS[4:])
        grown, _ = parts(source("openai-chat", "s3://bucket/logs/**/*.jsonl*", url=url, **keys), tmp_path)
        assert questions([i for _, i in grown.read(cursor)]) == WANTED[4:]
        with pytest.raises(InputError, match="there is no file"):
            parts(source("openai-chat", "s3://bucket/none/**/*.jsonl", url=url, **keys), tmp_path)


def test_a_store_that_refuses_is_an_outside_error(tmp_path: Path, keys: dict[str, str]) -> None:
    with bucket({}, [403] * 20) as url, pytest.raises(OutsideServiceError, match="does not answer"):
        parts(source("openai-chat", "s3://bucket/logs/*.jsonl", url=url, **keys), tmp_path)


def test_a_store_in_memory_serves_otlp_files(keys: dict[str, str]) -> None:
    from obstore.store import MemoryStore  # pyright: ignore

    store: Any = MemoryStore()
    store.put("t/1.jsonl", as_lines(spread()[:3]))
    store.put("t/2.jsonl", as_lines(spread()[3:]))
    config = source("otlp-file", "gs://bucket/t/*.jsonl", **keys)
    found: list[File] = objects(config, "gs://bucket/t/*.jsonl", lambda _bucket, _source: store)
    assert [f.label for f in found] == ["1.jsonl", "2.jsonl"]
    assert ids([i for _, i in read_otlp(found, config)]) == [1, 2, 3]
    with pytest.raises(ConfigError, match="no pattern"):
        objects(config, "gs://bucket/t/[z-a].jsonl", lambda _bucket, _source: store)
