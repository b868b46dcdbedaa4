"""Phoenix's REST answers, recorded, through a loopback stub with pages and faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from shared import shared

from strop.config import Source
from strop.errors import OutsideServiceError
from strop.records import Trace
from strop.sources.otlp import assemble, decode
from strop.sources.phoenix import fetch


@contextmanager
def phoenix(
    rows: list[dict[str, Any]], faults: list[int]
) -> Iterator[tuple[Source, list[dict[str, list[str]]]]]:
    """Serve spans in pages; `faults` are the status codes of the first answers."""
    seen: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            seen.append(query)
            if faults:
                self.send_response(faults.pop(0))
                self.send_header("Retry-After", "3")
                self.end_headers()
                return
            first, size = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
            following = str(first + size) if first + size < len(rows) else None
            answer = json.dumps({"data": rows[first : first + size], "next_cursor": following}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        yield Source(name="s", kind="phoenix", url=url, project="agent", customer_key="tenant.id"), seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def recorded() -> list[dict[str, Any]]:
    return json.loads(shared("fixtures/phoenix_20.26.1_spans.json").read_text())["data"]


def test_pages_and_retries_give_the_traces_that_otlp_gives() -> None:
    waits: list[float] = []
    with phoenix(recorded(), [429, 503]) as (source, seen):
        items = [i for _, i in fetch(source, "key", page_size=3, sleep=waits.append)]
    assert waits == [3.0, 3.0]
    assert len(seen) == 5
    traces = {t.source_id: t for t in items if isinstance(t, Trace)}
    for name in ("genai.pb", "openinference.pb"):
        (direct,), _ = assemble(
            decode(shared(f"fixtures/{name}").read_bytes()), source="s", customer_key="tenant.id"
        )
        pulled = traces[direct.source_id]
        assert pulled.episodes == direct.episodes
        assert (pulled.session_id, pulled.model, pulled.usage) == (
            direct.session_id,
            direct.model,
            direct.usage,
        )
        assert (pulled.scores, pulled.tags, pulled.agent) == (direct.scores, direct.tags, direct.agent)
        assert abs(pulled.started_at - direct.started_at) < 1000  # Phoenix keeps microseconds


def test_the_cursor_asks_for_the_last_hour_again() -> None:
    with phoenix(recorded(), []) as (source, seen):
        cursors = [c for c, _ in fetch(source, None)]
        list(fetch(source, None, since=cursors[-1]))
    assert seen[-1]["start_time"][0].startswith("2026-11-23T05:32:06")


def test_traces_are_handed_on_while_later_spans_arrive() -> None:
    rows = recorded()
    later = json.loads(json.dumps(rows).replace("2026-11-23T06:", "2026-11-23T09:"))
    for row in later:
        row["context"]["trace_id"] = row["context"]["trace_id"][::-1]
    with phoenix([*rows, *later], []) as (source, _):
        marks = [int(c) for c, _ in fetch(source, None)]
    assert len(marks) == 4
    assert marks[0] < marks[-1]


def test_a_server_that_stays_down_is_an_outside_error() -> None:
    waits: list[float] = []
    with phoenix([], [500] * 9) as (source, _), pytest.raises(OutsideServiceError, match="HTTP 500"):
        list(fetch(source, None, sleep=waits.append))
    assert len(waits) == 4


def test_an_unknown_project_is_not_retried() -> None:
    waits: list[float] = []
    with phoenix([], [404]) as (source, _), pytest.raises(OutsideServiceError, match="HTTP 404"):
        list(fetch(source, None, sleep=waits.append))
    assert not waits
