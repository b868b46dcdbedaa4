"""Runs and feedback of LangSmith, over its REST API: the hosted service or a self-hosted one.

Runs are queried by `POST /api/v2/runs/query` where `GET /info` says that the server has it, else by
`POST /runs/query`, which the vendor removes after 2027-01-31. Both have defaults that lose data without a
word (the last day only, ids only), so bounds and fields are always sent. What LangSmith calls a session is
a project.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import JsonObject, Skipped
from strop.sources.http import Api, NotServed
from strop.sources.langsmith.runs import began_at, feedback_scores, read_runs, time_of
from strop.sources.platform import HOUR, Capabilities, LateScore, Made, Page, Window, iso

_ADDRESS = "https://api.smith.langchain.com"
_V1_ROWS, _V2_ROWS, _FEEDBACK_ROWS = 100, 500, 100  # the servers' limits are 100, 1000 and 100
_RUNS_A_QUESTION = 50  # run ids in one address, 40 characters each
_EMPTY_PAGES = 50
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_V1_FIELDS = (
    "id", "name", "run_type", "status", "start_time", "end_time", "error", "extra", "inputs", "outputs",
    "inputs_s3_urls", "outputs_s3_urls", "s3_urls", "parent_run_id", "parent_run_ids", "session_id",
    "trace_id", "thread_id", "dotted_order", "tags", "total_tokens", "prompt_tokens", "completion_tokens",
    "total_cost", "feedback_stats",
)  # fmt: skip
_V2_FIELDS = (
    "ID", "NAME", "RUN_TYPE", "STATUS", "START_TIME", "END_TIME", "ERROR", "EXTRA", "METADATA", "INPUTS",
    "OUTPUTS", "PARENT_RUN_IDS", "PROJECT_ID", "TRACE_ID", "THREAD_ID", "DOTTED_ORDER", "IS_ROOT", "TAGS",
    "TOTAL_TOKENS", "PROMPT_TOKENS", "COMPLETION_TOKENS", "TOTAL_COST", "FEEDBACK_STATS",
)  # fmt: skip


class LangSmith:
    """A project of LangSmith. `url` ends in /api/v1 where it is self-hosted; `workspace` picks the tenant.

    margin: ns after a window in which runs of its traces are looked for; longer traces are read apart.
    page_size: rows of one answer; sleep: waits between attempts (both for tests).
    """

    margin = HOUR

    def __init__(
        self,
        source: Source,
        *,
        user: str | None = None,
        key: str | None = None,
        page_size: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not source.project:
            raise ConfigError(
                f"source {source.name} needs project", where="strop.toml, [[sources]]", fix="name the project"
            )
        self._source, self._name, self._page_size = source, source.project, page_size
        address, self._prefix = _split(source.url or _ADDRESS)
        headers = {"x-api-key": key or "", "X-Tenant-Id": source.workspace or ""}
        self._api = Api(
            "LangSmith",
            address,
            headers={k: v for k, v in headers.items() if v},
            timeout_s=source.timeout_s,
            sleep=sleep,
        )
        self._project: str | None = None
        self._newer: bool | None = None
        self._older = True

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def probe(self) -> Capabilities:
        """Ask the server for its version and its query APIs, and for the project."""
        try:
            info = self._api.get(f"{self._prefix}/info")
        except NotServed:
            info = {}
        given: Any = info.get("instance_flags")
        flags = cast(JsonObject, given) if isinstance(given, dict) else {}
        self._newer = flags.get("sdb_query_enabled") is True
        self._older = not self._newer or flags.get("ch_query_enabled", True) is not False
        self._project_id()
        notes = () if self._newer else ("the server has only the v1 runs query, which ends on 2027-01-31",)
        version = str(info.get("version") or "unknown")
        return Capabilities("langsmith", version, "v2" if self._newer else "v1", notes)

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the runs of the traces that began in a window, then the feedback on them.

        Pages don't hold whole traces, so there is no cursor to go on from. Raises TooLarge,
        OutsideServiceError, ConfigError.
        """
        bounds = Window(window.start, window.end + self.margin)
        rated: dict[str, None] = {}
        longer: dict[str, int] = {}
        for rows in self._runs(bounds):
            own = [row for row in rows if _began_in(row, window)]
            for row in own:
                if row.get("feedback_stats"):
                    rated[str(row.get("id"))] = None
                end = time_of(row.get("end_time"))
                if row.get("id") == row.get("trace_id") and end is not None and end >= bounds.end:
                    longer[str(row.get("id"))] = end + 1
            yield Page(own)
        for trace_id, end in longer.items():
            for rows in self._runs(Window(bounds.end, end), trace_id):
                rated |= {str(row.get("id")): None for row in rows if row.get("feedback_stats")}
                yield Page(rows)
        ids = list(rated)
        for i in range(0, len(ids), _RUNS_A_QUESTION):
            for rows in self._feedback({"run": ids[i : i + _RUNS_A_QUESTION]}):
                yield Page([{"feedback": row} for row in rows])

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of runs and feedback: pure."""
        return read_runs(rows, self._source)

    def scores(self, window: Window) -> Iterator[LateScore | Skipped]:
        """Yield the feedback that was created in a window; what was changed later has its old time.

        Feedback without a score, or without a run or thread, is skipped.
        """
        asked = {
            "session": self._project_id(),
            "min_created_at": iso(window.start),
            "max_created_at": iso(window.end),
        }
        for rows in self._feedback(asked):
            for row in rows:
                at = time_of(row.get("created_at"))
                if at is not None and not window.start <= at < window.end:
                    continue
                trace_id, thread = row.get("trace_id") or row.get("run_id"), row.get("feedback_thread_id")
                found = feedback_scores(row)
                if not found or not (trace_id or thread):
                    fault = "belongs to no run or thread" if found else "has no score"
                    item = f"{self._source.name}:feedback {row.get('id')}"
                    yield Skipped("pull", item, f"the feedback {fault}")
                    continue
                for score in found:
                    yield LateScore(
                        score,
                        trace_id=str(trace_id) if trace_id else None,
                        session_id=str(thread) if thread and not trace_id else None,
                    )

    def _project_id(self) -> str:
        if self._project is None and _UUID.fullmatch(self._name):
            self._project = self._name.lower()
        if self._project is None:
            found = self._api.get_any(f"{self._prefix}/sessions", {"name": self._name, "limit": 100})
            for session in _objects(found, "sessions"):
                if session.get("name") == self._name and session.get("id"):
                    self._project = str(session["id"])
        if self._project is None:
            raise ConfigError(
                f"source {self._source.name}: LangSmith has no project {self._name!r}",
                where="strop.toml, [[sources]]",
                fix="correct project (and workspace, where the key can see several)",
            )
        return self._project

    def _runs(self, bounds: Window, trace_id: str | None = None) -> Iterator[list[JsonObject]]:
        if self._newer is None:
            self.probe()
        if self._newer:
            try:
                yield from self._v2_runs(bounds, trace_id)
                return
            except NotServed:
                if not self._older:
                    raise
                self._newer = False
        yield from self._v1_runs(bounds, trace_id)

    def _v2_runs(self, bounds: Window, trace_id: str | None) -> Iterator[list[JsonObject]]:
        body: JsonObject = {
            "project_ids": [self._project_id()],
            "min_start_time": iso(bounds.start),
            "max_start_time": iso(bounds.end),
            "selects": _V2_FIELDS,
            "page_size": self._page_size or _V2_ROWS,
        }
        if trace_id is not None:
            body["trace_id"] = trace_id
        yield from self._pages("/api/v2/runs/query", body, "items", body["page_size"])

    def _v1_runs(self, bounds: Window, trace_id: str | None) -> Iterator[list[JsonObject]]:
        start, end = iso(bounds.start), iso(bounds.end)
        body: JsonObject = {
            "session": [self._project_id()],
            "start_time": start,
            # `end_time` bounds when runs ended: the bound of their start is a filter.
            "filter": f'and(gte(start_time, "{start}"), lt(start_time, "{end}"))',
            "select": _V1_FIELDS,
        }
        if trace_id is not None:  # then neither limit nor cursor are heeded: all comes at once
            yield from self._pages(f"{self._prefix}/runs/query", {**body, "trace": trace_id}, "runs", None)
            return
        limit = min(self._page_size or _V1_ROWS, _V1_ROWS)
        yield from self._pages(f"{self._prefix}/runs/query", {**body, "limit": limit}, "runs", limit)

    def _pages(self, path: str, body: JsonObject, key: str, size: int | None) -> Iterator[list[JsonObject]]:
        seen: set[str] = set()
        empty = 0
        while True:
            answer = self._api.post(path, body)
            rows = _objects(answer.get(key), key)
            following = _following(answer)
            if following is None and size is not None and len(rows) >= size:
                # A window with fewer runs than a page needs no cursor, so that asking for less helps.
                raise TooLarge("LangSmith answered a full page without a cursor", where=path)
            yield rows
            if following is None:
                return
            empty = 0 if rows else empty + 1
            if following in seen or empty >= _EMPTY_PAGES:
                raise OutsideServiceError("LangSmith's cursor does not advance", where=path)
            seen.add(following)
            body = {**body, "cursor": following}

    def _feedback(self, asked: Mapping[str, Any]) -> Iterator[list[JsonObject]]:
        path = f"{self._prefix}/feedback"
        seen: set[str] = set()
        offset = 0
        while True:
            found = self._api.get_any(path, {**asked, "limit": _FEEDBACK_ROWS, "offset": offset})
            rows = _objects(found, "feedback")
            ids = {str(row.get("id")) for row in rows}
            if rows and ids <= seen:
                raise OutsideServiceError("LangSmith answers the same page of feedback again", where=path)
            yield rows
            if len(rows) < _FEEDBACK_ROWS:
                return
            seen |= ids
            offset += len(rows)


def _split(url: str) -> tuple[str, str]:
    """Return the address without the prefix that v1 has where it is self-hosted, and the prefix."""
    address = url.rstrip("/")
    for prefix in ("/api/v1", "/api"):
        if address.endswith(prefix):
            return address.removesuffix(prefix), prefix
    return address, ""


def _following(answer: JsonObject) -> str | None:
    """The cursor of the next page: `cursors.next` in v1, `next_cursor` in v2."""
    cursors: Any = answer.get("cursors")
    found: Any = answer.get("next_cursor")
    if isinstance(cursors, dict):
        found = cast(JsonObject, cursors).get("next")
    return str(found) if found else None


def _objects(value: Any, what: str) -> list[JsonObject]:
    rows = cast("list[Any]", value) if isinstance(value, list) else [None]
    if not all(isinstance(row, dict) for row in rows):
        raise OutsideServiceError(
            f"LangSmith answered no list of {what}",
            where="its API",
            fix="check url in strop.toml: self-hosted addresses end in /api/v1",
        )
    return cast("list[JsonObject]", rows)


def _began_in(row: JsonObject, window: Window) -> bool:
    """Say whether the run's trace began in a window; what does not say when it began is kept."""
    began = began_at(row)
    return began is None or window.start <= began < window.end
