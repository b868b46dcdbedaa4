"""pull, inspect, curate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from strop.cli.session import Session, command
from strop.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from strop.records import Message, Trace


@command("pull")
def pull(session: Session) -> None:
    """Fetch new traces from the sources, redacted before they land. Continues where it was stopped."""
    result = step(session, "pull", {})
    session.emit(result)
    if not session.json:
        from strop.cli import show

        show.counts(session.out, f"{result['total']} traces stored", result["stored"])
        if result["skipped"]:
            show.counts(session.out, "Skipped", result["skipped"])


@command("curate")
@click.option("--allow-small", metavar="REASON", help="Go on below curate.min_rows, for this reason.")
def curate(session: Session, allow_small: str | None) -> None:
    """Deduplicate, cap the loudest customer and split what was pulled, by group and time."""
    result = step(session, "curate", {"allow_small": allow_small})
    session.emit(result)
    if not session.json:
        from strop.cli import show

        show.curated(session.out, result)


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
