"""Spans as rows of a table, as Phoenix's dataframes and ClickHouse's OTel tables hold them."""

from __future__ import annotations

from typing import Any

import pytest

from strop.sources.files.span_rows import read_span
from strop.sources.platform import ns

START = ns("2026-11-23T06:32:05.643431123Z")


def clickhouse(**changes: Any) -> dict[str, Any]:
    """A row of `otel_traces`, as the collector's exporter fills it."""
    row = {
        "Timestamp": "2026-11-23 06:32:05.643431123", "TraceId": "0af7651916cd43dd8448eb211c80319c",
        "SpanId": "00f067aa0ba902b7", "ParentSpanId": "", "SpanName": "chat m", "Duration": 1_500_000,
        "StatusCode": "STATUS_CODE_UNSET", "ResourceAttributes": [{"key": "service.name", "value": "agent"}],
        "SpanAttributes": [{"key": "gen_ai.operation.name", "value": "chat"}, {"key": "id", "value": "0017"}],
        "Events.Timestamp": ["2026-11-23 06:32:06", "2026-11-23 06:32:07"],
        "Events.Name": ["gen_ai.user.message", "gen_ai.choice"],
        "Events.Attributes": [[{"key": "content", "value": "Hi"}], {"index": "0"}],
    }  # fmt: skip
    return {**row, **changes}


def test_a_row_of_clickhouse_is_a_span_with_its_events() -> None:
    span = read_span(clickhouse())
    assert (span.trace_id, span.span_id, span.parent_id) == (
        "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", None,
    )  # fmt: skip
    assert (span.started_at, span.ended_at) == (START, START + 1_500_000)
    assert span.attributes == {"gen_ai.operation.name": "chat", "id": "0017"}
    assert span.resource == {"service.name": "agent"}
    assert [(e.name, e.at, e.attributes) for e in span.events] == [
        ("gen_ai.user.message", ns("2026-11-23T06:32:06Z"), {"content": "Hi"}),
        ("gen_ai.choice", ns("2026-11-23T06:32:07Z"), {"index": "0"}),
    ]


def test_events_in_columns_of_different_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        read_span(clickhouse(**{"Events.Name": ["gen_ai.choice"] * 3}))


def test_a_row_of_phoenix_is_a_span() -> None:
    span = read_span({
        "context.trace_id": "a" * 32, "context.span_id": "b" * 16, "parent_id": "c" * 16, "name": "chat",
        "span_kind": "LLM", "status_code": "ERROR", "status_message": "too long", "start_time": START,
        "end_time": START // 1000 + 5, "attributes.llm.model_name": "m", "attributes.llm.provider": None,
        "events": [{"name": "exception", "timestamp": START // 1_000_000, "attributes": {"a": 1}}],
    })  # fmt: skip
    assert (span.parent_id, span.status, span.error) == ("c" * 16, "error", "too long")
    assert span.attributes == {"llm.model_name": "m", "openinference.span.kind": "LLM"}
    assert (span.started_at, span.ended_at) == (START, START // 1000 * 1000 + 5000)
    assert [(e.name, e.at) for e in span.events] == [("exception", START // 1_000_000 * 1_000_000)]


@pytest.mark.parametrize("missing", [{"TraceId": ""}, {"SpanId": "0" * 16}, {"Timestamp": "yesterday"}])
def test_what_is_no_span_is_an_error(missing: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no trace id|Invalid isoformat"):
        read_span(clickhouse(**missing))
