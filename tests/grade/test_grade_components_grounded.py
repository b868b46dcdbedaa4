"""Whether answers name only what was said to them, and in which language they do."""

from __future__ import annotations

import json
import random
import re

import pytest
from conversations import Made, conversation, run, value
from hypothesis import given
from hypothesis import strategies as st
from shared import shared

from strop.grade.components import grounded, language
from strop.grade.components.language import LANGUAGES, language_of
from strop.records import JsonObject

RESULT = json.dumps(
    {
        "tracking": "00340434161094042557",
        "reservation": "Z7GOZK",
        "payments": {"credit_card_4421486": {"last_four": "7447"}},
        "price": 1234.5,
        "fee": "2.000,00 EUR",
        "departs": "2024-05-20T18:05:00",
        "flight": "HAT-136",
        "note": "gate\n42",
    }
)


def said(final: str, result: str = RESULT) -> JsonObject:
    return conversation([Made("look", {}, result)], final)


@pytest.mark.parametrize(
    "token",
    [
        "00340434161094042557",
        "0034 0434 1610 9404 2557",
        "00340434-161094042557",
        "z7gozk",
        "credit_card_4421486",
        "credit card 4421486",
        "7447",
        "1,234.50",
        "1.234,5 EUR",
        "$1234.50",
        "2000",
        "2,000",
        "2024-05-20",
        "20.05.2024",
        "5/20/2024",
        "05-20",
        "20.05.",
        "May 20th",
        "18:05",
        "6:05 PM",
        "6:05pm",
        "HAT136",
        "HAT-136",
        "(Z7GOZK)",
        "**Z7GOZK**",
        "Z7GOZK's",
        "42",
        "１２３４.５",
    ],
)
def test_what_a_tool_said_is_grounded(token: str) -> None:
    assert value(grounded(), said(f"It is {token}.")) == 1.0


@pytest.mark.parametrize(
    "token",
    [
        "00340434161094042558",
        "0340434161094042557",
        "0034 0434 1610 9404 2558",
        "Z7GOZ0",
        "credit_card_4421487",
        "7448",
        "1,234.51",
        "12345",
        "123450",
        "2001",
        "2023-05-20",
        "20.06.2024",
        "05-21",
        "18:06",
        "6:05 AM",
        "HAT137",
        "1360",
    ],
)
def test_what_nobody_said_is_not(token: str) -> None:
    assert value(grounded(), said(f"It is {token}.")) == 0.0


def test_the_share_counts_and_feedback_names_the_rest() -> None:
    scored = run(grounded(), said("Z7GOZK costs 1234.5, not 99, by 2024-05-20"))
    assert scored.score == 0.75
    assert scored.feedback == "the final answer names what no tool or user said: '99'"


def test_sources_are_tools_and_users_and_not_the_agent_itself() -> None:
    rollout = conversation([Made("look", {"id": "ABC123"}, "ok")], "It is ABC123.")
    assert value(grounded(), rollout) == 0.0
    rollout["messages"][1]["content"] = [{"type": "text", "text": "where is abc-123?"}]
    assert value(grounded(), rollout) == 1.0
    rollout["messages"][1]["content"], rollout["messages"][0]["content"] = None, "ABC123 is open"
    assert value(grounded(), rollout) == 0.0
    assert value(grounded(system=True), rollout) == 1.0


def test_list_marks_and_single_digits_are_left_out() -> None:
    assert value(grounded(), said("1. One bag\n2) 3 bags\n 10. Ten bags")) == 1.0
    assert value(grounded(digits=1), said("3 bags")) == 0.0
    assert value(grounded(), said("13 bags")) == 0.0
    assert value(grounded(), said("Nothing to name.")) == 1.0


def test_fields_of_any_shape_are_read() -> None:
    rollout = said("{}")
    for given_, expected in (
        ({"ids": ["Z7GOZK", {"price": 1234.5}]}, 1.0),
        ([99, "Z7GOZK"], 0.5),
        (1234.5, 1.0),
        (10**5000, 0.0),
        (True, 1.0),
        (None, 0.0),
        ("", 0.0),
    ):
        assert value(grounded("x"), {**rollout, "x": given_}) == expected
    assert value(grounded(), conversation([Made("look", {}, RESULT)], None)) == 0.0


@given(st.lists(st.from_regex(r"[A-Z]{2}[0-9]{4}", fullmatch=True), min_size=1, max_size=5))
def test_a_copied_id_is_grounded_and_a_changed_one_is_not(ids: list[str]) -> None:
    result = json.dumps([{"id": one} for one in ids])
    assert value(grounded(), said(", ".join(ids), result)) == 1.0
    wrong = [one[::-1] for one in ids]
    assert value(grounded(), said(", ".join(wrong), result)) == 0.0


def test_on_recorded_conversations() -> None:
    """Recorded airline answers are mostly grounded; with one digit of one id changed, nearly none is."""
    trials = json.loads(shared("data/tau_airline_gpt4o/trials_0_1.json").read_text())
    component, rng = grounded(system=True), random.Random(7)
    recorded: list[float] = []
    noticed: list[bool] = []
    for trial in trials[::2]:
        for i, message in enumerate(trial["traj"]):
            if message["role"] != "assistant" or not message["content"] or message.get("tool_calls"):
                continue
            before = trial["traj"][:i]
            recorded.append(value(component, {"messages": [*before, message]}))
            if recorded[-1] < 1.0:
                continue
            for token in dict.fromkeys(
                re.findall(r"\b(?:[A-Z0-9]{6}|[a-z_]+_[0-9]{7})\b", message["content"])
            ):
                last = max((k for k, c in enumerate(token) if c.isdigit()), default=None)
                if last is None:
                    continue
                other = str((int(token[last]) + rng.randint(1, 9)) % 10)
                content = message["content"].replace(token, token[:last] + other + token[last + 1 :])
                changed = {"role": "assistant", "content": content}
                noticed.append(value(component, {"messages": [*before, changed]}) < 1.0)
    full = sum(score == 1.0 for score in recorded) / len(recorded)
    print(
        f"recorded turns: n = {len(recorded)}, fully grounded {full:.1%}; "
        f"one digit of an id changed: n = {len(noticed)}, noticed {sum(noticed) / len(noticed):.1%}"
    )
    assert full > 0.85
    assert len(noticed) > 100 and sum(noticed) >= 0.99 * len(noticed)


TEXTS = {
    "de": [
        "Guten Tag, Ihre Sendung wurde heute zugestellt.",
        "Leider ist das Paket noch nicht bei uns angekommen.",
        "Wo ist meine Bestellung und wann kommt sie an?",
    ],
    "en": [
        "Hello, your parcel was delivered today.",
        "Unfortunately the shipment has not arrived yet.",
        "Where is my order and when will it arrive?",
    ],
    "fr": [
        "Bonjour, votre colis a été livré aujourd'hui.",
        "Malheureusement, la commande n'est pas encore arrivée chez nous.",
        "Où est ma commande et quand sera-t-elle livrée ?",
    ],
    "es": [
        "Hola, su paquete ya está en camino y será entregado hoy.",
        "El envío no ha llegado todavía, lo sentimos mucho.",
        "¿Dónde está mi pedido y cuándo llega a la oficina?",
    ],
    "it": [
        "Buongiorno, il suo pacco è stato consegnato oggi.",
        "Purtroppo la spedizione non è ancora arrivata.",
        "Dove è il mio ordine e quando arriva da noi?",
    ],
    "nl": [
        "Hallo, uw pakket is vandaag bezorgd.",
        "Helaas is de zending nog niet aangekomen.",
        "Waar is mijn bestelling en wanneer komt het aan?",
    ],
}


def test_languages_are_told_apart() -> None:
    assert set(TEXTS) == set(LANGUAGES)
    for code, texts in TEXTS.items():
        for text in texts:
            assert language_of(text) == code, text
            for wanted in LANGUAGES:
                expected = float(wanted == code)
                assert value(language("x", expected=wanted), {"x": text}) == expected
                assert value(language("x", truth="l"), {"x": text}, {"l": f"{wanted}-XX"}) == expected


def test_the_users_language_is_expected_by_default() -> None:
    for asked, texts in TEXTS.items():
        for answered in TEXTS:
            rollout = conversation([], TEXTS[answered][0])
            rollout["messages"][1]["content"] = texts[-1]
            assert value(language(), rollout) == float(asked == answered)


def test_what_is_too_short_to_tell_has_full_credit_and_says_so() -> None:
    for text in ("OK", "Zugestellt.", "DHL 123", "die in"):
        scored = run(language("x", expected="de"), {"x": text})
        assert scored.score == 1.0 and "can't be told" in scored.feedback
    rollout = conversation([], TEXTS["fr"][0])
    rollout["messages"][1]["content"] = "DHL 123?"
    assert "no language is expected" in run(language(), rollout).feedback
    for given_ in (None, "", " ", 5, ["Bonjour"]):
        assert value(language("x", expected="fr"), {"x": given_}) == 0.0


def test_an_unknown_language_of_the_truth_is_an_error() -> None:
    for truth in ("tlh", 5, ["de"]):
        with pytest.raises(ValueError, match="languages known here"):
            language("x", truth="l")({"x": "Hallo"}, {"l": truth})


def test_recorded_english_is_never_taken_for_another_language() -> None:
    trials = json.loads(shared("data/tau_airline_gpt4o/trials_0_1.json").read_text())
    found = [
        language_of(m["content"])
        for trial in trials
        for m in trial["traj"]
        if m["role"] in ("user", "assistant") and m["content"]
    ]
    told = sum(code is not None for code in found) / len(found)
    print(f"recorded English turns: n = {len(found)}, told {told:.1%}, as another language 0")
    assert set(found) <= {"en", None}
    assert told > 0.95
