"""Whether a trace can become a task, and which group it belongs to."""

from __future__ import annotations

from strop.records import Episode, Trace, digest


def unreadable(trace: Trace) -> str | None:
    """Return why a trace can't become a task, or None where it can. Its first episode is the task."""
    if not trace.episodes:
        return "no episode"
    if not any(m.role == "user" for m in trace.episodes[0].prompt()):
        return "no question"
    return None if answered(trace.episodes[0]) else "no answer"


def answered(episode: Episode) -> bool:
    """Say whether the assistant answers in words; what the user says after it doesn't matter."""
    return any(
        m.role == "assistant" and not m.tool_calls and bool((m.content or "").strip())
        for m in episode.messages
    )


def group_keys(trace: Trace, group_by: str | None) -> tuple[str, ...]:
    """Return the keys that tie a trace to others, at most two: its group first, then its session.

    group_by: "task" (the same prompt from the same customer), "session", "customer", or an attribute's name;
    where a trace lacks it, and where it is None, the group is the workflow, else the session, else the task.
    """
    keys: list[str] = []
    group = _group(trace, group_by)
    if group is not None:
        keys.append(group)
    elif group_by != "session" and trace.workflow_id is not None:
        keys.append(f"workflow:{trace.workflow_id}")
    if trace.session_id is not None:
        keys.append(f"session:{trace.session_id}")
    if not keys and trace.workflow_id is not None:
        keys.append(f"workflow:{trace.workflow_id}")
    return tuple(keys) or (_task(trace),)


def _group(trace: Trace, group_by: str | None) -> str | None:
    if group_by is None or group_by == "session":
        return None
    if group_by == "task":
        return _task(trace)
    if group_by == "customer":
        return None if trace.customer is None else f"customer:{trace.customer}"
    attribute = trace.attributes.get(group_by)
    return None if attribute is None else f"group:{attribute}"


def _task(trace: Trace) -> str:
    prompts = [[m.to_openai() for m in e.prompt()] for e in trace.episodes]
    return f"task:{digest([prompts, trace.customer])}"
