"""A stand-in for Weave's trace server: what it stores of OTel spans, and the routes that strop asks.

The real server (weave[trace-server]==0.52.22) is asked in test_slow_weave, which checks this form against it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stub import Asked, Reply, answering

from strop.sources.platform import iso, ns
from strop.sources.spans.span import Span

Row = dict[str, Any]


def nested(attributes: Row) -> Row:
    """Take names apart at their dots and decode JSON text, as Weave does on import."""
    out: Row = {}
    for key, value in attributes.items():
        if isinstance(value, str) and value[:1] in ("[", "{"):
            value = json.loads(value)
        node = out
        *path, last = key.split(".")
        for step in path:
            node = node.setdefault(step, {})
        node[last] = value
    return out


def otel_span(span: Span) -> Row:
    """Return a span as Weave keeps it whole."""
    return {
        "name": span.name,
        "context": {"trace_id": span.trace_id, "span_id": span.span_id, "trace_state": ""},
        "kind": "INTERNAL",
        "parent_id": span.parent_id,
        "start_time": iso(span.started_at).rstrip("Z"),
        "end_time": iso(span.ended_at).rstrip("Z"),
        "status": {"code": "OK" if span.status == "ok" else "ERROR", "message": span.error or ""},
        "attributes": nested(span.attributes),
        "events": [
            {
                "name": e.name,
                "timestamp": e.at,
                "attributes": nested(e.attributes),
                "dropped_attributes_count": 0,
            }
            for e in span.events
        ],
        "links": [],
        "resource": {"attributes": nested(span.resource), "dropped_attributes_count": 0},
    }


def imported_call(span: Span) -> Row:
    """Return the call that Weave makes of an OTLP span."""
    return call(
        span.span_id,
        span.trace_id,
        span.name,
        iso(span.started_at).rstrip("Z"),
        iso(span.ended_at).rstrip("Z"),
        parent_id=span.parent_id,
        attributes={"otel_span": otel_span(span)},
    )


def agent_row(span: Span) -> Row:
    """Return the row of the agents' store, with details."""
    return {
        "project_id": "acme/agent",
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_id or "",
        "span_name": span.name,
        "started_at": iso(span.started_at),
        "ended_at": iso(span.ended_at),
        "status_code": "OK",
        "raw_span_dump": json.dumps(otel_span(span)),
    }


def call(call_id: str, trace_id: str, op: str, start: str, end: str | None, **more: Any) -> Row:
    """Return a call as `/calls/stream_query` answers it."""
    row: Row = {
        "id": call_id, "project_id": "acme/agent", "op_name": op, "display_name": None, "trace_id": trace_id,
        "parent_id": None, "thread_id": None, "turn_id": None, "started_at": start, "attributes": {},
        "inputs": {}, "ended_at": end, "exception": None, "output": None,
        "summary": {"usage": {}, "weave": {"status": "success", "trace_name": op, "latency_ms": 0}},
        "wb_user_id": "logger", "wb_run_id": None, "deleted_at": None,
    }  # fmt: skip
    return {**row, **more}


class Store:
    """What the stand-in holds, and how it misbehaves."""

    def __init__(self, calls: list[Row], agents: list[Row] | None = None) -> None:
        self.calls, self.agents = calls, agents
        self.objects: dict[str, Any] = {}
        self.refused: dict[str, int] = {}  # references and the status that they are refused with
        self.feedback: list[Row] = []
        self.faults: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, Row]] = []
        self.text_times = False  # compares times with numbers as text, as the SQLite server does
        self.stuck = False  # pays no heed to offsets
        self.slow_past: int | None = None  # traces that it can't answer for in time
        self.most: int | None = None  # rows it gives at most, whatever the limit

    def answer(self, path: str, body: Row) -> tuple[int, bytes]:
        """Return status and body."""
        self.asked.append((path, body))
        if self.faults:
            return self.faults.pop(0)
        wanted = body.get("filter", {}).get("trace_ids", [])
        if self.slow_past is not None and len(wanted) > self.slow_past:
            return 504, b""
        if path == "/calls/stream_query":
            lines = [json.dumps(r, ensure_ascii=False) for r in self._page(self._calls(body), body)]
            return 200, "\n".join(lines).encode()
        if path == "/agents/spans/query" and self.agents is not None:
            rows = self._page(self._agents(self.agents, body), body)
            return 200, json.dumps({"spans": rows, "total_count": len(self.agents)}).encode()
        if path == "/refs/read_batch":
            for ref in set(body["refs"]) & self.refused.keys():
                return self.refused[ref], b"no"
            if not set(body["refs"]) <= self.objects.keys():
                return 404, b'{"reason": "Object not found"}'
            return 200, json.dumps({"vals": [self.objects[r] for r in body["refs"]]}).encode()
        if path == "/feedback/query":
            return 200, json.dumps({"result": self._page(self.feedback, body)}).encode()
        if path == "/server_info":
            return 200, b'{"min_required_weave_python_version": "0.0.1"}'
        return 404, b'{"detail": "Not Found"}'

    def _page(self, rows: list[Row], body: Row) -> list[Row]:
        first = 0 if self.stuck else body.get("offset", 0)
        limit = body.get("limit") or len(rows)
        return rows[first : first + min(limit, self.most or limit)]

    def _calls(self, body: Row) -> list[Row]:
        rows = sorted(self.calls, key=lambda r: (str(r["started_at"]), str(r["id"])))
        wanted = body.get("filter", {})
        if "trace_ids" in wanted:
            rows = [r for r in rows if r["trace_id"] in wanted["trace_ids"]]
        if "call_ids" in wanted:
            rows = [r for r in rows if r["id"] in wanted["call_ids"]]
        if "query" in body:
            rows = [r for r in rows if self._holds(body["query"]["$expr"], r)]
        columns = body.get("columns")
        return [{k: r.get(k) for k in columns} for r in rows] if columns else rows

    def _holds(self, expression: Row, row: Row) -> bool:
        ((operation, operands),) = expression.items()
        if operation == "$and":
            return all(self._holds(o, row) for o in operands)
        if operation == "$not":
            return not self._holds(operands[0], row)
        assert operation == "$gte"
        if self.text_times:
            return str(row[operands[0]["$getField"]]) >= str(operands[1]["$literal"])
        return ns(row[operands[0]["$getField"]]) >= operands[1]["$literal"] * 1_000_000_000

    def _agents(self, rows: list[Row], body: Row) -> list[Row]:
        if "query" in body:
            field, wanted = body["query"]["$expr"]["$in"]
            ids = {w["$literal"] for w in wanted}
            return [r for r in rows if r[field["$getField"]] in ids]
        if "started_after" not in body:
            return rows
        first, last = ns(body["started_after"]), ns(body["started_before"])
        found = [r for r in rows if first <= ns(r["started_at"]) < last]
        return found if body.get("include_details") else [{**r, "raw_span_dump": None} for r in found]


@contextmanager
def weave(store: Store) -> Iterator[str]:
    """Serve a store on loopback."""

    def reply(asked: Asked) -> Reply:
        body = {**(asked.body or {}), "authorization": asked.headers.get("Authorization")}
        status, payload = store.answer(asked.path, body)
        return status, {"Retry-After": "2"}, payload

    with answering(reply) as (url, _):
        yield url
