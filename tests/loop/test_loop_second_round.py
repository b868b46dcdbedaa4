"""Traffic, a round, serving, a second round, on a small example company with a tiny model.

What the second round learns from, what the disk holds of people, and what a model gets to see.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from desk import found, opened, serve_inquiries, short_round, traffic

from strop.cli import company
from strop.config import Config
from strop.environments import is_own, task_of
from strop.grade.scorer import Scorer
from strop.loop.leaks import search
from strop.records import Curated, Trace
from strop.store.curated import load_curated
from strop.store.registry import own_models
from strop.store.traces import iter_records

pytestmark = pytest.mark.slow

SERVED = 30
DEFECTS = ("no_root_ids", "bad_arguments", "cut_messages")


class World:
    """Everything that happened, once, for all tests below."""

    def __init__(self, root: Path) -> None:
        self.config: Config = found(root, 200)
        with sqlite3.connect(root / "logistics" / "company.db") as connection:
            tickets = [
                row[0] for row in connection.execute("select ticket from inquiries order by at limit 9")
            ]
            for i, ticket in enumerate(tickets):
                update = "update inquiries set defect = ?, copies = 1 where ticket = ?"
                connection.execute(update, (DEFECTS[i % 3], ticket))
        connection.close()
        self.db = opened(self.config)
        self.told = traffic(self.config, self.db)
        self.first = self._round()
        self.first_splits = self._splits()
        self.served = serve_inquiries(self.config, self.db, self.candidate(self.first), SERVED)
        self.second = self._round()
        self.second_splits = self._splits()
        self.known = company.call(root, "company", "identities", "--db", company.DB)

    def candidate(self, document: dict[str, Any]) -> str:
        return document["train"]["candidate_id"]

    def curated(self, *splits: str) -> list[Curated]:
        return list(load_curated(self.db, splits or None))

    def records(self) -> list[Trace]:
        return [trace for _, trace in iter_records(self.db)]

    def _round(self) -> dict[str, Any]:
        code, document, err = short_round(self.config.root)
        assert (code, "error" in document) == (1, False), (document, err)  # an honest "inconclusive"
        return document

    def _splits(self) -> dict[str, str]:
        return {c.trace_hash: c.split for c in load_curated(self.db, kept_only=False)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    made = World(tmp_path_factory.mktemp("desk"))
    yield made
    made.db.close()


def test_the_second_round_picks_the_served_traces_up(world: World) -> None:
    assert world.served["runs"] == SERVED
    unreadable = sum(world.first["pull"]["skipped"].values())
    assert world.first["pull"]["stored"] == {"agent": world.told["exported"] - unreadable}
    exported = world.told["exported"] + world.served["exported"]
    assert world.second["pull"]["stored"] == {"agent": exported - unreadable, "capture": SERVED}
    curated = world.second["curate"]
    assert curated["captured"] == {"stored": SERVED, "merged": SERVED}
    assert curated["pulled"] == curated["kept"] + sum(curated["dropped"].values())


def test_agents_and_servers_records_of_one_run_are_merged_by_trace_id(world: World) -> None:
    agents = {t.source_id: t for t in world.records() if t.source == "agent"}
    servers = [t for t in world.records() if t.source == "capture"]
    assert len(servers) == SERVED
    for server in servers:
        agent = agents[server.source_id]
        assert [m.role for m in server.episodes[0].messages] == [m.role for m in agent.episodes[0].messages]
        assert server.customer is not None
        assert server.workflow_id is not None
        if agent.customer is not None:  # a broken export lost its own
            assert (server.customer, server.workflow_id) == (agent.customer, agent.workflow_id)
    assert {c.trace.source for c in world.curated()} == {"agent"}


def test_only_well_graded_traces_of_own_models_are_learned_from(world: World) -> None:
    own = own_models(world.db)
    training = [c for c in world.curated("train") if is_own(c, own)]
    with Scorer(world.config, world.db) as scorer:
        grades = dict(scorer.grade_curated(training))
    good = [g for g in grades.values() if g.score is not None and g.score >= world.config.train.sft_min_score]
    assert 0 < len(good) < len(training)
    sources = world.second["train"]["sources"]
    assert sources["agent, own model"] == {
        "traces": len(training),
        "imitated": len(good),
        "practised": len(good),
    }
    assert world.second["train"]["tasks"] == sum(s["practised"] for s in sources.values())
    assert set(world.first["train"]["sources"]) == {"agent"}


def test_nothing_of_an_earlier_test_split_is_trained_on(world: World) -> None:
    tested = {h for h, split in world.first_splits.items() if split in ("test", "unseen")}
    trained = {h for h, split in world.second_splits.items() if split == "train"}
    assert tested
    assert trained - set(world.first_splits)  # new groups did arrive
    assert not tested & trained
    assert all(world.second_splits[h] == split for h, split in world.first_splits.items())


def test_the_champion_is_an_arm_of_its_own_and_own_traces_are_not_the_teachers(world: World) -> None:
    report = json.loads(Path(world.second["compare"]["report"]).read_text())
    assert list(report["arms"]) == ["teacher", "base", "sft", "candidate", "champion"]
    assert "champion" not in json.loads(Path(world.first["compare"]["report"]).read_text())["arms"]
    own = own_models(world.db)
    teachers = {c.trace_hash for c in world.curated() if not is_own(c, own)}
    (file,) = (world.config.state / "runs" / world.second["run_id"]).glob("rollouts-champion*.jsonl")
    rolled = {json.loads(line)["task_id"] for line in file.read_text().splitlines()}
    assert rolled
    assert rolled <= teachers


def test_no_known_person_is_in_any_file(world: World) -> None:
    # Whoever would read the disk: SQLite and its log, the engine's, runs, models, logs.
    where = {k["value"]: k["where"] for k in world.known}
    found_ = search(world.config.state, where)
    assert found_.files > 20
    leaked = {v: [str(p) for p in paths] for v, paths in found_.texts.items() if where[v] == "field"}
    assert leaked == {}
    colleagues = {v for v in found_.texts if where[v] == "free_text_only"}
    # Their names stand in sentences only, where a finder may miss one in twenty.
    assert len(colleagues) <= 0.05 * sum(w == "free_text_only" for w in where.values())
    beside = search(world.config.root / "logistics", where)  # the search itself works
    assert sum(where[v] == "field" for v in beside.texts) > 0.5 * len(world.known)


def test_tracking_numbers_are_intact(world: World) -> None:
    with sqlite3.connect(world.config.root / "logistics" / "company.db") as connection:
        rows = connection.execute("select ticket, tracking, text from inquiries").fetchall()
    connection.close()
    numbers = {ticket: tracking for ticket, tracking, _ in rows}
    checked = 0
    for trace in world.records():
        number = numbers.get(trace.workflow_id or "")
        if number is None:
            continue
        for episode in trace.episodes:
            asked = [m for m in episode.messages if m.role == "user"]
            assert all(number in (m.content or "") for m in asked)
            for message in episode.messages:
                for call in message.tool_calls:
                    assert (call.parsed() or {}).get("tracking") == number
                    checked += 1
    assert checked > 300


def test_labels_are_in_no_prompt_tool_result_or_trace(world: World) -> None:
    seen: list[str] = []
    for trace in world.records():
        # The answers hold a status of their own: what counts is all that the model was given.
        given = [m for e in trace.episodes for m in e.messages if m.role != "assistant"]
        tools = [t.parameters for e in trace.episodes for t in e.tools]
        seen.append(str([[m.content for m in given if m.role != "system"], tools, trace.attributes]))
        assert not trace.identities
    labels = ("in_transit", "final_status", "unseen_event", "unseen_question", "outcomes", "ground_truth")
    assert [label for text in seen for label in labels if label in text] == []
    for curated in world.curated():
        task = task_of(curated)
        if task is None or task.ground_truth is None:
            continue
        shown = str([m.content for m in task.messages if m.role != "system"])
        assert task.ground_truth["status"] not in ("in_transit",) or "in_transit" not in shown
        assert not {"status", "ground_truth"} & set(curated.trace.attributes)


def test_the_logs_hold_no_message_of_a_customer(world: World) -> None:
    logs = [*world.config.state.rglob("*.log")]
    assert {"teacher.log", "output.log", "engine.log"} <= {p.name for p in logs}
    for log in logs:
        assert "tkt-" not in log.read_text(encoding="utf-8", errors="replace")
