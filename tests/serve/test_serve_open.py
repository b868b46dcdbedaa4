from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from served import AUTH, KEY, MODEL_ID, TOOL, FakeModel, body, call, text
from sqlalchemy import select

from strop.config import Config
from strop.errors import ConfigError, InputError
from strop.promote.registry import promote, register
from strop.records import Candidate
from strop.serve.open import open_app
from strop.store import Database, open_database
from strop.store.schema import late_scores
from strop.store.traces import iter_traces

OTHER_ID = "b" * 64
ENVIRON = {"STROP_API_KEY": KEY}


@pytest.fixture
def project(tmp_path: Path) -> Config:
    sources = [{"name": "agent", "kind": "otlp"}]
    return Config.model_validate({"root": tmp_path, "sources": sources, "serve": {"names": ["status-agent"]}})


@pytest.fixture
def db(project: Config) -> Iterator[Database]:
    db = open_database(project.store_url, "default")
    for candidate_id in (MODEL_ID, OTHER_ID):
        register(
            db,
            Candidate(
                candidate_id=candidate_id, path=f".strop/models/{candidate_id}", created_at="2026-11-23"
            ),
        )
    yield db
    db.close()


def test_the_champion_is_served_and_its_traces_land_redacted(project: Config, db: Database):
    promote(db, MODEL_ID, "test")
    loaded: list[Path] = []

    def load(folder: Path) -> FakeModel:
        loaded.append(folder)
        return FakeModel([call(), text('{"final_status":"delivered"}')])

    app = open_app(project, db, load=load, environ=ENVIRON)
    assert loaded == [project.root / ".strop/models" / MODEL_ID]
    said = "Where is 00340434161094015902? Anna Schmidt, anna.schmidt@example.org"
    messages = [{"role": "user", "content": said}]
    with TestClient(app, headers={**AUTH, "baggage": "user.name=Anna%20Schmidt,customer.id=C-1"}) as client:
        for model in ("champion", "status-agent"):
            request = {**body(model=model, tools=[TOOL]), "messages": messages}
            reply = client.post("/v1/chat/completions", json=request).json()["choices"][0]["message"]
            messages.append(reply)
            for c in reply.get("tool_calls", []):
                messages.append({"role": "tool", "tool_call_id": c["id"], "content": "delivered"})
    [(_, trace)] = iter_traces(db)
    assert (trace.source, trace.customer, trace.model) == ("capture", "C-1", MODEL_ID)
    assert len(trace.episodes[0].messages) == 4 and trace.identities == {}
    kept = trace.episodes[0].messages[0].content or ""
    assert "00340434161094015902" in kept and "Anna" not in kept and "example.org" not in kept
    db.close()
    report = app.state.capture.report()
    assert (report.calls, report.dropped, report.failed) == (2, 0, 0)
    for file in project.state.iterdir():
        assert b"Schmidt" not in file.read_bytes() and b"anna.schmidt" not in file.read_bytes()


def test_a_candidate_goes_by_its_own_name_and_is_not_called_champion(project: Config, db: Database):
    promote(db, MODEL_ID, "test")
    app = open_app(project, db, candidate_id=OTHER_ID, load=lambda _: FakeModel(), environ=ENVIRON)
    with TestClient(app, headers=AUTH) as client:
        assert [m["id"] for m in client.get("/v1/models").json()["data"]] == [OTHER_ID, "status-agent"]
        assert client.post("/v1/chat/completions", json=body()).status_code == 404
        assert client.post("/v1/chat/completions", json=body(model=OTHER_ID)).status_code == 200


def test_before_the_first_promotion_it_receives_traces(project: Config, db: Database):
    app = open_app(project, db, environ=ENVIRON)
    with TestClient(app, headers=AUTH) as client:
        response = client.post("/v1/chat/completions", json=body())
        assert response.status_code == 404 and "none is promoted yet" in response.text
        assert client.post("/v1/traces", json={"resourceSpans": []}).status_code == 200
    assert list(iter_traces(db)) == []


def test_an_evaluation_that_comes_later_is_kept_without_people(project: Config, db: Database):
    told = {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 0.5,
            "gen_ai.evaluation.explanation": "rude to anna.schmidt@example.org"}  # fmt: skip
    values = [
        {"key": k, "value": {"doubleValue" if k.endswith("value") else "stringValue": v}}
        for k, v in told.items()
    ]
    record = {
        "eventName": "gen_ai.evaluation.result",
        "traceId": "5" * 32,
        "spanId": "6" * 16,
        "attributes": values,
    }
    app = open_app(project, db, environ=ENVIRON)
    with TestClient(app, headers=AUTH) as client:
        logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
        assert client.post("/v1/logs", json=logs).status_code == 200
    with db.engine.connect() as connection:
        [(target, kept)] = connection.execute(select(late_scores.c.target, late_scores.c.body)).all()
    assert target == "5" * 32
    assert b"tone" in kept and b"anna" not in kept


def test_what_keeps_it_from_opening(project: Config, db: Database):
    with pytest.raises(ConfigError, match="needs a key"):
        open_app(project, db, environ={})
    with pytest.raises(InputError, match="no candidate"):
        open_app(project, db, candidate_id="nope", environ=ENVIRON)
