"""The receiver: complete traces at once, fragments later, nothing twice, nothing lost."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from strop.records import Skipped, Trace
from strop.sources.otlp import BodyTooLarge
from strop.sources.receiver import Receiver

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
