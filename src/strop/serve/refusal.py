"""What the server answers when it can't answer: OpenAI's error shape, and nothing of the caller's secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse


class Refusal(Exception):
    """An answer other than the one that was asked for: status, message, and OpenAI's type, param and code."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}

    def body(self) -> dict[str, Any]:
        """Return the JSON body, for a response or an event of a stream that has begun."""
        if self.status == 429:
            kind = "rate_limit_error"
        else:
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """Return the HTTP response."""
        return JSONResponse(self.body(), self.status, headers={**self.headers, **(headers or {})})


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """Return a 400: the request is wrong, or asks for what this server can't do."""
    return Refusal(400, message, param=param, code=code)
