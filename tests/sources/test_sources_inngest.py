"""Inngest's REST API before a stub that answers as its protocol file says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub import Asked, Reply, answering, ok

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import tool_calls_of
from strop.sources.platform import Window, ns
from strop.sources.workflows.inngest import Inngest

DAY_1 = Window(ns("2026-11-20"), ns("2026-11-21"))
GONE: Reply = (404, {}, b'{"errors": []}')


def run(number: int, status: str = "COMPLETED") -> dict[str, Any]:
    return {
        "id": f"01RUN{number}",
        "function": {"id": "handle-ticket", "name": "Handle ticket"},
        "status": status,
        "queuedAt": "2026-11-20T10:00:00Z",
        "startedAt": "2026-11-20T10:00:01Z",
        "endedAt": "2026-11-20T10:00:09Z",
        "durationMs": "8000",
        "trigger": {"eventIds": [f"01EVT{number}"], "eventName": "ticket/opened"},
    }


def span(name: str, second: int, op: str | None, **more: Any) -> dict[str, Any]:
    at = f"2026-11-20T10:00:{second:02d}"
    return {"id": f"span-{second}", "name": name, "status": "COMPLETED", "startedAt": f"{at}.1Z",
            "endedAt": f"{at}.9Z", **({"stepOp": op, "stepId": name} if op else {}), **more}  # fmt: skip


def trace(number: int) -> dict[str, Any]:
    attempts = [span(f"Attempt {i}", 4, None) for i in range(3)]
    children = [
        span("mail", 8, "RUN", status="FAILED", output={"error": {"name": "Error", "message": "down"}}),
        span("lookup", 2, "RUN", input={"data": [{"tracking": "007"}]}, output={"data": {"eta": "soon"}}),
        span("nap", 3, "SLEEP"),
        span("charge", 4, "RUN", output={"data": "paid"}, children=attempts),
        span("approval", 6, "WAIT_FOR_EVENT", output={"name": "approved", "data": {"by": "0042"}}),
    ]
    root = {**span("run", 1, None, output={"data": {"status": "delivered"}}), "children": children}
    return {"runId": f"01RUN{number}", "rootSpan": root}


def event(number: int) -> dict[str, Any]:
    return {"internal_id": f"01EVT{number}", "name": "ticket/opened", "user": {"email": "a@b.example"},
            "data": {"ticket": "00340434161094042557", "customer": {"id": "0042"}}}  # fmt: skip


def server(runs: list[dict[str, Any]], size: int = 2) -> Callable[[Asked], Reply]:
    def reply(asked: Asked) -> Reply:
        if asked.path.startswith("/v1/events/"):
            number = asked.path[-1]
            return GONE if number == "9" else ok({"data": event(int(number)), "metadata": {}})
        if asked.path.endswith("/trace"):
            number = asked.path.split("/")[-2][-1]
            return GONE if number == "8" else ok({"data": trace(int(number)), "metadata": {}})
        at = int(asked.one("cursor", "0"))
        more = at + size < len(runs)
        page = {"hasMore": more, "limit": size, **({"cursor": str(at + size)} if more else {})}
        return ok({"data": runs[at : at + size], "metadata": {}, "page": page})

    return reply


@contextmanager
def inngest(reply: Callable[[Asked], Reply], **more: Any) -> Iterator[tuple[Inngest, list[Asked]]]:
    with answering(reply) as (url, seen):
        source = Source(name="flows", kind="inngest", url=url, **more)
        platform = Inngest(source, user=None, key="signkey", sleep=lambda _: None)
        try:
            yield platform, seen
        finally:
            platform.close()


def test_a_run_is_a_trace() -> None:
    with inngest(server([run(1)]), query="handle-ticket") as (platform, seen):
        assert platform.probe().api == "v2"
        (page,) = platform.fetch(DAY_1)
        (made,) = platform.assemble([*page.rows, *page.rows]).traces
        assert not list(platform.scores(DAY_1))
    listing = seen[1]
    assert (listing.path, listing.one("timeField"), listing.one("order")) == (
        "/api/v2/runs",
        "endedAt",
        "ASC",
    )
    assert (listing.one("from"), listing.one("until")) == ("2026-11-19T23:59:59Z", "2026-11-21T00:00:01Z")
    assert (listing.one("functionId"), listing.headers["Authorization"]) == (
        "handle-ticket",
        "Bearer signkey",
    )
    assert [a.path for a in seen[2:]] == ["/api/v2/runs/01RUN1/trace", "/v1/events/01EVT1"]
    assert seen[2].one("includeOutput") == "true"
    messages = made.episodes[0].messages
    assert [(c.name, c.arguments) for c in tool_calls_of(messages)] == [
        ("lookup", '{"tracking": "007"}'), ("charge", "{}"), ("mail", "{}")]  # fmt: skip
    assert [m.content for m in messages if m.role == "tool"] == [
        '{"eta": "soon"}', "paid", '{"error": "Error: down"}']  # fmt: skip
    assert json.loads(messages[0].content or "")["ticket"] == "00340434161094042557"
    assert [m.content for m in messages if m.role == "user"][
        1
    ] == '{"name": "approved", "data": {"by": "0042"}}'
    assert messages[-1].content == '{"status": "delivered"}'
    assert (made.workflow_id, made.customer, made.agent) == ("01RUN1", "0042", "Handle ticket")
    assert (made.started_at, made.ended_at) == (ns("2026-11-20T10:00:00Z"), ns("2026-11-20T10:00:09Z"))
    assert made.attributes["workflow.attempts"] == {"span-4": 3}


def test_pages_go_on_from_their_cursor_and_all_is_counted() -> None:
    runs = [run(1), run(8), run(9), run(2, "RUNNING"), run(3, "FUNCTION_RUN_STATUS_CANCELLED")]
    runs[2].pop("endedAt")
    with inngest(server(runs)) as (platform, _):
        pages = list(platform.fetch(DAY_1))
        again = list(platform.fetch(DAY_1, pages[1].cursor))
        made = platform.assemble([r for p in pages for r in p.rows])
    assert [[r["run"]["id"] for r in p.rows] for p in pages] == [["01RUN1", "01RUN8"], ["01RUN9"], ["01RUN3"]]
    assert [r["run"]["id"] for p in again for r in p.rows] == ["01RUN3"]
    assert made.by_end
    assert {s.item: s.reason for s in made.skipped} == {
        "flows:01RUN8": "the run's trace is gone: its retention is over",
    }
    found = {t.source_id: t for t in made.traces}
    assert found["01RUN9"].ended_at == ns("2026-11-20T10:00:01.9Z")  # the trace's own end
    assert found["01RUN9"].problems[0] == "the event that began the run is gone"
    assert (found["01RUN3"].status, found["01RUN3"].error) == ("error", "the run ended as cancelled")


def test_a_step_that_had_not_ended_has_no_result() -> None:
    def reply(asked: Asked) -> Reply:
        if not asked.path.endswith("/trace"):
            return server([run(1, "CANCELLED")])(asked)
        cancelled = trace(1)
        cancelled["rootSpan"]["children"] = [span("charge", 4, "RUN", status="RUNNING", output=None)]
        return ok({"data": cancelled})

    with inngest(reply) as (platform, _):
        (made,) = platform.assemble([r for p in platform.fetch(DAY_1) for r in p.rows]).traces
    assert [m.role for m in made.episodes[0].messages] == ["user", "assistant"]
    assert made.problems[0] == "call charge has no result"


@pytest.mark.parametrize("page", [{"hasMore": True}, {"hasMore": True, "cursor": "7"}])
def test_a_cursor_that_does_not_advance_is_an_error(page: dict[str, Any]) -> None:
    with (
        inngest(lambda _: ok({"data": [], "page": page})) as (platform, _),
        pytest.raises(OutsideServiceError, match="cursor"),
    ):
        list(platform.fetch(DAY_1))


def test_the_source_needs_an_address() -> None:
    with pytest.raises(ConfigError, match="needs url"):
        Inngest(Source(name="flows", kind="inngest"), user=None, key=None)


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.builds(list), st.builds(dict)
)


def test_a_damaged_trace_is_a_trace_or_skipped() -> None:
    platform = Inngest(Source(name="flows", kind="inngest", url="http://127.0.0.1:9"), user=None, key=None)

    @given(st.data())
    def damage(data: st.DataObject) -> None:
        row: dict[str, Any] = {"run": run(1), "trace": trace(1), "events": [event(1)]}
        for _ in range(data.draw(st.integers(1, 4))):
            root = row["trace"]["rootSpan"]
            children = root.get("children")
            nodes = [root, row["trace"], row["events"][0], *(children if isinstance(children, list) else [])]
            node = data.draw(st.sampled_from([n for n in nodes if isinstance(n, dict)]))
            keys = [k for k in node if k != "rootSpan"]
            if keys:
                node[data.draw(st.sampled_from(keys))] = data.draw(junk)
        key = data.draw(st.sampled_from([k for k in row["run"] if k not in ("id", "status")]))
        row["run"][key] = data.draw(junk)
        made = platform.assemble([row])
        assert len(made.traces) + len(made.skipped) == 1

    damage()
    platform.close()
