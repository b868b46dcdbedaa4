"""pull, inspect, curate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strop.cli.session import Session, command
from strop.errors import AnswerIsNo, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from strop.records import Message, Trace


@command("pull")
@click.option(
    "--since", metavar="AGE", help="How far back platforms are asked: 30d, 12h, or an ISO 8601 time."
)
def pull(session: Session, since: str | None) -> None:
    """Fetch new traces from the sources, redacted before they land. Continues where it was stopped."""
    result = step(session, "pull", {"since": since})
    session.emit(result)
    if not session.json:
        from strop.cli import show

        show.counts(session.out, f"{result['total']} traces stored", result["stored"])
        if result["taken_out"]:
            show.counts(session.out, "Taken out, different ones", result["taken_out"])
        if result["skipped"]:
            show.counts(session.out, "Skipped", result["skipped"])
        if result["late_scores"]["waiting"]:
            session.out.print(f"{result['late_scores']['waiting']} scores wait for the traces they belong to")


@command("curate")
@click.option("--allow-small", metavar="REASON", help="Go on below curate.min_rows, for this reason.")
@click.option(
    "--leak-check",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Instead: search all that is stored for the lines of FILE; exit 1 where one is found.",
)
def curate(session: Session, allow_small: str | None, leak_check: Path | None) -> None:
    """Deduplicate, cap the loudest customer and split what was pulled, by group and time."""
    if leak_check is not None:
        return _leak_check(session, leak_check)
    result = step(session, "curate", {"allow_small": allow_small})
    session.emit(result)
    if not session.json:
        from strop.cli import show

        show.curated(session.out, result)
    return None


def _leak_check(session: Session, file: Path) -> None:
    from strop.loop.leaks import leak_check

    with session.store() as db:
        result = leak_check(session.config, db, file)
    session.emit(result)
    searched, leaks = result["searched"], result["leaks"]
    session.out.print(
        f"{searched['texts']} texts searched for in {searched['files']} files, {searched['bytes']} bytes: "
        f"{len(leaks)} found"
    )
    if searched["too_short"]:
        session.out.print(f"{searched['too_short']} lines are too short to search for")
    for leak in leaks:
        places = ", ".join([*leak["files"], *(f"trace {t}" for t in leak["traces"][:5])])
        session.out.print(f"line {leak['line']}: {places}", markup=False)
    if leaks:
        raise AnswerIsNo(
            f"{len(leaks)} texts that must not be stored are stored",
            where=str(session.config.state),
            fix="name their fields in redact.identity_fields, or their form in strop.toml; then pull anew",
        )


@command("inspect")
@click.argument("trace", required=False)
def inspect(session: Session, trace: str | None) -> None:
    """Show one trace as a conversation. TRACE: the beginning of its hash, or its id; else the newest."""
    import msgspec

    from strop.store.traces import iter_traces

    found: tuple[str, Trace] | None = None
    with session.store() as db:
        for digest, one in iter_traces(db):
            if trace is None or digest.startswith(trace) or trace in (one.source_id, one.workflow_id):
                found = digest, one
                if trace is not None:
                    break
    if found is None:
        raise InputError(f"no trace {trace!r}" if trace else "there are no traces", fix="strop pull")
    session.emit({"trace_hash": found[0], "trace": msgspec.to_builtins(found[1])})
    if not session.json:
        _conversation(session.out, *found)


def step(session: Session, name: str, arg: dict[str, Any]) -> dict[str, Any]:
    """Call one of the loop's steps outside a run, with its progress on standard error."""
    from strop.cli.progress import Progressing
    from strop.loop.steps import Folder, steps

    with session.store() as db, Progressing(session.err) as watch:
        return steps(session.config, db)[name](arg, Folder("manual", session.config.state, name, watch))


def _conversation(console: Console, digest: str, trace: Trace) -> None:
    from rich.markup import escape

    console.print(f"[bold]{digest}[/bold]  {escape(trace.source)} {escape(trace.source_id)}")
    facts = {
        "customer": trace.customer,
        "workflow": trace.workflow_id,
        "session": trace.session_id,
        "model": trace.model,
        "status": trace.status,
        "seconds": round(trace.latency_s, 3),
        "tokens": f"{trace.usage.prompt_tokens} + {trace.usage.completion_tokens}",
    }
    console.print(
        "  ".join(f"{key} {escape(str(value))}" for key, value in facts.items() if value is not None)
    )
    for score in trace.scores:
        console.print(f"score {escape(score.name)} = {escape(str(score.value))} ({score.source})")
    for problem in trace.problems:
        console.print(f"[yellow]problem[/yellow] {escape(problem)}")
    for episode in trace.episodes:
        console.print(f"[dim]tools: {escape(', '.join(t.name for t in episode.tools)) or 'none'}[/dim]")
        for message in episode.messages:
            _message(console, message)


def _message(console: Console, message: Message) -> None:
    from rich.markup import escape

    colour = {"user": "cyan", "assistant": "green", "tool": "magenta"}.get(message.role, "dim")
    console.print(f"[bold {colour}]{message.role}[/bold {colour}]")
    if message.content:
        console.print(f"  {escape(message.content)}", highlight=False)
    for call in message.tool_calls:
        console.print(f"  -> {escape(call.name)}({escape(call.arguments)})", highlight=False)
