"""Whatever is in an export: no crash, and each item is a trace or skipped with its reason."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared
from sources.langfuse_dialect_cases import DIALECTS, generation
from sources.langfuse_server import agent_trace, at, score

from strop.records import Skipped, Trace
from strop.sources.langfuse.traces import read_exports, read_rows


def seeds() -> Iterator[Any]:
    """Real exports where they are, and one trace of every dialect."""
    for asked, answered in DIALECTS.values():
        yield {"trace": {"id": "t", "timestamp": at(0)}, "observations": [generation(asked, answered)]}
    yield agent_trace(1) | {"scores": [score(1), score(1, "CORRECTION", "x")]}
    try:
        folder = shared("data/langfuse_exports")
    except pytest.skip.Exception:
        return
    for path in sorted(folder.glob("*.trace.json")):
        yield msgspec.json.decode(path.read_bytes())


SEEDS = list(seeds())
WORDS = [
    "id",
    "role",
    "content",
    "type",
    "tool_calls",
    "messages",
    "input",
    "output",
    "parts",
    "text",
    "name",
    "kwargs",
    "arguments",
    "function",
    "observations",
    "trace",
    "traceId",
    "GENERATION",
    "TOOL",
    "assistant",
    "user",
    "tool",
    "tool_use",
    "tool_result",
    "choices",
    "generations",
    "message",
    "metadata",
    "attributes",
    "startTime",
    "scores",
    "value",
    "parentObservationId",
    "usageDetails",
    "costDetails",
    "lc",
    "tools",
    "toolCalls",
    "blocks",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=14,
)


def mutated(value: Any, random_: random.Random, junk: list[Any]) -> Any:
    """Change one place somewhere in a JSON value, also inside JSON strings."""
    if isinstance(value, str) and value[:1] in ("{", "[") and random_.random() < 0.5:
        try:
            return json.dumps(mutated(json.loads(value), random_, junk))
        except ValueError:
            return value[: random_.randrange(len(value))]
    if isinstance(value, dict | list) and value and random_.random() < 0.95:
        key = random_.choice(list(value)) if isinstance(value, dict) else random_.randrange(len(value))
        if random_.random() < 0.12:
            del value[key]
        else:
            value[key] = mutated(value[key], random_, junk)
        return value
    return random_.choice(
        [
            None,
            "",
            [],
            {},
            [value],
            [[value]],
            {"role": value},
            {"content": value},
            str(value)[:50],
            json.dumps(value)[:-1],
            json.dumps(value),
            copy.deepcopy(random_.choice(junk)),
        ]
    )


def check(export: Any) -> None:
    items = read_exports(export, source="lf", customer_key="customer", where="x.json")
    assert items
    for item in items:
        assert isinstance(item, Trace | Skipped)
        if isinstance(item, Skipped):
            assert item.reason
        else:
            assert item.episodes
            assert msgspec.json.decode(msgspec.json.encode(item), type=Trace).source_id == item.source_id


@given(
    st.sampled_from(range(len(SEEDS))),
    st.randoms(use_true_random=False),
    st.lists(json_values, min_size=1, max_size=4),
)
@settings(max_examples=120)
def test_no_mutation_of_an_export_crashes_and_each_item_is_counted(
    seed: int, random_: random.Random, junk: list[Any]
) -> None:
    export = copy.deepcopy(SEEDS[seed])
    for _ in range(random_.randint(1, 6)):
        export = mutated(export, random_, junk)
    check(export)


@given(json_values)
@settings(max_examples=120)
def test_no_json_crashes_and_each_item_is_counted(value: Any) -> None:
    check(value)
    check({"trace": {"id": "t"}, "observations": [generation(value, value), generation(value, value, 1)]})
    made = read_rows(
        [{"traceId": "t", "type": "GENERATION", "input": value}], source="lf", customer_key="customer"
    )
    assert len(made.traces) + len(made.skipped) == 1
