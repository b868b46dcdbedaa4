"""A stand-in for a Langfuse server's reading API, on loopback, in three modes.

v3: traces, observations v1, scores v2 and v3 answer, v2/observations 404. v4: the v4 default (events_only):
the other way round. dual: everything answers. Shapes follow the OpenAPI documents of 3.225.4 and 4.16.0;
order, cursors and 404 bodies are those of the server's source. Faults are given out once each, by path.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Row = dict[str, Any]
PUBLIC, SECRET = "pk-lf-stand-in", "sk-lf-stand-in"
START = datetime(2026, 11, 1, 9, tzinfo=UTC)
VERSIONS = {"v3": "3.225.4", "v4": "4.16.0", "dual": "4.16.0"}
NO_V4 = (
    "The observations v2 API is only available in a Langfuse v4 write mode. "
    "Learn more at: https://langfuse.com/docs/v4"
)
NO_V3 = (
    "This endpoint is not available on deployments running in Langfuse v4 events_only mode. "
    "Learn more about Langfuse v4 at: https://langfuse.com/docs/v4"
)
DEPRECATED = {
    "message": "Use GET /api/public/v2/observations.",
    "replacement": "GET /api/public/v2/observations",
}
LONG = "An ordinary note about the shipment. " * 20
GROUPS = {
    "basic": ("name", "level", "statusMessage", "version", "environment", "bookmarked", "public", "userId",
              "sessionId", "isRootObservation"),
    "time": ("completionStartTime", "createdAt", "updatedAt"),
    "io": ("input", "output"),
    "metadata": ("metadata",),
    "model": ("providedModelName", "internalModelId", "modelParameters"),
    "usage": ("usageDetails", "costDetails", "totalCost", "usagePricingTierName"),
    "prompt": ("promptId", "promptName", "promptVersion"),
    "metrics": ("latency", "timeToFirstToken"),
    "trace_context": ("tags", "release", "traceName"),
}  # fmt: skip
CORE = ("id", "traceId", "startTime", "endTime", "projectId", "parentObservationId", "type")


def at(seconds: float) -> str:
    """A time after START as the server writes it: milliseconds, Z."""
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def id_of(n: int) -> str:
    """The id of the n-th trace."""
    return f"7{n:031x}"


def agent_trace(n: int) -> Row:
    """One run: a question, a tool call, its result, the answer. Begins n seconds after START, lasts ten."""
    trace_id, tracking = id_of(n), f"0034043416109{n:07d}"
    call = {"id": f"call_{n}", "type": "function",
            "function": {"name": "lookup_tracking",
                         "arguments": f'{{"tracking": "{tracking}"}}'}}  # fmt: skip
    asked = [{"role": "system", "content": "You help."}, {"role": "user", "content": f"Where is {tracking}?"}]
    tools = [
        {
            "type": "function",
            "function": {
                "name": "lookup_tracking",
                "description": "Find a parcel",
                "parameters": {"type": "object", "properties": {"tracking": {"type": "string"}}},
            },
        }
    ]
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"status": "delivered", "tracking": tracking}
    told = {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}
    rows = [
        _row(n, 0, "AGENT", "agent", 10, input=asked[1]["content"], output="It was delivered."),
        _row(
            n,
            1,
            "GENERATION",
            "chat",
            2,
            input={"messages": asked, "tools": tools},
            output=called,
            cost=0.001,
        ),
        _row(n, 4, "TOOL", "lookup_tracking", 1, input={"tracking": tracking}, output=result),
        _row(
            n,
            6,
            "GENERATION",
            "chat",
            3,
            cost=0.002,
            output={"role": "assistant", "content": "It was delivered."},
            input={"messages": [*asked, called, told], "tools": tools},
        ),
    ]
    rows[0]["metadata"] = {"customer": f"C{n % 3:03d}", "workflow_id": f"{n:07d}", "note": LONG}
    return {
        "id": trace_id,
        "timestamp": at(n),
        "name": "support",
        "userId": f"user-{n % 5}",
        "sessionId": f"session-{n // 2}",
        "tags": ["prod", "agent"],
        "metadata": rows[0]["metadata"],
        "release": "r1",
        "version": None,
        "environment": "production",
        "public": False,
        "input": rows[0]["input"],
        "output": rows[0]["output"],
        "observations": rows,
    }


def _row(n: int, offset: float, kind: str, name: str, lasts: float, **given: Any) -> Row:
    cost = given.pop("cost", None)
    return {
        "id": f"{n:08x}{int(offset):08x}",
        "traceId": id_of(n),
        "type": kind,
        "name": name,
        "startTime": at(n + offset),
        "endTime": at(n + offset + lasts),
        "latency": lasts,
        "parentObservationId": None if offset == 0 else f"{n:08x}{0:08x}",
        "level": "DEFAULT",
        "statusMessage": None,
        "version": None,
        "environment": "production",
        "completionStartTime": None,
        "metadata": {},
        "model": "gpt-5-mini" if cost else None,
        "modelParameters": {"temperature": 0} if cost else {},
        "usageDetails": {"input": 100, "output": 10, "total": 110} if cost else {},
        "costDetails": {"total": cost} if cost else {},
        "totalCost": cost,
        **given,
    }


def score(n: int, kind: str = "NUMERIC", value: Any = 1.0, **extra: Any) -> Row:
    """A score of trace n, ten minutes after START."""
    text = value if isinstance(value, str) else (str(value) if isinstance(value, bool) else None)
    number = float(value) if isinstance(value, bool | int | float) else 0.0
    row: Row = {
        "id": f"score-{kind}-{n}",
        "traceId": id_of(n),
        "observationId": None,
        "sessionId": None,
        "datasetRunId": None,
        "name": kind.lower(),
        "dataType": kind,
        "value": number,
        "stringValue": text,
        "source": "ANNOTATION",
        "comment": None,
        "metadata": {},
        "configId": None,
        "queueId": None,
        "authorUserId": None,
        "timestamp": at(600 + n),
        "createdAt": at(600 + n),
        "updatedAt": at(600 + n),
        "environment": "production",
        "projectId": "project-1",
    }
    return {**row, **extra}


@dataclass
class Fault:
    """An answer in place of the right one: status and headers, or bytes, after a delay."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay_s: float = 0.0


@dataclass
class Standin:
    """The server's state. before: called with path and parameters ahead of each answer, to change data."""

    mode: str
    traces: list[Row] = field(default_factory=list)
    scores: list[Row] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, Row]] = field(default_factory=list)
    before: Callable[[str, Row], None] | None = None
    stuck_cursor: bool = False
    url: str = ""

    def answer(self, path: str, params: Row) -> tuple[int, Row]:
        """Answer one request of an authorised client."""
        legacy = path.startswith(("traces", "observations", "v2/scores"))
        if legacy and self.mode == "v4":
            return 404, {"message": NO_V3, "_deprecation": DEPRECATED}
        if path == "v2/observations" and self.mode == "v3":
            return 404, {"message": NO_V4, "error": "LangfuseNotFoundError"}
        known: dict[str, Callable[[Row], tuple[int, Row]]] = {
            "health": lambda _: (200, {"version": VERSIONS[self.mode], "status": "OK"}),
            "traces": self._traces,
            "observations": self._observations_v1,
            "v2/observations": self._observations_v2,
            "v2/scores": self._scores_v2,
            "v3/scores": self._scores_v3,
        }
        if path.startswith("traces/"):
            return self._trace(unquote(path.removeprefix("traces/")))
        if path not in known:
            return 404, {"message": "Not found"}
        status, body = known[path](params)
        if legacy and status == 200 and self.mode == "dual":
            body["_deprecation"] = DEPRECATED
        return status, body

    def _traces(self, params: Row) -> tuple[int, Row]:
        wanted = set(params.get("fields", "core,io,scores,observations,metrics").split(","))
        found = [t for t in self.traces if _in(t["timestamp"], params, "fromTimestamp", "toTimestamp")]
        found.sort(key=lambda t: t["timestamp"], reverse=params.get("orderBy") != "timestamp.asc")
        rows: list[Row] = []
        for trace in found:
            row = {k: v for k, v in trace.items() if k not in ("observations", "input", "output", "metadata")}
            row |= {k: trace[k] for k in ("input", "output", "metadata")} if "io" in wanted else {}
            row |= {
                "htmlPath": f"/project/p/traces/{trace['id']}",
                "latency": -1,
                "totalCost": -1,
                "scores": [],
            }
            row["observations"] = [o["id"] for o in trace["observations"]] if "observations" in wanted else []
            rows.append(row)
        return _paged(rows, params)

    def _trace(self, trace_id: str) -> tuple[int, Row]:
        trace = next((t for t in self.traces if t["id"] == trace_id), None)
        if trace is None:
            return 404, {"message": f"Trace {trace_id} not found within authorized project"}
        own = [s for s in self.scores if s["traceId"] == trace_id and s["dataType"] != "CORRECTION"]
        total = sum(o["totalCost"] or 0 for o in trace["observations"])
        body = {**trace, "htmlPath": f"/project/p/traces/{trace_id}", "latency": 10.0, "totalCost": total,
                "observations": [_view(o) for o in trace["observations"]], "scores": own}  # fmt: skip
        return 200, body | ({"_deprecation": DEPRECATED} if self.mode == "dual" else {})

    def _observations_v1(self, params: Row) -> tuple[int, Row]:
        rows = [o for t in self.traces for o in t["observations"]]
        rows = [r for r in rows if _in(r["startTime"], params, "fromStartTime", "toStartTime")]
        rows = [r for r in rows if params.get("traceId") in (None, r["traceId"])]
        return _paged([_view(r) for r in sorted(rows, key=lambda r: r["startTime"], reverse=True)], params)

    def _observations_v2(self, params: Row) -> tuple[int, Row]:
        limit = int(params.get("limit", 50))
        groups = params.get("fields", "core,basic").split(",")
        if limit > 1000 or set(groups) - {"core", *GROUPS} or params.get("parseIoAsJson") == "true":
            return 400, {"message": "Invalid request data"}
        rows = [(t, o) for t in self.traces for o in t["observations"]]
        rows = [r for r in rows if _in(r[1]["startTime"], params, "fromStartTime", "toStartTime")]
        rows.sort(key=lambda r: _order(r[1]), reverse=True)
        if params.get("cursor") and not self.stuck_cursor:
            mark = json.loads(base64.b64decode(params["cursor"]))
            last = (mark["lastStartTimeTo"], zlib.crc32(mark["lastTraceId"].encode()), mark["lastId"])
            rows = [r for r in rows if _order(r[1]) < last]
        expand = set(params.get("expandMetadata", "").split(","))
        data = [_v4_row(trace, row, groups, expand) for trace, row in rows[:limit]]
        meta: Row = {}
        if len(rows) > limit:
            end = rows[limit - 1][1]
            mark = {"lastStartTimeTo": end["startTime"], "lastTraceId": end["traceId"], "lastId": end["id"]}
            meta["cursor"] = base64.b64encode(json.dumps(mark).encode()).decode()
        if self.stuck_cursor:
            meta["cursor"] = "c3R1Y2s="
        return 200, {"data": data, "meta": meta}

    def _scored(self, params: Row) -> list[Row]:
        return [s for s in self.scores if _in(s["timestamp"], params, "fromTimestamp", "toTimestamp")]

    def _scores_v2(self, params: Row) -> tuple[int, Row]:
        rows = [{k: v for k, v in s.items() if k != "projectId"} for s in self._scored(params)]
        for row in rows:
            if row["dataType"] == "NUMERIC":
                row.pop("stringValue")
            elif row["dataType"] == "TEXT":
                row.pop("value")
        return _paged(rows, params)

    def _scores_v3(self, params: Row) -> tuple[int, Row]:
        limit = int(params.get("limit", 50))
        groups = [g for g in params.get("fields", "").split(",") if g]
        if limit > 100 or set(groups) - {"details", "subject", "annotation"}:
            return 400, {"message": "Invalid request data"}
        rows = sorted(self._scored(params), key=lambda s: (s["timestamp"], s["id"]), reverse=True)
        if params.get("cursor"):
            last = tuple(json.loads(base64.urlsafe_b64decode(params["cursor"])))
            rows = [s for s in rows if (s["timestamp"], s["id"]) < last]
        meta: Row = {"limit": limit}
        if len(rows) > limit:
            mark = json.dumps([rows[limit - 1]["timestamp"], rows[limit - 1]["id"]])
            meta["cursor"] = base64.urlsafe_b64encode(mark.encode()).decode()
        return 200, {"data": [_v3_score(s, groups) for s in rows[:limit]], "meta": meta}


def _order(row: Row) -> tuple[str, int, str]:
    return row["startTime"], zlib.crc32(row["traceId"].encode()), row["id"]


def _in(moment: str, params: Row, start: str, end: str) -> bool:
    when = datetime.fromisoformat(moment)
    return not (
        (start in params and when < datetime.fromisoformat(params[start]))
        or (end in params and when >= datetime.fromisoformat(params[end]))
    )


def _paged(rows: list[Row], params: Row) -> tuple[int, Row]:
    page, limit = int(params.get("page", 1)), int(params.get("limit", 50))
    if limit > 100 or page < 1:
        return 400, {"message": "Invalid request data"}
    meta = {"page": page, "limit": limit, "totalItems": len(rows), "totalPages": -(-len(rows) // limit)}
    return 200, {"data": rows[(page - 1) * limit : page * limit], "meta": meta}


def _view(row: Row) -> Row:
    usage = row["usageDetails"]
    counted = {k: usage.get(k, 0) for k in ("input", "output", "total")}
    return {
        **row,
        "usage": {**counted, "unit": "TOKENS"},
        "promptId": None,
        "promptName": None,
        "promptVersion": None,
        "modelId": None,
        "inputPrice": None,
        "outputPrice": None,
        "totalPrice": None,
        "timeToFirstToken": None,
        "calculatedInputCost": None,
        "calculatedOutputCost": None,
        "calculatedTotalCost": row["totalCost"],
    }


def _v4_row(trace: Row, row: Row, groups: list[str], expand: set[str]) -> Row:
    raw = {"input": row["input"], "output": row["output"]}
    texts = {k: v if isinstance(v, str) or v is None else json.dumps(v) for k, v in raw.items()}
    metadata = {
        k: v if k in expand or not isinstance(v, str) else v[:200] for k, v in row["metadata"].items()
    }
    whole: Row = {
        **row,
        **texts,
        "projectId": "project-1",
        "userId": trace["userId"],
        "sessionId": trace["sessionId"],
        "isRootObservation": row["parentObservationId"] is None,
        "bookmarked": False,
        "public": trace["public"],
        "createdAt": row["endTime"],
        "updatedAt": row["endTime"],
        "metadata": metadata,
        "providedModelName": row["model"],
        "internalModelId": None,
        "usagePricingTierName": None,
        "promptId": None,
        "promptName": None,
        "promptVersion": None,
        "timeToFirstToken": None,
        "tags": trace["tags"],
        "release": trace["release"],
        "traceName": trace["name"],
    }
    fields = [*CORE, *(f for g in groups for f in GROUPS.get(g, ()))]
    prices = {"modelId": None, "inputPrice": None, "outputPrice": None, "totalPrice": None}
    return {**{f: whole[f] for f in fields}, **prices}


def _v3_score(row: Row, groups: list[str]) -> Row:
    core = (
        "id",
        "projectId",
        "name",
        "dataType",
        "source",
        "timestamp",
        "environment",
        "createdAt",
        "updatedAt",
    )
    value = {"NUMERIC": row["value"], "BOOLEAN": bool(row["value"])}.get(row["dataType"], row["stringValue"])
    out: Row = {**{k: row[k] for k in core}, "value": value}
    if "details" in groups:
        out |= {k: row[k] for k in ("comment", "configId", "metadata")}
    if "subject" in groups:
        if row["datasetRunId"]:
            out["subject"] = {"kind": "experiment", "id": row["datasetRunId"]}
        elif row["observationId"]:
            out["subject"] = {"kind": "observation", "id": row["observationId"], "traceId": row["traceId"]}
        elif row["sessionId"]:
            out["subject"] = {"kind": "session", "id": row["sessionId"]}
        else:
            out["subject"] = {"kind": "trace", "id": row["traceId"]}
    return out


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no news."""


def _handler(state: Standin) -> type[BaseHTTPRequestHandler]:
    wanted = "Basic " + base64.b64encode(f"{PUBLIC}:{SECRET}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer: else each waits for an acknowledgement

        def log_message(self, format: str, *args: Any) -> None: ...

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/api/public/")
            params: Row = {k: v[-1] for k, v in parse_qs(parts.query).items()}
            state.asked.append((path, params))
            if state.before is not None:
                state.before(path, params)
            fault = state.faults[path].pop(0) if state.faults[path] else Fault()
            time.sleep(fault.delay_s)
            status, body = fault.status, b'{"message": "fault"}' if fault.body is None else fault.body
            if status == 200 and fault.body is None:
                allowed = path == "health" or self.headers.get("Authorization") == wanted
                status, answer = (
                    state.answer(path, params) if allowed else (401, {"message": "Invalid credentials"})
                )
                body = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **fault.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextmanager
def serving(
    mode: str, traces: list[Row] | None = None, scores: list[Row] | None = None
) -> Generator[Standin]:
    """Serve a stand-in on a free port of loopback."""
    state = Standin(mode, list(traces or ()), list(scores or ()))
    server = _Server(("127.0.0.1", 0), _handler(state))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
