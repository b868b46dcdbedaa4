"""What goes wrong between the agent and whoever collects its traces: copies and broken exports.

Real pipelines retry under new ids, lose attributes and cut long values. The run's root carries the
fault's name in FAULT until here; it is removed before anything is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext

FAULT: Final = "simulation.fault"
COPIES: Final = "simulation.copies"


class FaultyExporter(SpanExporter):
    """Hand each run to another exporter, as often and as broken as its root span says; count traces."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.exported = 0
        self.copied = 0
        self.broken = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one run's spans, and its copy in a request of its own."""
        roots = [span for span in spans if span.parent is None]
        fault = next((str(r.attributes[FAULT]) for r in roots if r.attributes and FAULT in r.attributes), "")
        copies = next(
            (int(str(r.attributes[COPIES])) for r in roots if r.attributes and COPIES in r.attributes), 1
        )
        damaged = [_span(span, 0, _damage(span, fault)) for span in spans]
        self.broken += bool(fault)
        for copy in range(copies):
            batch = damaged if copy == 0 else [_span(s, copy, dict(s.attributes or {})) for s in damaged]
            if self._inner.export(batch) is SpanExportResult.SUCCESS:
                self.exported += 1
                self.copied += copy > 0
            else:
                self.failed += 1
        return SpanExportResult.SUCCESS if self.failed == 0 else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the real exporter down."""
        self._inner.shutdown()


def _damage(span: ReadableSpan, fault: str) -> dict[str, Any]:
    """Return a span's attributes after the fault."""
    attributes: dict[str, Any] = {
        k: v for k, v in (span.attributes or {}).items() if k not in (FAULT, COPIES)
    }
    if fault == "no_root_ids" and span.parent is None:
        return {key: value for key, value in attributes.items() if key.startswith("user.")}
    if fault == "bad_arguments" and "gen_ai.output.messages" in attributes:
        attributes["gen_ai.output.messages"] = str(attributes["gen_ai.output.messages"]).replace(
            '"arguments": {"tracking": ', '"arguments": "{\\"tracking\\": '
        )
    if fault == "cut_messages":
        for key in ("gen_ai.input.messages", "gen_ai.output.messages"):
            if key in attributes:
                attributes[key] = str(attributes[key])[: len(str(attributes[key])) * 2 // 3]
    return attributes


def _span(span: ReadableSpan, copy: int, attributes: Mapping[str, Any]) -> ReadableSpan:
    """Return a span with other attributes and, for a copy, under another trace id."""
    return ReadableSpan(
        name=span.name,
        context=_moved(span.get_span_context(), copy),
        parent=_moved(span.parent, copy),
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _moved(context: SpanContext | None, copy: int) -> SpanContext | None:
    if context is None or copy == 0:
        return context
    digest = hashlib.sha256(f"{context.trace_id:032x} copy {copy}".encode()).digest()
    trace_id = int.from_bytes(digest[:16])
    return SpanContext(trace_id, context.span_id, context.is_remote, context.trace_flags)
