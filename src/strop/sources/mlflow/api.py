"""An MLflow 3 server's traces and assessments (REST) into the same assembly as OTLP.

Traces are searched by time, page by page, without their spans. Those are read trace by trace from
`get-trace-artifact`, as the server stored them: `traces/batchGet` decodes attributes that look like JSON,
which costs a tool result its own spelling, and fails for whole numbers past 64 bits. It is asked only
where the artifact is not served. Either way an attribute that is JSON stays the text that it was.

One thing MLflow loses: text that is a JSON string with its quotes comes back without them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, cast

import msgspec

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import JsonObject, Score, Skipped, Trace
from strop.sources.http import Api, BadAnswer, NotServed
from strop.sources.mlflow.spans import read_spans, trace_id_of
from strop.sources.platform import SECOND, Capabilities, LateScore, Made, Page, Window
from strop.sources.spans.bounded import trace_of
from strop.sources.spans.conventions import number
from strop.sources.spans.messages import as_text

_ARTIFACT = "/ajax-api/2.0/mlflow/get-trace-artifact"
_BATCH = 25
_DAMAGED = ("INVALID_STATE", "DATA_LOSS")  # what the server calls spans that it can't read
_KINDS: dict[str, Literal["human", "llm", "code"]] = {
    "HUMAN": "human", "LLM_JUDGE": "llm", "AI_JUDGE": "llm", "CODE": "code",
}  # fmt: skip


class MLflow:
    """Connect to one experiment. source.project: its name or id.

    user and key: HTTP Basic; key alone: a bearer token. Raises ConfigError without url and project.
    """

    # The server files a trace under its root's start; a span of it may have begun a little earlier.
    margin = 60 * SECOND

    def __init__(
        self,
        source: Source,
        *,
        user: str | None = None,
        key: str | None = None,
        page_size: int = 100,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not source.url or not source.project:
            raise ConfigError(
                f"source {source.name} needs url and project",
                where="strop.toml, [[sources]]",
                fix="name both",
            )
        self._source, self._page_size = source, page_size
        self._experiment: str | None = None
        self._artifacts = True
        self._api = Api(
            "MLflow",
            source.url,
            headers={"Authorization": f"Bearer {key}"} if key and not user else {},
            auth=(user, key or "") if user else None,
            timeout_s=source.timeout_s,
            sleep=sleep,
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def probe(self) -> Capabilities:
        """Ask for the version, the experiment, and whether traces are served as they were stored."""
        version = self._api.text("/version")
        self._experiment_id()
        notes: tuple[str, ...] = ()
        try:
            self._api.get(_ARTIFACT)
        except NotServed:
            notes = ("the server decodes attributes: JSON in tool results loses its own spelling",)
        except OutsideServiceError:
            pass  # it misses a trace id: the path is served
        return Capabilities("mlflow", version, "batchGet" if notes else "get-trace-artifact", notes)

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield whole traces by their start. Raises OutsideServiceError where pages don't advance."""
        wide = window.widened(self.margin)
        first, last = wide.start // 1_000_000, -(-wide.end // 1_000_000)
        body: JsonObject = {
            "locations": [
                {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": self._experiment_id()}}
            ],
            "filter": f"trace.timestamp_ms >= {first} AND trace.timestamp_ms < {last}",
            "order_by": ["timestamp_ms ASC"],
            "max_results": self._page_size,
        }
        passed = {cursor}
        while True:
            answer = self._api.post(
                "/api/3.0/mlflow/traces/search", {**body, **({"page_token": cursor} if cursor else {})}
            )
            infos: Any = answer.get("traces") or []
            token: Any = answer.get("next_page_token") or None
            if not isinstance(infos, list):
                raise self._odd("traces that are no list")
            if token is None and len(cast("list[Any]", infos)) >= self._page_size:
                raise self._odd("a full page without next_page_token")
            if token is not None and (not isinstance(token, str) or token in passed or not infos):
                raise self._odd("a next_page_token that does not advance")
            cursor = token
            passed.add(cursor)
            yield Page(self._with_spans([_object(info) for info in cast("list[Any]", infos)]), cursor, True)
            if cursor is None:
                return

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield nothing: assessments can't be asked for by time; they come with their traces."""
        return iter(())

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of {"trace_info", "spans"}."""
        made = Made([], [])
        texts = {msgspec.json.encode(row): row for row in rows}
        ordered = sorted(texts, key=lambda text: (len(text), text))  # of one trace's rows the longest counts
        names = {trace_id_of(texts[t]) or f"?{hashlib.sha256(t).hexdigest()[:16]}": t for t in ordered}
        for name, text in names.items():
            trace, skipped = self._trace(texts[text], name)
            made.skipped.extend(skipped)
            if trace is not None:
                made.traces.append(trace)
        return made

    def _trace(self, row: JsonObject, trace_id: str) -> tuple[Trace | None, list[Skipped]]:
        item = f"{self._source.name}:{trace_id}"
        if trace_id_of(row) is None:
            return None, [Skipped("assemble", item, "a trace without an id")]
        spans, unreadable = read_spans(row, trace_id)
        skipped = [Skipped("assemble", f"{item}/{place}", reason) for place, reason in unreadable]
        if not spans:
            return None, [*skipped, Skipped("assemble", item, "the server has no spans of the trace")]
        info = _object(row.get("trace_info"))
        problems = [f"a span could not be read: {reason}" for _, reason in unreadable]
        if info.get("state") == "IN_PROGRESS":
            problems.append("the run had not ended when it was read")
        trace, more = trace_of(spans, self._source, problems=problems)
        if trace is None:
            return None, [*skipped, *more]
        scores, odd = _scores(info.get("assessments"))
        skipped += [Skipped("score", f"{item}/{place}", reason) for place, reason in odd]
        return msgspec.structs.replace(trace, scores=(*trace.scores, *scores)), [*skipped, *more]

    def _experiment_id(self) -> str:
        """Return the experiment's id; a name that is a number is tried as a name first."""
        if self._experiment is None:
            project = str(self._source.project)
            where = "/api/2.0/mlflow/experiments/"
            try:
                answer = self._api.get(where + "get-by-name", {"experiment_name": project})
            except NotServed:
                if not project.isdecimal():
                    raise
                answer = self._api.get(where + "get", {"experiment_id": project})
            found = _object(answer.get("experiment")).get("experiment_id")
            if not isinstance(found, str):
                raise self._odd("an experiment without an id")
            self._experiment = found
        return self._experiment

    def _with_spans(self, infos: Sequence[JsonObject]) -> list[JsonObject]:
        rows: list[JsonObject] = []
        if self._artifacts:
            try:
                for info in infos:
                    rows.append({"trace_info": info, "spans": self._stored(info.get("trace_id"))})
            except _NoArtifacts:
                self._artifacts = False
        if not self._artifacts:
            decoded = self._decoded([i["trace_id"] for i in infos if isinstance(i.get("trace_id"), str)])
            rows = [{"trace_info": i, "spans": decoded.get(str(i.get("trace_id")))} for i in infos]
        return rows

    def _stored(self, trace_id: Any) -> Any:
        """Return a trace's spans as they were stored; None where the server has none, or damaged ones."""
        if not isinstance(trace_id, str):
            return None
        try:
            return self._api.get(_ARTIFACT, {"request_id": trace_id}).get("spans")
        except NotServed as error:
            if "error_code" in error.body and "ENDPOINT_NOT_FOUND" not in error.body:
                return None
            raise _NoArtifacts from error
        except BadAnswer as error:
            # A file that was cut is sent as it is.
            if error.status == 200 or any(code in error.body for code in _DAMAGED):
                return None
            raise

    def _decoded(self, trace_ids: Sequence[str]) -> dict[str, Any]:
        """Return traces' spans as protobuf's JSON, by trace id; traces that are not complete are missing."""
        found: dict[str, Any] = {}
        for i in range(0, len(trace_ids), _BATCH):
            answer = self._api.get(
                "/api/3.0/mlflow/traces/batchGet", {"trace_ids": list(trace_ids[i : i + _BATCH])}
            )
            for trace in cast("list[Any]", answer.get("traces") or []):
                known = _object(_object(trace).get("trace_info")).get("trace_id")
                found[str(known)] = _object(trace).get("spans")
        return found

    def _odd(self, what: str) -> OutsideServiceError:
        return OutsideServiceError(
            f"MLflow sent {what}", where=str(self._source.url), fix="check that url is an MLflow 3 server"
        )


class _NoArtifacts(Exception):
    """The server has no such path."""


def _object(value: Any) -> JsonObject:
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def _scores(raw: Any) -> tuple[list[Score], list[tuple[str, str]]]:
    """Read assessments, oldest first; also what is no score, with its reason.

    Feedback is a judgement, an expectation the answer that a person wanted: JSON text where it is more than
    a value. An assessment that a later one overrides does not count.
    """
    found: list[tuple[str, str, Score]] = []
    odd: list[tuple[str, str]] = []
    for position, item in enumerate(cast("list[Any]", raw) if isinstance(raw, list) else []):
        given = _object(item)
        name, own = given.get("assessment_name"), str(given.get("assessment_id") or position)
        if given.get("valid") is False:
            continue
        feedback, expectation = given.get("feedback"), given.get("expectation")
        value = _value(_object(feedback if feedback is not None else expectation))
        if _object(feedback).get("error"):
            odd.append((own, "the assessment failed"))
        elif not isinstance(name, str) or not name or value is None:
            odd.append((own, "an assessment without name or value"))
        else:
            kind = _KINDS.get(str(_object(given.get("source")).get("source_type")), "code")
            why = given.get("rationale")
            score = Score(name, value, kind, why if isinstance(why, str) else "")
            found.append((str(given.get("create_time") or ""), own, score))
    return [score for _, _, score in sorted(found, key=lambda f: f[:2])], odd


def _value(given: JsonObject) -> float | bool | str | None:
    value: Any = given.get("value")
    if value is None:
        value = _object(given.get("serialized_value")).get("value")
    if isinstance(value, bool | str) or value is None:
        return value
    return number(value) if isinstance(value, int | float) else as_text(value)
