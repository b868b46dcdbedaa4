"""The coffee benchmark: dialogues to steps, no leak, scores as documented, and the whole on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shared import shared
from tiny import tiny_model

from benchmarks.taskmaster import asked, conversation, judge, main, overlap, read_dialogues, split, steps_of
from strop.records import Message, Rollout, Task, ToolCall


def api(number: int, name: str, request: str | None, response: str = "{}") -> list[dict[str, str]]:
    notes = [{"name": "api_call", "value": name, "context": f"api_call_{number}"}]
    if request is not None:
        notes.append({"name": "request", "value": request, "context": f"api_call_{number}"})
    notes.append({"name": "response", "value": response, "context": f"api_response_{number}"})
    return notes


def dialogue(name: str, wish: str, request: str | None = '{"query": "Mocha"}') -> dict[str, Any]:
    return {
        "conversation_id": name,
        "utterances": [
            {"speaker": "user", "text": f" {wish} ", "annotations": api(0, "get_menu_items", request, "[1]")},
            {"speaker": "assistant", "text": "Anything else?", "annotations": []},
            {"speaker": "user", "text": "No", "annotations": api(1, "finish_order", '{"order_id": "007"}')},
            {"speaker": "assistant", "text": "Ready soon."},
        ],
    }


def said(content: str | None, *calls: tuple[str, str]) -> Rollout:
    made = tuple(ToolCall(f"c{i}", name, arguments) for i, (name, arguments) in enumerate(calls))
    return Rollout(task_id="t", policy="p", messages=(Message("assistant", content, made),), final=content)


def step(truth: dict[str, Any]) -> Task:
    return Task(
        task_id="t", messages=(), tools=(), customer="d", group="d", split="test", at=0, ground_truth=truth
    )


def test_a_dialogue_becomes_one_step_for_each_thing_the_agent_did() -> None:
    steps = list(steps_of(dialogue("d1", "A mocha")))
    assert [list(t.ground_truth or {}) for t in steps] == [
        ["name", "arguments"], ["sentence"], ["name", "arguments"], ["sentence"],
    ]  # fmt: skip
    assert steps[2].ground_truth == {"name": "finish_order", "arguments": {"order_id": "007"}}
    assert [m.role for m in steps[2].messages] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert steps[0].messages[1].content == "A mocha" and {t.group for t in steps} == {"d1"}


def test_a_call_that_cannot_be_read_ends_the_dialogue() -> None:
    messages, cut = conversation(dialogue("d1", "A mocha", '{"query": '))
    assert cut and [m.role for m in messages] == ["user"]
    assert conversation(dialogue("d1", "A mocha", None))[1] is False  # a call without arguments


def test_nothing_held_out_was_trained_on() -> None:
    dialogues = [dialogue(f"d{i}", f"Mocha number {i % 20}") for i in range(60)]
    steps = split(dialogues, 1000)
    assert not {t.group for t in steps.train} & {t.group for t in steps.held_out}
    assert not {asked(t) for t in steps.train} & {asked(t) for t in steps.held_out}
    assert steps.left_out["training dialogue with a held-out dialogue's words"] > 0
    assert split(dialogues, 5).held_out == steps.held_out[:5]


@pytest.mark.parametrize(
    ("rollout", "score", "exact", "tool"),
    [
        (said(None, ("add", '{"b": [{"x": "2"}], "a": "1"}')), 1.0, 1.0, 1.0),
        (said(None, ("add", '{"a": "1 ", "b": []}')), 0.3 + 0.35, 0.0, 1.0),
        (said(None, ("add", '{"a": "1", "b": [{"x": "2"}], "c": 1, "d": 1}')), 0.3 + 0.35, 0.0, 1.0),
        (said(None, ("add", '{"a": "1", "b": [{"x": "2"}]}'), ("add", "{}")), 1.0, 0.0, 1.0),
        (said(None, ("remove", '{"a": "1", "b": [{"x": "2"}]}')), 0.0, 0.0, 0.0),
        (said("Sure!"), 0.0, 0.0, 0.0),
        (Rollout(task_id="t", policy="p", messages=(), final=None), 0.0, 0.0, 0.0),
    ],
)
def test_the_score_of_a_call(rollout: Rollout, score: float, exact: float, tool: float) -> None:
    found = judge(step({"name": "add", "arguments": {"a": "1", "b": [{"x": "2"}]}}), rollout)
    assert found["score"] == pytest.approx(score)
    assert (found["exact"], found["tool"]) == (exact, tool)


def test_the_score_of_a_sentence() -> None:
    task = step({"sentence": "Is this right?"})
    assert judge(task, said("is this right"))["score"] == pytest.approx(1.0)
    assert judge(task, said("Hello"))["score"] == pytest.approx(0.3)
    assert judge(task, said(None, ("add", "{}")))["score"] == 0.0
    assert judge(task, said('<tool_call>{"name": broken</tool_call>'))["score"] == 0.0
    assert judge(task, Rollout(task_id="t", policy="p", messages=(), final=None))["score"] == 0.0
    assert overlap("a b c", "c d") == pytest.approx(0.4)


def test_the_real_dialogues_are_read() -> None:
    dialogues = read_dialogues(shared("data/taskmaster4_coffee"))
    steps = split(dialogues, 300)
    assert len(dialogues) == 1210 and len(steps.held_out) == 300
    assert steps.left_out["dialogue cut at an unreadable call"] < 0.02 * len(dialogues)
    assert not {t.group for t in steps.train} & {t.group for t in steps.held_out}
    assert not {asked(t) for t in steps.train} & {asked(t) for t in steps.held_out}
    calls = [t.ground_truth for t in steps.held_out if t.ground_truth and "name" in t.ground_truth]
    offered = {tool.name: set(tool.parameters["properties"]) for tool in steps.held_out[0].tools}
    assert len(calls) > 150 and all(set(c["arguments"]) <= offered[c["name"]] for c in calls)


def test_the_whole_benchmark_with_a_tiny_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data" / "taskmaster4_coffee"
    data.mkdir(parents=True)
    dialogues = [dialogue(f"d{i}", f"Mocha number {i}") for i in range(20)]
    (data / "data_00.json").write_text(json.dumps(dialogues))
    monkeypatch.setenv("STROP_SHARED", str(tmp_path))
    out, base = tmp_path / "results" / "taskmaster.json", tiny_model(tmp_path / "base")
    main(
        ["--base", str(base), "--sft-steps", "1", "--grpo-steps", "1", "--sft-batch", "2", "--held-out", "6",
         "--grpo-prompts", "1", "--grpo-group", "2", "--max-new-tokens", "8", "--max-tokens", "1600",
         "--dtype", "float32", "--threads", "1", "--out", str(out)]
    )  # fmt: skip
    document = json.loads(out.read_text())
    assert set(document["arms"]) == {"base", "sft", "grpo"}
    assert document["data"]["held_out_steps"] == 6 and document["data"]["shared_contexts"] == 0
    assert [line["phase"] for line in document["steps"]] == ["sft", "grpo"]
    assert document["arms"]["grpo"]["exact"]["n"] == document["data"]["held_out_calls"]
    assert "right tool" in capsys.readouterr().out
