"""The engine protocol on DBOS, embedded on SQLite in `.strop/engine.db`.

What DBOS would do by default and must not here:
- it recovers runs of its own code version only, by default a hash of the source: the version is pinned;
- it runs a step twice if two processes launch one executor: a file lock admits one, readers use the client;
- it pickles: everything is written as portable JSON;
- it gives up on a run after 100 restarts: unlimited;
- it records no inputs and no failed attempts: a step's record is `{"in", "out" | "error"}`;
- it writes its log to the terminal: the log goes to `.strop/engine.log`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
import traceback
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.errors import ApprovalPending, OutsideServiceError, StropError
from strop.loop.engine import failure
from strop.loop.engine.lock import FolderLock
from strop.loop.engine.protocol import Json, Loop, RunStatus, StepStatus

if TYPE_CHECKING:
    from collections.abc import Generator

    from dbos import DBOSClient

APPLICATION_VERSION = "strop-loop-1"  # raise it only with a body that old runs can't finish
EXECUTOR_ID = "strop"
ATTEMPTS = 3  # of a step whose outside service does not answer
_WORKFLOW = "strop.loop"
_PARKED_AFTER_S = 1.5  # a signal that was sent before arrives well within
_STATES = {"SUCCESS": "done", "ERROR": "failed", "CANCELLED": "cancelled"}


def open_engine(state: Path, loop: Loop) -> DbosEngine:
    """Open the engine of a state folder. Raises ConfigError while another process has it open."""
    lock = FolderLock(state / "engine.lock")
    lock.acquire()
    try:
        return DbosEngine(state, loop, lock)
    except BaseException:
        lock.release()
        raise


class DbosEngine:
    """One process's hold on a state folder's runs. Use `open_engine`, close when done.

    DBOS recovers unfinished runs the moment it launches, so it launches at the first `start`,
    `resume` or `result`; `latest` and `cancel` before that see the runs at rest.
    """

    def __init__(self, state: Path, loop: Loop, lock: FolderLock) -> None:
        self.state, self.loop, self._lock = state, loop, lock
        self._launched = self._alive = False
        self.parked = threading.Event()
        _log_to(state / "engine.log")
        with closing(sqlite3.connect(state / "engine.db")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # 4 times as fast; DBOS leaves it off

    def latest(self) -> RunStatus | None:
        """Return the newest run, None where there is none."""
        return next(iter(runs(self.state, limit=1)), None)

    def start(self, run_id: str, inputs: str, options: Json) -> None:
        """Begin a run; one that exists under this id is continued instead."""
        from dbos import DBOS, SetWorkflowID

        self._launch()
        with SetWorkflowID(run_id):
            DBOS.start_workflow(self._workflow, {"run_id": run_id, "inputs": inputs, "options": options})

    def resume(self, run_id: str) -> None:
        """Continue an unfinished run, or a failed one at the step that failed."""
        status = next((r for r in runs(self.state) if r.run_id == run_id), None)
        if status is not None and status.state == "failed":
            failed = [s.number for s in status.steps if s.error]
            with _client(self.state) as client:
                assert client is not None
                client.rewind_workflow(
                    run_id, start_step=failed[0] if failed else 1, application_version=APPLICATION_VERSION
                )
        self._launch()

    def cancel(self, run_id: str) -> None:
        """Set an unfinished run aside for good."""
        with _client(self.state) as client:
            assert client is not None
            client.cancel_workflow(run_id)

    def result(self, run_id: str) -> Json:
        """Wait for the run's result; raises its StropError, ApprovalPending where it waits for a signal."""
        from dbos import DBOS

        self._launch()
        while True:
            status = DBOS.get_workflow_status(run_id)
            if status is not None and status.status in _STATES:
                self._alive = False
                if status.status == "SUCCESS":
                    return status.output or {}
                raise _error_of(status.error, self.state)
            if self.parked.is_set():
                raise ApprovalPending(
                    f"run {run_id} waits for approval",
                    where=str(self.state),
                    fix='strop promote --approve "why"   # then: strop run',
                )
            time.sleep(0.1)

    def close(self) -> None:
        """Let the state folder go, unless a run is still alive in this process.

        DBOS can't let go of a living run without marking it failed: it stays as it is, and the process
        has to end with `os._exit`, which is to a run no more than any other sudden death.
        """
        if self._alive:
            return
        if self._launched:
            from dbos import DBOS

            DBOS.destroy(destroy_registry=True)
            self._launched = False
        self._lock.release()

    def _launch(self) -> None:
        if self._launched:
            return
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

        config: DBOSConfig = {
            "name": "strop",
            "system_database_url": _url(self.state),
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR_ID,
            "serializer": DBOSPortableJSONSerializer(),
            "enable_otlp": False,
            "log_level": "INFO",
            "notification_listener_polling_interval_sec": 0.2,
        }
        DBOS(config=config)

        @DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
        async def workflow(job: Json) -> Json:
            return await self._run(job)

        self._workflow = workflow
        DBOS.launch()
        self._launched = self._alive = True

    async def _run(self, job: Json) -> Json:
        from dbos import PortableWorkflowError

        try:
            return await self.loop.body(_Run(self, str(job["run_id"])), job["options"])
        except StropError as error:
            data = failure.to_json(error)
            raise PortableWorkflowError(error.what, data["class"], error.exit_code, data) from None

    def call(self, context: _Context, name: str, arg: Json) -> Json:
        """Call a step; what comes back is its record, and no exception leaves."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                # The same bytes now and after a restart: tuples become lists here, not later.
                return {"in": arg, "out": json.loads(json.dumps(self.loop.steps[name](arg, context)))}
            except OutsideServiceError as error:
                if attempt == ATTEMPTS:
                    return {"in": arg, "error": failure.to_json(error)}
                context.progress({"retry": attempt, "because": error.what})
                time.sleep(2.0**attempt / 2)
            except StropError as error:
                return {"in": arg, "error": failure.to_json(error)}
            except Exception as error:
                log = context.folder / "error.log"
                with log.open("a", encoding="utf-8") as out:
                    traceback.print_exc(file=out)
                crash = StropError(
                    f"step {name} failed: {type(error).__name__}: {error}",
                    where=str(log),
                    fix="strop run   # tries this step again",
                )
                return {"in": arg, "error": failure.to_json(crash)}
        raise AssertionError("unreachable: the last attempt returns")


class _Run:
    """strop.loop.engine.protocol.Run on DBOS."""

    def __init__(self, engine: DbosEngine, run_id: str) -> None:
        self._engine, self.run_id = engine, run_id

    async def step(self, name: str, arg: Json | None = None) -> Json:
        from dbos import DBOS

        context = _Context(self._engine, self.run_id, name)

        async def call() -> Json:
            return await asyncio.to_thread(self._engine.call, context, name, arg or {})

        record: Json = await DBOS.run_step_async({"name": name}, call)
        if "error" in record:
            raise failure.from_json(record["error"])
        return record["out"]

    async def publish(self, key: str, value: Json) -> None:
        from dbos import DBOS

        await DBOS.set_event_async(key, value)

    async def wait(self, topic: str, timeout_s: float) -> Json | None:
        from dbos import DBOS

        timer = asyncio.get_running_loop().call_later(_PARKED_AFTER_S, self._engine.parked.set)
        answer = await DBOS.recv_async(topic, timeout_seconds=timeout_s)
        timer.cancel()
        self._engine.parked.clear()
        return answer


class _Context:
    """strop.loop.engine.protocol.StepContext."""

    def __init__(self, engine: DbosEngine, run_id: str, step: str) -> None:
        self._engine, self.run_id, self._step = engine, run_id, step
        self.folder = engine.state / "runs" / run_id
        self.folder.mkdir(parents=True, exist_ok=True)

    def progress(self, news: Json) -> None:
        self._engine.loop.watch(self._step, news)


def runs(state: Path, limit: int | None = None) -> list[RunStatus]:
    """Return a state folder's runs, newest first. Safe beside a running engine."""
    with _client(state) as client:
        if client is None:
            return []
        found = client.list_workflows(name=_WORKFLOW, sort_desc=True, limit=limit)
        return [_status(client, workflow) for workflow in found]


def signal(state: Path, run_id: str, topic: str, value: Json) -> None:
    """Send a run the answer that it waits for; the first one of a topic counts."""
    with _client(state) as client:
        if client is not None:
            client.send(run_id, value, topic, idempotency_key=f"{run_id}.{topic}")


@contextmanager
def _client(state: Path) -> Generator[DBOSClient | None]:
    """Open a reader that never becomes an executor; None where no run was ever begun."""
    if not (state / "engine.db").exists():
        yield None
        return
    from dbos import DBOSClient, DBOSPortableJSONSerializer
    from sqlalchemy import create_engine, inspect

    _log_to(state / "engine.log")
    engine = create_engine(_url(state))
    ready = inspect(engine).has_table("workflow_status")
    engine.dispose()
    if not ready:
        yield None
        return
    client = DBOSClient(
        system_database_url=_url(state), serializer=DBOSPortableJSONSerializer(), application_name="strop"
    )
    try:
        yield client
    finally:
        client.destroy()


def _status(client: DBOSClient, workflow: Any) -> RunStatus:
    steps: list[StepStatus] = []
    for step in client.list_workflow_steps(workflow.workflow_id):
        record = step["output"]
        if step["function_name"].startswith("DBOS.") or not isinstance(record, dict):
            continue
        begun, ended = step["started_at_epoch_ms"] or 0, step["completed_at_epoch_ms"] or 0
        error = record.get("error")
        steps.append(
            StepStatus(
                step["function_id"],
                step["function_name"],
                (ended - begun) / 1000,
                str(error["what"]) if error else None,
            )
        )
    error = _error_of(workflow.error, Path()) if workflow.error else None
    job: Json = workflow.input["args"][0]
    return RunStatus(
        run_id=workflow.workflow_id,
        state=_STATES.get(workflow.status, "unfinished"),  # type: ignore[arg-type]
        inputs=job["inputs"],
        started_at=(workflow.created_at or 0) * 1_000_000,
        steps=tuple(steps),
        error=error.what if error else None,
        retryable=error is not None and failure.retryable(error),
    )


def _error_of(error: Exception | None, state: Path) -> StropError:
    data = getattr(error, "data", None)
    if isinstance(data, dict):
        return failure.from_json(data)
    return StropError(f"the run ended: {error or 'it was cancelled'}", where=str(state / "engine.log"))


def _url(state: Path) -> str:
    return f"sqlite:///{state / 'engine.db'}"


def _log_to(path: Path) -> None:
    logger = logging.getLogger("dbos")
    path.parent.mkdir(parents=True, exist_ok=True)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
