"""Weights & Biases Weave over its HTTP API: calls (native, and imported over OTLP) and the agents' spans.

Calls: `POST /calls/stream_query`, JSON lines. Agents' spans: `POST /agents/spans/query`, absent on older
servers. Both are read, by offsets; where both hold a span, the call wins, as feedback hangs on it. A page
that brings nothing new is an error, the end is an empty page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import msgspec

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import JsonObject, Skipped, Trace
from strop.sources.http import Api, BadAnswer, NotServed
from strop.sources.platform import SECOND, Capabilities, LateScore, Made, Page, Window, iso, ns
from strop.sources.spans.bounded import trace_of
from strop.sources.spans.span import Span
from strop.sources.weave.feedback import feedback_of, read_feedback, scorer_runs
from strop.sources.weave.native import native_spans, object_refs, replaced
from strop.sources.weave.rows import agent_span, ids_of, imported, span_dump, text_of

_URL = "https://trace.wandb.ai"
_REFS_AT_ONCE = 100
_DEPTH = 4  # references inside what references lead to


class Weave:
    """A Weave project. `project` is "entity/project"; the key is the W&B API key, sent as Basic `api:<key>`.

    page_size: rows asked for at once, at most 10,000. traces_at_once, page_bytes: of a page. sleep: waits
    between attempts, for tests.
    """

    def __init__(
        self,
        source: Source,
        *,
        user: str | None = None,
        key: str | None = None,
        page_size: int = 1000,
        traces_at_once: int = 20,
        page_bytes: int = 64 << 20,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        entity, slash, name = (source.project or "").partition("/")
        if not (entity and slash and name) or "/" in name:
            raise ConfigError(
                f'source {source.name} needs project = "entity/project"',
                where="strop.toml, [[sources]]",
                fix="it is in the address of the project's page in W&B",
            )
        self._source, self._project = source, f"{entity}/{name}"
        self._page_size, self._traces_at_once = page_size, traces_at_once
        self._page_bytes = max(page_bytes, int(source.max_trace_mb * (1 << 20)))
        self._api = Api(
            "Weave",
            source.url or _URL,
            auth=(user or "api", key) if key else None,
            timeout_s=source.timeout_s,
            sleep=sleep,
        )
        self._has_agents = True  # until it says otherwise

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def probe(self) -> Capabilities:
        """Ask which version the server is and whether it has the agents' store."""
        info = self._api.get("/server_info")
        agents = self._agents_page({"limit": 1})
        version = info.get("trace_server_version") or info.get("min_required_weave_python_version") or "?"
        notes = () if agents is not None else ("no agents' store: calls only",)
        return Capabilities("weave", str(version), "calls" if agents is None else "calls, agents", notes)

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the window's traces, oldest first, in pages of whole traces.

        First the ids of the traces with something in the window, then all that belongs to some of them. The
        cursor is the beginning and the id of the last trace read.
        """
        began = self._began(window)
        marks = sorted((start, trace_id) for trace_id, start in began.items())
        if cursor is not None:
            marks = [m for m in marks if m > _mark(cursor)]
        scorers: set[str] = set()
        at, together = 0, self._traces_at_once
        while at < len(marks):
            some = marks[at : at + together]
            try:
                rows = self._calls([i for _, i in some]) + self._agents([i for _, i in some])
            except TooLarge:
                if together > 1:
                    together //= 2
                elif self._page_size > 1:
                    self._page_size = max(1, self._page_size // 10)
                else:
                    raise
                continue
            at += len(some)
            # A scorer runs after what it scores, so the calls that name it are known by now.
            scorers |= scorer_runs(rows)
            rows = [{**r, "scorer_run": True} if str(r.get("id")) in scorers else r for r in rows]
            yield Page(rows, f"{some[-1][0]}/{some[-1][1]}" if at < len(marks) else None, whole=True)

    def _began(self, window: Window) -> dict[str, int]:
        """When each trace with something in the window began, as far as the window tells."""
        began: dict[str, int] = {}
        for row in [*self._listed(window), *self._agents_listed(window)]:
            try:
                trace_id, start = ids_of(row)[0], ns(row.get("started_at"))
            except (ValueError, OverflowError):
                continue  # it is counted where its trace is read; without a trace it is nobody's
            if window.start <= start < window.end:
                began[trace_id] = min(start, began.get(trace_id, start))
        return began

    def _listed(self, window: Window) -> Iterator[JsonObject]:
        """The ids and times of the calls of a window."""
        asked: JsonObject = {
            "columns": ["id", "trace_id", "started_at"],
            "sort_by": [{"field": "started_at", "direction": "asc"}, {"field": "id", "direction": "asc"}],
            "query": {"$expr": _since("started_at", window.start)},
        }
        # Whole seconds: servers compare times with a number of seconds, and not all take a fraction.
        before = {"$not": [_since("started_at", window.end + SECOND - 1)]}
        bounded = {**asked, "query": {"$expr": {"$and": [asked["query"]["$expr"], before]}}}
        found = False
        for row in self._paged(bounded):
            found = True
            yield row
        if found:
            return
        # A server that keeps times as text finds nothing before a number; there the end is found by reading
        # on in the order of time.
        for row in self._paged(asked):
            if not _starts_before(row, window.end):
                return
            yield row

    def _paged(self, asked: JsonObject) -> Iterator[JsonObject]:
        def page(place: JsonObject) -> list[JsonObject]:
            body = {"project_id": self._project, **place, **asked}
            return list(self._api.lines("/calls/stream_query", body))

        for rows in self._pages(page):
            yield from rows

    def _pages(self, page: Callable[[JsonObject], list[JsonObject] | None]) -> Iterator[list[JsonObject]]:
        """Pages by limit and offset; the end is an empty one: a server may give fewer than were asked for.

        Raises OutsideServiceError where a page brings nothing that the one before it didn't.
        """
        before: set[str] = set()
        offset = 0
        while rows := page({"limit": self._page_size, "offset": offset}):
            ids = {f"{r.get('trace_id')}/{r.get('span_id')}/{r.get('id')}" for r in rows}
            if ids <= before:
                raise OutsideServiceError(
                    "Weave answers the same rows at every offset", where=f"source {self._source.name}"
                )
            yield rows
            before = ids
            offset += len(rows)

    def _calls(self, trace_ids: Sequence[str]) -> list[JsonObject]:
        asked: JsonObject = {
            "filter": {"trace_ids": list(trace_ids)},
            "sort_by": [{"field": "started_at", "direction": "asc"}, {"field": "id", "direction": "asc"}],
            "include_feedback": True,
            "include_costs": True,
        }
        return self._resolved(self._held(self._paged(asked), trace_ids))

    def _agents_listed(self, window: Window) -> Iterator[JsonObject]:
        return self._agents_paged({"started_after": iso(window.start), "started_before": iso(window.end)})

    def _agents(self, trace_ids: Sequence[str]) -> list[JsonObject]:
        if not self._has_agents:
            return []
        wanted = [{"$literal": trace_id} for trace_id in trace_ids]
        query: JsonObject = {"$expr": {"$in": [{"$getField": "trace_id"}, wanted]}}
        asked: JsonObject = {"query": query, "include_details": True, "include_costs": True}
        return self._held(self._agents_paged(asked), trace_ids)

    def _held(self, rows: Iterator[JsonObject], trace_ids: Sequence[str]) -> list[JsonObject]:
        """Read rows of traces. Raises TooLarge where several are too much; of one the rest is left out.

        What is read of it is more than `max_trace_mb`, so that it is skipped for its size.
        """
        held: list[JsonObject] = []
        size = 0
        for row in rows:
            held.append(row)
            size += len(msgspec.json.encode(row))
            if size > self._page_bytes:
                if len(trace_ids) == 1:
                    break
                raise TooLarge("the traces of one page are too large", where=f"source {self._source.name}")
        return held

    def _agents_paged(self, asked: JsonObject) -> Iterator[JsonObject]:
        sort = [{"field": "started_at", "direction": "asc"}]
        for rows in self._pages(lambda place: self._agents_page({"sort_by": sort, **place, **asked})):
            yield from rows

    def _agents_page(self, asked: JsonObject) -> list[JsonObject] | None:
        """A page of the agents' store; None where the server has none."""
        try:
            answer = self._api.post("/agents/spans/query", {"project_id": self._project, **asked})
        except NotServed:
            self._has_agents = False
            return None
        return _objects(answer.get("spans"))

    def _resolved(self, rows: list[JsonObject]) -> list[JsonObject]:
        """Put the objects in for references to them in inputs and outputs."""
        for _ in range(_DEPTH):
            refs = sorted({ref for r in rows for ref in object_refs([r.get("inputs"), r.get("output")])})
            objects = self._objects(refs)
            if not objects:
                return rows
            rows = [
                {**r, **{k: replaced(r[k], objects) for k in ("inputs", "output") if k in r}} for r in rows
            ]
        return rows

    def _objects(self, refs: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for i in range(0, len(refs), _REFS_AT_ONCE):
            some = refs[i : i + _REFS_AT_ONCE]
            try:
                found.update(self._read_refs(some))
            except BadAnswer:  # one that is gone, or that may not be read, spoils the batch
                for ref in some:
                    found.update(self._read_ref(ref))
        return found

    def _read_ref(self, ref: str) -> dict[str, Any]:
        """Read one object; nothing where the server refuses this reference and is well otherwise."""
        try:
            return self._read_refs([ref])
        except BadAnswer as error:
            if error.status in (401, 429):
                raise
            if error.status >= 500:
                self._api.get("/server_info")
            return {}

    def _read_refs(self, refs: Sequence[str]) -> dict[str, Any]:
        # An internal reference names the project by the server's own id, which no request may use.
        asked = [r if r.startswith("weave:///") else self._outside(r) for r in refs]
        values = self._api.post("/refs/read_batch", {"refs": asked}).get("vals")
        if not isinstance(values, list) or len(cast("list[Any]", values)) != len(refs):
            raise OutsideServiceError(
                "Weave did not answer each reference", where=f"source {self._source.name}"
            )
        pairs = zip(refs, cast("list[Any]", values), strict=True)
        return {ref: value for ref, value in pairs if value is not None}

    def _outside(self, ref: str) -> str:
        return f"weave:///{self._project}/object/{ref.partition('/object/')[2]}"

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of rows of both stores: pure."""
        skipped: list[Skipped] = []
        groups: dict[str, dict[str, JsonObject]] = {}
        # Of a call that is there twice, the version that has ended; of a span, the call.
        for row in sorted(rows, key=lambda r: ("span_id" in r, r.get("ended_at") is None)):
            try:
                trace_id, span_id = ids_of(row)
            except ValueError as error:
                skipped.append(Skipped("assemble", self._source.name, str(error)))
                continue
            if row.get("deleted_at") is None:
                groups.setdefault(trace_id, {}).setdefault(span_id, row)
            else:
                skipped.append(Skipped("assemble", self._source.name, "the call was deleted in Weave"))
        made = [self._trace(trace_id, list(group.values())) for trace_id, group in groups.items()]
        skipped += [m for m in made if isinstance(m, Skipped)]
        return Made([m for m in made if isinstance(m, Trace)], skipped)

    def _trace(self, trace_id: str, rows: list[JsonObject]) -> Trace | Skipped:
        item = f"{self._source.name}:{trace_id}"
        if sum(len(msgspec.json.encode(r)) for r in rows) > self._source.max_trace_mb * (1 << 20):
            return Skipped("assemble", item, f"the trace is larger than {self._source.max_trace_mb:g} MB")
        if any(r.get("parent_id") is None and r.get("scorer_run") is True for r in rows):
            return Skipped("assemble", item, "a scorer's run, not the agent's")
        spans, problems = _spans(rows)
        if not spans:
            return Skipped("assemble", item, problems[0])
        trace, skipped = trace_of(spans, self._source, problems=problems)
        if trace is None:
            return skipped[0]
        given = [score for r in rows for f in feedback_of(r) for score in read_feedback(f)]
        return msgspec.structs.replace(trace, scores=tuple(dict.fromkeys((*trace.scores, *given))))

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield the feedback that was given in a window on calls."""
        asked: JsonObject = {
            "project_id": self._project,
            "query": {"$expr": _since("created_at", window.start)},
            "sort_by": [{"field": "created_at", "direction": "asc"}],
        }
        for items in self._pages(lambda place: self._feedback({**asked, **place})):
            yield from self._late([i for i in items if _within(i, window)])
            if not _starts_before(items[-1], window.end, "created_at"):
                return

    def _feedback(self, asked: JsonObject) -> list[JsonObject]:
        return _objects(self._api.post("/feedback/query", asked).get("result"))

    def _late(self, items: Sequence[JsonObject]) -> Iterator[LateScore]:
        calls = {_call_id(item) for item in items} - {None}
        traces: dict[str, str] = {}
        if calls:
            asked: JsonObject = {
                "project_id": self._project,
                "filter": {"call_ids": sorted(str(c) for c in calls)},
                "columns": ["id", "trace_id"],
            }
            for row in self._api.lines("/calls/stream_query", asked):
                traces[str(row.get("id"))] = str(row.get("trace_id"))
        for item in items:
            trace_id = traces.get(_call_id(item) or "") or text_of(item.get("span_trace_id"))
            session = text_of(item.get("span_conversation_id"))
            if trace_id is None and session is None:
                continue  # feedback on an object, or on a call that is gone
            for score in read_feedback(item):
                yield LateScore(score, trace_id=trace_id, session_id=None if trace_id else session)


def _spans(rows: Sequence[JsonObject]) -> tuple[list[Span], list[str]]:
    """The spans of one trace's rows, and what is wrong with the rows."""
    native = [r for r in rows if "span_id" not in r and span_dump(r) is None]
    spans, problems = native_spans(native)
    for row in rows:
        dump = span_dump(row)
        try:
            if dump is not None:
                spans.append(imported(row, dump))
            elif "span_id" in row:
                spans.append(agent_span(row))
        except ValueError as error:
            problems.append(str(error))
    return spans, problems


def _since(field: str, at: int) -> JsonObject:
    return {"$gte": [{"$getField": field}, {"$literal": at // SECOND}]}


def _mark(cursor: str) -> tuple[int, str]:
    start, slash, trace_id = cursor.partition("/")
    if not (slash and start.isdecimal()):
        raise OutsideServiceError("the cursor is none of Weave's", where="the store of traces")
    return int(start), trace_id


def _starts_before(row: JsonObject, end: int, field: str = "started_at") -> bool:
    try:
        return ns(row.get(field)) < end
    except (ValueError, OverflowError):
        return True


def _within(item: JsonObject, window: Window) -> bool:
    try:
        return window.start <= ns(item.get("created_at")) < window.end
    except (ValueError, OverflowError):
        return False


def _call_id(item: JsonObject) -> str | None:
    kind, slash, call_id = str(item.get("weave_ref") or "").partition("/call/")
    return call_id if kind and slash and call_id else None


def _objects(values: Any) -> list[JsonObject]:
    listed = cast("list[Any]", values) if isinstance(values, list) else []
    return [cast(JsonObject, v) for v in listed if isinstance(v, dict)]
