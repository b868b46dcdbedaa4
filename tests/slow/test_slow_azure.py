"""Azure Monitor's real exporter writes, a stand-in ingests and answers, the real client and strop read."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers import program
from shared import shared
from sources.azure_workspace import CONTENT, Tables, exported, protected, tables_of, workspace
from sources.traced_run import Row, inference_run, run

from strop.config import Source
from strop.records import Trace
from strop.sources.azure.api import Azure
from strop.sources.otlp.wire import decode
from strop.sources.platform import DAY, Window, ns
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import Span

pytestmark = pytest.mark.slow

WORKSPACE = "11111111-2222-3333-4444-555555555555"
CLIENT = Path(__file__).with_name("azure_client.py")
DAY_OF_RUN = Window(ns("2026-11-23T00:00:00Z"), ns("2026-11-23T00:00:00Z") + DAY)


def client(command: str, address: str, given: Any) -> str:
    python = program("STROP_AZURE", ".venv-azure/bin/python")
    environment = {
        "PATH": "/usr/bin:/bin",
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    }
    done = subprocess.run(
        [python, CLIENT, command, address],
        input=json.dumps(given), env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@contextmanager
def ingestion() -> Iterator[tuple[str, list[Row]]]:
    """Take what the exporter sends; yield the address and the envelopes."""
    envelopes: list[Row] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            some = json.loads(body)
            if self.path == "/v2.1/track":
                envelopes.extend(some)
            reply = json.dumps(
                {"itemsReceived": len(some), "itemsAccepted": len(some), "errors": []}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", envelopes
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def sent() -> list[list[Span]]:
    """Runs in both conventions: the project's own, and recorded ones."""
    recorded = [decode(shared(f"fixtures/{name}").read_bytes()) for name in ("genai.pb", "openinference.pb")]
    return [run(), inference_run(), *recorded]


@pytest.fixture(scope="module")
def envelopes(sent: list[list[Span]]) -> list[Row]:
    with ingestion() as (address, envelopes):
        spans = msgspec.to_builtins([span for spans in sent for span in spans])
        assert client("export", address, spans).strip() == "SUCCESS"
    return envelopes


def azure(url: str) -> Azure:
    source = Source(name="s", kind="azure", url=url, project=WORKSPACE, customer_key="tenant.id")
    return Azure(source, user=None, key="token")


def timeless(trace: Trace) -> Trace:
    return msgspec.structs.replace(trace, started_at=0, ended_at=0)


@pytest.mark.parametrize("split", [False, True])
def test_what_is_pulled_is_what_was_exported(
    sent: list[list[Span]], envelopes: list[Row], split: bool
) -> None:
    tables: Tables = tables_of(envelopes)
    with workspace(protected(tables) if split else tables) as (url, _):
        platform = azure(url)
        made = [platform.assemble(p.rows) for p in platform.fetch(DAY_OF_RUN)]
        late = list(platform.scores(DAY_OF_RUN))
        platform.close()
    found = {t.source_id: t for m in made for t in m.traces}
    assert [s for m in made for s in m.skipped] == []
    assert len(found) == len(sent)
    for spans in sent:
        (direct,), _ = assemble(spans, source="s", customer_key="tenant.id")
        mine = found[direct.source_id]
        assert timeless(mine) == timeless(direct)
        # The exporter keeps microseconds of a time and milliseconds of a duration.
        assert abs(mine.started_at - direct.started_at) < 1000
        assert abs(mine.ended_at - direct.ended_at) < 1_002_000
    scores = {(t.source_id, s) for t in found.values() for s in t.scores}
    assert {(x.trace_id, x.score) for x in late} == scores
    assert len(scores) == 2


def test_the_official_client_reads_the_same_rows(envelopes: list[Row]) -> None:
    with workspace(tables_of(envelopes)) as (url, asked):
        platform = azure(url)
        (page,) = platform.fetch(DAY_OF_RUN)
        platform.close()
        times = asked[0]["timespan"].split("/")
        given = {"workspace": WORKSPACE, "query": asked[0]["query"], "times": times}
        answer = json.loads(client("query", url, given))
    assert [a["path"] for a in asked] == [asked[0]["path"]] * 2
    assert asked[0]["query"] == asked[1]["query"]
    assert [ns(t) for t in asked[1]["timespan"].split("/")] == [ns(t) for t in times]
    assert answer["status"].endswith("SUCCESS") or answer["status"] == "Success"
    theirs = [{k: v for k, v in r.items() if v not in (None, "")} for r in answer["rows"]]
    assert len(theirs) == len(page.rows)
    for mine, their in zip(page.rows, theirs, strict=True):
        assert ns(mine.pop("TimeGenerated")) // 1000 == ns(their.pop("TimeGenerated")) // 1000
        assert mine == their


def test_the_stand_in_writes_envelopes_as_the_exporter_does(
    sent: list[list[Span]], envelopes: list[Row]
) -> None:
    for span in [*sent[0], *sent[1]]:
        for made in exported(span):
            real = next(e for e in envelopes if face(e) == face(made))
            assert ns(real["time"]) // 1000 == ns(made["time"]) // 1000
            assert made["data"]["baseType"] == real["data"]["baseType"]
            mine, theirs = made["data"]["baseData"], real["data"]["baseData"]
            assert mine == {k: theirs[k] for k in mine}
            tags = ("ai.operation.id", "ai.operation.parentId", "ai.session.id", "ai.user.authUserId",
                    "ai.cloud.role")  # fmt: skip
            assert made["tags"] == {k: real["tags"][k] for k in tags if k in real["tags"]}


COMMON = (
    "TimeGenerated:datetime, OperationId:string, ParentId:string, Properties:dynamic, SessionId:string, "
    "UserAuthenticatedId:string, AppRoleName:string, ItemCount:int"
)
CLASSIC = (
    "timestamp:datetime, operation_Id:string, operation_ParentId:string, customDimensions:dynamic, "
    "session_Id:string, user_AuthenticatedId:string, cloud_RoleName:string, itemCount:int"
)
SPAN = f"{COMMON}, Id:string, Name:string, DurationMs:real, Success:bool, ResultCode:string"
CLASSIC_SPAN = f"{CLASSIC}, id:string, name:string, duration:real, success:string, resultCode:string"
TABLES = {
    "AppDependencies": SPAN,
    "AppRequests": SPAN,
    "AppTraces": f"{COMMON}, Message:string",
    "AppEvents": f"{COMMON}, Name:string",
    "dependencies": CLASSIC_SPAN,
    "requests": CLASSIC_SPAN,
    "traces": f"{CLASSIC}, message:string",
    "customEvents": f"{CLASSIC}, name:string",
    "AppGenAIContent": ", ".join(f"{c}:string" for c in ("Id", "SpanId", *CONTENT.values()))
    + ", TimeGenerated:datetime",
}


def test_microsofts_own_parser_finds_no_error_in_the_queries() -> None:
    folder, node = os.environ.get("STROP_KUSTO", ""), shutil.which("node")
    if not folder or node is None:
        pytest.skip(
            "no KQL parser: npm install @kusto/language-service-next, and set STROP_KUSTO to its folder"
        )
    with workspace({}) as (url, asked):
        platform = azure(url)
        platform.probe()
        assert [list(platform.fetch(DAY_OF_RUN)), list(platform.scores(DAY_OF_RUN))]
        platform.close()
    queries = {str(i): a["query"] for i, a in enumerate(asked)} | {"wrong": "AppTraces | where Nope == 1"}
    done = subprocess.run(
        [node, Path(__file__).with_name("kql_check.js"), folder],
        input=json.dumps({"tables": TABLES, "queries": queries}),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    checked = json.loads(done.stdout)
    assert [checked[str(i)]["errors"] for i in range(3)] == [[], [], []]
    assert checked["wrong"]["errors"]
    # A column whose type differs between tables would come back under two names.
    columns = [name for i in range(3) for name in checked[str(i)]["columns"]]
    assert len(columns) == 1 + 22 + 6
    assert not any(name.endswith(":unknown") for name in columns)


def face(envelope: Row) -> tuple[Any, ...]:
    data, tags = envelope["data"]["baseData"], envelope["tags"]
    return (tags["ai.operation.id"], data.get("id"), data.get("message"), tags.get("ai.operation.parentId"))
