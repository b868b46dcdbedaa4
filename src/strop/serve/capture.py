"""What was served becomes tomorrow's training data: one trace a run, redacted by the sink before disk.

Capture never slows an answer and never fails one: calls go through a bounded queue to a thread of their
own. What the queue or the sink refuses is counted and lands as Skipped, so that it shows in the report.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from strop.models.chat import ChatReply
from strop.records import Episode, JsonObject, Message, Skipped, Tool, Trace, Usage, digest
from strop.serve.context import CallContext

Sink = Callable[[list[Trace], list[Skipped]], None]

SOURCE = "capture"
_BATCH = 64
_MAX_EPISODES = 32  # of one trace id; a client that never changes its trace id gets a trace a conversation
_log = logging.getLogger(__name__)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One completion that was served. Times in UTC ns; size: bytes of the request.

    fallback: the teacher answered, because the small model's answer was invalid.
    """

    context: CallContext
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    reply: ChatReply
    model: str
    fallback: bool = False
    started_at: int
    ended_at: int
    size: int = 0

    def conversation_id(self) -> str:
        """Return a hash of how the conversation began, up to its first assistant turn.

        The ids of that turn's calls are this server's own, and tell two runs of one question apart.
        """
        begin: list[object] = [self.context.customer, self.context.workflow_id]
        for m in (*self.messages, self.reply.message):
            if m.role == "assistant":
                begin.append([c.id for c in m.tool_calls] or m.content)
                break
            begin.append([m.role, m.content])
        return digest(begin)[:32]


def extended(trace: Trace | None, call: Call, source_id: str) -> Trace:
    """Return the run's trace with one more call in it.

    A call whose request begins with an earlier call's request continues that conversation (or repeats
    it) and takes its place; any other is a further episode of the run.
    """
    episode = Episode((*call.messages, call.reply.message), call.tools)
    counts: JsonObject = trace.attributes if trace else {"calls": 0, "fallbacks": 0, "seconds": 0.0}
    kept = tuple(e for e in trace.episodes if not _continues(e, call)) if trace else ()
    context = call.context
    fallbacks = int(counts["fallbacks"]) + int(call.fallback)
    return Trace(
        source=SOURCE,
        source_id=source_id,
        episodes=(*kept, episode),
        customer=context.customer or (trace.customer if trace else None),
        workflow_id=context.workflow_id or (trace.workflow_id if trace else None),
        session_id=context.session_id or (trace.session_id if trace else None),
        started_at=trace.started_at if trace else call.started_at,
        ended_at=call.ended_at,
        model=call.model,
        usage=_sum(trace.usage if trace else Usage(), call.reply.usage),
        tags=("fallback",) if fallbacks else (),
        attributes={
            "calls": int(counts["calls"]) + 1,
            "fallbacks": fallbacks,
            "seconds": round(float(counts["seconds"]) + call.reply.seconds, 6),
        },
        problems=tuple(dict.fromkeys((*(trace.problems if trace else ()), *context.problems))),
        identities={**(trace.identities if trace else {}), **context.identities},
    )


def _continues(episode: Episode, call: Call) -> bool:
    return call.messages[: len(episode.messages) - 1] == episode.messages[:-1]


class CaptureReport(msgspec.Struct, frozen=True):
    """calls = served and offered to capture; dropped: the queue was full; failed: the sink refused."""

    calls: int
    dropped: int
    failed: int


class Capture:
    """Collects served calls into traces and lands them from a thread of its own.

    queue_size: calls that may wait; open_bytes: memory for runs that may still go on. A run that goes
    on after it was forgotten is still one trace, since its next request repeats the conversation.
    """

    def __init__(self, sink: Sink, *, queue_size: int = 1000, open_bytes: int = 64_000_000) -> None:
        self._sink = sink
        self._queue: queue.Queue[Call | None] = queue.Queue(queue_size)
        self._open: OrderedDict[str, tuple[Trace, int]] = OrderedDict()
        self._open_bytes = 0
        self._max_open_bytes = open_bytes
        self._calls = self._dropped = self._failed = 0
        self._skipped: deque[Skipped] = deque()
        self._thread = threading.Thread(target=self._work, name="strop-capture", daemon=True)
        self._thread.start()

    def record(self, call: Call) -> None:
        """Take one served call. Returns at once, and never raises."""
        self._calls += 1
        try:
            self._queue.put_nowait(call)
        except queue.Full:
            self._dropped += 1
            self._skipped.append(Skipped(SOURCE, call.context.trace_id or str(call.started_at), "queue full"))
            if self._dropped == 1:
                _log.warning("capture falls behind: served calls are being dropped, and counted")

    def report(self) -> CaptureReport:
        """Return the counts so far."""
        return CaptureReport(self._calls, self._dropped, self._failed)

    def close(self, timeout_s: float = 30.0) -> CaptureReport:
        """Land what is queued, for at most timeout_s, and return the counts. May be called twice."""
        if self._thread.is_alive():
            try:
                self._queue.put(None, timeout=timeout_s)
            except queue.Full:
                _log.error("capture did not end: its sink hangs")
            self._thread.join(timeout_s)
        return self.report()

    def _work(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            ended = None in batch
            changed: dict[str, Trace] = {}
            for call in batch:
                if call is not None:
                    trace = self._add(call)
                    changed[trace.source_id] = trace
            self._land(list(changed.values()))
        self._land([])

    def _add(self, call: Call) -> Trace:
        source_id = call.context.trace_id or call.conversation_id()
        earlier, size = self._open.get(source_id, (None, 0))
        episodes = earlier.episodes if earlier else ()
        if len(episodes) >= _MAX_EPISODES and not any(_continues(e, call) for e in episodes):
            source_id = call.conversation_id()
            earlier, size = self._open.get(source_id, (None, 0))
        trace = extended(earlier, call, source_id)
        self._open[source_id] = (trace, call.size)
        self._open.move_to_end(source_id)
        self._open_bytes += call.size - size
        while self._open_bytes > self._max_open_bytes and len(self._open) > 1:
            _, (_, forgotten) = self._open.popitem(last=False)
            self._open_bytes -= forgotten
        return trace

    def _land(self, traces: list[Trace]) -> None:
        skipped = [self._skipped.popleft() for _ in range(len(self._skipped))]
        if not traces and not skipped:
            return
        try:
            self._sink(traces, skipped)
        except Exception as error:
            self._skipped.extend(skipped)
            if len(traces) == 1:
                self._refuse(traces[0].source_id, error)
            for trace in traces if len(traces) > 1 else ():  # a bad trace must not take others along
                self._land([trace])

    def _refuse(self, item: str, error: Exception) -> None:
        self._failed += 1
        self._skipped.append(Skipped(SOURCE, item, f"{type(error).__name__} while landing"))
        _log.error("a served call could not be captured: %s", type(error).__name__)


def _sum(a: Usage, b: Usage) -> Usage:
    return Usage(a.prompt_tokens + b.prompt_tokens, a.completion_tokens + b.completion_tokens)
