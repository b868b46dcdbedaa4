from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from strop.config import Redact
from strop.curate.redact import Redactor
from strop.curate.surrogates import fill, fill_text, surrogate
from strop.records import Episode, Message, ToolCall, Trace

KINDS = st.sampled_from(["PERSON", "EMAIL", "PHONE", "IBAN", "CARD", "IP", "MAC", "TAX_ID", "VAT_ID", "SSN"])


def test_one_placeholder_is_one_person_in_text_calls_and_results() -> None:
    filled = fill(
        (
            Message(role="user", content="Ich bin <PERSON_1>, <EMAIL_1>; <PERSON_2> auch"),
            Message(role="assistant", tool_calls=(ToolCall("c", "f", '{"name": "<PERSON_1>"}'),)),
        ),
        seed=7,
    )
    name = json.loads(filled[1].tool_calls[0].arguments)["name"]
    assert (filled[0].content or "").startswith(f"Ich bin {name}, {name.replace(' ', '.').lower()}@example.")
    assert "<" not in (filled[0].content or "")


def test_the_seed_decides() -> None:
    text = "<PERSON_1> <PHONE_1> <PERSON_2> <EMAIL_3>"
    assert fill_text(text, 1) == fill_text(text, 1)
    assert len({fill_text(text, seed) for seed in range(20)}) > 15


@given(KINDS, st.integers(1, 50), st.integers(0, 10**6))
def test_redaction_finds_surrogates_again(kind: str, number: int, seed: int) -> None:
    value = surrogate(kind, number, seed)
    known = {"user.name": value} if kind == "PERSON" else {}
    episode = Episode(messages=(Message(role="user", content=f"x {value} y"),))
    trace = Trace(source="s", source_id="1", episodes=(episode,), started_at=0, ended_at=0, identities=known)
    clean, _ = Redactor(Redact(), b"k" * 32).redact(trace)
    assert clean.episodes[0].messages[0].content == f"x <{kind}_1> y"
