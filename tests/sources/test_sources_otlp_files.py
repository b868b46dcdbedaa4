"""Files of OTLP exports: traces spread over lines and files, in every form that exporters write."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chat_files import as_lines, source
from otlp_lines import attribute, export, ids, spread
from shared import shared

from strop.records import Skipped, Trace
from strop.sources.files.parts import Part, parts
from strop.sources.otlp.files import read_otlp

MB = 1 << 20


def otlp(tmp_path: Path, path: str = "*", **extra: Any) -> Part:
    (part,) = parts(source("otlp-file", path, **extra), tmp_path)
    return part


def test_spans_spread_over_lines_and_files_are_one_trace(tmp_path: Path) -> None:
    lines = spread()
    (tmp_path / "traces-1.jsonl").write_bytes(as_lines(lines[:2]))
    (tmp_path / "traces-2.jsonl.gz").write_bytes(gzip.compress(as_lines(lines[2:4])))
    (tmp_path / "traces.jsonl").write_bytes(as_lines(lines[4:]))
    part = otlp(tmp_path)
    items = list(part.read())
    assert ids([i for _, i in items]) == [1, 2, 3]
    assert all(i.problems == () for _, i in items if isinstance(i, Trace))
    assert part.is_done(items[-1][0])
    assert not part.is_done(items[0][0])


def test_an_interrupted_reading_misses_nothing_that_was_open(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(as_lines(spread()))
    part = otlp(tmp_path)
    whole = list(part.read())
    for i, (cursor, _) in enumerate(whole[:-1]):
        rest = ids([item for _, item in part.read(cursor)])
        assert set(rest) >= set(ids([item for _, item in whole[i + 1 :]])), cursor


def test_a_trace_that_grows_between_pulls_is_made_again_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        as_lines([export(1, root=True, model=True, at=1), export(2, root=True, model=False, at=9000)])
    )
    first = list(otlp(tmp_path).read())
    assert [type(i) for _, i in first] == [Trace, Skipped]
    path.rename(tmp_path / "a-rotated.jsonl")
    path.write_bytes(as_lines([export(2, root=False, model=True, at=9001)]))
    part = otlp(tmp_path)
    assert not part.is_done(first[-1][0])
    (again,) = [i for _, i in part.read(first[-1][0])]
    assert isinstance(again, Trace)
    assert (int(again.source_id, 16), again.problems) == (2, ())


def test_a_truncated_last_export_is_read_again(tmp_path: Path) -> None:
    data = as_lines([export(1, root=True, model=True, at=1), export(2, root=True, model=True, at=9000)])
    (tmp_path / "t.jsonl").write_bytes(data[:-100])
    first = list(otlp(tmp_path).read())
    assert [type(i) for _, i in first] == [Skipped, Trace]
    (tmp_path / "t.jsonl").write_bytes(data)
    assert ids([i for _, i in otlp(tmp_path).read(first[-1][0])])[-1] == 2


@pytest.mark.parametrize("dialect", ["genai", "openinference"])
@pytest.mark.parametrize("form", ["json", "lines", "pb", "delimited", "zstd"])
def test_recorded_exports_in_every_form(tmp_path: Path, dialect: str, form: str) -> None:
    pb = shared(f"fixtures/{dialect}.pb").read_bytes()
    text = shared(f"fixtures/{dialect}.otlp.json").read_bytes()
    if form == "zstd":
        packed = pytest.importorskip("backports.zstd", reason="pip install 'strop[objects]'").compress(pb)
    else:
        packed = b""
    name, data = {
        "json": ("x.json", text),
        "lines": ("x.jsonl", json.dumps(json.loads(text)).encode() + b"\n"),
        "pb": ("x.pb", pb),
        "delimited": ("x.data", len(pb).to_bytes(4, "big") + pb),
        "zstd": ("x.data", len(packed).to_bytes(4, "big") + packed),
    }[form]
    (tmp_path / name).write_bytes(data)
    ((_, trace),) = otlp(tmp_path, name).read()
    assert isinstance(trace, Trace)
    assert [m.role for m in trace.episodes[0].messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert trace.problems == ()


@pytest.mark.parametrize("family", ["phoenix", "clickhouse"])
def test_parquet_with_a_span_a_row(tmp_path: Path, family: str) -> None:
    rows_: list[dict[str, Any]] = []
    for s in json.loads(shared("fixtures/phoenix_20.26.1_spans.json").read_bytes())["data"]:
        if family == "phoenix":
            rows_.append(
                {
                    "context.trace_id": s["context"]["trace_id"],
                    "context.span_id": s["context"]["span_id"],
                    "parent_id": s["parent_id"],
                    "name": s["name"],
                    "span_kind": s["span_kind"],
                    "start_time": s["start_time"],
                    "end_time": s["end_time"],
                    "status_code": s["status_code"],
                    "attributes": json.dumps(s["attributes"]),
                }
            )
        else:
            rows_.append(
                {
                    "TraceId": s["context"]["trace_id"],
                    "SpanId": s["context"]["span_id"],
                    "ParentSpanId": s["parent_id"] or "",
                    "SpanName": s["name"],
                    "Timestamp": s["start_time"],
                    "Duration": 5,
                    "SpanAttributes": [
                        {"key": k, "value": json.dumps(v) if isinstance(v, list | dict) else str(v)}
                        for k, v in s["attributes"].items()
                    ],
                }
            )
    pl.DataFrame(rows_, infer_schema_length=None).write_parquet(tmp_path / "spans.parquet")
    items = [i for _, i in otlp(tmp_path, "spans.parquet").read()]
    traces = [i for i in items if isinstance(i, Trace)]
    assert traces
    for trace in traces:
        roles = [m.role for m in trace.episodes[0].messages]
        assert roles == ["system", "user", "assistant", "tool", "assistant"]


def test_memory_is_bounded_by_handing_on_the_oldest(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(
        as_lines([export(n, root=True, model=True, at=n) for n in range(1, 200)])
    )
    part = otlp(tmp_path)
    items = list(read_otlp(part.files, part.source, max_held=20_000))
    assert ids([i for _, i in items]) == list(range(1, 200))
    early = items[50][0]
    assert int(early.rpartition(":")[2]) > 0


def test_a_trace_over_the_limit_is_counted_once(tmp_path: Path) -> None:
    big = [export(1, root=bool(n), model=True, at=1, text="x" * MB) for n in range(2)]
    for n, line in enumerate(big):
        line["resourceSpans"][0]["scopeSpans"][0]["spans"][-1]["spanId"] = f"{n + 1:016x}"
    (tmp_path / "t.jsonl").write_bytes(as_lines([*big, export(2, root=True, model=True, at=2)]))
    items = [i for _, i in otlp(tmp_path, max_trace_mb=1.5).read()]
    assert [i.reason for i in items if isinstance(i, Skipped)] == ["the trace is larger than 1.5 MB"]
    assert ids(items) == [2]


def test_log_lines_bring_scores_and_what_can_not_be_used_is_counted(tmp_path: Path) -> None:
    record = {
        "traceId": f"{1:032x}",
        "spanId": f"{1:016x}",
        "eventName": "gen_ai.evaluation.result",
        "attributes": [
            attribute("gen_ai.evaluation.name", "Tone"),
            {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": 0.5}},
        ],
    }
    bad = {"traceId": "", "spanId": ""}
    good = export(1, root=True, model=True, at=1)
    good["resourceSpans"][0]["scopeSpans"][0]["spans"].append(bad)
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record, {"body": {"stringValue": "other"}}]}]}]}
    (tmp_path / "t.jsonl").write_bytes(as_lines([good, logs, {"resourceMetrics": []}]) + b"no json\n")
    items = [i for _, i in otlp(tmp_path).read()]
    assert [i.reason for i in items if isinstance(i, Skipped)] == [
        "a span without a valid trace id and span id",
        "the export is no OTLP JSON: DecodeError",
    ]
    (trace,) = [i for i in items if isinstance(i, Trace)]
    assert [(s.name, s.value) for s in trace.scores] == [("Tone", 0.5)]


def test_another_kind_of_json_is_counted(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"data": [{"traceID": "1", "spans": []}]}')
    ((_, item),) = otlp(tmp_path).read()
    assert isinstance(item, Skipped)
    assert item.reason.startswith("the export is no OTLP request")


def test_a_file_that_was_cut_while_it_was_written_to_keeps_its_lines(tmp_path: Path) -> None:
    whole = [export(n, root=True, model=True, at=n) for n in (1, 2)]
    (tmp_path / "t.jsonl").write_bytes(b"\0" * 4096 + as_lines(whole))
    assert ids([i for _, i in otlp(tmp_path).read()]) == [1, 2]


def test_a_damaged_or_swollen_message_costs_no_other(tmp_path: Path) -> None:
    zstd = pytest.importorskip("backports.zstd", reason="pip install 'strop[objects]'")
    good = shared("fixtures/genai.pb").read_bytes()
    bomb = zstd.compress(b" " * (65 << 20))
    messages = [zstd.compress(good)[:-9], bomb, zstd.compress(good)]
    (tmp_path / "t.data").write_bytes(b"".join(len(m).to_bytes(4, "big") + m for m in messages))
    items = [i for _, i in otlp(tmp_path).read()]
    assert [type(i) for i in items] == [Skipped, Skipped, Trace]
    assert [i.reason for i in items if isinstance(i, Skipped)] == [
        "the packed export is damaged", "the export is larger than 64 MB",
    ]  # fmt: skip
