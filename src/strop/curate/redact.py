"""Take people out of a trace before it is written anywhere; business identifiers stay.

Known identities (fields of the trace, attributes, JSON tool arguments and results, by key) are
replaced everywhere in the trace, free text included; then whatever looks like personal data. JSON is
edited literal by literal: keys, structure, numbers and ids keep every byte.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from strop import config
from strop.curate.identities import Known, is_identity, known_in, leaves, normal, spellings
from strop.curate.recognise import EMAIL, PLACEHOLDER, protected_spans, recognise
from strop.errors import ConfigError
from strop.records import Episode, JsonObject, Message, Score, Tool, ToolCall, Trace

_ID_KEY = re.compile(
    r"(?:^|_)(?:id|ids|uuid|tracking|order|invoice|shipment|parcel|awb|consignment|reference|ref|sku|ean|ticket)"
    r"(?:_|$)|(?:Id|Number)$|(?:tracking|order|invoice|shipment|parcel)_?(?:nr|no|number|code)",
    re.IGNORECASE,
)
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*')
_INSIDE = re.compile(r"\s*:")


class Redactions(msgspec.Struct, frozen=True):
    """What was taken out: counts by kind, and (kind, keyed HMAC) of each identity."""

    counts: dict[str, int]
    hmacs: tuple[tuple[str, str], ...]


class Redactor:
    """Redact traces by the settings of `[redact]`. `key`: secret of the HMACs, at least 16 bytes."""

    def __init__(self, settings: config.Redact, key: bytes) -> None:
        self._fields = tuple(settings.identity_fields)
        self._key = key
        try:
            self._protect = [re.compile(p) for p in settings.protect]
        except re.error as error:
            raise ConfigError(
                f"redact.protect: {error.pattern!r} is no regular expression: {error}",
                fix="correct it in strop.toml",
            ) from error

    def redact(self, trace: Trace) -> tuple[Trace, Redactions]:
        """Return the trace without people, and what was taken out. Applied twice, it changes nothing."""
        known = known_in(trace, self._fields)
        work = _Pass(known, self._protect, _business_values(trace), _highest(trace))
        episodes = tuple(_episode(e, work) for e in trace.episodes)
        clean = msgspec.structs.replace(
            trace,
            episodes=episodes,
            customer=self._pseudonym(trace.customer, "customer"),
            workflow_id=self._pseudonym(trace.workflow_id, "workflow"),
            session_id=self._pseudonym(trace.session_id, "session"),
            source_id=self._pseudonym(trace.source_id, "run") or "",
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

    def scrub(self, text: str) -> str:
        """Return a text of no known trace (a reason, an error) without what looks personal."""
        return _Pass([], self._protect, set(), {}).text(text)

    def identity_hmac(self, kind: str, value: str) -> str:
        """Return the HMAC under which an identity is kept. kind: PERSON, EMAIL, PHONE, IBAN, CARD or IP."""
        return self._hmac(kind, normal(kind, value))

    def _hmac(self, kind: str, key: str) -> str:
        return hmac.new(self._key, f"{kind}:{key}".encode(), hashlib.sha256).hexdigest()

    def _pseudonym(self, value: str | None, what: str) -> str | None:
        """An id that is somebody's e-mail address becomes a keyed one that is the same in all traces."""
        if value is None or not EMAIL.search(value):
            return value
        return f"{what}-{self._hmac('EMAIL', value.casefold())[:16]}"

    def _attributes(self, attributes: JsonObject, work: _Pass) -> JsonObject:
        kept: JsonObject = {}
        for key, value in attributes.items():
            if key.startswith(("user.", "user_", "enduser.")) or is_identity(key, self._fields):
                work.count("ATTRIBUTE")
            else:
                kept[key] = work.value(value)
        return kept


class _Pass:
    """The replacements inside one trace: the same identity is the same placeholder everywhere."""

    def __init__(
        self,
        known: Iterable[Known],
        protect: list[re.Pattern[str]],
        business: set[str],
        highest: dict[str, int],
    ) -> None:
        self.counts: dict[str, int] = {}
        self.numbers: dict[tuple[str, str], int] = {}
        self._highest = dict(highest)
        self._protect = protect
        ids = "|".join(re.escape(v) for v in sorted(business, key=lambda v: (-len(v), v)))
        self._business = re.compile(rf"(?<![^\W_])(?:{ids})(?![^\W_])") if ids else None
        self._known, self._owners = _compile(known)

    def optional(self, text: str | None) -> str | None:
        """Redact a text that may be absent."""
        return None if text is None else self.text(text)

    def value(self, value: Any) -> Any:
        """Redact all strings of a JSON value, never its keys."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {k: self.value(v) for k, v in cast(JsonObject, value).items()}
        if isinstance(value, list | tuple):
            return [self.value(v) for v in cast("list[Any]", value)]
        return value

    def text(self, text: str) -> str:
        """Redact a text; one that is a JSON object or array stays valid JSON."""
        if text.lstrip()[:1] in ("{", "["):
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                return self._free(text)
            return self._json(text)
        return self._free(text)

    def count(self, kind: str) -> None:
        """Count one replacement."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def _json(self, text: str) -> str:
        out: list[str] = []
        at = 0
        for m in _LITERAL.finditer(text):
            literal = m.group()
            if literal[0] == '"':
                if _INSIDE.match(text, m.end()):
                    continue  # a key
                old = json.loads(literal)
                new = self.text(old)
                if new == old:
                    continue
                literal = json.dumps(new, ensure_ascii="\\u" in literal)
            else:
                owner = self._known.fullmatch(literal) if self._known else None
                if owner is None:
                    continue
                literal = json.dumps(self._placeholder(*self._owner(literal)))
            out += [text[at : m.start()], literal]
            at = m.end()
        return "".join([*out, text[at:]]) if out else text

    def _free(self, text: str) -> str:
        looks = protected_spans(text)
        looks += [m.span() for p in self._protect for m in p.finditer(text) if m.end() > m.start()]
        business = [m.span() for m in self._business.finditer(text)] if self._business else []
        taken: list[tuple[int, int, str, str]] = []
        if self._known is not None:
            for m in self._known.finditer(text):
                # A number that only looks like a business identifier, but is somebody's phone, goes.
                kept = business + [span for span in looks if span != m.span()]
                if not any(s <= m.start() and m.end() <= e for s, e in kept):
                    taken.append((m.start(), m.end(), *self._owner(m.group())))
        for start, end, kind in recognise(text):
            if any(start < e and s < end for s, e in (*looks, *business)):
                continue
            if any(start < t[1] and t[0] < end for t in taken):
                whole = [t for t in taken if start <= t[0] and t[1] <= end]
                if kind != "EMAIL" or not whole:
                    continue
                taken = [t for t in taken if t not in whole]  # a name inside an address
            taken.append((start, end, kind, normal(kind, text[start:end])))
        out: list[str] = []
        at = 0
        for start, end, kind, key in sorted(taken):
            if start < at:
                continue
            out += [text[at:start], self._placeholder(kind, key)]
            at = end
        return "".join([*out, text[at:]])

    def _owner(self, match: str) -> tuple[str, str]:
        owner = self._owners.get(_face(match))
        if owner is None:
            owner = ("PHONE", normal("PHONE", match))
        return owner

    def _placeholder(self, kind: str, key: str) -> str:
        if (kind, key) not in self.numbers:
            self._highest[kind] = self._highest.get(kind, 0) + 1
            self.numbers[kind, key] = self._highest[kind]
        self.count(kind)
        return f"<{kind}_{self.numbers[kind, key]}>"


def _face(text: str) -> str:
    return re.sub(r"[\s._\-]+", " ", text).casefold()


def _compile(known: Iterable[Known]) -> tuple[re.Pattern[str] | None, dict[str, tuple[str, str]]]:
    """One expression for every spelling of everyone known, and whose spelling each match is."""
    owners: dict[str, tuple[str, str]] = {}
    forms: dict[str, int] = {}
    for identity in sorted(known, key=lambda k: (-len(k.value), k.value)):
        for pattern, exact in spellings(identity):
            forms.setdefault(pattern if exact else f"(?i:{pattern})", len(pattern))
            if identity.kind != "PHONE":
                plain = re.sub(r"\\(.)", r"\1", pattern.replace(r"[\s._\-]+", " "))
                owners.setdefault(_face(plain), (identity.kind, identity.key))
    if not forms:
        return None, owners
    ordered = sorted(forms, key=lambda f: (-forms[f], f))
    expression = rf"(?<![^\W_])(?:{'|'.join(ordered)})(?=(?:s|['’]s)?(?![^\W_]))"
    return re.compile(expression), owners


def _business_values(trace: Trace) -> set[str]:
    """Values of id-like tool arguments, and the trace's own ids: these survive wherever they appear."""
    values = {v for v in (trace.workflow_id, trace.session_id, trace.source_id) if v}
    for episode in trace.episodes:
        for message in episode.messages:
            for call in message.tool_calls:
                for path, value in leaves(call.parsed() or {}, ""):
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


def _episode(episode: Episode, work: _Pass) -> Episode:
    messages = tuple(
        Message(
            role=m.role,
            content=work.optional(m.content),
            tool_calls=tuple(ToolCall(c.id, c.name, work.text(c.arguments)) for c in m.tool_calls),
            tool_call_id=m.tool_call_id,
            name=work.optional(m.name),
        )
        for m in episode.messages
    )
    tools = tuple(Tool(t.name, work.text(t.description), work.value(t.parameters)) for t in episode.tools)
    return Episode(messages=messages, tools=tools)


def _score(score: Score, work: _Pass) -> Score:
    value = work.text(score.value) if isinstance(score.value, str) else score.value
    return Score(score.name, value, score.source, work.text(score.comment))
