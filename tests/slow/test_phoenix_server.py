"""A real Phoenix server between the example's agent and strop: the traces come out as they went in."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import runs
import sqlalchemy as sa
from servers import REPO, free_ports, program, serving, until
from shared import shared

if str(REPO / "examples") not in sys.path:
    sys.path.insert(0, str(REPO / "examples"))

from logistics import agent, database, endpoint, teacher, world

from strop.config import Source, load
from strop.loop.landing import land
from strop.loop.pull import pull
from strop.records import Score, Skipped, Trace
from strop.sources.otlp.receiver import Receiver
from strop.sources.otlp.wire import assemble, decode
from strop.sources.phoenix import Phoenix
from strop.sources.platform import HOUR, Made, Window, iso, ns, within
from strop.store import open_database
from strop.store.traces import iter_traces

pytestmark = pytest.mark.slow

INQUIRIES = 40
INGEST_S = 600.0
FIRST = ns("2026-01-05T06:00:00Z")
RUNS = 60
EVER = Window(0, ns("2100-01-01T00:00:00Z"))
TOML = """
[[sources]]
name = "agent"
kind = "phoenix"
url = "{url}"
project = "default"
since = "{since}"
"""


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server of its own on free ports."""
    command = [program("STROP_PHOENIX", ".venv-phoenix/bin/phoenix"), "serve"]
    folder = tmp_path_factory.mktemp("phoenix")
    port, grpc_port = free_ports(2)
    environment = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    ready = f"http://127.0.0.1:{port}/healthz"
    with serving(command, port, ready, folder=folder, environment=environment) as url:
        yield url


@contextmanager
def listening(http: ThreadingHTTPServer) -> Iterator[str]:
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
        listening(endpoint.server(teacher.respond, teacher.MODEL)) as model,
        listening(tee(receiver, phoenix)) as otlp,
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


def stored_spans(url: str, project: str = "default") -> int:
    """Count by paging the API itself: ingestion is asynchronous."""
    found, cursor = 0, None
    with httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        while True:
            params = {"limit": 1000, **({"cursor": cursor} if cursor else {})}
            answer = client.get(f"/v1/projects/{project}/spans", params=params)
            page = answer.json() if answer.status_code == 200 else {}  # 404 until the first span is in
            found += len(page.get("data") or [])
            cursor = page.get("next_cursor")
            if not cursor:
                return found


def timeless(trace: Trace) -> Trace:
    return msgspec.structs.replace(trace, started_at=0, ended_at=0)


def pulled(source: Source, window: Window, page_size: int = 1000) -> Made:
    platform = Phoenix(source, page_size=page_size)
    try:
        made = platform.assemble([row for page in platform.fetch(window) for row in page.rows])
        return Made(within(made.traces, window), made.skipped)
    finally:
        platform.close()


@pytest.mark.parametrize("page_size", [7, 1000])
def test_what_is_pulled_back_is_what_was_received(sent: Sent, page_size: int) -> None:
    made = pulled(Source(name="agent", kind="phoenix", url=sent.url, project="default"), EVER, page_size)
    traces = {t.source_id: t for t in made.traces}
    assert {s.item for s in made.skipped} == sent.skipped
    assert len(made.traces) == len(sent.traces)
    assert traces.keys() == sent.traces.keys()
    for source_id, received in sent.traces.items():
        back = traces[source_id]
        assert timeless(back) == timeless(received)
        # Phoenix rounds to microseconds; the agent's clock counts nanoseconds.
        assert abs(back.started_at - received.started_at) < 1000
        assert abs(back.ended_at - received.ended_at) < 1000


def test_the_store_holds_the_same_traces_either_way(sent: Sent, tmp_path: Path) -> None:
    since = iso(min(t.started_at for t in sent.traces.values()))
    (tmp_path / "strop.toml").write_text(TOML.format(url=sent.url, since=since))
    config = load(tmp_path, environ={})
    stored: list[dict[str, Any]] = []

    def settled() -> int:
        return time.time_ns() + HOUR

    for name in ("received", "pulled"):
        db = open_database(f"sqlite:///{tmp_path}/{name}.db", "default")
        if name == "received":
            land(db, config, list(sent.traces.values()), [])
        else:
            report = pull(config, db, now=settled)
            assert report["total"] == len(sent.traces)
            again = pull(config, db, now=settled)
            assert again["sources"]["agent"].get("new", 0) == 0
        stored.append({key: json.loads(msgspec.json.encode(t.episodes)) for key, t in iter_traces(db)})
        db.close()
    assert stored[0] == stored[1]
    assert len(stored[0]) >= INQUIRIES - 3


def send(url: str, body: bytes) -> dict[str, Trace]:
    """Send an export and return what strop makes of it directly."""
    httpx2.post(
        f"{url}/v1/traces", content=body, timeout=60, trust_env=False,
        headers={"Content-Type": "application/x-protobuf"},
    ).raise_for_status()  # fmt: skip
    traces, skipped = assemble(decode(body), source="s", customer_key="tenant.id")
    assert not skipped
    return {t.source_id: t for t in traces}


def source(url: str, project: str) -> Source:
    return Source(name="s", kind="phoenix", url=url, project=project, customer_key="tenant.id")


@pytest.fixture(scope="module")
def exported(phoenix: str) -> dict[str, Trace]:
    """Sixty runs of both dialects, ten minutes apart, in the project "runs"."""
    request = runs.export(RUNS, 7, FIRST)
    direct = send(phoenix, request.SerializeToString())
    spans = len(request.resource_spans[0].scope_spans[0].spans)
    until(lambda: stored_spans(phoenix, "runs") >= spans, INGEST_S, f"Phoenix does not show {spans} spans")
    return direct


def test_windows_together_hold_each_run_once_as_it_was_sent(phoenix: str, exported: dict[str, Trace]) -> None:
    found: list[Trace] = []
    for hour in range(-1, 12, 2):
        made = pulled(source(phoenix, "runs"), Window(FIRST + hour * HOUR, FIRST + (hour + 2) * HOUR), 7)
        assert not made.skipped
        found += made.traces
    assert sorted(t.source_id for t in found) == sorted(exported)
    for trace in found:
        assert timeless(trace) == timeless(exported[trace.source_id])


def test_the_recorded_runs_of_both_dialects_come_back(phoenix: str) -> None:
    direct: dict[str, Trace] = {}
    for name in ("genai.pb", "openinference.pb"):
        direct |= send(phoenix, shared(f"fixtures/{name}").read_bytes())
    until(lambda: stored_spans(phoenix, "agent") >= 8, INGEST_S, "Phoenix does not show 8 spans")
    made = pulled(source(phoenix, "agent"), EVER, 3)
    assert {t.source_id: timeless(t) for t in made.traces} == {i: timeless(t) for i, t in direct.items()}


def test_annotations_come_with_their_traces(phoenix: str, exported: dict[str, Trace]) -> None:
    window = Window(FIRST, FIRST + 1)
    (first,) = pulled(source(phoenix, "runs"), window).traces
    platform = Phoenix(source(phoenix, "runs"))
    rows = [row for page in platform.fetch(window) for row in page.rows]
    span_id = next(r for r in rows if r["context"]["trace_id"] == first.source_id)["context"]["span_id"]
    given: tuple[tuple[str, dict[str, Any]], ...] = (
        ("span", {"span_id": span_id, "name": "correct", "annotator_kind": "HUMAN",
                  "result": {"score": 1, "label": "pass", "explanation": "as it was"}}),
        ("trace", {"trace_id": first.source_id, "name": "tone", "annotator_kind": "LLM",
                   "result": {"label": "friendly"}}),
        ("session", {"session_id": first.session_id, "name": "solved", "annotator_kind": "CODE",
                     "result": {"score": 0.5}}),
    )  # fmt: skip
    for kind, annotation in given:
        httpx2.post(
            f"{phoenix}/v1/{kind}_annotations", params={"sync": "true"}, json={"data": [annotation]},
            timeout=60, trust_env=False,
        ).raise_for_status()  # fmt: skip
    made = pulled(source(phoenix, "runs"), Window(FIRST, FIRST + HOUR), 5)
    platform.close()
    assert not made.skipped
    scores = {t.source_id: t.scores for t in made.traces}
    assert set(scores[first.source_id]) == {
        Score("correct", 1.0, "human", "pass: as it was"),
        Score("tone", "friendly", "llm"),
        Score("solved", 0.5, "code"),
    }
    same_session = [t for t in made.traces if t.session_id == first.session_id]
    assert len(same_session) == 3
    assert all(Score("solved", 0.5, "code") in t.scores for t in same_session)
    assert sum(len(s) for s in scores.values()) == 5


def test_probe_knows_the_server(phoenix: str, exported: dict[str, Trace]) -> None:
    platform = Phoenix(source(phoenix, "runs"))
    assert platform.probe().version.startswith("20.")
    platform.close()
