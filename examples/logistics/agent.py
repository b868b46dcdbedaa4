"""The shipment desk's agent: a tool-calling loop over any OpenAI-compatible chat endpoint.

    python -m logistics.agent run --db URL --base-url URL/v1 --model NAME --otlp http://127.0.0.1:PORT

It answers the inquiries of the simulated days and ends each run with a structured answer (`evidence`,
`final_status`, `eta`, `message`). The key, where the endpoint wants one, is read from OPENAI_API_KEY.
The last line on stdout is one JSON object with what happened.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx2
import sqlalchemy as sa

from logistics import database
from logistics.carriers import STATUSES
from logistics.database import Asked
from logistics.faults import COPIES, FAULT
from logistics.telemetry import RunSpan, Telemetry, traceparent
from logistics.tools import SYSTEM_PROMPT, TOOLS, Desk

MAX_TURNS: Final = 4
MAX_NEW_TOKENS: Final = 160
# What goes along with every chat call, beside the trace context.
CARRIED: Final = ("user.name", "user.email", "user.phone", "customer.id", "workflow.id")


class InvalidAnswerError(Exception):
    """The model ended without the structured answer."""


@dataclass
class Run:
    """What one run came to. turns: seconds of each chat completion (modelled where the endpoint says so)."""

    ticket: str
    answer: dict[str, Any] | None = None
    error: str | None = None
    tools: list[str] = field(default_factory=list[str])
    turns: list[float] = field(default_factory=list[float])
    tokens: tuple[int, int] = (0, 0)
    cost_usd: float = 0.0


class Agent:
    """The loop itself, for one thread: one HTTP connection, one tracer."""

    def __init__(self, desk: Desk, base_url: str, model: str, otlp: str | None, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.Client(base_url=base_url, headers=headers, timeout=120.0, trust_env=False)
        self._desk, self._model = desk, model
        self.telemetry = Telemetry(otlp)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self.telemetry.close()

    def answer(self, asked: Asked, truth: str | None) -> Run:
        """Answer one inquiry and export its trace.

        truth: the status that the customer finds out later, for the simulated person's thumb only.
        Raises httpx2.HTTPError where the endpoint does not answer.
        """
        run = Run(asked.ticket)
        attributes = {
            "customer.id": asked.customer_id,
            "workflow.id": asked.ticket,
            "gen_ai.conversation.id": f"conv-{asked.ticket.removeprefix('tkt-')}",
            "group.id": f"{asked.tracking}/{time.strftime('%m-%d', time.gmtime(asked.at))}",
            "user.name": asked.name,
            "user.email": asked.email,
            "user.phone": asked.phone,
        }
        if asked.defect:
            attributes[FAULT] = asked.defect
        if asked.copies > 1:
            attributes[COPIES] = str(asked.copies)
        with self.telemetry.run(f"{self._model} {asked.ticket}", asked.at, attributes) as span:
            try:
                run.answer = self._converse(asked, run, span, baggage(attributes))
            except InvalidAnswerError as error:
                run.error = str(error)
                span.fail(run.error)
            if asked.feedback is not None and truth is not None:
                right = run.answer is not None and run.answer["final_status"] == truth
                span.feedback(asked.feedback < (0.9 if right else 0.3))
        self.telemetry.flush()
        return run

    def _converse(self, asked: Asked, run: Run, span: RunSpan, carried: str) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": asked.text},
        ]
        for _ in range(MAX_TURNS):
            message = self._chat(messages, run, span, carried)
            messages.append(message)
            if not message.get("tool_calls"):
                return parse_answer(message.get("content"))
            for call in message["tool_calls"]:
                result = self._desk.call(call["function"]["name"], call["function"]["arguments"], asked.at)
                span.tool(call, result)
                run.tools.append(call["function"]["name"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        raise InvalidAnswerError(f"no answer within {MAX_TURNS} turns")

    def _chat(self, messages: list[dict[str, Any]], run: Run, span: RunSpan, carried: str) -> dict[str, Any]:
        chat = span.chat(self._model)
        request = {
            "model": self._model,
            "messages": messages,
            "tools": TOOLS,
            "temperature": 0.0,
            "max_tokens": MAX_NEW_TOKENS,
        }
        started = time.perf_counter()
        headers = {"traceparent": traceparent(chat), "baggage": carried}
        response = self._http.post("chat/completions", json=request, headers=headers)
        response.raise_for_status()
        modelled = response.headers.get("x-modelled-latency-ms")
        seconds = float(modelled) / 1000 if modelled else time.perf_counter() - started
        body = response.json()
        cost = float(response.headers.get("x-modelled-cost-usd") or 0.0)
        if cost:
            chat.set_attribute("gen_ai.usage.cost", cost)
        span.chatted(chat, messages, body, seconds)
        usage = body.get("usage") or {}
        run.turns.append(round(seconds, 4))
        run.tokens = (
            run.tokens[0] + usage.get("prompt_tokens", 0),
            run.tokens[1] + usage.get("completion_tokens", 0),
        )
        run.cost_usd += cost
        return _history(body["choices"][0]["message"])


def baggage(attributes: Mapping[str, str]) -> str:
    """Return the W3C header that tells the endpoint whose run this is: what it records of its own can
    then be joined, and the people in it redacted."""
    return ",".join(f"{key}={quote(attributes[key], safe='')}" for key in CARRIED)


def _history(message: dict[str, Any]) -> dict[str, Any]:
    """Return an assistant message as it goes back into the conversation."""
    kept: dict[str, Any] = {"role": "assistant", "content": message.get("content")}
    if message.get("tool_calls"):
        kept["tool_calls"] = message["tool_calls"]
    return kept


def parse_answer(content: str | None) -> dict[str, Any]:
    """Return the structured answer; raises InvalidAnswerError with the reason where it is none."""
    try:
        answer: Any = json.loads(content or "")
    except ValueError as error:
        raise InvalidAnswerError("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise InvalidAnswerError("the answer is not an object")
    found: dict[str, Any] = {str(key): value for key, value in answer.items()}  # pyright: ignore[reportUnknownVariableType]
    if found.get("final_status") not in STATUSES:
        raise InvalidAnswerError("final_status is none of the known ones")
    if not isinstance(found.get("message"), str):
        raise InvalidAnswerError("message is no text")
    return found


@dataclass(frozen=True)
class Settings:
    """How to run the desk: the endpoint, the collector (None: no export) and how many threads."""

    base_url: str
    model: str
    otlp: str | None = None
    threads: int = 4
    key: str | None = None


def run_all(engine: sa.Engine, inquiries: list[Asked], settings: Settings) -> dict[str, Any]:
    """Answer all inquiries, in order of time but several at once, and return the summary."""
    truth = database.true_statuses(engine, [i.ticket for i in inquiries if i.feedback is not None])
    desk, local, agents = Desk(engine), threading.local(), list[Agent]()

    def open_agent() -> None:
        local.agent = Agent(desk, settings.base_url, settings.model, settings.otlp, settings.key)
        agents.append(local.agent)

    def answer(asked: Asked) -> Run:
        return local.agent.answer(asked, truth.get(asked.ticket))

    started = time.perf_counter()
    try:
        with ThreadPoolExecutor(settings.threads, initializer=open_agent) as pool:
            runs = list(pool.map(answer, inquiries))
    finally:
        for agent in agents:
            agent.close()
        desk.close()
    return _summary(runs, agents, time.perf_counter() - started)


def _summary(runs: list[Run], agents: Iterable[Agent], seconds: float) -> dict[str, Any]:
    exporters = [a.telemetry.exporter for a in agents if a.telemetry.exporter is not None]
    return {
        "runs": len(runs),
        "answered": sum(run.answer is not None for run in runs),
        "errors": sum(run.error is not None for run in runs),
        "exported": sum(e.exported for e in exporters),
        "export_failures": sum(e.failed for e in exporters),
        "copies": sum(e.copied for e in exporters),
        "broken": sum(e.broken for e in exporters),
        "prompt_tokens": sum(run.tokens[0] for run in runs),
        "completion_tokens": sum(run.tokens[1] for run in runs),
        "cost_usd": round(sum(run.cost_usd for run in runs), 4),
        "seconds": round(seconds, 2),
        "turns": [turn for run in runs for turn in run.turns],
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the agent; exits 1 where an export failed, 3 where the endpoint did not answer."""
    parser = argparse.ArgumentParser(prog="logistics.agent", description="answer shipment inquiries")
    run = parser.add_subparsers(dest="command", required=True).add_parser("run")
    run.add_argument("--db", required=True, help="SQLAlchemy URL of the company's database")
    run.add_argument("--base-url", required=True, help="OpenAI-compatible endpoint, with /v1")
    run.add_argument("--model", required=True)
    run.add_argument("--otlp", help="base URL of an OTLP/HTTP collector (none: no export)")
    run.add_argument("--from-day", type=int, default=1)
    run.add_argument("--to-day", type=int, default=14, help="the day after the simulation is there too")
    run.add_argument("--limit", type=int)
    run.add_argument("--threads", type=int, default=4)
    given = parser.parse_args(arguments)
    engine = sa.create_engine(given.db)
    inquiries = database.asked(engine, given.from_day, max(given.from_day, given.to_day), given.limit)
    key = os.environ.get("OPENAI_API_KEY")
    settings = Settings(given.base_url, given.model, given.otlp, given.threads, key)
    try:
        summary = run_all(engine, inquiries, settings)
    except httpx2.HTTPError as error:
        print(f"the endpoint does not answer: {error}\n  where: {given.base_url}", file=sys.stderr)
        return 3
    print(json.dumps(summary), flush=True)
    return 1 if summary["export_failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
