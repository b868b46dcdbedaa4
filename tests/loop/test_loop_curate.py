"""Curation over the store: what is kept, what is dropped and why, and the labels."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strop.config import Config, load
from strop.errors import AnswerIsNo, ConfigError, NotEnoughData, OutsideServiceError
from strop.loop.curate import curate
from strop.records import Episode, Message, Score, Trace
from strop.store import Database, open_database
from strop.store.curated import load_curated
from strop.store.traces import add_traces

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
