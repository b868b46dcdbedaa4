"""Redaction: people go, business identifiers stay, JSON stays JSON, twice is once."""

from __future__ import annotations

import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strop.config import Redact
from strop.curate.redact import Redactor
from strop.errors import ConfigError
from strop.records import Episode, Message, Score, ToolCall, Trace

REDACTOR = Redactor(Redact(), b"k" * 32)


def trace(*messages: Message, **extra: Any) -> Trace:
    fields: dict[str, Any] = {"source": "s", "source_id": "t1", "started_at": 0, "ended_at": 1, **extra}
    return Trace(episodes=(Episode(messages=messages),), **fields)


def said(text: str, **extra: Any) -> str:
    clean, _ = REDACTOR.redact(trace(Message(role="user", content=text), **extra))
    return clean.episodes[0].messages[0].content or ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail erika.muster+x@mail.example.de now", "mail <EMAIL_1> now"),
        ("a@b.de, c@d.de, A@B.de", "<EMAIL_1>, <EMAIL_2>, <EMAIL_1>"),
        ("call +49 170 1234567", "call <PHONE_1>"),
        ("call +49 (0) 30 123456-78.", "call <PHONE_1>."),
        ("0170/1234567", "<PHONE_1>"),
        ("01701234567", "<PHONE_1>"),
        ("(030) 1234567", "<PHONE_1>"),
        ("030 123 45 67", "<PHONE_1>"),
        ("0049 30 1234567", "<PHONE_1>"),
        ("+44 20 7946 0958", "<PHONE_1>"),
        ("07700 900123", "<PHONE_1>"),
        ("(555) 123-4567", "<PHONE_1>"),
        ("212-555-0187", "<PHONE_1>"),
        ("Tel.: 8731234", "Tel.: <PHONE_1>"),
        ("DE89 3704 0044 0532 0130 00 BITTE", "<IBAN_1> BITTE"),
        ("GB82WEST12345698765432", "<IBAN_1>"),
        ("4111 1111 1111 1111", "<CARD_1>"),
        ("0170.123.4567", "<PHONE_1>"),
        ("0170 \u2013 1234567", "<PHONE_1>"),
        ("+49\xa0170\xa01234567", "<PHONE_1>"),
        ("00491701234567", "<PHONE_1>"),
        ("o'brien@example.com, 'hans@example.com'", "<EMAIL_1>, '<EMAIL_2>'"),
        (
            "j\u00f6rg@m\u00fcller.example an \u043f\u043e\u0447\u0442\u0430@\u044f.\u0440\u0444",
            "<EMAIL_1> an <EMAIL_2>",
        ),
        ("VOGT_156@EXAMPLE.DE", "<EMAIL_1>"),
        ("?id=17&email=erika%2Bx%40mail.example&n=1", "?id=17&email=<EMAIL_1>&n=1"),
        ("?email=erika%252Bx%2540mail.example", "?email=<EMAIL_1>"),
        ("a%20b%2Fc%40mail.example", "a%20b/<EMAIL_1>"),
        ("from 192.168.1.4", "from <IP_1>"),
        ("from 2001:db8::8a2e:370:7334", "from <IP_1>"),
    ],
)
def test_personal_data_is_recognised(text: str, expected: str) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "00340434161094042557",
        "0034 0434 1610 9404 2557",
        "JJD000390007912345678",
        "1Z999AA10123456784",
        "01505012345678",
        "RR123456785DE",
        "H1000730000870501041",
        "order 0815-4711-22",
        "Bestellung Nr. 0171 1234567",
        "invoice 2026-000123",
        "2026-11-23T06:32:05.643431+00:00",
        "DE12 3456 7890 1234 5678 90",
        "4111 1111 1111 1112",
        "EAN 4006381333931",
        "6ec1e0a4a009fc427bd192c2d3c03a08",
        "123e4567-e89b-12d3-a456-426614174000",
        "12:30:45 999.999.1.1 v1.2.3",
        "3.5 kg, 120 x 60 x 40, 17,50 EUR",
    ],
)
def test_business_identifiers_survive(text: str) -> None:
    assert said(text) == text


def letters(alphabet: str, low: int, high: int | None = None) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=low, max_size=high or low)


CARRIER_NUMBERS = st.one_of(
    letters(string.digits, 20),
    letters(string.digits, 18),
    letters(string.digits, 14),
    letters(string.digits, 16).map(lambda d: "JJD" + d),
    letters(string.digits + string.ascii_uppercase, 16).map(lambda d: "1Z" + d),
    letters(string.digits, 9).map(lambda d: f"RR{d}DE"),
    letters(string.digits, 19).map(lambda d: "H" + d),
)


@given(CARRIER_NUMBERS)
def test_tracking_numbers_survive_wherever_they_stand(number: str) -> None:
    call = ToolCall("c", "lookup_tracking", json.dumps({"tracking_number": number}))
    result = json.dumps({"tracking": number, "recipient": {"name": "Erika Mustermann"}})
    clean, _ = REDACTOR.redact(
        trace(
            Message(role="user", content=f"Wo ist {number}? Erika Mustermann, 0170/1234567"),
            Message(role="assistant", tool_calls=(call,)),
            Message(role="tool", content=result, tool_call_id="c"),
        )
    )
    messages = clean.episodes[0].messages
    assert messages[0].content == f"Wo ist {number}? <PERSON_1>, <PHONE_1>"
    assert messages[1].tool_calls == (call,)
    assert json.loads(messages[2].content or "") == {"tracking": number, "recipient": {"name": "<PERSON_1>"}}


def test_values_of_id_like_arguments_and_tenant_patterns_survive() -> None:
    odd = "0171-1234567"
    call = ToolCall("c", "find", json.dumps({"order_id": odd}))
    clean, _ = REDACTOR.redact(
        trace(
            Message(role="user", content=f"{odd} or 0171-7654321"),
            Message(role="assistant", tool_calls=(call,)),
        )
    )
    assert clean.episodes[0].messages[0].content == f"{odd} or <PHONE_1>"
    tenant = Redactor(Redact(protect=(r"\b0171-\d{7}\b",)), b"k" * 32)
    kept, _ = tenant.redact(trace(Message(role="user", content="0171-7654321")))
    assert kept.episodes[0].messages[0].content == "0171-7654321"
    known, _ = tenant.redact(
        trace(Message(role="user", content="0171-7654321"), identities={"user.phone": "0171-7654321"})
    )
    assert known.episodes[0].messages[0].content == "<PHONE_1>"


def test_identities_are_replaced_in_every_spelling() -> None:
    people = {"user.name": "Jürgen Müller-Lüdenscheidt", "user.phone": "+49 170 1234567", "user.id": "17"}
    text = (
        "Ich bin Jürgen Müller-Lüdenscheidt, JUERGEN MUELLER-LUEDENSCHEIDT, juergen.mueller-luedenscheidt. "
        "Herr Müller, Müllers Paket, Jürgen; 0170 1234567, 00491701234567. 17 Pakete."
    )
    assert said(text, identities=people) == (
        "Ich bin <PERSON_1>, <PERSON_1>, <PERSON_1>. "
        "Herr <PERSON_1>, <PERSON_1>s Paket, <PERSON_1>; <PHONE_1>, <PHONE_1>. 17 Pakete."
    )


def test_a_known_name_is_case_sensitive_alone_and_bounded() -> None:
    people = {"user.name": "Tom Lang"}
    assert said("Lang dauert es lang, Langenfeld, Tom", identities=people) == (
        "<PERSON_1> dauert es lang, Langenfeld, <PERSON_1>"
    )


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        # Turkish knows an i without a dot: it is the I of a text in capitals, and what others write for it.
        ("Pablo Y\u0131lmaz", "PABLO YILMAZ, Pablo Yilmaz", "<PERSON_1>, <PERSON_1>"),
        ("OTTMAR GROSSMANN", "Ottmar Gro\u00dfmann, Herr Gro\u00dfmann", "<PERSON_1>, Herr <PERSON_1>"),
        ("HANS MUELLER", "Hans M\u00fcller / Ottmar", "<PERSON_1> / Ottmar"),
        ("Hans M\u00fcller", "Herr MUELLER", "Herr <PERSON_1>"),
        ("Hans M\u00fcller", "name=Hans+M%C3%BCller&x=Hans%20M%C3%BCller", "name=<PERSON_1>&x=<PERSON_1>"),
        ("Hans Krahwinkel", "name=Hans+Krahwinkel", "name=<PERSON_1>"),
    ],
)
def test_capitals_umlauts_and_urls_hide_no_known_name(name: str, text: str, expected: str) -> None:
    assert said(text, identities={"user.name": name}) == expected


def test_keys_count_in_any_spelling_and_lines_of_an_address_do() -> None:
    result = {
        "Recipient": {"firstName": "Hiltrud", "last_name": "Quandt", "phoneNumber": "7123456"},
        "shippingAddress": {"line1": "Zeisigweg 4", "city": "Uelzen"},
        "EMPFÄNGER": {"Straße": "Zeisigweg 4"},
        "depot": {"line1": "Hafen 1", "name": "Nord"},
        "lines": [{"line1": "Seife 3"}],
    }
    clean, _ = REDACTOR.redact(trace(Message(role="tool", content=json.dumps(result), tool_call_id="c")))
    assert json.loads(clean.episodes[0].messages[0].content or "") == {
        **result,
        "Recipient": {"firstName": "<PERSON_1>", "last_name": "<PERSON_2>", "phoneNumber": "<PHONE_1>"},
        "shippingAddress": {"line1": "<ADDRESS_1>", "city": "Uelzen"},
        "EMPFÄNGER": {"Straße": "<ADDRESS_1>"},
    }


def test_an_email_goes_though_an_orders_number_stands_in_it() -> None:
    call = ToolCall("c", "find", json.dumps({"order_id": "12345"}))
    clean, _ = REDACTOR.redact(
        trace(
            Message(role="assistant", tool_calls=(call,)),
            Message(role="user", content="order 12345 of kunde.12345@mail.example"),
        )
    )
    assert clean.episodes[0].messages[1].content == "order 12345 of <EMAIL_1>"


def test_the_word_before_an_identifier_is_no_address() -> None:
    text = "Auftrag 01708359024 Trace de1b372ad3fbf47a7e5b1e7f9ca5499d b5d32b16-d329-4c8f-aab0-004aa0116be5"
    assert said(text) == text


def test_a_name_in_capitals_goes_whole() -> None:
    text = "Hallo, hier schreibt KRAHWINKEL, URSULA. Meine Bestellung fehlt."
    assert said(text) == "Hallo, hier schreibt <PERSON_1>. Meine Bestellung fehlt."


@pytest.mark.parametrize("pattern", [r"ORD-(\d+)+x", r"(a|aa)+$", r"\d*\d*\d*\d*x"])
def test_a_pattern_that_takes_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="for ever"):
        Redactor(Redact(protect=(pattern,)), b"k" * 32)


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "(?P<a>", "[z-a]"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="no regular expression"):
        Redactor(Redact(protect=(pattern,)), b"k" * 32)


def test_common_patterns_are_taken() -> None:
    patterns = (r"\b([A-Z]+-)*\d+\b", r"(?:ABC|DEF)-[0-9]+(?:-[0-9]+)*", r"(?P<a>\d+)-(?P=a)*", r"x(?=y+)z*")
    Redactor(Redact(protect=patterns), b"k" * 32)


def test_names_in_results_are_found_by_key_and_things_keep_theirs() -> None:
    result = (
        '{"carrier": {"name": "DHL"}, "depot": {"name": "Hamburg Altona"}, "eta": 1.10,'
        ' "id": 12345678901234567890123, "recipient": {"name": "Erika M\\u00fcller", "phone": 491701234567},'
        ' "events": [{"note": "Frau M\\u00fcller da"}]}'
    )
    clean, found = REDACTOR.redact(
        trace(
            Message(role="tool", content=result, tool_call_id="c"),
            Message(role="assistant", content='{"message": "Guten Tag Frau Müller, 0170 1234567"}'),
        )
    )
    assert clean.episodes[0].messages[0].content == (
        '{"carrier": {"name": "DHL"}, "depot": {"name": "Hamburg Altona"}, "eta": 1.10,'
        ' "id": 12345678901234567890123, "recipient": {"name": "<PERSON_1>", "phone": "<PHONE_1>"},'
        ' "events": [{"note": "Frau <PERSON_1> da"}]}'
    )
    assert clean.episodes[0].messages[1].content == '{"message": "Guten Tag Frau <PERSON_1>, <PHONE_1>"}'
    assert found.counts == {"PERSON": 3, "PHONE": 2}


def test_the_name_of_a_function_is_nobodys() -> None:
    spoken = '{"functionCall": {"name": "get_weather", "args": {"contact": {"name": "Erika M"}}}}'
    declared = '{"functionDeclarations": [{"name": "get_weather"}], "tools": [{"name": "Find Order"}]}'
    clean, _ = REDACTOR.redact(trace(Message("tool", spoken, tool_call_id="c"), Message("user", declared)))
    assert clean.episodes[0].messages[0].content == spoken.replace("Erika M", "<PERSON_1>")
    assert clean.episodes[0].messages[1].content == declared


def test_everything_beside_the_messages_is_redacted_too() -> None:
    clean, found = REDACTOR.redact(
        trace(
            Message(role="user", content="hi"),
            identities={"user.name": "Erika Mustermann"},
            attributes={
                "user.plan": "gold",
                "contact": "Hans Wurst",
                "note": {"a": ["Mustermann"]},
                "lane": "air",
            },
            error="failed for erika@example.de",
            problems=("Mustermann",),
            tags=("erika@example.de",),
            scores=(Score("ok", True, comment="Frau Mustermann"), Score("who", "Erika Mustermann")),
        )
    )
    text = msgspec.json.encode(clean).decode()
    assert not any(name in text for name in ("Mustermann", "erika", "Wurst", "gold"))
    assert clean.attributes == {"note": {"a": ["<PERSON_1>"]}, "lane": "air"}
    assert clean.identities == {}
    assert found.counts["ATTRIBUTE"] == 2


def test_ids_that_are_addresses_become_stable_pseudonyms() -> None:
    first, _ = REDACTOR.redact(trace(customer="erika@example.de", session_id="s1"))
    second, _ = REDACTOR.redact(trace(customer="erika@example.de"))
    other, _ = REDACTOR.redact(trace(customer="hans@example.de"))
    assert first.customer == second.customer != other.customer
    assert first.session_id == "s1"
    assert "@" not in (first.customer or "")
    salted, _ = Redactor(Redact(), b"other" * 8).redact(trace(customer="erika@example.de"))
    assert salted.customer != first.customer
    assert (salted.customer or "").startswith("customer-")


def test_hmacs_find_an_identity_again() -> None:
    _, found = REDACTOR.redact(trace(Message(role="user", content="erika@example.de, 0170 1234567")))
    assert ("EMAIL", REDACTOR.identity_hmac("EMAIL", "Erika@Example.de")) in found.hmacs
    assert ("PHONE", REDACTOR.identity_hmac("PHONE", "+49 170 1234567")) in found.hmacs
    assert (
        Redactor(Redact(), b"other" * 8).identity_hmac("EMAIL", "erika@example.de")
        not in dict(found.hmacs).values()
    )


NAMES = st.sampled_from(["Erika Mustermann", "Jürgen Groß", "Anne-Marie O'Neill", "Ben Adams"])
PIECES = st.one_of(
    NAMES,
    st.sampled_from(
        ["erika@example.de", "0170/1234567", "DE89370400440532013000", "<PERSON_1>", '"', "\\", "{", "\n"]
    ),
    CARRIER_NUMBERS,
    st.text(max_size=12),
)
TEXTS = st.lists(PIECES, max_size=6).map(" ".join)
LEAVES = st.one_of(TEXTS, st.integers(), st.booleans(), st.none())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=3) | st.lists(inner, max_size=3),
)


def shape(value: Any) -> Any:
    """A JSON value with its strings blanked."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value]
    return "" if isinstance(value, str) else value


@given(
    name=NAMES, text=TEXTS, result=VALUES, arguments=st.dictionaries(st.text(max_size=8), VALUES, max_size=3)
)
def test_structure_survives_and_twice_is_once(
    name: str, text: str, result: Any, arguments: dict[str, Any]
) -> None:
    payload = {"recipient": {"name": name}, "data": result}
    once, _ = REDACTOR.redact(
        trace(
            Message(role="user", content=text),
            Message(role="assistant", tool_calls=(ToolCall("c", "f", json.dumps(arguments)),)),
            Message(role="tool", content=json.dumps(payload), tool_call_id="c"),
            Message(role="assistant", content=f"{name}: {text}"),
            identities={"user.name": name},
        )
    )
    user, call, tool, answer = once.episodes[0].messages
    assert shape(json.loads(tool.content or "")) == shape(payload)
    assert shape(json.loads(call.tool_calls[0].arguments)) == shape(arguments)
    placeholder = json.loads(tool.content or "")["recipient"]["name"]
    assert placeholder.startswith("<PERSON_")
    assert (answer.content or "").startswith(placeholder)
    assert name not in (user.content or "")
    twice, _ = REDACTOR.redact(once)
    assert twice == once
