"""The page on rubrics, held against the library."""

from __future__ import annotations

import re
from pathlib import Path

from documents import ROOT, blocks

from strop.grade import components
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox

PAGE = (ROOT / "docs" / "rubrics.md").read_text(encoding="utf-8")


def test_every_ready_component_is_described_and_no_other() -> None:
    table = set(re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE))
    assert table | {"refused"} == set(components.__all__)


def test_the_pages_rubric_grades(tmp_path: Path) -> None:
    (example,) = blocks(PAGE, "python")
    path = tmp_path / "grader.py"
    path.write_text(example)
    grader = load_grader(path)
    assert grader.gates == {"answer_ok": 1.0}
    calls = [{"name": name, "arguments": {}, "id": name} for name in ("lookup_tracking", "lookup_eta")]
    item = {
        "final_status": "delivered", "message": "word " * 50, "messages": [], "tool_calls": calls,
        "llm_judge": {"tone_pass": True},
    }  # fmt: skip
    with Sandbox(grader, Limits(workers=1)) as sandbox:
        right, wrong = sandbox.run([(item, {"status": "delivered"}), (item, {"status": "returned"})])
    assert right.score == 0.6 + 0.25 + 0.1 + 0.05 * 0.8 and right.feedback == {"short_ok": "50 words"}
    assert wrong.score == 0.0 and wrong.components["tool_ok"] == 1.0
