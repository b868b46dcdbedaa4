"""Restate's admin SQL before a stub that answers as a server of 1.7.12 did."""

from __future__ import annotations

import json
import re
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
from strop.sources.workflows.restate import Restate

DAY_1 = Window(ns("2026-11-20"), ns("2026-11-21"))


def octets(value: Any) -> list[int]:
    return list(json.dumps(value).encode())


def invocation(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"inv_{number:04d}", "target_service_name": "Tickets", "target_service_key": "order-0042",
        "target_handler_name": "run", "target_service_ty": "workflow", "invoked_by_id": None,
        "status": "completed", "completion_result": "success", "completion_failure": None,
        "created_at": "2026-11-20T10:00:00.250Z", "completed_at": "2026-11-20T10:00:05Z",
        **more,
    }  # fmt: skip


def journal(number: int) -> list[dict[str, Any]]:
    target = {"Service": {"name": "Bank", "handler": "pay"}}
    request = {
        "invocation_id": "inv_9",
        "invocation_target": target,
        "parameter": octets({"amount": "010.00"}),
    }
    ran = {"in": {"tracking": "007"}, "out": {"eta": "soon"}}
    down = {"Failure": {"code": 500, "message": "down"}}
    paid = {"completion_id": 3, "result": {"Success": octets("paid")}}
    approved = {"completion_id": 6, "result": {"Success": octets("yes")}}
    ticket = octets({"ticket": "00340434161094042557"})
    entries: list[dict[str, Any]] = [
        {"Command": {"Input": {"headers": [], "payload": ticket, "name": ""}}},
        {"Command": {"Run": {"completion_id": 1, "name": "lookup"}}},
        {"Notification": {"Completion": {"Run": {"completion_id": 1, "result": {"Success": octets(ran)}}}}},
        {"Command": {"Call": {"request": request, "result_completion_id": 3, "name": ""}}},
        {"Command": {"Run": {"completion_id": 4, "name": "mail"}}},
        {"Notification": {"Completion": {"Run": {"completion_id": 4, "result": down}}}},
        {"Notification": {"Completion": {"Call": paid}}},
        {"Command": {"Sleep": {"wake_up_time": 1, "completion_id": 5, "name": ""}}},
        {"Command": {"GetPromise": {"key": "approval", "completion_id": 6, "name": ""}}},
        {"Notification": {"Completion": {"GetPromise": approved}}},
        {"Notification": {"Signal": {"id": {"Index": 17}, "result": {"Success": octets({"n": 1})}}}},
        {"Notification": {"Signal": {"id": {"Index": 1}, "result": "Void"}}},
        {"Command": {"Output": {"result": {"Success": octets({"status": "delivered"})}, "name": ""}}},
    ]  # fmt: skip
    return [
        {"id": f"inv_{number:04d}", "index": i, "version": 2, "entry_json": json.dumps(e),
         "appended_at": f"2026-11-20T10:00:{i:02d}Z", "entry_type": "-"}
        for i, e in enumerate(entries)
    ]  # fmt: skip


def server(invocations: list[dict[str, Any]], journals: list[dict[str, Any]]) -> Callable[[Asked], Reply]:
    def reply(asked: Asked) -> Reply:
        if asked.path == "/version":
            return ok({"version": "1.7.12"})
        sql = asked.body["query"]
        if "FROM sys_journal" in sql:
            ids = set(re.findall(r"'(inv_\w+)'", sql))
            return ok({"rows": [e for e in journals if e["id"] in ids]})
        if " id IN " in sql:
            ids = set(re.findall(r"'(inv_\w+)'", sql))
            return ok({"rows": [{"id": i["id"], "invoked_by_id": i["invoked_by_id"]} for i in invocations
                                if i["id"] in ids]})  # fmt: skip
        after = re.search(r"AND id > '(\w+)'", sql)
        left = [i for i in invocations if after is None or i["id"] > after.group(1)]
        return ok({"rows": left[: int(sql.rpartition("LIMIT ")[2])]})

    return reply


@contextmanager
def restate(reply: Callable[[Asked], Reply], **more: Any) -> Iterator[tuple[Restate, list[Asked]]]:
    with answering(reply) as (url, seen):
        source = Source(name="flows", kind="restate", url=url, **more)
        platform = Restate(source, user=None, key="token", sleep=lambda _: None)
        try:
            yield platform, seen
        finally:
            platform.close()


def test_an_invocation_is_a_trace() -> None:
    with restate(server([invocation(1)], journal(1)), query="target_service_name = 'Tickets'") as (
        platform,
        seen,
    ):
        assert platform.probe().version == "1.7.12"
        (page,) = platform.fetch(DAY_1)
        made = platform.assemble([*page.rows, *page.rows])
        (trace,) = made.traces
        assert not list(platform.scores(DAY_1))
    assert seen[1].headers["Authorization"] == "Bearer token"
    assert seen[1].headers["Accept"] == "application/json"
    assert (
        "WHERE status = 'completed' AND completed_at >= TIMESTAMP '2026-11-20T00:00:00Z'"
        " AND completed_at < TIMESTAMP '2026-11-21T00:00:00Z'"
    ) in seen[1].body["query"]
    assert made.by_end
    assert "AND (target_service_name = 'Tickets')" in seen[1].body["query"]
    messages = trace.episodes[0].messages
    assert [(c.name, c.arguments) for c in tool_calls_of(messages)] == [
        ("lookup", '{"tracking": "007"}'), ("Bank.pay", '{"amount": "010.00"}'), ("mail", "{}")]  # fmt: skip
    assert [m.content for m in messages if m.role == "tool"] == [
        '{"eta": "soon"}',
        "paid",
        '{"error": "down"}',
    ]
    assert [m.content for m in messages if m.role == "user"] == [
        '{"ticket": "00340434161094042557"}', "yes", '{"n": 1}']  # fmt: skip
    assert messages[-1].content == '{"status": "delivered"}'
    assert (trace.workflow_id, trace.source_id, trace.agent) == ("order-0042", "inv_0001", "Tickets.run")
    assert trace.started_at == ns("2026-11-20T10:00:00.25Z")
    assert trace.ended_at == ns("2026-11-20T10:00:05Z")
    assert trace.attributes["workflow.root_id"] == "inv_0001"
    assert trace.problems == ("the engine recorded no arguments of 1 steps",)


def test_a_family_has_one_root_however_deep_it_is() -> None:
    listed = [invocation(i, invoked_by_id=None if i == 1 else f"inv_{i - 1:04d}") for i in range(1, 60)]
    with restate(server(listed, [e for i in range(1, 60) for e in journal(i)])) as (platform, _):
        traces = [t for p in platform.fetch(DAY_1) for t in platform.assemble(p.rows).traces]
    assert len(traces) == 59
    assert {t.attributes["workflow.root_id"] for t in traces} == {"inv_0001"}
    assert traces[-1].attributes["workflow.parent_id"] == "inv_0058"


def test_pages_go_on_after_their_last_id() -> None:
    many = [invocation(i) for i in range(101)]
    with restate(server(many, [e for i in range(101) for e in journal(i)])) as (platform, _):
        pages = list(platform.fetch(DAY_1))
        again = list(platform.fetch(DAY_1, pages[0].cursor))
        traces = [t for p in pages for t in platform.assemble(p.rows).traces]
    assert [len(p.rows) for p in pages] == [50, 50, 1]
    assert [len(p.rows) for p in again] == [50, 1]
    assert len({t.source_id for t in traces}) == 101


def test_what_cannot_be_read_is_counted() -> None:
    old = [{**e, "id": "inv_0003", "version": 1} for e in journal(3)]
    failed = invocation(
        4, completion_result="failure", completion_failure="[500] no stock", target_service_ty="service"
    )
    listed = [invocation(1, completed_at=None), invocation(2), invocation(3), failed]
    with restate(server(listed, [*journal(1), *old, *journal(4)])) as (platform, _):
        made = platform.assemble([r for p in platform.fetch(DAY_1) for r in p.rows])
    assert [(s.item, s.reason) for s in made.skipped] == [
        ("flows:inv_0001", "the run can't be understood: ValueError"),
        ("flows:inv_0002", "the journal is gone: its retention is over"),
        ("flows:inv_0003", "the journal is of version 1 (Restate before 1.3), which is not read"),
    ]
    (trace,) = made.traces
    assert (trace.status, trace.error, trace.workflow_id) == ("error", "[500] no stock", "inv_0004")


def test_a_server_that_does_not_answer_as_documented_is_an_error() -> None:
    with (
        restate(lambda _: ok({"result": []})) as (platform, _),
        pytest.raises(OutsideServiceError, match="no rows"),
    ):
        list(platform.fetch(DAY_1))
    stuck = [invocation(i) for i in range(50)]
    with (
        restate(lambda a: ok({"rows": [] if "sys_journal" in a.body["query"] else stuck})) as (platform, _),
        pytest.raises(OutsideServiceError, match="does not advance"),
    ):
        list(platform.fetch(DAY_1))
    with pytest.raises(ConfigError, match="needs url"):
        Restate(Source(name="flows", kind="restate"), user=None, key=None)


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.builds(list), st.builds(dict),
    st.just("[1]"), st.just('{"Command": {"Run": 1}}'),
    st.just('{"Notification": {"Completion": {"Run": []}}}'),
)  # fmt: skip


def test_a_damaged_journal_is_a_trace_or_skipped() -> None:
    platform = Restate(Source(name="flows", kind="restate", url="http://127.0.0.1:9"), user=None, key=None)

    @given(st.data())
    def damage(data: st.DataObject) -> None:
        row: dict[str, Any] = {"invocation": invocation(1), "journal": journal(1), "root": "inv_0001"}
        for _ in range(data.draw(st.integers(1, 3))):
            entry = data.draw(st.sampled_from(row["journal"]))
            key = data.draw(st.sampled_from(["index", "version", "entry_json", "appended_at"]))
            entry[key] = data.draw(junk)
        key = data.draw(st.sampled_from([k for k in row["invocation"] if k not in ("id", "status")]))
        row["invocation"][key] = data.draw(junk)
        made = platform.assemble([row])
        assert len(made.traces) + len(made.skipped) == 1

    damage()
    platform.close()
