"""One agent's run, as each platform recorded it: the same canonical episode from all of them.

Phoenix's and MLflow's rows were recorded from real servers. Weave's, Azure's, Langfuse's and LangSmith's are
made in the form that the slow tests check against the real server, exporter or clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
import pytest
from shared import shared
from sources import langfuse_server, langsmith_server
from sources.azure_workspace import exported, protected, tables_of, workspace
from sources.weave_store import Store, agent_row, imported_call, weave

from strop.config import Source
from strop.records import Trace, trace_hash
from strop.sources.azure.api import Azure
from strop.sources.langfuse.api import Langfuse
from strop.sources.langsmith.api import LangSmith
from strop.sources.mlflow.api import MLflow
from strop.sources.otlp.wire import decode
from strop.sources.phoenix import Phoenix
from strop.sources.platform import DAY, Platform, Window, ns
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import Span
from strop.sources.weave.api import Weave

START = ns("2026-11-23T06:32:05.643431Z")
TODAY = Window(START // DAY * DAY, START // DAY * DAY + DAY)
MS = 1_000_000
WORKSPACE = "11111111-2222-3333-4444-555555555555"
GENAI, OPENINFERENCE = "6ec1e0a4a009fc427bd192c2d3c03a08", "0bfbcc69105cf82fee54fdc9d70e0442"


# The two instrumentations name the customer differently.
CUSTOMER = {GENAI: "tenant.id", OPENINFERENCE: "tenant"}


def source(kind: str, key: str, url: str = "http://127.0.0.1:9", project: str = "agent") -> Source:
    return Source(name="s", kind=kind, url=url, project=project, customer_key=key)


def traces_of(platform: Platform, rows: Sequence[Any] | None = None) -> list[Trace]:
    """The traces of the platform's rows, or of these; nothing may be skipped."""
    found = [row for page in platform.fetch(TODAY) for row in page.rows] if rows is None else rows
    made = platform.assemble(found)
    platform.close()
    assert not made.skipped
    return made.traces


@cache
def spans() -> tuple[Span, ...]:
    """What instrumentation sent: the run in both conventions."""
    found: list[Span] = []
    for name in ("genai.pb", "openinference.pb"):
        found += decode(shared(f"fixtures/{name}").read_bytes())
    return tuple(found)


def otlp_json(key: str) -> Iterator[list[Trace]]:
    names = ("genai.otlp.json", "openinference.otlp.json")
    sent = [s for n in names for s in decode(shared(f"fixtures/{n}").read_bytes(), "application/json")]
    yield assemble(sent, source="s", customer_key=key)[0]


def phoenix(key: str) -> Iterator[list[Trace]]:
    rows = json.loads(shared("fixtures/phoenix_20.26.1_spans.json").read_bytes())["data"]
    yield traces_of(Phoenix(source("phoenix", key)), rows)


def mlflow(key: str) -> Iterator[list[Trace]]:
    rows = [json.loads(shared(f"fixtures/mlflow_3.17.2_trace_{name}.json").read_bytes()) for name in "ab"]
    yield traces_of(MLflow(source("mlflow", key)), [row["trace"] for row in rows])


def weaves(key: str) -> Iterator[list[Trace]]:
    """Weave's calls, and the agents' store."""
    for store in (Store([imported_call(s) for s in spans()]), Store([], [agent_row(s) for s in spans()])):
        with weave(store) as url:
            yield traces_of(Weave(source("weave", key, url, "acme/agent"), key="k"))


def azure(key: str) -> Iterator[list[Trace]]:
    """Content in the rows of the spans, and in a table of its own."""
    tables = tables_of([envelope for span in spans() for envelope in exported(span)])
    for held in (tables, protected(tables)):
        with workspace(held) as (url, _):
            yield traces_of(Azure(source("azure", key, url, WORKSPACE), key="token"))


def langfuse(_: str) -> Iterator[list[Trace]]:
    """Both generations of the API, as Langfuse's own client for OpenAI records a run."""
    for mode in ("v3", "v4", "dual"):
        with langfuse_server.serving(mode, [langfuse_trace()]) as server:
            public, secret = langfuse_server.PUBLIC, langfuse_server.SECRET
            yield traces_of(Langfuse(source("langfuse", "tenant", server.url), user=public, key=secret))


def langfuse_trace() -> dict[str, Any]:
    s = langsmith_server
    turns: list[Any] = [s.SYSTEM, {"role": "user", "content": s.QUESTION}]
    called = {"role": "assistant", "content": None, "tool_calls": [s.CALL]}
    told = {"role": "tool", "tool_call_id": "call_1", "content": s.RESULT}
    rows = [
        observation(0, 0, 900, "AGENT", "support", s.QUESTION, s.ANSWER, metadata={"tenant": "acme"}),
        observation(1, 10, 400, "GENERATION", "chat", {"messages": turns, "tools": s.TOOLS}, called,
                    model="qwen3-4b", usageDetails={"input": 120, "output": 20, "total": 140}),
        observation(2, 410, 500, "TOOL", "get_order", {"order_id": "A-1001"}, s.RESULT),
        observation(3, 510, 890, "GENERATION", "chat",
                    {"messages": [*turns, called, told], "tools": s.TOOLS},
                    {"role": "assistant", "content": s.ANSWER},
                    model="qwen3-4b", usageDetails={"input": 170, "output": 30, "total": 200}),
    ]  # fmt: skip
    return {
        **langfuse_server.agent_trace(1), "id": GENAI, "timestamp": rows[0]["startTime"], "name": "support",
        "userId": "user-1", "sessionId": "sess-1", "metadata": {"tenant": "acme"}, "input": s.QUESTION,
        "output": s.ANSWER, "observations": rows,
    }  # fmt: skip


def observation(
    number: int, start: int, end: int, kind: str, name: str, given: Any, said: Any, **more: Any
) -> dict[str, Any]:
    """One row from `start` to `end`, ms."""
    times = [f"2026-11-23T06:32:{(5643 + ms) / 1000:06.3f}Z" for ms in (start, end)]
    return {
        **langfuse_server.agent_trace(1)["observations"][2], "id": f"{number + 1:016x}", "traceId": GENAI,
        "parentObservationId": f"{1:016x}" if number else None, "type": kind, "name": name,
        "startTime": times[0], "endTime": times[1], "input": given, "output": said, **more,
    }  # fmt: skip


def langsmith(_: str) -> Iterator[list[Trace]]:
    """Both generations of the API; OpenAI's client, LangChain and LangGraph."""
    for serves in ("v1", "v2"):
        for dialect in ("openai", "langchain", "langgraph"):
            runs = langsmith_server.agent_trace(dialect=dialect)
            with langsmith_server.serving(langsmith_server.Deployment(runs, serves=serves)) as url:
                yield traces_of(LangSmith(source("langsmith", "tenant", url), key=langsmith_server.KEY))


VIEWS: dict[str, Callable[[str], Iterator[list[Trace]]]] = {
    "azure": azure,
    "langfuse": langfuse,
    "langsmith": langsmith,
    "mlflow": mlflow,
    "otlp-json": otlp_json,
    "phoenix": phoenix,
    "weave": weaves,
}
# These recorded the run by clients of their own, with other tags and scores, and nothing of OTel.
OWN_CLIENTS = ("langfuse", "langsmith")


@cache
def sent(trace_id: str) -> Trace:
    """The run as instrumentation sent it."""
    traces, _ = assemble(spans(), source="s", customer_key=CUSTOMER[trace_id])
    return next(t for t in traces if t.source_id == trace_id)


def plain(trace: Trace, view: str) -> Trace:
    """A trace without its times, the platform's additions and, of a vendor's client, what it alone wrote."""
    some = msgspec.structs.replace(trace, started_at=0, ended_at=0, attributes={})
    if view not in OWN_CLIENTS:
        return some
    return msgspec.structs.replace(some, source_id="", scores=(), tags=(), cost_usd=None)


@pytest.mark.parametrize("trace_id", [GENAI, OPENINFERENCE])
@pytest.mark.parametrize("view", list(VIEWS))
def test_a_platform_gives_the_run_that_was_sent(view: str, trace_id: str) -> None:
    expected = sent(trace_id)
    recordings = list(VIEWS[view](CUSTOMER[trace_id]))
    assert recordings
    for traces in recordings:
        (trace,) = (t for t in traces if view in OWN_CLIENTS or t.source_id == trace_id)
        assert trace.episodes == expected.episodes
        assert trace_hash(trace) == trace_hash(expected)
        assert plain(trace, view) == plain(expected, view)
        # Langfuse keeps milliseconds; the two conventions began two apart.
        assert abs(trace.started_at - expected.started_at) < 4 * MS
        assert abs(trace.ended_at - expected.ended_at) < 4 * MS


def test_both_conventions_give_the_same_episode() -> None:
    one, other = sent(GENAI), sent(OPENINFERENCE)
    assert one.episodes == other.episodes
    assert trace_hash(one) == trace_hash(other)


def test_the_episode_is_the_run() -> None:
    (episode,) = sent(GENAI).episodes
    call = {"id": "call_1", "name": "get_order", "arguments": '{"order_id": "A-1001"}'}
    assert json.loads(msgspec.json.encode(episode.messages)) == [
        {"role": "system", "content": "You are a support agent."},
        {"role": "user", "content": langsmith_server.QUESTION},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": langsmith_server.RESULT, "tool_call_id": "call_1"},
        {"role": "assistant", "content": langsmith_server.ANSWER},
    ]
    assert "00340434161094042557" in langsmith_server.QUESTION
    assert [(t.name, t.parameters["required"]) for t in episode.tools] == [("get_order", ["order_id"])]
    assert sent(GENAI).customer == "acme"
