"""Whole traces without their people: nothing of those known leaks, what business needs survives, and how much
is found on texts that others labelled."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import shared

from benchmarks import pii, pii_german
from strop.config import Redact
from strop.curate.identities import face
from strop.curate.invent import lexicon, wordings
from strop.curate.leak_check import Sought
from strop.curate.redact import Redactor
from strop.records import Episode, Message, ToolCall, Trace

KEY = b"k" * 32
REDACTOR = Redactor(Redact(), KEY)

ASKS = (
    "Guten Tag, hier ist {name}. Wo ist {tracking}? Bitte an {street}, {town} liefern. {phone}",
    "Hello, my name is {name}, order {order} is missing. Mail me: {email}\n\nRegards,\n{name}",
    "{name} wartet auf {tracking}, Rechnung {invoice}. Rückruf bitte unter {phone}.",
    "Please change the address of {order} to {street}, {town}.\nThanks,\n{name}",
)
ANSWERS = (
    "Guten Tag {name}, die Sendung {tracking} kommt morgen zu {street}.",
    "Dear {name}, we wrote to {email} about {order}.",
    "Hallo, die Sendung {tracking} für {name} ist unterwegs.",
)


def support_trace(number: int, *, in_fields: bool) -> tuple[Trace, dict[str, str], list[str]]:
    """A support case, who is in it, and the identifiers that must survive. Held-out names."""
    rng = random.Random(number)
    n = rng.randrange
    who = {
        "name": f"{rng.choice(pii_german.FIRST)} {rng.choice(pii_german.LAST)}",
        "email": f"kunde{number}.{rng.choice(pii_german.LAST).lower()}@post.example",
        "phone": f"+49 170 {n(10**6, 10**7)}",
        "street": f"{rng.choice(pii_german.STREETS)} {n(1, 99)}",
        "town": f"{n(10000, 99999)} {rng.choice(pii_german.TOWNS)}",
    }
    ids = {
        "tracking": f"0034{n(10**16):016d}",
        "order": f"ORD-{n(10**6):06d}",
        "invoice": f"RE-2026-{n(10**6):06d}",
    }
    every = {**who, **ids}
    call = ToolCall("c", "lookup", json.dumps({"tracking_number": ids["tracking"], "order_id": ids["order"]}))
    result: dict[str, object] = {
        "tracking": ids["tracking"],
        "invoice": ids["invoice"],
        "uuid": f"{n(16**12):012x}",
    }
    if in_fields:
        result["recipient"] = {"name": who["name"], "phone": who["phone"], "street": who["street"]}
        result["note"] = f"Bitte bei {who['name']} klingeln, sonst beim Nachbarn."
    trace = Trace(
        source="s",
        source_id=f"t{number}",
        started_at=0,
        ended_at=1,
        episodes=(
            Episode(
                messages=(
                    Message(role="user", content=rng.choice(ASKS).format(**every)),
                    Message(role="assistant", tool_calls=(call,)),
                    Message(role="tool", content=json.dumps(result), tool_call_id="c"),
                    Message(role="assistant", content=rng.choice(ANSWERS).format(**every)),
                )
            ),
        ),
        identities={"user.name": who["name"], "user.email": who["email"]} if in_fields else {},
    )
    return trace, who, [*ids.values()]


def said(trace: Trace) -> str:
    parts = [m.content or "" for e in trace.episodes for m in e.messages]
    return "\n".join(
        [*parts, *(c.arguments for e in trace.episodes for m in e.messages for c in m.tool_calls)]
    )


@pytest.mark.parametrize("in_fields", [True, False])
def test_people_do_not_leak_and_identifiers_survive(in_fields: bool) -> None:
    leaked = {"name": 0, "email": 0, "phone": 0, "street": 0}
    present = dict.fromkeys(leaked, 0)
    for number in range(100):
        trace, who, ids = support_trace(number, in_fields=in_fields)
        before, after = said(trace), said(REDACTOR.redact(trace)[0])
        assert all((i in after) == (i in before) for i in ids)
        left = Sought(who.values()).found(after.encode())
        for kind in leaked:
            present[kind] += who[kind] in before
            leaked[kind] += who[kind] in left
    assert min(present.values()) > 20
    assert leaked["email"] == leaked["phone"] == 0
    assert leaked["street"] <= (0 if in_fields else 0.05 * present["street"])
    assert leaked["name"] <= (0 if in_fields else 0.05 * present["name"])


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.booleans())
def test_redacting_a_case_twice_changes_nothing_more(number: int, in_fields: bool) -> None:
    once, _ = REDACTOR.redact(support_trace(number, in_fields=in_fields)[0])
    twice, found = REDACTOR.redact(once)
    assert twice == once
    assert found.counts == {}


def test_a_name_that_stands_in_a_sentence_only_is_taken_out_of_fields_and_calls_too() -> None:
    call = ToolCall("c", "find", json.dumps({"query": "Hiltrud Schimmelpfennig", "city": "Uelzen"}))
    clean, found = REDACTOR.redact(
        Trace(
            source="s",
            source_id="1",
            started_at=0,
            ended_at=1,
            episodes=(
                Episode(
                    messages=(
                        Message(role="user", content="Mein Name ist Hiltrud Schimmelpfennig."),
                        Message(role="assistant", tool_calls=(call,)),
                        Message(role="tool", content='{"hit": "SCHIMMELPFENNIG, HILTRUD"}', tool_call_id="c"),
                        Message(role="assistant", content="Guten Tag Hiltrud Schimmelpfennig!"),
                    )
                ),
            ),
        )
    )
    user, asked, _, answer = clean.episodes[0].messages
    assert user.content == "Mein Name ist <PERSON_1>."
    assert json.loads(asked.tool_calls[0].arguments) == {"query": "<PERSON_1>", "city": "Uelzen"}
    assert answer.content == "Guten Tag <PERSON_1>!"
    assert found.counts["PERSON"] >= 3


def test_addresses_in_fields_are_known_everywhere_and_those_of_depots_stay() -> None:
    result = {
        "depot": {"address": "Speicherstadt 7, 20457 Hamburg"},
        "recipient": {"street": "Zeisigweg 4", "zip": "29525", "city": "Uelzen"},
    }
    clean, _ = REDACTOR.redact(
        Trace(
            source="s",
            source_id="1",
            started_at=0,
            ended_at=1,
            episodes=(
                Episode(
                    messages=(
                        Message(role="tool", content=json.dumps(result), tool_call_id="c"),
                        Message(role="assistant", content="Lieferung: zeisigweg  4"),
                    )
                ),
            ),
        )
    )
    tool, answer = clean.episodes[0].messages
    expected = {**result, "recipient": {"street": "<ADDRESS_1>", "zip": "29525", "city": "Uelzen"}}
    assert json.loads(tool.content or "") == expected
    assert answer.content == "Lieferung: <ADDRESS_1>"


def test_the_german_letters_are_held_out() -> None:
    listed = {face(entry) for entries in lexicon().values() for entry in entries}
    for names in (pii_german.FIRST, pii_german.LAST, pii_german.TOWNS):
        assert {face(n) for n in names}.isdisjoint(listed)
    shipped = {line for language in ("de", "en") for line in wordings(language)}
    assert shipped.isdisjoint(pii_german.WORDINGS)


def test_german_letters() -> None:
    same = {kind: kind for kind in pii_german.PERSONAL.values()}
    measured = pii.measure(list(pii_german.texts(5, seed=11)), REDACTOR, same)
    assert measured["recall"]["value"] >= 0.85
    assert measured["precision"]["value"] >= 0.85
    assert measured["by_type"]["BUSINESS"]["taken_out"] == 0


def test_texts_that_others_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STROP_SHARED", str(shared("data").parent))
    texts = pii.english("reported")
    assert len({t.template for t in texts}) > 90
    measured = pii.measure(texts, REDACTOR, pii.COUNTED)
    assert measured["recall"]["value"] >= 0.90
    assert measured["precision"]["value"] >= 0.85
