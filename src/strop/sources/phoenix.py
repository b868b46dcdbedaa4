"""An Arize Phoenix server's spans and annotations (REST API /v1) into the same assembly as OTLP.

Phoenix answers what OTLP sent, with three differences: JSON strings in `metadata` and `tool.parameters`
and structured values are flattened into dotted keys, times are whole microseconds, and resource attributes
are not returned. Annotations have no filter by time: they are read by the ids of the spans, traces and
sessions of each page and lie among the rows. That a page's `next_cursor` is null is its server's word that
nothing follows (it looks one row ahead), so a full page may well be the last; a full page that does not
have the key at all is an error.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, cast
from urllib.parse import quote

import msgspec

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import JsonObject, Score, Skipped
from strop.sources.http import Api, NotServed
from strop.sources.platform import HOUR, Capabilities, LateScore, Made, Page, Window, iso, ns
from strop.sources.spans.bounded import trace_of
from strop.sources.spans.conventions import number
from strop.sources.spans.messages import as_text
from strop.sources.spans.span import Span, SpanEvent

# What is asked about in one request: a proxy's limit on the request line is often 8 KB.
_IDS, _ID_CHARS = 100, 4000
_DEEPEST = 64
_SMALLEST_PAGE = 10
_TARGETS = {
    "span_id": "span_annotations",
    "trace_id": "trace_annotations",
    "session_id": "session_annotations",
}
_KINDS: dict[str, Literal["human", "llm", "code"]] = {"HUMAN": "human", "LLM": "llm", "CODE": "code"}
_FLATTENED = (
    "metadata", "tool.parameters", "llm.prompt_template.variables", "gen_ai.input.messages",
    "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions",
    "gen_ai.tool.call.arguments", "gen_ai.tool.call.result",
)  # fmt: skip


class Phoenix:
    """Connect to one project. source.project: its name or id; key: an API key, where the server wants one.

    Raises ConfigError without url and project.
    """

    margin = HOUR

    def __init__(
        self,
        source: Source,
        *,
        user: str | None = None,
        key: str | None = None,
        page_size: int = 1000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not source.url or not source.project:
            raise ConfigError(
                f"source {source.name} needs url and project",
                where="strop.toml, [[sources]]",
                fix="name both",
            )
        self._source, self._page_size = source, page_size
        self._project = f"/v1/projects/{quote(source.project, safe='')}"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._api = Api("Phoenix", source.url, headers=headers, timeout_s=source.timeout_s, sleep=sleep)

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def probe(self) -> Capabilities:
        """Ask for the version, and whether the project is there."""
        version = self._api.text("/arize_phoenix_version")
        self._api.get(self._project)
        note = "resource attributes are not returned: customer_key must name an attribute of a span"
        return Capabilities("phoenix", version, "v1", (note,))

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield the spans of the traces that may have begun in the window, annotations among them.

        Held are only these: of the hour before the window no more than which traces began there. The last
        page holds what lies after the window, and the earlier spans of traces without a root so far (a run
        that waited a night for a person): otherwise such a run would be cut, or be taken for one that began
        here.
        """
        end = -(-window.end // 1000) * 1000  # Phoenix is asked in whole microseconds
        wide = Window(window.start, end).widened(self.margin)
        asked: dict[str, set[str]] = {kind: set() for kind in _TARGETS}
        before = set(map(_trace_id, self._spans(wide.start, window.start)))
        seen: set[str] = set()
        rooted: set[str] = set()
        late: set[str] = set()

        def noted(rows: Iterable[JsonObject]) -> list[JsonObject]:
            kept = list(rows)
            rooted.update(_trace_id(row) for row in kept if not row.get("parent_id"))
            late.update(_trace_id(row) for row in kept if _ended(row) >= wide.end)
            return kept

        bounds = {"start_time": iso(window.start), "end_time": iso(end)}
        for page, following in self._pages(f"{self._project}/spans", bounds, cursor):
            rows = noted(row for row in page if not _trace_id(row) or _trace_id(row) not in before)
            seen.update(map(_trace_id, rows))
            if following is None:
                rows += noted(row for row in self._spans(end, wide.end) if _trace_id(row) in seen)
                rows += self._spans(None, wide.start, seen - rooted)
                rows += self._spans(wide.end, None, late)
            yield Page([*rows, *self._annotations(rows, asked)], following)

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield nothing: annotations can't be asked for by time; they come with their traces."""
        return iter(())

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of spans, and attach the annotations of each trace, of its spans and its session."""
        groups: dict[str, dict[str, Span]] = {}
        annotations: dict[str, JsonObject] = {}
        problems: dict[str, list[str]] = {}
        made = Made([], [])
        for row in rows:
            if "annotator_kind" in row:
                annotations[_name_of(row)] = row
                continue
            try:
                span = _span(row)
            except ValueError as error:
                made.skipped.append(Skipped("assemble", f"{self._source.name}:{_name_of(row)}", str(error)))
                known = _ids(row).get("trace_id", "")
                problems.setdefault(known, []).append(f"a span could not be read: {error}")
                continue
            groups.setdefault(span.trace_id, {})[span.span_id] = span
        scores, unreadable = self._scores(annotations.values())
        made.skipped.extend(unreadable)
        for trace_id, spans in groups.items():
            trace, skipped = trace_of(list(spans.values()), self._source, problems=problems.get(trace_id, ()))
            made.skipped.extend(skipped)
            if trace is None:
                continue
            given = scores.get(("trace_id", trace_id), [])
            given = given + [s for span_id in spans for s in scores.get(("span_id", span_id), [])]
            given += scores.get(("session_id", trace.session_id or ""), [])
            attached = (*trace.scores, *(score for _, _, score in sorted(given, key=lambda g: g[:2])))
            made.traces.append(msgspec.structs.replace(trace, scores=attached))
        return made

    def _scores(
        self, annotations: Iterable[JsonObject]
    ) -> tuple[dict[tuple[str, str], list[tuple[str, str, Score]]], list[Skipped]]:
        """Read annotations: (created, id, score) by what they are about."""
        found: dict[tuple[str, str], list[tuple[str, str, Score]]] = {}
        skipped: list[Skipped] = []
        for row in annotations:
            target = next((key for key in _TARGETS if isinstance(row.get(key), str)), None)
            score = _score(row)
            if score is None or target is None:
                reason = "an annotation without a target" if score else "an annotation without name or value"
                skipped.append(Skipped("score", f"{self._source.name}:{_name_of(row)}", reason))
                continue
            order = (str(row.get("created_at") or ""), _name_of(row))
            found.setdefault((target, row[target]), []).append((*order, score))
        return found, skipped

    def _spans(
        self, start: int | None, end: int | None, trace_ids: Iterable[str] | None = None
    ) -> Iterator[JsonObject]:
        """Yield the spans that began from `start` to `end`; of these traces, or of all."""
        times = {"start_time": start, "end_time": end}
        bounds = {name: iso(at) for name, at in times.items() if at is not None}
        for some in [None] if trace_ids is None else _batches(trace_ids):
            for rows, _ in self._pages(f"{self._project}/spans", {**bounds, "trace_id": some}, None):
                yield from rows

    def _annotations(self, rows: Sequence[JsonObject], asked: dict[str, set[str]]) -> list[JsonObject]:
        """Read the annotations of these spans, their traces and sessions, each asked about once."""
        out: list[JsonObject] = []
        ids = [_ids(row) for row in rows]
        for kind, path in _TARGETS.items():
            new = {i[kind] for i in ids if kind in i} - asked[kind]
            asked[kind] |= new
            for some in _batches(new):
                try:
                    pages = self._pages(f"{self._project}/{path}", {f"{kind}s": some}, None)
                    out += [row for rows, _ in pages for row in rows]
                except NotServed:
                    # None of the ids is known any more (deleted meanwhile), or an older server.
                    continue
        return out

    def _pages(
        self, path: str, params: dict[str, Any], cursor: str | None
    ) -> Iterator[tuple[list[JsonObject], str | None]]:
        """Yield rows with the cursor of what follows. Raises OutsideServiceError where it doesn't advance."""
        order = {"sort": "start_time", "order": "asc"} if path.endswith("/spans") else {}
        passed = {cursor}
        while True:
            size = self._page_size
            try:
                answer = self._api.get(path, {**params, **order, "limit": size, "cursor": cursor})
            except TooLarge:  # the hours around a window don't get shorter with it: smaller pages may do
                if size <= _SMALLEST_PAGE:
                    raise
                self._page_size = max(_SMALLEST_PAGE, size // 10)
                continue
            rows = answer.get("data")
            if not isinstance(rows, list):
                raise self._odd("an answer without data", path)
            rows = [_object(row) for row in cast("list[Any]", rows)]
            following: Any = answer.get("next_cursor")
            if "next_cursor" not in answer and len(rows) >= size:
                raise self._odd("a full page without next_cursor", path)
            if following is not None and (not isinstance(following, str) or following in passed):
                raise self._odd("a next_cursor that does not advance", path)
            cursor = following
            passed.add(cursor)
            yield rows, cursor
            if cursor is None:
                return

    def _odd(self, what: str, path: str) -> OutsideServiceError:
        return OutsideServiceError(
            f"Phoenix sent {what}",
            where=f"{self._source.url}{path}",
            fix="check that url is a Phoenix server",
        )


def _object(row: Any) -> JsonObject:
    return cast(JsonObject, row) if isinstance(row, dict) else {"row": row}


def _ids(row: JsonObject) -> dict[str, str]:
    """What annotations of a span may be filed under, as far as the row says it."""
    context, attributes = row.get("context"), row.get("attributes")
    found: JsonObject = dict(cast(JsonObject, context)) if isinstance(context, dict) else {}
    if isinstance(attributes, dict):
        found["session_id"] = cast(JsonObject, attributes).get("session.id")
    return {key: found[key] for key in _TARGETS if isinstance(found.get(key), str) and found[key]}


def _trace_id(row: JsonObject) -> str:
    return _ids(row).get("trace_id", "")


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for one in sorted(ids):
        if batch and (len(batch) == _IDS or sum(map(len, batch)) + len(one) > _ID_CHARS):
            yield batch
            batch = []
        if one:
            batch.append(one)
    if batch:
        yield batch


def _name_of(row: JsonObject) -> str:
    """A row's own id, else a hash of it: what is counted must be told apart."""
    own = row.get("id")
    return own if isinstance(own, str) and own else hashlib.sha256(msgspec.json.encode(row)).hexdigest()[:16]


def _ended(row: JsonObject) -> int:
    try:
        return ns(row.get("end_time"))
    except (ValueError, OverflowError):
        return 0


def _score(row: JsonObject) -> Score | None:
    """The number, else the label, else a note's text; a label beside a number goes into the comment."""
    name, result = row.get("name"), row.get("result")
    if not isinstance(name, str) or not name or not isinstance(result, dict):
        return None
    given = cast(JsonObject, result)
    value, label, why = given.get("score"), given.get("label"), given.get("explanation")
    texts = [t for t in (label, why) if isinstance(t, str) and t]
    kind = _KINDS.get(str(row.get("annotator_kind")), "code")
    found = None if isinstance(value, str) else number(value)
    if found is not None:
        return Score(name, found, kind, ": ".join(texts))
    return Score(name, texts[0], kind, ": ".join(texts[1:])) if texts else None


def _span(row: JsonObject) -> Span:
    """Read one span. Raises ValueError with a reason that quotes nothing."""
    context = row.get("context")
    if not isinstance(context, dict):
        raise ValueError("a span without ids")
    ids = cast(JsonObject, context)
    trace_id, span_id, parent = ids.get("trace_id"), ids.get("span_id"), row.get("parent_id")
    if not isinstance(trace_id, str) or not isinstance(span_id, str) or not trace_id or not span_id:
        raise ValueError("a span without ids")
    given = row.get("attributes")
    if given is not None and not isinstance(given, dict):
        raise ValueError("attributes are no object")
    if parent is not None and not isinstance(parent, str):
        raise ValueError("parent_id is no text")
    failed = row.get("status_code") == "ERROR"
    started = _time(row, "start_time")
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent or None,
        name=str(row.get("name") or ""),
        started_at=started,
        ended_at=_time(row, "end_time") if row.get("end_time") else started,
        status="error" if failed else "ok",
        error=(str(row.get("status_message") or "") or "error") if failed else None,
        attributes=_reassembled({**_kind(row.get("span_kind")), **cast(JsonObject, given or {})}),
        events=_events(row.get("events")),
        size=len(msgspec.json.encode(row)),
    )


def _kind(raw: Any) -> JsonObject:
    """UNKNOWN is Phoenix's word for a span of another convention than its own."""
    return {"openinference.span.kind": raw} if isinstance(raw, str) and raw != "UNKNOWN" else {}


def _events(raw: Any) -> tuple[SpanEvent, ...]:
    if raw is not None and not isinstance(raw, list):
        raise ValueError("events are no list")
    events: list[SpanEvent] = []
    for item in cast("list[Any]", raw or []):
        event = _object(item)
        attributes = event.get("attributes") or {}
        if not isinstance(attributes, dict):
            raise ValueError("an event's attributes are no object")
        name = str(event.get("name") or "")
        events.append(SpanEvent(name, _time(event, "timestamp"), cast(JsonObject, attributes)))
    return tuple(events)


def _time(row: JsonObject, key: str) -> int:
    try:
        return ns(row.get(key))
    except (ValueError, OverflowError):
        raise ValueError(f"{key} is no time") from None


def _reassembled(attributes: JsonObject) -> JsonObject:
    """Put back the JSON that Phoenix flattened; the flat keys stay (customer_key may name one)."""
    out = _own(attributes)
    for prefix in _FLATTENED:
        inner = {k[len(prefix) + 1 :]: v for k, v in attributes.items() if k.startswith(prefix + ".")}
        if inner and prefix not in attributes:
            out[prefix] = as_text(_nested(inner))
    return out


def _own(attributes: JsonObject) -> JsonObject:
    """Leave out what Phoenix adds to OTel GenAI attributes, where it could be taken for somebody's words.

    Its copies of messages (of damaged ones only a part), and an output of a response's id and model.
    """
    ids = {"id": attributes.get("gen_ai.response.id"), "model": attributes.get("gen_ai.response.model")}
    made = json.dumps({k: v for k, v in ids.items() if v is not None}, ensure_ascii=False)
    added = ("output.value", "output.mime_type") if attributes.get("output.value") == made else ()
    for side in ("input", "output"):
        if f"gen_ai.{side}.messages" in attributes:
            added += (f"llm.{side}_messages.",)
    return {k: v for k, v in attributes.items() if not k.startswith(added)} if added else dict(attributes)


def _nested(flat: JsonObject) -> Any:
    root: JsonObject = {}
    for key, value in flat.items():
        node = root
        *path, last = key.split(".", _DEEPEST)
        for step in path:
            inner = node.setdefault(step, {})
            if not isinstance(inner, dict):
                break
            node = cast(JsonObject, inner)
        else:
            node[last] = value
    return _listed(root)


def _listed(node: Any) -> Any:
    """A list again where the keys count from 0: an object's own keys, such as order numbers, don't."""
    if not isinstance(node, dict):
        return node
    items = cast(JsonObject, node)
    positions = [str(i) for i in range(len(items))]
    if items and items.keys() == set(positions):
        return [_listed(items[k]) for k in positions]
    return {k: _listed(v) for k, v in items.items()}
