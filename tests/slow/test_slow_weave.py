"""Weave's real trace server (weave[trace-server]==0.52.22, SQLite) between what is sent and strop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from servers import free_ports, program, serving
from shared import shared
from sources.traced_run import inference_run, run
from sources.weave_runs import GIVEN, SCORES, native
from sources.weave_store import imported_call

from strop.config import Source
from strop.errors import OutsideServiceError
from strop.records import Trace
from strop.sources.otlp.wire import decode
from strop.sources.platform import DAY, LateScore, Window, ns
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import Span
from strop.sources.weave.api import Weave

pytestmark = pytest.mark.slow

PROJECT = "acme/agent"
KEY = "local-key"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    python = program("STROP_WEAVE", ".venv-weave/bin/python")
    folder = tmp_path_factory.mktemp("weave")
    (port,) = free_ports(1)
    command = [python, Path(__file__).with_name("weave_server.py"), str(port), "weave.db"]
    environment = {"WANDB_ERROR_REPORTING": "false", "DO_NOT_TRACK": "1", "TZ": "UTC"}
    ready = f"http://127.0.0.1:{port}/openapi.json"
    with (
        serving(command, port, ready, folder=folder, environment=environment) as url,
        httpx2.Client(base_url=url, auth=("api", KEY), timeout=120, trust_env=False) as client,
    ):
        yield client


def post(client: httpx2.Client, path: str, body: Row) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
    return answer.json()


def send_otlp(client: httpx2.Client, body: bytes) -> None:
    headers = {"project_id": PROJECT, "Content-Type": "application/x-protobuf"}
    answer = client.post("/otel/v1/traces", content=body, headers=headers)
    assert answer.status_code == 200, answer.text[:500]


def protobuf(spans: list[Span]) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

    def value(given: Any) -> AnyValue:
        if isinstance(given, list):
            return AnyValue(array_value=ArrayValue(values=[value(v) for v in given]))
        kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
        return AnyValue(**{kinds[type(given)]: given})

    def pairs(attributes: Row) -> list[KeyValue]:
        return [KeyValue(key=k, value=value(v)) for k, v in attributes.items()]

    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(pairs(spans[0].resource))
    for span in spans:
        out = resource.scope_spans.add().spans.add()
        out.trace_id, out.span_id = bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id)
        if span.parent_id:
            out.parent_span_id = bytes.fromhex(span.parent_id)
        out.name, out.start_time_unix_nano, out.end_time_unix_nano = span.name, span.started_at, span.ended_at
        out.attributes.extend(pairs(span.attributes))
        for event in span.events:
            made = out.events.add(name=event.name, time_unix_nano=event.at)
            made.attributes.extend(pairs(event.attributes))
    return request.SerializeToString()


@pytest.fixture(scope="module")
def sent(client: httpx2.Client) -> dict[str, list[Span]]:
    """What was sent over OTLP, by trace id; native calls, objects and feedback are there too."""
    bodies = [protobuf(run()), protobuf(inference_run())]
    bodies += [shared(f"fixtures/{name}").read_bytes() for name in ("genai.pb", "openinference.pb")]
    spans: dict[str, list[Span]] = {}
    for body in bodies:
        send_otlp(client, body)
        decoded = decode(body)
        spans[decoded[0].trace_id] = decoded
    send_native(client)
    for item in GIVEN[:6]:
        keys = ("feedback_type", "payload", "creator", "weave_ref")
        body = {"project_id": PROJECT, "wb_user_id": "u1", **{k: item[k] for k in keys}}
        if "annotation" in item["feedback_type"]:
            spec = {"name": "correct", "field_schema": {"type": "boolean"}}
            made = {"project_id": PROJECT, "object_id": "correct", "val": spec}
            made["builtin_object_class"] = "AnnotationSpec"
            digest = post(client, "/obj/create", {"obj": made})["digest"]
            body["annotation_ref"] = f"weave:///{PROJECT}/object/correct:{digest}"
        if "runnable" in item["feedback_type"]:
            body["runnable_ref"] = f"weave:///{PROJECT}/op/quality:v1"
            body["call_ref"] = f"weave:///{PROJECT}/call/judge"
        post(client, "/feedback/create", body)
    return spans


def send_native(client: httpx2.Client) -> None:
    rows = native()
    prompt = {"project_id": PROJECT, "object_id": "prompt", "val": rows[1]["inputs"]["messages"][0]}
    digest = post(client, "/obj/create", {"obj": prompt})["digest"]
    rows[1]["inputs"]["messages"][0] = f"weave:///{PROJECT}/object/prompt:{digest}"
    rows[3]["inputs"]["messages"][0] = f"weave:///{PROJECT}/object/prompt:{digest}"
    gone = {**rows[0], "id": "g1", "trace_id": "t2", "output": f"weave:///{PROJECT}/object/gone:v9"}
    for row in [*rows, gone]:
        started = (
            "id",
            "op_name",
            "trace_id",
            "parent_id",
            "thread_id",
            "started_at",
            "attributes",
            "inputs",
        )
        start = {"project_id": PROJECT, **{k: row[k] for k in started}}
        post(client, "/call/start", {"start": start})
        end = {k: row[k] for k in ("id", "ended_at", "output", "summary")}
        post(client, "/call/end", {"end": {"project_id": PROJECT, **end}})


def pulled(
    client: httpx2.Client, window: Window, **more: Any
) -> tuple[list[Trace], list[str], list[LateScore]]:
    url = str(client.base_url)
    source = Source(name="s", kind="weave", url=url, project=PROJECT, customer_key="tenant.id")
    platform = Weave(source, user=None, key=KEY, **more)
    made = [platform.assemble(page.rows) for page in platform.fetch(window)]
    now = Window(0, 4 * 10**18)
    late = list(platform.scores(now))
    platform.close()
    return [t for m in made for t in m.traces], [s.reason for m in made for s in m.skipped], late


@pytest.mark.parametrize("sizes", [{"page_size": 3, "traces_at_once": 1}, {}])
def test_what_is_pulled_is_what_was_sent(
    client: httpx2.Client, sent: dict[str, list[Span]], sizes: dict[str, int]
) -> None:
    day = ns("2026-11-23T00:00:00Z")
    traces, skipped, late = pulled(client, Window(day, day + DAY), **sizes)
    found = {t.source_id: t for t in traces}
    assert len(found) == len(traces) == len(sent) + 1
    for trace_id, spans in sent.items():
        (direct,), _ = assemble(spans, source="s", customer_key="tenant.id")
        mine = found[trace_id]
        # Weave keeps microseconds.
        assert abs(mine.started_at - direct.started_at) < 1000
        assert abs(mine.ended_at - direct.ended_at) < 1000
        assert timeless(mine) == timeless(direct)
    # A native run, with an object in place of the system prompt.
    (expected,) = (
        Weave(Source(name="s", kind="weave", project=PROJECT, customer_key="tenant.id"))
        .assemble(native())
        .traces
    )
    mine = found["t1"]
    assert mine.episodes == expected.episodes
    assert (mine.customer, mine.session_id, mine.usage) == ("acme", "th1", expected.usage)
    assert set(mine.scores) == {s for s in SCORES if s.name not in ("nsfw", "rating")}
    assert skipped == ["no model call in the trace"]
    assert {(s.trace_id, s.score) for s in late} == {("t1", s) for s in mine.scores}


def timeless(trace: Trace) -> Trace:
    return msgspec.structs.replace(trace, started_at=0, ended_at=0)


def test_a_window_without_calls_is_empty(client: httpx2.Client, sent: dict[str, list[Span]]) -> None:
    day = ns("2026-11-25T00:00:00Z")
    assert pulled(client, Window(day, day + DAY))[:2] == ([], [])
    assert pulled(client, Window(day - 9 * DAY, day - 8 * DAY))[:2] == ([], [])


def test_the_stand_in_stores_spans_in_the_servers_form(
    client: httpx2.Client, sent: dict[str, list[Span]]
) -> None:
    body = {"project_id": PROJECT, "filter": {"trace_ids": list(sent)}}
    lines = client.post("/calls/stream_query", json=body).text.splitlines()
    stored = {r["id"]: r for r in map(msgspec.json.decode, lines)}
    for span in [*run(), *inference_run()]:
        made, real = imported_call(span), stored[span.span_id]
        assert made.keys() <= real.keys()
        mine, theirs = made["attributes"]["otel_span"], real["attributes"]["otel_span"]
        assert {**mine, "status": 0, "kind": 0} == {**theirs, "status": 0, "kind": 0}
        assert (made["started_at"], made["ended_at"]) == (real["started_at"], real["ended_at"])


def test_a_wrong_key_is_refused(client: httpx2.Client) -> None:
    source = Source(name="s", kind="weave", url=str(client.base_url), project=PROJECT)
    platform = Weave(source, user=None, key="wrong")
    with pytest.raises(OutsideServiceError, match="refuses the key"):
        platform.probe()
    platform.close()


def test_probe_finds_no_agents_store_here(client: httpx2.Client) -> None:
    source = Source(name="s", kind="weave", url=str(client.base_url), project=PROJECT)
    platform = Weave(source, user=None, key=KEY)
    assert platform.probe().api == "calls"
    platform.close()
