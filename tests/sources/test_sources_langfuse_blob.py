"""Files of Langfuse's blob export: every format, rows anywhere, damage counted."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources.langfuse_server import Row, agent_trace, id_of, score

from strop.config import Source
from strop.records import Skipped, Trace
from strop.sources.langfuse.blob import read_blob
from strop.sources.langfuse.traces import build

SOURCE = Source(name="lf", kind="langfuse-blob", customer_key="customer")
_COLUMNS = {
    "traceId": "trace_id", "parentObservationId": "parent_observation_id", "startTime": "start_time",
    "endTime": "end_time", "statusMessage": "status_message", "model": "provided_model_name",
    "usageDetails": "usage_details", "costDetails": "cost_details", "totalCost": "total_cost",
}  # fmt: skip


def stamp(moment: str) -> str:
    """A time as the export writes it: no T, no zone, microseconds."""
    return moment.replace("T", " ").removesuffix("Z") + "000"


def observation(trace: Row, row: Row) -> Row:
    """A row of observations_v2/: snake case, inputs and outputs as text, the trace's fields."""
    out = {_COLUMNS[k]: v for k, v in row.items() if k in _COLUMNS}
    out |= {k: row[k] for k in ("id", "type", "name", "level", "environment", "metadata")}
    out |= {k: row[k] if isinstance(row[k], str) else json.dumps(row[k]) for k in ("input", "output")}
    out |= {"user_id": trace["userId"], "session_id": trace["sessionId"], "trace_name": trace["name"]}
    out |= {"tags": trace["tags"], "release": trace["release"], "tool_calls": [], "tool_call_names": []}
    out |= {"parent_observation_id": row["parentObservationId"] or "", "tool_definitions": {}}
    return out | {"start_time": stamp(row["startTime"]), "end_time": stamp(row["endTime"])}


def observations(count: int) -> list[Row]:
    """The rows of traces that overlap, in order of their start."""
    traces = [agent_trace(n) for n in range(count)]
    rows = [observation(t, o) for t in traces for o in t["observations"]]
    return sorted(rows, key=lambda r: r["start_time"])


def score_row(row: Row) -> Row:
    names = {
        "traceId": "trace_id",
        "sessionId": "session_id",
        "dataType": "data_type",
        "stringValue": "string_value",
    }
    return {names.get(k, k): v for k, v in row.items()}


def write(path: Path, rows: list[Row]) -> Path:
    """Write rows in the format that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if name.endswith(".parquet"):
        plain = [{k: json.dumps(v) if isinstance(v, dict) else v for k, v in r.items()} for r in rows]
        pl.DataFrame(plain, infer_schema_length=None).write_parquet(path)
    elif name.endswith(".csv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            nested = (dict, list)
            writer.writerows(
                {k: json.dumps(v) if isinstance(v, nested) else v for k, v in r.items()} for r in rows
            )
    else:
        array = name.endswith((".json", ".json.gz"))
        data = (json.dumps(rows) if array else "".join(json.dumps(r) + "\n" for r in rows)).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def traces_of(items: list[Trace | Skipped]) -> list[Trace]:
    return sorted((i for i in items if isinstance(i, Trace)), key=lambda t: t.source_id)


def from_api(n: int) -> Trace:
    trace = agent_trace(n)
    made = build(trace, trace["observations"], source="lf", customer_key="customer", where="x")
    assert isinstance(made, Trace)
    return made


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "json.gz", "parquet", "csv"])
def test_every_format_gives_the_traces_of_the_api(tmp_path: Path, ending: str) -> None:
    rows = observations(6)
    files = [write(tmp_path / f"observations_v2/{n}.{ending}", rows[n::2]) for n in range(2)]
    items = list(read_blob(files, SOURCE))
    assert [i for i in items if isinstance(i, Skipped)] == []
    assert traces_of(items) == [from_api(n) for n in range(6)]


def test_legacy_tables_are_joined(tmp_path: Path) -> None:
    trace = agent_trace(0)
    own = ("user_id", "session_id", "tags", "trace_name", "release")
    rows = [{k: v for k, v in observation(trace, o).items() if k not in own} for o in trace["observations"]]
    head = {"id": trace["id"], "timestamp": stamp(trace["timestamp"]), "name": trace["name"],
            "tags": trace["tags"],
            "user_id": trace["userId"], "session_id": trace["sessionId"], "release": trace["release"],
            "metadata": trace["metadata"], "environment": "production"}  # fmt: skip
    files = [write(tmp_path / "observations/a.jsonl", rows), write(tmp_path / "traces/a.jsonl", [head])]
    assert list(read_blob(files, SOURCE)) == [from_api(0)]


def test_scores_join_their_trace_or_session_and_the_others_are_counted(tmp_path: Path) -> None:
    scores = [score_row(s) for s in (
        score(0, "NUMERIC", 0.5),
        score(1, "CORRECTION", "It was late.", name="output"),
        score(2, "BOOLEAN", True, traceId=None, sessionId="session-0"),
        score(77, "NUMERIC", 1.0),
        score(78, "NUMERIC", 1.0, traceId=None, datasetRunId="run"),
    )]  # fmt: skip
    files = [
        write(tmp_path / "p/observations_v2/a.jsonl", observations(3)),
        write(tmp_path / "p/scores/a.jsonl", scores),
    ]
    items = list(read_blob(files, SOURCE))
    got = {t.source_id: {(s.name, s.value, s.source) for s in t.scores} for t in traces_of(items)}
    assert got[id_of(0)] == {("numeric", 0.5, "human"), ("boolean", True, "human")}
    assert got[id_of(1)] == {("output", "It was late.", "human"), ("boolean", True, "human")}
    assert got[id_of(2)] == set()
    reasons = [i.reason for i in items if isinstance(i, Skipped)]
    assert sorted(reasons) == [
        "1 scores belong to no trace of the export",
        "the score belongs to no trace or session",
    ]


def test_tables_are_told_by_their_columns_where_no_folder_names_them(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "a.jsonl", observations(2)),
        write(tmp_path / "b.jsonl", [score_row(score(0))]),
        write(tmp_path / "c.jsonl", [{"something": "else"}]),
        write(tmp_path / "d.jsonl", []),
    ]
    items = list(read_blob(files, SOURCE))
    assert [len(t.scores) for t in traces_of(items)] == [1, 0]
    assert [i.reason for i in items if isinstance(i, Skipped)] == ["no file of a Langfuse export"] * 2


def test_the_group_tools_stands_in_for_calls_and_tools(tmp_path: Path) -> None:
    rows = [r for r in observations(1) if r["type"] != "GENERATION"]
    asked = {
        **observations(1)[1],
        "input": "Where is it?",
        "output": "",
        "tool_call_names": ["lookup_tracking"],
    }
    asked["tool_calls"] = [json.dumps({"id": "call_0", "arguments": '{"tracking": "00340434161090000000"}'})]
    asked["tool_definitions"] = {
        "lookup_tracking": json.dumps({"description": "Find", "parameters": {"type": "object"}})
    }
    (trace,) = read_blob([write(tmp_path / "observations_v2/a.jsonl", [*rows, asked])], SOURCE)
    assert isinstance(trace, Trace)
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["user", "assistant", "tool"]
    assert [(t.name, t.description) for t in episode.tools] == [("lookup_tracking", "Find")]


@pytest.mark.parametrize("damage", ["row", "gzip", "parquet", "csv", "cut", "no id", "large"])
def test_damage_is_counted_and_the_rest_is_read(tmp_path: Path, damage: str) -> None:
    rows = observations(3)
    good = write(tmp_path / "observations_v2/a.jsonl", rows)
    other = tmp_path / "observations_v2/b.jsonl"
    source = SOURCE
    if damage == "row":
        other.write_bytes(b'\n7\n{"id": }\n\xff\n')
    elif damage == "gzip":
        other = other.with_suffix(".jsonl.gz")
        other.write_bytes(gzip.compress(json.dumps(rows[0]).encode() * 50)[:-20])
    elif damage == "parquet":
        other = other.with_suffix(".parquet")
        other.write_bytes(b"PAR1 but not really")
    elif damage == "csv":
        other = other.with_suffix(".csv")
        other.write_bytes(b'id,trace_id\n"\xff\xfe')
    elif damage == "cut":
        other.write_text(json.dumps(rows[0])[:-5])
    elif damage == "no id":
        other.write_text('{"id": "x", "trace_id": null}\n')
    else:
        source = SOURCE.model_copy(update={"max_trace_mb": 0.05})
        other.write_text(json.dumps({**rows[0], "id": "big", "input": "x" * 100_000}) + "\n")
    items = list(read_blob([good, other], source))
    assert len(traces_of(items)) == 3
    skipped = [i for i in items if isinstance(i, Skipped)]
    assert skipped and all(i.reason for i in skipped)


def test_a_trace_larger_than_the_limit_is_skipped_and_not_held(tmp_path: Path) -> None:
    rows = observations(1)
    many = [{**rows[0], "id": f"more-{n}", "input": "x" * 40_000} for n in range(30)]
    source = SOURCE.model_copy(update={"max_trace_mb": 0.1})
    (made,) = read_blob([write(tmp_path / "observations_v2/a.jsonl", [*rows, *many])], source)
    assert isinstance(made, Skipped)
    assert made.reason == "the trace is larger than 0.1 MB"


def test_only_the_traces_that_are_open_are_held(tmp_path: Path) -> None:
    files = [tmp_path / f"observations_v2/{n}.jsonl" for n in range(2)]
    size = 0
    for n, path in enumerate(files):
        rows = [
            observation(t, o) for i in range(60) for t in [agent_trace(60 * n + i)] for o in t["observations"]
        ]
        size += sum(len(json.dumps(r)) for r in rows) + 120 * 50_000
        write(path, [{**r, "input": "y" * 50_000} if r["type"] == "AGENT" else r for r in rows])
    tracemalloc.start()
    count = sum(isinstance(i, Trace) for i in read_blob(files, SOURCE))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 120
    assert peak < size / 10


@given(st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=20)
def test_rows_in_any_order_over_any_files_give_the_same_traces(
    tmp_path_factory: pytest.TempPathFactory, random_: Any, parts: int
) -> None:
    rows = observations(5)
    random_.shuffle(rows)
    folder = tmp_path_factory.mktemp("blob") / "observations_v2"
    files = [write(folder / f"{n}.jsonl", rows[n::parts]) for n in range(parts)]
    assert traces_of(list(read_blob(files, SOURCE))) == [from_api(n) for n in range(5)]
