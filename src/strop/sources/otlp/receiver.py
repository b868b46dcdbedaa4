"""Collect the spans and log events of OTLP exports until a trace is complete, then hand it on.

A trace is complete when its root span is here; it reaches the sink before `receive` returns, so an
acknowledged export is on disk. Fragments wait until they settle. Re-sent spans and events change nothing;
those that come after their root make the trace be assembled and handed on again. An evaluation whose trace
is not in memory becomes a late score.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import takewhile

import msgspec

from strop.errors import InputError
from strop.records import Skipped, Trace
from strop.sources.otlp.wire import Export, read_export
from strop.sources.platform import LateScore
from strop.sources.spans.assemble import assemble, score_of
from strop.sources.spans.span import EVALUATION, LogEvent, Span

Sink = Callable[[list[Trace], list[Skipped]], None]
ScoreSink = Callable[[list[LateScore]], None]

_SPAN_OVERHEAD = 1024  # bytes of Python objects around a span's payload, roughly


class _Held:
    """The spans of one trace that are in memory."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.logs: dict[bytes, LogEvent] = {}  # by digest, so that a repeated one is known
        self.bytes = 0
        self.touched = 0.0
        self.complete = False
        self.counted = False

    def has_root(self) -> bool:
        return any(s.parent_id is None for s in self.spans.values())


class Receiver:
    """Spans in, traces out. Safe to call from several threads.

    scores: takes evaluations whose trace is no longer in memory; without it they are skipped and counted.
    settle_s: how long fragments wait for their root. max_body_mb: largest export, unpacked.
    max_trace_mb: larger traces are skipped and counted. max_held_mb: memory for waiting spans.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        source: str,
        scores: ScoreSink | None = None,
        customer_key: str = "customer.id",
        settle_s: float = 900.0,
        max_body_mb: float = 64.0,
        max_trace_mb: float = 20.0,
        max_held_mb: float = 256.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink, self._source, self._customer_key = sink, source, customer_key
        self._scores = scores
        self._settle_s, self._clock = settle_s, clock
        self._max_body = int(max_body_mb * (1 << 20))
        self._max_trace = int(max_trace_mb * (1 << 20))
        self._max_held = int(max_held_mb * (1 << 20))
        self._lock = threading.Lock()
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._held_bytes = 0
        self._oversize: OrderedDict[str, None] = OrderedDict()
        names = ("exports", "spans", "repeated_spans", "logs", "refused", "traces", "late_scores", "skipped")
        self._counts: dict[str, int] = dict.fromkeys(names, 0)

    def receive(self, body: bytes, content_type: str, content_encoding: str = "") -> tuple[bytes, str]:
        """Take one export of traces; return OTLP's answer and its content type.

        Spans that can't be used are counted in the answer's partialSuccess. Raises BodyTooLarge (HTTP 413)
        or InputError (HTTP 400), both recorded as skipped; what the sink raises passes through (HTTP 503),
        and the sender's retry then does no harm.
        """
        return self._receive(body, content_type, content_encoding, logs=False)

    def receive_logs(self, body: bytes, content_type: str, content_encoding: str = "") -> tuple[bytes, str]:
        """Take one export of logs: GenAI events, joined to their spans. Answers and raises as `receive`.

        Other log records are accepted and left alone.
        """
        return self._receive(body, content_type, content_encoding, logs=True)

    def _receive(self, body: bytes, content_type: str, encoding: str, *, logs: bool) -> tuple[bytes, str]:
        where = f"{self._source}:export:{hashlib.sha256(body).hexdigest()[:16]}"
        try:
            export = read_export(body, content_type, encoding, self._max_body, logs=logs)
        except InputError as error:
            self._hand_on([], [Skipped("receive", where, error.what)])
            raise
        refused = list(export.refused)
        with self._lock:
            self._counts["exports"] += 1
            ready, skipped = self._take(export, refused)
            skipped += [Skipped("receive", f"{where}:{i}", why) for i, why in enumerate(export.refused)]
            overdue = self._overdue()
            self._emit(dict.fromkeys([*ready, *overdue]), skipped)
            self._counts["refused"] += len(refused)
            for trace_id in overdue:
                self._forget(trace_id)
            self._make_room()
        return _answer(content_type, refused, logs=logs)

    def flush(self) -> None:
        """Hand on everything that waits, complete or not."""
        with self._lock:
            self._emit([t for t, held in self._held.items() if not held.complete], [])
            self._held.clear()
            self._held_bytes = 0

    def counts(self) -> dict[str, int]:
        """Return how many of each: exports, distinct spans, repeated spans, log events, spans and events
        refused, distinct traces handed on, late scores, items skipped."""
        with self._lock:
            return dict(self._counts)

    def _take(self, export: Export, refused: list[str]) -> tuple[list[str], list[Skipped]]:
        """Add spans and events to what is held; return the ids of traces to assemble now."""
        ready: dict[str, None] = {}
        skipped: list[Skipped] = []
        for item in (*export.spans, *export.logs):
            trace_id = item.trace_id
            if trace_id in self._oversize:
                refused.append(self._too_large())
                continue
            held = self._held.setdefault(trace_id, _Held())
            held.touched = self._clock()
            self._held.move_to_end(trace_id)
            if not self._add(held, item):
                if not held.complete and held.has_root():
                    ready[trace_id] = None  # its root is here but the sink failed last time
                continue
            if held.bytes > self._max_trace:
                refused.append(self._too_large())
                skipped.append(Skipped("receive", f"{self._source}:{trace_id}", self._too_large()))
                self._forget(trace_id)
                self._oversize[trace_id] = None
                if len(self._oversize) > 10_000:
                    self._oversize.popitem(last=False)
                ready.pop(trace_id, None)
            elif held.complete or (isinstance(item, Span) and item.parent_id is None):
                held.complete = False
                ready[trace_id] = None
        return list(ready), skipped

    def _add(self, held: _Held, item: Span | LogEvent) -> bool:
        """Hold a span or an event; False for one that is held already."""
        if isinstance(item, LogEvent):
            digest = hashlib.blake2b(msgspec.json.encode(item), digest_size=16).digest()
            if digest in held.logs:
                return False
            held.logs[digest] = item
            self._counts["logs"] += 1
        elif item.span_id in held.spans:
            self._counts["repeated_spans"] += 1
            return False
        else:
            held.spans[item.span_id] = item
            self._counts["spans"] += 1
        held.bytes += item.size + _SPAN_OVERHEAD
        self._held_bytes += item.size + _SPAN_OVERHEAD
        return True

    def _too_large(self) -> str:
        return f"the trace is larger than {self._max_trace / (1 << 20):g} MB"

    def _emit(self, trace_ids: Iterable[str], skipped: list[Skipped]) -> None:
        ids = list(trace_ids)
        held = [self._held[t] for t in ids]
        spans = [span for h in held for span in h.spans.values()]
        logs = [log for h in held for log in h.logs.values() if h.spans or log.event.name != EVALUATION]
        traces, unusable = assemble(spans, source=self._source, customer_key=self._customer_key, logs=logs)
        self._hand_on_scores([h for h in held if not h.spans], skipped)
        self._hand_on(traces, [*skipped, *unusable])
        made = {t.source_id for t in traces}
        for trace_id, h in zip(ids, held, strict=True):
            self._counts["traces"] += trace_id in made and not h.counted
            h.complete, h.counted = True, h.counted or trace_id in made

    def _hand_on_scores(self, held: Iterable[_Held], skipped: list[Skipped]) -> None:
        """Give away the evaluations of traces of which no span is here."""
        late: list[LateScore] = []
        for log in (log for h in held for log in h.logs.values() if log.event.name == EVALUATION):
            score = score_of(log.event)
            item = f"{self._source}:{log.trace_id}"
            if score is None:
                skipped.append(Skipped("score", item, "an evaluation without a name or a value"))
            elif self._scores is None:
                skipped.append(Skipped("score", item, "an evaluation whose trace is not in memory"))
            else:
                late.append(LateScore(score, trace_id=log.trace_id))
        if late and self._scores is not None:
            self._scores(late)
            self._counts["late_scores"] += len(late)

    def _hand_on(self, traces: list[Trace], skipped: list[Skipped]) -> None:
        if traces or skipped:
            self._sink(traces, skipped)
            self._counts["skipped"] += len(skipped)

    def _overdue(self) -> list[str]:
        """Drop complete traces that have settled; return the ids of fragments that have."""
        limit = self._clock() - self._settle_s
        settled = list(takewhile(lambda t: self._held[t].touched <= limit, self._held))
        for trace_id in settled:
            if self._held[trace_id].complete:
                self._forget(trace_id)
        return [t for t in settled if t in self._held]

    def _make_room(self) -> None:
        """Forget the oldest complete traces, then hand on the oldest fragments, until memory fits."""
        if self._held_bytes <= self._max_held:
            return
        for trace_id in [t for t, held in self._held.items() if held.complete]:
            if self._held_bytes <= self._max_held:
                return
            self._forget(trace_id)
        while self._held_bytes > self._max_held and self._held:
            oldest = next(iter(self._held))
            self._emit([oldest], [])
            self._forget(oldest)

    def _forget(self, trace_id: str) -> None:
        held = self._held.pop(trace_id, None)
        if held is not None:
            self._held_bytes -= held.bytes


def _answer(content_type: str, refused: list[str], *, logs: bool) -> tuple[bytes, str]:
    """Return OTLP's response message; partialSuccess only where something was refused."""
    if "json" in content_type:
        if not refused:
            return b"{}", "application/json"
        count = {"rejectedLogRecords" if logs else "rejectedSpans": str(len(refused))}
        return msgspec.json.encode(
            {"partialSuccess": {**count, "errorMessage": refused[0]}}
        ), "application/json"
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    if not refused:
        return b"", "application/x-protobuf"
    if logs:
        log_answer = ExportLogsServiceResponse()
        log_answer.partial_success.rejected_log_records = len(refused)
        log_answer.partial_success.error_message = refused[0]
        return log_answer.SerializeToString(), "application/x-protobuf"
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = len(refused)
    answer.partial_success.error_message = refused[0]
    return answer.SerializeToString(), "application/x-protobuf"
