"""Small OTLP exports as JSON, for the tests of OTLP files and object stores."""

from __future__ import annotations

import json
from typing import Any

from strop.records import Trace


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def export(trace: int, *, root: bool, model: bool, at: int, text: str = "a") -> dict[str, Any]:
    spans: list[dict[str, Any]] = []
    start = at * 10**9
    if root:
        times = {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start)}
        spans.append({"traceId": f"{trace:032x}", "spanId": f"{trace:016x}", **times})
    if model:
        spans.append(
            {
                "traceId": f"{trace:032x}",
                "spanId": f"{trace + 4096:016x}",
                "parentSpanId": f"{trace:016x}",
                "startTimeUnixNano": str(start),
                "endTimeUnixNano": str(start),
                "attributes": [
                    attribute("gen_ai.operation.name", "chat"),
                    attribute("gen_ai.input.messages", json.dumps([{"role": "user", "content": "q"}])),
                    attribute("gen_ai.output.messages", json.dumps([{"role": "assistant", "content": text}])),
                ],
            }
        )
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def spread() -> list[dict[str, Any]]:
    """Three traces whose spans are spread over lines; the third begins two hours later."""
    return [
        export(1, root=False, model=True, at=1000),
        export(2, root=True, model=False, at=1001),
        export(1, root=True, model=False, at=1002),
        export(2, root=False, model=True, at=1003),
        export(3, root=True, model=True, at=9000),
    ]


def ids(items: list[Any]) -> list[int]:
    return [int(i.source_id, 16) for i in items if isinstance(i, Trace)]
