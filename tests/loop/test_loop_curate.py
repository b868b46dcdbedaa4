"""Curation over the store: what is kept, what is dropped and why, and the labels."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from shared import shared

from strop.config import Config, Source, load
from strop.errors import AnswerIsNo, ConfigError, NotEnoughData, OutsideServiceError
from strop.loop.curate import curate
from strop.loop.parallel import Processes
from strop.records import (
    Candidate,
    Curated,
    Episode,
    Grade,
    Message,
    Score,
    Skipped,
    ToolCall,
    Trace,
    trace_hash,
)
from strop.sources.files.parts import read
from strop.store import Database, open_database
from strop.store.curated import load_curated, save_curated
from strop.store.graders import remember_grader
from strop.store.grades import save_grades
from strop.store.registry import add_candidate
from strop.store.traces import add_skipped, add_traces, save_identities

DAY = 86_400 * 10**9


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "strop.toml").write_text("[curate]\nmin_rows = 10\n")
    return load(tmp_path, environ={})


@pytest.fixture
def db(config: Config) -> Iterator[Database]:
    database = open_database(config.store_url, "default")
    yield database
    database.close()


def trace(n: int, answer: str = "a", **extra: Any) -> Trace:
    messages = (Message(role="user", content=f"q{n}"), Message(role="assistant", content=answer))
    fields: dict[str, Any] = {
        "source": "otlp",
        "source_id": str(n),
        "started_at": n * DAY,
        "ended_at": n * DAY + 1,
        "workflow_id": f"w{n}",
        "customer": f"c{n % 10}",
        **extra,
    }
    return Trace(episodes=(Episode(messages=messages),), **fields)


def changed(config: Config, **sections: dict[str, Any]) -> Config:
    updates = {name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    return config.model_copy(update=updates)


def test_the_counts_add_up(config: Config, db: Database) -> None:
    copies = [trace(n, source_id=f"copy{n}") for n in range(5)]
    add_traces(db, [*(trace(n) for n in range(100)), *copies, trace(200, answer="")])
    report = curate(config, db)
    assert (report["pulled"], report["unique"], report["kept"]) == (106, 101, 100)
    assert report["dropped"] == {"duplicate": 5, "no answer": 1}
    assert report["pulled"] == report["kept"] + sum(report["dropped"].values())
    assert sum(report["splits"].values()) == 100
    assert report["splits"]["train"] == 70
    assert curate(config, db) == report


def test_too_few_rows_are_refused_with_the_reasons(config: Config, db: Database) -> None:
    add_traces(db, [trace(1), trace(2), trace(3, source_id="x"), trace(3), trace(4, answer="")])
    with pytest.raises(NotEnoughData, match="3 usable traces") as error:
        curate(config, db)
    assert error.value.exit_code == 2
    assert "1 duplicate" in error.value.where
    assert "1 no answer" in error.value.where
    report = curate(config, db, allow_small="a trial")
    assert (report["kept"], report["allow_small"]) == (3, "a trial")


def test_too_many_unreadable_traces_stop_the_stage(config: Config, db: Database) -> None:
    add_traces(db, [*(trace(n) for n in range(90)), *(trace(n, answer="") for n in range(90, 100))])
    with pytest.raises(AnswerIsNo, match="10 of 100 traces can't be read"):
        curate(config, db)


def test_a_captured_twin_counts_once_and_the_agents_record_wins(config: Config, db: Database) -> None:
    own = [trace(n, source="capture", workflow_id=None, customer=None) for n in range(5)]
    alone = trace(99, source="capture", workflow_id=None, customer=None, model="candidate")
    add_traces(db, [*own, alone, *(trace(n) for n in range(20))])
    report = curate(config, db)
    assert report["captured"] == {"stored": 6, "merged": 5}
    assert report["dropped"] == {"merged with the agent's record": 5}
    kept = list(load_curated(db))
    assert len(kept) == 21
    assert [c.trace.model for c in kept if c.trace.source == "capture"] == ["candidate"]
    assert all(c.trace.customer for c in kept if c.trace.source == "otlp")


@pytest.mark.parametrize("server_first", [True, False])
def test_a_twin_with_the_same_hash_is_merged_and_no_copy(
    config: Config, db: Database, server_first: bool
) -> None:
    at = 0 if server_first else 50 * DAY
    add_traces(db, [trace(n, source="capture", started_at=at, ended_at=at) for n in range(20)])
    add_traces(db, [trace(n, started_at=n * DAY + 1) for n in range(20)])
    report = curate(config, db)
    assert (report["pulled"], report["kept"], report["captured"]["merged"]) == (40, 20, 20)
    assert report["dropped"] == {"merged with the agent's record": 20}
    assert {c.trace.source for c in load_curated(db)} == {"otlp"}


def test_the_loudest_customer_is_capped_in_training_only(config: Config, db: Database) -> None:
    add_traces(db, [trace(n, customer="big" if n % 2 else f"c{n % 20}") for n in range(200)])
    report = curate(config, db)
    loudest = report["loudest"]
    assert loudest["customer"] == "big"
    assert loudest["dropped"] == report["dropped"]["over the loudest customer's share"] > 0
    assert loudest["share"] <= 0.2 < loudest["share_before"]
    test = list(load_curated(db, {"test"}))
    assert sum(c.trace.customer == "big" for c in test) > len(test) * 0.4


def test_a_second_round_trains_on_nothing_of_the_first_test_split(config: Config, db: Database) -> None:
    add_traces(db, [trace(n) for n in range(100)])
    curate(config, db)
    tested = {c.trace_hash for c in load_curated(db, {"test"})}
    again = [trace(1000 + n, workflow_id=f"w{n}") for n in range(80, 100)]
    add_traces(db, [*again, *(trace(n) for n in range(2000, 2060))])
    report = curate(config, db)
    assert report["kept"] == 180
    training = list(load_curated(db, {"train"}))
    assert not tested & {c.trace_hash for c in training}
    assert not {c.trace.workflow_id for c in training} & {f"w{n}" for n in range(80, 100)}
    assert any(c.trace.started_at >= 2000 * DAY for c in training)


def test_a_group_attribute_ties_traces(config: Config, db: Database) -> None:
    add_traces(db, [trace(n, attributes={"group.id": f"g{n % 15}"}) for n in range(150)])
    curate(changed(config, curate={"group_by": "group.id"}), db)
    by_group: dict[Any, set[str]] = {}
    for c in load_curated(db):
        by_group.setdefault(c.trace.attributes["group.id"], set()).add(c.split)
    assert all(len(splits) == 1 for splits in by_group.values())


def company(path: Path, workflows: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table outcomes (workflow_id text, status text, known_at text, eta date)")
    rows = [(f"w{n}", "delivered", "1970-01-02", "2026-01-01") for n in range(workflows)]
    connection.executemany("insert into outcomes values (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()


def test_labels_come_by_sql_with_the_names_it_uses(config: Config, db: Database) -> None:
    company(config.root / "company.db", 60)
    add_traces(db, [*(trace(n) for n in range(90)), *(trace(n, workflow_id=None) for n in range(90, 100))])
    sql = "select status, eta from outcomes where workflow_id = :workflow_id and known_at <= :trace_time"
    labelled = changed(config, labels={"url": "sqlite:///company.db", "sql": sql})
    report = curate(labelled, db)
    assert (report["kept"], report["labelled"]) == (100, 59)  # w0's trace is older than its outcome
    truths = {c.trace.workflow_id: c.ground_truth for c in load_curated(db)}
    assert truths["w5"] == {"status": "delivered", "eta": "2026-01-01"}
    assert (truths["w0"], truths["w70"], truths[None]) == (None, None, None)
    with pytest.raises(NotEnoughData, match="59 usable"):
        curate(changed(labelled, curate={"min_rows": 60}), db)


def test_wrong_label_queries_say_so(config: Config, db: Database) -> None:
    add_traces(db, [trace(n) for n in range(20)])
    url = "sqlite:///company.db"
    with pytest.raises(ConfigError, match=":customer"):
        curate(changed(config, labels={"url": url, "sql": "select 1 where :customer = 1"}), db)
    with pytest.raises(OutsideServiceError, match="no such table"):
        curate(changed(config, labels={"url": url, "sql": "select * from missing"}), db)
    with pytest.raises(ConfigError, match=r"needs labels\.url"):
        curate(changed(config, labels={"sql": "select 1"}), db)


def test_labels_come_from_scores(config: Config, db: Database) -> None:
    plain = [trace(n, scores=(Score("reward", 1.0),)) for n in range(10)]
    rich = [trace(n, scores=(Score("reward", '{"status": "ok"}'),)) for n in range(10, 20)]
    add_traces(db, [*plain, *rich, trace(20)])
    report = curate(changed(config, labels={"score": "reward"}), db)
    assert report["labelled"] == 20
    truths = [c.ground_truth for c in load_curated(db)]
    assert (truths[0], truths[10], truths[20]) == ({"reward": 1.0}, {"status": "ok"}, None)


TICKET = (
    "Hello, I am waiting for the parcel that your driver was to bring on Tuesday morning, nobody rang, there "
    "was no card in the letter box either, and the page that follows shipments has said the same since "
    "Friday night: that it is in a van near my town. Could you please find out where it is and when it comes?"
)


def ticket(
    n: int,
    *,
    text: str = TICKET,
    status: str = "late",
    order: str = "A7",
    event: str = "left the depot",
    **extra: Any,
) -> Trace:
    messages = (
        Message(role="system", content="Be kind. " * 50),
        Message(role="user", content=f"{text} My order is {order}."),
        Message("assistant", None, (ToolCall(f"call{n}", "look_up", json.dumps({"order": order})),)),
        Message("tool", json.dumps({"events": [event] * 3}), tool_call_id=f"call{n}", name="look_up"),
        Message("assistant", json.dumps({"status": status})),
    )
    return msgspec.structs.replace(trace(n, **extra), episodes=(Episode(messages=messages),))


def filler(count: int) -> list[Trace]:
    """Traces that resemble nothing."""
    return [trace(n, answer=f"answer {n} is {n * n} of {n**3}") for n in range(1000, 1000 + count)]


def by_id(db: Database, kept_only: bool = True) -> dict[str, Curated]:
    return {c.trace.source_id: c for c in load_curated(db, kept_only=kept_only)}


def test_of_near_duplicates_with_one_outcome_one_is_kept(config: Config, db: Database) -> None:
    again = [ticket(n, text=TICKET.replace("Tuesday", day)) for n, day in enumerate(("Monday", "Tuesday"), 2)]
    add_traces(db, [ticket(1), *again, *filler(40)])
    report = curate(config, db)
    assert report["dropped"] == {"near-duplicate": 2}
    assert report["near_duplicates"]["dropped"] == 2
    assert report["near_duplicates"]["threshold"] == 0.9
    assert {"1", "2", "3"} & set(by_id(db)) == {"1"}
    off = curate(changed(config, curate={"near_duplicate": 0.0}), db)
    assert (off["kept"], off["near_duplicates"]["dropped"]) == (43, 0)


def test_retries_with_other_outcomes_are_kept_and_stay_together(config: Config, db: Database) -> None:
    retries = [ticket(n, status=f"status {n}") for n in (1, 500, 1030, 9000)]
    add_traces(db, [*retries, *filler(60)])
    report = curate(config, db)
    assert report["dropped"] == {}
    assert report["near_duplicates"]["retries"] == {"groups": 1, "traces": 4}
    kept = by_id(db)
    assert len({kept[t.source_id].split for t in retries}) == 1
    late = [ticket(20_000 + n, status=f"other {n}", workflow_id=f"new{n}") for n in range(3)]
    add_traces(db, late)
    curate(config, db)
    kept = by_id(db)
    assert len({kept[t.source_id].split for t in [*retries, *late]}) == 1


def test_the_same_words_about_another_order_are_neither_dropped_nor_tied(
    config: Config, db: Database
) -> None:
    others = [ticket(n * 100, order=f"B{n}", customer=f"c{n % 10}") for n in range(1, 31)]
    add_traces(db, [*others, *filler(30)])
    report = curate(changed(config, curate={"max_customer_share": 1.0}), db)
    assert (report["dropped"], report["near_duplicates"]["retries"]["groups"]) == ({}, 0)
    assert {c.split for i, c in by_id(db).items() if int(i) % 100 == 0} >= {"train", "test"}


def test_a_fact_that_differs_makes_no_duplicate(config: Config, db: Database) -> None:
    history = " ".join(f"stop {n}" for n in range(90))
    results = [
        ticket(n, event=f"{history}, left the {place}") for n, place in enumerate(("depot", "port", "sea"))
    ]
    add_traces(db, [*results, *filler(30)])
    report = curate(config, db)
    assert (report["dropped"], report["near_duplicates"]["largest_group"]) == ({}, 3)
    asked = [
        msgspec.structs.replace(
            ticket(n, workflow_id=f"v{n}"),
            episodes=(
                Episode((Message("user", f"{TICKET} Invoice {n}"), Message("assistant", "We look into it."))),
            ),
        )
        for n in range(100, 110)
    ]
    add_traces(db, asked)
    report = curate(config, db)
    assert (report["dropped"], report["near_duplicates"]["largest_group"]) == ({}, 3)


def test_a_score_that_could_not_be_read_is_no_trace_that_failed(config: Config, db: Database) -> None:
    add_traces(db, [trace(n) for n in range(40)])
    add_skipped(db, [Skipped("score", f"s{n}", "an annotation without a target") for n in range(50)])
    report = curate(config, db)
    assert (report["pulled"], report["dropped"]) == (40, {})
    add_skipped(db, [Skipped("assemble", f"a{n}", "no messages") for n in range(3)])
    with pytest.raises(AnswerIsNo, match="3 of 43 traces can't be read"):
        curate(config, db)


def test_a_copy_brings_the_label_that_the_first_one_lacks(config: Config, db: Database) -> None:
    copies = [trace(n, source_id=f"copy{n}", scores=(Score("reward", float(n)),)) for n in range(20)]
    add_traces(db, [*(trace(n) for n in range(20)), *copies])
    report = curate(changed(config, labels={"score": "reward"}), db)
    assert (report["labelled"], report["dropped"]) == (20, {"duplicate": 20})
    assert [c.ground_truth for c in load_curated(db)] == [{"reward": float(n)} for n in range(20)]


def test_another_ground_truth_is_another_outcome(config: Config, db: Database) -> None:
    scored = [ticket(n, scores=(Score("reward", float(n % 2)),)) for n in range(4)]
    add_traces(db, [*scored, *filler(30)])
    assert curate(config, db)["dropped"] == {"near-duplicate": 3}
    report = curate(changed(config, labels={"score": "reward"}), db, allow_small="hardly any has a score")
    assert report["dropped"] == {"near-duplicate": 2}


def test_near_duplicates_of_test_rows_leave_training(config: Config, db: Database) -> None:
    pair = [ticket(1, status="late"), ticket(9000, status="lost")]
    add_traces(db, [*pair, *filler(60)])
    off = changed(config, curate={"near_duplicate": 0.0})
    curate(off, db)
    assert [by_id(db)[t.source_id].split for t in pair] == ["train", "test"]
    report = curate(config, db)
    assert report["leakage"]["near_duplicate_pairs"] == {"train/test": 1}
    assert report["leakage"]["dropped_near_duplicates"] == 1
    assert report["leakage"]["all_pairs_compared"] is True
    kept = by_id(db)
    assert "1" not in kept
    assert kept["9000"].split == "test"
    assert report["pulled"] == report["kept"] + sum(report["dropped"].values())
    assert curate(config, db) == report


def test_a_repeated_test_row_is_kept_and_its_copy_in_training_goes(config: Config, db: Database) -> None:
    add_traces(db, [ticket(1), ticket(9000), *filler(60)])
    curate(changed(config, curate={"near_duplicate": 0.0}), db)
    assert curate(config, db)["dropped"] == {"near-duplicate": 1}
    assert by_id(db)["9000"].split == "test"
    assert "1" not in by_id(db)


def test_people_in_two_splits_are_counted(config: Config, db: Database) -> None:
    traces = filler(60)
    add_traces(db, traces)
    people = [("p1", 0), ("p1", 59), ("p2", 1), ("p2", 2), ("p3", 45), ("p3", 58), ("p3", 3)]
    rows = [{"hmac": p, "kind": "PERSON", "trace_hash": trace_hash(traces[n])} for p, n in people]
    with db.engine.begin() as connection:
        save_identities(connection, db, rows)
    report = curate(config, db)
    assert report["leakage"]["identities"] == {"train/test": 2, "train/validation": 1, "validation/test": 1}


def trained_model(config: Config, db: Database, name: str, traces: list[Trace], base: str = "") -> Path:
    folder = config.state / "models" / name
    folder.mkdir(parents=True)
    lineage = {"base": base, "trace_hashes": [trace_hash(t) for t in traces]}
    (folder / "lineage.json").write_text(json.dumps(lineage))
    add_candidate(db, Candidate(candidate_id=name, path=str(folder), created_at="2026-01-01", lineage={}))
    return folder


def test_what_the_base_model_saw_is_no_test(config: Config, db: Database) -> None:
    traces = [*filler(60), ticket(9000, status="late"), ticket(9001, status="lost")]
    add_traces(db, traces)
    trained_model(config, db, "first", [traces[59], traces[60]])
    second = trained_model(config, db, "second", [traces[0]], base="first")
    trained_model(config, db, "third", [traces[58]])
    report = curate(config, db)
    assert report["leakage"]["earlier_models"] == [
        {"model": "first", "base": False, "test_traces": 3},  # the second a retry of what it saw
        {"model": "second", "base": False, "test_traces": 0},
        {"model": "third", "base": False, "test_traces": 1},
    ]
    assert report["leakage"]["dropped_seen_by_base"] == 0
    onward = changed(config, train={"base": str(second)})
    report = curate(onward, db)
    assert [(m["model"], m["base"]) for m in report["leakage"]["earlier_models"]] == [
        ("second", True), ("first", True), ("third", False),
    ]  # fmt: skip
    assert report["leakage"]["dropped_seen_by_base"] == 3  # two it saw, and the other outcome of one of them
    assert report["dropped"] == {"the base model was trained on it": 3}
    assert not {"9000", "9001", "1059"} & set(by_id(db))


def test_once_a_model_is_trained_a_test_trace_stays_one_whatever_its_group_becomes(
    config: Config, db: Database
) -> None:
    plain = changed(config, curate={"near_duplicate": 0.0})
    traces = [
        trace(n, workflow_id=None, session_id=f"s{n}", customer=f"c{n % 5}", attributes={"g": f"g{n % 37}"})
        for n in range(100)
    ]
    add_traces(db, traces)
    curate(plain, db)
    tested = {c.trace_hash for c in load_curated(db, {"test"})}
    trained_model(config, db, "first", [c.trace for c in load_curated(db, {"train"})])
    renamed = [
        msgspec.structs.replace(t, source_id=f"old{n}", session_id=f"old{n}", started_at=0, ended_at=1)
        for n, t in enumerate(traces)
    ]
    add_traces(db, renamed[85:95])
    curate(plain, db)
    assert {c.trace_hash for c in load_curated(db, {"test"})} == tested
    report = curate(changed(plain, curate={"group_by": "g"}), db)
    splits: dict[Any, set[str]] = defaultdict(set)
    for c in load_curated(db):
        splits[c.trace.attributes["g"]].add(c.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {c.trace_hash for c in load_curated(db, {"test"})} == tested
    assert report["dropped"]["its group straddles splits"] > 0
    assert report["pulled"] == report["kept"] + sum(report["dropped"].values())


def test_a_model_whose_folder_is_gone_is_named_without_a_count(config: Config, db: Database) -> None:
    add_traces(db, filler(30))
    add_candidate(db, Candidate(candidate_id="gone", path="/nowhere", created_at="2026-01-01", lineage={}))
    (model,) = curate(config, db)["leakage"]["earlier_models"]
    assert model == {"model": "gone", "base": False, "test_traces": None}


def test_customers_are_weighted_instead_of_capped(config: Config, db: Database) -> None:
    add_traces(db, [trace(n, customer="big" if n % 2 else f"c{n % 20}") for n in range(200)])
    capped = curate(config, db)
    assert capped["balance"]["effective_rows"] == capped["balance"]["training_rows"]
    assert {c.weight for c in load_curated(db)} == {1.0}
    weighted = curate(changed(config, curate={"customers": "weighted"}), db)
    training = list(load_curated(db, {"train"}))
    assert len(training) == weighted["balance"]["training_rows"] > capped["balance"]["training_rows"]
    assert sum(c.weight for c in training) == pytest.approx(len(training))
    rows = Counter(c.trace.customer for c in training)
    together: dict[Any, float] = defaultdict(float)
    for c in training:
        together[c.trace.customer] += c.weight
    unit = together["big"] / rows["big"] ** 0.5
    assert all(together[c] == pytest.approx(unit * n**0.5) for c, n in rows.items())
    loudest = weighted["loudest"]
    assert (loudest["customer"], loudest["dropped"]) == ("big", 0)
    assert loudest["share_drawn"] == pytest.approx(together["big"] / len(training))
    assert loudest["share_drawn"] < 0.6 * loudest["share"]
    squares = sum(c.weight**2 for c in training)
    assert weighted["balance"]["effective_rows"] == pytest.approx(len(training) ** 2 / squares)
    assert {c.weight for c in load_curated(db, {"test", "validation", "unseen"})} == {1.0}


def test_failing_rare_and_new_traces_are_oversampled(config: Config, db: Database) -> None:
    traces = filler(100)
    traces[0] = ticket(900)  # alone with its tool
    traces[1] = msgspec.structs.replace(traces[1], status="error")
    add_traces(db, traces)
    remember_grader(db, "g1", "an older one")
    remember_grader(db, "g2", "the one in use")
    save_grades(db, "g2", {trace_hash(traces[2]): Grade(score=0.1), trace_hash(traces[3]): Grade(score=1.0)})
    save_grades(db, "g1", {trace_hash(traces[4]): Grade(score=0.1)})
    trained_model(config, db, "first", traces[:60])
    factors = {"failing": 2.0, "rare": 1.5, "new": 3.0}
    report = curate(changed(config, curate={"oversample": factors}), db)
    assert report["balance"]["oversample"] == {
        "failing": {"factor": 2.0, "training_rows": 2},
        "rare": {"factor": 1.5, "training_rows": 1},
        "new": {"factor": 3.0, "training_rows": 10},
    }
    weight = {i: c.weight for i, c in by_id(db).items()}
    one = weight["1010"]
    assert weight["900"] == pytest.approx(1.5 * one)
    assert weight["1001"] == weight["1002"] == pytest.approx(2 * one)
    assert weight["1003"] == weight["1004"] == pytest.approx(one)
    assert weight["1065"] == pytest.approx(3 * one)


def test_processes_decide_as_this_one_does(config: Config, db: Database) -> None:
    retries = [ticket(n, status=f"status {n % 3}") for n in range(40)]
    add_traces(db, [*retries, *filler(200)])
    seen: list[tuple[int, int]] = []
    here = curate(config, db)
    decided = [(c.trace_hash, c.split, c.reason) for c in load_curated(db, kept_only=False)]
    both = curate(
        config, db, engine=Processes(2), on_progress=lambda done, total, _: seen.append((done, total))
    )
    assert both == here
    assert decided == [(c.trace_hash, c.split, c.reason) for c in load_curated(db, kept_only=False)]
    assert (240, 240) in seen
    assert not list(config.state.glob("curate.*"))


def test_decisions_of_before_this_had_weights_read_as_one(config: Config, db: Database) -> None:
    one = trace(1)
    add_traces(db, [one])
    row = {"trace_hash": trace_hash(one), "kept": True, "reason": "", "group_id": "g", "split": "train"}
    save_curated(db, [{**row, "weight": None}], {})
    assert [c.weight for c in load_curated(db)] == [1.0]


def test_airline_trials_copies_and_near_copies(config: Config, db: Database) -> None:
    """tau-bench's trials: a task's never straddle, planted copies are all found, no other outcome is lost."""
    trials = json.loads(shared("data/tau_airline_gpt4o/trials_0_1.json").read_text())
    lines: list[dict[str, Any]] = [
        {
            "id": f"{t['task_id']}-{t['trial']}",
            "messages": t["traj"],
            "metadata": {"task_id": str(t["task_id"])},
        }
        for t in trials
    ]
    exact = [{**line, "id": f"copy {line['id']}"} for line in lines[::4]]
    near = [
        {**line, "id": f"near {line['id']}", "messages": edited(line["messages"])} for line in lines[1::4]
    ]
    (config.root / "airline.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in [*lines, *exact, *near])
    )
    source = Source(name="air", kind="openai-chat", path="airline.jsonl")
    add_traces(db, [item for item in read(source, config.root) if isinstance(item, Trace)])
    by_task = changed(config, curate={"group_by": "task_id", "unseen_customer_share": 0.0})
    report = curate(by_task, db)
    kept = by_id(db)
    assert report["dropped"] == {"duplicate": len(exact), "near-duplicate": len(near)}
    assert report["kept"] == 100
    assert {i.removeprefix("copy ").removeprefix("near ") for i in kept} == {
        str(line["id"]) for line in lines
    }
    splits: dict[Any, set[str]] = defaultdict(set)
    for c in kept.values():
        splits[c.trace.attributes["task_id"]].add(c.split)
    assert len(splits) == 50
    assert all(len(found) == 1 for found in splits.values())
    assert len(set.union(*splits.values())) == 3


def edited(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Change two words of what the user says, where that leaves the rest as it is."""
    places = [i for i, m in enumerate(messages) if m["role"] == "user"]
    first = messages[places[0]]
    changed = {**first, "content": f"Good morning. {first['content']}"}
    return [*messages[: places[0]], changed, *messages[places[0] + 1 :]]
