"""One OpenAI-compatible endpoint that is paid by the call: its cost, its spend cap, and when it is down."""

from __future__ import annotations

import threading
import time

import httpx2
import msgspec

from strop.config import secret
from strop.errors import ConfigError, OutsideServiceError
from strop.records import JsonObject

_DOWN_AFTER = 5
_ROUNDING = 1e-9
# What is wrong with one request says nothing about the next one.
_REFUSED_REQUEST = (400, 413, 422)


class NoAnswer(Exception):
    """An endpoint did not answer one request; the message says why."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint may be used.

    name: in messages. keys: what its keys in strop.toml begin with, such as `judges.tone.`.
    usd_per_call: of each answer; max_usd: what one process may spend, None for no limit.
    """

    name: str
    keys: str
    api_key_env: str | None = None
    timeout_s: float = 30.0
    usd_per_call: float = 0.0
    max_usd: float | None = None


class Endpoint:
    """Post requests from any thread. calls, usd and seconds count what this object spent.

    A request that timed out counts as paid: it may be on the bill. Other failures cost nothing.
    """

    def __init__(self, url: str, terms: Terms) -> None:
        self.url, self.terms = url.rstrip("/"), terms
        self.calls, self.usd, self.seconds = 0, 0.0, 0.0
        self._client = httpx2.Client(trust_env=False)
        self._lock = threading.Lock()
        self._reserved = 0.0
        self._failures: list[str] = []

    def post(self, path: str, body: JsonObject) -> bytes:
        """Return the answer's bytes.

        Raises NoAnswer; OutsideServiceError after five failures in a row; ConfigError, before the call,
        where it would pass the spend cap.
        """
        self._begin()
        paid = False
        started = time.monotonic()
        try:
            answer = self._request(path, body)
            paid = True
        except httpx2.TimeoutException as error:
            paid = True
            raise self._failed(f"no answer within {self.terms.timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._failed(f"not reachable ({type(error).__name__})") from error
        finally:
            self._end(time.monotonic() - started, paid=paid)
        with self._lock:
            self._failures.clear()
        return answer

    def forgive(self) -> None:
        """Forget the failures: what stopped for them was told, and the next attempt is a new one."""
        with self._lock:
            self._failures.clear()

    def close(self) -> None:
        """Return the connections."""
        self._client.close()

    def _request(self, path: str, body: JsonObject) -> bytes:
        key = secret(self.terms.api_key_env)
        response = self._client.post(
            f"{self.url}/{path}",
            content=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=self.terms.timeout_s,
        )
        if response.status_code in _REFUSED_REQUEST:
            raise NoAnswer(f"HTTP {response.status_code}: {response.text[:100]}")
        if response.status_code != 200:
            raise self._failed(f"HTTP {response.status_code}")
        return response.content

    def _begin(self) -> None:
        terms = self.terms
        with self._lock:
            self._stop_if_down()
            after = self.usd + self._reserved + terms.usd_per_call
            if terms.max_usd is not None and after > terms.max_usd + _ROUNDING:
                raise ConfigError(
                    f"{terms.name}: the next call would pass the spend cap {terms.keys}max_usd = "
                    f"{terms.max_usd:g}: {self.usd + self._reserved:g} US dollars are spent, "
                    f"a call costs {terms.usd_per_call:g}",
                    where=f"{terms.keys}max_usd in strop.toml",
                    fix=f"raise {terms.keys}max_usd, or run again: verdicts so far are kept, not paid again",
                )
            self._reserved += terms.usd_per_call

    def _end(self, seconds: float, *, paid: bool) -> None:
        with self._lock:
            self._reserved -= self.terms.usd_per_call
            self.calls += 1
            self.usd += self.terms.usd_per_call if paid else 0.0
            self.seconds += seconds

    def _failed(self, why: str) -> NoAnswer:
        with self._lock:
            self._failures.append(why)
            self._stop_if_down()
        return NoAnswer(why)

    def _stop_if_down(self) -> None:
        if len(self._failures) >= _DOWN_AFTER:
            raise OutsideServiceError(
                f"{self.terms.name} failed {len(self._failures)} times in a row: {self._failures[-1]}",
                where=self.url,
                fix=f"start it, or correct {self.terms.keys}* in strop.toml; verdicts so far are kept",
            )
