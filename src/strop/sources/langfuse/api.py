"""A Langfuse server over its public API, of both generations.

v3 servers (and v4 in `legacy` and `dual` mode) list traces and read each whole; v4 servers (`events_only`,
and Langfuse Cloud) list observations only, whose traces interleave. Which one a server serves is found by
asking: each answers 404 for what it does not have. Where it serves both, the older one is read: what was
recorded before a migration may be nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import JsonObject, Skipped
from strop.sources.http import Api, NotServed
from strop.sources.langfuse.rows import WORKFLOW_KEYS, text
from strop.sources.langfuse.scores import read_score
from strop.sources.langfuse.traces import UNREAD, read_rows
from strop.sources.platform import HOUR, Capabilities, LateScore, Made, Page, Window, iso

_PUBLIC = "/api/public"
_V4_FIELDS = "core,basic,time,io,metadata,model,usage,trace_context"
_LISTINGS = 3
_TRACES_A_PAGE = 20
# Metadata that is needed whole: v4 servers cut each value to 200 characters where they are not asked.
_EXPANDED = (
    "tools", "attributes", "scope", "model_request_parameters", "gen_ai.tool.definitions", "ai.prompt.tools",
    "gen_ai.system_instructions", "llm.invocation_parameters", "gen_ai.tool.call.id",
    "gen_ai.tool.call.result", "tool_response", "session.id", "user.id",
)  # fmt: skip


class Langfuse:
    """The connector of kind `langfuse`: url, user_env (public key) and api_key_env (secret key)."""

    margin = HOUR

    def __init__(
        self,
        source: Source,
        *,
        user: str | None,
        key: str | None,
        sleep: Callable[[float], None] = time.sleep,
        page_sizes: tuple[int, ...] = (1000, 100),
        list_size: int = 100,
    ) -> None:
        """Take a source and its keys.

        page_sizes: observations a page, the next one after a page was too large; list_size: traces a page.
        """
        if not source.url or not user or not key:
            raise ConfigError(
                f"source {source.name} needs url, user_env (public key) and api_key_env (secret key)",
                where="strop.toml, [[sources]]",
                fix="name all three; the keys are in Langfuse under Settings, API Keys",
            )
        self._source, self._url = source, source.url
        self._page_sizes, self._list_size = page_sizes, list_size
        self._connect = partial(
            Api, "Langfuse", source.url, auth=(user, key), timeout_s=source.timeout_s, sleep=sleep
        )
        self._api = self._connect()
        self._one: Api | None = None
        self._found: Capabilities | None = None

    def close(self) -> None:
        """Let go of connections."""
        self._api.close()
        if self._one is not None:
            self._one.close()

    def probe(self) -> Capabilities:
        """Ask the server for its version and for which generation of the API it serves.

        Raises OutsideServiceError where it serves neither or refuses the key.
        """
        try:
            version = str(self._api.get(f"{_PUBLIC}/health").get("version") or "unknown")
        except NotServed:
            version = "unknown"
        now = int(time.time()) * 1_000_000_000
        span = {
            "fromTimestamp": iso(now - HOUR),
            "toTimestamp": iso(now),
            "page": 1,
            "limit": 1,
            "fields": "core",
        }
        old = self._serves("traces", span)
        new = self._serves(
            "v2/observations", {"fromStartTime": iso(now - HOUR), "toStartTime": iso(now), "limit": 1}
        )
        if not old and not new:
            raise OutsideServiceError(
                "Langfuse serves neither /api/public/traces nor /api/public/v2/observations",
                where=self._url,
                fix="check url in strop.toml: the address of the Langfuse server, without /api/public",
            )
        notes = ("both generations of the API answer: the older one is read",) if old and new else ()
        if not old:
            notes = ("observations are read: a trace's metadata values may be cut to 200 characters",)
        self._found = Capabilities("langfuse", version, "v3" if old else "v4", notes)
        return self._found

    def _serves(self, path: str, params: JsonObject) -> bool:
        try:
            self._api.get(f"{_PUBLIC}/{path}", params)
        except NotServed:
            return False
        return True

    def _generation(self) -> str:
        return (self._found or self.probe()).api

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the raw rows of a window: whole traces (v3), or observations that interleave (v4)."""
        wide = window.widened(self.margin)
        yield from (
            self._traces(wide, cursor) if self._generation() == "v3" else self._observations(wide, cursor)
        )

    def _traces(self, window: Window, cursor: str | None) -> Iterator[Page]:
        """List the window's traces, then read each; the cursor is the last one read, "timestamp id"."""
        done = None if cursor is None else tuple(cursor.split(" ", 1))
        waiting = [k for k in self._listed(window) if done is None or k > done]
        for i in range(0, len(waiting), _TRACES_A_PAGE):
            part = waiting[i : i + _TRACES_A_PAGE]
            last = i + _TRACES_A_PAGE >= len(waiting)
            rows = [self._trace(trace_id) for _, trace_id in part]
            yield Page(rows, None if last else " ".join(part[-1]), whole=True)

    def _listed(self, window: Window) -> list[tuple[str, str]]:
        """List (timestamp, id) of a window's traces.

        Pages are offsets: where traces come or go meanwhile, the rest moves. A reading counts where all its
        pages name one total, and it is the number of traces that they list; what others found is kept.
        """
        found: dict[str, str] = {}
        span = {"fromTimestamp": iso(window.start), "toTimestamp": iso(window.end), "limit": self._list_size,
                "orderBy": "timestamp.asc", "fields": "core"}  # fmt: skip
        listed: set[str] = set()
        totals: set[int] = set()
        for _ in range(_LISTINGS):
            listed, totals = set(), set()
            for row, meta in self._pages("traces", span):
                totals.add(_count(meta.get("totalItems")))
                if row is not None and (trace_id := text(row.get("id"))) is not None:
                    found[trace_id] = str(row.get("timestamp") or "")
                    listed.add(trace_id)
            if totals == {len(listed)}:
                return sorted((at, trace_id) for trace_id, at in found.items())
        raise OutsideServiceError(
            f"Langfuse counts {max(totals)} traces in {window.name}, but lists {len(listed)} of them",
            where=f"{self._url}{_PUBLIC}/traces",
            fix="run strop pull again; if it stays so, the server's list is broken",
        )

    def _pages(self, path: str, params: JsonObject) -> Iterator[tuple[JsonObject | None, JsonObject]]:
        """Yield (row, meta) of all pages, and (None, meta) once for a page without rows."""
        page = 1
        while True:
            rows, meta = _page(self._api.get(f"{_PUBLIC}/{path}", {**params, "page": page}), self._url, path)
            if "totalPages" not in meta:
                raise OutsideServiceError(
                    "Langfuse answered a page without meta.totalPages", where=f"{self._url}{_PUBLIC}/{path}"
                )
            yield from ((row, meta) for row in rows or [None])
            page += 1
            if not rows or page > _count(meta["totalPages"]):
                return

    def _trace(self, trace_id: str) -> JsonObject:
        """Read one whole trace; what can't be read is a row with the reason."""
        quoted = "".join(
            c if c.isalnum() or c in "-_." else "".join(f"%{b:02X}" for b in c.encode()) for c in trace_id
        )
        if self._one is None:
            self._one = self._connect(max_bytes=max(1, int(self._source.max_trace_mb * (1 << 20))))
        try:
            return {**self._one.get(f"{_PUBLIC}/traces/{quoted}"), "id": trace_id}
        except NotServed:
            reason = "the trace was deleted while it was read"
        except TooLarge as error:
            if "larger than" not in error.what:
                raise
            reason = f"the trace is larger than {self._source.max_trace_mb:g} MB"
        return {"id": trace_id, "observations": [], UNREAD: reason}

    def _observations(self, window: Window, cursor: str | None) -> Iterator[Page]:
        seen = {cursor}
        sizes = list(self._page_sizes)
        key = self._source.customer_key
        wanted = [k for k in (key, *WORKFLOW_KEYS, *_EXPANDED) if "," not in k]
        expanded = ",".join(
            dict.fromkeys(p + k for k in wanted for p in ("", "attributes.", "resourceAttributes."))
        )
        params = {"fromStartTime": iso(window.start), "toStartTime": iso(window.end), "fields": _V4_FIELDS,
                  "expandMetadata": expanded}  # fmt: skip
        while True:
            try:
                answer = self._api.get(
                    f"{_PUBLIC}/v2/observations", {**params, "limit": sizes[0], "cursor": cursor}
                )
            except TooLarge:
                if len(sizes) == 1:
                    raise
                sizes.pop(0)
                continue
            rows, cursor = self._advanced(answer, "v2/observations", seen)
            yield Page(rows, cursor)
            if cursor is None:
                return

    def _advanced(
        self, answer: JsonObject, path: str, seen: set[str | None]
    ) -> tuple[list[JsonObject], str | None]:
        """Return a page's rows and the next cursor, which the server leaves out on the last page only."""
        rows, meta = _page(answer, self._url, path)
        cursor = meta.get("cursor") or None
        if cursor is not None and (not isinstance(cursor, str) or cursor in seen):
            raise OutsideServiceError(
                "Langfuse's cursor does not advance",
                where=f"{self._url}{_PUBLIC}/{path}",
                fix="run strop pull again",
            )
        seen.add(cursor)
        return rows, cursor

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of raw rows: pure. A trace larger than max_trace_mb is skipped."""
        source = self._source
        return read_rows(
            rows, source=source.name, customer_key=source.customer_key, max_trace_mb=source.max_trace_mb
        )

    def scores(self, window: Window) -> Iterator[LateScore | Skipped]:
        """Yield the scores that were given in a window; one without a trace or session is skipped."""
        path = "v2/scores" if self._generation() == "v3" else "v3/scores"
        other = "v3/scores" if path == "v2/scores" else "v2/scores"
        try:
            rows = self._score_rows(path, window)
            first_row = next(rows, None)
        except NotServed:
            rows = self._score_rows(other, window)
            first_row = next(rows, None)
        seen: set[str] = set()
        for row in chain([] if first_row is None else [first_row], rows):
            key = text(row.get("id")) or f"{window.name} row {len(seen)}"
            if key not in seen:
                seen.add(key)
                late = _late_score(row)
                placed = isinstance(late, LateScore)
                yield late if placed else Skipped("pull", f"{self._source.name}:score {key}", late)

    def _score_rows(self, path: str, window: Window) -> Iterator[JsonObject]:
        span: JsonObject = {"fromTimestamp": iso(window.start), "toTimestamp": iso(window.end), "limit": 100}
        if path == "v2/scores":
            yield from (row for row, _ in self._pages(path, span) if row is not None)
            return
        cursor: str | None = None
        seen: set[str | None] = set()
        while True:
            asked = {**span, "fields": "details,subject", "cursor": cursor}
            rows, cursor = self._advanced(self._api.get(f"{_PUBLIC}/{path}", asked), path, seen)
            yield from rows
            if cursor is None:
                return


def _late_score(row: JsonObject) -> LateScore | str:
    """Read a score of the v2 or v3 API with what it belongs to, or the reason why it has no place."""
    score = read_score(row)
    if score is None:
        return "the score has no name or no value"
    raw = row.get("subject")
    subject = cast(JsonObject, raw) if isinstance(raw, dict) else {}
    kind = subject.get("kind")
    trace_id, session_id = text(row.get("traceId")), text(row.get("sessionId"))
    if kind == "trace":
        trace_id = text(subject.get("id"))
    elif kind == "observation":
        trace_id = text(subject.get("traceId"))
    elif kind == "session":
        session_id = text(subject.get("id"))
    if trace_id is not None:
        return LateScore(score, trace_id=trace_id)
    if session_id is not None:
        return LateScore(score, session_id=session_id)
    return f"the score belongs to {'an ' + str(kind) if kind == 'experiment' else 'no trace or session'}"


def _page(answer: JsonObject, url: str, path: str) -> tuple[list[JsonObject], JsonObject]:
    rows, meta = answer.get("data"), answer.get("meta")
    if not isinstance(rows, list) or not isinstance(meta, dict):
        raise OutsideServiceError(
            "Langfuse answered a page without data or meta",
            where=f"{url}{_PUBLIC}/{path}",
            fix="check url in strop.toml",
        )
    listed = cast("list[Any]", rows)
    # What is no object is kept as an empty one, so that it is counted as a row that names nothing.
    return [cast(JsonObject, r) if isinstance(r, dict) else {} for r in listed], cast(JsonObject, meta)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
