"""Judges: a rubric over an OpenAI-compatible endpoint, yes/no or on a scale, each question paid once.

A judge that times out, is down or answers out of its enum gives no verdict: it is asked once more where it
answered, and then that is an error, never a score. A verdict is stored as it arrives, so that a process
that is killed repeats none but the calls under way; those of local judges, which answer at once, are stored
in small batches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeAlias

import msgspec

from strop.config import Config, Judge
from strop.errors import ConfigError
from strop.grade.endpoint import Endpoint, NoAnswer, Terms
from strop.grade.extract import View, judged_text
from strop.grade.launch import Launcher
from strop.records import JsonObject, digest
from strop.store import Database
from strop.store.grades import load_judgements, save_judgements

# A yes or no, or a number; under `llm_judge` the number is scaled into [0, 1].
Verdict: TypeAlias = bool | float

MODELS = ""  # the endpoint of an OpenAI grader's models: no judge has this name
_CONCURRENT = 4
_ATTEMPTS = 2
_QUICK_S, _BATCH_S = 0.05, 0.1  # answers quicker than this are stored together, so often


class NoVerdict(Exception):
    """An answer that is none: unparsable, or out of its enum or range. The message says what was there."""


class Reading(msgspec.Struct, frozen=True):
    """What an answer says."""

    verdict: Verdict
    reason: str = ""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One paid question.

    judge: whose verdict it is. endpoint: a judge of strop.toml, or MODELS. read: from the answer's bytes to
    what they say; raises NoVerdict.
    """

    judge: str
    endpoint: str
    body: JsonObject
    read: Callable[[bytes], Reading]
    path: str = "chat/completions"


class Judges:
    """The paid endpoints of strop.toml. Use as a context manager: `command` judges run that long.

    calls, usd and seconds count what this object spent; cached counts what it didn't.
    Raises OutsideServiceError where a judge doesn't start or fails five times in a row, and ConfigError
    before the call that would pass a spend cap.
    """

    def __init__(self, config: Config, db: Database) -> None:
        self._config, self._db = config, db
        self._launcher = Launcher()
        self._endpoints: dict[str, Endpoint] = {}
        self._lock = threading.Lock()
        self._rows: list[JsonObject] = []  # paid and not stored yet
        self._stored_at = 0.0
        self.cached = 0

    def __enter__(self) -> Judges:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the judges that were started here and return all connections; the counts stay."""
        self._launcher.close()
        for endpoint in self._endpoints.values():
            endpoint.close()

    @property
    def calls(self) -> int:
        """Return the number of requests that were sent."""
        return sum(endpoint.calls for endpoint in self._endpoints.values())

    @property
    def usd(self) -> float:
        """Return what they cost, US dollars."""
        return sum(endpoint.usd for endpoint in self._endpoints.values())

    @property
    def seconds(self) -> float:
        """Return the sum of their latencies."""
        return sum(endpoint.seconds for endpoint in self._endpoints.values())

    def verdicts(self, views: Sequence[View]) -> list[dict[str, Verdict] | str]:
        """Return each view's verdicts by judge, or the reason why there are none."""
        questions: dict[str, Question] = {}
        asked: list[dict[str, str | None]] = []
        for seen in views:
            keys: dict[str, str | None] = {}
            for name, judge in self._config.judges.items():
                text = judged_text(seen, judge.field)
                keys[name] = None if text is None else _key(name, judge, seen.inquiry, text)
                if keys[name] is not None and keys[name] not in questions:
                    questions[str(keys[name])] = _question(name, judge, seen.inquiry, str(text))
            asked.append(keys)
        known = self.answers(questions)
        return [_verdicts(keys, known, self._config.judges) for keys in asked]

    def ask(self, name: str, pairs: Sequence[tuple[str, str]], *, again: int = 0) -> list[Verdict | str]:
        """Return a judge's verdicts on (inquiry, answer), or reasons; again: 1, 2, ... ask anew."""
        judge = self.judge(name)
        keys = [_key(name, judge, inquiry, answer) for inquiry, answer in pairs]
        keys = [digest([key, "again", again]) for key in keys] if again else keys
        questions = {k: _question(name, judge, *pair) for k, pair in zip(keys, pairs, strict=True)}
        known = self.answers(questions)
        return [known[key] for key in keys]

    def judge(self, name: str) -> Judge:
        """Return a judge's settings. Raises ConfigError where strop.toml has none of this name."""
        if name not in self._config.judges:
            raise ConfigError(f"there is no judge named {name!r}", fix=f"add [judges.{name}] to strop.toml")
        return self._config.judges[name]

    def answers(self, questions: Mapping[str, Question]) -> dict[str, Verdict | str]:
        """Return each question's verdict by its content hash, or the reason why there is none.

        What is stored is not asked again.
        """
        known: dict[str, Verdict | str] = dict(load_judgements(self._db, list(questions)))
        self.cached += len(known)
        missing = {key: question for key, question in questions.items() if key not in known}
        for name in sorted({q.endpoint for q in missing.values()} - self._endpoints.keys()):
            self._endpoints[name] = self._open(name)
        if missing:
            known.update(self._ask_all(missing))
        return known

    def _ask_all(self, questions: Mapping[str, Question]) -> dict[str, Verdict | str]:
        try:
            with ThreadPoolExecutor(_CONCURRENT, thread_name_prefix="strop-judge") as pool:
                try:
                    answers = list(pool.map(self._ask, questions, questions.values()))
                except BaseException:
                    pool.shutdown(wait=True, cancel_futures=True)
                    for endpoint in self._endpoints.values():
                        endpoint.forgive()
                    raise
        finally:  # paid verdicts outlive whatever stopped the rest
            self._store()
        return dict(zip(questions, answers, strict=True))

    def _ask(self, key: str, question: Question) -> Verdict | str:
        endpoint = self._endpoints[question.endpoint]
        started = time.monotonic()
        why = ""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                said = question.read(endpoint.post(question.path, question.body))
            except NoAnswer as error:
                return f"judge {question.judge}: {error}"
            except NoVerdict as error:
                why = str(error)
                continue
            yes = isinstance(said.verdict, bool)
            latency = time.monotonic() - started
            row: JsonObject = {
                "request_hash": key,
                "judge": question.judge,
                "verdict": said.verdict if yes else None,
                "value": None if yes else said.verdict,
                "reason": said.reason[:1000],
                "latency_s": latency,
                "usd": attempt * endpoint.terms.usd_per_call,
            }
            with self._lock:
                self._rows.append(row)
            if latency >= _QUICK_S or time.monotonic() - self._stored_at >= _BATCH_S:
                self._store()
            return said.verdict
        return f"judge {question.judge}: {why}"

    def _store(self) -> None:
        with self._lock:
            save_judgements(self._db, self._rows)
            self._rows.clear()
            self._stored_at = time.monotonic()

    def _open(self, name: str) -> Endpoint:
        if name == MODELS:
            return Endpoint(models_url(self._config), _models_terms(self._config))
        judge = self._config.judges[name]
        url = judge.base_url
        if url is None and judge.command is None:
            raise ConfigError(
                f"judges.{name} has neither base_url nor command", fix="set one of them in strop.toml"
            )
        if url is None:
            url = self._launcher.launch(name, judge.command or (), self._config.root)
        terms = Terms(
            name=f"judge {name}",
            keys=f"judges.{name}.",
            api_key_env=judge.api_key_env,
            timeout_s=judge.timeout_s,
            usd_per_call=judge.usd_per_call,
            max_usd=judge.max_usd,
        )
        return Endpoint(url, terms)


def models_url(config: Config) -> str:
    """Return the address that an OpenAI grader's models are asked at. Raises ConfigError for none."""
    if config.grade.models_base_url is None:
        raise ConfigError(
            "the grader asks a model, and there is no endpoint for it",
            where=str(config.path(config.grade.file)),
            fix='set grade.models_base_url in strop.toml, such as "http://127.0.0.1:8000/v1"',
        )
    return config.grade.models_base_url


def _models_terms(config: Config) -> Terms:
    g = config.grade
    return Terms(
        name="the endpoint of the grader's models",
        keys="grade.models_",
        api_key_env=g.models_api_key_env,
        timeout_s=g.models_timeout_s,
        usd_per_call=g.models_usd_per_call,
        max_usd=g.models_max_usd,
    )


class _Said(msgspec.Struct):
    verdict: Any
    reason: str = ""


def choice_of(answer: bytes, choices: Sequence[object]) -> tuple[Any, str]:
    """Return the verdict and the reason in a chat completion. Raises NoVerdict outside of the choices."""
    content = content_of(answer)
    try:
        said = msgspec.json.decode(content, type=_Said)
    except (msgspec.DecodeError, RecursionError):
        raise NoVerdict(f"no verdict in {content[:80]!r}") from None
    for choice in choices:
        # 1 is 1.0 to Python, and so is true: a verdict is of its enum's type.
        if said.verdict == choice and isinstance(said.verdict, bool) == isinstance(choice, bool):
            return choice, said.reason
    raise NoVerdict(f"no verdict in {content[:80]!r}")


def content_of(answer: bytes) -> str:
    """Return the text of a chat completion. Raises NoVerdict for a refusal and for no chat completion."""
    try:
        message = msgspec.json.decode(answer)["choices"][0]["message"]
        content, refusal = message.get("content"), message.get("refusal")
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, RecursionError):
        raise NoVerdict(f"no verdict in {answer[:80].decode(errors='replace')!r}") from None
    if isinstance(content, str):
        return content
    raise NoVerdict(
        f"no verdict: refused: {refusal[:80]}" if isinstance(refusal, str) else "no verdict in ''"
    )


def choice_format(choices: Sequence[object]) -> JsonObject:
    """Return the response_format of a verdict out of the choices, with its reason."""
    kind = "string" if isinstance(choices[0], str) else "integer"
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "verdict",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    "verdict": {"type": kind, "enum": list(choices)},
                    "reason": {"type": "string"},
                },
                "required": ["verdict", "reason"],
                "additionalProperties": False,
            },
        },
    }


class _Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    # What is asked, and nothing else: a judge that moves to another address is not paid again.
    judge: str
    model: str
    rubric: str
    inquiry: str
    answer: str
    scale: tuple[int, ...] = ()


def _key(name: str, judge: Judge, inquiry: str, answer: str) -> str:
    return digest(_Asked(name, judge.model, judge.rubric, inquiry, answer, judge.scale))


def _question(name: str, judge: Judge, inquiry: str, answer: str) -> Question:
    choices: tuple[object, ...] = judge.scale or ("yes", "no")
    said = " or ".join(f'"{c}"' for c in choices) if not judge.scale else f"one of {list(judge.scale)}"
    asks = "how well the answer meets this rubric" if judge.scale else "whether the answer meets this rubric"
    instruction = f'Answer {asks}, as JSON: {{"verdict": {said}, "reason": "..."}}.'
    body: JsonObject = {
        "model": judge.model,
        "temperature": 0,
        "messages": [
            {"role": "system", "content": f"{judge.rubric}\n{instruction}"},
            {"role": "user", "content": msgspec.json.encode({"inquiry": inquiry, "answer": answer}).decode()},
        ],
        "response_format": choice_format(choices),
    }

    def read(raw: bytes) -> Reading:
        verdict, reason = choice_of(raw, choices)
        return Reading(float(verdict) if judge.scale else verdict == "yes", reason)

    return Question(judge=name, endpoint=name, body=body, read=read)


def _verdicts(
    keys: Mapping[str, str | None], known: Mapping[str, Verdict | str], judges: Mapping[str, Judge]
) -> dict[str, Verdict] | str:
    verdicts: dict[str, Verdict] = {}
    for name, key in keys.items():
        scale = judges[name].scale
        # An answer without the field that is judged fails: no, or the scale's lowest.
        said = (scale[0] if scale else False) if key is None else known[key]
        if isinstance(said, str):
            return said
        verdicts[name] = (said - scale[0]) / (scale[-1] - scale[0]) if scale else said
    return verdicts
