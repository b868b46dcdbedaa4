"""Workflow histories of a Temporal server, listed by visibility and read over its own SDK.

`url` is host:port, `project` the namespace, `query` a visibility query that is added to the window's. A run
belongs to the window that it closed in, however long it went on. A key means Temporal Cloud's API key, and
TLS with it.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import importlib
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

import msgspec

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import JsonObject, Skipped, Trace
from strop.sources.platform import SECOND, Capabilities, LateScore, Made, Page, Window, iso
from strop.sources.workflows.runs import made_of
from strop.sources.workflows.temporal_history import read_history

_PAGE = 20
_ATTEMPTS = 4

T = TypeVar("T")


class Listed(msgspec.Struct, frozen=True):
    """A closed workflow run as visibility lists it. size: bytes of its history, 0 where it is not known."""

    workflow_id: str
    run_id: str
    size: int = 0


class Listing(msgspec.Struct, frozen=True):
    """A page of runs, and the token of the next one."""

    runs: list[Listed]
    token: bytes = b""


class Server(Protocol):
    """What is asked of a Temporal server."""

    def version(self) -> str:
        """Return the server's version."""
        ...

    def list(self, query: str, token: bytes) -> Listing:
        """Return a page of the runs that a visibility query finds."""
        ...

    def history(self, workflow_id: str, run_id: str) -> str | None:
        """Return a run's history as JSON; None where the server has it no longer."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Temporal:
    """A namespace of a Temporal server. `server`: what to ask instead of connecting, for tests."""

    margin = SECOND  # visibility stores may round the time that the history's last event has

    def __init__(
        self, source: Source, *, user: str | None, key: str | None, server: Server | None = None
    ) -> None:
        if not source.url:
            raise ConfigError(
                f"source {source.name} needs url", where="strop.toml, [[sources]]", fix='url = "host:7233"'
            )
        self._source, self._key, self._server = source, key, server

    def probe(self) -> Capabilities:
        """Ask the server for its version. Raises OutsideServiceError, ConfigError."""
        return Capabilities("temporal", self._connected().version(), "grpc")

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the histories of the runs that closed in a window, in pages of whole runs."""
        wide = window.widened(self.margin)
        query = f"CloseTime >= '{iso(wide.start)}' AND CloseTime < '{iso(wide.end)}'"
        query += f" AND ({self._source.query})" if self._source.query else ""
        token = base64.b64decode(cursor) if cursor else b""
        while True:
            listing = self._connected().list(query, token)
            rows = [self._row(run) for run in listing.runs]
            if not listing.token:
                yield Page(rows, None, whole=True)
                return
            if listing.token == token:
                raise OutsideServiceError("Temporal's page token does not advance", where=self._address)
            token = listing.token
            yield Page(rows, base64.b64encode(token).decode(), whole=True)

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make a trace of each run."""
        return made_of(self._read(row) for row in rows)

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield nothing: Temporal keeps no scores."""
        yield from ()

    def close(self) -> None:
        """Let go of the connection."""
        if self._server is not None:
            self._server.close()

    @property
    def _address(self) -> str:
        return f"{self._source.url}, namespace {self._source.project or 'default'}"

    def _connected(self) -> Server:
        if self._server is None:
            self._server = _Sdk(self._source, self._key, self._address)
        return self._server

    def _read(self, row: JsonObject) -> Trace | Skipped:
        run_id, workflow_id = row["run_id"], row["workflow_id"]
        if "problem" in row:
            return Skipped("pull", f"{self._source.name}:{run_id}", row["problem"])
        return read_history(row["history"], self._source, workflow_id=workflow_id, run_id=run_id)

    def _row(self, run: Listed) -> JsonObject:
        row: JsonObject = {"workflow_id": run.workflow_id, "run_id": run.run_id}
        limit = self._source.max_trace_mb * (1 << 20)
        too_large = f"the trace is larger than {self._source.max_trace_mb:g} MB"
        if run.size > limit:
            return {**row, "problem": too_large}
        text = self._connected().history(run.workflow_id, run.run_id)
        if text is None:
            return {**row, "problem": "the history is gone: its retention is over"}
        if len(text) > 4 * limit:  # JSON with base64 is larger than what the server counts
            return {**row, "problem": too_large}
        return {**row, "history": json.loads(text)}


class _Sdk:
    """The real server, through the `temporalio` package: an asynchronous client on a loop of its own."""

    def __init__(self, source: Source, key: str | None, address: str) -> None:
        try:
            self._client_module: Any = importlib.import_module("temporalio.client")
            self._service: Any = importlib.import_module("temporalio.service")
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"source {source.name} needs the package temporalio",
                where="strop.toml, [[sources]]",
                fix="pip install 'strop[temporal]'",
            ) from error
        self._address = address
        self._runner = asyncio.Runner()
        target = (source.url or "").removeprefix("http://").removeprefix("https://").rstrip("/")
        tls = key is not None or (source.url or "").startswith("https://")
        connect = self._client_module.Client.connect
        namespace = source.project or "default"
        self._client: Any = self._asked(lambda: connect(target, namespace=namespace, api_key=key, tls=tls))

    def version(self) -> str:
        """Return the server's version."""
        workflow_service: Any = importlib.import_module("temporalio.api.workflowservice.v1")
        request = workflow_service.GetSystemInfoRequest()
        info = self._asked(lambda: self._client.workflow_service.get_system_info(request))
        return str(info.server_version)

    def list(self, query: str, token: bytes) -> Listing:
        """Return a page of runs."""

        async def page() -> Listing:
            found = self._client.list_workflows(query, page_size=_PAGE, next_page_token=token or None)
            await found.fetch_next_page()
            runs = [
                Listed(w.id, w.run_id, int(w.raw_info.history_size_bytes)) for w in found.current_page or []
            ]
            return Listing(runs, bytes(found.next_page_token or b""))

        return cast(Listing, self._asked(page))

    def history(self, workflow_id: str, run_id: str) -> str | None:
        """Return a run's history as JSON."""

        async def read() -> str | None:
            handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
            try:
                return str((await handle.fetch_history()).to_json())
            except self._service.RPCError as error:
                if error.status == self._service.RPCStatusCode.NOT_FOUND:
                    return None
                raise

        return cast("str | None", self._asked(read))

    def close(self) -> None:
        """Let go of the connection."""
        self._client = None
        self._runner.close()
        gc.collect()  # the SDK's own threads crash the interpreter at its exit while a client is alive

    def _asked(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Ask, again where the server is only busy. Raises OutsideServiceError."""
        codes = self._service.RPCStatusCode
        passing = (codes.UNAVAILABLE, codes.DEADLINE_EXCEEDED, codes.RESOURCE_EXHAUSTED, codes.ABORTED)
        for attempt in range(_ATTEMPTS):
            try:
                return self._runner.run(ask())
            except self._service.RPCError as error:
                if error.status in passing and attempt < _ATTEMPTS - 1:
                    time.sleep(2.0**attempt)
                    continue
                problem = f"{error.status.name}: {error.message}"
            except (RuntimeError, OSError) as error:  # the SDK's own error where nothing listens
                problem = str(error)
            raise OutsideServiceError(
                f"Temporal does not answer: {' '.join(problem.split())[:300]}",
                where=self._address,
                fix="check url, project (the namespace), query and api_key_env in strop.toml",
            )
        raise AssertionError("the loop returns or raises")
