from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from served import AUTH, KEY, MODEL_ID, TOOL, FakeModel, body, call, config, text

from strop.models.chat import ChatReply
from strop.records import Trace
from strop.serve.app import build
from strop.serve.capture import Capture
from strop.serve.fallback import Fallback
from strop.serve.run import running

TAUGHT = {
    "choices": [
        {"message": {"role": "assistant", "content": '{"final_status":"taught"}'}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}


@contextmanager
def served(
    tmp_path: Path, reply: ChatReply, teacher_says: Any = TAUGHT
) -> Iterator[tuple[TestClient, list[Any], list[Trace]]]:
    asked: list[Any] = []
    landed: list[Trace] = []
    teacher = FastAPI()

    @teacher.post("/v1/chat/completions")
    async def answer(request: Request) -> Any:
        asked.append((await request.json(), request.headers.get("authorization")))
        return teacher_says

    with running(teacher) as url:
        app = build(
            config(tmp_path),
            {MODEL_ID: FakeModel([reply])},
            aliases={"champion": MODEL_ID},
            key=KEY,
            capture=Capture(lambda traces, _: landed.extend(traces)),
            fallback=Fallback(url, model="frontier", key="sk-teacher"),
        )
        with TestClient(app, headers=AUTH) as client:
            yield client, asked, landed


@pytest.mark.parametrize(
    "reply",
    [
        call("drop_database"),
        call(arguments="{"),
        call(arguments="[]"),
        text('<tool_call>{"name": "lookup_tra'),
        text("  "),
        text("not json"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_invalid_answer_is_asked_again(tmp_path: Path, reply: ChatReply, stream: bool):
    with served(tmp_path, reply) as (client, asked, landed):
        request = body(
            tools=[TOOL], response_format={"type": "json_object"}, seed=1, stream=stream, user="anna"
        )
        response = client.post("/v1/chat/completions", json=request)
    assert response.headers["x-strop-fallback"] == "1"
    assert "taught" in response.text and "frontier" in response.text
    [(sent, authorization)] = asked
    assert (
        sent["model"] == "frontier"
        and sent["messages"] == request["messages"]
        and authorization == "Bearer sk-teacher"
    )
    assert "user" not in sent and "stream" not in sent
    [trace] = landed
    assert trace.tags == ("fallback",) and trace.model == "frontier" and trace.attributes["fallbacks"] == 1


@pytest.mark.parametrize("reply", [call(), text('{"a": 1}')])
def test_a_valid_answer_is_not(tmp_path: Path, reply: ChatReply):
    with served(tmp_path, reply) as (client, asked, landed):
        response = client.post(
            "/v1/chat/completions", json=body(tools=[TOOL], response_format={"type": "json_object"})
        )
    assert "x-strop-fallback" not in response.headers and not asked
    assert landed[0].tags == () and landed[0].model == MODEL_ID


@pytest.mark.parametrize(
    "says", [{}, {"choices": []}, {"choices": [{"message": {"role": "x"}}]}, "text", {"choices": 1}]
)
def test_an_unreadable_fallback_leaves_the_small_models_answer(tmp_path: Path, says: Any):
    with served(tmp_path, text("not json"), says) as (client, asked, _):
        response = client.post("/v1/chat/completions", json=body(response_format={"type": "json_object"}))
    assert response.json()["choices"][0]["message"]["content"] == "not json"
    assert "x-strop-fallback" not in response.headers and len(asked) == 1
