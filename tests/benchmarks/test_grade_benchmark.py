"""The grader's benchmark on a few rollouts: what it grades, what it reports, and how it compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.grade import arguments, attempts, load_function, main


def test_rollouts_are_the_same_in_every_run_and_of_many_scores() -> None:
    items = arguments(attempts(300))
    assert items == arguments(attempts(300))
    assert items[:100] == arguments(attempts(100))
    grade = load_function()
    scores = {round(grade(*item), 2) for item in items}
    assert scores == {0.0, 0.15, 0.25, 0.4, 0.6, 0.75, 0.85, 1.0}


def test_the_report_has_time_start_up_and_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "grade.json"
    results = main(["--rollouts", "100", "--rounds", "2", "--memory", "300", "--out", str(out)])
    assert json.loads(out.read_text()) == results
    # A hundred were timed, ten thousand are reported.
    assert 100 * results["min"] <= results["seconds_10k"] <= 100 * results["max"]
    assert results["startup_s"] > 0 and results["isolation"].keys() == {"seccomp", "landlock"}
    memory = results["memory"]
    assert [memory[at]["graded"] for at in ("start", "middle", "end")] == [0, 200, 300]
    assert memory["growth_mb"] < 50 and memory["most_worker_mb"] >= max(memory["end"]["worker_mb"])
    printed = capsys.readouterr().out
    assert f"{results['seconds_10k']:.2f} s" in printed and "isolation on" in printed


def test_ratios_are_by_rollout(tmp_path: Path) -> None:
    # Stands in for a Python with the libraries: so and so many of 400 rollouts in a second.
    way = '"seconds": 1.0, "cpu_seconds": 1.0, "sum": 0, "rollouts"'
    ways = f'"full": {{{way}: 200}}, "bare": {{{way}: 100}}'
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho \'{{"library": "\'$2\'", "version": "1", {ways}}}\'\n')
    python.chmod(0o755)
    common = ["--rollouts", "50", "--rounds", "1", "--memory", "0"]
    results = main([*common, "--libraries", str(python), "--compared", "400", "--full", "50"])
    assert list(results["ratio"]) == ["mlflow", "eval-protocol", "openevals"]
    for row in results["libraries"]["rows"]:
        own = sum(row["strop_seconds"]) / 2
        assert results["ratio"][row["library"]] == pytest.approx(2 / own)
        assert results["ratio_bare"][row["library"]] == pytest.approx(4 / own)
        assert results["ratio_cpu"][row["library"]] == pytest.approx(2 / row["strop_cpu_seconds"])


def test_a_python_without_the_libraries_says_what_to_run() -> None:
    common = ["--rollouts", "20", "--rounds", "1", "--memory", "0", "--compared", "20"]
    with pytest.raises(SystemExit, match="make bench-grade"):
        main([*common, "--libraries", sys.executable])
