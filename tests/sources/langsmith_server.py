"""A stand-in for LangSmith's server: v1, v2 or both query APIs, as strict as the real one, with faults.

Its answers are judged by the vendor's own client in the slow tests. Rows are kept in v1's spelling.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from strop.sources.platform import DAY, iso, ns

PROJECT = "5b1f0b0e-5a0a-4f0e-9d3c-3f3d2d2b1a00"
TENANT = "0a1b2c3d-0000-4000-8000-00000000beef"
KEY = "lsv2_pt_test"

V1_FIELDS = {
    "id", "name", "run_type", "start_time", "end_time", "status", "error", "extra", "events", "inputs",
    "inputs_preview", "inputs_s3_urls", "outputs", "outputs_preview", "outputs_s3_urls", "s3_urls",
    "parent_run_id", "manifest_id", "session_id", "serialized", "reference_example_id", "total_tokens",
    "prompt_tokens", "completion_tokens", "total_cost", "prompt_cost", "completion_cost", "first_token_time",
    "trace_id", "dotted_order", "feedback_stats", "child_run_ids", "parent_run_ids", "tags", "in_dataset",
    "app_path", "thread_id",
}  # fmt: skip
V2_FIELDS = {
    "ID", "NAME", "RUN_TYPE", "STATUS", "START_TIME", "END_TIME", "LATENCY_SECONDS", "FIRST_TOKEN_TIME",
    "ERROR", "ERROR_PREVIEW", "EXTRA", "METADATA", "EVENTS", "INPUTS", "INPUTS_PREVIEW", "OUTPUTS",
    "OUTPUTS_PREVIEW", "MANIFEST", "PARENT_RUN_IDS", "PROJECT_ID", "TRACE_ID", "THREAD_ID", "DOTTED_ORDER",
    "IS_ROOT", "REFERENCE_EXAMPLE_ID", "REFERENCE_DATASET_ID", "TOTAL_TOKENS", "PROMPT_TOKENS",
    "COMPLETION_TOKENS", "TOTAL_COST", "PROMPT_COST", "COMPLETION_COST", "PROMPT_TOKEN_DETAILS",
    "COMPLETION_TOKEN_DETAILS", "PROMPT_COST_DETAILS", "COMPLETION_COST_DETAILS", "PRICE_MODEL_ID", "TAGS",
    "APP_PATH", "ATTACHMENTS", "THREAD_EVALUATION_TIME", "IS_IN_DATASET", "LAST_QUEUED_AT", "SHARE_URL",
    "FEEDBACK_STATS",
}  # fmt: skip
V1_KEYS = {
    "session", "id", "run_type", "reference_example", "query", "filter", "trace_filter", "tree_filter",
    "is_root", "parent_run", "start_time", "end_time", "error", "trace", "select", "limit", "cursor", "order",
    "skip_pagination", "skip_prev_cursor", "search_filter", "data_source_type", "execution_order",
}  # fmt: skip
V2_KEYS = {
    "project_ids", "ids", "min_start_time", "max_start_time", "filter", "trace_filter", "tree_filter",
    "is_root", "trace_id", "has_error", "run_type", "selects", "page_size", "cursor", "reference_examples",
    "reference_dataset_id", "min_feedback_modified_at", "max_feedback_modified_at",
}  # fmt: skip
FEEDBACK_KEYS = {
    "run", "key", "session", "source", "limit", "offset", "user", "has_comment", "has_score", "level",
    "max_created_at", "min_created_at", "include_user_names",
}  # fmt: skip


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Deployment:
    """What the server holds. serves: v1, v2 or dual; claims: the instance flags, else what is served.

    now: its clock, UTC ns. faults: one a request to the runs queries or feedback, in order; None is none:
    a status, "no cursor", "same cursor", "empty", "same feedback".
    """

    def __init__(
        self,
        runs: list[dict[str, Any]],
        feedback: list[dict[str, Any]] | None = None,
        *,
        serves: str = "v1",
        claims: dict[str, Any] | None = None,
        prefix: str = "/api/v1",
        now: int = 0,
    ) -> None:
        self.runs = [{"session_id": PROJECT, **run} for run in runs]
        self.feedback = feedback or []
        served = {"ch_query_enabled": serves != "v2", "sdb_query_enabled": serves != "v1"}
        self.serves, self.prefix = serves, prefix
        self.info = {"version": "0.16.2", "instance_flags": served} if claims is None else claims
        self.now = now or 10 * DAY + max((ns(r["start_time"]) for r in runs), default=0)
        self.faults: list[str | None] = []
        self.asked: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        self.asked.append((path, query if method == "GET" else body))
        if path == f"{self.prefix}/info":
            return self.info
        if path == "/api/v2/runs/query" and self.serves != "v1" and method == "POST":
            return self._v2(body)
        if path == f"{self.prefix}/runs/query" and self.serves != "v2" and method == "POST":
            return self._v1(body)
        if path.startswith(f"{self.prefix}/runs") and method in ("POST", "PATCH"):
            return self._ingest(path.rpartition("/runs")[2].strip("/"), body)
        if path == f"{self.prefix}/sessions":
            return [self._session()] if query.get("name", ["agent"]) == ["agent"] else []
        if path == f"{self.prefix}/feedback":
            return self._feedback(query)
        raise Refused(404, "Not Found")

    def _ingest(self, run_id: str, body: dict[str, Any]) -> Any:
        """Keep a run as a client sends it: whole, then what is known at its end."""
        if run_id not in ("", *(r["id"] for r in self.runs)):
            raise Refused(404, "Not Found")
        if not run_id:
            body["parent_run_ids"] = [p.partition("Z")[2] for p in body["dotted_order"].split(".")[:-1]]
            self.runs.append({"session_id": PROJECT, "feedback_stats": {}, **body})
        for run in self.runs:
            if run["id"] == run_id:
                run.update({k: v for k, v in body.items() if v is not None})
                run["status"] = "error" if run.get("error") else "success"
        return {}

    def _session(self) -> dict[str, Any]:
        return {"id": PROJECT, "tenant_id": TENANT, "reference_dataset_id": None, "name": "agent",
                "start_time": "2024-01-01T00:00:00"}  # fmt: skip

    def _fault(self) -> str | None:
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and fault.isdigit():
            raise Refused(int(fault), "a bad day")
        return fault

    def _v1(self, body: dict[str, Any]) -> Any:
        fault = self._fault()
        check(body, V1_KEYS)
        if body.get("session") != [PROJECT] and not body.get("id"):
            raise Refused(
                400, "At least one of 'session', 'id', 'parent_run', 'trace' or ... must be specified"
            )
        limit = body.get("limit", 100)
        if not 1 <= limit <= 100:
            raise Refused(400, f"limit must be between 1 and 100, got {limit}")
        select = body.get("select") or sorted(V1_FIELDS)
        if not set(select) <= V1_FIELDS:
            raise Refused(422, "select: unexpected value")
        found = [r for r in self.runs if body.get("trace") in (None, r["trace_id"])]
        if body.get("start_time"):
            found = [r for r in found if ns(r["start_time"]) >= ns(body["start_time"])]
        found = [r for r in found if matches(r, body.get("filter"))]
        found.sort(key=lambda r: (ns(r["start_time"]), r["id"]), reverse=body.get("order", "desc") == "desc")
        shown = [{k: r.get(k) for k in select} for r in found]
        if body.get("trace"):
            return {"runs": shown, "cursors": {}}
        page, following = paged(shown, body.get("cursor"), limit, fault)
        return {"runs": page, "cursors": {"next": following}, "parsed_query": None}

    def _v2(self, body: dict[str, Any]) -> Any:
        fault = self._fault()
        check(body, V2_KEYS)
        if body.get("project_ids") != [PROJECT]:
            raise Refused(400, "exactly one of project_ids and reference_dataset_id is required")
        size = body.get("page_size", 100)
        if not 1 <= size <= 1000:
            raise Refused(400, "page_size must be between 1 and 1000")
        selects = body.get("selects") or ["ID"]
        if not set(selects) <= V2_FIELDS:
            raise Refused(400, "invalid selects")
        first = ns(body["min_start_time"]) if body.get("min_start_time") else self.now - DAY
        last = ns(body["max_start_time"]) if body.get("max_start_time") else self.now
        found = [r for r in self.runs if first <= ns(r["start_time"]) <= last]
        found = [r for r in found if body.get("trace_id") in (None, r["trace_id"])]
        found.sort(key=lambda r: (ns(r["start_time"]), r["id"]), reverse=True)
        page, following = paged([newer(r, selects) for r in found], body.get("cursor"), size, fault)
        return {"items": page, **({"next_cursor": following} if following else {})}

    def _feedback(self, query: dict[str, list[str]]) -> Any:
        fault = self._fault()
        check(query, FEEDBACK_KEYS)
        limit, offset = int(query.get("limit", ["100"])[0]), int(query.get("offset", ["0"])[0])
        if not 1 <= limit <= 100:
            raise Refused(422, "limit: ensure this value is less than or equal to 100")
        found = self.feedback
        if "run" in query:
            found = [f for f in found if f["run_id"] in query["run"]]
        if "min_created_at" in query:
            found = [f for f in found if ns(f["created_at"]) >= ns(query["min_created_at"][0])]
        if "max_created_at" in query:
            found = [f for f in found if ns(f["created_at"]) <= ns(query["max_created_at"][0])]
        return found[:limit] if fault == "same feedback" else found[offset : offset + limit]


def check(given: dict[str, Any], known: set[str]) -> None:
    if not set(given) <= known:
        raise Refused(422, "extra fields not permitted")


def matches(run: dict[str, Any], text: str | None) -> bool:
    """Evaluate the part of the filter language that compares start times; refuse the rest."""
    if text is None:
        return True
    terms = re.findall(r'(gte|gt|lt|lte)\(start_time, "([^"]+)"\)', text)
    spelled = ", ".join(f'{op}(start_time, "{at}")' for op, at in terms)
    if text not in (spelled, f"and({spelled})"):
        raise Refused(400, "invalid filter")
    at = ns(run["start_time"])
    tests = {"gte": at.__ge__, "gt": at.__gt__, "lt": at.__lt__, "lte": at.__le__}
    return all(tests[op](ns(value)) for op, value in terms)


def paged(
    rows: list[dict[str, Any]], cursor: str | None, size: int, fault: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Cut a page; the last full page has a cursor too, to an empty one."""
    offset = int(cursor.removeprefix("at-").partition("-")[0]) if cursor else 0
    if fault == "empty":
        return [], f"at-{offset}-again{cursor or ''}"
    page = rows[offset : offset + size]
    following = f"at-{offset + size}" if len(page) == size else None
    if fault == "no cursor":
        following = None
    if fault == "same cursor":
        following = cursor or "at-0"
    return page, following


def newer(run: dict[str, Any], selects: list[str]) -> dict[str, Any]:
    """Spell a run as v2 does: upper-case enums, ancestors, milliseconds, only what was selected."""
    extra = run.get("extra") or {}
    parents = run.get("parent_run_ids") or []
    full = {
        **{k.upper(): v for k, v in run.items()},
        "RUN_TYPE": run["run_type"].upper(),
        "STATUS": {"success": "SUCCESS", "error": "ERROR"}.get(str(run.get("status")), "PENDING"),
        "START_TIME": milliseconds(run["start_time"]),
        "END_TIME": milliseconds(run["end_time"]) if run.get("end_time") else None,
        "PROJECT_ID": run["session_id"],
        "METADATA": extra.get("metadata"),
        "PARENT_RUN_IDS": parents,
        "IS_ROOT": not parents,
        "TOTAL_COST": None if run.get("total_cost") is None else float(run["total_cost"]),
    }
    return {s.lower(): full[s] for s in ["ID", *selects] if s in full}


def milliseconds(text: str) -> str:
    return iso(ns(text) // 1_000_000 * 1_000_000)


@contextmanager
def serving(deployment: Deployment) -> Iterator[str]:
    """Serve a deployment on a loopback port; yield its address, with the prefix."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            deployment.headers.append({k.lower(): v for k, v in self.headers.items()})
            headers: dict[str, str] = {}
            try:
                if self.headers.get("x-api-key") != KEY and not parts.path.endswith("/info"):
                    raise Refused(401, "Invalid token")
                body = json.loads(raw) if raw else None
                status, value = 200, deployment.answer(self.command, parts.path, parse_qs(parts.query), body)
            except Refused as refused:
                status, value = refused.status, {"detail": refused.detail}
                headers = {"Retry-After": "7"} if status == 429 else {}
            answer = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PATCH = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{deployment.prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SYSTEM = {"role": "system", "content": "You are a support agent."}
QUESTION = "Wo ist meine Bestellung 00340434161094042557? Erika Mustermann, erika@example.de"
CALL = {"id": "call_1", "type": "function",
        "function": {"name": "get_order", "arguments": '{"order_id": "A-1001"}'}}  # fmt: skip
RESULT = '{"status": "in_transit", "tracking": "00340434161094042557"}'
ANSWER = "Ihre Bestellung A-1001 ist unterwegs."
TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_order",
        "description": "Look up an order",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}},
                       "required": ["order_id"]},
    },
}]  # fmt: skip
START = ns("2026-11-23T06:32:05.643430Z")
METADATA = {
    "session_id": "sess-1",
    "user_id": "user-1",
    "tenant": "acme",
    "region": "EU",
    "ls_method": "traceable",
}


def uuid(trace: int, run: int = 0) -> str:
    return f"{trace:08x}-0000-4000-8000-{run:012x}"


def run_of(
    trace: int,
    number: int,
    parents: list[dict[str, Any]],
    kind: str,
    name: str,
    at: int,
    lasts: int = 10_000_000,
    **fields: Any,
) -> dict[str, Any]:
    """Make a run in v1's spelling. at, lasts: ns."""
    run_id = uuid(trace, number)
    moment = iso(at).replace("-", "").replace(":", "").replace(".", "")
    order = ".".join([*(p["dotted_order"] for p in parents[-1:]), f"{moment}{run_id}"])
    return {
        "id": run_id, "trace_id": uuid(trace), "name": name, "run_type": kind, "dotted_order": order,
        "parent_run_id": parents[-1]["id"] if parents else None,
        "parent_run_ids": [p["id"] for p in parents],
        "start_time": iso(at).removesuffix("Z"), "end_time": iso(at + lasts).removesuffix("Z"),
        "status": "success", "error": None, "tags": [], "extra": {"metadata": dict(METADATA)},
        "inputs": {}, "outputs": {}, "feedback_stats": {}, "session_id": PROJECT,
        "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "total_cost": None,
        **fields,
    }  # fmt: skip


def agent_trace(
    trace: int = 1, at: int = START, dialect: str = "openai", **root: Any
) -> list[dict[str, Any]]:
    """Make the runs of one agent that asks a tool: through wrap_openai, LangChain or LangGraph."""
    first = run_of(trace, 0, [], "chain", "support", at, 900_000_000, tags=["prod"], **root)
    first["prompt_tokens"], first["completion_tokens"] = 290, 50  # rolled up
    said = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    turns = [SYSTEM, {"role": "user", "content": QUESTION}]
    full = [*turns, said, {"role": "tool", "tool_call_id": "call_1", "content": RESULT}]
    between: list[dict[str, Any]] = []
    if dialect == "langgraph":
        between = [run_of(trace, 7, [first], "chain", "LangGraph", at + 1_000_000, 850_000_000),
                   run_of(trace, 8, [first], "chain", "should_continue", at + 450_000_000)]  # fmt: skip
        between[1]["parent_run_ids"], between[1]["parent_run_id"] = [first["id"]], first["id"]
    above = [first, *between[:1]]
    model = "ChatOpenAI" if dialect != "openai" else "ChatCompletion"
    calls = [
        run_of(trace, 1, above, "llm", model, at + 10_000_000, 390_000_000,
               **model_call(dialect, turns, said), prompt_tokens=120, completion_tokens=20,
               total_cost="0.25"),
        run_of(trace, 2, above, "tool", "get_order", at + 410_000_000, 90_000_000, **tool_call(dialect)),
        run_of(trace, 3, above, "llm", model, at + 510_000_000, 380_000_000,
               **model_call(dialect, full, {"role": "assistant", "content": ANSWER}),
               prompt_tokens=170, completion_tokens=30, total_cost="0.5"),
    ]  # fmt: skip
    return [first, *between, *calls]


def model_call(dialect: str, given: list[Any], said: dict[str, Any]) -> dict[str, Any]:
    if dialect == "openai":
        extra = {"metadata": {**METADATA, "ls_model_name": "qwen3-4b", "ls_provider": "openai"}}
        choice = {"index": 0, "finish_reason": "stop", "message": {**said, "refusal": None}}
        return {
            "inputs": {"messages": given, "model": "qwen3-4b", "tools": TOOLS},
            "outputs": {"model": "qwen3-4b", "choices": [choice], "usage_metadata": {"input_tokens": 1}},
            "extra": extra,
        }
    extra = {"invocation_params": {"model": "qwen3-4b", "tools": TOOLS, "_type": "openai-chat"},
             "metadata": {**METADATA, "ls_model_name": "qwen3-4b", "langgraph_node": "agent"}}  # fmt: skip
    generation = {"text": said["content"] or "", "type": "ChatGeneration", "message": serialised(said)}
    return {
        "inputs": {"messages": [[serialised(m) for m in given]]},
        "outputs": {"generations": [[generation]], "llm_output": {"model_name": "qwen3-4b"}},
        "extra": extra,
    }


def serialised(message: dict[str, Any]) -> dict[str, Any]:
    """Spell a message as LangChain's dumpd does."""
    name, kind = {
        "system": ("SystemMessage", "system"),
        "user": ("HumanMessage", "human"),
        "assistant": ("AIMessage", "ai"),
        "tool": ("ToolMessage", "tool"),
    }[message["role"]]
    kwargs: dict[str, Any] = {"content": message["content"] or "", "type": kind, "id": "run-1"}
    if message["role"] == "tool":
        kwargs |= {"tool_call_id": message["tool_call_id"], "status": "success"}
    if message.get("tool_calls"):
        kwargs["additional_kwargs"] = {"tool_calls": message["tool_calls"]}
        kwargs["tool_calls"] = [{
            "name": c["function"]["name"], "args": json.loads(c["function"]["arguments"]), "id": c["id"],
            "type": "tool_call",
        } for c in message["tool_calls"]]  # fmt: skip
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": kwargs}


def tool_call(dialect: str) -> dict[str, Any]:
    if dialect == "openai":
        return {"inputs": {"order_id": "A-1001"}, "outputs": {"output": RESULT}}
    if dialect == "langchain":
        spelled = f"content={RESULT!r} name='get_order' tool_call_id='call_1'"
        return {"inputs": {"input": "{'order_id': 'A-1001'}"}, "outputs": {"output": spelled}}
    answer = {
        "content": RESULT,
        "type": "tool",
        "name": "get_order",
        "tool_call_id": "call_1",
        "status": "success",
    }
    return {"inputs": {"input": "{'order_id': 'A-1001'}"}, "outputs": {"output": answer}}


def feedback_of(trace: int, number: int = 0, run: int = 0, at: int = START, **fields: Any) -> dict[str, Any]:
    """Make feedback on a run."""
    return {
        "id": uuid(trace, 0xFEED0000 + number), "key": "correctness", "score": None, "value": None,
        "comment": None, "correction": None, "run_id": uuid(trace, run), "trace_id": uuid(trace),
        "session_id": PROJECT, "created_at": iso(at), "modified_at": iso(at),
        "feedback_source": {"type": "api", "metadata": {}}, **fields,
    }  # fmt: skip
