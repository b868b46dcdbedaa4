"""Collect the spans of OTLP exports until a trace is complete, then hand it on.

A trace is complete when its root span is here; it reaches the sink before `receive` returns, so an
acknowledged export is on disk. Fragments wait until they settle. Re-sent spans change nothing; spans
that come after their root make the trace be assembled and handed on again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import takewhile

from strop.errors import InputError
from strop.records import Skipped, Trace
from strop.sources.assemble import assemble
from strop.sources.otlp import decode
from strop.sources.spans import Span

Sink = Callable[[list[Trace], list[Skipped]], None]

_SPAN_OVERHEAD = 1024  # bytes of Python objects around a span's payload, roughly


class _Held:
    """The spans of one trace that are in memory."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.bytes = 0
        self.touched = 0.0
        self.complete = False
        self.counted = False


class Receiver:
    """Spans in, traces out. Safe to call from several threads.

    settle_s: how long fragments wait for their root. max_body_mb: largest export, unpacked.
    max_trace_mb: larger traces are skipped and counted. max_held_mb: memory for waiting spans.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        source: str,
        customer_key: str = "customer.id",
        settle_s: float = 900.0,
        max_body_mb: float = 64.0,
        max_trace_mb: float = 20.0,
        max_held_mb: float = 256.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink, self._source, self._customer_key = sink, source, customer_key
        self._settle_s, self._clock = settle_s, clock
        self._max_body = int(max_body_mb * (1 << 20))
        self._max_trace = int(max_trace_mb * (1 << 20))
        self._max_held = int(max_held_mb * (1 << 20))
        self._lock = threading.Lock()
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._held_bytes = 0
        self._oversize: OrderedDict[str, None] = OrderedDict()
        self._counts = {"exports": 0, "spans": 0, "repeated_spans": 0, "traces": 0, "skipped": 0}

    def receive(self, body: bytes, content_type: str, content_encoding: str = "") -> tuple[bytes, str]:
        """Take one export; return OTLP's answer and its content type.

        Raises BodyTooLarge (HTTP 413) or InputError (HTTP 400), both recorded as skipped; what the
        sink raises passes through (HTTP 503), and the sender's retry then does no harm.
        """
        try:
            spans = decode(body, content_type, content_encoding, self._max_body)
        except InputError as error:
            item = f"{self._source}:export:{hashlib.sha256(body).hexdigest()[:16]}"
            self._hand_on([], [Skipped("receive", item, error.what)])
            raise
        with self._lock:
            self._counts["exports"] += 1
            ready, skipped = self._take(spans)
            overdue = self._overdue()
            self._emit(dict.fromkeys([*ready, *overdue]), skipped)
            for trace_id in overdue:
                self._forget(trace_id)
            self._make_room()
        return (b"{}", "application/json") if "json" in content_type else (b"", "application/x-protobuf")

    def flush(self) -> None:
        """Hand on everything that waits, complete or not."""
        with self._lock:
            self._emit([t for t, held in self._held.items() if not held.complete], [])
            self._held.clear()
            self._held_bytes = 0

    def counts(self) -> dict[str, int]:
        """Return exports, distinct spans, repeated spans, distinct traces handed on, items skipped."""
        with self._lock:
            return dict(self._counts)

    def _take(self, spans: Iterable[Span]) -> tuple[list[str], list[Skipped]]:
        """Add spans to what is held; return the ids of traces to assemble now."""
        ready: dict[str, None] = {}
        skipped: list[Skipped] = []
        for span in spans:
            if span.trace_id in self._oversize:
                continue
            held = self._held.setdefault(span.trace_id, _Held())
            held.touched = self._clock()
            self._held.move_to_end(span.trace_id)
            if span.span_id in held.spans:
                self._counts["repeated_spans"] += 1
                if held.complete is False and any(s.parent_id is None for s in held.spans.values()):
                    ready[span.trace_id] = None  # its root is here but the sink failed last time
                continue
            self._counts["spans"] += 1
            held.spans[span.span_id] = span
            held.bytes += span.size + _SPAN_OVERHEAD
            self._held_bytes += span.size + _SPAN_OVERHEAD
            if held.bytes > self._max_trace:
                reason = f"the trace is larger than {self._max_trace / (1 << 20):g} MB"
                skipped.append(Skipped("receive", f"{self._source}:{span.trace_id}", reason))
                self._forget(span.trace_id)
                self._oversize[span.trace_id] = None
                if len(self._oversize) > 10_000:
                    self._oversize.popitem(last=False)
                ready.pop(span.trace_id, None)
            elif held.complete or span.parent_id is None:
                held.complete = False
                ready[span.trace_id] = None
        return list(ready), skipped

    def _emit(self, trace_ids: Iterable[str], skipped: list[Skipped]) -> None:
        ids = list(trace_ids)
        spans = [span for trace_id in ids for span in self._held[trace_id].spans.values()]
        traces, unusable = assemble(spans, source=self._source, customer_key=self._customer_key)
        self._hand_on(traces, [*skipped, *unusable])
        made = {t.source_id for t in traces}
        for trace_id in ids:
            held = self._held[trace_id]
            self._counts["traces"] += trace_id in made and not held.counted
            held.complete, held.counted = True, held.counted or trace_id in made

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
