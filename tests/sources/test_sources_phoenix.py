"""Phoenix's REST answers, recorded, through a loopback stub with pages and faults."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared
from stub import SILENCE, Asked, Reply, answering, ok

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import Score, Trace
from strop.sources.otlp.wire import assemble, decode
from strop.sources.phoenix import Phoenix
from strop.sources.platform import HOUR, Made, Window, ns, within

HTML_404: Reply = (404, {}, b'{"detail":"Not Found"}')
START = ns("2026-11-23T06:00:00Z")
WINDOW = Window(START, START + HOUR)


def recorded() -> list[dict[str, Any]]:
    return json.loads(_recorded())["data"]


@functools.cache
def _recorded() -> bytes:
    return shared("fixtures/phoenix_20.26.1_spans.json").read_bytes()


def project(
    rows: list[dict[str, Any]], annotations: list[dict[str, Any]] | None = None
) -> Callable[[Asked], Reply]:
    """A Phoenix with one project: filters, sorts and pages spans as the server does."""

    def reply(asked: Asked) -> Reply:
        if asked.path == "/arize_phoenix_version":
            return 200, {"Content-Type": "text/plain"}, b"20.26.1"
        if asked.path == "/v1/projects/agent":
            return ok({"data": {"id": "UHJvamVjdDox", "name": "agent"}})
        what = asked.path.removeprefix("/v1/projects/agent/")
        if what == "spans":
            found = [r for r in rows if _inside(r, asked)]
            found.sort(key=lambda r: (str(r["start_time"]), r["context"]["span_id"]))
        elif what.endswith("_annotations") and annotations is not None:
            kind = what.replace("_annotations", "_id")
            found = [a for a in annotations if a.get(kind) in asked.query[f"{kind}s"]]
        else:
            return HTML_404
        first, size = int(asked.one("cursor", "0")), int(asked.one("limit"))
        following = str(first + size) if first + size < len(found) else None
        return ok({"data": found[first : first + size], "next_cursor": following})

    return reply


def _inside(row: dict[str, Any], asked: Asked) -> bool:
    start = ns(row["start_time"])
    if asked.one("start_time") and start < ns(asked.one("start_time")):
        return False
    if asked.one("end_time") and start >= ns(asked.one("end_time")):
        return False
    return not asked.query.get("trace_id") or row["context"]["trace_id"] in asked.query["trace_id"]


def source(url: str = "http://127.0.0.1:1", **settings: Any) -> Source:
    given = {"customer_key": "tenant.id", "timeout_s": 5.0, **settings}
    return Source(name="s", kind="phoenix", url=url, project="agent", **given)


def pulled(phoenix: Phoenix, window: Window) -> Made:
    rows = [row for page in phoenix.fetch(window) for row in page.rows]
    made = phoenix.assemble(rows)
    return Made(within(made.traces, window), made.skipped)


def direct() -> dict[str, Trace]:
    found: dict[str, Trace] = {}
    for name in ("genai.pb", "openinference.pb"):
        traces, _ = assemble(
            decode(shared(f"fixtures/{name}").read_bytes()), source="s", customer_key="tenant.id"
        )
        found.update({t.source_id: t for t in traces})
    return found


@pytest.mark.parametrize("page_size", [1, 3, 8, 1000])
def test_pages_give_the_traces_that_otlp_gives(page_size: int) -> None:
    with answering(project(recorded())) as (url, _):
        made = pulled(Phoenix(source(url), page_size=page_size), WINDOW)
    assert not made.skipped
    traces = {t.source_id: t for t in made.traces}
    assert traces.keys() == direct().keys()
    for source_id, expected in direct().items():
        trace = traces[source_id]
        assert trace.episodes == expected.episodes
        # Phoenix keeps whole microseconds.
        assert abs(trace.started_at - expected.started_at) < 1000
        assert abs(trace.ended_at - expected.ended_at) < 1000
        plain = msgspec.structs.replace(
            trace, started_at=expected.started_at, ended_at=expected.ended_at, attributes={}
        )
        assert plain == msgspec.structs.replace(expected, attributes={})


def test_a_window_is_half_open_and_reads_an_hour_around_itself() -> None:
    begun = ns("2026-11-23T06:32:05.643431Z")
    with answering(project(recorded())) as (url, seen):
        phoenix = Phoenix(source(url))
        earlier = pulled(phoenix, Window(begun - HOUR, begun)).traces
        later = pulled(phoenix, Window(begun, begun + 1)).traces
    assert not earlier
    assert [t.source_id for t in later] == ["6ec1e0a4a009fc427bd192c2d3c03a08"]
    assert len(later[0].episodes[0].messages) == 5
    asked = [(a.one("start_time"), a.one("end_time")) for a in seen if a.path.endswith("/spans")]
    assert min(start for start, _ in asked) == "2026-11-23T04:32:05.643431Z"
    assert max(end for _, end in asked) == "2026-11-23T07:32:05.643432Z"


def test_of_the_hours_around_a_window_only_its_own_runs_are_held() -> None:
    rows = [copy.deepcopy(r) for r in recorded() if r["context"]["trace_id"].startswith("6ec1")]
    for hour, trace_id in ((5, "a" * 32), (7, "b" * 32)):
        for row in copy.deepcopy(rows[:4]):
            row["context"]["trace_id"] = trace_id
            for key in ("start_time", "end_time"):
                row[key] = row[key].replace("T06:32", f"T{hour:02d}:32")
            rows.append(row)
    straddling = next(r for r in rows[:4] if r["parent_id"] and "chat" in r["name"])
    straddling["start_time"] = straddling["end_time"] = "2026-11-23T07:30:00+00:00"
    with answering(project(rows, [])) as (url, seen):
        held = [r for p in Phoenix(source(url), page_size=3).fetch(WINDOW) for r in p.rows]
    assert {r["context"]["trace_id"][:4] for r in held} == {"6ec1"}
    assert straddling in held
    assert len(held) == 4
    asked = [i for a in seen for i in a.query.get("trace_ids", [])]
    assert asked == ["6ec1e0a4a009fc427bd192c2d3c03a08"]


def test_a_run_that_waited_a_night_is_whole_and_belongs_to_the_day_it_began() -> None:
    rows = [r for r in recorded() if r["context"]["trace_id"].startswith("6ec1")]
    for row in rows:
        if row["name"].startswith("chat") and "in_transit" in json.dumps(row):
            row["start_time"] = row["end_time"] = "2026-11-24T09:00:00+00:00"
    next(r for r in rows if r["parent_id"] is None)["end_time"] = "2026-11-24T09:00:01+00:00"
    morning = ns("2026-11-24T08:30:00Z")
    with answering(project(rows)) as (url, _):
        phoenix = Phoenix(source(url))
        first, second = pulled(phoenix, WINDOW), pulled(phoenix, Window(morning, morning + HOUR))
    assert [len(t.episodes[0].messages) for t in first.traces] == [5]
    assert not first.traces[0].problems
    assert not second.traces


def note(target: str, name: str, result: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    kind, _, value = target.partition("=")
    return {
        "id": f"A{name}", kind: value, "name": name, "annotator_kind": "HUMAN", "result": result,
        "created_at": "2026-11-23T07:00:00+00:00", **more,
    }  # fmt: skip


def test_annotations_become_scores_of_their_trace() -> None:
    span, trace = "span_id=abf326535c501e1f", "trace_id=6ec1e0a4a009fc427bd192c2d3c03a08"
    given = [
        note(span, "correct", {"score": 1.0, "label": "pass", "explanation": "it is on its way"}),
        note(span, "tone", {"label": "friendly"}, annotator_kind="LLM"),
        note(trace, "late", {"score": 0}, annotator_kind="CODE", created_at="2026-11-23T06:59:00+00:00"),
        note("session_id=sess-1", "solved", {"label": "yes"}),
        note(span, "note", {"explanation": "look at this"}),
        note(span, "empty", {"score": None, "label": None}),
        note(span, "huge", {"score": 10**400}),
        note("span_id=0000000000000001", "of another span", {"score": 1}),
    ]
    with answering(project(recorded(), given)) as (url, seen):
        made = pulled(Phoenix(source(url), page_size=3), WINDOW)
    scores = {t.source_id[:4]: t.scores for t in made.traces}
    assert scores["6ec1"][0].name == "Relevance"  # the span's own evaluation event
    assert scores["6ec1"][1:] == (
        Score("late", 0.0, "code"),
        Score("correct", 1.0, "human", "pass: it is on its way"),
        Score("note", "look at this", "human"),
        Score("solved", "yes", "human"),
        Score("tone", "friendly", "llm"),
    )
    assert scores["0bfb"] == (Score("solved", "yes", "human"),)
    nameless = ("score", "an annotation without name or value")
    assert [(s.stage, s.reason) for s in made.skipped] == [nameless] * 2
    first = [a for a in seen if a.path.endswith("span_annotations") and not a.one("cursor")]
    asked = [i for a in first for i in a.query["span_ids"]]
    assert len(asked) == len(set(asked)) == 8


@pytest.mark.parametrize("odd", [{"a": 1}, [], None, 7])
def test_annotations_of_odd_shapes_are_scores_or_counted(odd: Any) -> None:
    trace = "trace_id=6ec1e0a4a009fc427bd192c2d3c03a08"
    rows = [*recorded(), note(trace, "a", {"score": 1}, annotator_kind=odd), note(trace, "b", odd)]
    made = Phoenix(source()).assemble(rows)
    assert Score("a", 1.0, "code") in next(t for t in made.traces if t.source_id.startswith("6ec1")).scores
    assert [s.reason for s in made.skipped] == ["an annotation without name or value"]


def test_many_ids_are_asked_about_in_several_requests() -> None:
    rows = [copy.deepcopy(recorded()[0]) for _ in range(250)]
    for i, row in enumerate(rows):
        row["context"] = {"trace_id": f"{i + 1:032x}", "span_id": f"{i + 1:016x}"}
        row["attributes"]["session.id"] = f"{i}-" + "s" * 150
    given = [note(f"session_id=7-{'s' * 150}", "solved", {"score": 1})]
    with answering(project(rows, given)) as (url, seen):
        found = [r for p in Phoenix(source(url)).fetch(WINDOW) for r in p.rows]
    assert sum("annotator_kind" in r for r in found) == 1
    sizes = [len(v) for a in seen for k, v in a.query.items() if k.endswith("_ids")]
    assert sum(sizes) == 3 * 250
    assert max(sizes) == 100
    assert max(sum(map(len, v)) for a in seen for v in a.query.values()) <= 4000


def test_a_server_without_annotations_still_gives_spans() -> None:
    with answering(project(recorded())) as (url, _):
        made = pulled(Phoenix(source(url)), WINDOW)
    assert len(made.traces) == 2


def test_probe_names_the_version_and_sends_the_key() -> None:
    with answering(project([])) as (url, seen):
        found = Phoenix(source(url), key="secret").probe()
    assert (found.platform, found.version, found.api) == ("phoenix", "20.26.1", "v1")
    assert {a.headers["Authorization"] for a in seen} == {"Bearer secret"}


def test_a_project_that_is_not_there_is_named() -> None:
    with (
        answering(lambda _: (404, {}, b"Project with name agent not found")) as (url, seen),
        pytest.raises(OutsideServiceError, match="name agent not found"),
    ):
        pulled(Phoenix(source(url)), WINDOW)
    assert len(seen) == 1


@pytest.mark.parametrize("missing", ["url", "project"])
def test_url_and_project_are_needed(missing: str) -> None:
    with pytest.raises(ConfigError, match="needs url and project"):
        Phoenix(source().model_copy(update={missing: None}))


def test_a_busy_server_is_asked_again() -> None:
    waits: list[float] = []
    faults: list[Reply] = [(429, {"Retry-After": "3"}, b""), (503, {}, b""), (500, {}, b"")]
    serve = project(recorded())
    with answering(lambda asked: faults.pop() if faults else serve(asked)) as (url, _):
        made = pulled(Phoenix(source(url), page_size=3, sleep=waits.append), WINDOW)
    assert len(made.traces) == 2
    assert waits == [1.0, 2.0, 3.0]


def test_a_server_that_stays_down_is_an_outside_error() -> None:
    waits: list[float] = []
    with (
        answering(lambda _: (500, {}, b"")) as (url, _),
        pytest.raises(OutsideServiceError, match="HTTP 500") as caught,
    ):
        pulled(Phoenix(source(url), sleep=waits.append), WINDOW)
    assert not isinstance(caught.value, TooLarge)
    assert len(waits) == 5


def test_a_server_that_never_answers_in_time_is_asked_for_less() -> None:
    with answering(lambda _: SILENCE) as (url, _), pytest.raises(TooLarge):
        pulled(Phoenix(source(url, timeout_s=0.05), sleep=lambda _: None), WINDOW)


def test_pages_that_are_too_large_are_asked_for_smaller() -> None:
    serve = project(recorded(), [])

    def reply(asked: Asked) -> Reply:
        return (504, {}, b"") if int(asked.one("limit", "0")) > 40 else serve(asked)

    with answering(reply) as (url, seen):
        made = pulled(Phoenix(source(url), page_size=400, sleep=lambda _: None), WINDOW)
    assert {t.source_id for t in made.traces} == direct().keys()
    assert [a.one("limit") for a in seen[:4]] == ["400", "400", "400", "40"]
    assert {a.one("limit") for a in seen[4:]} == {"40"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"data": [{}], "next_cursor": "1"}, "next_cursor that does not advance"),
        ({"data": [], "next_cursor": 7}, "next_cursor that does not advance"),
        ({"data": [{}, {}]}, "full page without next_cursor"),
        ({"items": []}, "answer without data"),
    ],
)
def test_pages_that_lead_nowhere_are_an_error(answer: Any, reason: str) -> None:
    with answering(lambda _: ok(answer)) as (url, seen), pytest.raises(OutsideServiceError, match=reason):
        list(Phoenix(source(url), page_size=2).fetch(WINDOW))
    assert len(seen) <= 8


def test_a_full_page_may_be_the_last() -> None:
    with answering(project(recorded())) as (url, seen):
        pages = list(Phoenix(source(url), page_size=8).fetch(WINDOW))
    assert [p.cursor for p in pages] == [None]
    assert [a.path.endswith("/spans") and a.one("cursor") for a in seen if a.one("cursor")] == []


def test_what_phoenix_flattened_is_put_together_again() -> None:
    row = next(r for r in recorded() if r["name"] == "chat qwen3-4b")
    structured = {
        "0.role": "user", "0.parts.0.type": "text", "0.parts.0.content": "Wo ist 00340434161094042557?",
        "1.role": "assistant", "1.parts.0.type": "tool_call", "1.parts.0.id": "call_1",
        "1.parts.0.name": "get_order", "1.parts.0.arguments.order_id": "0017",
        "1.parts.0.arguments.amounts.0017": 2, "1.parts.0.arguments.amounts.0": 1,
        "2.role": "tool", "2.parts.0.type": "tool_call_response", "2.parts.0.id": "call_1",
        "2.parts.0.response.items.0.sku": "7", "2.parts.0.response.items.1.sku": "8",
    }  # fmt: skip
    row["attributes"] = {
        "gen_ai.operation.name": "chat",
        **{f"gen_ai.input.messages.{k}": v for k, v in structured.items()},
        "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "ok"}]}]',
        "metadata.customer.id": "0042",
    }
    made = Phoenix(source(customer_key="metadata.customer.id")).assemble([row])
    assert not made.skipped
    (trace,) = made.traces
    assert trace.customer == "0042"
    messages = trace.episodes[0].messages
    assert [m.role for m in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1].tool_calls[0].parsed() == {"order_id": "0017", "amounts": {"0017": 2, "0": 1}}
    assert messages[2].content == '{"items": [{"sku": "7"}, {"sku": "8"}]}'


def test_an_output_that_phoenix_made_up_is_no_answer() -> None:
    rows = [r for r in recorded() if r["context"]["trace_id"].startswith("6ec1")]
    for row in rows:
        if row["name"].startswith("chat"):
            assert row["attributes"]["output.value"] == '{"model": "qwen3-4b"}'
            row["attributes"] = {
                k: v for k, v in row["attributes"].items() if not k.startswith("llm.") and "messages" not in k
            }
    made = Phoenix(source()).assemble(rows)
    assert "qwen3-4b" not in str([t.episodes for t in made.traces])


def test_of_messages_that_were_cut_no_part_counts() -> None:
    rows = [r for r in recorded() if r["context"]["trace_id"].startswith("6ec1")]
    for row in rows:
        for side in ("input", "output"):
            whole = row["attributes"].get(f"gen_ai.{side}.messages")
            if whole:
                row["attributes"][f"gen_ai.{side}.messages"] = whole[: len(whole) // 2]
    made = Phoenix(source()).assemble(rows)
    assert not made.traces
    assert "no JSON (truncated?)" in made.skipped[0].reason


def test_a_trace_that_is_too_large_is_skipped_with_its_size() -> None:
    made = Phoenix(source(max_trace_mb=0.0001)).assemble(recorded())
    assert not made.traces
    assert {s.reason for s in made.skipped} == {"the trace is larger than 0.0001 MB"}
    assert len(made.skipped) == 2


BROKEN: list[tuple[str, Any, str]] = [
    ("context", None, "a span without ids"),
    ("context", {"trace_id": 7, "span_id": "a"}, "a span without ids"),
    ("start_time", "yesterday", "start_time is no time"),
    ("end_time", {"at": 1}, "end_time is no time"),
    ("attributes", ["secret"], "attributes are no object"),
    ("events", "secret", "events are no list"),
    ("events", [{"name": "x", "timestamp": None}], "timestamp is no time"),
    ("parent_id", 12, "parent_id is no text"),
]


@pytest.mark.parametrize(("key", "value", "reason"), BROKEN)
def test_a_broken_span_is_counted_and_its_trace_says_so(key: str, value: Any, reason: str) -> None:
    rows = recorded()
    rows[2] = {**rows[2], key: value}
    made = Phoenix(source()).assemble(rows)
    assert [(s.stage, s.reason) for s in made.skipped] == [("assemble", reason)]
    assert "secret" not in str(made.skipped)
    troubled = next(t for t in made.traces if t.source_id.startswith("6ec1"))
    if key != "context":
        assert f"a span could not be read: {reason}" in troubled.problems


def test_order_and_copies_of_rows_do_not_matter() -> None:
    phoenix, rows = Phoenix(source()), recorded()
    assert sorted(phoenix.assemble([*rows[::-1], *rows]).traces, key=lambda t: t.source_id) == sorted(
        phoenix.assemble(rows).traces, key=lambda t: t.source_id
    )


ODD: list[Any] = [
    None, True, 0, -1, 10**30, 1.5, "", "x", "{", "[1]", '{"a": [1, {}]}', [], [None], {}, {"a": {"b": [[]]}},
    {"string_value": 1}, "0" * 32, "2026-11-23T06:32:05+00:00",
]  # fmt: skip


@settings(max_examples=25)
@given(data=st.data())
def test_mutated_rows_never_crash_and_are_all_accounted_for(data: st.DataObject) -> None:
    rows = [*recorded(), note("trace_id=6ec1e0a4a009fc427bd192c2d3c03a08", "a", {"score": 1})]
    whole = {r["context"]["trace_id"] for r in recorded()}
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.sampled_from(rows))
        inner = row.get("attributes")
        place = inner if isinstance(inner, dict) and inner and data.draw(st.booleans()) else row
        key = data.draw(st.sampled_from(sorted(place)) | st.text(max_size=6))
        place[key] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    made = Phoenix(source()).assemble(rows)
    told = {t.source_id for t in made.traces} | {s.item.removeprefix("s:") for s in made.skipped}
    readable = {r["context"]["trace_id"] for r in rows if isinstance(r.get("context"), dict) and
                isinstance(r["context"].get("trace_id"), str)}  # fmt: skip
    assert whole & readable <= told or made.skipped
    assert len(made.traces) + len(made.skipped) >= 1
    for trace in made.traces:
        assert msgspec.json.decode(msgspec.json.encode(trace), type=Trace).source_id == trace.source_id


def test_keys_of_absurd_depth_are_no_crash() -> None:
    rows = recorded()
    rows[2]["attributes"]["metadata." + "a." * 5000] = 1
    rows[2]["attributes"]["llm.input_messages.0." + "a." * 5000] = 1
    made = Phoenix(source()).assemble(rows)
    assert len(made.traces) + len(made.skipped) >= 2
