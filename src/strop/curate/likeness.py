"""What of a trace is compared with other traces: what was said, about what, and how it ended."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import groupby
from typing import cast

from strop.curate.protect import identifiers
from strop.curate.recognise import PLACEHOLDER
from strop.records import Episode, JsonObject, Trace, canonical_json, tool_calls_of

_SYSTEM = ("system", "developer")
_GIVEN = (*_SYSTEM, "tool")
_WORDS = re.compile(r"[\w./:-]+")
_DIGIT = re.compile(r"\d")


def said(trace: Trace) -> str:
    """Return what was said in a trace: all turns, calls and results; without the instructions.

    Instructions are mostly the same for all traces of an agent and would make them all alike.
    """
    parts: list[str] = []
    for episode in trace.episodes:
        for message in episode.messages:
            if message.role in _SYSTEM:
                continue
            parts.append(message.content or "")
            parts += [f"{call.name} {call.arguments}" for call in message.tool_calls]
    return "\n".join(parts)


def about(trace: Trace) -> int:
    """Identify what a trace is about: words with digits in what was asked, identifiers in the instructions.

    Two inquiries in the same words about two parcels are no retry of each other. Of the instructions only
    identifiers count: dates and version numbers in them differ between retries too.
    """
    found: set[str] = set()
    for episode in trace.episodes:
        for message in episode.prompt():
            text = message.content or ""
            if message.role == "user":
                words = _WORDS.findall(PLACEHOLDER.sub(" ", text))
                found.update(w.strip("./:-_") for w in words if _DIGIT.search(w))
            elif message.role in _SYSTEM:
                found.update(text[start:end] for start, end in identifiers(text))
    return hashed(sorted(found))


def outcome(trace: Trace) -> int:
    """Identify what a trace had to go by and how it ended.

    That is its status, and of each episode the instructions, all tool calls with their arguments, their
    results and the final answer. An answer in JSON counts by its values, one in prose by its words; case and
    white space in it don't.
    """
    return hashed([trace.status, [_end(e) for e in trace.episodes]])


def tool_sequence(trace: Trace) -> int:
    """Identify the tools that a trace calls, in order, repeated calls of one counted once."""
    names = [call.name for e in trace.episodes for call in tool_calls_of(e.messages)]
    return hashed([name for name, _ in groupby(names)])


def hashed(value: object) -> int:
    """Return the hash of a JSON value as a signed 64-bit number."""
    short = hashlib.blake2b(canonical_json(value), digest_size=8).digest()
    return int.from_bytes(short, signed=True)


def _end(episode: Episode) -> list[object]:
    calls = [call.key() for call in tool_calls_of(episode.messages)]
    given = [" ".join((m.content or "").split()) for m in episode.messages if m.role in _GIVEN]
    return [given, calls, _answer(episode)]


def _answer(episode: Episode) -> str | None:
    last = episode.messages[-1] if episode.messages else None
    if last is None or last.role != "assistant" or last.tool_calls:
        return None
    text = last.content or ""
    if text.lstrip()[:1] in ("{", "["):
        try:
            return canonical_json(_plain(json.loads(text))).decode()
        except (ValueError, OverflowError, RecursionError):
            pass
    return _spoken(text)


def _plain(value: object) -> object:
    """A JSON value without what does not count; big numbers keep every digit."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in cast(JsonObject, value).items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in cast("list[object]", value)]
    return f"text {_spoken(value)}" if isinstance(value, str) else repr(value)


def _spoken(text: str) -> str:
    return " ".join(text.casefold().split())
