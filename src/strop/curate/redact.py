"""Take people out of a trace before it is written anywhere; business identifiers stay.

Known identities (fields of the trace, attributes, JSON tool arguments and results, by key) are
replaced everywhere in the trace, free text included; so are full names and addresses that a finder sees
in one of its sentences; then whatever looks like personal data. JSON is edited literal by literal: keys,
structure, numbers and ids keep every byte.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from strop import config
from strop.curate.finders import Finder, finder
from strop.curate.identities import CARRIERS, JsonTexts, Known, folded, is_identity, known_in, normal
from strop.curate.names import stands_alone
from strop.curate.patterns import compiled
from strop.curate.recognise import EMAIL, PLACEHOLDER, recognise
from strop.curate.replace import Replacements, Search, is_sentence
from strop.records import Episode, JsonObject, Message, Score, Tool, ToolCall, Trace

_ID_KEY = re.compile(
    r"(?:^|_)(?:id|ids|uuid|tracking|order|invoice|shipment|parcel|awb|consignment|reference|ref|sku|ean|ticket)"
    r"(?:_|$)|(?:Id|Number)$|(?:tracking|order|invoice|shipment|parcel)_?(?:nr|no|number|code)",
    re.IGNORECASE,
)
_REMEMBERED = 4096  # texts whose names are kept at hand: system prompts come again in every trace


class Redactions(msgspec.Struct, frozen=True):
    """What was taken out: counts by kind, and (kind, keyed HMAC) of each identity."""

    counts: dict[str, int]
    hmacs: tuple[tuple[str, str], ...]


class Redactor:
    """Redact traces by the settings of `[redact]`. `key`: secret of the HMACs, at least 16 bytes.

    names: who finds names and addresses in sentences, instead of what `redact.names` says.
    """

    def __init__(self, settings: config.Redact, key: bytes, names: Finder | None = None) -> None:
        self._fields = frozenset(map(folded, settings.identity_fields))
        self._key = key
        self._names = names or finder(settings.names)
        self._remembered: dict[str, Sequence[tuple[int, int, str]]] = {}
        self._protect = compiled(settings.protect, "redact.protect")

    def redact(self, trace: Trace) -> tuple[Trace, Redactions]:
        """Return the trace without people, and what was taken out. Applied twice, it changes nothing."""
        read = JsonTexts()
        known = known_in(trace, self._fields, read)
        if self._names is not None:
            known += self._named_in(trace, read)
        find = self._find if self._names is not None else None
        work = Replacements(known, self._protect, _business_values(trace, read), _highest(trace), find, read)
        episodes = tuple(_episode(e, work) for e in trace.episodes)
        clean = msgspec.structs.replace(
            trace,
            episodes=episodes,
            customer=self.pseudonym(trace.customer, "customer"),
            workflow_id=self.pseudonym(trace.workflow_id, "workflow"),
            session_id=self.pseudonym(trace.session_id, "session"),
            source_id=self.pseudonym(trace.source_id, "run") or "",
            agent=work.optional(trace.agent),
            error=work.optional(trace.error),
            scores=tuple(_score(s, work) for s in trace.scores),
            tags=tuple(work.text(t) for t in trace.tags),
            problems=tuple(work.text(p) for p in trace.problems),
            attributes=self._attributes(trace.attributes, work),
            identities={},
        )
        kinds = {(k.kind, k.key) for k in known} | set(work.numbers)
        hmacs = sorted((kind, self._hmac(kind, key)) for kind, key in kinds)
        return clean, Redactions(work.counts, tuple(hmacs))

    def scrub(self, text: str, *, names: bool = True) -> str:
        """Return a text of no known trace (a comment, an error) without what looks personal.

        names: look for names and addresses too; in words of strop's own the finder only errs.
        """
        find = self._find if names and self._names is not None else None
        return Replacements([], self._protect, set(), {}, find).text(text)

    def found(self, text: str) -> list[tuple[int, int, str]]:
        """Return what would be replaced in a text of no known trace: (start, end, kind), in order."""
        known = self._named(text) if self._names is not None else []
        find = self._find if self._names is not None else None
        return Replacements(known, self._protect, set(), {}, find).spans(text)

    def identity_hmac(self, kind: str, value: str) -> str:
        """Return the HMAC under which an identity is kept. kind: one of `recognise.KINDS`."""
        return self._hmac(kind, normal(kind, value))

    def _hmac(self, kind: str, key: str) -> str:
        return hmac.new(self._key, f"{kind}:{key}".encode(), hashlib.sha256).hexdigest()

    @overload
    def pseudonym(self, value: str, what: str) -> str: ...
    @overload
    def pseudonym(self, value: None, what: str) -> None: ...
    def pseudonym(self, value: str | None, what: str) -> str | None:
        """An id that is somebody's e-mail address becomes a keyed one that is the same in all traces."""
        if value is None or not EMAIL.search(value):
            return value
        return f"{what}-{self._hmac('EMAIL', value.casefold())[:16]}"

    def _find(self, text: str) -> Sequence[tuple[int, int, str]]:
        if text not in self._remembered:
            self._look([text])
        return self._remembered[text]

    def _look(self, texts: Sequence[str]) -> None:
        assert self._names is not None
        if len(self._remembered) + len(texts) > _REMEMBERED:
            self._remembered.clear()
        self._remembered.update(zip(texts, self._names.find(texts), strict=True))

    def _named_in(self, trace: Trace, read: JsonTexts) -> list[Known]:
        """Return full names and addresses in the trace's sentences: they are replaced wherever they stand.

        A name's parts stand for it on their own where one of them is a listed first name and none a common
        word: else a wrong find ("Guten Morgen") or a right one ("Will May") would tear holes into sentences.
        """
        texts = list(dict.fromkeys(_sentences(trace, read)))
        self._look([t for t in texts if t not in self._remembered])
        return [known for text in texts for known in self._named(text)]

    def _named(self, text: str) -> list[Known]:
        found = self._find(text)
        if not found:
            return []
        matches, protected = recognise(text)
        kept = protected + [m[:2] for m in matches]
        kept += [m.span() for p in self._protect for m in p.finditer(text)]
        return [
            known
            for start, end, kind in found
            if not any(start < e and s < end for s, e in kept)
            for known in _known(kind, text[start:end])
        ]

    def _attributes(self, attributes: JsonObject, work: Replacements) -> JsonObject:
        kept: JsonObject = {}
        for key, value in attributes.items():
            if key.startswith(("user.", "user_", "enduser.")) or is_identity(key, self._fields):
                work.count("ATTRIBUTE")
            else:
                kept[key] = work.value(value)
        return kept


def _known(kind: str, value: str) -> list[Known]:
    words = value.split()
    if kind == "PERSON" and len(words) > 1 and value.casefold() not in CARRIERS:
        value = " ".join(words)
        return [Known(kind, normal(kind, value), value, parts=stands_alone(words))]
    if kind == "ADDRESS" and len(value) >= 8 and any(map(str.isdigit, value)):
        return [Known(kind, normal(kind, value), value)]
    return []


def _sentences(trace: Trace, read: JsonTexts) -> Iterator[str]:
    """Yield what people and models say in a trace, and the sentences inside of JSON."""
    for episode in trace.episodes:
        for message in episode.messages:
            content = message.content or ""
            leaves = read.leaves(content)
            if leaves is not None:
                yield from (text for _, text in leaves if len(text) > 12 and is_sentence(text))
            elif content and (_search(message) == "all" or is_sentence(content)):
                yield content
            for call in message.tool_calls:
                yield from (text for _, text in read.leaves(call.arguments) or () if is_sentence(text))


def _business_values(trace: Trace, read: JsonTexts) -> set[str]:
    """Values of id-like tool arguments, and the trace's own ids: these survive wherever they appear."""
    values = {v for v in (trace.workflow_id, trace.session_id, trace.source_id) if v}
    for episode in trace.episodes:
        for message in episode.messages:
            for call in message.tool_calls:
                for path, value in read.leaves(call.arguments) or ():
                    if _ID_KEY.search(path.rpartition(".")[2]):
                        values.add(value)
    return {
        v
        for v in values
        if "@" not in v and not v.startswith("+") and any(map(str.isdigit, v)) and len(v) >= 4
    }


def _highest(trace: Trace) -> dict[str, int]:
    """The highest placeholder number of each kind that the trace already carries."""
    highest: dict[str, int] = {}
    for m in PLACEHOLDER.finditer(msgspec.json.encode(trace).decode()):
        highest[m.group(1)] = max(highest.get(m.group(1), 0), int(m.group(2)))
    return highest


def _episode(episode: Episode, work: Replacements) -> Episode:
    messages = tuple(
        Message(
            role=m.role,
            content=work.optional(m.content, _search(m)),
            tool_calls=tuple(ToolCall(c.id, c.name, work.text(c.arguments)) for c in m.tool_calls),
            tool_call_id=m.tool_call_id,
            name=work.optional(m.name),
        )
        for m in episode.messages
    )
    tools = tuple(
        Tool(t.name, work.text(t.description, "none"), work.value(t.parameters, "none"))
        for t in episode.tools
    )
    return Episode(messages=messages, tools=tools)


def _search(message: Message) -> Search:
    """In what users and models say every word may be a name; elsewhere names are looked for in sentences."""
    return "all" if message.role in ("user", "assistant") else "sentences"


def _score(score: Score, work: Replacements) -> Score:
    value = work.text(score.value) if isinstance(score.value, str) else score.value
    return Score(score.name, value, score.source, work.text(score.comment, "all"))
