"""Who may ask, and how much they may send."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from strop.errors import ConfigError
from strop.serve.refusal import Refusal

OPEN_PATHS = frozenset({"/healthz"})
_BODY_TIMEOUT_S = 60.0


class Gate:
    """ASGI middleware: the key, and a request id on every answer.

    Without a key (loopback only) the Host header must be loopback's too, or a web page could reach the
    server through a name of its own.
    """

    def __init__(self, app: ASGIApp, *, key: str | None) -> None:
        self.app = app
        self.key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 403, or pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(16)}"
        refusal = None if scope["path"] in OPEN_PATHS else self._refusal(Headers(scope=scope))
        if refusal is not None:
            await refusal.response({"x-request-id": request_id})(scope, receive, send)
            return

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        scope.setdefault("state", {})["request_id"] = request_id
        await self.app(scope, receive, send_with_id)

    def _refusal(self, headers: Headers) -> Refusal | None:
        if self.key is None:
            if is_loopback(_host_of(headers.get("host", ""))):
                return None
            return Refusal(
                403, "Without a key this server answers on loopback only.", code="host_not_allowed"
            )
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            return Refusal(
                401,
                "You didn't provide an API key. Send it as: Authorization: Bearer KEY",
                code="missing_api_key",
            )
        if not hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.key.encode()):
            return Refusal(401, "Incorrect API key provided.", code="invalid_api_key")
        return None


async def read_body(request: Request, limit: int) -> bytes:
    """Read a request's body. limit: bytes as sent; raises Refusal 413 beyond, 408 for a stalled sender."""
    too_big = Refusal(413, f"The request body is larger than {limit} bytes.", code="request_too_large")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_big
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_big
                chunks.append(chunk)
    except TimeoutError:
        raise Refusal(408, "The request body did not arrive in time.") from None
    return b"".join(chunks)


def usable_key(key: str | None, *, variable: str, host: str, no_key: bool) -> str | None:
    """Return the key to ask for, or None on loopback where no_key allows it. Raises ConfigError."""
    if key:
        return key
    if no_key and is_loopback(host):
        return None
    what = "the server needs a key"
    if no_key:
        what += ": without one it serves loopback only"
    raise ConfigError(
        what, where=f"environment variable {variable}, host {host}", fix=f"export {variable}=..."
    )


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
