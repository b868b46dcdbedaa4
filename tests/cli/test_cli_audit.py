"""`strop audit` as a shell sees it: a file of attempts and a grader, or a project."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from forty.manifest import WORLDS

from strop.cli import cli
from strop.records import Message

FAIR = """
def grade(rollout, ground_truth):
    status_ok = float(rollout["final_status"] == ground_truth["status"])
    eta_ok = float(rollout["eta"] == ground_truth["eta"])
    called = [c["name"] for c in rollout["tool_calls"]]
    tools_ok = float(bool(called) and called == sorted(set(called), key=called.index))
    return 0.7 * status_ok + 0.2 * eta_ok + 0.1 * tools_ok
"""
CONSTANT = """
def grade(rollout, ground_truth):
    return 0.5
"""
BINARY = """
def grade(rollout, ground_truth):
    return float(rollout["final_status"] == ground_truth["status"])
"""
BROKEN = """
def grade(rollout, ground_truth):
    raise ValueError("no")
"""
HEDGED = FAIR.replace(
    'rollout["final_status"] == ground_truth["status"]',
    'ground_truth["status"] in str(rollout["final_status"])',
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["audit", *arguments])


def openai(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [m.to_openai() for m in messages]


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("attempts") / "attempts.jsonl"
    lines = [
        {
            "prompt": openai(task.messages),
            "tools": [tool.to_openai() for tool in task.tools],
            "ground_truth": task.ground_truth,
            "attempts": [openai(rollout.messages) for rollout in rollouts[:5]],
        }
        for task, rollouts in WORLDS["shipments"].cases[:10]
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return file


def grader(folder: Path, text: str) -> Path:
    file = folder / "grader.py"
    file.write_text(text)
    return file


def test_a_grader_that_a_hedge_fools_fails_and_names_the_line(
    tmp_path: Path, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "out" / "page.html"
    file = grader(tmp_path, HEDGED)
    done = run("--attempts", str(attempts), "--grader", str(file), "--json", "--html", str(page))
    assert done.exit_code == 1, done.output
    document = json.loads(done.stdout)
    assert document["verdict"] == "fail"
    failed = {c["id"] for c in document["checks"] if c["verdict"] == "fail"}
    assert "P14" in failed
    hedge = next(c for c in document["checks"] if c["id"] == "P14")
    assert hedge["remedy"]
    assert hedge["hint"]["line"] == 3
    assert "status_ok" in hedge["hint"]["text"]
    text = page.read_text()
    assert "do not train on it" in text
    assert "<script" not in text
    assert not (tmp_path / ".strop").exists()


def test_the_same_inputs_give_the_same_bytes(
    tmp_path: Path, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = grader(tmp_path, FAIR)
    first, second = (run("--attempts", str(attempts), "--grader", str(file), "--json") for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout == second.stdout
    assert json.loads(first.stdout)["verdict"] in ("pass", "warn")


def test_the_page_of_text_shows_findings_with_their_lines(
    tmp_path: Path, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("--attempts", str(attempts), "--grader", str(grader(tmp_path, HEDGED)), "--fix-hints")
    assert done.exit_code == 1
    assert "do not train on it" in done.stdout
    assert "grader.py:3" in done.stdout


@pytest.mark.parametrize(
    ("source", "id"),
    [(CONSTANT, "D2"), (BINARY, "D2"), (BROKEN, "D1")],
    ids=["constant", "binary", "raises"],
)
def test_scores_that_teach_nothing_fail(
    tmp_path: Path, attempts: Path, monkeypatch: pytest.MonkeyPatch, source: str, id: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("--attempts", str(attempts), "--grader", str(grader(tmp_path, source)), "--json")
    assert done.exit_code == 1, done.output
    assert id in {c["id"] for c in json.loads(done.stdout)["checks"] if c["verdict"] == "fail"}


def test_a_grader_that_never_scores_is_tried_on_three_prompts_only(
    tmp_path: Path, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("--attempts", str(attempts), "--grader", str(grader(tmp_path, BROKEN)), "--json")
    assert json.loads(done.stdout)["prompts"] == 3


def test_binary_scores_may_be_allowed(
    tmp_path: Path, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = grader(tmp_path, BINARY)
    done = run("--attempts", str(attempts), "--grader", str(file), "--json", "--allow-binary", "a pilot")
    found = {c["id"]: c["verdict"] for c in json.loads(done.stdout)["checks"]}
    assert found["D2"] == "pass"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1"),
        ("[]", "a JSON object"),
        ('{"prompt": [], "ground_truth": {}, "attempts": []}', "no user message"),
        ('{"prompt": [{"role": "user", "content": "hi"}], "attempts": []}', "'ground_truth' is missing"),
        ('{"prompt": [{"role": "x"}], "ground_truth": {}, "attempts": []}', "unknown role"),
        ('{"prompt": [{"role": "user"}], "ground_truth": {}, "attempts": [[3]]}', "line 1"),
        ("", "no attempts"),
    ],
)
def test_bad_files_are_named_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attempts.jsonl").write_text(line + "\n")
    done = run("--attempts", "attempts.jsonl", "--grader", str(grader(tmp_path, FAIR)))
    assert done.exit_code == 2, done.output
    assert said in done.stderr


def test_what_is_missing_is_said(tmp_path: Path, attempts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no strop.toml" in run().stderr
    assert "no strop.toml" in run("--attempts", str(attempts)).stderr
    absent = run("--attempts", str(attempts), "--grader", "absent.py")
    assert absent.exit_code == 2
    assert "does not exist" in absent.stderr
    assert run("--attempts", "absent.jsonl", "--grader", "absent.py").exit_code == 2
