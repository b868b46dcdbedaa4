"""A small example company in a folder: traffic, a round of the loop, serving. For the tests beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
from tiny import tiny_model

from strop.cli import company
from strop.config import Config, load
from strop.loop.landing import land
from strop.models.chat import ChatReply
from strop.promote.registry import promote
from strop.records import Message, Tool, Usage
from strop.serve.app import build
from strop.serve.open import open_app
from strop.serve.run import running
from strop.sources.otlp.receiver import Receiver
from strop.store import Database, open_database

# A round that takes seconds: two layers of random weights, one step of each kind.
SHORT = {
    "train.base": "tiny", "train.threads": "1", "train.sft_steps": "1", "train.sft_batch": "2",
    "train.grpo_steps": "1", "train.grpo_prompts": "1", "train.grpo_group": "2", "train.max_new_tokens": "12",
    "train.max_tokens": "4000", "environment.max_turns": "2", "compare.max_tasks": "12",
}  # fmt: skip


def strop(root: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    code = "from strop.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=root, capture_output=True, text=True, timeout=300
    )


def short_round(root: Path) -> tuple[int, dict[str, Any], str]:
    """Run the loop with a tiny model; return exit code, document and what stood on standard error."""
    pairs = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    done = strop(root, "run", "--json", "--allow-small", "a trial", *pairs)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def found(root: Path, inquiries: int, seed: int = 5) -> Config:
    """Put the company and a tiny model into a folder."""
    company.unpack(root)
    numbers = ("--days", "14", "--inquiries", str(inquiries), "--seed", str(seed))
    company.call(root, "company", "init", "--db", company.DB, *numbers)
    tiny_model(root / "tiny")
    return load(root, environ={})


def opened(config: Config) -> Database:
    """Open the store."""
    return open_database(config.store_url, config.project.name)


def traffic(config: Config, db: Database) -> dict[str, Any]:
    """Let the agent work with the teacher and export to strop's receiver."""
    receiver = Receiver(
        lambda traces, skipped: land(db, config, traces, skipped) and None,
        source="agent",
        customer_key="customer.id",
    )
    app = build(config, {}, key=None, receiver=receiver)
    with company.service(config.root, "teacher") as teacher, running(app) as base_url:
        told = desk(config.root, teacher, config.teacher.name, base_url)
        receiver.flush()
    assert told["exported"] == receiver.counts()["traces"] + receiver.counts()["skipped"]
    return told


def desk(root: Path, endpoint: str, model: str, base_url: str, *more: str) -> dict[str, Any]:
    """Run the example's agent against an endpoint, exporting to a server of strop's."""
    return company.call(
        root, "agent", "run", "--db", company.DB, "--base-url", endpoint, "--model", model,
        "--otlp", base_url.removesuffix("/v1"), *more,
    )  # fmt: skip


class Apprentice:
    """Stands for a trained model: the teacher's answers, spoiled where `spoil` says so."""

    def __init__(self, teacher: str, spoil: Callable[[str], bool]) -> None:
        self._http = httpx2.Client(base_url=teacher, trust_env=False)
        self._spoil = spoil

    def chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        *,
        max_new_tokens: int = 160,
        temperature: float = 0.0,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """Answer as the teacher would, or curtly with another status."""
        request = {"model": "any", "messages": [m.to_openai() for m in messages],
                   "tools": [t.to_openai() for t in tools]}  # fmt: skip
        message = self._http.post("chat/completions", json=request).json()["choices"][0]["message"]
        reply = Message.from_openai(message)
        if not reply.tool_calls and self._spoil(messages[-1].content or ""):
            answer = json.loads(reply.content or "{}")
            wrong = "returned" if answer["final_status"] != "returned" else "delivered"
            reply = Message("assistant", json.dumps({**answer, "final_status": wrong}))
        finish = "tool_calls" if reply.tool_calls else "stop"
        return ChatReply(message=reply, usage=Usage(50, 10), finish_reason=finish, seconds=0.001)


def serve_inquiries(config: Config, db: Database, candidate_id: str, number: int) -> dict[str, Any]:
    """Promote a candidate, and send it the next day's inquiries through the agent, captured."""
    promote(db, candidate_id, "for a test")
    with company.service(config.root, "teacher") as teacher:
        apprentice = Apprentice(teacher, lambda result: len(result) % 2 == 0)
        app = open_app(config, db, candidate_id=candidate_id, no_key=True, environ={},
                       load=lambda folder: apprentice)  # fmt: skip
        with running(app) as base_url:
            return desk(config.root, base_url, "champion", base_url, "--from-day", "15", "--to-day", "15",
                        "--limit", str(number), "--threads", "1")  # fmt: skip
