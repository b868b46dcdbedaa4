"""A stand-in for a Log Analytics workspace: tables with their real column names, and strop's queries.

It is no KQL engine: each leg of a union (`Table | project ...`) is evaluated as it is written, so that a
column that no table has is an error here too; what follows the unions is done by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from stub import Asked, Reply, answering

from strop.sources.platform import iso
from strop.sources.spans.span import Span, SpanEvent

Row = dict[str, Any]
Tables = dict[str, list[Row]]

CONTENT = {
    "gen_ai.input.messages": "InputMessages", "gen_ai.output.messages": "OutputMessages",
    "gen_ai.system_instructions": "SystemInstructions", "gen_ai.tool.definitions": "ToolDefinitions",
    "gen_ai.tool.call.arguments": "ToolCallArguments", "gen_ai.tool.call.result": "ToolCallResult",
    "gen_ai.evaluation.explanation": "EvaluationExplanation",
}  # fmt: skip
SPAN_TABLES = ("AppDependencies", "AppRequests", "dependencies", "requests")
EVENT_TABLES = ("AppTraces", "AppEvents", "traces", "customEvents")
_LEG = re.compile(r"\((\w+) \| project (.*?)\)(?=,\n|;|\n    \||\n)", re.S)
_CLASSIC = {
    "TimeGenerated": "timestamp", "OperationId": "operation_Id", "ParentId": "operation_ParentId", "Id": "id",
    "Name": "name", "Message": "message", "DurationMs": "duration", "Success": "success",
    "ResultCode": "resultCode", "Properties": "customDimensions", "SessionId": "session_Id",
    "UserAuthenticatedId": "user_AuthenticatedId", "AppRoleName": "cloud_RoleName", "ItemCount": "itemCount",
}  # fmt: skip


def log_analytics_row(envelope: Row) -> tuple[str, Row]:
    """Return the table and the row that ingestion makes of an exporter's envelope."""
    kind, data, tags = envelope["data"]["baseType"], envelope["data"]["baseData"], envelope["tags"]
    row: Row = {
        "TimeGenerated": envelope["time"],
        "OperationId": tags.get("ai.operation.id", ""),
        "ParentId": tags.get("ai.operation.parentId", ""),
        "SessionId": tags.get("ai.session.id", ""),
        "UserAuthenticatedId": tags.get("ai.user.authUserId", ""),
        "AppRoleName": tags.get("ai.cloud.role", ""),
        "ItemCount": round(100 / envelope.get("sampleRate", 100.0)),
        "Properties": json.dumps(data.get("properties") or {}, ensure_ascii=False),
    }
    if kind == "MessageData":
        return "AppTraces", {**row, "Message": data["message"]}
    if kind == "EventData":
        return "AppEvents", {**row, "Name": data["name"]}
    row |= {
        "Id": data["id"],
        "Name": data["name"],
        "DurationMs": _milliseconds(data["duration"]),
        "Success": data["success"],
        "ResultCode": data.get("resultCode", data.get("responseCode", "")),
    }
    return ("AppRequests" if kind == "RequestData" else "AppDependencies"), row


def _milliseconds(duration: str) -> float:
    days, hours, minutes, seconds = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d+):(.+)", duration).groups()  # type: ignore[union-attr]
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60_000 + float(seconds) * 1000


def classic(row: Row) -> Row:
    """Return a row with the column names of the classic tables."""
    return {_CLASSIC[k]: v for k, v in row.items()}


def protected(tables: Tables) -> Tables:
    """Return the tables as ingestion fills them since 2026-09-30: content in a table of its own."""
    out: Tables = {"AppGenAIContent": []}
    for name, rows in tables.items():
        out[name] = []
        for row in rows:
            properties = json.loads(row["Properties"])
            content = {c: properties[k] for k, c in CONTENT.items() if k in properties}
            if content:
                key = f"content-{len(out['AppGenAIContent'])}"
                properties |= {k: f"AppGenAIContent/{key}" for k in CONTENT if k in properties}
                properties["_MS.GenAIContentId"] = key
                empty = dict.fromkeys(CONTENT.values(), "")
                out["AppGenAIContent"].append(
                    {
                        **empty,
                        "TimeGenerated": row["TimeGenerated"],
                        "SpanId": row.get("Id", row["ParentId"]),
                        "Id": key,
                        **content,
                    }
                )
            out[name].append({**row, "Properties": json.dumps(properties, ensure_ascii=False)})
    return out


def answer(query: str, tables: Tables) -> list[Row]:
    """Return the rows of one of strop's queries."""
    if "print Rows" in query:
        return [{"Rows": int(bool(tables.get("AppGenAIContent")))}]
    first, last = (_time(t) for t in re.findall(r"datetime\(([^)]+)\)", query)[:2])
    legs = dict(_LEG.findall(query))
    spans = [_projected(r, legs[t]) for t in SPAN_TABLES for r in tables.get(t, [])]
    events = [_projected(r, legs[t]) for t in EVENT_TABLES for r in tables.get(t, [])]
    if "let evaluations" in query:
        return _evaluations(spans, events, tables.get("AppGenAIContent", []), first, last)
    began: dict[str, datetime] = {}
    assert {*re.findall(r"(?:from|to)Time [-+] (\w+)", query)} == {"1d"}
    day = timedelta(days=1)
    spans = [s for s in spans if first - day <= _time(s["TimeGenerated"]) < last + day]
    for span in spans:
        at = _time(span["TimeGenerated"])
        began[span["TraceId"]] = min(at, began.get(span["TraceId"], at))
    about = {s["TraceId"] for s in spans if "gen_ai" in s["Properties"] or "openinference" in s["Properties"]}
    runs = {t for t, at in began.items() if first <= at < last and t in about}
    ids = {s["SpanId"] for s in spans if s["TraceId"] in runs}
    leg = re.search(r"AppGenAIContent \| project (.*?)\n\s+\| where", query, re.S)
    assert leg is not None
    content = [_projected(r, leg[1]) for r in tables.get("AppGenAIContent", [])]
    found = [r for r in [*spans, *events] if r["TraceId"] in runs]
    found += [r for r in content if r["SpanId"] in ids]
    return sorted(found, key=lambda r: str(r["TimeGenerated"]))


def _evaluations(
    spans: list[Row], events: list[Row], content: list[Row], first: datetime, last: datetime
) -> list[Row]:
    said = {c["Id"]: c["EvaluationExplanation"] for c in content}
    answers = {json.loads(s["Properties"]).get("gen_ai.response.id"): s["TraceId"] for s in spans}
    return [
        {
            **{k: e[k] for k in ("TimeGenerated", "TraceId", "ParentId", "Properties")},
            "AnsweredIn": answers.get(json.loads(e["Properties"]).get("gen_ai.response.id", "?"), ""),
            "Explanation": said.get(json.loads(e["Properties"]).get("_MS.GenAIContentId"), ""),
        }
        for e in events
        if e["Name"] == "gen_ai.evaluation.result" and first <= _time(e["TimeGenerated"]) < last
    ]


def _projected(row: Row, project: str) -> Row:
    out: Row = {}
    for item in re.split(r",\s+", project.strip()):
        name, equals, expression = item.partition("=")
        expression = expression if equals else name
        literal = re.fullmatch(r'"(\w*)"', expression)
        column = re.fullmatch(r"(?:(toint|todouble|tostring)\()?(\w+)\)?", expression)
        assert literal or column, f"not understood: {item}"
        if literal:
            out[name] = literal[1]
        elif column:
            value = row[column[2]]
            out[name] = str(value).lower() if column[1] == "tostring" and isinstance(value, bool) else value
    return out


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def result(rows: list[Row]) -> Row:
    """Return rows as the query API answers them."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["Kind"]
    kinds = {"DurationMs": "real", "ItemCount": "int", "TimeGenerated": "datetime", "Properties": "dynamic"}
    columns = [{"name": n, "type": kinds.get(n, "string")} for n in names]
    values = [[row.get(n) for n in names] for row in rows]
    return {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": values}]}


@contextmanager
def workspace(tables: Tables, faults: list[tuple[int, Row]] | None = None) -> Iterator[tuple[str, list[Row]]]:
    """Serve the query API; `faults` are status and body of the first answers. Yields address and requests."""
    asked: list[Row] = []

    def reply(request: Asked) -> Reply:
        asked.append({"path": request.path, "headers": request.headers, **request.body})
        status, given = faults.pop(0) if faults else (200, result(answer(request.body["query"], tables)))
        return status, {"Retry-After": "7"} if status == 429 else {}, json.dumps(given).encode()

    with answering(reply) as (url, _):
        yield url, asked


def exported(span: Span) -> list[Row]:
    """Return the envelopes that Azure Monitor's exporter (1.0.0b58) writes of a span and its events."""
    tags: Row = {"ai.operation.id": span.trace_id, "ai.cloud.role": span.resource.get("service.name", "")}
    own = dict(tags)
    if span.parent_id:
        own["ai.operation.parentId"] = span.parent_id
    for key, tag in (("session.id", "ai.session.id"), ("enduser.id", "ai.user.authUserId")):
        if key in span.attributes:
            own[tag] = span.attributes[key]
    seconds = (span.ended_at - span.started_at) / 1e9
    base: Row = {
        "id": span.span_id,
        "name": span.name,
        "duration": f"0.00:00:{seconds:06.3f}",
        "success": span.status == "ok",
        "resultCode": "0",
        "properties": _as_text(span.attributes),
    }
    main = {
        "time": iso(span.started_at),
        "tags": own,
        "data": {"baseType": "RemoteDependencyData", "baseData": base},
    }
    return [main, *(_event_envelope(span, tags, e) for e in span.events)]


def _event_envelope(span: Span, tags: Row, event: SpanEvent) -> Row:
    return {
        "time": iso(event.at),
        "tags": {**tags, "ai.operation.parentId": span.span_id},
        "data": {
            "baseType": "MessageData",
            "baseData": {"message": event.name, "properties": _as_text(event.attributes)},
        },
    }


def _as_text(attributes: Row) -> Row:
    """Attributes as properties: text, lists as tuples in text, cut at 8192 unless they are content."""
    out: Row = {}
    for key, value in attributes.items():
        if key in ("session.id", "enduser.id"):
            continue
        text = str(tuple(value)) if isinstance(value, list) else str(value)
        out[key] = text if key in CONTENT else text[:8192]
    return out


def tables_of(envelopes: list[Row]) -> Tables:
    """Return the workspace's tables as ingestion fills them from envelopes."""
    tables: Tables = {}
    for envelope in envelopes:
        name, row = log_analytics_row(envelope)
        tables.setdefault(name, []).append(row)
    return tables
