"""The receiver: complete traces at once, fragments later, nothing twice, nothing lost."""

from __future__ import annotations

import gzip
import json
import threading
from typing import Any

import pytest

from strop.errors import InputError
from strop.records import Skipped, Trace
from strop.sources.otlp.receiver import Receiver
from strop.sources.otlp.wire import BodyTooLarge
from strop.sources.platform import LateScore

JSON = "application/json"


class Sink:
    def __init__(self) -> None:
        self.traces: list[Trace] = []
        self.skipped: list[Skipped] = []
        self.broken = False

    def __call__(self, traces: list[Trace], skipped: list[Skipped]) -> None:
        if self.broken:
            raise OSError("disk full")
        self.traces += traces
        self.skipped += skipped


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def root(n: int) -> dict[str, Any]:
    return {"traceId": f"{n:032x}", "spanId": f"{n:016x}", "name": "run", "startTimeUnixNano": str(n)}


def model(n: int, answer: str = "a", question: str = "q", span: int = 1, **extra: str) -> dict[str, Any]:
    messages = [{"role": "user", "parts": [{"type": "text", "content": question}]}]
    said = [{"role": "assistant", "parts": [{"type": "text", "content": answer}]}]
    return {
        "traceId": f"{n:032x}",
        "spanId": f"{n + span * 10**6:016x}",
        "parentSpanId": f"{n:016x}",
        "name": "chat",
        "startTimeUnixNano": str(n + span),
        "endTimeUnixNano": str(n + span + 1),
        "attributes": [
            attribute("gen_ai.operation.name", "chat"),
            attribute("gen_ai.input.messages", json.dumps(messages)),
            attribute("gen_ai.output.messages", json.dumps(said)),
        ],
    }


def body(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def test_a_complete_trace_is_in_the_sink_before_the_answer() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    assert receiver.receive(body(model(1), root(1)), JSON) == (b"{}", JSON)
    assert [t.source_id for t in sink.traces] == [f"{1:032x}"]


def test_fragments_wait_for_their_root() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    receiver.receive(body(model(1)), JSON)
    assert not sink.traces
    receiver.receive(body(root(1)), JSON)
    assert len(sink.traces) == 1


def test_fragments_settle_without_root() -> None:
    now = [0.0]
    sink = Sink()
    receiver = Receiver(sink, source="s", settle_s=10, clock=lambda: now[0])
    receiver.receive(body(model(1)), JSON)
    now[0] = 11
    receiver.receive(body(model(2)), JSON)
    assert [t.problems for t in sink.traces] == [("no root span",)]
    receiver.flush()
    assert len(sink.traces) == 2
    receiver.flush()
    assert len(sink.traces) == 2


def test_sending_again_changes_nothing() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    for _ in range(3):
        receiver.receive(body(model(1), root(1)), JSON)
    assert len(sink.traces) == 1
    assert receiver.counts()["repeated_spans"] == 4


def test_late_spans_complete_the_trace() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    receiver.receive(body(model(1), root(1)), JSON)
    receiver.receive(body(model(1, "b", "other", span=2)), JSON)
    assert [len(t.episodes) for t in sink.traces] == [1, 2]
    assert receiver.counts()["traces"] == 1


def test_what_the_sink_refuses_is_delivered_by_the_retry() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    sink.broken = True
    with pytest.raises(OSError, match="disk full"):
        receiver.receive(body(model(1), root(1)), JSON)
    sink.broken = False
    receiver.receive(body(model(1), root(1)), JSON)
    assert len(sink.traces) == 1


def test_a_trace_that_is_too_large_is_skipped_once_and_counted() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s", max_trace_mb=1)
    big = model(1, "x" * (600 << 10))
    receiver.receive(body(big), JSON)
    receiver.receive(body(model(1, "y" * (600 << 10), span=2)), JSON)
    receiver.receive(body(root(1), model(2), root(2)), JSON)
    assert [t.source_id for t in sink.traces] == [f"{2:032x}"]
    assert [s.reason for s in sink.skipped] == ["the trace is larger than 1 MB"]


def test_an_export_of_50_mb_is_refused_and_counted() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s", max_body_mb=20)
    with pytest.raises(BodyTooLarge):
        receiver.receive(b" " * (50 << 20), JSON)
    assert [s.reason for s in sink.skipped] == ["the export is larger than 20 MB"]


def test_memory_is_bounded() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s", max_held_mb=0.1)
    for n in range(1, 200):
        receiver.receive(body(model(n)), JSON)
    assert 100 < len(sink.traces) < 199
    receiver.flush()
    assert len(sink.traces) == 199


def test_threads_lose_and_double_nothing() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")

    def send(first: int) -> None:
        for n in range(first, first + 50):
            receiver.receive(body(model(n)), JSON)
            receiver.receive(body(root(n)), JSON)

    threads = [threading.Thread(target=send, args=(1 + 50 * (i // 2),)) for i in range(8)]  # pairs overlap
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({t.source_id for t in sink.traces}) == 200
    assert receiver.counts()["spans"] == 400


def logs(*records: dict[str, Any]) -> bytes:
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}).encode()


def evaluation(n: int, value: float = 0.5, name: str = "Tone") -> dict[str, Any]:
    return {
        "traceId": f"{n:032x}",
        "spanId": f"{n + 10**6:016x}",
        "timeUnixNano": "5",
        "eventName": "gen_ai.evaluation.result",
        "attributes": [
            attribute("gen_ai.evaluation.name", name),
            {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": value}},
        ],
    }


def details(n: int) -> dict[str, Any]:
    """What the model span of `model` holds, as a log record of 1.37 and later."""
    span = model(n)
    return {
        "traceId": span["traceId"],
        "spanId": span["spanId"],
        "observedTimeUnixNano": "7",
        "attributes": [
            attribute("event.name", "gen_ai.client.inference.operation.details"),
            *span["attributes"][1:],
        ],
    }


def test_an_evaluation_joins_its_trace_before_and_after_it_is_complete() -> None:
    for first in ("logs", "spans"):
        sink = Sink()
        receiver = Receiver(sink, source="s")
        if first == "logs":
            assert receiver.receive_logs(logs(evaluation(1)), JSON) == (b"{}", JSON)
            receiver.receive(body(model(1), root(1)), JSON)
        else:
            receiver.receive(body(model(1), root(1)), JSON)
            receiver.receive_logs(logs(evaluation(1)), JSON)
        assert [(s.name, s.value) for s in sink.traces[-1].scores] == [("Tone", 0.5)]
        before = len(sink.traces)
        receiver.receive_logs(logs(evaluation(1)), JSON)
        assert len(sink.traces) == before


def test_details_in_logs_are_the_messages_of_their_span() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    bare = model(1)
    bare["attributes"] = bare["attributes"][:1]
    receiver.receive_logs(logs(details(1)), JSON)
    receiver.receive(body(bare, root(1)), JSON)
    assert [m.content for m in sink.traces[0].episodes[0].messages] == ["q", "a"]


def test_an_evaluation_of_a_trace_that_is_gone_is_a_late_score_or_counted() -> None:
    for wanted in (True, False):
        now = [0.0]
        sink, late = Sink(), list[LateScore]()
        scores = late.extend if wanted else None
        receiver = Receiver(sink, source="s", scores=scores, settle_s=10, clock=lambda now=now: now[0])
        receiver.receive_logs(logs(evaluation(1)), JSON)
        now[0] = 11
        receiver.receive(body(model(2), root(2)), JSON)
        assert [(x.trace_id, x.score.name) for x in late] == ([(f"{1:032x}", "Tone")] if wanted else [])
        reasons = [s.reason for s in sink.skipped]
        assert ("an evaluation whose trace is not in memory" in reasons) is not wanted
        assert receiver.counts()["late_scores"] == len(late)


def test_log_records_about_other_things_are_left_alone() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    other = {"traceId": f"{1:032x}", "body": {"stringValue": "started"}}
    assert receiver.receive_logs(logs(other), JSON) == (b"{}", JSON)
    receiver.flush()
    assert (sink.traces, sink.skipped) == ([], [])


def test_what_is_refused_is_counted_in_the_answer() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s", max_trace_mb=1)
    zero = {**model(3), "traceId": "0" * 32}
    odd = {**model(3), "startTimeUnixNano": "noon"}
    answer, _ = receiver.receive(body(model(1), root(1), zero, odd), JSON)
    assert json.loads(answer) == {
        "partialSuccess": {
            "rejectedSpans": "2",
            "errorMessage": "a span without a valid trace id and span id",
        }
    }
    assert [t.source_id for t in sink.traces] == [f"{1:032x}"]
    assert len(sink.skipped) == 2
    big = model(2, "x" * (2 << 20))
    assert json.loads(receiver.receive(body(big), JSON)[0])["partialSuccess"]["rejectedSpans"] == "1"
    assert json.loads(receiver.receive(body(root(2)), JSON)[0])["partialSuccess"]["rejectedSpans"] == "1"
    assert json.loads(receiver.receive_logs(logs(evaluation(2)), JSON)[0])["partialSuccess"] == {
        "rejectedLogRecords": "1",
        "errorMessage": "the trace is larger than 1 MB",
    }
    assert receiver.counts()["refused"] == 5


def test_protobuf_is_answered_in_protobuf() -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
        ExportLogsServiceRequest,
        ExportLogsServiceResponse,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )

    sink = Sink()
    receiver = Receiver(sink, source="s")
    kind = "application/x-protobuf"
    traces = ExportTraceServiceRequest()
    spans = traces.resource_spans.add().scope_spans.add().spans
    good, bad = spans.add(), spans.add()
    good.trace_id, good.span_id = bytes([1] * 16), bytes([1] * 8)
    bad.span_id = bytes([2] * 8)
    answer = ExportTraceServiceResponse.FromString(receiver.receive(traces.SerializeToString(), kind)[0])
    assert answer.partial_success.rejected_spans == 1
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    record, lost = records.add(), records.add()
    record.trace_id, record.span_id = bytes([1] * 16), bytes([1] * 8)
    for each in (record, lost):
        each.event_name = "gen_ai.user.message"
        pair = each.body.kvlist_value.values.add()
        pair.key, pair.value.string_value = "content", "q"
    packed = gzip.compress(request.SerializeToString())
    logs_answer = ExportLogsServiceResponse.FromString(receiver.receive_logs(packed, kind, "gzip")[0])
    assert logs_answer.partial_success.rejected_log_records == 1
    assert [m.content for m in sink.traces[-1].episodes[0].messages] == ["q"]


def test_ids_in_base64_and_hex_are_the_same_trace() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    receiver.receive(body({**model(1), "parentSpanId": "AAAAAAAAAAE="}), JSON)
    receiver.receive(body({**root(1), "traceId": "AAAAAAAAAAAAAAAAAAAAAQ==", "spanId": "AAAAAAAAAAE="}), JSON)
    assert [t.problems for t in sink.traces] == [("a span has no end",)]


@pytest.mark.parametrize("send", ["receive", "receive_logs"])
@pytest.mark.parametrize(
    ("data", "kind", "encoding"),
    [
        (b"{}", "text/html", ""),
        (b"{}", JSON, "br"),
        (gzip.compress(b" " * (8 << 20), mtime=0), JSON, "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-3], JSON, "gzip"),
        (b"\xff" * 10, "application/x-protobuf", ""),
    ],
    ids=["content type", "encoding", "bomb", "cut", "no protobuf"],
)
def test_what_is_no_export_is_refused_and_counted(send: str, data: bytes, kind: str, encoding: str) -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s", max_body_mb=1)
    with pytest.raises(InputError):
        getattr(receiver, send)(data, kind, encoding)
    assert len(sink.skipped) == 1


def test_a_packed_export_in_several_members_is_read_whole() -> None:
    sink = Sink()
    receiver = Receiver(sink, source="s")
    data = body(model(1), root(1))
    receiver.receive(gzip.compress(data[:50]) + gzip.compress(data[50:]), JSON, "gzip")
    assert len(sink.traces) == 1


def test_a_swarm_of_empty_members_is_unpacked_in_time() -> None:
    packed = gzip.compress(body(root(1), model(1))) + gzip.compress(b"") * 100_000
    seen: list[Trace] = []
    Receiver(lambda traces, _: seen.extend(traces), source="s").receive(packed, "application/json", "gzip")
    assert len(seen) == 1
