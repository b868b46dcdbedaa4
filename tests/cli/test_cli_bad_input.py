"""Bad input through the command line: one clear message and the right exit code each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from strop.cli import cli
from strop.records import Episode, Message, Score, Trace

ROWS = 100
TOML = """
[[sources]]
name = "agent"
kind = "jsonl"
path = "traces.jsonl"
[labels]
score = "truth"
[grade]
extract = ["status"]
workers = 2
"""
GOOD = """
def grade(rollout, ground_truth):
    answer_ok = float(rollout["status"] == ground_truth["status"])
    short_ok = ground_truth["n"] / 100
    return 0.5 * answer_ok + 0.5 * short_ok
"""


def run(folder: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(cli, [*arguments, "-C", str(folder)])
    assert "Traceback" not in done.stderr
    return done


def trace(number: int, labelled: bool = True) -> Trace:
    answer = json.dumps({"status": "late" if number % 3 else "lost"})
    truth = json.dumps({"status": "late", "n": number})
    return Trace(
        source="agent",
        source_id=f"t{number}",
        episodes=(Episode((Message("user", f"Where is parcel {number}?"), Message("assistant", answer))),),
        customer=f"c{number % 7}",
        workflow_id=f"w{number}",
        started_at=number * 10**9,
        ended_at=number * 10**9 + 5,
        scores=(Score("truth", truth, "code"),) if labelled else (),
    )


def lines(labelled: int = ROWS) -> str:
    return "".join(msgspec.json.encode(trace(n, n < labelled)).decode() + "\n" for n in range(ROWS))


def found(folder: Path, text: str, toml: str = TOML) -> Path:
    (folder / "strop.toml").write_text(toml)
    (folder / "traces.jsonl").write_text(text)
    (folder / "grader.py").write_text(GOOD)
    return folder


def landed(folder: Path, text: str) -> Path:
    found(folder, text)
    assert run(folder, "pull").exit_code == 0
    assert run(folder, "curate", "--allow-small", "a test").exit_code == 0
    return folder


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return landed(tmp_path_factory.mktemp("ready"), lines())


@pytest.fixture
def project(ready: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ready, tmp_path / "project"))


def graded(project: Path, body: str, *arguments: str) -> tuple[Result, dict[str, Any]]:
    text = "".join(f"    {line}\n" for line in body.splitlines())
    (project / "grader.py").write_text(f"def grade(rollout, ground_truth):\n{text}")
    done = run(project, "grade", "--json", *arguments)
    return done, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('status')", "raised KeyError"),
        ("return 7", "returned 7"),
        ("return float('nan')", "returned nan"),
        ("return 'good'", "returned"),
        ("while True: pass", "timeout"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))\nreturn 1.0", "PermissionError"),
        ("x = bytearray(8 << 30)\nreturn 1.0", "MemoryError"),
        ("return 0.5", "constant"),
        ("return float(rollout['status'] == 'late')", "binary"),
    ],
)
def test_a_grader_that_is_no_good_is_an_answer_of_no(project: Path, body: str, said: str) -> None:
    done, document = graded(project, body, "--set", f"grade.timeout_s={0.2 if said == 'timeout' else 2}")
    assert done.exit_code == 1
    assert document["error"]["class"] == "GraderBroken"
    assert said in document["error"]["what"], document["error"]["what"]
    assert said in done.stderr


def test_a_grader_that_raises_on_three_percent_goes_on_and_counts_them(project: Path) -> None:
    done, document = graded(project, "assert ground_truth['n'] >= 3, 'odd'\nreturn ground_truth['n'] / 100")
    assert done.exit_code == 0, done.stderr
    assert (document["failed"], document["errors"]) == (3, {"raised AssertionError: odd (line 2)": 3})
    assert document["graded"] == document["total"] - 3


def test_binary_scores_are_accepted_for_a_reason_that_is_printed(project: Path) -> None:
    (project / "grader.py").write_text(
        "def grade(rollout, ground_truth):\n    return float(rollout['status'] == 'late')\n"
    )
    done = run(project, "grade", "--allow-binary", "it is a yes or no")
    assert done.exit_code == 0
    assert "it is a yes or no" in done.stdout


def test_a_judge_that_is_down_is_an_outside_service(project: Path) -> None:
    judge = '[judges.tone]\nbase_url = "http://127.0.0.1:9/v1"\nrubric = "Is it polite?"\ntimeout_s = 1\n'
    (project / "strop.toml").write_text(TOML + judge)
    done, document = graded(project, "return float(rollout['llm_judge']['tone'])")
    assert done.exit_code == 3
    assert document["error"]["class"] == "OutsideServiceError"
    assert "judge" in document["error"]["what"]
    assert "127.0.0.1:9" in done.stderr


def test_ground_truth_that_is_missing_for_a_third_is_an_answer_of_no(tmp_path: Path) -> None:
    landed(tmp_path, lines(labelled=67))
    done, document = graded(tmp_path, "return ground_truth['n'] / 100")
    assert done.exit_code == 1
    assert "ground truth is missing for 3" in document["error"]["what"]


def test_an_empty_source(tmp_path: Path) -> None:
    done = run(found(tmp_path, ""), "pull")
    assert (done.exit_code, "there are no traces" in done.stderr) == (2, True)


def test_a_truncated_line_is_skipped_and_counted(tmp_path: Path) -> None:
    done = run(found(tmp_path, lines()[:-40]), "pull", "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert (document["total"], document["skipped"]) == (ROWS - 1, {"pull: the last line is truncated": 1})


def test_a_trace_of_50_mb_is_skipped_and_counted(tmp_path: Path) -> None:
    found(tmp_path, lines())
    with (tmp_path / "traces.jsonl").open("a") as file:
        file.write('{"source": "agent", "source_id": "' + "x" * (50 << 20) + '"}\n')
        file.write(msgspec.json.encode(trace(ROWS)).decode() + "\n")
    done = run(tmp_path, "pull")
    assert done.exit_code == 0
    assert f"{ROWS + 1} traces stored" in done.stdout
    assert "larger than 20 MB" in done.stdout


def test_fewer_than_a_thousand_rows_need_a_reason_that_is_printed(tmp_path: Path) -> None:
    found(tmp_path, lines())
    run(tmp_path, "pull")
    refused = run(tmp_path, "curate")
    assert refused.exit_code == 2
    assert f"{ROWS} usable traces (unique, readable, labelled), and 1000 are needed" in refused.stderr
    allowed = run(tmp_path, "curate", "--allow-small", "a pilot")
    assert allowed.exit_code == 0
    assert "a pilot" in allowed.stdout


def test_no_strop_toml_and_an_unknown_key(tmp_path: Path) -> None:
    nothing = run(tmp_path, "grade")
    assert (nothing.exit_code, "there is no strop.toml here" in nothing.stderr) == (2, True)
    found(tmp_path, lines(), TOML + "\n[grad]\nfile = 'x'\n")
    unknown = run(tmp_path, "grade")
    assert (unknown.exit_code, "unknown key: grad" in unknown.stderr) == (2, True)
    assert "did you mean grade?" in unknown.stderr
