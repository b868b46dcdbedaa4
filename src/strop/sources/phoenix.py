"""Spans of an Arize Phoenix server, over its REST API, into the same assembly as OTLP."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import httpx2

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import JsonObject, Skipped, Trace
from strop.sources.assemble import assemble
from strop.sources.spans import Span, SpanEvent

_HOUR = 3_600_000_000_000
_RETRIES = 5


def fetch(
    source: Source,
    api_key: str | None,
    *,
    since: str | None = None,
    page_size: int = 1000,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, Trace | Skipped]]:
    """Yield (cursor, trace), oldest spans first; `since` is a cursor, UTC ns as text.

    A trace is complete once an hour of later spans has gone by, or at the end. The cursor never passes
    the start of a trace that is still open, and the last hour is read again: late spans are found.
    Retries 429 and 5xx, heeding Retry-After. Raises OutsideServiceError.
    """
    open_traces: OrderedDict[str, list[Span]] = OrderedDict()
    now = 0
    for span in _spans(source, api_key, since, page_size, sleep):
        open_traces.setdefault(span.trace_id, []).append(span)
        open_traces.move_to_end(span.trace_id)
        now = max(now, span.started_at)
        while True:
            oldest = next(iter(open_traces.values()))
            if oldest[-1].started_at > now - _HOUR:
                break
            open_traces.popitem(last=False)
            mark = min([now - _HOUR, *(s[0].started_at for s in open_traces.values())])
            yield from ((str(mark), item) for item in _made(source, oldest))
    for spans in open_traces.values():
        mark = min(now - _HOUR, *(s[0].started_at for s in open_traces.values()))
        yield from ((str(mark), item) for item in _made(source, spans))


def _made(source: Source, spans: list[Span]) -> list[Trace | Skipped]:
    limit = source.max_trace_mb * (1 << 20)
    if sum(s.size for s in spans) > limit:
        reason = f"the trace is larger than {source.max_trace_mb:g} MB"
        return [Skipped("pull", f"{source.name}:{spans[0].trace_id}", reason)]
    traces, skipped = assemble(spans, source=source.name, customer_key=source.customer_key)
    return [*traces, *skipped]


def _spans(
    source: Source, api_key: str | None, since: str | None, page_size: int, sleep: Callable[[float], None]
) -> Iterator[Span]:
    if not source.url or not source.project:
        raise ConfigError(
            f"source {source.name} needs url and project", where="strop.toml, [[sources]]", fix="name both"
        )
    address = f"{source.url.rstrip('/')}/v1/projects/{source.project}/spans"
    params: dict[str, str | int] = {"limit": page_size, "sort": "start_time", "order": "asc"}
    if since is not None:
        params["start_time"] = datetime.fromtimestamp(int(since) / 1e9, UTC).isoformat()
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with httpx2.Client(headers=headers, timeout=60.0, trust_env=False) as client:
        while True:
            page = _get(client, address, params, sleep)
            for row in page.get("data") or []:
                yield _span(row)
            cursor = page.get("next_cursor")
            if not cursor:
                return
            params["cursor"] = cursor


def _get(
    client: httpx2.Client, address: str, params: dict[str, str | int], sleep: Callable[[float], None]
) -> JsonObject:
    problem = ""
    for attempt in range(_RETRIES):
        try:
            answer = client.get(address, params=params)
        except httpx2.HTTPError as error:
            problem, wait = f"{type(error).__name__}: {error}", 2.0**attempt
        else:
            if answer.status_code == 200:
                try:
                    return cast(JsonObject, answer.json())
                except ValueError as error:
                    raise OutsideServiceError("Phoenix answered no JSON", where=address) from error
            problem, wait = f"HTTP {answer.status_code}", _wait(answer, attempt)
            if answer.status_code not in (429, 500, 502, 503, 504):
                break
        if attempt < _RETRIES - 1:
            sleep(wait)
    raise OutsideServiceError(
        f"Phoenix does not answer: {problem}",
        where=address,
        fix="check url, project and api_key_env in strop.toml",
    )


def _wait(answer: httpx2.Response, attempt: int) -> float:
    given = answer.headers.get("retry-after", "")
    return min(60.0, float(given)) if given.isdigit() else 2.0**attempt


def _span(row: JsonObject) -> Span:
    failed = row.get("status_code") == "ERROR"
    context = row["context"]
    attributes: JsonObject = {
        "openinference.span.kind": row.get("span_kind"),
        **(row.get("attributes") or {}),
    }
    return Span(
        trace_id=context["trace_id"],
        span_id=context["span_id"],
        parent_id=row.get("parent_id") or None,
        name=str(row.get("name") or ""),
        started_at=_time(row["start_time"]),
        ended_at=_time(row.get("end_time") or row["start_time"]),
        status="error" if failed else "ok",
        error=(str(row.get("status_message") or "") or "error") if failed else None,
        attributes=attributes,
        events=tuple(
            SpanEvent(str(e["name"]), _time(e["timestamp"]), e.get("attributes") or {})
            for e in row.get("events") or []
        ),
        size=sum(len(v) for v in attributes.values() if isinstance(v, str)),
    )


def _time(value: Any) -> int:
    moment = datetime.fromisoformat(str(value))
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
