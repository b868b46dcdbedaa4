"""Whether a trace can become a task, and which group it belongs to."""

from __future__ import annotations

from strop.records import Episode, Trace, digest


def unreadable(trace: Trace) -> str | None:
    """Return why a trace can't become a task, or None where it can."""
    if not trace.episodes:
        return "no episode"
    if not any(answered(e) for e in trace.episodes):
        return "no episode ends in an answer"
    return None


def answered(episode: Episode) -> bool:
    """Say whether an episode starts with a question and ends in an assistant's answer."""
    if not episode.messages or not any(m.role == "user" for m in episode.prompt()):
        return False
    last = episode.messages[-1]
    return last.role == "assistant" and not last.tool_calls and bool((last.content or "").strip())


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
