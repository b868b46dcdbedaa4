"""`strop grade` with OpenAI's grader JSON in a project of a few traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grade.fake_endpoint import result, serving
from test_cli_bad_input import ROWS, TOML, lines, run

STATUS: dict[str, Any] = {
    "type": "string_check", "name": "status", "input": "{{ sample.output_json.status }}",
    "reference": "{{ item.status }}", "operation": "eq",
}  # fmt: skip
PART: dict[str, Any] = {"type": "python", "source": "def grade(sample, item):\n    return item['n'] / 100"}
TONE: dict[str, Any] = {
    "type": "score_model", "name": "tone", "model": "judge-1", "range": [1, 5],
    "input": [{"role": "user", "content": "{{ item.strop_inquiry }} {{ sample.output_text }}"}],
}  # fmt: skip
FORMULA = "0.5 * status + 0.5 * part"


def curated(folder: Path, graders: dict[str, Any], formula: str, grade: str = "") -> Path:
    grader = {"type": "multi", "graders": graders, "calculate_output": formula}
    (folder / "grader.json").write_text(json.dumps(grader))
    (folder / "traces.jsonl").write_text(lines())
    (folder / "strop.toml").write_text(
        TOML.replace("workers = 2", f'workers = 1\nfile = "grader.json"\n{grade}')
    )
    assert run(folder, "pull").exit_code == 0
    assert run(folder, "curate", "--allow-small", "test").exit_code == 0
    return folder


def test_grade_with_a_grader_json(tmp_path: Path) -> None:
    folder = curated(tmp_path, {"status": STATUS, "part": PART}, FORMULA)
    done = run(folder, "grade", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["graded"] == ROWS and report["errors"] == {}
    assert report["weights"] == {"status": 0.5, "part": 0.5}
    assert report["components"] == pytest.approx({"status": 0.66, "part": 0.495})
    assert "status" in run(folder, "grade").output


def test_a_bad_grader_json_names_its_place(tmp_path: Path) -> None:
    folder = curated(tmp_path, {"status": {**STATUS, "operation": "neq"}, "part": PART}, FORMULA)
    done = run(folder, "grade")
    assert done.exit_code == 2 and "grader.json $.graders.status.operation" in " ".join(done.stderr.split())


def test_models_need_an_address_and_stay_under_the_cap(tmp_path: Path) -> None:
    parts = {"status": STATUS, "part": PART, "tone": TONE}
    formula = "0.5 * status + 0.25 * part + 0.25 * (tone - 1) / 4"
    folder = curated(tmp_path, parts, formula, "models_usd_per_call = 0.01\nmodels_max_usd = 0.6")
    refused = run(folder, "grade")
    assert refused.exit_code == 2 and "grade.models_base_url" in refused.stderr
    with serving(lambda _: result(3)) as endpoint:
        address = f"grade.models_base_url={endpoint.url}"
        capped = run(folder, "grade", "--set", address)
        assert capped.exit_code == 2 and "grade.models_max_usd = 0.6" in " ".join(capped.stderr.split())
        assert len(endpoint.requests) == 60
        done = run(folder, "grade", "--json", "--set", address)
        assert done.exit_code == 0, done.output
        report = json.loads(done.stdout)
        assert report["judges"]["calls"] == 40 and report["judges"]["usd"] == pytest.approx(0.4)
        assert report["components"]["tone"] == 0.5 and len(endpoint.requests) == ROWS
        endpoint.status = 503
        again = run(folder, "grade", "--json", "--set", address)
        assert json.loads(again.stdout)["judges"]["calls"] == 0


def test_an_endpoint_that_is_down_is_exit_three(tmp_path: Path) -> None:
    folder = curated(tmp_path, {"tone": TONE, "part": PART}, "0.5 * part + (tone - 1) / 8")
    with serving(lambda _: result(3)) as endpoint:
        endpoint.status = 503
        environment = {**os.environ, "STROP_GRADE__MODELS_BASE_URL": endpoint.url}
        done = subprocess.run(
            [sys.executable, "-c", "from strop.cli import main; main()", "grade"],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 3 and "times in a row" in done.stderr and "Traceback" not in done.stderr
