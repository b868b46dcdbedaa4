"""A real Temporal server, a worker on its own SDK, and the histories pulled back and read from a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest
from servers import REPO, free_ports, serving

from strop.config import Source
from strop.records import Trace, tool_calls_of
from strop.sources.workflows.temporal_history import read_history

pytestmark = pytest.mark.slow

FAR = 4_000_000_000 * 10**9  # ns: a year that is not over
FLOWS = """
import asyncio
import gc
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

tries = []


@activity.defn
async def lookup(asked: dict) -> dict:
    return {"eta": "soon", "tracking": asked["tracking"]}


@activity.defn
async def charge(order: str, amount: str) -> str:
    tries.append(order)
    if len(tries) < 3:
        raise RuntimeError("busy")
    return "paid " + amount


@activity.defn
async def mail() -> None:
    return None


@activity.defn
async def refuse() -> None:
    raise ApplicationError("no stock", type="Refused", non_retryable=True)


@workflow.defn
class Child:
    @workflow.run
    async def run(self, order: dict) -> str:
        return "refunded " + order["order"]


SHORT = dict(start_to_close_timeout=timedelta(seconds=20),
             retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)))


@workflow.defn
class HandleTicket:
    def __init__(self):
        self.answer = None

    @workflow.signal
    def approve(self, answer: str) -> None:
        self.answer = answer

    @workflow.run
    async def run(self, ticket: dict) -> dict:
        found = await workflow.execute_activity(lookup, {"tracking": ticket["tracking"]}, **SHORT)
        await workflow.execute_activity(charge, args=["00042", "010.00"], **SHORT)
        await workflow.execute_activity(mail, **SHORT)
        await workflow.sleep(0.05)
        await workflow.wait_condition(lambda: self.answer is not None)
        child = await workflow.execute_child_workflow(Child.run, {"order": "00042"}, id="child-00042")
        return {"status": "delivered", "eta": found["eta"], "child": child, "answer": self.answer}


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(refuse, **SHORT)


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(timedelta(days=1))


async def main(address):
    client = await Client.connect(address)
    flows = [HandleTicket, Child, Fails, Waits]
    acts = [lookup, charge, mail, refuse]
    async with Worker(client, task_queue="q", workflows=flows, activities=acts):
        ticket = {"tracking": "00340434161094042557", "customer": {"id": "0042"}}
        handle = await client.start_workflow(
            HandleTicket.run, ticket, id="order-00042", task_queue="q", memo={"tenant": "0042"})
        await handle.signal(HandleTicket.approve, "yes, ship it")
        await handle.result()
        failing = await client.start_workflow(Fails.run, id="order-fails", task_queue="q")
        try:
            await failing.result()
        except Exception:
            pass
        await client.start_workflow(Waits.run, id="order-waits", task_queue="q")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    gc.collect()
"""
PULL = """
import sys
import time

import msgspec

from strop.config import Source
from strop.sources.platform import DAY, Window, within
from strop.sources.workflows.temporal import Temporal

source = Source(name="flows", kind="temporal", url=sys.argv[1], customer_key="tenant",
                query=sys.argv[2] or None)
platform = Temporal(source, user=None, key=None)
found = platform.probe()
window = Window(int(sys.argv[3]), int(sys.argv[4]))
pages = list(platform.fetch(window))
made = platform.assemble([r for p in pages for r in p.rows])
platform.close()
traces = within(made.traces, window, by_end=made.by_end)
answer = {"version": found.version, "traces": traces, "skipped": made.skipped}
sys.stdout.write(msgspec.json.encode(answer).decode())
"""


class Pulled(msgspec.Struct):
    version: str
    traces: list[Trace]
    skipped: list[dict[str, str]]


@pytest.fixture(scope="module")
def python() -> str:
    found = os.environ.get("STROP_TEMPORAL")
    if not found or not Path(found).exists():
        pytest.skip("no Temporal: STROP_TEMPORAL is not set (make test-slow installs one)")
    return found


@pytest.fixture(scope="module")
def temporal(python: str) -> Path:
    return Path(python).parent / "temporal"


@pytest.fixture(scope="module")
def address(python: str, temporal: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A dev server on free loopback ports, after one worker has run the workflows."""
    folder = tmp_path_factory.mktemp("temporal")
    port, http_port, metrics_port = free_ports(3)
    command = [
        temporal, "server", "start-dev", "--ip", "127.0.0.1", "--port", str(port), "--headless",
        "--http-port", str(http_port), "--metrics-port", str(metrics_port), "--log-level", "error",
    ]  # fmt: skip
    ready = f"http://127.0.0.1:{http_port}/api/v1/system-info"
    with serving(command, port, ready, folder=folder):
        (folder / "flows.py").write_text(FLOWS)
        ran = subprocess.run(
            [python, folder / "flows.py", f"127.0.0.1:{port}"],
            cwd=folder, env={"HOME": str(folder)}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-3000:]
        yield f"127.0.0.1:{port}"


def pulled(
    python: str, address: str, query: str = "", start: int = 0, end: int = FAR, wanted: int = 3
) -> Pulled:
    # The other environment has the SDK; strop and its packages come from this one.
    path = os.pathsep.join([str(REPO / "src"), *(p for p in sys.path if p.endswith("site-packages"))])
    program = f"import sys; sys.path += {path.split(os.pathsep)!r}\n{PULL}"
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(
            [python, "-c", program, address, query, str(start), str(end)],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found = msgspec.json.decode(done.stdout, type=Pulled)
        if len(found.traces) >= wanted or time.monotonic() > deadline:  # visibility lags
            return found
        time.sleep(1)


def test_histories_of_a_real_server_are_traces(python: str, address: str) -> None:
    found = pulled(python, address)
    assert found.version
    assert not found.skipped
    traces = {t.workflow_id: t for t in found.traces}
    assert sorted(traces) == ["child-00042", "order-00042", "order-fails"]
    handled = traces["order-00042"]
    messages = handled.episodes[0].messages
    calls = tool_calls_of(messages)
    assert [(c.name, json.loads(c.arguments)) for c in calls] == [
        ("lookup", {"tracking": "00340434161094042557"}),
        ("charge", {"args": ["00042", "010.00"]}),
        ("mail", {}),
        ("Child", {"order": "00042"}),
    ]
    assert [m.content for m in messages if m.role == "tool"][1:] == ["paid 010.00", "null", "refunded 00042"]
    assert handled.attributes["workflow.attempts"] == {calls[1].id: 3}
    assert "yes, ship it" in [m.content for m in messages if m.role == "user"]
    assert json.loads(messages[-1].content or "")["status"] == "delivered"
    assert (handled.customer, handled.status, handled.problems) == ("0042", "ok", ())
    child = traces["child-00042"]
    assert child.attributes["workflow.parent_id"] == "order-00042"
    assert child.attributes["workflow.root_id"] == "order-00042"
    failed = traces["order-fails"]
    assert failed.status == "error"
    assert [m.content for m in failed.episodes[0].messages if m.role == "tool"] == [
        '{"error": "Refused: no stock"}'
    ]


def test_a_query_narrows_and_a_run_belongs_to_the_window_of_its_end(python: str, address: str) -> None:
    query = "WorkflowType = 'HandleTicket' OR WorkflowType = 'Waits'"
    found = pulled(python, address, query, wanted=1)
    assert [t.workflow_id for t in found.traces] == ["order-00042"]
    end = found.traces[0].ended_at
    assert end > found.traces[0].started_at
    assert not pulled(python, address, query, end=end, wanted=0).traces
    assert pulled(python, address, query, start=end, end=end + 1, wanted=1).traces == found.traces


def test_an_exported_file_reads_as_the_server_does(
    python: str, address: str, temporal: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [temporal, "workflow", "show", "--address", address, "-w", "order-00042", "--output", "json"],
        capture_output=True, text=True, timeout=120, check=True, env={"HOME": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    source = Source(name="flows", kind="temporal-file", customer_key="tenant")
    read = read_history(json.loads(done.stdout), source)
    assert isinstance(read, Trace), read
    (trace,) = [t for t in pulled(python, address).traces if t.workflow_id == "order-00042"]
    assert read == trace
