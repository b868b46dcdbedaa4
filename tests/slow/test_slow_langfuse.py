"""Langfuse's own SDKs as judges: they read from the stand-in server what strop reads."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sources import langfuse_server as stand_in
from sources.langfuse_server import Standin, agent_trace, id_of, score, serving

from strop.config import Source
from strop.records import Trace
from strop.sources.langfuse.api import Langfuse
from strop.sources.platform import HOUR, Window, ns

pytestmark = pytest.mark.slow

BEGIN = ns("2026-11-01T09:00:00Z")
WINDOW = Window(BEGIN, BEGIN + HOUR)
TRACES = 23
SCORES = [
    score(0, "NUMERIC", 0.25),
    score(1, "BOOLEAN", True, source="EVAL"),
    score(2, "CATEGORICAL", "good"),
    score(3, "TEXT", "late but right"),
    score(4, "CORRECTION", "It was late.", name="output"),
    score(5, "NUMERIC", 0.5, traceId=None, sessionId="session-1"),
]
CLIENT = """
import json, sys
from datetime import datetime
from langfuse.api.client import LangfuseAPI
url, user, key = sys.argv[1:]
api = LangfuseAPI(base_url=url, username=user, password=key)
span = {"from": datetime.fromisoformat("2026-11-01T09:00:00+00:00"),
        "to": datetime.fromisoformat("2026-11-01T10:00:00+00:00")}
"""
# 4.18: the reads of v3 servers
OLD = """
def pages(ask):
    page, rows = 1, []
    while True:
        answer = ask(page)
        rows += answer.data
        page += 1
        if page > answer.meta.total_pages:
            return rows

listed = pages(lambda p: api.trace.list(
    page=p, limit=10, from_timestamp=span["from"], to_timestamp=span["to"]))
whole = [api.trace.get(t.id) for t in listed]
rows = pages(lambda p: api.legacy.observations_v1.get_many(
    page=p, limit=50, from_start_time=span["from"], to_start_time=span["to"]))
scores = pages(lambda p: api.scores.get_many(
    page=p, limit=2, from_timestamp=span["from"], to_timestamp=span["to"]))
print(json.dumps({
    "version": api.health.health().version,
    "traces": {t.id: [t.user_id, t.session_id, t.tags, sorted(o.id for o in t.observations)] for t in whole},
    "cost": {t.id: t.total_cost for t in whole},
    "outputs": {o.id: o.output for o in rows if o.type == "GENERATION"},
    "scores": [[s.name, s.data_type, getattr(s, "string_value", None) or s.value,
                s.trace_id, s.session_id] for s in scores],
}))
"""
# 5.0: the reads of v4 servers
NEW = """
def cursors(ask):
    cursor, rows = None, []
    while True:
        answer = ask(cursor)
        rows += answer.data
        cursor = answer.meta.cursor
        if not cursor:
            return rows

rows = cursors(lambda c: api.observations.get_many(
    cursor=c, limit=17, fields="core,basic,io,model,usage,metadata,trace_context",
    from_start_time=span["from"], to_start_time=span["to"]))
scores = cursors(lambda c: api.scores.get_many(
    cursor=c, limit=2, fields="details,subject", from_timestamp=span["from"], to_timestamp=span["to"]))
traces, cost = {}, {}
for row in rows:
    found = traces.setdefault(row.trace_id, [row.user_id, row.session_id, row.tags, []])
    found[3] = sorted(found[3] + [row.id])
    cost[row.trace_id] = cost.get(row.trace_id, 0) + (row.total_cost or 0)
print(json.dumps({
    "version": api.health.health().version, "traces": traces, "cost": cost,
    "outputs": {o.id: json.loads(o.output) for o in rows if o.type == "GENERATION"},
    "scores": [[s.name, s.data_type, s.value, s.subject.id if s.subject.kind == "trace" else None,
                s.subject.id if s.subject.kind == "session" else None] for s in scores],
}))
"""


def judge(variable: str, script: str, server: Standin) -> Any:
    """Read the server with an SDK in its own environment."""
    python = os.environ.get(variable)
    if not python or not Path(python).is_file():
        pytest.skip(f"{variable} names no python with Langfuse's SDK (make judges, or make test-slow)")
    command = [python, "-c", CLIENT + script, server.url, stand_in.PUBLIC, stand_in.SECRET]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def ours(server: Standin) -> tuple[list[Trace], list[Any]]:
    source = Source(name="lf", kind="langfuse", url=server.url, customer_key="customer")
    langfuse = Langfuse(source, user=stand_in.PUBLIC, key=stand_in.SECRET, page_sizes=(17,), list_size=10)
    made = langfuse.assemble([row for page in langfuse.fetch(WINDOW) for row in page.rows])
    late = list(langfuse.scores(WINDOW))
    langfuse.close()
    assert made.skipped == []
    return made.traces, late


@pytest.mark.parametrize(
    ("variable", "script", "mode"),
    [
        ("STROP_LANGFUSE4", OLD, "v3"),
        ("STROP_LANGFUSE4", OLD, "dual"),
        ("STROP_LANGFUSE5", NEW, "v4"),
        ("STROP_LANGFUSE5", NEW, "dual"),
    ],
)
def test_an_official_sdk_reads_what_we_read(variable: str, script: str, mode: str) -> None:
    with serving(mode, [agent_trace(n) for n in range(TRACES)], SCORES) as server:
        said = judge(variable, script, server)
        traces, late = ours(server)
    assert said["version"] == stand_in.VERSIONS[mode]
    assert set(said["traces"]) == {t.source_id for t in traces} == {id_of(n) for n in range(TRACES)}
    for trace in traces:
        user, session, tags, rows = said["traces"][trace.source_id]
        assert (trace.identities["user.id"], trace.session_id, list(trace.tags)) == (user, session, tags)
        assert len(rows) == 4
        assert trace.cost_usd == pytest.approx(said["cost"][trace.source_id])
        first, last = (said["outputs"][row] for row in rows if row in said["outputs"])
        answers = [m for m in trace.episodes[0].messages if m.role == "assistant"]
        assert [c.to_openai() for c in answers] == [first, last]
    values = {(s.score.name, s.score.value, s.trace_id, s.session_id) for s in late}
    assert values == {
        (name, bool(value) if kind == "BOOLEAN" else value, trace_id, session_id)
        for name, kind, value, trace_id, session_id in said["scores"]
    }
