"""OpenAI's own client is the judge of the wire format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from served import KEY, MODEL_ID, TOOL, FakeModel, call, config, text

from strop.serve.app import build
from strop.serve.run import running

ASK = [{"role": "user", "content": "Where is 00340434161094015902?"}]


@pytest.fixture
def model() -> FakeModel:
    return FakeModel([call(), text('{"final_status": "delivered"}')])


@pytest.fixture
def client(tmp_path: Path, model: FakeModel) -> Iterator[openai.OpenAI]:
    app = build(config(tmp_path), {MODEL_ID: model}, aliases={"champion": MODEL_ID}, key=KEY)
    with running(app) as url, httpx2.Client(trust_env=False) as http:
        yield openai.OpenAI(base_url=url, api_key=KEY, http_client=http, max_retries=0)


def test_an_agents_two_turns(client: openai.OpenAI):
    first = client.chat.completions.create(model="champion", messages=ASK, tools=[TOOL])
    assert first.choices[0].finish_reason == "tool_calls" and first.usage.total_tokens == 29
    message = first.choices[0].message
    [asked] = message.tool_calls
    assert asked.function.name == "lookup_tracking"
    turns = [*ASK, message.to_dict(), {"role": "tool", "tool_call_id": asked.id, "content": "delivered"}]
    second = client.chat.completions.create(
        model="champion", messages=turns, tools=[TOOL], seed=1, temperature=0
    )
    assert second.choices[0].message.content == '{"final_status": "delivered"}'
    assert second._request_id.startswith("req_")


def test_a_stream_with_tool_calls(client: openai.OpenAI):
    options = {"include_usage": True}
    with client.chat.completions.stream(
        model="champion", messages=ASK, tools=[TOOL], stream_options=options
    ) as stream:
        final = stream.get_final_completion()
    [asked] = final.choices[0].message.tool_calls
    assert asked.function.arguments == '{"tracking_number":"00340434161094015902"}'
    assert final.usage.total_tokens == 29
    pieces = client.chat.completions.create(model="champion", messages=ASK, stream=True)
    shown = "".join(p.choices[0].delta.content or "" for p in pieces)
    assert shown == '{"final_status": "delivered"}'


def test_models_and_errors(client: openai.OpenAI, model: FakeModel):
    assert [m.id for m in client.models.list()] == [MODEL_ID, "champion"]
    assert client.models.retrieve("champion").id == "champion"
    with pytest.raises(openai.NotFoundError) as not_found:
        client.chat.completions.create(model="gpt-4o", messages=ASK)
    assert not_found.value.code == "model_not_found" and not_found.value.param == "model"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="champion", messages=ASK, n=3)
    assert bad.value.param == "n"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    assert model.asked == []
