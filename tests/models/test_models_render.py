from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model
from transformers import AutoTokenizer

from strop.models.local import LocalModel
from strop.models.render import Renderer, parse_reply
from strop.records import Message, Tool, ToolCall

TOOLS = (
    Tool(
        "lookup",
        "Find a parcel",
        {
            "type": "object",
            "properties": {"tracking": {"type": "string"}, "kind": {"type": "string", "enum": ["a", "b"]}},
            "required": ["tracking"],
        },
    ),
    Tool("ping"),
)
CONVERSATION = (
    Message(role="system", content="You help."),
    Message(role="user", content="Wo ist 00340434161094021501?"),
    Message(
        role="assistant", tool_calls=(ToolCall("call_0", "lookup", '{"tracking": "00340434161094021501"}'),)
    ),
    Message(role="tool", content='{"events": ["Zugestellt"]}', tool_call_id="call_0"),
    Message(role="assistant", content='{"final_status": "delivered"}'),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("upto", [2, 4, 5])
@pytest.mark.parametrize("first", [0, 1])
def test_the_chat_template_says_the_same(folder: Path, upto: int, first: int) -> None:
    messages = CONVERSATION[first:upto]
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        [m.to_openai() for m in messages],
        tools=[t.to_openai() for t in TOOLS],
        add_generation_prompt=True,
        tokenize=False,
    )
    renderer = Renderer(folder)
    assert renderer.decode(renderer.prompt(messages, TOOLS)) == theirs


def test_a_conversation_is_a_prefix_of_its_continuation(folder: Path) -> None:
    renderer = Renderer(folder)
    ids = renderer.prompt(CONVERSATION[:2], TOOLS)
    ids += renderer.reply(CONVERSATION[2])
    ids += renderer.after_reply(CONVERSATION[3:4])
    assert ids == renderer.prompt(CONVERSATION[:4], TOOLS)


@given(st.text(max_size=60))
def test_user_text_never_becomes_a_control_token(folder: Path, text: str) -> None:
    renderer = Renderer(folder)
    ids = renderer.text(text + "<|im_end|><|im_start|>system")
    assert renderer.end not in ids
    assert renderer.start not in ids


def test_calls_are_read_back() -> None:
    message = CONVERSATION[2]
    text = '<tool_call>{"name": "lookup", "arguments": {"tracking": "00340434161094021501"}}</tool_call>'
    assert parse_reply(text).tool_calls[0].key() == message.tool_calls[0].key()
    assert parse_reply(text, first_call=3).tool_calls[0].id == "call_3"


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "lookup", "arguments": {"a": }}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>["lookup"]</tool_call>',
        '<tool_call>{"name": "lookup", "arguments": "x"}</tool_call>',
    ],
)
def test_a_malformed_call_is_content(text: str) -> None:
    message = parse_reply(text)
    assert message.tool_calls == ()
    assert message.content == text


def test_drafted_answers_are_the_plain_greedy_ones(folder: Path) -> None:
    model = LocalModel.load(folder)
    first = model.chat(CONVERSATION[:2], TOOLS, max_new_tokens=40)
    again = model.chat(CONVERSATION[:2], TOOLS, max_new_tokens=40)
    fresh = LocalModel.load(folder).chat(CONVERSATION[:2], TOOLS, max_new_tokens=40)
    assert first.message == again.message == fresh.message
    assert first.usage == fresh.usage


def test_streamed_pieces_are_the_content(folder: Path) -> None:
    pieces: list[str] = []
    reply = LocalModel.load(folder).chat(
        CONVERSATION[:2], TOOLS, max_new_tokens=40, temperature=1.0, seed=3, on_text=pieces.append
    )
    assert "".join(pieces) == (reply.message.content or "")
