"""The texts of a rollout's messages, whatever shape their content has."""

from __future__ import annotations

import json
from typing import Any

from strop.records import JsonObject


def messages_of(rollout: JsonObject) -> list[JsonObject]:
    """Return the messages that are objects."""
    messages: Any = rollout.get("messages")
    return [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []


def text_of(message: JsonObject) -> str:
    """Return a message's text, its text parts joined; empty where it has none."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "".join(part for part in parts if isinstance(part, str))


def final_text(rollout: JsonObject) -> str | None:
    """Return the final answer: the last message, where that is an assistant's without calls."""
    messages = messages_of(rollout)
    last: JsonObject = messages[-1] if messages else {}
    if last.get("role") != "assistant" or last.get("tool_calls"):
        return None
    return text_of(last)


def decoded(text: str) -> Any:
    """Return a text's JSON, an empty object for no text, None where it is no JSON."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
