"""Judges: a yes/no rubric over an OpenAI-compatible endpoint, each question paid once.

A judge that times out, is down or answers out of its enum gives no verdict, and no verdict is an
error, never a score.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import IO, Literal

import httpx2
import msgspec

from strop.config import Config, Judge, secret
from strop.errors import ConfigError, OutsideServiceError
from strop.grade.child import Spawner
from strop.grade.extract import View, judged_text
from strop.records import JsonObject, digest
from strop.store import Database
from strop.store.grades import load_judgements, save_judgements

_INSTRUCTION = (
    'Answer whether the answer meets this rubric, as JSON: {"verdict": "yes" or "no", "reason": "..."}.'
)
_FORMAT: JsonObject = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"verdict": {"enum": ["yes", "no"]}, "reason": {"type": "string"}},
            "required": ["verdict", "reason"],
            "additionalProperties": False,
        },
    },
}
_CONCURRENT = 4
_DOWN_AFTER = 5
_START_S = 60.0


class _Verdict(msgspec.Struct):
    verdict: Literal["yes", "no"]
    reason: str = ""


class Question(msgspec.Struct, frozen=True):
    """What a judge is asked; equal questions are asked once."""

    judge: str
    model: str
    rubric: str
    inquiry: str
    answer: str

    def key(self) -> str:
        """Return the content hash of the question."""
        return digest(self)


class _Unreachable(Exception):
    pass


class Judges:
    """The judges of strop.toml. Use as a context manager: `command` judges run that long.

    calls, usd and seconds count what this object spent; cached counts what it didn't.
    Raises OutsideServiceError where a judge doesn't start or fails five times in a row.
    """

    def __init__(self, config: Config, db: Database) -> None:
        self._config, self._db = config, db
        self._client = httpx2.Client(trust_env=False)
        self._spawner: Spawner | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._drains: list[threading.Thread] = []
        self._urls: dict[str, str] = {}
        self._lock = threading.Lock()
        self._failures: dict[str, list[str]] = {}
        self.calls, self.cached, self.usd, self.seconds = 0, 0, 0.0, 0.0

    def __enter__(self) -> Judges:
        for name, judge in self._config.judges.items():
            if judge.base_url is not None:
                self._urls[name] = judge.base_url.rstrip("/")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the judges that were started here."""
        for child in self._children:
            child.terminate()
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children = []
        for drain in self._drains:
            drain.join(timeout=5)
        if self._spawner is not None:
            self._spawner.close()
            self._spawner = None
        self._client.close()

    def verdicts(self, views: Sequence[View]) -> list[dict[str, bool] | str]:
        """Return each view's verdicts by judge, or the reason why there are none."""
        asked = [self._questions(seen) for seen in views]
        by_key = {q.key(): q for questions in asked for q in questions.values() if q is not None}
        known: dict[str, bool | str] = dict(load_judgements(self._db, list(by_key)))
        self.cached += len(known)
        missing = [key for key in by_key if key not in known]
        for name in {by_key[key].judge for key in missing} - self._urls.keys():
            self._urls[name] = self._launch(name, self._config.judges[name])
        if missing:
            known.update(self._ask_all({key: by_key[key] for key in missing}))
        return [_answers(questions, known) for questions in asked]

    def _questions(self, seen: View) -> dict[str, Question | None]:
        found: dict[str, Question | None] = {}
        for name, judge in self._config.judges.items():
            text = judged_text(seen, judge.field)
            found[name] = (
                None if text is None else Question(name, judge.model, judge.rubric, seen.inquiry, text)
            )
        return found

    def _ask_all(self, questions: dict[str, Question]) -> dict[str, bool | str]:
        rows: list[JsonObject] = []
        try:
            with ThreadPoolExecutor(_CONCURRENT, thread_name_prefix="strop-judge") as pool:
                try:
                    answers = list(pool.map(partial(self._ask, rows=rows), questions.values()))
                except BaseException:
                    pool.shutdown(wait=True, cancel_futures=True)
                    self._failures.clear()
                    raise
        finally:  # paid verdicts outlive whatever stopped the rest
            save_judgements(self._db, rows)
        return dict(zip(questions, answers, strict=True))

    def _ask(self, question: Question, rows: list[JsonObject]) -> bool | str:
        judge = self._config.judges[question.judge]
        self._stop_if_down(question.judge)
        why = ""
        started = time.monotonic()
        usd = 0.0
        for _attempt in range(2):
            try:
                content = self._post(question, judge)
            except _Unreachable as error:
                self._count(0.0, time.monotonic() - started)
                self._failed(question.judge, str(error))
                return f"judge {question.judge}: {error}"
            usd += judge.usd_per_call
            self._failures.pop(question.judge, None)
            try:
                said = msgspec.json.decode(content, type=_Verdict)
            except (msgspec.DecodeError, msgspec.ValidationError):
                why = f"no verdict in {content[:80]!r}"
                continue
            latency = time.monotonic() - started
            self._count(usd, latency)
            verdict = said.verdict == "yes"
            row = {"judge": question.judge, "verdict": verdict, "reason": said.reason[:1000]}
            rows.append({"request_hash": question.key(), **row, "latency_s": latency, "usd": usd})
            return verdict
        self._count(usd, time.monotonic() - started)
        return f"judge {question.judge}: {why}"

    def _post(self, question: Question, judge: Judge) -> str:
        key = secret(judge.api_key_env)
        body = {
            "model": judge.model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": f"{judge.rubric}\n{_INSTRUCTION}"},
                {
                    "role": "user",
                    "content": msgspec.json.encode(
                        {"inquiry": question.inquiry, "answer": question.answer}
                    ).decode(),
                },
            ],
            "response_format": _FORMAT,
        }
        try:
            response = self._client.post(
                f"{self._urls[question.judge]}/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=judge.timeout_s,
            )
        except httpx2.TimeoutException as error:
            raise _Unreachable(f"no answer within {judge.timeout_s:g} s") from error
        except httpx2.HTTPError as error:
            raise _Unreachable(f"not reachable ({type(error).__name__})") from error
        if response.status_code != 200:
            raise _Unreachable(f"HTTP {response.status_code}")
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            return response.text[:200]
        return content if isinstance(content, str) else ""

    def _count(self, usd: float, seconds: float) -> None:
        with self._lock:
            self.calls += 1
            self.usd += usd
            self.seconds += seconds

    def _failed(self, name: str, why: str) -> None:
        with self._lock:
            self._failures.setdefault(name, []).append(why)
        self._stop_if_down(name)

    def _stop_if_down(self, name: str) -> None:
        reasons = self._failures.get(name, [])
        if len(reasons) >= _DOWN_AFTER:
            raise OutsideServiceError(
                f"judge {name} failed {len(reasons)} times in a row: {reasons[-1]}",
                where=self._urls[name],
                fix=f"start it, or correct [judges.{name}] in strop.toml; verdicts so far are kept",
            )

    def _launch(self, name: str, judge: Judge) -> str:
        if judge.command is None:
            raise ConfigError(
                f"judges.{name} has neither base_url nor command", fix="set one of them in strop.toml"
            )
        self._spawner = self._spawner or Spawner()
        command = [sys.executable if part == "{python}" else part for part in judge.command]
        with tempfile.TemporaryFile() as stderr:
            child = self._spawner.start(
                command,
                cwd=self._config.root,
                env=dict(os.environ),
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                launcher=True,
            )
            self._children.append(child)
            assert child.stdout is not None
            url, drain = _first_line(child.stdout)
            self._drains.append(drain)
            if not url.startswith(("http://", "https://")):
                stderr.seek(0)
                said = stderr.read()[-300:].decode(errors="replace").strip()
                raise OutsideServiceError(
                    f"judge {name} did not print its base URL: {said or url or 'no output'}",
                    where=" ".join(command),
                )
        return url.rstrip("/")


def _answers(questions: dict[str, Question | None], known: dict[str, bool | str]) -> dict[str, bool] | str:
    verdicts: dict[str, bool] = {}
    for name, question in questions.items():
        answer = False if question is None else known[question.key()]
        if isinstance(answer, str):
            return answer
        verdicts[name] = answer
    return verdicts


def _first_line(stdout: IO[bytes]) -> tuple[str, threading.Thread]:
    # The thread goes on reading: a judge that logs to stdout must not block on a full pipe.
    lines: queue.Queue[bytes] = queue.Queue()

    def drain() -> None:
        with stdout:
            lines.put(stdout.readline())
            for _ in stdout:
                pass

    thread = threading.Thread(target=drain, daemon=True, name="strop-judge-output")
    thread.start()
    try:
        return lines.get(timeout=_START_S).decode(errors="replace").strip(), thread
    except queue.Empty:
        return "", thread
