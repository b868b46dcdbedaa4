"""promote, rollback, status: what is in force, and why."""

from __future__ import annotations

from typing import Any

import click

from strop.cli.session import Session, command
from strop.errors import InputError


@command("promote")
@click.option("--approve", metavar="REASON", help="Approve the run that waits, for this reason.")
@click.option("--refuse", metavar="REASON", help="Refuse the run that waits, for this reason.")
def promote(session: Session, approve: str | None, refuse: str | None) -> None:
    """Ask the gate about the last comparison; promote only where it says so.

    With --approve or --refuse: answer the run that waits for a person; `strop run` then continues it.
    """
    if approve is not None or refuse is not None:
        _answer(session, approved=refuse is None, why=approve or refuse or "")
        return
    from strop.cli import show
    from strop.loop.steps import REPORT, TRAINED, Folder, latest_with, read_json, steps

    folder = latest_with(session.config, REPORT)
    arg = {"report": str(folder / REPORT), "candidate": read_json(folder / TRAINED)}
    with session.store() as db:
        verdict = steps(session.config, db)["promote"](arg, Folder(folder.name, folder, "promote"))
    session.emit({"run_id": folder.name, **verdict})
    if not session.json:
        show.verdict(session.out, verdict)
    if verdict["decision"] != "promote":
        raise click.exceptions.Exit(1)


@command("rollback")
@click.option("--why", default="rollback", show_default=True, help="The reason, kept in the history.")
def rollback(session: Session, why: str) -> None:
    """Bring the previous model back. A second rollback undoes the first."""
    import msgspec

    from strop.promote.registry import rollback as swap

    with session.store() as db:
        champion = swap(db, why)
    session.emit({"champion": msgspec.to_builtins(champion)})
    if not session.json:
        session.out.print(f"champion: {champion.candidate_id}\n  {champion.path}", highlight=False)


@command("status")
def status(session: Session) -> None:
    """Show the runs, the last verdict, the champion, and what the store holds."""
    document = _status(session)
    session.emit(document)
    if not session.json:
        _show_status(session, document)


def _answer(session: Session, *, approved: bool, why: str) -> None:
    from strop.loop.body import APPROVAL
    from strop.loop.engine.dbos_engine import runs, signal

    waiting = [r for r in runs(session.config.state) if r.state == "unfinished"]
    if not waiting:
        raise InputError("no run waits for approval", where=str(session.config.state), fix="strop status")
    signal(session.config.state, waiting[0].run_id, APPROVAL, {"approved": approved, "why": why})
    session.emit({"run_id": waiting[0].run_id, "approved": approved, "why": why})
    session.err.print(f"run {waiting[0].run_id} has its answer; continue it: strop run", highlight=False)


def _status(session: Session) -> dict[str, Any]:
    import msgspec

    from strop.loop.engine.dbos_engine import runs
    from strop.promote import registry
    from strop.store.registry import load_verdicts
    from strop.store.traces import skipped_counts, source_counts

    with session.store() as db:
        verdicts = load_verdicts(db)
        return {
            "project": db.project,
            "traces": source_counts(db),
            "skipped": skipped_counts(db),
            "champion": msgspec.to_builtins(registry.champion(db)),
            "previous": msgspec.to_builtins(registry.previous(db)),
            "last_verdict": (
                {"run_id": verdicts[-1][0], **msgspec.to_builtins(verdicts[-1][1])} if verdicts else None
            ),
            "runs": [
                {
                    "run_id": r.run_id,
                    "state": r.state,
                    "error": r.error,
                    "steps": [{"name": s.name, "seconds": s.seconds, "error": s.error} for s in r.steps],
                }
                for r in runs(session.config.state)
            ],
        }


def _show_status(session: Session, document: dict[str, Any]) -> None:
    from rich.table import Table

    from strop.cli import show

    show.counts(session.out, f"Project {document['project']}: stored traces", document["traces"])
    if document["skipped"]:
        show.counts(session.out, "Skipped", document["skipped"])
    table = Table(title="Runs", title_justify="left")
    for column in ("run", "state", "steps", "error"):
        table.add_column(column)
    for r in document["runs"][:10]:
        done = ", ".join(f"{s['name']} {s['seconds']:.0f} s" for s in r["steps"] if not s["error"])
        table.add_row(r["run_id"], r["state"], done, r["error"] or "")
    session.out.print(table)
    for alias in ("champion", "previous"):
        model = document[alias]
        session.out.print(f"{alias}: {model['candidate_id'] if model else 'none'}", highlight=False)
    if document["last_verdict"]:
        show.verdict(session.out, document["last_verdict"])
