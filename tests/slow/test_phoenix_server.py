"""A real Phoenix server between the example's agent and strop: the traces come out as they went in."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import sqlalchemy as sa

REPO = Path(__file__).resolve().parents[2]
if str(REPO / "examples") not in sys.path:
    sys.path.insert(0, str(REPO / "examples"))

from logistics import agent, database, endpoint, teacher, world  # noqa: E402

from strop.config import Source, load  # noqa: E402
from strop.loop.pull import land, pull  # noqa: E402
from strop.records import Skipped, Trace  # noqa: E402
from strop.sources.phoenix import fetch  # noqa: E402
from strop.sources.receiver import Receiver  # noqa: E402
from strop.store import open_database  # noqa: E402
from strop.store.traces import iter_traces  # noqa: E402

pytestmark = pytest.mark.slow

INQUIRIES = 40
START_S, INGEST_S = 180.0, 300.0
TOML = """
[[sources]]
name = "agent"
kind = "phoenix"
url = "{url}"
project = "default"
"""


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server of its own on free ports, stopped whatever happens."""
    program = Path(os.environ.get("STROP_PHOENIX") or REPO / ".venv-phoenix/bin/phoenix")
    if not program.exists():
        pytest.skip(f"no Phoenix at {program}: make test-slow installs it")
    folder = tmp_path_factory.mktemp("phoenix")
    port, grpc_port = free_ports(2)
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [program, "serve"],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: server.poll() is not None or answers(url), START_S, "Phoenix does not start")
        assert server.poll() is None, (folder / "server.log").read_text()
        yield url
    finally:
        stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server with all that it started: it leads its own process group."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, how)
            server.wait(20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    server.wait(20)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"{otherwise} within {seconds:g} s"
        time.sleep(1.0)


@contextmanager
def serving(http: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def tee(receiver: Receiver, phoenix: str) -> ThreadingHTTPServer:
    """An OTLP collector that gives each export, byte for byte, to Phoenix and to strop's receiver."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind, packed = self.headers["Content-Type"], self.headers.get("Content-Encoding", "")
            headers = {"Content-Type": kind, **({"Content-Encoding": packed} if packed else {})}
            httpx2.post(
                f"{phoenix}/v1/traces", content=body, headers=headers, timeout=60, trust_env=False
            ).raise_for_status()
            reply, reply_kind = receiver.receive(body, kind, packed)
            self.send_response(200)
            self.send_header("Content-Type", reply_kind)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: Any) -> None:
            return

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


class Sent(msgspec.Struct, frozen=True):
    """What strop's own receiver made of the agent's exports."""

    traces: dict[str, Trace]
    skipped: set[str]
    spans: int
    url: str


@pytest.fixture(scope="module")
def sent(phoenix: str, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """The agent's runs, in Phoenix and in strop's receiver; broken exports among them."""
    engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('company')}/company.db")
    database.save(engine, world.build(14, 110, 5), 5)
    asked = database.asked(engine, 1, 14, INQUIRIES)
    with engine.begin() as connection:
        # Phoenix keeps a span id once, whatever its trace: the example's copies would not arrive.
        connection.execute(database.inquiries.update().values(defect="", copies=1))
        for one, defect in zip(asked, ("no_root_ids", "bad_arguments", "cut_messages"), strict=False):
            row = database.inquiries.c.ticket == one.ticket
            connection.execute(database.inquiries.update().where(row).values(defect=defect))
    traces: dict[str, Trace] = {}
    skipped: set[str] = set()

    def sink(found: list[Trace], refused: list[Skipped]) -> None:
        traces.update({t.source_id: t for t in found})
        skipped.update(s.item for s in refused)

    receiver = Receiver(sink, source="agent")
    with (
        serving(endpoint.server(teacher.respond, teacher.MODEL)) as model,
        serving(tee(receiver, phoenix)) as otlp,
    ):
        settings = agent.Settings(f"{model}/v1", teacher.MODEL, otlp, threads=2)
        summary = agent.run_all(engine, database.asked(engine, 1, 14, INQUIRIES), settings)
    receiver.flush()
    engine.dispose()
    assert summary["export_failures"] == 0
    assert summary["broken"] == 3
    assert len(traces) + len(skipped) == summary["exported"] == INQUIRIES
    spans = receiver.counts()["spans"]
    until(lambda: stored_spans(phoenix) >= spans, INGEST_S, f"Phoenix does not show {spans} spans")
    return Sent(traces, skipped, spans, phoenix)


def stored_spans(url: str) -> int:
    """Count by paging the API itself: ingestion is asynchronous."""
    found, cursor = 0, None
    with httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        while True:
            page = client.get(
                "/v1/projects/default/spans", params={"limit": 1000, **({"cursor": cursor} if cursor else {})}
            ).json()
            found += len(page.get("data") or [])
            cursor = page.get("next_cursor")
            if not cursor:
                return found


def timeless(trace: Trace) -> Trace:
    return msgspec.structs.replace(trace, started_at=0, ended_at=0)


@pytest.mark.parametrize("page_size", [7, 1000])
def test_what_is_pulled_back_is_what_was_received(sent: Sent, page_size: int) -> None:
    source = Source(name="agent", kind="phoenix", url=sent.url, project="default")
    items = [item for _, item in fetch(source, None, page_size=page_size)]
    traces = {t.source_id: t for t in items if isinstance(t, Trace)}
    assert {s.item for s in items if isinstance(s, Skipped)} == sent.skipped
    assert len(items) == len(sent.traces) + len(sent.skipped)
    assert traces.keys() == sent.traces.keys()
    for source_id, received in sent.traces.items():
        pulled = traces[source_id]
        assert timeless(pulled) == timeless(received)
        # Phoenix rounds to microseconds; the agent's clock counts nanoseconds.
        assert abs(pulled.started_at - received.started_at) < 1000
        assert abs(pulled.ended_at - received.ended_at) < 1000


def test_the_store_holds_the_same_traces_either_way(sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "strop.toml").write_text(TOML.format(url=sent.url))
    config = load(tmp_path, environ={})
    stored: list[dict[str, Any]] = []
    for name in ("received", "pulled"):
        db = open_database(f"sqlite:///{tmp_path}/{name}.db", "default")
        if name == "received":
            land(db, config, list(sent.traces.values()), [])
        else:
            report = pull(config, db)
            assert report["total"] == len(sent.traces)
            again = pull(config, db)
            assert again["sources"]["agent"].get("new", 0) == 0
        stored.append({key: json.loads(msgspec.json.encode(t.episodes)) for key, t in iter_traces(db)})
        db.close()
    assert stored[0] == stored[1]
    assert len(stored[0]) >= INQUIRIES - 3
