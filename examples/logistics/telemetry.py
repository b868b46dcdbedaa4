"""The agent's spans: OpenTelemetry's SDK, GenAI conventions, explicit times from the simulated clock.

Every run is one trace, flushed over OTLP/HTTP when it ends. Identifiers follow from the run's name, so
that a run exported again after a crash is recognised as the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context

from logistics.faults import FaultyExporter
from logistics.tools import SYSTEM_PROMPT, TOOLS

SECOND: Final = 1_000_000_000
_NEVER_MS: Final = 24 * 3_600_000.0  # the batch processor's own clock: runs are flushed one by one

_DEFINITIONS: Final = json.dumps([{"type": "function", **t["function"]} for t in TOOLS])
_INSTRUCTIONS: Final = json.dumps([{"type": "text", "content": SYSTEM_PROMPT}])


class RunIds(IdGenerator):
    """Trace and span ids that follow from the run's name and the order of its spans."""

    def __init__(self) -> None:
        self._name, self._count = "", 0

    def begin(self, name: str) -> None:
        """Start the ids of another run."""
        self._name, self._count = name, 0

    def generate_trace_id(self) -> int:
        """Return the run's trace id."""
        return self._number("trace", 16)

    def generate_span_id(self) -> int:
        """Return the id of the run's next span."""
        self._count += 1
        return self._number(f"span {self._count}", 8)

    def is_trace_id_random(self) -> bool:
        """Say no: W3C's random flag is for random ids."""
        return False

    def _number(self, what: str, size: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._name} {what}".encode()).digest()[:size])


class Telemetry:
    """One thread's tracer, exporting to one OTLP/HTTP address."""

    def __init__(self, otlp: str | None) -> None:
        self._ids = RunIds()
        resource = Resource.create({"service.name": "shipment-desk", "deployment.environment.name": "prod"})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self.exporter: FaultyExporter | None = None
        if otlp is not None:
            endpoint = otlp.rstrip("/") + "/v1/traces"
            self.exporter = FaultyExporter(OTLPSpanExporter(endpoint=endpoint, timeout=30))
            processor = BatchSpanProcessor(self.exporter, schedule_delay_millis=_NEVER_MS)
            self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("logistics.agent", "1")

    def run(self, name: str, started: float, attributes: Mapping[str, str]) -> RunSpan:
        """Open the root span of one run; started: seconds since 1970."""
        self._ids.begin(name)
        return RunSpan(self._tracer, int(started * SECOND), attributes)

    def flush(self) -> None:
        """Send what has ended."""
        self._provider.force_flush()

    def close(self) -> None:
        """Shut the exporter down."""
        self._provider.shutdown()


class RunSpan:
    """The root span of a run, and the clock its children share (UTC nanoseconds)."""

    def __init__(self, tracer: Tracer, now: int, attributes: Mapping[str, str]) -> None:
        self._tracer, self.now = tracer, now
        common = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shipment-desk"}
        self._conversation = attributes["gen_ai.conversation.id"]
        self.root = tracer.start_span(
            "invoke_agent shipment-desk",
            Context(),
            SpanKind.INTERNAL,
            {**common, **attributes},
            start_time=now,
        )

    def __enter__(self) -> RunSpan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(f"{type(error).__name__}: {error}")
        self.root.end(self.now)

    def fail(self, why: str) -> None:
        """Mark the run as failed."""
        self.root.set_attribute("error.type", "invalid_answer")
        self.root.set_status(Status(StatusCode.ERROR, why))

    def chat(self, model: str) -> Span:
        """Start the span of one chat completion."""
        self._pass(0.02)
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "gen_ai.request.temperature": 0.0,
            "gen_ai.conversation.id": self._conversation,
            "gen_ai.system_instructions": _INSTRUCTIONS,
            "gen_ai.tool.definitions": _DEFINITIONS,
        }
        return self._child(f"chat {model}", SpanKind.CLIENT, attributes)

    def chatted(
        self, span: Span, sent: Sequence[Mapping[str, Any]], body: Mapping[str, Any], seconds: float
    ) -> None:
        """End a chat span with what was sent, the response body and how long it took."""
        choice, usage = body["choices"][0], body.get("usage") or {}
        output = [{**_message(choice["message"]), "finish_reason": choice["finish_reason"]}]
        span.set_attributes(
            {
                "gen_ai.input.messages": _dump([_message(m) for m in sent if m["role"] != "system"]),
                "gen_ai.output.messages": _dump(output),
                "gen_ai.response.model": str(body["model"]),
                "gen_ai.response.id": str(body["id"]),
                "gen_ai.response.finish_reasons": [str(choice["finish_reason"])],
                "gen_ai.usage.input_tokens": int(usage.get("prompt_tokens", 0)),
                "gen_ai.usage.output_tokens": int(usage.get("completion_tokens", 0)),
            }
        )
        self._pass(seconds)
        span.end(self.now)

    def tool(self, call: Mapping[str, Any], result: str) -> None:
        """Record one tool call with its result (15 ms on the simulated clock)."""
        self._pass(0.005)
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call["function"]["name"],
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call["id"],
            "gen_ai.tool.call.arguments": call["function"]["arguments"],
            "gen_ai.tool.call.result": result,
        }
        span = self._child(f"execute_tool {call['function']['name']}", SpanKind.INTERNAL, attributes)
        self._pass(0.015)
        span.end(self.now)

    def feedback(self, thumbs_up: bool) -> None:
        """Attach a person's thumb to the run."""
        attributes = {
            "gen_ai.evaluation.name": "user_feedback",
            "gen_ai.evaluation.score.value": float(thumbs_up),
            "gen_ai.evaluation.score.label": "thumbs_up" if thumbs_up else "thumbs_down",
        }
        self.root.add_event("gen_ai.evaluation.result", attributes, timestamp=self.now)

    def _child(self, name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Any:
        context = set_span_in_context(self.root, Context())
        return self._tracer.start_span(name, context, kind, attributes, start_time=self.now)

    def _pass(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


def traceparent(span: Span) -> str:
    """Return the W3C header that ties a chat call to its span."""
    context = span.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return an OpenAI chat message in the GenAI conventions' shape."""
    if message["role"] == "tool":
        part = {"type": "tool_call_response", "id": message["tool_call_id"], "response": message["content"]}
        return {"role": "tool", "parts": [part]}
    parts: list[dict[str, Any]] = []
    if message.get("content"):
        parts.append({"type": "text", "content": message["content"]})
    for call in message.get("tool_calls") or []:
        function = call["function"]
        try:
            arguments: Any = json.loads(function["arguments"])
        except ValueError:
            arguments = function["arguments"]
        parts.append(
            {"type": "tool_call", "id": call["id"], "name": function["name"], "arguments": arguments}
        )
    return {"role": message["role"], "parts": parts}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
