"""Ground truth for traces: the tenant's SQL, or a score on the trace. It goes to graders only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from strop.config import Config
from strop.errors import ConfigError
from strop.records import JsonObject, Trace
from strop.sources.spans.span import decoded
from strop.store.label_query import open_label_query


class Labelled(msgspec.Struct, frozen=True):
    """What a label query may ask about a trace: ids, the end in UTC ns, and a score's label."""

    trace_hash: str
    trace_id: str
    workflow_id: str | None
    ended_at: int
    scored: JsonObject | None


def score_label(trace: Trace, name: str | None) -> JsonObject | None:
    """Return the ground truth that a score carries: {name: value}, or the object in a JSON score."""
    for score in trace.scores:
        if score.name == name:
            value = decoded(score.value)
            return value if isinstance(value, dict) else {score.name: score.value}
    return None


def find_labels(config: Config, rows: Iterable[Labelled]) -> Mapping[str, JsonObject]:
    """Return ground truth by trace hash; a missing trace has none.

    Without `[labels]` every trace has the empty ground truth. Raises OutsideServiceError.
    """
    labels = config.labels
    if labels.sql is None:
        if labels.score is None:
            return {row.trace_hash: {} for row in rows}
        return {row.trace_hash: row.scored for row in rows if row.scored is not None}
    if labels.url is None:
        raise ConfigError(
            "labels.sql needs labels.url", where="strop.toml, [labels]", fix="name the database"
        )
    found: dict[str, JsonObject] = {}
    with open_label_query(config.sqlite_url(labels.url), labels.sql) as query:
        for row in rows:
            when = datetime.fromtimestamp(row.ended_at / 1e9, UTC).isoformat()
            binds = {"workflow_id": row.workflow_id, "trace_id": row.trace_id, "trace_time": when}
            truth = query.first_row(binds)
            if truth is not None:
                found[row.trace_hash] = truth
    return found
