"""Azure Monitor (Application Insights, AI Foundry) over the Log Analytics query API, in KQL.

`POST /v1/workspaces/{id}/query` or `/v1{resource id}/query`. A query has no cursor: a window's answer is one
page of whole runs, and one that is partial, too long or too slow is TooLarge, so that the window is halved.
Tables go by their workspace names and by the classic ones; what a workspace lacks is left out (`isfuzzy`).
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import JsonObject, Skipped, Trace
from strop.sources.azure.rows import ids_of, read_properties, spans_of, unique
from strop.sources.http import Api
from strop.sources.platform import DAY, Capabilities, LateScore, Made, Page, Window, iso
from strop.sources.spans.assemble import score_of
from strop.sources.spans.bounded import trace_of
from strop.sources.spans.span import SpanEvent

_URL = "https://api.loganalytics.io"
_ROW_LIMIT = 500_000
_LONGEST_WAIT_S = 600
_ANSWERED_BEFORE = 7 * DAY  # an evaluation names the answer that it judged, which may be this old
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SAY_WHICH = "name the workspace id (Log Analytics, Overview) or a resource id (/subscriptions/...)"

_WORKSPACE = (
    "TimeGenerated, TraceId=OperationId, ParentId, Properties, SessionId, UserAuthenticatedId, AppRoleName, "
    "ItemCount=toint(ItemCount)"
)
_CLASSIC = (
    "TimeGenerated=timestamp, TraceId=operation_Id, ParentId=operation_ParentId, "
    "Properties=customDimensions, SessionId=session_Id, UserAuthenticatedId=user_AuthenticatedId, "
    "AppRoleName=cloud_RoleName, ItemCount=toint(itemCount)"
)
_SPAN = 'Kind="span", SpanId=Id, Name, DurationMs=todouble(DurationMs), Success=tostring(Success), ResultCode'
_CLASSIC_SPAN = (
    'Kind="span", SpanId=id, Name=name, DurationMs=todouble(duration), Success=tostring(success), '
    "ResultCode=resultCode"
)
_SPANS = f"""union isfuzzy=true
    (AppDependencies | project {_SPAN}, {_WORKSPACE}),
    (AppRequests | project {_SPAN}, {_WORKSPACE}),
    (dependencies | project {_CLASSIC_SPAN}, {_CLASSIC}),
    (requests | project {_CLASSIC_SPAN}, {_CLASSIC})"""
_EVENTS = f"""union isfuzzy=true
    (AppTraces | project Kind="event", Name=Message, {_WORKSPACE}),
    (AppEvents | project Kind="event", Name, {_WORKSPACE}),
    (traces | project Kind="event", Name=message, {_CLASSIC}),
    (customEvents | project Kind="event", Name=name, {_CLASSIC})"""
_CONTENT = """AppGenAIContent | project Kind="content", TimeGenerated, SpanId, ContentId=Id, InputMessages,
        OutputMessages, SystemInstructions, ToolDefinitions, ToolCallArguments, ToolCallResult,
        EvaluationExplanation"""

# Runs that began in the window and have something to do with a model, whole: a day around the window is
# read to know where they began, and for what came later (a run that waited a night for a person).
_RUNS = f"""let fromTime = datetime(@first);
let toTime = datetime(@last);
let spans = {_SPANS}
    | where TimeGenerated >= fromTime - 1d and TimeGenerated < toTime + 1d and isnotempty(TraceId);
let events = {_EVENTS}
    | where TimeGenerated >= fromTime - 1d and TimeGenerated < toTime + 1d
    | where Name startswith "gen_ai." or tostring(Properties) has "gen_ai";
let runs = materialize(spans
    | summarize Began=min(TimeGenerated),
        Calls=countif(tostring(Properties) has_any ("gen_ai", "openinference", "traceloop", "llm")) by TraceId
    | where Calls > 0 and Began >= fromTime and Began < toTime
    | project TraceId);
let ids = spans | where TraceId in (runs) | project SpanId;
union isfuzzy=true
    (spans | where TraceId in (runs)),
    (events | where TraceId in (runs)),
    ({_CONTENT}
        | where TimeGenerated >= fromTime - 1d and TimeGenerated < toTime + 1d and SpanId in (ids))
| order by TimeGenerated asc"""

# Evaluations are linked to the answer or the conversation that they judge, not by their operation.
_EVALUATIONS = f"""let fromTime = datetime(@first);
let toTime = datetime(@last);
let evaluations = {_EVENTS}
    | where TimeGenerated >= fromTime and TimeGenerated < toTime
    | where Name == "gen_ai.evaluation.result"
        or tostring(Properties["event.name"]) == "gen_ai.evaluation.result"
    | extend ResponseId=tostring(Properties["gen_ai.response.id"]);
let answers = {_SPANS}
    | where TimeGenerated >= fromTime - 7d and TimeGenerated < toTime
    | extend ResponseId=tostring(Properties["gen_ai.response.id"])
    | where isnotempty(ResponseId) and ResponseId in ((evaluations | project ResponseId))
    | summarize AnsweredIn=take_any(TraceId) by ResponseId;
let explanations = union isfuzzy=true (print ContentId="", Explanation=""),
    (AppGenAIContent
        | where TimeGenerated >= fromTime - 1h and TimeGenerated < toTime + 1h
        | project ContentId=Id, Explanation=EvaluationExplanation);
evaluations
| extend ContentId=tostring(Properties["_MS.GenAIContentId"])
| join kind=leftouter answers on ResponseId
| join kind=leftouter explanations on ContentId
| project TimeGenerated, TraceId, ParentId, Properties, AnsweredIn, Explanation
| order by TimeGenerated asc"""
_PROBE = """union isfuzzy=true (print Rows=0), (AppGenAIContent | take 1 | project Rows=1)
| summarize Rows=max(Rows)"""


class Azure:
    """A Log Analytics workspace or resource. `project` is a workspace id or a full resource id.

    key: a bearer token for the API; without one azure-identity's DefaultAzureCredential finds it.
    sleep: waits between attempts, for tests. row_limit: an answer this long was cut by the service.
    """

    def __init__(
        self,
        source: Source,
        *,
        user: str | None = None,
        key: str | None = None,
        row_limit: int = _ROW_LIMIT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        project = (source.project or "").strip().rstrip("/")
        if _GUID.fullmatch(project):
            self._path = f"/v1/workspaces/{project}/query"
        elif project.lower().startswith("/subscriptions/"):
            self._path = f"/v1{project}/query"
        else:
            raise ConfigError(
                f"source {source.name} needs project", where="strop.toml, [[sources]]", fix=_SAY_WHICH
            )
        self._source, self._row_limit, self._sleep = source, row_limit, sleep
        self._url = (source.url or _URL).rstrip("/").removesuffix("/v1")
        self._token: Callable[[], str] = (lambda: key) if key else _identity(source, self._url)
        self._api: tuple[str, Api] | None = None

    def close(self) -> None:
        """Let go of the connections."""
        if self._api is not None:
            self._api[1].close()
            self._api = None

    def probe(self) -> Capabilities:
        """Ask whether the workspace answers and whether there is content that may be read."""
        rows = self._query(_PROBE, None)
        content = bool(rows) and rows[0].get("Rows") == 1
        note = (
            "AppGenAIContent is empty, absent or not readable: content that was recorded since 2026-09-30 is "
            "there (role Privileged Monitoring Data Reader)"
        )
        return Capabilities("azure", "v1", "Log Analytics query", () if content else (note,))

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the runs that began in a window, in one page."""
        yield Page(self._query(_RUNS, window, DAY), None, whole=True)

    def _query(self, query: str, window: Window | None, before: int = 0) -> list[JsonObject]:
        body: JsonObject = {"query": query}
        if window is not None:
            first, last = iso(window.start), iso(window.end)
            body["query"] = query.replace("@first", first).replace("@last", last)
            body["timespan"] = f"{iso(max(0, window.start - before))}/{iso(window.end + DAY)}"
        answer = self._connected().post(self._path, body)
        error = answer.get("error")
        if error:
            raise TooLarge(f"Azure Monitor answered in part: {_code(error)}", where=self._url + self._path)
        rows = list(_rows(answer, self._url + self._path))
        if len(rows) >= self._row_limit:
            raise TooLarge(
                f"Azure Monitor answers at most {self._row_limit} rows", where=self._url + self._path
            )
        return rows

    def _connected(self) -> Api:
        """The API with a token that is still good: one from azure-identity lasts about an hour."""
        token = self._token()
        if self._api is None or self._api[0] != token:
            self.close()
            wait = int(min(_LONGEST_WAIT_S, self._source.timeout_s))
            headers = {"Authorization": f"Bearer {token}", "Prefer": f"wait={wait}"}
            api = Api("Azure Monitor", self._url, headers=headers, timeout_s=self._source.timeout_s,
                      sleep=self._sleep)  # fmt: skip
            self._api = (token, api)
        return self._api[1]

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of rows: pure."""
        skipped: list[Skipped] = []
        groups: dict[str, dict[str, JsonObject]] = {}
        events: dict[str, list[JsonObject]] = {}
        content: dict[str, list[JsonObject]] = {}
        for row in unique(rows):
            kind = row.get("Kind")
            if kind == "content":
                content.setdefault(str(row.get("SpanId")), []).append(row)
                continue
            try:
                if kind == "span":
                    trace_id, span_id = ids_of(row)
                    groups.setdefault(trace_id, {}).setdefault(span_id, row)
                elif kind == "event" and row.get("TraceId"):
                    events.setdefault(str(row["TraceId"]), []).append(row)
                else:
                    raise ValueError("the row is of no known table, or has no operation id")
            except ValueError as error:
                skipped.append(Skipped("assemble", self._source.name, str(error)))
        for trace_id in sorted(events.keys() - groups.keys()):
            skipped.append(
                Skipped("assemble", f"{self._source.name}:{trace_id}", "the trace has events but no spans")
            )
        made = [self._trace(t, [*group.values(), *events.get(t, [])], content) for t, group in groups.items()]
        skipped += [m for m in made if isinstance(m, Skipped)]
        return Made([m for m in made if isinstance(m, Trace)], skipped)

    def _trace(
        self, trace_id: str, rows: list[JsonObject], content: dict[str, list[JsonObject]]
    ) -> Trace | Skipped:
        item = f"{self._source.name}:{trace_id}"
        own = [c for r in rows for c in content.get(str(r.get("SpanId")), [])]
        size = sum(len(msgspec.json.encode(r)) for r in [*rows, *own])
        if size > self._source.max_trace_mb * (1 << 20):
            return Skipped("assemble", item, f"the trace is larger than {self._source.max_trace_mb:g} MB")
        spans, problems = spans_of(rows, own)
        if not spans:
            return Skipped("assemble", item, problems[0])
        trace, skipped = trace_of(spans, self._source, problems=problems)
        return skipped[0] if trace is None else trace

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield the evaluators' results of a window, each for the answer or conversation that it judges."""
        for row in unique(self._query(_EVALUATIONS, window, _ANSWERED_BEFORE)):
            found = _evaluation(row)
            if found is not None:
                yield found


def _evaluation(row: JsonObject) -> LateScore | None:
    attributes = read_properties(row)
    if "_MS.GenAIContentId" in attributes:  # what is there is only a pointer
        attributes["gen_ai.evaluation.explanation"] = row.get("Explanation")
    score = score_of(SpanEvent("gen_ai.evaluation.result", 0, attributes))
    if score is None:
        return None
    session = attributes.get("gen_ai.conversation.id")
    trace_id = row.get("AnsweredIn") or (row.get("TraceId") if row.get("ParentId") or not session else None)
    if trace_id:
        return LateScore(score, trace_id=str(trace_id))
    return LateScore(score, session_id=str(session)) if session else None


def _identity(source: Source, url: str) -> Callable[[], str]:
    """Tokens of azure-identity, which caches them."""
    try:
        identity = importlib.import_module("azure.identity")
    except ImportError as error:
        raise ConfigError(
            f"source {source.name} has no api_key_env, and azure-identity is not installed",
            where="strop.toml, [[sources]]",
            fix="pip install 'strop[azure]', or name a variable that holds a bearer token in api_key_env",
        ) from error
    credential: Any = identity.DefaultAzureCredential()
    parts = urlsplit(url)
    scope = f"{parts.scheme}://{parts.netloc}/.default"

    def token() -> str:
        try:
            return str(credential.get_token(scope).token)
        except Exception as error:  # azure-identity's own errors, whatever chain of credentials failed
            raise OutsideServiceError(
                f"azure-identity gives no token: {type(error).__name__}",
                where=f"source {source.name}",
                fix="az login, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET",
            ) from error

    return token


def _rows(answer: JsonObject, where: str) -> Iterator[JsonObject]:
    """The rows of the answer's one table as objects."""
    tables = answer.get("tables")
    table: Any = cast("list[Any]", tables)[0] if isinstance(tables, list) and tables else None
    columns = table.get("columns") if isinstance(table, dict) else None
    known = isinstance(columns, list) and all(isinstance(c, dict) for c in cast("list[Any]", columns))
    if not known or not isinstance(table.get("rows"), list):
        raise OutsideServiceError("Azure Monitor answered no table", where=where)
    names = [str(c.get("name")) for c in cast("Iterable[JsonObject]", columns)]
    for values in cast("list[Any]", table["rows"]):
        if not isinstance(values, list) or len(cast("list[Any]", values)) != len(names):
            raise OutsideServiceError("Azure Monitor answered a row of another shape", where=where)
        pairs = zip(names, cast("list[Any]", values), strict=True)
        yield {name: value for name, value in pairs if value is not None and value != ""}


def _code(error: Any) -> str:
    """The innermost code of a partial error: which limit it was."""
    code = "error"
    while isinstance(error, dict):
        inner = cast(JsonObject, error)
        code = str(inner.get("code") or code)
        details = inner.get("details")
        first = cast("list[Any]", details)[0] if isinstance(details, list) and details else None
        error = inner.get("innererror") or first
    return code
