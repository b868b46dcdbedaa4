"""What the tree of spans says: which agent a call belongs to, and which spans record the same thing twice."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from strop.records.canonical import canonical_json
from strop.sources.spans.conventions import ModelCall, ToolRun
from strop.sources.spans.span import Span, decoded

_AGENT_NAMES = ("gen_ai.agent.name", "agent.name", "agent_name", "gen_ai.workflow.name")
_MAX_DEPTH = 256
_NEAR = 64  # runs of a tool that are looked at for a double


class Tree:
    """The spans of one trace by id; cycles and missing parents end a path."""

    def __init__(self, spans: Sequence[Span], agents: Iterable[Span]) -> None:
        self._parents = {s.span_id: s.parent_id for s in spans}
        self._agents = {s.span_id: s for s in agents}
        self._lanes: dict[str, str] = {}
        self._paths: dict[tuple[str, str], str] = {}  # (outer lane, agent's name) -> lane

    def above(self, span_id: str) -> Iterator[str]:
        """Yield the ids of the spans around a span, innermost first."""
        seen = {span_id}
        parent = self._parents.get(span_id)
        while parent is not None and parent not in seen and len(seen) < _MAX_DEPTH:
            yield parent
            seen.add(parent)
            parent = self._parents.get(parent)

    def around(self, span_ids: Iterable[str], barriers: Collection[str] = ()) -> set[str]:
        """Return the ids of all spans around some spans, but for what lies outside a barrier."""
        found: set[str] = set()
        for span_id in span_ids:
            for outer in self.above(span_id):
                if outer in found or outer in barriers:
                    break
                found.add(outer)
        return found

    def lane(self, span_id: str) -> str:
        """Return the lane of a span: one for each path of agents' names around it, "" outside any.

        Two runs of one agent under the same caller share a lane, so that its turns can be one conversation.
        """
        path: list[str] = []
        at: str | None = span_id
        while at is not None and at not in self._lanes:
            self._lanes[at] = ""  # until it is known; a circle ends here
            path.append(at)
            at = self._parents.get(at)
        for inner in reversed(path):
            parent = self._parents.get(inner)
            lane = self._lanes.get(parent, "") if parent is not None else ""
            if parent in self._agents:
                agent = self._agents[parent]
                place = (lane, agent.text(*_AGENT_NAMES) or agent.name)
                lane = self._paths.setdefault(place, f"/{len(self._paths)}")
            self._lanes[inner] = lane
        return self._lanes[span_id]

    def innermost(self, calls: Sequence[ModelCall], barriers: Collection[str]) -> list[ModelCall]:
        """Leave out the calls that wrap another call with messages: they are the same call, seen twice.

        barriers: ids of agents and tools; a call inside one of them is not the outer call.
        """
        wrappers = self.around((c.span.span_id for c in calls if c.given or c.said), barriers)
        return [c for c in calls if c.span.span_id not in wrappers]

    def single(self, runs: Sequence[ToolRun]) -> list[ToolRun]:
        """Leave out tool runs that are recorded twice, as MCP clients do; of two, a result is kept.

        Twice is: the same call id, and not a later run with another result; one inside the other without an
        id of its own; or one without an id that lies in the time of another run of the same tool, whose
        arguments may be the same.
        """
        kept: list[ToolRun] = []
        by_id: dict[str, int] = {}
        at: dict[str, int] = {}
        identified: dict[str, list[int]] = {}  # by name, in order of their start
        for run in sorted(runs, key=lambda r: (r.call_id is None, r.span.started_at, -r.span.ended_at)):
            if run.call_id is not None:
                first = by_id.get(run.call_id)
                if first is not None and _is_later(run, kept[first]):
                    first = None
            else:
                first = self._around(run, at)
                first = _beside(run, kept, identified.get(run.name, [])) if first is None else first
            if first is None:
                first = len(kept)
                kept.append(run)
                if run.call_id is not None:
                    by_id[run.call_id] = first
                    identified.setdefault(run.name, []).append(first)
            elif kept[first].result is None and run.result is not None:
                kept[first] = msgspec.structs.replace(kept[first], result=run.result)
            at[run.span.span_id] = first
        return sorted(kept, key=lambda r: (r.span.started_at, r.span.span_id))

    def _around(self, run: ToolRun, at: Mapping[str, int]) -> int | None:
        for outer in self.above(run.span.span_id):
            if outer in at:
                return at[outer]
            if outer in self._agents:
                return None
        return None


def _is_later(run: ToolRun, first: ToolRun) -> bool:
    """Tell another run from the same one: some frameworks count call ids from zero in each turn."""
    known = run.result is not None and first.result is not None
    return known and run.result != first.result and run.span.started_at >= first.span.ended_at


def _beside(run: ToolRun, kept: Sequence[ToolRun], identified: Sequence[int]) -> int | None:
    """Find the run of the same tool, with a call id, in whose time this one lies; of the nearest ones."""
    begun = bisect_right(identified, run.span.started_at, key=lambda i: kept[i].span.started_at)
    arguments = canonical_arguments(run.arguments)
    for i in reversed(identified[max(0, begun - _NEAR) : begun]):
        if run.span.ended_at <= kept[i].span.ended_at:
            theirs = canonical_arguments(kept[i].arguments)
            if arguments is None or theirs is None or arguments == theirs:
                return i
    return None


def canonical_arguments(text: str | None) -> bytes | None:
    """Return a call's arguments in one spelling; None where they were not recorded."""
    if text is None:
        return None
    try:
        return canonical_json(decoded(text))
    except (TypeError, ValueError, RecursionError, OverflowError):
        return text.encode("utf-8", "replace")
