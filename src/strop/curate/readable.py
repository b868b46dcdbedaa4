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
    """Return the keys that tie a trace to others: its group first, then its session.

    The group is the attribute `group_by`, else the workflow, else the session, else the task.
    """
    keys: list[str] = []
    attribute = trace.attributes.get(group_by) if group_by else None
    if attribute is not None:
        keys.append(f"group:{attribute}")
    elif trace.workflow_id is not None:
        keys.append(f"workflow:{trace.workflow_id}")
    if trace.session_id is not None:
        keys.append(f"session:{trace.session_id}")
    if not keys:
        prompts = [[m.to_openai() for m in e.prompt()] for e in trace.episodes]
        keys.append(f"task:{digest([prompts, trace.customer])}")
    return tuple(keys)
