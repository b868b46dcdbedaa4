"""demo: the example company's first fortnight with strop, from an empty folder to a served model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strop.cli import company
from strop.cli.session import Session, command
from strop.errors import OutsideServiceError

if TYPE_CHECKING:
    from strop.records import Skipped, Trace
    from strop.store import Database

STAND_IN = (
    "The teacher is a stand-in for the frontier model: a scripted endpoint on loopback with modelled faults, "
    "latency and price. Everything else is real."
)
DAYS, SEED = 14, 7
# What --full does longer; everything else is the example's strop.toml.
FULL = {
    "train.sft_steps": 120,
    "train.grpo_steps": 40,
    "train.grpo_lr": 2e-5,
    "train.grpo_screen": 256,
    "train.grpo_hard_share": 0.75,
    "compare.max_tasks": 10_000,
}
# What demo.json says of an arm, beside what its page has.
ARM = (
    "mean", "ci95", "n", "components", "customers", "seen_customers", "unseen_customers", "by", "tool_order",
)  # fmt: skip


@command("demo")
@click.option("--full", is_flag=True, help="Train longer and compare on all test tasks.")
@click.option(
    "--inquiries", default=2400, show_default=True, help="Inquiries that the agent answered before."
)
@click.option("--served", default=60, show_default=True, help="Inquiries for the new model.")
def demo(session: Session, full: bool, inquiries: int, served: int) -> None:
    """Build a small company here and close its loop: traces, grades, training, verdict, serving.

    Exits 0 for any honest verdict. The same command continues after a crash.
    """
    from strop.loop.engine.lock import FolderLock
    from strop.loop.steps import read_json

    root = (session.root or Path.cwd()).resolve()
    root.mkdir(parents=True, exist_ok=True)
    session.root = root
    for key, value in FULL.items() if full else ():
        session.overrides.setdefault(key, value)
    session.err.print(STAND_IN, style="yellow", highlight=False)
    company.unpack(root)
    with FolderLock(root / ".strop" / "demo.lock"), session.store() as db:
        if (root / ".strop" / "demo.json").exists():
            _say(
                session,
                "a demo ended here before: a new loop, on the traces that are here",
            )
        founded = _once(session, "company", lambda: _found(session, inquiries))
        traffic = _once(session, "traffic", lambda: _traffic(session, db))
        result = _once(session, "loop", lambda: _loop(session))
        serving = _once(session, "serving", lambda: _serving(session, db, result, served))
    report = read_json(Path(result["compare"]["report"]))
    parts = {"company": founded, "traffic": traffic, "loop": result, "serving": serving}
    document = _document(result, report, serving, {n: part["demo_seconds"] for n, part in parts.items()})
    document["privacy"] = _privacy(session)
    _finish(session, result, report, document)
    session.emit(document)
    if not session.json:
        _show(session, result, document)


def _found(session: Session, inquiries: int) -> dict[str, Any]:
    """Set the company up; what an interrupted call left of its database is written anew."""
    root = session.config.root
    _say(session, f"the company: {inquiries} inquiries over {DAYS} simulated days")
    (root / "logistics" / "company.db").unlink(missing_ok=True)
    numbers = ("--days", str(DAYS), "--inquiries", str(inquiries), "--seed", str(SEED))
    return company.call(root, "company", "init", "--db", company.DB, *numbers)


def _traffic(session: Session, db: Database) -> dict[str, Any]:
    """Let the agent work with the teacher and export to strop's receiver; its ids make repeats harmless."""
    from strop.loop.landing import land
    from strop.serve.app import build
    from strop.serve.run import running
    from strop.sources.otlp.receiver import Receiver

    root = session.config.root
    source = next(s for s in session.config.sources if s.kind == "otlp")

    def sink(traces: list[Trace], skipped: list[Skipped]) -> None:
        land(db, session.config, traces, skipped)

    receiver = Receiver(
        sink,
        source=source.name,
        customer_key=source.customer_key,
        max_trace_mb=source.max_trace_mb,
    )
    _say(session, "the agent works; its traces arrive over OTLP")
    app = build(session.config, {}, key=None, receiver=receiver)
    with company.service(root, "teacher") as teacher, running(app) as base_url:
        told = company.call(
            root, "agent", "run", "--db", company.DB, "--base-url", teacher,
            "--model", session.config.teacher.name, "--otlp", base_url.removesuffix("/v1"),
            "--from-day", "1", "--to-day", str(DAYS),
        )  # fmt: skip
        receiver.flush()
    counts = receiver.counts()
    received = counts["traces"] + counts["skipped"]
    if told["exported"] != received:
        raise OutsideServiceError(
            f"the agent exported {told['exported']} traces and {received} arrived",
            where="OTLP",
            fix="strop demo",
        )
    told.pop("turns")
    _say(session, f"exported {told['exported']}, received {received}")
    return {**told, "received": received}


def _loop(session: Session) -> dict[str, Any]:
    from strop.cli.running import run_loop

    return run_loop(session, {})


def _serving(session: Session, db: Database, result: dict[str, Any], served: int) -> dict[str, Any]:
    """Serve the new model and send it inquiries with the same agent, warm, one at a time."""
    from strop.promote.registry import CHAMPION
    from strop.serve.open import open_app
    from strop.serve.run import running

    candidate = result["train"]["candidate_id"]
    name = CHAMPION if result["promoted"] else candidate
    whom = "the champion" if result["promoted"] else "the candidate by its own name: it is not promoted"
    _say(session, f"{served} inquiries through {whom}")
    app = open_app(session.config, db, candidate_id=candidate, no_key=True, environ={})
    with running(app) as base_url:
        told = company.call(
            session.config.root, "agent", "run", "--db", company.DB, "--base-url", base_url, "--model", name,
            "--otlp", base_url.removesuffix("/v1"), "--from-day", str(DAYS + 1), "--to-day", str(DAYS + 1),
            "--limit", str(served), "--threads", "1",
        )  # fmt: skip
    return {"model": name, **told}


def _privacy(session: Session) -> dict[str, int]:
    """Search all files of `.strop/` for everybody the company knows; return numbers, never names.

    hits: people of known fields that were found; free_text_only: those found who stand in sentences only.
    """
    from strop.loop.leaks import search

    known = company.call(session.config.root, "company", "identities", "--db", company.DB)
    where = {identity["value"]: identity["where"] for identity in known}
    _say(session, f"looking for {len(where)} names, addresses and phone numbers in {session.config.state}")
    found = search(session.config.state, where)
    free_text = sum(where[value] == "free_text_only" for value in found.texts)
    return {
        "identities": len(where),
        "hits": len(found.texts) - free_text,
        "free_text_only": free_text,
        "files": found.files,
        "bytes": found.bytes,
    }


def _once(session: Session, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do a part of the demo, or take what an earlier call left of it; `demo_seconds` is what it took."""
    from strop.loop.steps import read_json
    from strop.store.files import write_atomically

    marker = _marker(session, name)
    if marker.exists():
        return read_json(marker)
    marker.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    result = {**work(), "demo_seconds": time.monotonic() - started}
    write_atomically(marker, result)
    return result


def _document(
    result: dict[str, Any], report: dict[str, Any], serving: dict[str, Any], seconds: dict[str, float]
) -> dict[str, Any]:
    """Return what `strop demo --json` prints, from what the steps reported."""
    arms = {"baselines": report.get("baselines", {})}
    for name, arm in report["arms"].items():
        arms[name] = {key: arm.get(key) for key in ARM}
    curated, trained = result["curate"], result["train"]
    turns = sorted(serving["turns"])
    install = os.environ.get("STROP_INSTALL_SECONDS")
    return {
        "stand_in": STAND_IN,
        "run_id": result["run_id"],
        "rows": {"pulled": curated["pulled"], "kept": curated["kept"], "dropped": curated["dropped"]},
        "scores": arms,
        "paired": {
            name: {"score": pair["score"], "components": pair["components"]}
            for name, pair in report["paired"].items()
        },
        "train": {key: trained.get(key) for key in ("steps", "seconds", "tokens_per_second")},
        "verdict": {**result["verdict"], "promoted": result["promoted"]},
        "serving": {
            "model": serving["model"],
            "inquiries": serving["runs"],
            "answered": serving["answered"],
            "n": len(turns),
            "p50_ms": _quantile(turns, 0.50),
            "p95_ms": _quantile(turns, 0.95),
            "tokens": {"prompt": serving["prompt_tokens"], "completion": serving["completion_tokens"]},
        },
        "cost": report.get("cost"),
        "seconds": {
            "install": float(install) if install else None,
            "loop": round(sum(seconds.values()), 1),
            "parts": {name: round(part, 1) for name, part in seconds.items()},
        },
        "report": result["compare"]["page"],
    }


def _quantile(sorted_seconds: list[float], q: float) -> float | None:
    """Return the smallest observed value that at least a share `q` does not exceed, in milliseconds."""
    if not sorted_seconds:
        return None
    return round(sorted_seconds[max(0, -(-len(sorted_seconds) * int(q * 100) // 100) - 1)] * 1000, 1)


def _finish(
    session: Session, result: dict[str, Any], report: dict[str, Any], document: dict[str, Any]
) -> None:
    """Leave demo.json and the whole page; the next demo begins a new loop on the same data."""
    from strop.loop.steps import run_document
    from strop.promote.report import html
    from strop.store.files import write_atomically

    told = run_document(session.config, report, result["train"], document["verdict"], document["rows"])
    distribution = result["grade"]["distribution"]
    page = {**told, "distribution": distribution, "simulated": [STAND_IN]}
    page |= {"serving": document["serving"], "seconds": document["seconds"]}
    Path(document["report"]).write_text(html(page), encoding="utf-8")
    write_atomically(session.config.state / "demo.json", document)
    for name in ("loop", "serving"):
        _marker(session, name).unlink(missing_ok=True)


def _show(session: Session, result: dict[str, Any], document: dict[str, Any]) -> None:
    from strop.cli.running import show_result

    show_result(session, result)
    served = document["serving"]
    private = document["privacy"]
    session.out.print(
        f"{private['hits']} of {private['identities']} known names, addresses and phone numbers "
        f"are in .strop/, and {private['free_text_only']} names that stand in sentences only\n"
        f"served {served['inquiries']} inquiries by {served['model'][:16]}: p50 {served['p50_ms']} ms, "
        f"p95 {served['p95_ms']} ms a turn (n {served['n']})\n.strop/demo.json has all of it. {STAND_IN}",
        highlight=False,
    )


def _marker(session: Session, name: str) -> Path:
    return session.config.state / "demo" / f"{name}.json"


def _say(session: Session, text: str) -> None:
    session.err.print(text, highlight=False, markup=False)
