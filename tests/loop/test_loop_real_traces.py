"""Traces that nobody on the project wrote, through pull and curate."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from airline_grader import WRITES
from airline_grader import grade as airline_grade
from shared import shared

from strop.config import Config, load
from strop.environments import task_of
from strop.grade.scorer import Scorer
from strop.loop.curate import curate
from strop.loop.grade import grade
from strop.loop.pull import pull
from strop.records import Rollout
from strop.stats.cluster import Estimate, cluster_mean, paired
from strop.store import Database, open_database
from strop.store.curated import load_curated

GRADER = Path(__file__).with_name("airline_grader.py")

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
AIRLINE = """
[[sources]]
name = "airline"
kind = "openai-chat"
path = "airline.jsonl"
[labels]
score = "ground_truth"
[curate]
max_customer_share = 1.0
[grade]
workers = 1
"""
LANGFUSE = """
[[sources]]
name = "langfuse"
kind = "langfuse-file"
path = "{exports}/*.trace.json"
[curate]
max_customer_share = 1.0
[grade]
workers = 1
"""
STRUCTURE = """
def grade(rollout, ground_truth):
    last = rollout["messages"][-1]
    answered = float(last["role"] == "assistant" and bool(last["content"]))
    results = sum(m["role"] == "tool" for m in rollout["messages"])
    calls_answered = min(1.0, results / max(1, len(rollout["tool_calls"])))
    short = 1 / (1 + len(last["content"] or "") / 1000)
    return 0.5 * answered + 0.3 * calls_answered + 0.2 * short
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


def pulled_project(
    root: Path, toml: str, grader: str, exports: Path | None = None
) -> tuple[Config, Database]:
    (root / "strop.toml").write_text(toml.format(exports=exports))
    (root / "grader.py").write_text(grader)
    config = load(root, environ={})
    db = open_database(config.store_url, "default")
    pull(config, db)
    return config, db


def interval(values: Estimate) -> str:
    return (
        f"{values.mean:.3f} [{values.low:.3f}, {values.high:.3f}], n = {values.n} in {values.clusters} tasks"
    )


def test_the_airline_agent_beats_an_agent_that_does_nothing_where_there_is_something_to_do(
    tmp_path: Path,
) -> None:
    trials = shared("data/tau_airline_gpt4o/trials_0_1.json")
    (tmp_path / "airline.jsonl").write_text("\n".join(airline_lines(trials)) + "\n")
    config, db = pulled_project(tmp_path, AIRLINE, GRADER.read_text())
    curate(config, db, allow_small="a hundred airline traces")
    report = grade(config, db)
    assert (report["graded"], report["failed"], report["missing_labels"]) == (100, 0, 0)
    curated = list(load_curated(db))
    tasks = [task for task in map(task_of, curated) if task is not None]
    idle = [Rollout(task_id=task.task_id, policy="nothing", messages=(), final=None) for task in tasks]
    with Scorer(config, db) as scorer:
        recorded = [one.score for _, one in scorer.grade_curated(curated)]
        nothing = [one.score for one in scorer.score(list(zip(tasks, idle, strict=True)))]
    db.close()
    to_do = [any(a["name"] in WRITES for a in (t.ground_truth or {})["actions"]) for t in tasks]
    differences: dict[bool, Estimate] = {}
    for wanted, name in ((True, "with a gold write"), (False, "without one")):
        chosen = [i for i, has in enumerate(to_do) if has is wanted]
        clusters = [curated[i].trace.workflow_id or "" for i in chosen]
        agent, still = [recorded[i] for i in chosen], [nothing[i] for i in chosen]
        differences[wanted] = paired(agent, still, clusters)
        print(f"recorded, {name}:", interval(cluster_mean(agent, clusters)))
        print(f"do nothing, {name}:", interval(cluster_mean(still, clusters)))
        print(f"difference, {name}:", interval(differences[wanted]))
    assert (differences[True].n, differences[True].clusters) == (60, 30)
    assert differences[True].low > 0
    assert (differences[False].n, differences[False].clusters) == (40, 20)
    assert differences[False].mean <= 0  # whoever writes nothing is right there, by construction


def test_the_airlines_grader_agrees_with_the_recorded_reward(tmp_path: Path) -> None:
    trials = json.loads(shared("data/tau_airline_gpt4o/trials_0_1.json").read_text())
    scores = [airline_grade({"messages": t["traj"]}, t["info"]["task"]) for t in trials]
    passed = [score for score, trial in zip(scores, trials, strict=True) if trial["reward"] == 1.0]
    assert passed and set(passed) == {1.0}
    # The benchmark's own reward asks for spoken answers too: it may fail what wrote the right things.
    assert sum(s == 1.0 for s in scores) - len(passed) <= 2


def test_langfuse_exports_are_graded_by_what_they_hold(tmp_path: Path) -> None:
    config, db = pulled_project(tmp_path, LANGFUSE, STRUCTURE, shared("data/langfuse_exports"))
    curated = curate(config, db, allow_small="ten exports")
    assert (curated["kept"], curated["dropped"]) == (9, {"no answer": 1})  # one ends with its tool call
    report = grade(config, db)
    assert (report["graded"], report["failed"]) == (9, 0)
    assert report["components"]["answered"] > 0.5 and report["components"]["calls_answered"] > 0.5
    db.close()
