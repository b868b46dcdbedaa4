"""OpenAI's stored completions through a stand-in, and lines of its log and training formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jsonschema
import msgspec
import openai
import pytest
from damage import VALUES, mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared
from stub import Asked, Reply, answering, ok

from strop.config import Source
from strop.errors import ConfigError, OutsideServiceError
from strop.records import Score, Trace
from strop.sources.openai.api import OpenAI, read_completions
from strop.sources.openai.logs import joined, read_log_line
from strop.sources.otlp.wire import assemble as assemble_spans
from strop.sources.otlp.wire import decode
from strop.sources.platform import DAY, SECOND, Made, Window, ns, within

SOURCE = Source(name="s", kind="openai-completions", customer_key="tenant")
START = ns("2026-11-23T06:32:05Z") // SECOND
TODAY = Window(START * SECOND // DAY * DAY, START * SECOND // DAY * DAY + DAY)
SYSTEM = {"role": "system", "content": "You are a support agent."}
QUESTION = "Wo ist meine Bestellung 00340434161094042557? Erika Mustermann, erika@example.de"
USER = {"role": "user", "content": QUESTION}
CALLED = {"name": "get_order", "arguments": '{"order_id": "A-1001"}'}
CALL = {"id": "call_1", "type": "function", "function": CALLED}
SAID = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1",
          "content": '{"status": "in_transit", "tracking": "00340434161094042557"}'}  # fmt: skip
ANSWER = {"role": "assistant", "content": "Ihre Bestellung A-1001 ist unterwegs.", "refusal": None}
FUNCTION = {"name": "get_order", "description": "Look up an order", "parameters": {
    "type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}}  # fmt: skip
TOOL = {"type": "function", "function": FUNCTION}
Row = dict[str, Any]


def completion(name: str, said: Row, created: int, tokens: tuple[int, int] = (1, 1), **fields: Any) -> Row:
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": said}
    return {
        "object": "chat.completion", "id": f"chatcmpl-{name}", "model": "qwen3-4b", "created": created,
        "choices": [choice], "tools": [TOOL], "metadata": {}, "input_user": None,
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
        **fields,
    }  # fmt: skip


def run(name: str, at: int) -> list[Row]:
    """An agent's two calls, in one second."""
    metadata = {"tenant": "acme", "session_id": "sess-1", "region": "EU", "user_id": "user-1"}
    first = [SYSTEM, {**USER, "content": f"{USER['content']}{name}"}]
    said = {**SAID, "tool_calls": [{**CALL, "id": f"call_{name}"}]}
    result = {**RESULT, "tool_call_id": f"call_{name}"}
    return [
        {"completion": completion(f"{name}2", ANSWER, at, (170, 30), metadata=metadata),
         "messages": [*first, said, result]},
        {"completion": completion(f"{name}1", said, at, (120, 20), metadata=metadata), "messages": first},
    ]  # fmt: skip


class Account:
    """What an account has stored, and what goes wrong (by path's last part)."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = sorted(rows, key=lambda r: (r["completion"]["created"], r["completion"]["id"]))
        self.broken: Callable[[Asked, Row], Row] = lambda _, answer: answer
        self.refusals: list[int] = []

    def reply(self, asked: Asked) -> Reply:
        if {k.lower(): v for k, v in asked.headers.items()}.get("authorization") != "Bearer sk-1":
            return 401, {}, b'{"error": {"message": "Incorrect API key provided"}}'
        if self.refusals:
            return self.refusals.pop(0), {"Retry-After": "2"}, b"{}"
        if asked.path == "/v1/chat/completions":
            found = [r["completion"] for r in self.rows if chosen(r["completion"], asked)]
            return ok(self.broken(asked, page(found, asked, 100)))
        name = asked.path.removeprefix("/v1/chat/completions/").removesuffix("/messages")
        for row in self.rows:
            if row["completion"]["id"] == name and asked.path.endswith("/messages"):
                shown = [stored(name, i, m) for i, m in enumerate(row["messages"])]
                return ok(self.broken(asked, page(shown, asked, 100)))
        return 404, {}, b'{"error": {"message": "not found"}}'


def chosen(found: Row, asked: Asked) -> bool:
    wanted = {k[9:-1]: v[0] for k, v in asked.query.items() if k.startswith("metadata[")}
    model = asked.one("model", found["model"])
    return model == found["model"] and wanted.items() <= found["metadata"].items()


def stored(name: str, index: int, message: Row) -> Row:
    parts = message["content"] if isinstance(message["content"], list) else None
    text = None if parts else message["content"]
    return {"id": f"{name}-{index}", "refusal": None, "name": None, **message, "content": text,
            "content_parts": parts}  # fmt: skip


def page(found: list[Row], asked: Asked, most: int) -> Row:
    if asked.one("order", "asc") == "desc":
        found = found[::-1]
    ids = [f["id"] for f in found]
    first = ids.index(asked.one("after")) + 1 if asked.one("after") else 0
    size = min(most, int(asked.one("limit", "20")))
    data = found[first : first + size]
    return {"object": "list", "data": data, "first_id": data[0]["id"] if data else "",
            "last_id": data[-1]["id"] if data else "", "has_more": first + size < len(found)}  # fmt: skip


@contextmanager
def connected(account: Account, **options: Any) -> Iterator[tuple[OpenAI, list[Asked]]]:
    with answering(account.reply) as (url, seen):
        changes = {"url": f"{url}/v1", "query": options.pop("query", None)}
        platform = OpenAI(
            SOURCE.model_copy(update=changes), key="sk-1", **{"sleep": lambda _: None, **options}
        )
        try:
            yield platform, seen
        finally:
            platform.close()


def pulled(platform: OpenAI, window: Window = TODAY) -> Made:
    rows = [row for found in platform.fetch(window) for row in found.rows]
    made = platform.assemble(rows)
    assert not list(platform.scores(window))
    return Made(within(made.traces, window), made.skipped)


def test_a_run_is_the_same_as_through_other_platforms() -> None:
    spans = decode(shared("fixtures/genai.pb").read_bytes())
    (other,), _ = assemble_spans(spans, source="s", customer_key="tenant.id")
    rows = json.loads(json.dumps(run("1", START)).replace("erika@example.de1", "erika@example.de"))
    with connected(Account(rows), page_size=1) as (platform, _):
        assert platform.probe().platform == "openai"
        (trace,) = pulled(platform).traces
    assert trace.episodes == other.episodes
    assert (trace.customer, trace.session_id, trace.model) == (other.customer, other.session_id, other.model)
    assert (trace.usage, trace.identities) == (other.usage, other.identities)
    assert (trace.source_id, trace.attributes, trace.problems) == ("chatcmpl-11", {"region": "EU"}, ())


def test_each_trace_is_in_the_window_that_it_began_in_and_pages_are_not_read_twice() -> None:
    rows = [r for i in range(12) for r in run(f"x{i}-", TODAY.start // SECOND + i * 6 * 3600)]
    with connected(Account(rows), page_size=3) as (platform, seen):
        days = [Window(TODAY.start + i * DAY, TODAY.start + (i + 1) * DAY) for i in range(3)]
        found = [[t.source_id for t in pulled(platform, day).traces] for day in days]
    assert found == [[f"chatcmpl-x{d * 4 + i}-1" for i in range(4)] for d in range(3)]
    lists = [a.one("after") for a in seen if a.path == "/v1/chat/completions"]
    assert lists.count("") == 1
    asked = [a for a in seen if a.path.endswith("/messages") and not a.one("after")]
    assert len(asked) == len(rows) + 4  # those of the hours around twice


def test_a_chat_that_goes_on_past_midnight_is_one_trace() -> None:
    first, *rest = reversed(run("1", TODAY.end // SECOND - 5))
    rest[0]["completion"]["created"] = TODAY.end // SECOND + 5
    with connected(Account([first, *rest])) as (platform, _):
        (trace,) = pulled(platform).traces
        assert not pulled(platform, Window(TODAY.end, TODAY.end + DAY)).traces
    assert len(trace.episodes[0].messages) == 5


def test_a_completion_that_is_deleted_while_it_is_read_is_skipped() -> None:
    account = Account(run("1", START))

    def gone(asked: Asked, answer: Row) -> Row:
        account.rows.clear()
        return answer

    account.broken = gone
    with connected(account) as (platform, _):
        made = pulled(platform)
    assert (made.traces, {s.reason for s in made.skipped}) == ([], {"no completion: it has no messages"})


def test_query_narrows_what_is_read() -> None:
    rows = [*run("a", START), *run("b", START + 60)]
    for row in rows[:2]:
        row["completion"]["metadata"]["env"] = "prod"
    with connected(Account(rows), query="model=qwen3-4b&metadata[env]=prod") as (platform, _):
        assert [t.source_id for t in pulled(platform).traces] == ["chatcmpl-a1"]
    with pytest.raises(ConfigError, match="query has 'limit'"):
        OpenAI(SOURCE.model_copy(update={"query": "limit=1"}))


def test_refusals_are_waited_out_and_a_wrong_key_is_said() -> None:
    waits: list[float] = []
    account = Account(run("a", START))
    account.refusals = [429, 500]
    with connected(account, sleep=waits.append) as (platform, _):
        assert len(pulled(platform).traces) == 1
    assert waits == [2.0, 2.0]
    with answering(account.reply) as (url, _):
        platform = OpenAI(SOURCE.model_copy(update={"url": f"{url}/v1"}), key="wrong")
        with pytest.raises(OutsideServiceError, match="refuses the key"):
            platform.probe()
        platform.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"data": None}, "no list"),
        ({"data": [1]}, "no list"),
        ({"has_more": None}, "whether there are more"),
        ({"last_id": "chatcmpl-a1", "has_more": True}, "does not advance"),
        ({"data": [], "last_id": None, "has_more": True}, "does not advance"),
    ],
)
def test_a_list_that_can_not_be_read_whole_is_an_error(answer: Row, says: str) -> None:
    account = Account([*run("a", START), *run("b", START + 60)])
    account.broken = lambda asked, right: right | answer if asked.path.endswith("completions") else right
    with connected(account, page_size=2) as (platform, _), pytest.raises(OutsideServiceError, match=says):
        pulled(platform)


def test_the_stand_in_answers_as_the_api_document_says_and_the_sdk_reads_it() -> None:
    document = json.loads(shared("fixtures/openai_openapi_2.3.0.json").read_text())
    account = Account([*run("a", START), *run("b", START + 60)])
    with answering(account.reply) as (url, _):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="sk-1", max_retries=0)
        listed = client.chat.completions.list(limit=3, order="asc")
        assert [c.id for c in listed] == ["chatcmpl-a1", "chatcmpl-a2", "chatcmpl-b1", "chatcmpl-b2"]
        messages = list(client.chat.completions.messages.list("chatcmpl-a2", limit=3))
        client.close()
    assert [m.content for m in messages] == [SYSTEM["content"], f"{QUESTION}a", None, RESULT["content"]]
    asked = Asked("", {"limit": ["100"]}, None, {})
    shown = page([stored("x", 0, ANSWER)], asked, 100)  # the document has no other role than assistant here
    for schema, answer in (
        ("ChatCompletionList", page([r["completion"] for r in account.rows], asked, 100)),
        ("ChatCompletionMessageList", shown),
    ):
        rule = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
        jsonschema.Draft202012Validator(rule).validate(answer)


UNHURT = read_completions([*run("a", START), *run("b", START + 60)], SOURCE)


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=3))
@settings(max_examples=30)
def test_order_and_repetition_of_completions_change_nothing(order: list[int], again: list[int]) -> None:
    rows = [*run("a", START), *run("b", START + 60)]
    assert read_completions([rows[i] for i in (*order, *again)], SOURCE) == UNHURT
    assert [len(t.episodes) for t in UNHURT.traces] == [1, 1]


@given(st.data())
def test_a_damaged_completion_is_counted_and_hurts_no_other(data: st.DataObject) -> None:
    rows: list[Any] = [*run("b", START + 60), *run("a", START)]
    rows[3] = mutated(rows[3], data)
    made = read_completions(rows, SOURCE)
    assert len(made.traces) + len(made.skipped) >= 2
    assert UNHURT.traces[1] in made.traces
    assert not [s for s in made.skipped if "Mustermann" in s.reason]
    round_trip(made.traces)


def round_trip(traces: list[Trace]) -> None:
    encoded = msgspec.json.encode(traces)
    assert msgspec.json.encode(msgspec.json.decode(encoded, type=list[Trace])) == encoded


def read(raw: Any) -> Trace:
    return read_log_line(raw, source=SOURCE, fallback_id="file:7", position=7)


FULL = [SYSTEM, USER, SAID, RESULT]
CHAT = {"model": "qwen3-4b", "messages": FULL, "tools": [TOOL], "user": "user-1",
        "metadata": {"tenant": "acme"}}  # fmt: skip
ANSWERED = completion("1", ANSWER, START, (170, 30), tools=None)
ITEMS = [
    {"role": "user", "content": [{"type": "input_text", "text": USER["content"]}]},
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "function_call", "call_id": "call_1", **CALLED},
    {"type": "function_call_output", "call_id": "call_1", "output": RESULT["content"]},
]
ASKED = {"model": "qwen3-4b", "instructions": SYSTEM["content"], "input": ITEMS, "user": "user-1",
         "tools": [{"type": "function", **FUNCTION, "strict": True}, {"type": "web_search"}],
         "metadata": {"tenant": "acme"}}  # fmt: skip
RESPONDED = {
    "object": "response", "id": "resp_1", "created_at": START, "model": "qwen3-4b", "error": None,
    "output": [{"type": "reasoning", "summary": []},
               {"type": "message", "role": "assistant", "content": [
                   {"type": "output_text", "text": ANSWER["content"], "annotations": []}]}],
    "usage": {"input_tokens": 170, "output_tokens": 30, "total_tokens": 200},
}  # fmt: skip
LITELLM = {
    "id": "chatcmpl-1", "call_type": "acompletion", "status": "success", "model": "qwen3-4b",
    "messages": FULL, "response": ANSWERED, "startTime": float(START), "endTime": START + 1.5,
    "response_cost": 0.25, "prompt_tokens": 170, "completion_tokens": 30, "request_tags": ["prod"],
    "end_user": "user-1", "model_parameters": {"tools": [TOOL]}, "trace_id": "sess-1",
    "metadata": {"user_api_key_hash": "x", "requester_metadata": {"tenant": "acme"}},
}  # fmt: skip
LINES: dict[str, Any] = {
    "chat": {"request": CHAT, "response": ANSWERED},
    "chat as text": {"request": json.dumps(CHAT), "response": json.dumps(ANSWERED)},
    "chat in HTTP": {"request": {"url": "/v1/chat/completions", "body": CHAT},
                     "response": {"status_code": 200, "body": ANSWERED}},
    "responses": {"request": ASKED, "response": RESPONDED},
    "batch": {"custom_id": "chatcmpl-1", "method": "POST", "body": CHAT, "id": "batch_req_1", "error": None,
              "response": {"status_code": 200, "request_id": "r", "body": ANSWERED}},
    "litellm": LITELLM,
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_every_kind_of_log_line_gives_the_same_episode(name: str) -> None:
    trace = read(LINES[name])
    assert [m.to_openai() for m in trace.episodes[0].messages] == [
        {k: v for k, v in m.items() if k != "refusal"} for m in (*FULL, ANSWER)
    ]
    assert [t.to_openai() for t in trace.episodes[0].tools] == [TOOL]
    assert trace.source_id == ("resp_1" if name == "responses" else "chatcmpl-1")
    assert (trace.model, trace.customer, trace.identities) == ("qwen3-4b", "acme", {"user.id": "user-1"})
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (170, 30)
    assert (trace.started_at, trace.status) == (START * SECOND, "ok")
    hosted = ("a tool of type web_search was left out",) if name == "responses" else ()
    assert trace.problems == hosted


def test_litellm_has_cost_tags_and_session() -> None:
    trace = read(LITELLM)
    assert (trace.cost_usd, trace.tags, trace.session_id, trace.latency_s) == (0.25, ("prod",), "sess-1", 1.5)
    failed = read({**LITELLM, "response": None, "status": "failure", "error_str": "RateLimitError"})
    assert (failed.status, failed.error, len(failed.episodes[0].messages)) == ("error", "RateLimitError", 4)


def test_supervised_examples_keep_their_tools() -> None:
    weighed = [*FULL, {**ANSWER, "weight": 1}]
    trace = read({"messages": weighed, "tools": [TOOL], "parallel_tool_calls": False})
    assert [t.name for t in trace.episodes[0].tools] == ["get_order"]
    assert (trace.source_id, trace.started_at, trace.scores) == ("file:7", 7, ())


def test_older_function_calls_are_tool_calls() -> None:
    said = {"role": "assistant", "content": None, "function_call": CALL["function"]}
    trace = read({"messages": [USER, said, {"role": "function", "name": "get_order", "content": "ok"}],
                  "functions": [FUNCTION]})  # fmt: skip
    called, result = trace.episodes[0].messages[1:]
    assert result.role == "tool"
    assert result.tool_call_id == called.tool_calls[0].id
    assert [t.name for t in trace.episodes[0].tools] == ["get_order"]


def test_reinforcement_rows_carry_their_ground_truth() -> None:
    trace = read({"messages": [USER], "order": "007", "expected": {"status": "late"}, "tenant": "acme"})
    assert trace.scores == (Score("ground_truth", '{"order":"007","expected":{"status":"late"}}', "code"),)
    assert trace.customer == "acme"


def test_further_fields_of_a_training_row_are_no_answer() -> None:
    trace = read({"messages": [USER], "result": "late", "body": "x", "completion": 1})
    assert [m.role for m in trace.episodes[0].messages] == ["user"]
    assert trace.scores[0].value == '{"result":"late","body":"x","completion":1}'


def test_of_preferences_the_preferred_answer_is_the_trace() -> None:
    other = {"role": "assistant", "content": "No."}
    trace = read({"input": {"messages": [USER], "tools": [TOOL]}, "preferred_output": [ANSWER],
                  "non_preferred_output": [other]})  # fmt: skip
    assert [m.content for m in trace.episodes[0].messages] == [USER["content"], ANSWER["content"]]
    assert trace.scores == (Score("preferred", 1.0, "human"),)
    assert trace.attributes == {"non_preferred_output": [other]}


def test_further_choices_are_counted_and_times_may_be_milliseconds() -> None:
    answer = {"id": "x", "choices": [{"message": ANSWER}, {"message": SAID}]}
    trace = read({"request": CHAT, "response": answer, "timestamp": START * 1000})
    assert "1 more choices were left out" in trace.problems
    assert trace.started_at == START * SECOND


def test_a_batch_is_joined_by_custom_id() -> None:
    asked = [{"custom_id": f"c{i}", "method": "POST", "url": "/v1/x", "body": CHAT} for i in (1, 2)]
    answers = [(i, {"status_code": 200, "body": {**ANSWERED, "id": f"x{i}"}}) for i in (2, 1)]
    answered = [{"id": f"b{i}", "custom_id": f"c{i}", "error": None, "response": a} for i, a in answers]
    assert [read(row).source_id for row in joined([*asked, *answered])] == ["x2", "x1"]
    again = {**answered[0], "response": {"status_code": 200, "body": {**ANSWERED, "id": "x3"}}}
    assert len(joined([again, *asked, *asked, *answered])) == 3
    other = {**asked[0], "body": {**CHAT, "messages": [SYSTEM]}}
    for row in joined([*asked[:1], other, answered[1]]):  # which of them was answered, nothing tells
        with pytest.raises(ValueError, match="one batch at a time"):
            read(row)
    for half in (asked[0], answered[0]):
        with pytest.raises(ValueError, match="join"):
            read(half)


def test_a_refused_batch_request_is_an_error_of_the_trace() -> None:
    refused = {"status_code": 400, "body": {"error": {"message": "too long", "type": "invalid"}}}
    trace = read({"custom_id": "c1", "body": CHAT, "response": refused})
    assert (trace.status, trace.error) == ("error", "too long")


def test_responses_that_go_on_are_one_conversation() -> None:
    called = {**RESPONDED, "id": "resp_0", "output": [ITEMS[2]]}
    first = {"request": {**ASKED, "input": ITEMS[:1]}, "response": called}
    going_on = {**ASKED, "instructions": None, "input": ITEMS[3:], "previous_response_id": "resp_0"}
    second = {"request": going_on, "response": {**RESPONDED, "previous_response_id": "resp_0"}}
    (row,) = joined([first, second])
    assert read(row).episodes == read(LINES["responses"]).episodes
    alone = read(second)
    assert "the conversation goes on from a response that is not here" in alone.problems


def test_hosted_calls_and_mcp_calls() -> None:
    output = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "mcp_call", "id": "mcp_1", "name": "find", "arguments": '{"q":"007"}', "output": "found"},
        {"type": "message", "content": [{"type": "refusal", "refusal": "I can't."}]},
    ]
    trace = read({"request": {"input": "Q"}, "response": {**RESPONDED, "output": output}})
    assert [(m.role, m.content, m.tool_call_id) for m in trace.episodes[0].messages] == [
        ("user", "Q", None),
        ("assistant", None, None),
        ("tool", "found", "mcp_1"),
        ("assistant", "I can't.", None),
    ]
    assert "items of type web_search_call were left out" in trace.problems


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ([], "the line is a list, not an object"),
        ({}, "there are no messages"),
        ({"messages": [{"role": "Erika"}]}, "message 0 has an unknown role"),
        ({"messages": [USER], "started_at": "Erika"}, "has the wrong form"),
        ({"messages": [{**SAID, "tool_calls": [{"id": "Erika"}]}]}, "message 0 has a tool call without"),
        ({"response": RESPONDED}, "an answer without its request"),
        (RESPONDED, "an answer without its request"),
        ({"input": {}, "preferred_output": []}, "a preference row without"),
    ],
)
def test_what_is_no_line_says_why_without_the_data(line: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        read(line)
    assert "Erika" not in str(error.value)


EXAMPLES: list[Row] = [
    *LINES.values(),
    {"messages": [*FULL, ANSWER], "tools": [TOOL], "expected": 1},
    {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]},
]


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=200)
def test_a_damaged_line_is_a_trace_or_a_reason(line: Row, data: st.DataObject) -> None:
    try:
        trace = read(mutated(line, data))
    except ValueError as error:
        assert "Mustermann" not in str(error)
        return
    round_trip([trace])


@given(st.lists(st.one_of(VALUES, st.sampled_from(EXAMPLES)), max_size=6))
def test_joining_never_fails_and_keeps_what_it_can_not_join(rows: list[Any]) -> None:
    kept = joined(rows)
    assert len(kept) <= len(rows)
    assert [r for r in rows if not isinstance(r, dict)] == [r for r in kept if not isinstance(r, dict)]
