"""Small chat logs in files, for the tests of file sources."""

from __future__ import annotations

import json
from typing import Any

from strop.config import Source
from strop.records import Skipped, Trace


def source(kind: str, path: str, **extra: Any) -> Source:
    return Source(name="s", kind=kind, path=path, **extra)


def chat(n: int, **extra: Any) -> dict[str, Any]:
    """Return a chat whose text holds everything that JSON splitting could trip over."""
    messages = [{"role": "user", "content": f"q{n}\n\"{{[' ü"}, {"role": "assistant", "content": "a"}]
    return {"messages": messages, "customer": "007", **extra}


def questions(items: list[Trace | Skipped]) -> list[str]:
    return [i.episodes[0].messages[0].content or "" if isinstance(i, Trace) else "skipped" for i in items]


def as_lines(items: list[Any]) -> bytes:
    return b"".join(json.dumps(i).encode() + b"\n" for i in items)


CHATS = [chat(n) for n in range(5)]
WANTED: list[str] = [c["messages"][0]["content"] for c in CHATS]
