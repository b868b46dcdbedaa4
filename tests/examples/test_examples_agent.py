"""The agent runs over real HTTP: a small world, the stand-in, an OTLP collector, strop's own reader."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from company_world import EXAMPLES, simulated
from logistics import agent, company, database, endpoint, faults, judge, teacher, telemetry, tools

from strop import config
from strop.curate.redact import Redactor
from strop.records import Skipped, Trace, trace_hash
from strop.sources.otlp.receiver import Receiver

INQUIRIES = 150


@contextmanager
def serving(http: ThreadingHTTPServer) -> Generator[str]:
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def collector(receiver: Receiver) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            reply, kind = receiver.receive(body, self.headers["Content-Type"])
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: Any) -> None:
            return

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Any]]:
    url = f"sqlite:///{tmp_path_factory.mktemp('company')}/company.db"
    engine = sa.create_engine(url)
    database.save(engine, simulated(INQUIRIES, 5), 5)
    with engine.begin() as connection:
        tickets = [a.ticket for a in database.asked(engine, 1, 14)]
        for ticket, fault in zip(tickets, ("no_root_ids", "bad_arguments", "cut_messages"), strict=False):
            row = database.inquiries.c.ticket == ticket
            connection.execute(database.inquiries.update().where(row).values(defect=fault, copies=1))
        row = database.inquiries.c.ticket == tickets[3]
        connection.execute(database.inquiries.update().where(row).values(copies=2, defect=""))
    traces: list[Trace] = []
    skipped: list[Skipped] = []

    def sink(found: list[Trace], refused: list[Skipped]) -> None:
        traces.extend(found)
        skipped.extend(refused)

    receiver = Receiver(sink, source="agent", customer_key="customer.id")
    with (
        serving(endpoint.server(teacher.respond, teacher.MODEL)) as model,
        serving(collector(receiver)) as otlp,
    ):
        settings = agent.Settings(f"{model}/v1", teacher.MODEL, otlp, threads=2)
        inquiries = database.asked(engine, 1, 14)
        summary = agent.run_all(engine, inquiries, settings)
    receiver.flush()
    engine.dispose()
    yield {
        "summary": summary,
        "traces": traces,
        "skipped": skipped,
        "counts": receiver.counts(),
        "asked": inquiries,
        "url": url,
    }


def test_everything_exported_is_received(exported: dict[str, Any]):
    summary, counts = exported["summary"], exported["counts"]
    assert summary["runs"] == INQUIRIES == summary["answered"]
    assert summary["exported"] == counts["traces"] + counts["skipped"]
    assert summary["exported"] == INQUIRIES + summary["copies"] and summary["export_failures"] == 0
    assert summary["broken"] >= 3 and summary["copies"] >= 1
    assert len(summary["turns"]) >= 2 * INQUIRIES and summary["cost_usd"] > 0


def test_traces_carry_who_when_and_the_whole_conversation(exported: dict[str, Any]):
    by_ticket = {t.workflow_id: t for t in exported["traces"]}
    for asked in exported["asked"]:
        if asked.defect:
            continue
        trace = by_ticket[asked.ticket]
        assert trace.customer == asked.customer_id
        assert trace.started_at == int(asked.at * telemetry.SECOND)
        assert 1.0 < trace.latency_s < 12.0
        assert trace.attributes["group.id"].startswith(asked.tracking)
        (episode,) = trace.episodes
        assert [m.content for m in episode.messages[:2]] == [tools.SYSTEM_PROMPT, asked.text]
        assert json.loads(episode.messages[-1].content or "")["final_status"]
        assert all(json.loads(m.content or "") for m in episode.messages if m.role == "tool")
        assert [t.name for t in episode.tools] == ["lookup_tracking", "lookup_eta"]
        assert trace.cost_usd and trace.usage.prompt_tokens > 0
        assert faults.FAULT not in str(trace) and faults.COPIES not in str(trace)


def test_a_copy_has_its_own_id_and_the_same_hash(exported: dict[str, Any]):
    copied = next(a for a in exported["asked"] if a.copies == 2 and not a.defect)
    first, second = [t for t in exported["traces"] if t.workflow_id == copied.ticket]
    assert first.source_id != second.source_id
    assert trace_hash(first) == trace_hash(second)


def test_broken_traces_are_told_apart(exported: dict[str, Any]):
    whole = {t.workflow_id for t in exported["traces"] if not t.problems and t.customer is not None}
    broken = {a.ticket for a in exported["asked"] if a.defect in ("no_root_ids", "cut_messages")}
    assert broken and not broken & whole


def test_feedback_arrives_as_scores(exported: dict[str, Any]):
    scored = [t for t in exported["traces"] if t.scores]
    assert 0 < len(scored) < 0.3 * INQUIRIES
    assert {s.name for t in scored for s in t.scores} == {"user_feedback"}


def test_redaction_with_the_companys_settings_leaves_no_known_person(
    exported: dict[str, Any], tmp_path: Path
):
    settings = (EXAMPLES / "logistics" / "strop.toml").read_text(encoding="utf-8")
    (tmp_path / "strop.toml").write_text(settings, encoding="utf-8")
    loaded = config.load(tmp_path, environ={})
    redactor = Redactor(loaded.redact, b"key")
    stored = [redactor.redact(t)[0] for t in exported["traces"]]
    text = json.dumps([str(t) for t in stored], ensure_ascii=False)
    known = [k for k in company.identities(simulated(INQUIRIES, 5)) if k["where"] == "field"]
    assert [k for k in known if k["value"] in text] == []
    for trace in stored:
        asked = next((a for a in exported["asked"] if a.ticket == trace.workflow_id), None)
        assert asked is None or asked.defect or asked.tracking in str(trace.episodes)


def test_an_answer_that_is_none_ends_the_run_as_an_error():
    def chatter(request: dict[str, Any]) -> endpoint.Reply:
        return endpoint.Reply({"role": "assistant", "content": "It is on its way."}, "stop", 1, 1, {})

    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    database.save(engine, simulated(INQUIRIES, 5), 5)
    with serving(endpoint.server(chatter, "chatter")) as model:
        settings = agent.Settings(f"{model}/v1", "chatter", threads=1)
        summary = agent.run_all(engine, database.asked(engine, 15, 15, limit=3), settings)
    engine.dispose()
    assert (summary["runs"], summary["errors"], summary["answered"]) == (3, 3, 0)


@pytest.mark.parametrize(
    "content",
    [None, "", "no JSON", "[]", '{"final_status":"lost","message":"x"}', '{"final_status":"delayed"}'],
)
def test_invalid_answers_are_refused(content: str | None):
    with pytest.raises(agent.InvalidAnswerError):
        agent.parse_answer(content)


def test_tools_answer_wrong_calls_with_an_error():
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    database.save(engine, simulated(INQUIRIES, 5), 5)
    desk = tools.Desk(engine)
    for name, arguments in (
        ("lookup_tracking", "{"),
        ("lookup_tracking", "[]"),
        ("lookup_tracking", '{"tracking": 7}'),
        ("lookup_tracking", '{"tracking": "7"}'),
        ("lookup_eta", '{"tracking": "7"}'),
        ("lookup_moon", '{"tracking": "7"}'),
    ):
        assert set(json.loads(desk.call(name, arguments, 1e12))) == {"error"}
    desk.close()
    engine.dispose()


def test_the_endpoint_refuses_what_it_cannot_answer():
    import httpx2

    with serving(endpoint.server(judge.respond, judge.MODEL)) as url, httpx2.Client(trust_env=False) as http:
        assert http.get(f"{url}/v1/models").json()["data"][0]["id"] == judge.MODEL
        for body in ("{", "[]", '{"stream": true}', '{"messages": []}', '{"messages": 3}'):
            assert http.post(f"{url}/v1/chat/completions", content=body).status_code == 400
        assert http.post(f"{url}/v1/other", content="{}").status_code == 404


def test_the_company_command_writes_a_database_that_can_be_rebuilt(tmp_path: Path, capsys: Any):
    url = f"sqlite:///{tmp_path / 'company.db'}"
    assert company.main(["init", "--db", url, "--inquiries", "150", "--seed", "5"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["inquiries"] == INQUIRIES and "stand-in" in shown["teacher"]
    out = tmp_path / "known.json"
    assert company.main(["identities", "--db", url, "--out", str(out)]) == 0
    assert json.loads(out.read_text(encoding="utf-8")) == company.identities(simulated(INQUIRIES, 5))
