"""The page on OpenAI's graders and on judges, held against the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from documents import ROOT, blocks

from strop.config import load
from strop.grade.load import load_grader
from strop.grade.openai.formula import FUNCTIONS
from strop.grade.openai.schema import Metric
from strop.grade.sandbox import Limits, Sandbox

PAGE = (ROOT / "docs" / "graders.md").read_text(encoding="utf-8")


def test_the_pages_grader_grades(tmp_path: Path) -> None:
    (example,) = blocks(PAGE, "json")
    (tmp_path / "grader.json").write_text(example, encoding="utf-8")
    grader = load_grader(tmp_path / "grader.json")
    assert grader.weights == pytest.approx({"status": 0.6, "lookups": 0.2, "tone": 0.2})
    sample = {"output_text": "x", "output_json": {"final_status": "late"}, "output_tools": [{}]}
    with Sandbox(grader, Limits(workers=1)) as sandbox:
        (grade,) = sandbox.run([(sample, {"status": "late"}, {"tone": 4.0})])
    assert grade.score == pytest.approx(0.6 + 0.1 + 0.15)
    assert grade.components == {"status": 1.0, "lookups": 0.5, "tone": 0.75}


def test_the_place_of_an_error_is_written_as_on_the_page(tmp_path: Path) -> None:
    (example,) = blocks(PAGE, "json")
    raw = json.loads(example)
    raw["graders"]["tone"]["range"] = [5, 1]
    (tmp_path / "grader.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(Exception, match="range") as caught:
        load_grader(tmp_path / "grader.json")
    assert "`grader.json $.graders.tone.range`" in PAGE
    assert str(caught.value).count("grader.json $.graders.tone.range") == 1


def test_the_pages_judges_load(tmp_path: Path) -> None:
    (example,) = blocks(PAGE, "toml")
    (tmp_path / "strop.toml").write_text(example, encoding="utf-8")
    judges = load(tmp_path, environ={}).judges
    assert judges["clarity"].scale == (1, 2, 3, 4, 5) and judges["clarity"].max_usd == 5.0
    assert judges["tone_pass"].scale == ()


def test_every_metric_and_function_is_named() -> None:
    listed = PAGE.split("Types:", 1)[1].split("| template |", 1)[0]
    assert all(name in listed for name in FUNCTIONS)
    assert all(name in listed or name.startswith("rouge_") for name in get_args(Metric))
