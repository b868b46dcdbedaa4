"""Conversations that were recorded as text: "role: text" transcripts, and Python objects' repr."""

from __future__ import annotations

import re
from typing import Any, cast

from strop.records import JsonObject
from strop.sources.langfuse.parts import literal, read_call

_TRANSCRIPT = re.compile(r"^(system|developer|user|assistant|tool|System|Human|AI|Tool): ?", re.MULTILINE)
_ROLES = {"Human": "user", "AI": "assistant", "System": "system", "Tool": "tool"}
_FIELD = re.compile(r"(?:^|\s)(role|content|tool_calls|tool_call_id)=")
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|None|\[", re.DOTALL)


def transcript(text: str) -> list[JsonObject]:
    """Take "system: ...\\nuser: ..." apart; text that does not begin with a role is the user's."""
    marks = list(_TRANSCRIPT.finditer(text))
    if not marks or marks[0].start() != 0:
        written = written_message(text)
        return [written or {"role": "user", "content": text}]
    ends = [m.start() for m in marks[1:]] + [len(text)]
    out: list[JsonObject] = []
    for mark, end in zip(marks, ends, strict=True):
        role = _ROLES.get(mark.group(1), mark.group(1))
        content = text[mark.end() : end].strip()
        out.append({"role": role, "content": None if content == "None" and role == "assistant" else content})
    return out


def written_message(text: str) -> JsonObject | None:
    """Read a message of which the framework recorded repr(): "role='user' content='...' tool_calls=None"."""
    if not text.startswith("role="):
        return None
    found: JsonObject = {}
    at = 0
    while match := _FIELD.search(text, at):
        at = match.end()
        value = _LITERAL.match(text, at)
        if value is None:
            continue
        raw = _bracketed(text, at) if value.group() == "[" else value.group()
        found.setdefault(match.group(1), literal(raw))
        at += len(raw)
        if len(found) == 4:
            break
    if not isinstance(found.get("role"), str):
        return None
    return {k: v for k, v in found.items() if v is not None}


def _bracketed(text: str, start: int) -> str:
    """Return the list that begins at `start`, up to its closing bracket outside of strings."""
    depth, at = 0, start
    while at < len(text):
        if text[at] in "'\"":
            quoted = _LITERAL.match(text, at)
            at += len(quoted.group()) if quoted else 1
            continue
        depth += {"[": 1, "]": -1}.get(text[at], 0)
        at += 1
        if depth == 0:
            break
    return text[start:at]


def called(text: str) -> list[JsonObject] | None:
    """Read smolagents' "Calling tools:" message, whose calls are a Python literal."""
    head, mark, rest = text.partition("Calling tools:")
    if not mark or head.strip():
        return None
    value = literal(rest.strip())
    if not isinstance(value, list):
        return None
    calls = [read_call(v) for v in cast("list[Any]", value)]
    return [c for c in calls if c is not None] or None
