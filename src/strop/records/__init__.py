"""The words of the loop as frozen, versioned records. No I/O."""

from __future__ import annotations

from strop.records.canonical import canonical_json, digest
from strop.records.conversation import Episode, JsonObject, Message, Tool, ToolCall, tool_calls_of
from strop.records.graded import Candidate, Grade, Verdict
from strop.records.task import Curated, RecordedResult, Rollout, Split, Task
from strop.records.trace import Score, Skipped, Trace, Usage, trace_hash

__all__ = [
    "Candidate",
    "Curated",
    "Episode",
    "Grade",
    "JsonObject",
    "Message",
    "RecordedResult",
    "Rollout",
    "Score",
    "Skipped",
    "Split",
    "Task",
    "Tool",
    "ToolCall",
    "Trace",
    "Usage",
    "Verdict",
    "canonical_json",
    "digest",
    "tool_calls_of",
    "trace_hash",
]
