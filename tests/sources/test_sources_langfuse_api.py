"""The Langfuse connector against a stand-in server of both API generations."""

from __future__ import annotations

import base64
import json
from collections.abc import Generator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
from shared import shared
from sources import langfuse_server as stand_in
from sources.langfuse_server import Fault, Standin, agent_trace, id_of, score, serving

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError, TooLarge
from strop.records import Skipped, Trace
from strop.sources.langfuse.api import Langfuse
from strop.sources.platform import HOUR, SECOND, LateScore, Window, ns, within

BEGIN = ns("2026-11-01T09:00:00Z")
WINDOW = Window(BEGIN, BEGIN + HOUR)
Modes = pytest.mark.parametrize("mode", ["v3", "v4", "dual"])


MADE: list[Langfuse] = []


@pytest.fixture(autouse=True)
def closed() -> Generator[None]:
    """Close the connectors that a test made."""
    yield
    while MADE:
        MADE.pop().close()


def connector(
    server: Standin, *, key: str = stand_in.SECRET, path: str = "", size: int = 1000, **extra: Any
) -> Langfuse:
    given = {"customer_key": "customer", "timeout_s": 5.0, **extra}
    source = Source(name="lf", kind="langfuse", url=server.url + path, **given)
    made = Langfuse(
        source,
        user=stand_in.PUBLIC,
        key=key,
        sleep=lambda _: None,
        page_sizes=(size, max(1, size // 10)),
        list_size=20,
    )
    MADE.append(made)
    return made


def pulled(langfuse: Langfuse, window: Window = WINDOW) -> list[Trace]:
    rows = [row for page in langfuse.fetch(window) for row in page.rows]
    made = langfuse.assemble(rows)
    assert made.skipped == []
    return sorted(within(made.traces, window), key=lambda t: t.source_id)


@pytest.fixture
def v4() -> Generator[Standin]:
    with serving("v4", [agent_trace(n) for n in range(30)]) as server:
        yield server


@pytest.fixture
def v3() -> Generator[Standin]:
    with serving("v3", [agent_trace(n) for n in range(50)]) as server:
        yield server


@Modes
def test_the_generation_is_found_by_asking(mode: str) -> None:
    with serving(mode) as server:
        found = connector(server).probe()
    assert (found.platform, found.version) == ("langfuse", stand_in.VERSIONS[mode])
    assert found.api == ("v4" if mode == "v4" else "v3")
    assert bool(found.notes) == (mode != "v3")


def test_a_server_without_either_generation_is_an_error() -> None:
    with serving("v3") as server, pytest.raises(OutsideServiceError, match="serves neither"):
        connector(server, path="/elsewhere").probe()


def test_wrong_keys_are_an_error_that_names_their_variables() -> None:
    with serving("v3") as server, pytest.raises(OutsideServiceError, match="api_key_env"):
        connector(server, key="another").probe()


@pytest.mark.parametrize("missing", ["url", "user", "key"])
def test_a_source_needs_address_and_both_keys(missing: str) -> None:
    given = {"url": "http://127.0.0.1:1", "user": "u", "key": "k", missing: None}
    source = Source(name="lf", kind="langfuse", url=given["url"])
    with pytest.raises(ConfigError, match="user_env"):
        Langfuse(source, user=given["user"], key=given["key"])


@Modes
def test_every_generation_gives_the_same_traces(mode: str) -> None:
    with serving(mode, [agent_trace(n) for n in range(30)]) as server:
        traces = pulled(connector(server))
    assert [t.source_id for t in traces] == [id_of(n) for n in range(30)]
    trace = traces[7]
    (episode,) = trace.episodes
    assert [m.role for m in episode.messages] == ["system", "user", "assistant", "tool", "assistant"]
    (call,) = episode.messages[2].tool_calls
    assert (call.id, call.arguments) == ("call_7", '{"tracking": "00340434161090000007"}')
    assert episode.messages[3].tool_call_id == "call_7"
    assert json.loads(episode.messages[3].content or "")["tracking"] == "00340434161090000007"
    assert [t.name for t in episode.tools] == ["lookup_tracking"]
    assert (trace.customer, trace.workflow_id, trace.session_id) == ("C001", "0000007", "session-3")
    assert trace.identities == {"user.id": "user-2"}
    assert trace.tags == ("prod", "agent")
    assert trace.cost_usd == pytest.approx(0.003)
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (200, 20)
    assert (trace.started_at, trace.ended_at) == (BEGIN + 7 * SECOND, BEGIN + 17 * SECOND)
    assert trace.problems == ()


def test_traces_are_equal_whichever_generation_they_came_through() -> None:
    seen: list[list[Trace]] = []
    for mode in ("v3", "v4", "dual"):
        with serving(mode, [agent_trace(n) for n in range(5)]) as server:
            seen.append(pulled(connector(server)))
    assert seen[0] == seen[1] == seen[2]


@Modes
def test_a_trace_belongs_to_the_window_of_its_start(mode: str) -> None:
    with serving(mode, [agent_trace(n) for n in range(40)]) as server:
        langfuse = connector(server)
        cut = Window(BEGIN + 5 * SECOND, BEGIN + 15 * SECOND)
        parts = [Window(BEGIN, cut.start), cut, Window(cut.end, BEGIN + HOUR)]
        counts = [len(pulled(langfuse, part)) for part in parts]
        assert all(len(t.episodes[0].messages) == 5 for t in pulled(langfuse, cut))
    assert counts == [5, 10, 25]


def test_v4_pages_cut_traces_apart_and_assembly_joins_them(v4: Standin) -> None:
    langfuse = connector(v4, size=7)
    pages = list(langfuse.fetch(WINDOW))
    assert len(pages) == -(-120 // 7)
    assert not any(page.whole for page in pages)
    ids = [{row["traceId"] for row in page.rows} for page in pages]
    assert any(a & b for a, b in pairwise(ids))
    again = [row for page in langfuse.fetch(WINDOW, pages[3].cursor) for row in page.rows]
    assert again == [row for page in pages[4:] for row in page.rows]
    made = langfuse.assemble([row for page in reversed(pages) for row in page.rows * 2])
    assert (len(made.traces), made.skipped) == (30, [])
    assert all(t.cost_usd == pytest.approx(0.003) for t in made.traces)


def test_a_full_last_page_has_no_cursor_and_is_the_end(v4: Standin) -> None:
    (page,) = connector(v4, size=120).fetch(WINDOW)
    assert (len(page.rows), page.cursor) == (120, None)


def test_a_cursor_that_does_not_advance_is_an_error(v4: Standin) -> None:
    v4.stuck_cursor = True
    with pytest.raises(OutsideServiceError, match="does not advance"):
        list(connector(v4).fetch(WINDOW))
    v4.stuck_cursor = False


@pytest.mark.parametrize(
    "body", [b'{"data": []}', b'{"meta": {}}', b"[]", b"no json", b'{"data": {}, "meta": {}}']
)
def test_a_page_in_no_known_form_is_an_error(v4: Standin, body: bytes) -> None:
    langfuse = connector(v4)
    langfuse.probe()
    v4.faults["v2/observations"] = [Fault(body=body)]
    with pytest.raises(OutsideServiceError):
        list(langfuse.fetch(WINDOW))


def test_an_empty_page_in_between_is_no_end(v4: Standin) -> None:
    langfuse = connector(v4)
    langfuse.probe()
    v4.faults["v2/observations"] = [
        Fault(body=b'{"data": [], "meta": {"cursor": "' + _first_cursor() + b'"}}')
    ]
    assert len(pulled(langfuse)) == 30


def _first_cursor() -> bytes:
    mark = {"lastStartTimeTo": "2100-01-01T00:00:00Z", "lastTraceId": "x", "lastId": "x"}
    return base64.b64encode(json.dumps(mark).encode())


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(429, {"Retry-After": "0"})] * 3,
        [Fault(500), Fault(524), Fault(502)],
        [Fault(503, {"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"})],
    ],
)
@Modes
def test_passing_faults_are_waited_out(mode: str, faults: list[Fault]) -> None:
    path = "v2/observations" if mode == "v4" else "traces"
    with serving(mode, [agent_trace(n) for n in range(3)]) as server:
        langfuse = connector(server)
        langfuse.probe()
        server.faults[path] = list(faults)
        assert len(pulled(langfuse)) == 3
        assert server.faults[path] == []


def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(v4: Standin) -> None:
    langfuse = connector(v4, size=100)
    langfuse.probe()
    v4.faults["v2/observations"] = [Fault(413)]
    assert len(pulled(langfuse)) == 30
    assert [p["limit"] for path, p in v4.asked if path == "v2/observations"][1:3] == ["100", "10"]


@Modes
def test_what_times_out_every_time_is_too_large(mode: str) -> None:
    path = "v2/observations" if mode == "v4" else "traces"
    with serving(mode, [agent_trace(0)]) as server:
        langfuse = connector(server)
        langfuse.probe()
        server.faults[path] = [Fault(524)] * 12
        with pytest.raises(TooLarge):
            list(langfuse.fetch(WINDOW))
        server.faults[path] = []


def test_an_answer_that_is_too_late_is_asked_for_again(v4: Standin) -> None:
    langfuse = connector(v4, timeout_s=0.5)
    langfuse.probe()
    v4.faults["v2/observations"] = [Fault(delay_s=0.8)]
    assert len(pulled(langfuse)) == 30


def test_v3_reads_every_trace_once_over_many_pages(v3: Standin) -> None:
    langfuse = connector(v3)
    pages = list(langfuse.fetch(WINDOW))
    assert all(page.whole for page in pages)
    ids = [row["id"] for page in pages for row in page.rows]
    assert len(ids) == len(set(ids)) == 50
    assert [p["page"] for path, p in v3.asked if path == "traces"] == ["1", "1", "2", "3"]
    again = [row["id"] for page in langfuse.fetch(WINDOW, pages[1].cursor) for row in page.rows]
    assert again == [row["id"] for page in pages[2:] for row in page.rows]


def test_v3_offsets_that_drift_lose_and_double_nothing(v3: Standin) -> None:
    langfuse = connector(v3)
    langfuse.probe()

    def drift(path: str, params: dict[str, Any]) -> None:
        if path == "traces" and params["page"] == "2":  # the third page's first rows move to the second
            v3.before = None
            del v3.traces[:5]
            v3.traces.append({**agent_trace(3), "id": "f" * 32, "timestamp": stand_in.at(0.5)})

    v3.before = drift
    rows = [row for page in langfuse.fetch(WINDOW) for row in page.rows]
    alive = {t["id"] for t in v3.traces}
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids))
    assert alive <= set(ids)
    made = langfuse.assemble(rows)
    assert {s.reason for s in made.skipped} <= {"the trace was deleted while it was read"}
    assert len(made.traces) + len(made.skipped) == len(ids)


def test_a_list_that_counts_more_than_it_shows_is_an_error(v3: Standin) -> None:
    langfuse = connector(v3)
    langfuse.probe()
    meta = b'{"data": [], "meta": {"page": 1, "limit": 100, "totalItems": 9, "totalPages": 1}}'
    v3.faults["traces"] = [Fault(body=meta)] * 3
    with pytest.raises(OutsideServiceError, match="counts 9 traces"):
        list(langfuse.fetch(WINDOW))


@Modes
def test_a_trace_past_max_trace_mb_is_skipped_and_the_others_are_read(mode: str) -> None:
    large = agent_trace(1)
    large["observations"][0]["output"] = "x" * 300_000
    with serving(mode, [agent_trace(0), large, agent_trace(2)]) as server:
        langfuse = connector(server, max_trace_mb=0.2)
        made = langfuse.assemble([row for page in langfuse.fetch(WINDOW) for row in page.rows])
    assert [s.reason for s in made.skipped] == ["the trace is larger than 0.2 MB"]
    assert len(made.traces) == 2


def test_metadata_is_asked_for_whole_and_a_cut_value_is_told() -> None:
    trace = agent_trace(0)
    trace["observations"][0]["metadata"] = {"customer": "K" * 230, "workflow_id": "1"}
    with serving("v4", [trace]) as server:
        langfuse = connector(server)
        (whole,) = pulled(langfuse)
        assert whole.customer == "K" * 230
        rows = [row for page in langfuse.fetch(WINDOW) for row in page.rows]
    for row in rows:
        row["metadata"] = {k: v[:200] for k, v in row["metadata"].items()}
    (cut,) = langfuse.assemble(rows).traces
    assert cut.customer == "K" * 200
    assert any("metadata customer" in p and "cut" in p for p in cut.problems)


SCORES = [
    score(0, "NUMERIC", 0.25),
    score(1, "BOOLEAN", True, source="EVAL", comment="quotes the answer"),
    score(2, "CATEGORICAL", "good", observationId="o", source="API"),
    score(3, "TEXT", "late but right", comment="seen by Anna"),
    score(4, "CORRECTION", '{"status": "delivered"}', name="output"),
    score(5, "NUMERIC", 0, traceId=None, sessionId="session-1"),
    score(6, "NUMERIC", 1, traceId=None, datasetRunId="run-1"),
]


@Modes
def test_scores_of_every_type_and_subject(mode: str) -> None:
    with serving(mode, [agent_trace(0)], [*SCORES, score(9, timestamp=stand_in.at(4000))]) as server:
        langfuse = connector(server)
        found = list(langfuse.scores(WINDOW))
    placed = [s for s in found if isinstance(s, LateScore)]
    late = sorted(placed, key=lambda s: (s.trace_id or "~", s.session_id or ""))
    assert [(s.score.name, s.score.value, s.score.source) for s in late] == [
        ("numeric", 0.25, "human"),
        ("boolean", True, "llm"),
        ("categorical", "good", "code"),
        ("text", "late but right", "human"),
        ("output", '{"status": "delivered"}', "human"),
        ("numeric", 0.0, "human"),
    ]
    assert [s.score.comment for s in late] == ["", "", "", "seen by Anna", "", ""]
    assert isinstance(late[1].score.value, bool)
    assert [s.trace_id for s in late] == [id_of(n) for n in range(5)] + [None]
    assert late[-1].session_id == "session-1"
    (lost,) = [s for s in found if isinstance(s, Skipped)]
    assert lost.item.startswith("lf:score ")
    assert lost.reason.startswith("the score belongs to ")


def test_rows_that_are_no_objects_are_counted(v4: Standin) -> None:
    langfuse = connector(v4)
    langfuse.probe()
    v4.faults["v2/observations"] = [Fault(body=b'{"data": [7, null], "meta": {}}')]
    rows = [row for page in langfuse.fetch(WINDOW) for row in page.rows]
    made = langfuse.assemble(rows)
    assert (made.traces, len(made.skipped)) == ([], 2)


@Modes
def test_many_scores_come_in_pages_each_once(mode: str) -> None:
    with serving(mode, [], [score(n) for n in range(230)]) as server:
        late = list(connector(server).scores(WINDOW))
    assert sorted(s.trace_id or "" for s in late if isinstance(s, LateScore)) == sorted(
        id_of(n) for n in range(230)
    )


def _schema(components: dict[str, Any], name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": {"schemas": components}}


def _json_schema(node: Any) -> Any:
    """OpenAPI 3.0's nullable as JSON Schema has it."""
    if isinstance(node, list):
        return [_json_schema(n) for n in node]
    if not isinstance(node, dict):
        return node
    plain = {k: _json_schema(v) for k, v in node.items() if k != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if node.get("nullable") and len(plain) > 1 else plain


@lru_cache
def _components(name: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the OpenAPI documents")
    text = shared(f"fixtures/{name}").read_text()
    document = yaml.load(text[text.index("\ncomponents:") :], getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return _json_schema(document["components"]["schemas"])


@pytest.mark.parametrize(
    ("mode", "document"),
    [
        ("v3", "langfuse_openapi_v3.225.4.yml"),
        ("v4", "langfuse_openapi_v4.16.0.yml"),
        ("dual", "langfuse_openapi_v4.16.0.yml"),
    ],
)
def test_the_stand_in_answers_as_the_openapi_documents_say(mode: str, document: str) -> None:
    components = _components(document)
    state = Standin(mode, [agent_trace(n) for n in range(3)], SCORES)
    every = {"fields": "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context", "limit": "2"}
    asked = {
        "health": ("HealthResponse", {}),
        "traces": ("Traces", {"limit": "2"}),
        f"traces/{id_of(1)}": ("TraceWithFullDetails", {}),
        "observations": ("legacyObservationsViews", {}),
        "v2/observations": ("ObservationsV2Response", every),
        "v2/scores": ("GetScoresResponse", {}),
        "v3/scores": ("GetScoresV3Response", {"fields": "details,subject,annotation", "limit": "3"}),
    }
    served = 0
    for path, (name, params) in asked.items():
        status, body = state.answer(path, params)
        if status == 404:
            continue
        served += 1
        body = json.loads(json.dumps(body))
        jsonschema.Draft202012Validator(_schema(components, name)).validate(body)
        if "data" in body:
            assert body["data"], path
    assert served == {"v3": 6, "v4": 3, "dual": 7}[mode]
