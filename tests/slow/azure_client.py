"""Azure Monitor's own exporter and query client, on loopback: `python azure_client.py export|query ADDRESS`.

Runs in an environment with azure-monitor-opentelemetry-exporter and azure-monitor-query, not in strop's.
export: spans as JSON on standard input. query: workspace, query and times as JSON there, rows as JSON out.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from azure.core.credentials import AccessToken
from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter
from azure.monitor.query import LogsQueryClient
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags


def span(given: dict[str, Any]) -> ReadableSpan:
    def context(span_id: str) -> SpanContext:
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(int(given["trace_id"], 16), int(span_id, 16), is_remote=False, trace_flags=flags)

    return ReadableSpan(
        given["name"],
        context=context(given["span_id"]),
        parent=context(given["parent_id"]) if given["parent_id"] else None,
        resource=Resource(given["resource"]),
        attributes=listed(given["attributes"]),
        events=[Event(e["name"], listed(e["attributes"]), e["at"]) for e in given["events"]],
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.OK if given["status"] == "ok" else StatusCode.ERROR),
        start_time=given["started_at"],
        end_time=given["ended_at"],
    )


def listed(attributes: dict[str, Any]) -> dict[str, Any]:
    """The SDK keeps lists as tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()}


def export(address: str) -> None:
    key = "00000000-0000-0000-0000-000000000001"
    exporter = AzureMonitorTraceExporter(
        connection_string=f"InstrumentationKey={key};IngestionEndpoint={address}/",
        disable_offline_storage=True,
    )
    result = exporter.export([span(s) for s in json.load(sys.stdin)])
    exporter.shutdown()
    print(result.name)


class Token:
    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("token", 4_000_000_000)


def query(address: str) -> None:
    asked = json.load(sys.stdin)
    client = LogsQueryClient(Token(), endpoint=f"{address}/v1")
    times = tuple(datetime.fromisoformat(t) for t in asked["times"])
    answer = client.query_workspace(asked["workspace"], asked["query"], timespan=times, enforce_https=False)
    table = (answer.tables if answer.status == "Success" else answer.partial_data)[0]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    print(json.dumps({"status": str(answer.status), "rows": rows}, default=str))


if __name__ == "__main__":
    {"export": export, "query": query}[sys.argv[1]](sys.argv[2])
