"""LangSmith's own client as the judge: it reads what the connector reads, and writes what that must read."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from servers import program
from sources import langsmith_server as server

from strop.config import Source
from strop.records import Trace
from strop.sources.langsmith.api import LangSmith
from strop.sources.platform import DAY, SECOND, Window, within

pytestmark = pytest.mark.slow

CLIENT = Path(__file__).parent / "langsmith_client.py"
SHOWN = ("id", "name", "trace_id", "dotted_order", "inputs", "outputs", "extra")


def client(what: str, url: str) -> str:
    """Run the client's program; return what it prints."""
    python = program("STROP_LANGSMITH", ".venv-langsmith/bin/python")
    done = subprocess.run(
        [python, CLIENT, what, url, server.KEY, server.PROJECT],
        env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def platform(url: str) -> LangSmith:
    return LangSmith(
        Source(name="s", kind="langsmith", url=url, project="agent", customer_key="tenant"),
        key=server.KEY,
        page_size=3,
    )


def told(row: dict[str, Any]) -> dict[str, Any]:
    return {**{f: row[f] for f in SHOWN}, "run_type": row["run_type"].lower()}


def test_the_vendors_client_reads_the_same_runs() -> None:
    dialects = ("openai", "langchain", "langgraph")
    runs = [
        run
        for i in range(45)
        for run in server.agent_trace(i + 1, server.START + i * SECOND, dialects[i % 3])
    ]
    deployment = server.Deployment(
        runs, [server.feedback_of(45, run=3, score=1)], serves="dual", now=server.START + DAY
    )
    with server.serving(deployment) as url:
        read = json.loads(client("read", url))
        newer, older = platform(url), platform(url)
        window = Window(server.START // DAY * DAY, server.START // DAY * DAY + DAY)
        pages = {"v2": list(newer.fetch(window))}
        deployment.info = {"version": "0.12"}
        pages["v1"] = list(older.fetch(window))
        newer.close()
        older.close()
    for api in ("v1", "v2"):
        ours = {row["id"]: told(row) for page in pages[api] for row in page.rows}
        theirs = {row["id"]: row for row in read[api]}
        assert len(ours) == len(runs) == len(read[api])
        assert ours == theirs
    assert read["feedback"] == ["correctness"]


def test_what_the_vendors_client_writes_is_understood() -> None:
    deployment = server.Deployment([], serves="dual", now=2_000_000_000 * SECOND)
    with server.serving(deployment) as url:
        client("write", url)
        reader = platform(url)
        window = Window(1_700_000_000 * SECOND, 1_990_000_000 * SECOND)
        made = reader.assemble([row for page in reader.fetch(window) for row in page.rows])
        reader.close()
    assert not made.skipped
    traces = within(made.traces, window)
    assert len(traces) == 2
    for trace in traces:
        check(trace)
    assert {trace.tags for trace in traces} == {(), ("prod",)}
    assert {trace.model for trace in traces} >= {"m-1"}


def check(trace: Trace) -> None:
    (episode,) = trace.episodes
    assert [(m.role, m.content, [(c.id, c.key()) for c in m.tool_calls]) for m in episode.messages] == [
        ("user", "Where is 007?", []),
        ("assistant", None, [("call_1", 'get_order {"no":"007"}')]),
        ("tool", '{"status": "late"}', []),
        ("assistant", '{"status": "late"}', []),
    ]
    assert episode.messages[2].tool_call_id == "call_1"
    assert [(t.name, t.description) for t in episode.tools] == [("get_order", "Look up")]
    assert (trace.session_id, trace.customer, trace.identities) == ("sess-9", "acme", {"user.id": "user-9"})
    assert (trace.agent, trace.status, trace.problems) == ("support", "ok", ())
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (7, 3)
