"""A platform's API as it behaves on a bad day, from a loopback server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from stub import SILENCE, Asked, Reply, answering, ok

from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.sources.http import Api, BadAnswer, NotServed


@contextmanager
def serving(answers: list[Reply]) -> Iterator[tuple[str, list[Asked]]]:
    """Serve these answers in order, the last one again and again."""
    with answering(lambda _: answers.pop(0) if len(answers) > 1 else answers[0]) as served:
        yield served


def test_what_fails_for_a_while_is_asked_again() -> None:
    waits: list[float] = []
    answers = [(429, {"Retry-After": "3"}, b""), (503, {}, b"busy"), (500, {}, b""), ok({"a": 1})]
    with serving(answers) as (url, seen), Api("X", url, sleep=waits.append) as api:
        assert api.get("/v1/things", {"limit": 5, "cursor": None}) == {"a": 1}
    assert [(a.path, a.query) for a in seen] == [("/v1/things", {"limit": ["5"]})] * 4
    assert waits == [3.0, 2.0, 4.0]


def test_retry_after_may_be_a_date_and_is_bounded() -> None:
    waits: list[float] = []
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    answers = [(429, {"Retry-After": soon}, b""), (429, {"Retry-After": "86400"}, b""), ok({})]
    with serving(answers) as (url, _), Api("X", url, sleep=waits.append) as api:
        api.get("/")
    assert 15 <= waits[0] <= 20
    assert waits[1] == 120.0


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((413, {}, b""), TooLarge, "413"),
        ((504, {}, b""), TooLarge, "in time"),
        (SILENCE, TooLarge, "ReadTimeout"),
        ((500, {}, b"database locked"), BadAnswer, "database locked"),
        ((404, {}, b'{"message":"not here"}'), NotServed, "not here"),
        ((401, {}, b""), BadAnswer, "api_key_env"),
        ((400, {}, b"limit too high"), BadAnswer, "limit too high"),
        ((302, {"Location": "http://192.0.2.1/"}, b""), BadAnswer, "302"),
        ((200, {}, b"<html>"), BadAnswer, "no JSON"),
        ((200, {}, b"[1]"), BadAnswer, "list"),
        ((200, {}, b'{"a": "' + b"x" * 3000 + b'"}'), TooLarge, "larger"),
    ],
)
def test_each_failure_says_what_to_do(answer: Reply, error: type[Exception], words: str) -> None:
    with (
        serving([answer]) as (url, _),
        Api("X", url, retries=2, timeout_s=0.1, max_bytes=2000, sleep=lambda _: None) as api,
        pytest.raises(error, match=words) as raised,
    ):
        api.get("/")
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("answers", "error", "waits"),
    [
        ([(504, {}, b"")], TooLarge, [1.0, 2.0]),
        ([(429, {"Retry-After": "9"}, b""), (524, {}, b""), (429, {}, b""), (408, {}, b"")], TooLarge,
         [9.0, 2.0, 4.0, 8.0]),
        ([(504, {}, b""), (500, {}, b""), (504, {}, b"")], BadAnswer, [1.0, 2.0, 4.0, 8.0, 16.0]),
        ([(429, {}, b"")], BadAnswer, [1.0, 2.0, 4.0, 8.0, 16.0]),
    ],
)  # fmt: skip
def test_only_what_does_nothing_but_time_out_is_too_large(
    answers: list[Reply], error: type[Exception], waits: list[float]
) -> None:
    waited: list[float] = []
    with (
        serving(answers) as (url, _),
        Api("X", url, sleep=waited.append) as api,
        pytest.raises(error) as raised,
    ):
        api.get("/")
    assert type(raised.value) is error
    assert waited == waits


@pytest.mark.parametrize(
    "address", ["phoenix.example.com", "localhost:6006", "ftp://x", "http://", "http://[::1"]
)
def test_what_is_no_http_address_is_told_at_once(address: str) -> None:
    with pytest.raises(ConfigError, match="https://"):
        Api("X", address)


@pytest.mark.parametrize("odd", ["Mon, 01 Jan 2026 00:00:00 +99999999999999999999", "soon", "nan"])
def test_an_odd_retry_after_is_passed_over(odd: str) -> None:
    waits: list[float] = []
    with serving([(429, {"Retry-After": odd}, b""), ok({})]) as (url, _):
        Api("X", url, sleep=waits.append).get("/")
    assert waits == [1.0]


def test_nobody_listens() -> None:
    with (
        Api("X", "http://127.0.0.1:9", retries=2, sleep=lambda _: None) as api,
        pytest.raises(OutsideServiceError, match="Connect"),
    ):
        api.get("/")


def test_text_that_was_cut_inside_a_character_is_no_broken_answer() -> None:
    body = (
        b'{"cut": "a\\ud83d", "whole": "\\ud83d\\ude00", "id": 34043416109404255712, "n": NaN, "raw": "\xff"}'
    )
    with serving([(200, {}, body)]) as (url, _), Api("X", url) as api:
        found = api.get("/")
    assert found == {
        "cut": "a?",
        "whole": "\U0001f600",
        "id": 34043416109404255712,
        "n": "NaN",
        "raw": "\ufffd",
    }


def test_json_lines() -> None:
    with serving([(200, {}, b'{"a":1}\n\n{"a":2}\n')]) as (url, _), Api("X", url) as api:
        assert list(api.lines("/", {"q": 1})) == [{"a": 1}, {"a": 2}]
    with (
        serving([(200, {}, b'{"a":1}\n{"a"')]) as (url, _),
        Api("X", url) as api,
        pytest.raises(OutsideServiceError, match="no JSON"),
    ):
        list(api.lines("/", {}))
