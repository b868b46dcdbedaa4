"""Graders, answers and projects that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

from strop.config import Config
from strop.records import Curated, Episode, JsonObject, Message, Rollout, Task, ToolCall, Trace, trace_hash
from strop.store import Database, open_database

EXAMPLE = """
from typing import Any

def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    answer_ok = float(rollout["final_status"] == ground_truth["status"])
    tools = [c["name"] for c in rollout["tool_calls"]]
    expected = ["lookup_tracking", "lookup_eta"]
    tool_ok = float(tools[:2] == expected)
    tone_ok = float(rollout["llm_judge"]["tone_pass"])
    return 0.60 * answer_ok + 0.25 * tool_ok + 0.15 * tone_ok
"""


def project(root: Path, grader: str = EXAMPLE, **sections: JsonObject) -> tuple[Config, Database]:
    root.mkdir(parents=True, exist_ok=True)
    (root / "grader.py").write_text(grader)
    grade = {"extract": ("final_status", "eta", "message"), "workers": 1, **sections.pop("grade", {})}
    config = Config.model_validate({"root": root, "grade": grade, **sections})
    return config, open_database(config.store_url, config.project.name)


def turns(
    final: str | None, tools: tuple[str, ...] = ("lookup_tracking", "lookup_eta")
) -> tuple[Message, ...]:
    calls = tuple(ToolCall(f"c{i}", name, '{"tracking": "007"}') for i, name in enumerate(tools))
    results = tuple(Message("tool", "{}", tool_call_id=c.id) for c in calls)
    called = (Message("assistant", None, calls), *results) if calls else ()
    return (*called, *((Message("assistant", final),) if final is not None else ()))


def task(status: str | None = "delivered", number: int = 0) -> Task:
    return Task(
        task_id=f"task-{number}",
        messages=(Message("system", "You help."), Message("user", f"Where is parcel {number}?")),
        tools=(),
        customer="acme",
        group=f"g{number}",
        split="train",
        at=number,
        ground_truth=None if status is None else {"status": status},
    )


def rollout(
    final: str | None, number: int = 0, tools: tuple[str, ...] = ("lookup_tracking", "lookup_eta")
) -> Rollout:
    return Rollout(task_id=f"task-{number}", policy="test", messages=turns(final, tools), final=final)


def curated(number: int, final: str | None, truth: JsonObject | None) -> Curated:
    asked = (Message("user", f"Where is parcel {number}?"),)
    trace = Trace(
        source="test",
        source_id=str(number),
        episodes=(Episode((*asked, *turns(final))),),
        started_at=number,
        ended_at=number + 1,
    )
    return Curated(
        trace_hash=trace_hash(trace),
        trace=trace,
        kept=True,
        reason="",
        group=f"g{number}",
        split="train",
        ground_truth=truth,
    )
