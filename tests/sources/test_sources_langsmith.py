"""LangSmith's runs and feedback, through a stand-in server with both APIs and their bad days."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from shared import shared
from sources import langsmith_server as server
from sources.langsmith_server import ANSWER, KEY, START, Deployment, agent_trace, feedback_of

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import Score, Skipped, Trace
from strop.sources.langsmith.api import LangSmith
from strop.sources.langsmith.runs import read_runs
from strop.sources.otlp.wire import assemble as assemble_spans
from strop.sources.otlp.wire import decode
from strop.sources.platform import DAY, HOUR, SECOND, LateScore, Made, Window, within

TODAY = Window(START // DAY * DAY, START // DAY * DAY + DAY)
SOURCE = Source(name="s", kind="langsmith", project="agent", customer_key="tenant")


@contextmanager
def connected(deployment: Deployment, key: str | None = KEY, **options: Any) -> Iterator[LangSmith]:
    with server.serving(deployment) as url:
        source = altered(SOURCE, url=url)
        platform = LangSmith(source, key=key, **{"sleep": lambda _: None, **options})
        try:
            yield platform
        finally:
            platform.close()


def altered(source: Source, **changes: Any) -> Source:
    return source.model_copy(update=changes)


def pulled(platform: LangSmith, window: Window = TODAY) -> Made:
    """What a pull keeps of a window."""
    rows = [row for page in platform.fetch(window) for row in page.rows]
    made = platform.assemble(rows)
    return Made(within(made.traces, window), made.skipped)


def recorded_elsewhere() -> Trace:
    spans = decode(shared("fixtures/genai.pb").read_bytes())
    (trace,), _ = assemble_spans(spans, source="s", customer_key="tenant.id")
    return trace


@pytest.mark.parametrize("serves", ["v1", "v2", "dual"])
@pytest.mark.parametrize("dialect", ["openai", "langchain", "langgraph"])
def test_a_run_is_the_same_through_every_api_and_framework(serves: str, dialect: str) -> None:
    with connected(Deployment(agent_trace(dialect=dialect), serves=serves)) as platform:
        result = pulled(platform)
    (trace,) = result.traces
    assert not result.skipped
    other = recorded_elsewhere()
    assert trace.episodes == other.episodes
    assert (trace.session_id, trace.model, trace.usage) == (other.session_id, other.model, other.usage)
    assert (trace.customer, trace.identities) == (other.customer, other.identities)
    assert (trace.agent, trace.status, trace.problems) == (other.agent, "ok", ())
    assert (trace.cost_usd, trace.tags, trace.attributes) == (0.75, ("prod",), {"region": "EU"})
    assert trace.source_id == server.uuid(1)
    assert (trace.started_at, trace.ended_at // SECOND) == (START, (START + 900_000_000) // SECOND)


@pytest.mark.parametrize(
    ("serves", "claims", "api", "asked"),
    [
        ("v1", {"version": "0.12"}, "v1", ["/api/v1/runs/query"]),
        ("v1", {"instance_flags": {"ch_query_enabled": True}}, "v1", ["/api/v1/runs/query"]),
        ("dual", None, "v2", ["/api/v2/runs/query"]),
        ("v2", None, "v2", ["/api/v2/runs/query"]),
        ("v1", {"instance_flags": {"sdb_query_enabled": True}}, "v2",
         ["/api/v2/runs/query", "/api/v1/runs/query"]),
    ],
)  # fmt: skip
def test_the_newest_api_that_answers_is_used(
    serves: str, claims: dict[str, Any] | None, api: str, asked: list[str]
) -> None:
    deployment = Deployment(agent_trace(), serves=serves, claims=claims)
    with connected(deployment) as platform:
        assert platform.probe().api == api
        assert len(pulled(platform).traces) == 1
    assert [path for path, _ in deployment.asked if path.endswith("/runs/query")] == asked


def test_a_server_without_v1_that_lacks_v2_is_an_error() -> None:
    claims = {"instance_flags": {"sdb_query_enabled": True, "ch_query_enabled": False}}
    with connected(Deployment(agent_trace(), claims=claims)) as platform, \
            pytest.raises(OutsideServiceError, match="404"):  # fmt: skip
        pulled(platform)


@pytest.mark.parametrize("serves", ["v1", "v2"])
def test_bounds_and_fields_are_always_sent(serves: str) -> None:
    deployment = Deployment(agent_trace(), serves=serves, now=START + 90 * DAY)
    with connected(deployment) as platform:
        assert pulled(platform).traces
    (body,) = [body for path, body in deployment.asked if path.endswith("/runs/query")]
    if serves == "v2":
        assert (body["min_start_time"], body["max_start_time"]) == (
            "2026-11-23T00:00:00Z", "2026-11-24T01:00:00Z")  # fmt: skip
        assert {"INPUTS", "OUTPUTS", "EXTRA"} <= set(body["selects"]) <= server.V2_FIELDS
        assert body["page_size"] <= 1000
    else:
        terms = ('gte(start_time, "2026-11-23T00:00:00Z")', 'lt(start_time, "2026-11-24T01:00:00Z")')
        assert body["filter"] == f"and({', '.join(terms)})"
        assert {"inputs", "outputs", "extra"} <= set(body["select"]) <= server.V1_FIELDS
        assert body["limit"] == 100


def test_key_and_workspace_are_sent_and_the_project_is_found_by_name() -> None:
    deployment = Deployment(agent_trace(), prefix="")
    with server.serving(deployment) as url:
        source = altered(SOURCE, url=url, workspace=server.TENANT)
        platform = LangSmith(source, user=None, key=KEY)
        assert pulled(platform).traces
        platform.close()
    assert {h["x-api-key"] for h in deployment.headers} == {KEY}
    assert {h["x-tenant-id"] for h in deployment.headers} == {server.TENANT}
    assert ("/sessions", {"name": ["agent"], "limit": ["100"]}) in deployment.asked


def test_a_project_can_be_given_by_id() -> None:
    deployment = Deployment(agent_trace())
    with server.serving(deployment) as url:
        platform = LangSmith(altered(SOURCE, url=url, project=server.PROJECT), key=KEY)
        assert pulled(platform).traces
        platform.close()
    assert not [path for path, _ in deployment.asked if "sessions" in path]


def test_an_unknown_project_is_a_configuration_error() -> None:
    with server.serving(Deployment([])) as url:
        platform = LangSmith(altered(SOURCE, url=url, project="agnet"), key=KEY)
        with pytest.raises(ConfigError, match="no project 'agnet'"):
            platform.probe()
        platform.close()
    with pytest.raises(ConfigError, match="needs project"):
        LangSmith(altered(SOURCE, project=None), key=KEY)


def test_a_wrong_key_is_said() -> None:
    with connected(Deployment([]), key="wrong") as platform, pytest.raises(OutsideServiceError, match="key"):
        platform.probe()


def many(count: int) -> list[dict[str, Any]]:
    """Traces all through the day, one every minute."""
    return [r for i in range(count) for r in agent_trace(i + 1, TODAY.start + i * 60 * SECOND)]


@pytest.mark.parametrize("serves", ["v1", "v2"])
@pytest.mark.parametrize("page_size", [1, 3, 7, 100])
def test_pages_of_any_size_give_the_same_traces(serves: str, page_size: int) -> None:
    with connected(Deployment(many(5), serves=serves), page_size=page_size) as platform:
        result = pulled(platform)
    expected = read_runs(many(5), SOURCE)
    assert sorted(t.source_id for t in result.traces) == [server.uuid(i) for i in range(1, 6)]
    assert {t.source_id: t.episodes for t in result.traces} == {
        t.source_id: t.episodes for t in expected.traces
    }
    assert not result.skipped


@pytest.mark.parametrize("serves", ["v1", "v2"])
def test_bad_days_are_waited_out(serves: str) -> None:
    waits: list[float] = []
    deployment = Deployment(many(3), serves=serves)
    deployment.faults = ["429", "empty", "500", "empty", None, "503"]
    with connected(deployment, page_size=4, sleep=waits.append) as platform:
        assert len(pulled(platform).traces) == 3
    assert waits == [7.0, 1.0, 1.0]


@pytest.mark.parametrize("serves", ["v1", "v2"])
@pytest.mark.parametrize(
    ("faults", "error", "says"),
    [
        (["no cursor"], TooLarge, "full page without a cursor"),
        ([None, "no cursor"], TooLarge, "full page without a cursor"),
        (["same cursor"] * 3, OutsideServiceError, "cursor does not advance"),
        (["empty"] * 99, OutsideServiceError, "cursor does not advance"),
        (["504"] * 6, TooLarge, "does not answer in time"),
        (["500"] * 6, OutsideServiceError, "HTTP 500"),
        (["403"], OutsideServiceError, "refuses the key"),
        (["400"], OutsideServiceError, "refuses the request"),
    ],
)
def test_what_can_not_be_read_whole_is_an_error(
    serves: str, faults: list[str | None], error: type[Exception], says: str
) -> None:
    deployment = Deployment(many(3), serves=serves)
    deployment.faults = list(faults)
    with connected(deployment, page_size=4) as platform, pytest.raises(error, match=says):
        pulled(platform)


@pytest.mark.parametrize("serves", ["v1", "v2"])
def test_a_trace_belongs_to_the_window_that_it_began_in(serves: str) -> None:
    midnight = TODAY.end
    rows = [
        *agent_trace(1, midnight - 300_000_000),  # straddles the end
        *agent_trace(2, midnight),
        *agent_trace(3, TODAY.start - 300_000_000),
    ]
    with connected(Deployment(rows, serves=serves)) as platform:
        today, tomorrow = pulled(platform), pulled(platform, Window(midnight, midnight + DAY))
    assert [t.source_id for t in today.traces] == [server.uuid(1)]
    assert len(today.traces[0].episodes[0].messages) == 5
    assert [t.source_id for t in tomorrow.traces] == [server.uuid(2)]
    assert not today.skipped and not tomorrow.skipped


@pytest.mark.parametrize("serves", ["v1", "v2"])
def test_a_trace_that_lasts_for_hours_is_read_to_its_end(serves: str) -> None:
    rows = agent_trace(1, TODAY.end - SECOND)
    late = server.run_of(1, 9, rows[:1], "llm", "ChatCompletion", TODAY.end + 5 * HOUR, **server.model_call(
        "openai",
        [{"role": "user", "content": "And now?"}],
        {"role": "assistant", "content": "Delivered."},
    ))  # fmt: skip
    rows[0]["end_time"] = late["end_time"]
    deployment = Deployment([*rows, late, *agent_trace(2, TODAY.end + 5 * HOUR)], serves=serves)
    with connected(deployment, page_size=2) as platform:
        (trace,) = pulled(platform).traces
    assert [m.content for m in trace.episodes[1].messages] == ["And now?", "Delivered."]


def test_feedback_becomes_scores() -> None:
    feedback = [
        feedback_of(1, 0, score=1, comment="right", feedback_source={"type": "app"}),
        feedback_of(1, 1, key="tone", score=0.5, feedback_source={"type": "model"}),
        feedback_of(1, 2, key="grade", value="B", feedback_source={"type": "auto_eval"}),
        feedback_of(1, 3, key="user_score", score=True),
        feedback_of(1, 4, key="facts", value={"a": 1}, correction={"desired": ANSWER}),
        feedback_of(1, 5, key="note", comment="call back"),
        feedback_of(1, 6, key="broken", comment="Traceback", extra={"error": True}),
        feedback_of(1, 7, run=3, key="status", score=0, correction={"status": "delivered", "eta": None}),
        feedback_of(2, 8, score=0.0),
    ]
    rows = agent_trace(1)
    rows[0]["feedback_stats"] = rows[-1]["feedback_stats"] = {"correctness": {"n": 1}}
    deployment = Deployment([*rows, *agent_trace(2)], feedback)
    with connected(deployment) as platform:
        by_id = {t.source_id: t for t in pulled(platform).traces}
    assert by_id[server.uuid(1)].scores == (
        Score("correctness", 1.0, "human", "right"),
        Score("tone", 0.5, "llm"),
        Score("grade", "B", "llm"),
        Score("user_score", True, "end_user"),
        Score("facts", '{"a": 1}', "code"),
        Score("facts.correction", ANSWER, "code"),
        Score("note", "call back", "code", "call back"),
        Score("status", 0.0, "code"),
        Score("status.correction", '{"status": "delivered", "eta": null}', "code"),
    )
    assert by_id[server.uuid(2)].scores == ()  # nothing says that there is any: `scores` brings it
    (asked,) = [q for path, q in deployment.asked if path.endswith("/feedback")]
    assert sorted(asked["run"]) == [server.uuid(1), server.uuid(1, 3)]


def test_feedback_on_many_runs_is_asked_for_in_parts_and_pages() -> None:
    rows = many(60)
    for row in rows:
        row["feedback_stats"] = {"k": {"n": 1}} if row["id"] == row["trace_id"] else {}
    feedback = [feedback_of(i, n, key=f"k{n}", score=n) for i in range(1, 61) for n in range(3)]
    with connected(Deployment(rows, feedback, serves="v2")) as platform:
        traces = pulled(platform).traces
    assert [len(t.scores) for t in traces] == [3] * 60


def test_late_feedback_is_read_by_its_own_time() -> None:
    feedback = [feedback_of(1, i, at=TODAY.start + i * SECOND, score=i / 200) for i in range(230)]
    feedback += [
        feedback_of(2, 500, at=TODAY.end, score=1),
        feedback_of(3, 501, run_id=None, trace_id=None, feedback_thread_id="sess-1", value="good"),
    ]
    with connected(Deployment([], feedback)) as platform:
        late = list(platform.scores(TODAY))
    assert len(late) == 231
    late = [s for s in late if isinstance(s, LateScore)]
    assert {(s.trace_id, s.session_id) for s in late} == {(server.uuid(1), None), (None, "sess-1")}
    assert late[-1].score == Score("correctness", "good", "code")


def test_feedback_without_a_score_or_a_place_is_counted() -> None:
    failed = feedback_of(1, 1, at=TODAY.start, score=1, extra={"error": True})
    nowhere = feedback_of(1, 2, at=TODAY.start, score=1, run_id=None, trace_id=None)
    with connected(Deployment([], [failed, nowhere])) as platform:
        found = list(platform.scores(TODAY))
    assert [s.reason for s in found if isinstance(s, Skipped)] == [
        "the feedback has no score", "the feedback belongs to no run or thread",
    ]  # fmt: skip


def test_feedback_that_comes_in_circles_is_an_error() -> None:
    feedback = [feedback_of(1, i, score=1) for i in range(150)]
    deployment = Deployment([], feedback)
    deployment.faults = [None, "same feedback"]
    with connected(deployment) as platform, pytest.raises(OutsideServiceError, match="same page"):
        list(platform.scores(TODAY))
