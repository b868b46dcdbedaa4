"""One trace's spans into a trace: bounded in size, and never an exception, whatever the spans hold."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from strop.config import Source
from strop.records import Skipped, Trace
from strop.sources.spans.assemble import assemble
from strop.sources.spans.span import Span


def trace_of(
    spans: Sequence[Span], source: Source, *, problems: Sequence[str] = ()
) -> tuple[Trace | None, list[Skipped]]:
    """Assemble the spans of one trace; `problems` are what was wrong with them before, in words.

    Spans larger than `source.max_trace_mb` in sum are skipped unread.
    """
    item = f"{source.name}:{spans[0].trace_id}"
    if sum(s.size for s in spans) > source.max_trace_mb * (1 << 20):
        return None, [Skipped("pull", item, f"the trace is larger than {source.max_trace_mb:g} MB")]
    try:
        traces, skipped = assemble(spans, source=source.name, customer_key=source.customer_key)
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        # An attribute of a shape that no convention has: its text may be somebody's, so only the kind.
        reason = f"the spans can't be understood: {type(error).__name__}"
        return None, [Skipped("assemble", item, reason)]
    if not traces:
        return None, skipped
    every = tuple(dict.fromkeys((*traces[0].problems, *problems)))
    return msgspec.structs.replace(traces[0], problems=every), skipped
