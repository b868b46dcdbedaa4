from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from promote_arms import grade, tasks

from strop.config import Baselines, Config
from strop.errors import ConfigError
from strop.promote.baselines import baselines, read, with_answer
from strop.records import Grade, Message, Rollout, Task, ToolCall

TEXTS = {
    "delivered": "left with neighbour",
    "in_transit": "on its way",
    "delayed": "on its way",
    "exception": "address unknown",
}
FILE = {
    "tool": "lookup_tracking",
    "field": "events",
    "keywords": {"left": "returned", "Left with Neighbour": "delivered", "lost": "exception"},
}


def reference(task: Task, *, curt: bool = False) -> Rollout:
    status = (task.ground_truth or {})["status"]
    events = {"events": ["01-01 Bonn: picked up", f"01-02 Köln: {TEXTS[status]}"]}
    final = json.dumps({"final_status": "unknown", "message": "no" if curt else "Good morning."})
    return Rollout(
        task_id=task.task_id,
        policy="teacher",
        messages=(
            Message(role="assistant", tool_calls=(ToolCall("k", "lookup_tracking", "{}"),)),
            Message(role="tool", tool_call_id="k", content=json.dumps(events)),
            Message(role="assistant", content=final),
        ),
        final=final,
    )


def score(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
    grades: list[Grade] = []
    for task, rollout in pairs:
        answer = json.loads(rollout.final or "{}")
        right = answer["final_status"] == (task.ground_truth or {})["status"]
        grades.append(grade(float(right), tone=float(len(answer["message"]) > 5)))
    return grades


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "baselines.json").write_text(json.dumps(FILE), encoding="utf-8")
    table = Baselines(file="baselines.json", label="status", answer_field="final_status")
    return Config(root=tmp_path, baselines=table)


def test_the_three_baselines_and_their_grades(config: Config) -> None:
    pairs = [(t, reference(t, curt=i % 5 == 0)) for i, t in enumerate(tasks(200))]
    train = pairs + pairs[2::4]  # "delayed" is the majority
    out = baselines(train, pairs, config, score=score)
    assert set(out) == {"majority", "keyword", "last event"}
    assert out["majority"]["accuracy"]["mean"] == 0.25
    assert out["keyword"]["accuracy"]["mean"] == 0.5
    assert out["last event"]["accuracy"]["mean"] == 0.75
    assert out["majority"]["n"] == 160
    assert out["majority"]["mean"] == pytest.approx(0.4 + 0.6 * 0.25)
    assert out["majority"]["components"]["tone_ok"]["mean"] == 1.0


def test_without_a_grader_there_is_accuracy_alone(config: Config) -> None:
    pairs = [(t, reference(t)) for t in tasks(40)]
    assert set(baselines(pairs, pairs, config)["majority"]) == {"accuracy"}


def test_without_settings_labels_or_tasks_there_is_none(config: Config) -> None:
    pairs = [(t, reference(t)) for t in tasks(8)]
    bare = [(msgspec.structs.replace(t, ground_truth=None), r) for t, r in pairs]
    assert baselines(pairs, pairs, Config(root=config.root)) == {}
    assert baselines(pairs, bare, config) == {}
    assert baselines([], pairs, config) == {}


def test_a_reference_without_the_tool_falls_back_to_the_majority(config: Config) -> None:
    pairs = [(t, reference(t)) for t in tasks(40)]
    blind = [(t, msgspec.structs.replace(r, messages=r.messages[-1:])) for t, r in pairs]
    out = baselines(pairs, blind, config, score=score)
    assert out["last event"]["accuracy"]["mean"] == out["majority"]["accuracy"]["mean"]


def test_only_the_answer_changes() -> None:
    before = reference(tasks(1)[0])
    after = with_answer(before, "final_status", "delivered", "majority")
    assert after.messages[:-1] == before.messages[:-1]
    assert json.loads(after.final or "") == {"final_status": "delivered", "message": "Good morning."}
    assert after.messages[-1].content == after.final


def test_the_default_where_no_keyword_occurs(config: Config) -> None:
    file = {**FILE, "default": "exception", "field": "events.-1"}
    (config.root / "baselines.json").write_text(json.dumps(file), encoding="utf-8")
    pairs = [(t, reference(t)) for t in tasks(40)]
    train = pairs + pairs[2::4]
    right = {name: row["accuracy"]["mean"] for name, row in baselines(train, pairs, config).items()}
    assert right == {"majority": 0.25, "keyword": 0.5, "last event": 0.75}
    assert read(config.root / "baselines.json").text(pairs[0][1]) == "left with neighbour"


@pytest.mark.parametrize("text", ["", "[]", '{"tool": "x"}'])
def test_a_broken_file_says_what_is_expected(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="keywords"):
        read(tmp_path / "b.json")
