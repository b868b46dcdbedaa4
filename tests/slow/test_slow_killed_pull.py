"""kill -9 at twenty random moments of a pull from a server that is busy and drops connections.

A moment is a number of requests and some milliseconds more, so that it lies inside the pull however slow
the machine is.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from strop.config import load
from strop.sources.phoenix import Phoenix
from strop.sources.platform import DAY, HOUR, SECOND, Window, iso, ns
from strop.store import open_database
from strop.store.traces import done_windows, iter_records, skipped_counts

pytestmark = pytest.mark.slow

KILLS = 20
RUNS = 400
MOST_REQUESTS = 60  # of one pull before it is killed: a window takes about half as many


def rows(now: int) -> list[dict[str, Any]]:
    """Three spans a run, a run every 15 minutes: over four days, over every midnight."""
    made: list[dict[str, Any]] = []
    for n in range(RUNS):
        at = now - (RUNS - n) * HOUR // 4 - HOUR
        asked = [{"role": "user", "content": f"Where is parcel {n:020d}? Erika Mustermann"}]
        said = [{"role": "assistant", "content": f"Parcel {n:020d} is on its way."}]
        for k, attributes in enumerate(
            (
                {"openinference.span.kind": "AGENT", "session.id": f"s{n // 3}", "customer.id": f"c{n % 7}"},
                {"openinference.span.kind": "TOOL", "tool.name": "look", "output.value": "{}"},
                {
                    "openinference.span.kind": "LLM",
                    "llm.input_messages.0.message.role": "user",
                    "llm.input_messages.0.message.content": asked[0]["content"],
                    "llm.output_messages.0.message.role": "assistant",
                    "llm.output_messages.0.message.content": said[0]["content"],
                },
            )
        ):
            made.append(
                {
                    "id": f"{n}-{k}",
                    "name": "span",
                    "context": {"trace_id": f"{n + 1:032x}", "span_id": f"{n * 3 + k + 1:016x}"},
                    "span_kind": attributes["openinference.span.kind"],
                    "parent_id": None if k == 0 else f"{n * 3 + 1:016x}",
                    "start_time": iso(at + k * 20 * SECOND * 60),
                    "end_time": iso(at + k * 20 * SECOND * 60 + SECOND),
                    "status_code": "OK",
                    "attributes": attributes,
                    "events": [],
                }
            )
    return sorted(made, key=lambda r: r["start_time"])


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


@contextmanager
def faulty(spans: list[dict[str, Any]], seed: int | None) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve spans as Phoenix does; with a seed, a quarter of the answers is a failure first.

    Yield the address, and the parameters of each request so far.
    """
    rng = random.Random(seed)
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(url.query).items()}
            seen.append({"path": url.path, **query})
            dice = rng.random() if seed is not None else 1.0
            if dice < 0.02:
                return None  # the connection ends without an answer
            if dice < 0.25:
                return self._answer(rng.choice([429, 500, 502, 503]), b"busy")
            if dice < 0.35:
                time.sleep(0.02)
            if url.path == "/arize_phoenix_version":
                return self._answer(200, b"20.26.1")
            if not url.path.endswith("/spans"):
                return self._answer(200, json.dumps({"data": [], "next_cursor": None}).encode())
            wanted = self._wanted(query)
            first, size = int(query.get("cursor", "0")), min(40, int(query.get("limit", "100")))
            following = str(first + size) if first + size < len(wanted) else None
            page = wanted[max(0, first - 2 * (dice < 0.5)) : first + size]  # sometimes rows come twice
            return self._answer(200, json.dumps({"data": page, "next_cursor": following}).encode())

        def _wanted(self, query: dict[str, str]) -> list[dict[str, Any]]:
            start, end = query.get("start_time"), query.get("end_time")
            return [
                s
                for s in spans
                if (start is None or ns(s["start_time"]) >= ns(start))
                and (end is None or ns(s["start_time"]) < ns(end))
                and query.get("trace_id", s["context"]["trace_id"]) == s["context"]["trace_id"]
            ]

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status == 429 or status >= 500:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def project(folder: Path, url: str, since: int) -> Path:
    folder.mkdir()
    source = {"name": "far", "kind": "phoenix", "url": url, "project": "agent", "since": iso(since)}
    (folder / "strop.toml").write_text(
        "[[sources]]\n" + "".join(f'{key} = "{value}"\n' for key, value in source.items())
    )
    return folder


def pulling(folder: Path) -> subprocess.Popen[bytes]:
    code = "from strop.cli import main; main()"
    environ = {**os.environ, "STROP_REDACTION_KEY": "the same key for both"}
    return subprocess.Popen(
        [sys.executable, "-c", code, "pull", "--json", "-C", str(folder)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def stored(folder: Path) -> tuple[dict[str, Any], dict[str, int], set[str]]:
    """Each trace with its hash, what was skipped, and the windows that are done."""
    db = open_database(load(folder, environ={}).store_url, "default")
    found = {t.source_id: (digest, t) for digest, t in iter_records(db)}
    held = found, skipped_counts(db), set(done_windows(db, "far"))
    db.close()
    return held


def killed(child: subprocess.Popen[bytes], seen: list[Any], requests: int, delay_s: float) -> bool:
    """Kill a pull `delay_s` after so many requests more; say whether it was still at work."""
    until = len(seen) + requests
    while len(seen) < until and child.poll() is None:
        time.sleep(0.001)
    time.sleep(delay_s)
    child.kill()
    _, err = child.communicate()
    assert child.returncode in (0, -signal.SIGKILL), err
    return child.returncode != 0


def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    now = time.time_ns()
    spans, since = rows(now), now - 6 * DAY
    with faulty(spans, None) as (url, _):
        calm = project(tmp_path / "calm", url, since)
        child = pulling(calm)
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        assert json.loads(out)["total"] == RUNS
    moments = random.Random(7)
    kills = held = 0
    with faulty(spans, 11) as (url, seen):
        rough = project(tmp_path / "rough", url, since)
        while kills < KILLS:
            kills += killed(pulling(rough), seen, moments.randint(1, MOST_REQUESTS), moments.uniform(0, 0.1))
            before = stored(rough)
            assert len(before[0]) >= held  # what is stored stays stored
            held = len(before[0])
        begun = len(seen)
        child = pulling(rough)
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
    after, expected = stored(rough), stored(calm)
    assert after[0].keys() == expected[0].keys()
    assert after == expected
    # What was done is not fetched again: no page is asked for that begins where a done window does.
    assert before[2]
    margin = Phoenix.margin
    starts = {iso(w.start - margin) for w in map(Window.named, before[2]) if w is not None}
    asked = {s["start_time"] for s in seen[begun:] if "start_time" in s and "trace_id" not in s}
    assert asked
    assert not asked & starts
