"""The examination over a store: which attempts, people, a second grader, golden cases, earlier versions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strop.config import Config
from strop.environments import reference_of
from strop.errors import AnswerIsNo, ConfigError, InputError, NotEnoughData
from strop.loop.audit import audit, keep, refuse_if_failed, standing
from strop.loop.audit.cases import recorded_cases
from strop.loop.grade import grade
from strop.records import Episode, Grade, Message, Rollout, Score, Tool, ToolCall, Trace, Verdict, trace_hash
from strop.store import Database, open_database
from strop.store.curated import load_curated, save_curated, save_labels
from strop.store.registry import save_verdict
from strop.store.traces import add_traces

STATUSES = ("delivered", "delayed", "returned", "lost")
TOOL = Tool("lookup", "", {"type": "object", "properties": {"parcel": {"type": "string"}}})
FAIR = """
def grade(rollout, ground_truth):
    status_ok = float(rollout["status"] == ground_truth["status"])
    days_ok = float(rollout["days"] == ground_truth["days"])
    return 0.7 * status_ok + 0.3 * days_ok
"""
FOOLED = FAIR.replace(
    'rollout["status"] == ground_truth["status"]', 'ground_truth["status"] in str(rollout["status"])'
)
HARSH = FAIR.replace("0.7 * status_ok + 0.3 * days_ok", "0.6 * status_ok * days_ok + 0.4 * days_ok")


JUDGE = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

class Judge(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = json.loads(body["messages"][-1]["content"])
        text = asked.get("answer")
        # Content to be praised, and the first of two answers is always the better one.
        verdict = "A" if text is None else "yes" if "perfect" in text or "delivered" in text else "no"
        said = json.dumps({"verdict": verdict, "reason": ""})
        reply = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *words):
        pass

server = HTTPServer(("127.0.0.1", 0), Judge)
print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
server.serve_forever()
"""


def conversation(parcel: str, status: str, said: str, days: int) -> tuple[Message, ...]:
    call = ToolCall("c0", "lookup", json.dumps({"parcel": parcel}))
    message = f"Hello, your parcel {parcel} is {said} as of today."
    return (
        Message("assistant", None, (call,)),
        Message("tool", json.dumps({"event": status.upper()}), tool_call_id="c0"),
        Message("assistant", json.dumps({"status": said, "days": days, "message": message})),
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "grader.py").write_text(FAIR)
    return Config.model_validate(
        {
            "root": tmp_path,
            "grade": {"extract": ("status", "days", "message"), "workers": 1},
            "audit": {"cases": 10},
        }
    )


@pytest.fixture
def db(config: Config) -> Iterator[Database]:
    """A store with 60 traces: 40 in training, 10 in validation, 10 in test; some are wrong."""
    database = open_database(config.store_url, "default")
    rng = random.Random(3)
    rows: list[dict[str, Any]] = []
    traces: list[Trace] = []
    truths: list[dict[str, Any]] = []
    for n in range(60):
        parcel, status = f"{rng.randrange(10**9):010d}", STATUSES[n % 4]
        said = STATUSES[(n + 1) % 4] if n % 5 == 0 else status
        days = rng.randrange(1, 60)
        told = days + (n % 6 == 1)
        asked = (Message("system", "You answer."), Message("user", f"Where is {parcel}?"))
        happy = said == status if n % 10 else said != status
        traces.append(
            Trace(
                source="agent", source_id=str(n), customer=f"c{n % 25}", started_at=n, ended_at=n + 1,
                episodes=(Episode((*asked, *conversation(parcel, status, said, told)), (TOOL,)),),
                scores=(Score("thumbs", happy, "end_user"),),
            )
        )  # fmt: skip
        truths.append({"status": status, "days": days})
    add_traces(database, traces)
    for n, trace in enumerate(traces):
        split = "train" if n < 40 else "validation" if n < 50 else "test"
        rows.append(
            {"trace_hash": trace_hash(trace), "kept": True, "reason": "", "group_id": str(n), "split": split}
        )
    save_curated(database, rows, {})
    save_labels(database, {row["trace_hash"]: truth for row, truth in zip(rows, truths, strict=True)})
    yield database
    database.close()


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["verdict"] for check in document["checks"]}


def with_audit(config: Config, **keys: Any) -> Config:
    return config.model_copy(update={"audit": config.audit.model_copy(update=keys)})


def practise(config: Config, db: Database) -> None:
    """Leave the log of a training behind: 30 groups of 4, half of each group right, and a line cut short."""
    runs = config.state / "runs" / "r1" / "train"
    runs.mkdir(parents=True)
    lines: list[bytes] = []
    for case in recorded_cases(db)[:30]:
        own, best = case.task, case.rollouts[0]
        truth = own.ground_truth or {}
        status = truth["status"]
        for k in range(4):
            said = status if k < 2 else STATUSES[(STATUSES.index(status) + k) % 4]
            days = truth["days"] + (k % 2 if own.at % 3 else 0)
            final = json.dumps({"status": said, "days": days, "message": "Hello." + " Thanks." * k})
            messages = (*best.messages[:2], Message("assistant", final))
            rollout = Rollout(task_id=own.task_id, policy="policy", messages=messages, final=final)
            lines.append(msgspec.json.encode({"step": 1, "rollout": rollout, "grade": Grade(score=0.0)}))
    (runs / "rollouts.jsonl").write_bytes(b"\n".join(lines) + b'\n{"step": 1, "rol')


def test_recorded_episodes_are_examined_and_the_test_split_is_not(config: Config, db: Database) -> None:
    document = audit(config, db)
    json.dumps(document, allow_nan=False)
    assert (document["prompts"], document["attempts"], document["groups"]["of"]) == (50, 50, None)
    assert document["verdict"] in ("pass", "warn")
    found = verdicts(document)
    assert found["P01"] == "pass"
    assert found["M1"] == found["A3"] == found["H1"] == "not applicable"
    assert document["people"]["score"] == "thumbs"
    assert document["people"]["labels"] == 50


def test_a_grader_that_can_be_fooled_stops_the_training(config: Config, db: Database) -> None:
    assert standing(config, db) == "not examined"
    config.path("grader.py").write_text(FOOLED)
    document = audit(config, db)
    assert document["verdict"] == "fail"
    page = keep(config, document)
    assert "do not train on it" in page.read_text()
    with pytest.raises(AnswerIsNo, match="failed its examination"):
        standing(config, db)
    assert standing(with_audit(config, required=False), db) == "fail"
    config.path("grader.py").write_text(FAIR)
    assert standing(config, db) == "not examined"


def test_a_new_version_lists_the_grades_that_flip(config: Config, db: Database) -> None:
    grade(config, db)
    config.path("grader.py").write_text(HARSH)
    document = audit(with_audit(config, required=False), db)
    history = document["history"]
    assert history["rollouts"] == 50
    assert history["counts"] == {"pass to fail": 0, "fail to pass": 0, "error appeared": 0, "error gone": 0}
    assert verdicts(document)["H1"] == "pass"
    config.path("grader.py").write_text(FAIR.replace("0.7 * status_ok", "0.5 * status_ok"))
    grade(config, db)
    config.path("grader.py").write_text(FAIR)
    document = audit(config, db)
    assert document["history"]["counts"]["fail to pass"] == sum(n % 5 != 0 and n % 6 != 1 for n in range(50))
    assert verdicts(document)["H1"] == "warn"
    assert {flip["new"] for flip in document["history"]["flips"]} == {1.0}


def test_a_past_promotion_is_decided_again(config: Config, db: Database) -> None:
    grade(config, db)
    runs = config.state / "runs" / "r1"
    runs.mkdir(parents=True)
    rollouts = [
        msgspec.structs.replace(reference_of(curated), policy="candidate")
        for curated in load_curated(db, {"test"})
    ]
    (runs / "rollouts-candidate-1.jsonl").write_bytes(b"\n".join(msgspec.json.encode(r) for r in rollouts))
    past = Verdict(decision="promote", reasons=("it was good",), candidate_id="c", against="teacher")
    save_verdict(db, "r1", past)
    config.path("grader.py").write_text(HARSH)
    document = audit(config, db)
    (decided,) = document["gate_history"]
    assert (decided["run_id"], decided["then"], decided["now"]) == ("r1", "promote", "inconclusive")
    assert verdicts(document)["H2"] == "warn"
    (runs / "rollouts-candidate-1.jsonl").unlink()
    assert audit(config, db)["gate_history"] == []


def test_a_held_out_grader_that_means_something_else_is_told(config: Config, db: Database) -> None:
    practise(config, db)
    same = config.path("same.py")
    same.write_text(FAIR)
    document = audit(with_audit(config, held_out="same.py"), db)
    assert document["groups"] == {"of": "the last training's rollouts", "prompts": 30}
    assert document["weights"]["effective"]["groups"] == 30
    assert verdicts(document)["A3"] == verdicts(document)["A4"] == "pass", [
        c["what"] for c in document["checks"] if c["id"] in ("A3", "A4")
    ]
    same.write_text(
        "def grade(rollout, ground_truth):\n    return min(1.0, len(str(rollout['message'])) / 100)\n"
    )
    document = audit(with_audit(config, held_out="same.py"), db)
    assert verdicts(document)["A3"] != "pass"


def test_golden_cases_that_notice_nothing_are_told_what_to_add(config: Config, db: Database) -> None:
    seen = {"status": "delivered", "days": 3}
    weak = {
        "name": "right",
        "rollout": seen,
        "ground_truth": {"status": "delivered", "days": 3},
        "at_least": 0.2,
    }
    file = config.path("golden.jsonl")
    file.write_text(json.dumps(weak) + "\n")
    document = audit(with_audit(config, golden="golden.jsonl"), db)
    assert verdicts(document)["M1"] == "warn"
    assert document["mutation"]["survived"] > 0
    file.write_text("\n".join(document["mutation"]["add"]) + "\n")
    better = audit(with_audit(config, golden="golden.jsonl"), db)
    assert better["mutation"]["survived"] == 0
    assert verdicts(better)["M1"] == "pass"
    with pytest.raises(InputError, match="can't be read"):
        audit(with_audit(config, golden="absent.jsonl"), db)


def test_a_judge_that_praise_and_order_move_is_told(config: Config, db: Database) -> None:
    config.path("judge.py").write_text(JUDGE)
    practise(config, db)
    judge = {"command": ("{python}", "judge.py"), "rubric": "Is it good?", "field": "message"}
    judged = Config.model_validate({**config.model_dump(), "judges": {"nice": judge}})
    document = audit(judged, db, ask_judges=24)
    named = {check["name"]: check["verdict"] for check in document["checks"]}
    assert named["nice, praise"] == "fail"
    assert named["nice, padding"] in ("pass", "warn")
    assert named["nice, order of a pair"] == "warn"
    asked = document["asked_judges"]["nice"]
    assert asked["self_consistency"]["unanimous"] == asked["self_consistency"]["questions"] == 24
    assert asked["order"]["order_sensitive"] == asked["order"]["ties"] == 24


def test_what_settings_name_must_be_there(config: Config, db: Database) -> None:
    with pytest.raises(ConfigError, match=r"not in \[judges\]"):
        audit(with_audit(config, judge_labels={"tone": "thumbs"}, human="absent"), db)
    with pytest.raises(ConfigError, match="does not exist"):
        audit(with_audit(config, held_out="absent.py"), db)


def test_without_labelled_attempts_there_is_nothing_to_examine(config: Config, tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/empty.db", "default")
    with pytest.raises(NotEnoughData):
        audit(config, database)
    database.close()


def test_only_a_failed_examination_stops_anything(config: Config) -> None:
    refuse_if_failed(config, {"verdict": "warn", "checks": []})
    check = {"id": "P14", "name": "hedge", "verdict": "fail", "what": "or pays"}
    with pytest.raises(AnswerIsNo, match="P14 hedge: or pays") as raised:
        refuse_if_failed(config, {"verdict": "fail", "checks": [check]})
    assert raised.value.exit_code == 1
