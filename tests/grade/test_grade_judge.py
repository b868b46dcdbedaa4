"""Judges against a small real HTTP server that answers as it is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from grading import project, turns

from strop.errors import ConfigError, OutsideServiceError
from strop.grade.extract import View, view
from strop.grade.judge import Judges
from strop.records import Message, Usage

YES, NO = '{"verdict": "yes", "reason": "r"}', '{"verdict": "no", "reason": "r"}'


class Fake(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.contents: list[Any] = []  # in turn; the last one stays
        self.status, self.sleep_s = 200, 0.0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({**body, "key": self.headers.get("Authorization")})
        time.sleep(self.server.sleep_s)
        queue = self.server.contents
        content = queue.pop(0) if len(queue) > 1 else queue[0]
        reply = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def judges(root: Path, **judge: Any) -> Judges:
    tone = {"rubric": "Is it polite?", "field": "message", "usd_per_call": 0.01, **judge}
    config, db = project(root, judges={"tone_pass": tone})
    return Judges(config, db)


def seen(message: str | None = "Hello.", inquiry: str = "Where?") -> View:
    final = json.dumps({"message": message})
    return view((Message("user", inquiry),), (), turns(final), final, Usage(), ("message",))


def test_the_question_and_its_verdicts(tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "k")
    fake.contents = [YES]
    with judges(tmp_path, base_url=fake.url, api_key_env="JUDGE_KEY") as asked:
        assert asked.verdicts([seen()]) == [{"tone_pass": True}]
        (request,) = fake.requests
        assert request["messages"][0]["role"] == "system"
        assert request["messages"][0]["content"].startswith("Is it polite?\n")
        assert json.loads(request["messages"][1]["content"]) == {"inquiry": "Where?", "answer": "Hello."}
        assert request["response_format"]["type"] == "json_schema" and request["key"] == "Bearer k"
        assert (asked.calls, asked.usd) == (1, 0.01)
        fake.contents = [NO]
        assert asked.verdicts([seen("Hi.")]) == [{"tone_pass": False}]


def test_an_equal_question_is_paid_once(tmp_path: Path, fake: Fake) -> None:
    fake.contents = [YES]
    with judges(tmp_path, base_url=fake.url) as asked:
        assert asked.verdicts([seen()] * 3) == [{"tone_pass": True}] * 3
    with judges(tmp_path, base_url=fake.url) as asked:
        assert asked.verdicts([seen()]) == [{"tone_pass": True}]
        assert (asked.calls, asked.cached) == (0, 1)
    assert len(fake.requests) == 1
    with judges(tmp_path, base_url=fake.url, rubric="Is it kind?") as asked:
        asked.verdicts([seen(), seen(inquiry="When?")])
    assert len(fake.requests) == 3


def test_an_answer_without_the_field_fails_without_a_call(tmp_path: Path, fake: Fake) -> None:
    with judges(tmp_path, base_url=fake.url) as asked:
        assert asked.verdicts([seen(None)]) == [{"tone_pass": False}]
    assert fake.requests == []


@pytest.mark.parametrize("bad", ['{"verdict": "maybe"}', "yes", "[]", None, 7])
def test_no_verdict_is_tried_twice_and_then_an_error(tmp_path: Path, fake: Fake, bad: Any) -> None:
    fake.contents = [bad, YES]
    with judges(tmp_path, base_url=fake.url) as asked:
        assert asked.verdicts([seen()]) == [{"tone_pass": True}]
        fake.contents = [bad]
        (answer,) = asked.verdicts([seen("Other.")])
        assert isinstance(answer, str) and answer.startswith("judge tone_pass: no verdict")
        assert asked.usd == pytest.approx(0.04) and len(fake.requests) == 4
        fake.contents = [NO]  # an error is not remembered
        assert asked.verdicts([seen("Other.")]) == [{"tone_pass": False}]


def test_a_slow_or_failing_judge_is_an_error(tmp_path: Path, fake: Fake) -> None:
    fake.contents, fake.sleep_s = [YES], 0.5
    with judges(tmp_path, base_url=fake.url, timeout_s=0.1) as asked:
        assert asked.verdicts([seen()]) == ["judge tone_pass: no answer within 0.1 s"]
        fake.sleep_s, fake.status = 0.0, 500
        assert asked.verdicts([seen()]) == ["judge tone_pass: HTTP 500"]


def test_a_judge_that_is_down_stops_the_step_early(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with judges(tmp_path, base_url=f"http://127.0.0.1:{port}/v1") as asked:
        (answer,) = asked.verdicts([seen()])
        assert answer == "judge tone_pass: not reachable (ConnectError)"
        with pytest.raises(OutsideServiceError, match="times in a row") as caught:
            asked.verdicts([seen(f"Hello {i}.") for i in range(1000)])
        assert caught.value.exit_code == 3 and asked.calls < 20


def test_verdicts_survive_a_judge_that_goes_down(tmp_path: Path, fake: Fake) -> None:
    fake.contents = [YES]
    with judges(tmp_path, base_url=fake.url) as asked:
        asked.verdicts([seen()])
        fake.status = 503
        with pytest.raises(OutsideServiceError):
            asked.verdicts([seen(f"{i}") for i in range(50)])
        assert asked.verdicts([seen()]) == [{"tone_pass": True}]


COMMAND = """
import http.server, json, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.dumps({"choices": [{"message": {"content": json.dumps(
            {"verdict": "yes", "reason": str(os.getpid())})}}]}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
server = http.server.HTTPServer(("127.0.0.1", 0), H)
open("pid", "w").write(str(os.getpid()))
print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
print("noise " * 100000, flush=True)
server.serve_forever()
"""


def test_a_command_runs_as_long_as_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(COMMAND)
    with judges(tmp_path, command=("{python}", "judge.py")) as asked:
        assert not (tmp_path / "pid").exists()
        assert asked.verdicts([seen()]) == [{"tone_pass": True}]
        pid = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [(("{python}", "-c", "1/0"), "ZeroDivisionError"), (("no-such-program",), "no-such-program")],
)
def test_a_command_that_does_not_start(tmp_path: Path, command: tuple[str, ...], says: str) -> None:
    with judges(tmp_path, command=command) as asked, pytest.raises(OutsideServiceError) as caught:
        asked.verdicts([seen()])
    assert says in str(caught.value)


def test_a_judge_without_address(tmp_path: Path) -> None:
    with judges(tmp_path) as asked, pytest.raises(ConfigError, match="neither base_url nor command"):
        asked.verdicts([seen()])
