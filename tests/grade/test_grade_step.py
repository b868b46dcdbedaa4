"""The loop's grade step over stored traces: report, budgets and the answers that are no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grading import EXAMPLE, curated, project

from strop.errors import NotEnoughData, OutsideServiceError
from strop.loop.grade import GraderBroken, grade
from strop.store.curated import save_curated, save_labels
from strop.store.traces import add_traces

GRADER = EXAMPLE.replace('rollout["llm_judge"]["tone_pass"]', "True")


def step(root: Path, grader: str, n: int = 100, unlabelled: int = 0, **sections: Any) -> dict[str, Any]:
    config, db = project(root, grader, **sections)
    items = [
        curated(
            i, f'{{"final_status": "{"delivered" if i % 3 else "delayed"}"}}', {"status": "delivered", "n": i}
        )
        for i in range(n)
    ]
    add_traces(db, [c.trace for c in items])
    save_curated(
        db,
        [
            {
                "trace_hash": c.trace_hash,
                "kept": True,
                "reason": "",
                "group_id": c.group,
                "split": "test" if i % 5 == 0 else "train",
            }
            for i, c in enumerate(items)
        ],
        {},
    )
    save_labels(db, {c.trace_hash: c.ground_truth or {} for c in items[unlabelled:]})
    return grade(config, db)


def test_the_report(tmp_path: Path) -> None:
    result = step(tmp_path, GRADER, unlabelled=4)
    assert result["graded"] == 96 and result["missing_labels"] == 4 and result["errors"] == {}
    assert result["splits"].keys() == {"train", "test"}
    assert sum(s["n"] for s in result["splits"].values()) == 96
    assert result["components"]["tool_ok"] == 1.0 and result["weights"]["answer_ok"] == 0.6
    assert result["mean"] == pytest.approx(0.4 + 0.6 * result["components"]["answer_ok"])
    assert sum(result["distribution"]["histogram"]) == 96 and len(result["grader_hash"]) == 64


def test_three_percent_are_within_the_budget_and_counted(tmp_path: Path) -> None:
    bad = GRADER.replace("    answer_ok", "    assert ground_truth['n'] >= 3\n    answer_ok", 1)
    result = step(tmp_path, bad)
    assert result["graded"] == 97 and result["failed"] == 3
    assert result["errors"] == {"raised AssertionError:  (line 5)": 3}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('no')", "20 x raised ValueError: no (line 2)"),
        ("return 7", "20 x returned 7, outside [0, 1]"),
        ("return float('nan')", "20 x returned nan"),
        ("return 'good'", "returned 'good' (str), not a number"),
        ("import socket; socket.socket()", "20 x raised PermissionError"),
        ("return len(bytearray(8 << 30))", "20 x raised MemoryError"),
    ],
)
def test_a_grader_that_always_fails_stops_early(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(GraderBroken) as caught:
        step(tmp_path, f"def grade(rollout, ground_truth):\n    {body}\n", 500)
    assert says in caught.value.what and caught.value.exit_code == 1
    assert caught.value.result["failed"] == 20


def test_a_grader_that_loops(tmp_path: Path) -> None:
    with pytest.raises(GraderBroken, match=r"timeout: no grade within 0\.1 s"):
        step(tmp_path, "def grade(rollout, ground_truth):\n    while True: pass\n", grade={"timeout_s": 0.1})


def test_six_percent_are_over_the_budget(tmp_path: Path) -> None:
    bad = GRADER.replace("    answer_ok", "    assert ground_truth['n'] % 16\n    answer_ok", 1)
    with pytest.raises(GraderBroken, match="over the budget of 5%"):
        step(tmp_path, bad)


def test_a_third_of_the_labels_missing(tmp_path: Path) -> None:
    with pytest.raises(GraderBroken, match="ground truth is missing for 34 of 100") as caught:
        step(tmp_path, GRADER, unlabelled=34)
    assert caught.value.exit_code == 1


def test_constant_and_binary_scores(tmp_path: Path) -> None:
    with pytest.raises(GraderBroken, match="constant"):
        step(tmp_path / "a", "def grade(rollout, ground_truth): return 0.5")
    binary = "def grade(rollout, ground_truth): return rollout['final_status'] == ground_truth['status']"
    with pytest.raises(GraderBroken, match="binary") as caught:
        step(tmp_path / "b", binary)
    assert caught.value.result["distribution"]["zero_advantage"] > 0
    config, db = project(tmp_path / "b", binary)
    assert grade(config, db, allow_binary="a pilot")["allow_binary"] == "a pilot"


def test_a_judge_that_is_down(tmp_path: Path) -> None:
    tone = {"rubric": "?", "base_url": "http://127.0.0.1:9/v1"}
    many = {"judges": {"tone_pass": tone}}
    with pytest.raises(OutsideServiceError, match="judge tone_pass failed"):
        step(tmp_path, GRADER, **many)


def test_nothing_to_grade(tmp_path: Path) -> None:
    config, db = project(tmp_path, GRADER)
    with pytest.raises(NotEnoughData, match="no curated traces"):
        grade(config, db)
