"""A run that Weave's own client traced, and feedback of every kind with the scores that it is."""

from __future__ import annotations

import json
from typing import Any

from sources.traced_run import RESULT, TRACKING, Row
from sources.weave_store import call

from strop.records import Score

AT = "2026-11-23T07:51:44.{:06d}Z"


def native() -> list[Row]:
    """A run that Weave's own client traced: an agent's op, OpenAI's client, a tool's op."""
    asked = [
        {"role": "system", "content": "You support."},
        {"role": "user", "content": f"Where is {TRACKING}?"},
    ]
    tools = [{"type": "function", "function": {"name": "get_order", "parameters": {"type": "object"}}}]
    called = {"name": "get_order", "arguments": json.dumps({"order_id": "A-1001"})}
    turn = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_1", "type": "function", "function": called},
    ]}  # fmt: skip
    result = {"role": "tool", "tool_call_id": "call_1", "content": json.dumps(RESULT)}
    said = {"role": "assistant", "content": "On its way."}
    op = "weave:///acme/agent/op/{}:abc"
    chat = op.format("openai.chat.completions.create")
    unknown = (
        "prompt_token_cost",
        "completion_token_cost",
        "prompt_token_cost_unit",
        "completion_token_cost_unit",
        "effective_date",
        "provider_id",
        "pricing_level",
        "pricing_level_id",
        "created_at",
        "created_by",
    )
    cost = {"prompt_tokens_total_cost": 0.25, "completion_tokens_total_cost": 0.5, "requests": 1}
    costs = {"m": {**dict.fromkeys(unknown), **cost}}

    def completion(answer: Row, tokens: int) -> Row:
        usage = {"prompt_tokens": tokens, "completion_tokens": 20}
        return {"model": "m-2026", "choices": [{"index": 0, "message": answer}], "usage": usage}

    one = {
        "trace_id": "t1",
        "thread_id": "th1",
        "attributes": {"tenant": {"id": "acme"}, "weave": {"os": "x"}},
    }
    priced = {"usage": {}, "weave": {"costs": costs}}
    return [
        {**call("c1", "t1", op.format("support"), AT.format(0), AT.format(900)), **one,
         "inputs": {"q": "hi"}, "output": "On its way."},
        {**call("c2", "t1", chat, AT.format(10), AT.format(400)), **one, "parent_id": "c1", "summary": priced,
         "inputs": {"model": "m", "messages": asked, "tools": tools}, "output": completion(turn, 120)},
        {**call("c3", "t1", op.format("get_order"), AT.format(410), AT.format(500)), **one, "parent_id": "c1",
         "inputs": {"order_id": "A-1001"}, "output": RESULT},
        {**call("c4", "t1", chat, AT.format(510), AT.format(890)), **one, "parent_id": "c1",
         "inputs": {"model": "m", "messages": [*asked, turn, result], "tools": tools},
         "output": completion(said, 170)},
    ]  # fmt: skip


def feedback(kind: str, payload: Row, **more: Any) -> Row:
    item = {"id": f"f-{kind}-{len(str(payload))}", "feedback_type": kind, "payload": payload, "creator": None,
            "weave_ref": "weave:///acme/agent/call/c1", "created_at": AT.format(0)}  # fmt: skip
    return {**item, **more}


GIVEN = [
    feedback("wandb.reaction.1", {"emoji": "👍", "alias": ":thumbs_up:", "detoned_alias": ":thumbs_up:"}),
    feedback("wandb.reaction.1", {"emoji": "🎉", "alias": ":party_popper:"}, creator="Erika"),
    feedback("wandb.note.1", {"note": "wrong carrier"}),
    feedback("wandb.annotation.correct", {"value": False}),
    feedback("wandb.runnable.quality", {"output": {"score": 3, "passed": True, "why": "short"}}),
    feedback("rating", {"stars": 4}),
    feedback("wandb.agent_monitor", {}, scorer_tags=["nsfw"], scorer_tag_reasons={"nsfw": "no"},
             scorer_ratings={"_rating_": 0.25}),
]  # fmt: skip
SCORES = [
    Score("reaction", True),
    Score("reaction", "party_popper", "end_user"),
    Score("note", "wrong carrier"),
    Score("correct", False),
    Score("quality.score", 3.0, "code"),
    Score("quality.passed", True, "code"),
    Score("quality.why", "short", "code"),
    Score("rating.stars", 4.0),
    Score("nsfw", True, "code", "no"),
    Score("rating", 0.25, "code"),
]
