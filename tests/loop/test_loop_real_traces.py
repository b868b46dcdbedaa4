"""Traces that nobody on the project wrote, through pull and curate."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from shared import shared

from strop.config import load
from strop.loop.curate import curate
from strop.loop.pull import pull
from strop.store import open_database
from strop.store.curated import load_curated

TOML = """
[[sources]]
name = "airline"
kind = "openai-chat"
path = "airline.jsonl"
[[sources]]
name = "langfuse"
kind = "langfuse-file"
path = "{exports}/*.trace.json"
[labels]
score = "ground_truth"
[curate]
unseen_customer_share = 0.0
"""


def airline_lines(file: Path) -> list[str]:
    """tau-bench's trials as chat logs: the task is the workflow, the gold actions the ground truth."""
    lines: list[str] = []
    for trial in json.loads(file.read_text()):
        task = trial["info"]["task"]
        truth = {"actions": task["actions"], "outputs": task["outputs"], "reward": trial["reward"]}
        line = {
            "messages": trial["traj"],
            "id": f"{trial['task_id']}-{trial['trial']}",
            "workflow_id": f"task {trial['task_id']}",
            "customer": task["user_id"],
            "scores": {"reward": trial["reward"]},
            "ground_truth": truth,
        }
        lines.append(json.dumps(line))
    return lines


def test_airline_trials_and_langfuse_exports_are_pulled_and_curated(tmp_path: Path) -> None:
    lines = airline_lines(shared("data/tau_airline_gpt4o/trials_0_1.json"))
    (tmp_path / "airline.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "strop.toml").write_text(TOML.format(exports=shared("data/langfuse_exports")))
    config = load(tmp_path, environ={})
    db = open_database(config.store_url, "default")
    pulled = pull(config, db)
    assert pulled["stored"] == {"airline": 100, "langfuse": 10}
    assert pulled["skipped"] == {}
    report = curate(config, db, allow_small="a hundred airline traces")
    assert report["pulled"] == report["kept"] + sum(report["dropped"].values())
    assert report["labelled"] == 100
    trials: dict[str | None, set[str]] = defaultdict(set)
    for curated in load_curated(db):
        if curated.trace.source == "airline":
            trials[curated.trace.workflow_id].add(curated.split)
            assert curated.ground_truth is not None
            assert "reward" in curated.ground_truth
    assert len(trials) == 50
    assert all(len(splits) == 1 for splits in trials.values())
    db.close()
