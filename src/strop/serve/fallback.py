"""When the small model's answer is invalid, the teacher may be asked instead."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import msgspec

from strop.models.chat import ChatReply
from strop.records import JsonObject, Message, Usage
from strop.serve.wire import ChatRequest

_PASSED_ON = (
    "messages", "tools", "tool_choice", "temperature", "max_tokens", "max_completion_tokens",
    "seed", "response_format", "parallel_tool_calls",
)  # fmt: skip


def problem_of(reply: ChatReply, request: ChatRequest) -> str | None:
    """Say why an answer is of no use to any caller, or None where it is well-formed."""
    content = reply.message.content or ""
    offered = {tool.name for tool in request.tools}
    for call in reply.message.tool_calls:
        if call.name not in offered:
            return "unknown tool"
        if call.parsed() is None:
            return "tool arguments are not a JSON object"
    if reply.message.tool_calls:
        return None
    if "<tool_call>" in content:
        return "unparsable tool call"
    if not content.strip():
        return "empty answer"
    if request.wants_json:
        try:
            msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError):
            return "not JSON"
    return None


class Fallback:
    """The teacher's endpoint. base_url ends in /v1; only this address is spoken to, by no proxy."""

    def __init__(self, base_url: str, *, model: str, key: str | None = None, timeout_s: float = 60.0) -> None:
        self.model = model
        self._url = base_url.rstrip("/") + "/chat/completions"
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.AsyncClient(headers=headers, timeout=timeout_s, trust_env=False)

    async def ask(self, request: ChatRequest) -> ChatReply | None:
        """Return the teacher's answer, or None where it gave none that can be read."""
        body = {key: request.raw[key] for key in _PASSED_ON if request.raw.get(key) is not None}
        started = time.monotonic()
        try:
            response = await self._client.post(self._url, json={**body, "model": self.model})
            response.raise_for_status()
            return _reply(response.json(), time.monotonic() - started)
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _reply(data: JsonObject, seconds: float) -> ChatReply:
    choice: Any = data["choices"][0]
    message = Message.from_openai(choice["message"])
    usage: Any = data.get("usage") or {}
    finish = choice.get("finish_reason")
    if finish not in ("stop", "tool_calls", "length"):
        finish = "tool_calls" if message.tool_calls else "stop"
    return ChatReply(
        message=message,
        usage=Usage(int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))),
        finish_reason=finish,
        seconds=seconds,
    )
