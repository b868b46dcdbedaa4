"""A real MLflow server between OTLP and strop: the traces come out as they went in, assessments on them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import runs
from servers import free_ports, program, serving
from shared import shared
from stub import Asked, Reply, answering

from strop.config import Source
from strop.records import Score, Trace
from strop.sources.mlflow.api import MLflow
from strop.sources.otlp.wire import assemble, decode
from strop.sources.platform import HOUR, Made, Window, ns, within

pytestmark = pytest.mark.slow

FIRST = ns("2026-01-05T06:00:00Z")
RUNS = 60
EVER = Window(0, ns("2100-01-01T00:00:00Z"))
# What MLflow's own client records, as its OpenAI integration does.
CLIENT = """
import mlflow
mlflow.set_experiment("native")
call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"id":"0017"}'}}
tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
asked = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Where is 0017?"}]
turn = {"role": "assistant", "content": None, "tool_calls": [call]}
result = {"role": "tool", "tool_call_id": "call_1", "content": '{"status":"late"}'}
with mlflow.start_span("support", span_type="AGENT") as root:
    mlflow.update_current_trace(
        metadata={"mlflow.trace.session": "s-1", "mlflow.trace.user": "u-1"}, tags={"shop": "0815"}
    )
    with mlflow.start_span("Completions", span_type="CHAT_MODEL") as span:
        span.set_inputs({"messages": asked, "model": "m", "tools": tools})
        span.set_outputs({"choices": [{"message": turn}], "model": "m"})
        usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
        span.set_attribute("mlflow.chat.tokenUsage", usage)
    with mlflow.start_span("look", span_type="TOOL") as span:
        span.set_inputs({"id": "0017"})
        span.set_outputs('{"status":"late"}')
    with mlflow.start_span("Completions", span_type="CHAT_MODEL") as span:
        span.set_inputs({"messages": [*asked, turn, result], "model": "m", "tools": tools})
        span.set_outputs({"choices": [{"message": {"role": "assistant", "content": "It is late."}}]})
    root.set_outputs("It is late.")
mlflow.flush_trace_async_logging()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server of its own on a free port."""
    mlflow = program("STROP_MLFLOW", ".venv-bench/bin/mlflow")
    folder = tmp_path_factory.mktemp("mlflow")
    (port,) = free_ports(1)
    command = [
        mlflow, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "artifacts",
    ]  # fmt: skip
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    ready = f"http://127.0.0.1:{port}/health"
    with serving(command, port, ready, folder=folder, environment=environment) as url:
        yield url


def post(url: str, body: Any) -> Any:
    answer = httpx2.post(url, json=body, timeout=60, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def experiment(url: str, name: str) -> str:
    return post(f"{url}/api/2.0/mlflow/experiments/create", {"name": name})["experiment_id"]


def send(url: str, experiment_id: str, body: bytes) -> dict[str, Trace]:
    """Send an export and return what strop makes of it directly."""
    headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment_id}
    httpx2.post(
        f"{url}/v1/traces", content=body, headers=headers, timeout=120, trust_env=False
    ).raise_for_status()
    traces, skipped = assemble(decode(body), source="s", customer_key="tenant.id")
    assert not skipped
    return {t.source_id: t for t in traces}


def source(url: str, project: str) -> Source:
    return Source(name="s", kind="mlflow", url=url, project=project, customer_key="tenant.id")


def pulled(source: Source, window: Window, page_size: int = 100) -> Made:
    platform = MLflow(source, page_size=page_size)
    made = Made([], [])
    try:
        for page in platform.fetch(window):
            one = platform.assemble(page.rows)
            made.traces.extend(within(one.traces, window))
            made.skipped.extend(one.skipped)
    finally:
        platform.close()
    return made


def comparable(trace: Trace) -> Trace:
    """Without the tags that MLflow makes of resource attributes."""
    return msgspec.structs.replace(trace, attributes={})


@pytest.fixture(scope="module")
def exported(server: str) -> dict[str, Trace]:
    """Sixty runs of both dialects, ten minutes apart, in the experiment "runs"."""
    return send(server, experiment(server, "runs"), runs.export(RUNS, 7, FIRST).SerializeToString())


def test_windows_together_hold_each_run_once_as_it_was_sent(server: str, exported: dict[str, Trace]) -> None:
    found: list[Trace] = []
    for hour in range(-1, 12, 2):
        made = pulled(source(server, "runs"), Window(FIRST + hour * HOUR, FIRST + (hour + 2) * HOUR), 5)
        assert not made.skipped
        found += made.traces
    assert sorted(t.source_id for t in found) == sorted(exported)
    for trace in found:
        assert comparable(trace) == comparable(exported[trace.source_id])


def test_the_recorded_runs_of_both_dialects_come_back(server: str) -> None:
    number = experiment(server, "recorded")
    direct: dict[str, Trace] = {}
    for name in ("genai.pb", "openinference.pb"):
        direct |= send(server, number, shared(f"fixtures/{name}").read_bytes())
    for project in ("recorded", number):
        made = pulled(source(server, project), EVER, 1)
        assert {t.source_id: comparable(t) for t in made.traces} == {
            i: comparable(t) for i, t in direct.items()
        }


def respelled(trace: Trace) -> list[Any]:
    """A trace's conversations, JSON in them written one way."""

    def one(text: str | None) -> str | None:
        return json.dumps(json.loads(text)) if text and text[0] in "[{" else text

    return [
        [
            (m.role, one(m.content), [(c.id, c.key()) for c in m.tool_calls], m.tool_call_id)
            for m in e.messages
        ]
        for e in trace.episodes
    ]


def test_a_server_that_hides_artifacts_gives_the_same_but_for_spelling(server: str) -> None:
    request = runs.export(20, 11, FIRST)
    for span in request.resource_spans[0].scope_spans[0].spans:
        for pair in span.attributes:
            if pair.value.HasField("string_value"):
                # Answers in protobuf's JSON fail for whole numbers past 64 bits.
                text = pair.value.string_value.replace(":34043416109404255712}", ":17}")
                pair.value.string_value = text
    direct = send(server, experiment(server, "hidden"), request.SerializeToString())

    def reply(asked: Asked) -> Reply:
        if asked.path.startswith("/ajax-api/"):
            return 404, {}, b"not found"
        if asked.body is None:
            answer = httpx2.get(f"{server}{asked.path}", params=asked.query, timeout=60, trust_env=False)
        else:
            answer = httpx2.post(f"{server}{asked.path}", json=asked.body, timeout=60, trust_env=False)
        return answer.status_code, {}, answer.content

    with answering(reply) as (url, seen):
        made = pulled(source(url, "hidden"), EVER)
    assert any("batchGet" in a.path for a in seen)
    assert {t.source_id: respelled(t) for t in made.traces} == {i: respelled(t) for i, t in direct.items()}


def test_assessments_come_with_their_traces(server: str, exported: dict[str, Trace]) -> None:
    first = min(exported.values(), key=lambda t: t.started_at)
    human = {"source_type": "HUMAN", "source_id": "someone"}
    gold = {"serialization_format": "JSON_FORMAT", "value": '{"status": "late"}'}
    for body in (
        {"assessment_name": "correct", "source": human, "feedback": {"value": True},
         "rationale": "as it was"},
        {"assessment_name": "tone", "source": {"source_type": "LLM_JUDGE", "source_id": "m"},
         "feedback": {"value": 4}},
        {"assessment_name": "length", "source": {"source_type": "CODE", "source_id": "f"},
         "feedback": {"value": "short"}},
        {"assessment_name": "gold", "source": human, "expectation": {"serialized_value": gold}},
    ):  # fmt: skip
        trace_id = f"tr-{first.source_id}"
        times = {"create_time": "2026-01-06T00:00:00Z", "last_update_time": "2026-01-06T00:00:00Z"}
        post(
            f"{server}/api/3.0/mlflow/traces/{trace_id}/assessments",
            {"assessment": {"trace_id": trace_id, **times, **body}},
        )
    made = pulled(source(server, "runs"), Window(FIRST, FIRST + HOUR))
    assert not made.skipped
    scores = {t.source_id: t.scores for t in made.traces}
    assert set(scores.pop(first.source_id)) == {
        Score("correct", True, "human", "as it was"),
        Score("tone", 4.0, "llm"),
        Score("length", "short", "code"),
        Score("gold", '{"status": "late"}', "human"),
    }
    assert len(scores) == 5
    assert not any(scores.values())


def test_what_mlflows_own_client_recorded_is_a_conversation(server: str, tmp_path: Path) -> None:
    python = program("STROP_MLFLOW", ".venv-bench/bin/mlflow").parent / "python"
    environment = {
        "HOME": str(tmp_path), "MLFLOW_TRACKING_URI": server, "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",
    }  # fmt: skip
    subprocess.run([python, "-c", CLIENT], check=True, env=environment, cwd=tmp_path, timeout=300)
    shop = Source(name="s", kind="mlflow", url=server, project="native", customer_key="shop")
    made = pulled(shop, EVER)
    assert not made.skipped
    (trace,) = made.traces
    assert not trace.problems
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert episode.messages[2].tool_calls[0].arguments == '{"id":"0017"}'
    assert episode.messages[3].content == '{"status":"late"}'
    assert episode.messages[4].content == "It is late."
    assert [t.name for t in episode.tools] == ["look"]
    assert (trace.customer, trace.session_id, trace.agent) == ("0815", "s-1", "support")
    assert trace.identities["user.id"] == "u-1"
    assert trace.usage.prompt_tokens == 5


def test_probe_knows_the_server(server: str) -> None:
    experiment(server, "probed")
    platform = MLflow(source(server, "probed"))
    found = platform.probe()
    platform.close()
    assert (found.version[:2], found.api, found.notes) == ("3.", "get-trace-artifact", ())


def test_text_keeps_its_spelling_unless_it_is_a_quoted_string(server: str) -> None:
    number = experiment(server, "spelling")
    texts = [
        "12345",
        "007",
        "34043416109404255712",
        "true",
        "null",
        "1e5",
        "NaN",
        '{"a":1.10}',
        "[1,2]",
        "",
        "ü",
    ]
    sent = runs.export(len(texts) + 1, 3, FIRST)
    spans = sent.resource_spans[0].scope_spans[0].spans
    roots = [s for s in spans if not s.parent_span_id]
    for span in spans:
        at = next(i for i, r in enumerate(roots) if r.trace_id == span.trace_id)
        for pair in span.attributes:
            if pair.key == "llm.input_messages.1.message.content":
                pair.value.string_value = [*texts, '"quoted"'][at]
            elif pair.key == "gen_ai.input.messages":
                messages = json.loads(pair.value.string_value)
                messages[1]["parts"][0]["content"] = [*texts, '"quoted"'][at]
                pair.value.string_value = json.dumps(messages)
    direct = send(server, number, sent.SerializeToString())
    back = {t.source_id: t for t in pulled(source(server, "spelling"), EVER).traces}
    told = [
        (back[i].episodes[0].messages[1].content, t.episodes[0].messages[1].content)
        for i, t in direct.items()
    ]
    assert told[:-1] == [(text, text) for text in texts]
    assert told[-1] == ("quoted", '"quoted"')  # the one text that MLflow does not keep
