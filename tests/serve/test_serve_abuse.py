"""What a hostile or clumsy caller sends, most of it over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from served import AUTH, KEY, MODEL_ID, FakeModel, body, config, text

from strop.errors import ConfigError
from strop.records import Skipped, Trace
from strop.serve.access import usable_key
from strop.serve.app import MAX_CHAT_BYTES, MAX_TRACES_BYTES, build
from strop.serve.run import running
from strop.sources.otlp.receiver import Receiver


def app(
    tmp_path: Path,
    model: FakeModel | None = None,
    *,
    key: str | None = KEY,
    receiver: Any = None,
    **serve: Any,
):
    models = {MODEL_ID: model or FakeModel()}
    return build(
        config(tmp_path, **serve), models, aliases={"champion": MODEL_ID}, key=key, receiver=receiver
    )


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", KEY, f"Basic {KEY}", f"Bearer {KEY}x", "Bearer é"],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/traces", "/v1/logs", "/nowhere"])
def test_nothing_without_the_key(tmp_path: Path, header: str | None, path: str):
    headers = {} if header is None else {"authorization": header.encode()}
    response = TestClient(app(tmp_path)).request("POST", path, json=body(), headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] in ("invalid_api_key", "missing_api_key")
    assert KEY not in response.text and "wrong" not in response.text


def test_health_needs_no_key_and_tells_nothing(tmp_path: Path):
    assert TestClient(app(tmp_path)).get("/healthz").json() == {"status": "ok"}


def test_without_a_key_only_loopback_is_answered(tmp_path: Path):
    client = TestClient(app(tmp_path, key=None), base_url="http://127.0.0.1:8321")
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/models", headers={"host": "localhost:8321"}).status_code == 200
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:127.0.0.1",
        "",
        "[::1].evil.example@x",
    ):
        expected = 200 if host.startswith("[::1]") else 403
        assert client.get("/v1/models", headers={"host": host}).status_code == expected


def test_the_server_asks_for_a_key_unless_told_otherwise_on_loopback():
    assert usable_key("k", variable="V", host="0.0.0.0", no_key=False) == "k"
    assert usable_key(None, variable="V", host="127.0.0.1", no_key=True) is None
    for host, no_key in (("127.0.0.1", False), ("0.0.0.0", True), ("example.org", True)):
        with pytest.raises(ConfigError, match="needs a key"):
            usable_key("", variable="V", host=host, no_key=no_key)


def test_a_web_form_is_not_a_request(tmp_path: Path):
    response = TestClient(app(tmp_path), headers=AUTH).post(
        "/v1/chat/completions", content=json.dumps(body()), headers={"content-type": "text/plain"}
    )
    assert response.status_code == 415 and response.json()["error"]["code"] == "unsupported_content_type"


def raw_request(base_url: str, head: str, payload: bytes = b"") -> bytes:
    host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + payload)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    return answer


def test_a_giant_body_is_refused_before_and_while_it_is_read(tmp_path: Path):
    with running(app(tmp_path)) as url:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\nhost: x\nauthorization: Bearer {KEY}\nconnection: close\n"
        )
        head += "content-type: application/json\n"
        declared = raw_request(url, f"{head}content-length: {10**12}\n\n", b"{")
        assert b" 413 " in declared and b"request_too_large" in declared

        def blocks():
            for _ in range(MAX_CHAT_BYTES // 65536 + 2):
                yield b" " * 65536

        with httpx2.Client(trust_env=False) as client:
            response = client.post(
                f"{url}/chat/completions",
                content=blocks(),
                headers={**AUTH, "content-type": "application/json"},
            )
            assert response.status_code == 413


def test_headers_cant_be_injected(tmp_path: Path):
    model = FakeModel()
    with running(app(tmp_path, model)) as url:
        payload = json.dumps(body()).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\nhost: x\nauthorization: Bearer {KEY}\nconnection: close\n"
        )
        head += f"content-type: application/json\ncontent-length: {len(payload)}\n"
        for evil in ("x-strop-customer: a\rx-evil: 1\n", "x-strop-customer: a\x00b\n", "traceparent: \x0b\n"):
            answer = raw_request(url, f"{head}{evil}\n", payload)
            assert b"x-evil" not in answer.lower() and answer.startswith(b"HTTP/1.1 ")
        assert raw_request(url, f"{head}x-strop-customer: {'a' * 100_000}\n\n", payload).startswith(
            b"HTTP/1.1 "
        )
        assert b" 200 " in raw_request(url, f"{head}\n", payload)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_hundred_at_once_are_answered_or_told_to_come_back(tmp_path: Path):
    model = FakeModel(delay_s=0.01)
    with (
        running(app(tmp_path, model, max_waiting=8)) as url,
        httpx2.Client(trust_env=False, timeout=30) as client,
    ):

        def ask(_: int) -> httpx2.Response:
            return client.post(f"{url}/chat/completions", json=body(), headers=AUTH)

        with ThreadPoolExecutor(100) as pool:
            responses = list(pool.map(ask, range(100)))
        statuses = [r.status_code for r in responses]
        assert set(statuses) <= {200, 429} and statuses.count(200) >= 9
        assert all(int(r.headers["retry-after"]) >= 1 for r in responses if r.status_code == 429)
        assert model.most_concurrent == 1
        assert ask(0).status_code == 200


def test_waiting_is_bounded_in_time(tmp_path: Path):
    model = FakeModel(hold=threading.Event())
    server = running(app(tmp_path, model, max_wait_s=0.05))
    with server as url, httpx2.Client(trust_env=False) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, f"{url}/chat/completions", json=body(), headers=AUTH, timeout=30)
        wait_until(lambda: model.asked)
        second = client.post(f"{url}/chat/completions", json=body(), headers=AUTH)
        assert second.status_code == 503 and second.json()["error"]["code"] == "overloaded"
        assert int(second.headers["retry-after"]) >= 1
        model.hold.set()
        assert first.result().status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_model(tmp_path: Path, stream: bool):
    model = FakeModel([text("one two"), text("three")], hold=threading.Event())
    with running(app(tmp_path, model)) as url, httpx2.Client(trust_env=False) as client:
        if stream:
            with client.stream(
                "POST", f"{url}/chat/completions", json=body(stream=True), headers=AUTH
            ) as response:
                assert '"one"' in next(line for line in response.iter_lines() if "one" in line)
        else:
            with pytest.raises(httpx2.ReadTimeout):
                client.post(f"{url}/chat/completions", json=body(), headers=AUTH, timeout=0.3)
        assert model.stopped.wait(10)
        model.hold.set()
        response = client.post(f"{url}/chat/completions", json=body(), headers=AUTH)
        assert response.json()["choices"][0]["message"]["content"] == "three"


async def asked(server: Any, content: str, in_line: asyncio.Event, left: asyncio.Event) -> int:
    """Ask without a socket; return the status. in_line is set once the server has read the whole request."""
    payload = json.dumps(body(content)).encode()
    headers = [(k.encode(), v.encode()) for k, v in (*AUTH.items(), ("content-type", "application/json"))]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    received: list[dict[str, Any]] = [{"type": "http.request", "body": payload}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        in_line.set()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await server({**scope, "query_string": b"", "http_version": "1.1"}, receive, send)
    return sent[0]["status"]


def test_a_client_that_leaves_the_line_is_never_answered(tmp_path: Path):
    # Over a socket nothing tells when the server has seen that the client is gone.
    hold = threading.Event()
    model = FakeModel(hold=hold)

    async def scene() -> list[int]:
        server = app(tmp_path, model)
        stays, left, in_line = asyncio.Event(), asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(asked(server, "a", asyncio.Event(), stays))
        await asyncio.to_thread(wait_until, lambda: model.asked)
        second = asyncio.create_task(asked(server, "b", in_line, left))
        try:
            async with asyncio.timeout(10):
                await in_line.wait()
                left.set()
                gone = await second
        finally:
            hold.set()
        return [gone, await first, await asked(server, "c", asyncio.Event(), stays)]

    assert asyncio.run(scene()) == [499, 200, 200]
    assert [a["messages"][0].content for a in model.asked] == ["a", "c"]


def test_a_port_in_use_is_said_so(tmp_path: Path):
    with running(app(tmp_path)) as url:
        port = int(url.split(":")[2].removesuffix("/v1"))
        with pytest.raises(ConfigError, match="can't listen"), running(app(tmp_path), port=port):
            pass


class Landed:
    def __init__(self) -> None:
        self.traces: list[Trace] = []
        self.skipped: list[Skipped] = []

    def __call__(self, traces: list[Trace], skipped: list[Skipped]) -> None:
        self.traces.extend(traces)
        self.skipped.extend(skipped)


EXPORT = {
    "resourceSpans": [
        {"scopeSpans": [{"spans": [
            {
                "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "chat m",
                "startTimeUnixNano": "1000", "endTimeUnixNano": "2000",
                "attributes": [
                    {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                    {"key": "gen_ai.input.messages", "value": {"stringValue": json.dumps(
                        [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}])}},
                    {"key": "gen_ai.output.messages", "value": {"stringValue": json.dumps(
                        [{"role": "assistant", "parts": [{"type": "text", "content": "ho"}]}])}},
                ],
            }
        ]}]}
    ]
}  # fmt: skip


def test_exports_reach_the_receiver(tmp_path: Path):
    landed = Landed()
    client = TestClient(app(tmp_path, receiver=Receiver(landed, source="agent")), headers=AUTH)
    packed = gzip.compress(json.dumps(EXPORT).encode())
    response = client.post(
        "/v1/traces", content=packed, headers={"content-type": "application/json", "content-encoding": "gzip"}
    )
    assert response.status_code == 200 and response.json() == {}
    [trace] = landed.traces
    assert [m.content for m in trace.episodes[0].messages] == ["hi", "ho"]


@pytest.mark.parametrize(
    "content, headers, status",
    [
        (b"{", {"content-type": "application/json"}, 400),
        (b"\xff\xff", {"content-type": "application/x-protobuf"}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b"{}", {"content-type": "application/json", "content-encoding": "br"}, 400),
        (b"not gzip", {"content-type": "application/json", "content-encoding": "gzip"}, 400),
        (
            gzip.compress(b" " * (5 << 20)),
            {"content-type": "application/json", "content-encoding": "gzip"},
            413,
        ),
        (b" " * (MAX_TRACES_BYTES + 1), {"content-type": "application/json"}, 413),
    ],
)
def test_exports_that_cant_be_taken(tmp_path: Path, content: bytes, headers: dict[str, str], status: int):
    receiver = Receiver(Landed(), source="agent", max_body_mb=4)
    client = TestClient(app(tmp_path, receiver=receiver), headers=AUTH)
    response = client.post("/v1/traces", content=content, headers=headers)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_an_export_that_cant_be_stored_is_to_be_sent_again(tmp_path: Path):
    def broken(traces: list[Trace], skipped: list[Skipped]) -> None:
        raise OSError("disk full")

    client = TestClient(app(tmp_path, receiver=Receiver(broken, source="agent")), headers=AUTH)
    response = client.post("/v1/traces", json=EXPORT)
    assert response.status_code == 503 and response.headers["retry-after"] == "5"
    assert "disk full" not in response.text
