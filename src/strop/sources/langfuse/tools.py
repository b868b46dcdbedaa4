"""The calls of one Langfuse trace: their ids, their results, and the observations that ran their tools."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Hashable, Sequence
from typing import Any, cast

import msgspec

from strop.records import JsonObject, ToolCall
from strop.sources.langfuse.parts import opened, result_text
from strop.sources.langfuse.rows import Metadata, text
from strop.sources.spans.messages import as_text
from strop.sources.spans.nesting import canonical_arguments

_PREFIXES = ("execute_tool ", "running tool: ", "tool.")
_ARGUMENTS = ("input", "kwargs", "arguments", "args", "parameters")


class CallIds:
    """An id for each call of a trace: the recorded one, else by its number in the transcript.

    Where it stands for another call already, as where each agent counts from zero, it gets a number ("0#2").
    The same call in a transcript that goes on has the same id.
    """

    def __init__(self) -> None:
        self._ids: dict[Hashable, str] = {}
        self._uses: Counter[str] = Counter()

    def linked(self, messages: Sequence[JsonObject]) -> list[JsonObject]:
        """Give each call of a transcript its id, and each result the id of its call.

        A result without an id answers the open call of its name, else the oldest open one.
        """
        out: list[JsonObject] = []
        opened_calls: list[tuple[str | None, str, str]] = []
        times: Counter[Hashable] = Counter()
        number = so_far = 0
        for item in messages:
            keys: list[str] = []
            if item.get("tool_calls"):
                if out and out[-1]["role"] != "assistant":
                    opened_calls = [c for c in opened_calls if c[0] is not None]
                calls: list[JsonObject] = []
                for call in item["tool_calls"]:
                    number += 1
                    raw, function = call["id"], call["function"]
                    keys.append(ToolCall("", function["name"], function["arguments"]).key())
                    meant = (raw, keys[-1]) if raw is not None else (number, so_far, keys[-1])
                    times[meant] += 1
                    own = self._id((meant, times[meant]), f"call_{number}" if raw is None else raw)
                    calls.append({**call, "id": own})
                    opened_calls.append((raw, function["name"], own))
                item = {**item, "tool_calls": calls}
            elif item["role"] == "tool":
                match = _answered(item, opened_calls)
                if match is not None:
                    opened_calls.remove(match)
                    item = {**item, "tool_call_id": match[2]}
            so_far = hash((so_far, item["role"], item.get("content"), *keys))
            out.append(item)
        return out

    def _id(self, call: Hashable, wanted: str) -> str:
        if call not in self._ids:
            self._uses[wanted] += 1
            uses = self._uses[wanted]
            self._ids[call] = wanted if uses == 1 else f"{wanted}#{uses}"
        return self._ids[call]


def _answered(
    result: JsonObject, opened_calls: Sequence[tuple[str | None, str, str]]
) -> tuple[str | None, str, str] | None:
    raw, name = result.get("tool_call_id"), result.get("name")
    match = next((c for c in opened_calls if raw is not None and c[0] == raw), None)
    match = match or next((c for c in opened_calls if name and c[1] == name), None)
    return opened_calls[0] if match is None and raw is None and opened_calls else match


class Run(msgspec.Struct):
    """One run of a tool. call_id: as recorded, then that of the call it answers."""

    name: str
    call_id: str | None
    arguments: Any
    result: str | None

    def attributes(self) -> JsonObject:
        """Return the run as attributes of the OTel GenAI conventions."""
        return {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": self.name,
            "gen_ai.tool.call.id": self.call_id,
            "gen_ai.tool.call.result": self.result,
        }


def is_tool(row: JsonObject, called: Collection[str]) -> bool:
    """Say whether an observation ran a tool; frameworks without a type for it name the span as the tool."""
    name = text(row.get("name")) or ""
    if row.get("type") == "TOOL" or name.startswith(_PREFIXES[:2]):
        return True
    metadata = Metadata(row.get("metadata"))
    if metadata.get("gen_ai.operation.name") == "execute_tool" or metadata.get("ai.toolCall.name"):
        return True
    if metadata.get("gen_ai.tool.name") or str(metadata.get("openinference.span.kind")).upper() == "TOOL":
        return True
    return row.get("type") not in ("GENERATION", "AGENT", "EVENT") and _bare(name) in called


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def read_run(row: JsonObject) -> Run:
    """Read an observation as the run of a tool."""
    metadata = Metadata(row.get("metadata"))
    recorded = [metadata.get(k) for k in ("gen_ai.tool.name", "ai.toolCall.name", "tool.name")]
    name = next((n for n in recorded if isinstance(n, str) and n), None) or _bare(text(row.get("name")) or "")
    ids = [metadata.get(k) for k in ("gen_ai.tool.call.id", "ai.toolCall.id", "tool_call.id", "tool_call_id")]
    output = row.get("output")
    if opened(output) in (None, "", {}, []):
        kept = (
            "gen_ai.tool.call.result",
            "tool_response",
            "gcp.vertex.agent.tool_response",
            "ai.toolCall.result",
        )
        output = next((v for k in kept if (v := metadata.get(k)) not in (None, "")), output)
    answer = opened(output)
    answered = cast(JsonObject, answer) if isinstance(answer, dict) else {}
    inner = answered.get("kwargs")
    body = cast(JsonObject, inner) if isinstance(inner, dict) else answered
    ids.append(body.get("tool_call_id"))
    return Run(
        name=name,
        call_id=next((as_text(i) for i in ids if isinstance(i, str) and i), None),
        arguments=opened(row.get("input")),
        result=None if output is None else result_text(output),
    )


def link_runs(calls: Sequence[JsonObject], runs: Sequence[Run]) -> None:
    """Give each run the id of the call that it answers: by id, else by name and arguments, else by name."""
    free: dict[str, str] = {}
    waiting: dict[Hashable, deque[str]] = {}
    for call in calls:
        call_id, function = call["id"], call["function"]
        if call_id not in free:
            free[call_id] = function["name"]
            name = _last(function["name"])
            for key in (call_id, (name, canonical_arguments(function["arguments"])), (name, None)):
                waiting.setdefault(key, deque()).append(call_id)
    unlinked = list(runs)
    for keys_of in (_own_id, _name_and_arguments, _name_alone):
        unlinked = [run for run in unlinked if not _link(run, keys_of(run), free, waiting)]


def _link(
    run: Run, keys: Sequence[Hashable], free: dict[str, str], waiting: dict[Hashable, deque[str]]
) -> bool:
    for key in keys:
        found = waiting.get(key, deque[str]())
        while found and found[0] not in free:
            found.popleft()
        if found:
            run.call_id = found.popleft()
            run.name = free.pop(run.call_id)
            return True
    return False


def _own_id(run: Run) -> list[Hashable]:
    return [run.call_id]


def _name_and_arguments(run: Run) -> list[Hashable]:
    given = cast(JsonObject, run.arguments) if isinstance(run.arguments, dict) else {}
    held = [given, *(opened(given.get(k)) for k in _ARGUMENTS)]
    return [(_last(run.name), canonical_arguments(as_text(a))) for a in held if isinstance(a, dict)]


def _name_alone(run: Run) -> list[Hashable]:
    return [(_last(run.name), None)]


def _last(name: str) -> str:
    """A tool's own name without its server's: mcp__weather__get_weather, weather.get_weather."""
    return name.rpartition("__")[2].rpartition(".")[2].rpartition("/")[2]
