"""A platform's HTTP API: retried where that helps, paced where it is asked for, bounded in size.

429 and 5xx are asked again, heeding Retry-After; what does nothing but time out is TooLarge, as is an answer
past `max_bytes`: whoever asks halves the window. A 404 is data for probing, everything else an error with
its next step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx2
import msgspec

from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import JsonObject

_RETRIED = (408, 425, 429, 500, 502, 503, 504, 520, 522, 524)
_TIMED_OUT = (408, 504, 522, 524)
_LONGEST_WAIT_S = 120.0
_MOST_TIMEOUTS = 3  # a window that is too large should not take all retries to be found out
_CHECK = "check url and project in strop.toml"


class BadAnswer(OutsideServiceError):
    """The server answered, but not with what was asked for. status: HTTP's; body: the beginning of it."""

    def __init__(self, what: str, status: int, answer: bytes, *, where: str, fix: str = _CHECK) -> None:
        super().__init__(what, where=where, fix=fix)
        self.status, self.body = status, answer[:2000].decode("utf-8", "replace")


class NotServed(BadAnswer):
    """The server answers 404 (or 405, 410): it has no such path."""


class Api:
    """One platform's API under one base address. Close it, or use it as a context manager.

    auth: user and password of HTTP Basic. sleep: waits between attempts, for tests. max_bytes: of one
    answer, unpacked. Raises ConfigError where base_url is no http address.
    """

    def __init__(
        self,
        platform: str,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout_s: float = 60.0,
        retries: int = 6,
        max_bytes: int = 256 << 20,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not _is_http(base_url):
            raise ConfigError(
                f"the url of {platform} is no http address",
                where="strop.toml, [[sources]]",
                fix='write the whole address: url = "https://..."',
            )
        self._platform, self._base = platform, base_url.rstrip("/")
        self._retries, self._max_bytes, self._sleep = retries, max_bytes, sleep
        self._client = httpx2.Client(
            headers=dict(headers or {}), auth=auth, timeout=timeout_s, trust_env=False
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> JsonObject:
        """GET a JSON object; parameters that are None are left out."""
        return self._object(path, self._ask("GET", path, params=params))

    def post(self, path: str, body: Any, params: Mapping[str, Any] | None = None) -> JsonObject:
        """POST JSON, get a JSON object."""
        return self._object(path, self._ask("POST", path, params=params, body=body))

    def get_any(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """GET any JSON value (some platforms answer a bare list)."""
        return self._json(path, self._ask("GET", path, params=params))

    def text(self, path: str) -> str:
        """GET a short plain text, such as a version."""
        return self._ask("GET", path)[:100].decode("utf-8", "replace").strip()

    def lines(self, path: str, body: Any) -> Iterator[JsonObject]:
        """POST JSON, get JSON lines. A line that is no object raises OutsideServiceError."""
        for line in self._ask("POST", path, body=body).splitlines():
            if line.strip():
                yield self._object(path, line)

    def _ask(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> bytes:
        address = self._base + path
        given = {k: v for k, v in (params or {}).items() if v is not None}
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        problem, timeouts, failures = "", 0, 0
        last: tuple[int, bytes] | None = None
        for attempt in range(self._retries):
            wait, last = 2.0**attempt, None
            try:
                status, answer, said = self._once(method, address, given, content, headers)
            except (httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
                problem = f"{type(error).__name__} after {self._client.timeout.read:g} s"
                timeouts += 1
            except httpx2.HTTPError as error:  # it can't be reached: asking for less would not help
                problem = f"{type(error).__name__}: {error}"
                failures += 1
            else:
                if status < 300:
                    return answer
                problem = f"HTTP {status} {_excerpt(answer)}".strip()
                self._refused(status, answer, address, problem)
                last, wait = (status, answer), _wait(said, wait)
                timeouts += status in _TIMED_OUT
                failures += status not in (*_TIMED_OUT, 429)  # to be throttled says nothing about size
            if timeouts == _MOST_TIMEOUTS and not failures:
                break
            if attempt < self._retries - 1:
                self._sleep(wait)
        if timeouts and not failures:
            raise TooLarge(f"{self._platform} does not answer in time: {problem}", where=address)
        what, fix = f"{self._platform} does not answer: {problem}", "check url in strop.toml"
        if last is not None:
            raise BadAnswer(what, *last, where=address, fix=fix)
        raise OutsideServiceError(what, where=address, fix=fix)

    def _once(
        self,
        method: str,
        address: str,
        params: Mapping[str, Any],
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[int, bytes, httpx2.Headers]:
        with self._client.stream(
            method, address, params=dict(params), content=content, headers=dict(headers)
        ) as answer:
            pieces: list[bytes] = []
            size = 0
            for piece in answer.iter_bytes():
                size += len(piece)
                if size > self._max_bytes:
                    raise TooLarge(
                        f"{self._platform}'s answer is larger than {self._max_bytes >> 20} MB", where=address
                    )
                pieces.append(piece)
            return answer.status_code, b"".join(pieces), answer.headers

    def _refused(self, status: int, answer: bytes, address: str, problem: str) -> None:
        """Raise for an answer that asking again won't change."""
        if status in (404, 405, 410):
            raise NotServed(f"{self._platform}: {problem}", status, answer, where=address)
        if status == 413:
            raise TooLarge(f"{self._platform}: {problem}", where=address)
        if status in (401, 403):
            fix = "set the environment variables that api_key_env (and user_env) of the source name"
            raise BadAnswer(
                f"{self._platform} refuses the key: {problem}", status, answer, where=address, fix=fix
            )
        if status not in _RETRIED:
            raise BadAnswer(f"{self._platform} refuses the request: {problem}", status, answer, where=address)

    def _json(self, path: str, answer: bytes) -> Any:
        try:
            return _decoded(answer)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(
                f"{self._platform} answered no JSON: {error}", 200, answer, where=self._base + path
            ) from error

    def _object(self, path: str, answer: bytes) -> JsonObject:
        value = self._json(path, answer)
        if not isinstance(value, dict):
            raise BadAnswer(
                f"{self._platform} answered a {type(value).__name__}, not an object",
                200,
                answer,
                where=self._base + path,
            )
        return cast(JsonObject, value)


def _decoded(answer: bytes) -> Any:
    """Read JSON, also as JavaScript and Python write it: with half a surrogate pair (text that was cut), NaN.

    Raises ValueError, RecursionError.
    """
    try:
        return msgspec.json.decode(answer)
    except msgspec.DecodeError:
        loose = json.loads(answer.decode("utf-8", "replace"), parse_constant=str)
        return msgspec.json.decode(json.dumps(loose, ensure_ascii=False).encode("utf-8", "replace"))


def _is_http(address: str) -> bool:
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


def _wait(headers: httpx2.Headers, otherwise: float) -> float:
    """Seconds to wait: Retry-After in seconds or as a date (RFC 9110, section 10.2.3), else `otherwise`."""
    given = headers.get("retry-after", "").strip()
    try:
        wait = float(given)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            wait = otherwise
    return min(_LONGEST_WAIT_S, max(0.0, wait)) if wait == wait else otherwise


def _excerpt(answer: bytes) -> str:
    """The beginning of an error's body on one line: what a server says about its refusal."""
    return " ".join(answer[:300].decode("utf-8", "replace").split())
