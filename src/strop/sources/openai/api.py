"""Chat completions that OpenAI (or a server with its API) stored, because they were asked with `store`.

`GET /chat/completions` lists them by their time of creation, without a filter by time; the messages that went
in come from `GET /chat/completions/{id}/messages`. A completion is one call of a model: those whose messages
go on from another's answer are one trace.
Specification: OpenAI's OpenAPI document 2.3.0, operations listChatCompletions, getChatCompletionMessages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import JsonObject, Message, Skipped, Trace
from strop.sources.http import Api, NotServed
from strop.sources.openai.logs import chat_message, object_of, object_or_empty, offered
from strop.sources.platform import HOUR, SECOND, Capabilities, LateScore, Made, Page, Window
from strop.sources.spans.bounded import trace_of
from strop.sources.spans.messages import as_text, face, read_messages
from strop.sources.spans.span import Span

_ADDRESS = "https://api.openai.com/v1"
_PAGE = 100
_SESSION_KEYS = ("session_id", "conversation_id", "thread_id")
_WORKFLOW_KEYS = ("workflow_id", "workflow.id")
_PERSONS = ("user_id", "user_name", "user_email", "user_phone")


class OpenAI:
    """Stored chat completions. `query` narrows them: "model=gpt-4.1&metadata[env]=prod".

    project and workspace: ids of the project and the organization, where the key can see several. A
    conversation that pauses for longer than margin (ns) is a trace again after the pause.
    """

    margin = HOUR

    def __init__(
        self,
        source: Source,
        *,
        user: str | None = None,
        key: str | None = None,
        page_size: int = _PAGE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source, self._page_size = source, min(page_size, _PAGE)
        self._narrowed = _narrowed(source)
        headers = {
            "Authorization": f"Bearer {key}" if key else "",
            "OpenAI-Project": source.project or "",
            "OpenAI-Organization": source.workspace or "",
        }
        self._api = Api(
            "OpenAI",
            source.url or _ADDRESS,
            headers={k: v for k, v in headers.items() if v},
            timeout_s=source.timeout_s,
            sleep=sleep,
        )
        self._marks: list[tuple[int, str]] = []  # when the last completion of a page was made, and its id

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def probe(self) -> Capabilities:
        """Ask for one completion: the API has no version to tell."""
        answer = self._api.get("/chat/completions", {**self._narrowed, "limit": 1})
        if not isinstance(answer.get("data"), list):
            raise OutsideServiceError(
                "the server answered no list of completions",
                where="/chat/completions",
                fix="check url in strop.toml: it ends in /v1",
            )
        return Capabilities("openai", "unknown", "v1", ("only completions asked with store are kept",))

    def fetch(self, window: Window, cursor: str | None = None) -> Iterator[Page]:
        """Yield {"completion", "messages"} rows of a window; there is no cursor to go on from.

        The list has no bounds in time, so that it is read from the last page that is known to be earlier.
        Raises TooLarge, OutsideServiceError, ConfigError.
        """
        bounds = window.widened(self.margin)
        earlier = [mark for mark in self._marks if (mark[0] + 1) * SECOND <= bounds.start]
        after = max(earlier)[1] if earlier else None
        for completions in self._pages("/chat/completions", {**self._narrowed, "order": "asc"}, after):
            times = [at for at in map(_created, completions) if at is not None]
            last = completions[-1] if completions else {}
            if times and _created(last) == max(times) and isinstance(last.get("id"), str):
                self._marks.append((max(times), last["id"]))
            yield Page([
                {"completion": c, "messages": self._messages(c)}
                for c in completions
                if (at := _created(c)) is None or bounds.start <= at * SECOND < bounds.end
            ])  # fmt: skip
            ordered = times == sorted(times)
            if times and (times[-1] if ordered else min(times)) * SECOND >= bounds.end:
                return

    def assemble(self, rows: Sequence[JsonObject]) -> Made:
        """Make traces of completions: pure."""
        return read_completions(rows, self._source)

    def scores(self, window: Window) -> Iterator[LateScore]:
        """Yield nothing: the API keeps no scores."""
        yield from ()

    def _messages(self, completion: JsonObject) -> list[JsonObject] | None:
        """Read the messages that went in; None where the completion was deleted meanwhile."""
        path = f"/chat/completions/{completion.get('id')}/messages"
        try:
            return [m for page in self._pages(path, {"order": "asc"}, None) for m in page]
        except NotServed:
            return None

    def _pages(self, path: str, asked: Mapping[str, Any], after: str | None) -> Iterator[list[JsonObject]]:
        seen: set[str] = set()
        while True:
            answer = self._api.get(path, {**asked, "limit": self._page_size, "after": after})
            data: Any = answer.get("data")
            rows: list[Any] = cast("list[Any]", data) if isinstance(data, list) else [None]
            if not all(isinstance(row, dict) for row in rows):
                raise OutsideServiceError("the server answered no list of objects", where=path)
            yield cast("list[JsonObject]", rows)
            more: Any = answer.get("has_more")
            if more is None and len(rows) >= self._page_size:
                raise OutsideServiceError("a full page does not say whether there are more", where=path)
            if not more:
                return
            after = answer.get("last_id") or (rows[-1].get("id") if rows else None)
            if not isinstance(after, str) or after in seen:
                raise OutsideServiceError("the list's cursor does not advance", where=path)
            seen.add(after)


class _Completion(msgspec.Struct, frozen=True):
    """One stored completion, its messages read; `created` in seconds since 1970."""

    row: JsonObject
    id: str
    created: int
    given: tuple[Message, ...]
    said: tuple[Message, ...]
    sent: list[JsonObject]
    answered: list[JsonObject]


def read_completions(rows: Sequence[Any], source: Source) -> Made:
    """Make traces of stored completions, in any order; a completion that is there twice is one."""
    found: dict[str, _Completion] = {}
    skipped: dict[str, Skipped] = {}
    for row in rows:
        try:
            completion = _completion(row)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            known = object_of(object_of(row, "completion"), "id")
            item = f"{source.name}:{known[:64] if isinstance(known, str) else f'row-{len(skipped)}'}"
            reason = str(error) if isinstance(error, ValueError) else "a field has the wrong type"
            skipped[item] = Skipped("assemble", item, f"no completion: {reason}")
            continue
        found[completion.id] = max(completion, found.get(completion.id, completion), key=_size)
    traces: list[Trace] = []
    for chain in _chains(found.values()):
        trace, left = trace_of([_span(c, i, chain[0].id, source) for i, c in enumerate(chain)], source)
        traces += [trace] if trace is not None else []
        skipped.update({s.item: s for s in left})
    return Made(traces, list(skipped.values()))


def _completion(row: Any) -> _Completion:
    completion = object_or_empty(object_of(row, "completion"))
    found_id, created = completion.get("id"), _created(completion)
    if not isinstance(found_id, str) or not found_id:
        raise ValueError("it has no id")
    if created is None:
        raise ValueError("it has no time of creation")
    messages: Any = object_of(row, "messages")
    if not isinstance(messages, list):
        raise ValueError("it has no messages")
    sent = [_sent(m, i) for i, m in enumerate(cast("list[Any]", messages))]
    choices: Any = completion.get("choices")
    first = cast("list[Any]", choices)[0] if isinstance(choices, list) and choices else None
    message = object_of(first, "message")
    answered = [chat_message({**object_or_empty(message), "role": "assistant"}, 0)] if message else []
    given, said = tuple(read_messages(sent)), tuple(read_messages(answered))
    return _Completion(completion, found_id, created, given, said, sent, answered)


def _sent(raw: Any, index: int) -> JsonObject:
    message = object_or_empty(raw)
    parts = message.get("content_parts")
    return chat_message({**message, "content": parts} if parts else raw, index)


def _created(completion: JsonObject) -> int | None:
    created = completion.get("created")
    known = isinstance(created, int) and not isinstance(created, bool) and 0 <= created < 1 << 33
    return created if known else None


def _size(completion: _Completion) -> tuple[int, bytes]:
    return len(completion.sent), msgspec.json.encode(completion.row, order="sorted")


def _chains(completions: Any) -> list[list[_Completion]]:
    """Put each completion after the one whose messages and answer its own messages begin with."""
    ordered = sorted(cast("list[_Completion]", completions), key=lambda c: (c.created, len(c.given), c.id))
    chains: list[list[_Completion]] = []
    ends: dict[tuple[Any, ...], int] = {}
    for completion in ordered:
        faces = [face(m) for m in completion.given]
        at = None
        for cut in range(len(faces), 0, -1):
            at = ends.get(tuple(faces[:cut])) if completion.given[cut - 1].role == "assistant" else None
            if at is not None:
                break
        if at is None:
            at = len(chains)
            chains.append([])
        chains[at].append(completion)
        if completion.said:
            ends[(*faces, *map(face, completion.said))] = at
    return chains


def _span(completion: _Completion, index: int, trace_id: str, source: Source) -> Span:
    row, at = completion.row, completion.created * SECOND + index  # several may be of the same second
    metadata = object_or_empty(row.get("metadata"))
    usage = object_or_empty(row.get("usage"))
    attributes: JsonObject = {
        **{k: v for k, v in metadata.items() if k not in (*_SESSION_KEYS, *_WORKFLOW_KEYS, *_PERSONS)},
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": as_text(row.get("model") or ""),
        "gen_ai.input.messages": completion.sent,
        "gen_ai.output.messages": completion.answered,
        "gen_ai.tool.definitions": offered(row.get("tools"))[0] or None,
        "gen_ai.usage.input_tokens": usage.get("prompt_tokens"),
        "gen_ai.usage.output_tokens": usage.get("completion_tokens"),
    }
    session = next((metadata[k] for k in _SESSION_KEYS if metadata.get(k)), None)
    workflow = next((metadata[k] for k in _WORKFLOW_KEYS if metadata.get(k)), None)
    persons = {k: metadata[k] for k in _PERSONS if metadata.get(k)}
    persons.setdefault("user_id", row.get("input_user") or row.get("user"))
    named = {"session.id": session, "workflow.id": workflow}
    named |= {f"user.{k[5:]}": v for k, v in persons.items()}
    attributes |= {k: as_text(v) for k, v in named.items() if v}
    return Span(
        trace_id=trace_id,
        span_id=completion.id,
        name="chat",
        started_at=at,
        ended_at=at,
        attributes=attributes,
        size=len(msgspec.json.encode([row, completion.sent])),
    )


def _narrowed(source: Source) -> dict[str, str]:
    pairs = parse_qsl(source.query or "", keep_blank_values=True)
    for name, _ in pairs:
        if name != "model" and not (name.startswith("metadata[") and name.endswith("]")):
            raise ConfigError(
                f"source {source.name}: query has {name!r}",
                where="strop.toml, [[sources]]",
                fix='write query = "model=...&metadata[key]=value"',
            )
    return dict(pairs)
