"""Temporal's histories as they are exported, and the connector before a server that answers from memory."""

from __future__ import annotations

import base64
import copy
import gzip
import importlib.util
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import Skipped, Trace, tool_calls_of
from strop.sources.platform import DAY, SECOND, Window
from strop.sources.workflows.temporal import Listed, Listing, Temporal
from strop.sources.workflows.temporal_history import read_history

SOURCE = Source(name="flows", kind="temporal", url="127.0.0.1:7233", customer_key="tenant")


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def payload(value: Any, encoding: str = "json/plain") -> dict[str, Any]:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return {"metadata": {"encoding": b64(encoding)}, "data": b64(data)}


def payloads(*values: Any) -> dict[str, Any]:
    return {"payloads": [payload(v) for v in values]}


class Book:
    """Writes a history, event by event, a second apart."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def add(self, kind: str, **attributes: Any) -> str:
        number = str(len(self.events) + 1)
        upper = "".join(f"_{c}" if c.isupper() else c.upper() for c in kind)
        self.events.append(
            {
                "eventId": number,
                "eventTime": f"2026-11-20T10:00:{len(self.events):02d}.123456789Z",
                "eventType": f"EVENT_TYPE_{upper}",
                f"{kind}EventAttributes": attributes,
            }
        )
        return number

    def started(self, **more: Any) -> Book:
        fields: dict[str, Any] = {
            "workflowType": {"name": "HandleTicket"},
            "input": payloads({"ticket": "00340434161094042557"}),
            "workflowId": "order-0042",
            "originalExecutionRunId": "run-1",
            "memo": {"fields": {"tenant": payload("0042")}},
        }
        self.add("workflowExecutionStarted", **{**fields, **more})
        return self

    def activity(self, name: str, given_: Any, result: Any, *, attempt: int = 1, turn: str = "") -> Book:
        number = self.add("activityTaskScheduled", activityId=f"a{len(self.events)}",
                          activityType={"name": name}, input=given_, workflowTaskCompletedEventId=turn
                          or str(len(self.events)))  # fmt: skip
        self.add("activityTaskStarted", scheduledEventId=number, attempt=attempt)
        self.add("activityTaskCompleted", scheduledEventId=number, result=result)
        return self

    def completed(self, result: Any) -> dict[str, Any]:
        self.add("workflowExecutionCompleted", result=result)
        return {"events": self.events}


def three_activities() -> dict[str, Any]:
    book = Book().started()
    book.activity("lookup", payloads({"tracking": "007"}), payloads({"eta": "soon"}))
    book.add("timerStarted", timerId="5")
    book.activity("charge", payloads("00042", 12345678901234567890123), payloads("paid"), attempt=3)
    book.activity("mail", None, None)
    return book.completed(payloads({"status": "delivered"}))


def made(raw: Any, **more: Any) -> Trace:
    trace = read_history(raw, SOURCE, **more)
    assert isinstance(trace, Trace), trace
    return trace


def test_an_exported_history_is_a_trace() -> None:
    trace = made(three_activities())
    messages = trace.episodes[0].messages
    assert [(c.name, c.arguments) for c in tool_calls_of(messages)] == [
        ("lookup", '{"tracking": "007"}'),
        ("charge", '{"args": ["00042", 12345678901234567890123]}'),
        ("mail", "{}"),
    ]
    assert [m.content for m in messages if m.role == "tool"] == ['{"eta": "soon"}', "paid", "null"]
    assert messages[0].content == '{"ticket": "00340434161094042557"}'
    assert messages[-1].content == '{"status": "delivered"}'
    assert (trace.workflow_id, trace.source_id, trace.customer) == ("order-0042", "run-1", "0042")
    assert list(trace.attributes["workflow.attempts"].values()) == [3]
    assert trace.started_at % SECOND == 123456789
    assert trace.status == "ok"
    assert not trace.problems


def test_the_command_lines_short_form_reads_the_same() -> None:
    def short(value: Any) -> Any:
        if isinstance(value, dict):
            if "payloads" in value:
                return [short(p) for p in value["payloads"]]
            if "data" in value:
                return json.loads(base64.b64decode(value["data"]))
            return {k: short(v) for k, v in value.items()}
        return [short(v) for v in value] if isinstance(value, list) else value

    whole = made(three_activities())
    assert made(short(three_activities())).episodes == whole.episodes
    assert made(three_activities()["events"][::-1]) == whole
    doubled = three_activities()
    assert made({"history": {"events": doubled["events"] * 2}}).episodes == whole.episodes


def test_activities_of_one_workflow_task_are_one_turn() -> None:
    book = Book().started()
    book.activity("a", payloads(1), payloads(1), turn="4").activity("b", payloads(2), payloads(2), turn="4")
    trace = made(book.completed(payloads("done")))
    assert [len(m.tool_calls) for m in trace.episodes[0].messages if m.tool_calls] == [2]


def test_children_nexus_and_local_activities_are_actions() -> None:
    book = Book().started(parentWorkflowExecution={"workflowId": "parent-1", "runId": "r"},
                          rootWorkflowExecution={"workflowId": "root-1", "runId": "r"})  # fmt: skip
    child = book.add("startChildWorkflowExecutionInitiated", workflowId="child-1",
                     workflowType={"name": "Refund"}, input=payloads({"amount": "010.00"}))  # fmt: skip
    book.add("childWorkflowExecutionStarted", initiatedEventId=child)
    book.add("childWorkflowExecutionCompleted", initiatedEventId=child, result=payloads("refunded"))
    operation = book.add("nexusOperationScheduled", service="Bank", operation="pay", input=payload({"n": 1}))
    book.add("nexusOperationCompleted", scheduledEventId=operation, result=payload("ok"))
    about = payload({"activity_type": "guess", "activity_id": "9", "attempt": 2})
    book.add("markerRecorded", markerName="core_local_activity",
             details={"data": {"payloads": [about]}, "result": payloads("g")})  # fmt: skip
    book.add("markerRecorded", markerName="Version", details={})
    trace = made(book.completed(None))
    calls = tool_calls_of(trace.episodes[0].messages)
    assert [(c.name, c.arguments) for c in calls] == [
        ("Refund", '{"amount": "010.00"}'), ("Bank.pay", '{"n": 1}'), ("guess", "{}")]  # fmt: skip
    assert [m.content for m in trace.episodes[0].messages if m.role == "tool"] == ["refunded", "ok", "g"]
    assert trace.attributes["workflow.parent_id"] == "parent-1"
    assert trace.attributes["workflow.root_id"] == "root-1"
    assert trace.problems == ("the engine recorded no arguments of 1 steps",)


def test_signals_and_updates_come_from_outside() -> None:
    book = Book().started()
    book.add("workflowExecutionSignaled", signalName="approve", input=payloads("yes"))
    book.add(
        "workflowExecutionUpdateAccepted",
        acceptedRequest={"input": {"name": "ask", "args": payloads("why?")}},
    )
    book.add("workflowExecutionUpdateCompleted", outcome={"success": payloads("because")})
    book.add("workflowExecutionUpdateCompleted", outcome={"failure": {"message": "too late"}})
    trace = made(book.completed(payloads("done")))
    said = [m.content for m in trace.episodes[0].messages if m.role == "assistant"]
    assert (said, trace.problems) == (["because", "done"], ("an update failed",))
    assert [m.content for m in trace.episodes[0].messages if m.role == "user"][1:] == ["yes", "why?"]


def test_failures_are_told_by_their_cause() -> None:
    book = Book().started()
    number = book.add(
        "activityTaskScheduled", activityId="1", activityType={"name": "charge"}, input=payloads(1)
    )
    cause = {"message": "no stock", "applicationFailureInfo": {"type": "ValueError"}}
    failure = {"message": "activity error", "cause": cause}
    book.add("activityTaskFailed", scheduledEventId=number, failure=failure)
    late = book.add("activityTaskScheduled", activityId="2", activityType={"name": "mail"}, input=None)
    book.add("activityTaskTimedOut", scheduledEventId=late)
    book.add("workflowExecutionFailed", failure={"message": "Activity task failed"})
    trace = made({"events": book.events})
    assert (trace.status, trace.error) == ("error", "Activity task failed")
    assert [m.content for m in trace.episodes[0].messages if m.role == "tool"] == [
        '{"error": "ValueError: no stock"}', '{"error": "the activity timed out"}']  # fmt: skip


def test_a_run_that_goes_on_in_another_or_does_not_end_says_so() -> None:
    book = Book().started()
    book.activity("a", payloads(1), payloads(1))
    open_ended = made({"events": list(book.events)})
    assert open_ended.problems == ("the history does not end: the workflow was still running",)
    book.add("workflowExecutionContinuedAsNew", newExecutionRunId="run-2")
    trace = made({"events": book.events})
    assert trace.attributes["workflow.continued_as"] == "run-2"
    assert trace.problems == ("the workflow continued as new: its end is in another run",)


def packed(inner: dict[str, Any], pack: Any) -> bytes:
    def field(number: int, data: bytes) -> bytes:
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data

    entry = field(1, b"encoding") + field(2, base64.b64decode(inner["metadata"]["encoding"]))
    return pack(field(1, entry) + field(2, base64.b64decode(inner["data"])))


@pytest.mark.parametrize(
    ("given_", "arguments", "problem"),
    [
        (payload(b"", "binary/null"), '{"args": [null]}', None),
        (payload({"id": "007"}, "json/protobuf"), '{"id": "007"}', None),
        (payload(b"\x00\xff", "binary/plain"), '{"args": ["AP8="]}', None),
        (payload(packed(payload({"id": "007"}), zlib.compress), "binary/zlib"), '{"id": "007"}', None),
        (payload(packed(payload({"id": "007"}), gzip.compress), "binary/gzip"), '{"id": "007"}', None),
        (payload(b"secret", "binary/encrypted"), None, "a payload is encrypted: codec binary/encrypted"),
        (payload(b"\x08\x01", "binary/protobuf"), None,
         "a payload has an encoding that is not read: binary/protobuf"),
        (payload(b"x", "odd name\n"), None, "a payload has an encoding that is not read: unknown"),
        (payload(b"{not json"), None, "a payload is no JSON"),
        (payload(b"\xff\xfe"), None, "a payload is no JSON"),
        (payload(b"damaged", "binary/zlib"), None, "a compressed payload is damaged"),
        ({"metadata": {"encoding": b64("json/plain")}, "data": "%%%"}, None, "a payload is no base64"),
    ],
)  # fmt: skip
def test_payloads(given_: dict[str, Any], arguments: str | None, problem: str | None) -> None:
    book = Book().started()
    book.activity("a", {"payloads": [given_]}, payloads("ok"))
    trace = made(book.completed(payloads("done")))
    (call,) = tool_calls_of(trace.episodes[0].messages)
    assert call.arguments == (arguments or '{"args": ["[unreadable payload]"]}')
    assert trace.problems == (() if problem is None else (problem,))


def test_a_compressed_payload_is_unpacked_to_a_limit_only() -> None:
    bomb = zlib.compress(bytes(65 << 20))
    book = Book().started()
    book.activity("a", {"payloads": [payload(bomb, "binary/zlib")]}, payloads("ok"))
    trace = made(book.completed(payloads("done")))
    assert trace.problems == ("a compressed payload is larger than 64 MB",)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "there are no events: this is no history"),
        ({"events": []}, "there are no events: this is no history"),
        ({"events": [{"eventId": "1"}]}, "an event has no time"),
        ({"events": [{"eventTime": "2026-11-20T10:00:00Z"}]}, "an event has no number"),
        ({"events": [{"eventId": "1", "eventTime": "9999-11-20T10:00:00Z"}]}, "an event has no time"),
        ({"events": [{"eventId": "1", "eventTime": "2026-11-20T10:00:00Z"}]},
         "the history has no beginning (no WorkflowExecutionStarted event)"),
        ({"events": Book().started(workflowId=None).events}, "the history does not name its workflow id"),
    ],
)  # fmt: skip
def test_what_is_no_history_is_skipped_with_its_reason(raw: Any, reason: str) -> None:
    assert read_history(raw, SOURCE, where="flows:x") == Skipped("assemble", "flows:x", reason)


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5),
    st.builds(list), st.builds(dict), st.builds(lambda: [[]]),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A history in which some values, anywhere, are something else or gone."""
    root: Any = copy.deepcopy(three_activities())
    for _ in range(draw(st.integers(1, 4))):
        node: Any = root
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3)):
                node = node[key]
                continue
            if draw(st.booleans()):
                node[key] = draw(junk)
            else:
                del node[key]
            break
    return root


@given(damaged())
def test_a_damaged_history_is_a_trace_or_skipped_and_never_more(raw: Any) -> None:
    found = read_history(raw, SOURCE, where="flows:x")
    if isinstance(found, Skipped):
        assert "00340434161094042557" not in found.reason
    else:
        json.dumps(found.attributes)
        assert found.episodes


class Memory:
    """A server that answers from a list of runs, a page at a time."""

    def __init__(self, runs: list[Listed], histories: dict[str, str | None], size: int = 2) -> None:
        self.runs, self.histories, self.size = runs, histories, size
        self.queries: list[str] = []
        self.read: list[str] = []
        self.closed = False

    def version(self) -> str:
        return "1.32.0"

    def list(self, query: str, token: bytes) -> Listing:
        self.queries.append(query)
        at = int(token or b"0")
        following = b"%d" % (at + self.size) if at + self.size < len(self.runs) else b""
        return Listing(self.runs[at : at + self.size], following)

    def history(self, workflow_id: str, run_id: str) -> str | None:
        self.read.append(run_id)
        return self.histories.get(run_id)

    def close(self) -> None:
        self.closed = True


def listed(count: int) -> tuple[list[Listed], dict[str, str | None]]:
    history = json.dumps(three_activities())
    runs = [Listed(f"order-{i}", f"run-{i}", size=1000) for i in range(count)]
    return runs, {r.run_id: history for r in runs}


def connector(server: Memory, source: Source = SOURCE) -> Temporal:
    return Temporal(source, user=None, key=None, server=server)


DAY_1 = Window(20000 * DAY, 20001 * DAY)


def test_pages_hold_whole_runs_and_go_on_from_their_cursor() -> None:
    server = Memory(*listed(5))
    source = Source(name="flows", kind="temporal", url="h:1", query='WorkflowType = "HandleTicket"')
    platform = connector(server, source=source)
    assert platform.probe().version == "1.32.0"
    pages = list(platform.fetch(DAY_1))
    assert [len(p.rows) for p in pages] == [2, 2, 1]
    assert all(p.whole for p in pages)
    rows = [r for p in pages for r in p.rows]
    made = platform.assemble([*rows, *rows])
    assert made.by_end
    traces = made.traces
    assert [(t.workflow_id, t.source_id) for t in traces] == [(f"order-{i}", f"run-{i}") for i in range(5)]
    assert server.queries[0] == (
        "CloseTime >= '2024-10-03T23:59:59Z' AND CloseTime < '2024-10-05T00:00:01Z'"
        ' AND (WorkflowType = "HandleTicket")'
    )
    again = list(platform.fetch(DAY_1, pages[1].cursor))
    assert [r["run_id"] for p in again for r in p.rows] == ["run-4"]
    assert not list(platform.scores(DAY_1))
    platform.close()
    assert server.closed


def test_runs_that_cannot_be_read_are_counted() -> None:
    runs, histories = listed(2)
    runs.append(Listed("w-big", "run-big", size=21 << 20))
    histories["run-1"] = None
    server = Memory(runs, histories)
    platform = connector(server)
    found = platform.assemble([r for p in platform.fetch(DAY_1) for r in p.rows])
    assert {s.item: s.reason for s in found.skipped} == {
        "flows:run-1": "the history is gone: its retention is over",
        "flows:run-big": "the trace is larger than 20 MB",
    }
    assert "run-big" not in server.read
    assert [t.source_id for t in found.traces] == ["run-0"]


def test_a_token_that_does_not_advance_is_an_error() -> None:
    class Stuck(Memory):
        def list(self, query: str, token: bytes) -> Listing:
            return Listing(self.runs[:1], b"7")

    with pytest.raises(OutsideServiceError, match="does not advance"):
        list(connector(Stuck(*listed(1))).fetch(DAY_1))


def test_the_source_needs_an_address_and_the_package() -> None:
    with pytest.raises(ConfigError, match="needs url"):
        Temporal(Source(name="flows", kind="temporal"), user=None, key=None)
    if importlib.util.find_spec("temporalio") is not None:
        pytest.skip("temporalio is installed here")
    with pytest.raises(ConfigError, match=r"pip install 'strop\[temporal\]'"):
        Temporal(SOURCE, user=None, key=None).probe()
