"""The training process and the comparison on a whole small project, killed and undisturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from taught import episode, taught

from strop.config import Config
from strop.environments import task_of
from strop.errors import NotEnoughData
from strop.grade.scorer import Scorer
from strop.loop.compare import compare
from strop.loop.curate import curate
from strop.loop.grade import grade
from strop.loop.landing import land
from strop.loop.train import train
from strop.models.llama import save_llama
from strop.models.render import Renderer
from strop.models.weights import weights_digest
from strop.promote.registry import promote, register
from strop.records import Candidate, Score, Trace, digest
from strop.store import Database, open_database
from strop.store.curated import load_curated
from strop.store.registry import load_candidate
from strop.train.job import Data, prepare

GRADER = """
def grade(rollout, ground_truth):
    answer_ok = float(rollout["s"] == ground_truth["s"])
    tool_ok = float([c["name"] for c in rollout["tool_calls"]] == ["t"])
    tone_ok = float(rollout["llm_judge"]["tone"])
    return 0.6 * answer_ok + 0.3 * tool_ok + 0.1 * tone_ok
"""
TRACES, OWN = 30, (29, 30)  # the last two were answered by an own model


class Judge(ThreadingHTTPServer):
    """Says yes, and remembers by project what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: dict[str, list[str]] = {}
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Judge

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.setdefault(self.path.split("/")[1], []).append(body["messages"][1]["content"])
        content = json.dumps({"verdict": "yes", "reason": ""})
        reply = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Project:
    config: Config
    db: Database
    judge: Judge
    graded: list[str] = field(default_factory=list[str])
    trained: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def asked(self) -> list[str]:
        return self.judge.asked.get(self.config.root.name, [])

    @property
    def job(self) -> Path:
        return self.config.state / "runs" / "r1" / "train"


def configured(root: Path, judge: Judge) -> Config:
    return Config.model_validate(
        {
            "root": root,
            "labels": {"score": "truth"},
            "curate": {"min_rows": 20, "max_customer_share": 1.0},
            "grade": {"extract": ["s"], "workers": 1},
            "judges": {
                "tone": {"base_url": f"http://127.0.0.1:{judge.server_port}/{root.name}", "rubric": "Kind?"}
            },
            "environment": {"max_turns": 3},
            "compare": {"batch": 2},
            "train": {
                "base": "base", "threads": 1, "dtype": "float32", "checkpoint_seconds": 0,
                "sft_steps": 25, "sft_batch": 3, "sft_lr": 1e-3,
                "grpo_steps": 4, "grpo_prompts": 2, "grpo_group": 3, "grpo_lr": 1e-3, "grpo_screen": 6,
                "max_new_tokens": 64, "max_tokens": 320,
            },
        }
    )  # fmt: skip


def traces() -> list[Trace]:
    made: list[Trace] = []
    for n in range(1, TRACES + 1):
        one = episode(n)
        truth = {"s": "wrong" if n % 5 == 0 else str(n % 2)}
        made.append(
            msgspec.structs.replace(
                one.trace,
                scores=(Score("truth", json.dumps(truth)),),
                model="champion" if n in OWN else "teacher",
            )
        )
    return made


@contextmanager
def opened(config: Config) -> Iterator[Database]:
    db = open_database(config.store_url, config.project.name)
    yield db
    db.close()


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    server = Judge()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, judge: Judge) -> Iterator[Project]:
    """A graded project, trained without disturbance."""
    root = tmp_path_factory.mktemp("projects") / "calm"
    root.mkdir()
    base = taught(root / "tiny", count=2, steps=45, lr=0.01)
    save_llama(base.model, root / "base", base.folder)
    (root / "grader.py").write_text(GRADER)
    (root / "random.py").write_text("raise ImportError('a file of the project')")
    config = configured(root, judge)
    with opened(config) as db:
        land(db, config, traces(), [])
        curate(config, db)
        grade(config, db)
        project = Project(config, db, judge, list(judge.asked["calm"]))
        shutil.copytree(root, root.parent / "killed")
        project.trained = train(config, db, "r1")
        yield project


@dataclass
class Killer:
    """Kills the training's child once in each phase, after its third and second step."""

    job: Path
    killed: dict[str, int] = field(default_factory=dict[str, int])
    done: bool = False

    def watch(self) -> None:
        progress = self.job / "progress.jsonl"
        while not self.done:
            lines = progress.read_text().splitlines() if progress.exists() else []
            for phase, after in (("sft", 3), ("grpo", 2)):
                if phase not in self.killed and sum(f'"phase": "{phase}"' in line for line in lines) >= after:
                    pid = int(json.loads((self.job / "job.json").read_text())["pid"])
                    os.kill(pid, signal.SIGKILL)
                    self.killed[phase] = pid
            time.sleep(0.002)


@pytest.fixture(scope="module")
def killed(project: Project, judge: Judge) -> Iterator[tuple[Project, Killer]]:
    """The same project, its training killed in both phases."""
    config = configured(project.config.root.parent / "killed", judge)
    with opened(config) as db:
        disturbed = Project(config, db, judge, project.graded)
        killer = Killer(disturbed.job)
        thread = threading.Thread(target=killer.watch)
        thread.start()
        try:
            disturbed.trained = train(config, db, "r1")
        finally:
            killer.done = True
            thread.join()
        yield disturbed, killer


def hashes(project: Project, *splits: str) -> set[str]:
    return {c.trace_hash for c in load_curated(project.db, set(splits))}


def test_the_result_says_what_was_trained(project: Project) -> None:
    trained = project.trained
    assert [(s["phase"], s["step"]) for s in trained["steps"]] == [
        *(("sft", n) for n in range(1, 26)),
        ("screen", 6),
        *(("grpo", n) for n in range(1, 5)),
    ]
    assert weights_digest(Path(trained["path"])) == trained["candidate_id"] == Path(trained["path"]).name
    assert Path(trained["sft_path"]).name != trained["candidate_id"]
    assert trained["dtype"] == "float32"
    assert set(trained["tokens_per_second"]) == {"sft", "grpo", "grpo_sampling"}
    assert trained["hard_tasks"] == trained["tasks"] - trained["episodes"] > 0
    (screen,) = (s for s in trained["steps"] if s["phase"] == "screen")
    assert 0 < screen["failed"] <= 6
    candidate = load_candidate(project.db, trained["candidate_id"])
    assert candidate is not None
    assert (candidate.path, candidate.lineage) == (trained["path"], trained["lineage"])
    assert not (project.job / "checkpoints").exists()
    for step in trained["steps"][-4:]:
        assert {"reward", "components", "tools", "length", "kl_base", "kl_warm", "entropy"} <= set(step)
    assert any(step["gradient_norm"] > 0 for step in trained["steps"][-4:])


def test_the_test_split_is_in_nothing_that_was_trained_on(project: Project) -> None:
    train_hashes = hashes(project, "train")
    assert len(train_hashes) == 21
    assert project.trained["lineage"]["traces"] == digest(sorted(train_hashes))
    logged = [json.loads(line) for line in (project.job / "rollouts.jsonl").read_text().splitlines()]
    assert len(logged) == 4 * 2 * 3
    assert {line["rollout"]["task_id"] for line in logged} <= train_hashes


def test_what_is_too_long_to_imitate_is_counted(project: Project) -> None:
    renderer = Renderer(project.config.root / "base")

    def prepared(max_tokens: int) -> Data:
        shorter = project.config.train.model_copy(update={"max_tokens": max_tokens})
        config = project.config.model_copy(update={"train": shorter})
        with Scorer(config, project.db) as scorer:
            return prepare(config, project.db, scorer, renderer)

    every = prepared(320)
    assert every.left_out == {}
    longest = max(len(row.ids) for row in every.rows)
    assert len(prepared(longest).rows) == len(every.rows)
    with pytest.raises(NotEnoughData, match=f"{len(every.rows)} of them: it is longer than train.max_tokens"):
        prepared(longest - 1)


def test_a_training_that_is_done_is_not_begun_again(project: Project) -> None:
    before = (project.job / "job.json").read_text()
    seen: list[dict[str, Any]] = []
    assert train(project.config, project.db, "r1", on_progress=seen.append) == project.trained
    assert (project.job / "job.json").read_text() == before
    assert len(seen) == len(project.trained["steps"])


def test_a_killed_training_ends_with_the_same_weights(
    project: Project, killed: tuple[Project, Killer]
) -> None:
    disturbed, killer = killed
    assert len(set(killer.killed.values())) == 2
    again, calm = disturbed.trained, project.trained
    assert again["candidate_id"] == calm["candidate_id"]
    assert Path(again["sft_path"]).name == Path(calm["sft_path"]).name

    def lasting(step: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in step.items() if not k.startswith("seconds")}

    assert [lasting(s) for s in again["steps"]] == [lasting(s) for s in calm["steps"]]
    logs = [(p.job / "rollouts.jsonl").read_text().splitlines() for p in (disturbed, project)]
    assert [json.loads(line)["step"] for line in logs[0]] == [json.loads(line)["step"] for line in logs[1]]
    models = {p.name for p in (disturbed.config.state / "models").iterdir()}
    assert models == {again["candidate_id"], Path(again["sft_path"]).name}


def test_what_was_graded_is_not_graded_again(killed: tuple[Project, Killer]) -> None:
    disturbed, _ = killed
    assert len(disturbed.graded) > 0
    assert not set(disturbed.graded) & set(disturbed.asked)


class Stop(BaseException):
    pass


@pytest.fixture(scope="module")
def compared(project: Project) -> tuple[list[int], dict[str, Any]]:
    """A comparison that was stopped in the candidate's arm, its last line torn, and then finished."""
    trained, db = project.trained, project.db
    warm = Path(trained["sft_path"])
    register(db, Candidate(candidate_id=warm.name, path=str(warm), created_at="2026-01-01", lineage={}))
    promote(db, warm.name, "first")

    def until_candidate(news: dict[str, Any]) -> None:
        if news["text"].endswith("candidate") and news["done"] >= 2:
            raise Stop

    with pytest.raises(Stop):
        compare(project.config, db, "r1", trained, on_progress=until_candidate)
    (log,) = (project.config.state / "runs" / "r1").glob("rollouts-candidate-*.jsonl")
    with log.open("ab") as out:
        out.write(b'{"task_id": "torn')
    made: list[int] = []

    def count(news: dict[str, Any]) -> None:
        if news["text"].endswith("candidate"):
            made.append(news["done"])

    report = compare(project.config, db, "r1", trained, on_progress=count)
    for line in log.read_text().splitlines():
        json.loads(line)
    return made, report


def test_a_stopped_comparison_continues(compared: tuple[list[int], dict[str, Any]]) -> None:
    made, report = compared
    assert made[-1] == report["tasks"]
    assert made[0] > 1


def test_all_arms_stand_on_the_teachers_test_tasks(
    project: Project, compared: tuple[list[int], dict[str, Any]]
) -> None:
    _, report = compared
    tested = list(load_curated(project.db, {"test", "unseen"}))
    own = [c for c in tested if c.trace.model == "champion"]
    assert len(own) == len(OWN)
    assert list(report["arms"]) == ["teacher", "base", "sft", "candidate", "champion"]
    assert {arm["n"] for arm in report["arms"].values()} == {len(tested) - len(own)}
    assert {"candidate-teacher", "candidate-sft", "candidate-champion"} <= set(report["paired"])
    # The champion is the warm start here, so the two arms did the same.
    assert report["arms"]["champion"]["mean"] == report["arms"]["sft"]["mean"]
    assert not set(project.graded) & set(project.asked[len(project.graded) :])


def test_another_model_of_the_same_name_is_rolled_out_anew(
    project: Project, compared: tuple[list[int], dict[str, Any]]
) -> None:
    base = project.config.root / "base"
    register(project.db, Candidate(candidate_id="other", path=str(base), created_at="2026-01-02", lineage={}))
    promote(project.db, "other", "second")
    report = compare(project.config, project.db, "r1", project.trained)
    assert report["arms"]["champion"]["mean"] == report["arms"]["base"]["mean"]


def test_no_prompt_holds_a_label(project: Project) -> None:
    renderer = Renderer(project.config.root / "base")
    for one in load_curated(project.db):
        labelled = msgspec.structs.replace(one, ground_truth={"s": "LABEL"})
        task = task_of(labelled)
        assert task is not None
        assert "LABEL" not in renderer.decode(renderer.prompt(task.messages, task.tools))
