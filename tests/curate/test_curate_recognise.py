"""What is personal by its form, what is a business identifier by its form, and the check digits between."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.config import Redact
from strop.curate import checks
from strop.curate.redact import Redactor


class Nobody:
    def find(self, texts: Sequence[str]) -> list[list[tuple[int, int, str]]]:
        return [[] for _ in texts]


FORMAL = Redactor(Redact(), b"k" * 32, names=Nobody())
ALL = Redactor(Redact(), b"k" * 32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Steuer-ID 86095742719", "Steuer-ID <TAX_ID_1>"),
        ("Meine IdNr. lautet 86 095 742 719.", "Meine IdNr. lautet <TAX_ID_1>."),
        ("86 095 742 719", "<TAX_ID_1>"),
        ("Steuernummer: 133/8150/8159", "Steuernummer: <TAX_ID_1>"),
        ("USt-IdNr. DE136695976", "USt-IdNr. <VAT_ID_1>"),
        ("DE 136 695 976", "<VAT_ID_1>"),
        ("VAT number GB 123 4567 89", "VAT number <VAT_ID_1>"),
        ("65 170839 J 003", "<SSN_1>"),
        ("SV-Nr. 15070649C103", "SV-Nr. <SSN_1>"),
        ("My SSN is 123-45-6789", "My SSN is <SSN_1>"),
        ("His social security number is 846-15-5715", "His social security number is <SSN_1>"),
        ("My driver's license number is F162823540116", "My driver's license number is <DOCUMENT_1>"),
        ("Reisepass C01X00T47", "Reisepass <DOCUMENT_1>"),
        ("geboren am 01.02.1980 in Bonn", "geboren am <BIRTHDATE_1> in Bonn"),
        ("Date of birth: 1980-02-01", "Date of birth: <BIRTHDATE_1>"),
        ("00:1A:2b:3C:4d:5E", "<MAC_1>"),
        ("ZIP: 75534-030", "ZIP: <ADDRESS_1>"),
        ("PLZ 10115", "PLZ <ADDRESS_1>"),
        ("gb33bukb20201555555555", "<IBAN_1>"),
        ("my card 4222222222222 is lost", "my card <CARD_1> is lost"),
        ("Karte 36148900647913", "Karte <CARD_1>"),
        ("call me at 9498777106", "call me at <PHONE_1>"),
        ("no more messages to 699 956 915", "no more messages to <PHONE_1>"),
        ("Phone:\n467 3395", "Phone:\n<PHONE_1>"),
        ("Fax: 345-899-3560x4587", "Fax: <PHONE_1>"),
        ("erreichbar unter 8731 2234", "erreichbar unter <PHONE_1>"),
        ("03.93.92.16.85", "<PHONE_1>"),
        ("(99) 645-791", "<PHONE_1>"),
    ],
)
def test_what_is_personal_by_its_form(text: str, expected: str) -> None:
    assert FORMAL.scrub(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Steuerberater seit 1998",
        "86 195 742 718",
        "DE136695977",
        "65 170839 J 004",
        "123-45-6789",
        "Lieferung am 01.02.2026",
        "GLS 01712345678",
        "4222222222222",
        "Bestellung 4111111111111111",
        "call me about 34012345678",
        "the number 2 of 3456",
        "call us on 23.11.2026 at 10:30",
        "Artikel 03.93.92.16.85",
        "ZIP file 2026",
        "00:1A:2B:3C:4D",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert FORMAL.scrub(text) == text


def digits_of(count: int) -> st.SearchStrategy[str]:
    return st.text(string.digits, min_size=count, max_size=count)


@pytest.mark.parametrize(
    ("valid", "length", "lead"),
    [(checks.luhn, 15, ""), (checks.gs1, 12, ""), (checks.s10, 8, ""), (checks.ust_id, 8, "1")],
)
@given(body=digits_of(15))
def test_exactly_one_last_digit_is_right(
    valid: Callable[[str], bool], length: int, lead: str, body: str
) -> None:
    number = (lead + body)[:length]
    assert sum(valid(number + d) for d in string.digits) == 1


@given(st.permutations("123456789"), st.integers(0, 8), st.sampled_from(string.digits))
def test_a_tax_id_has_one_right_last_digit(order: list[str], at: int, twice: str) -> None:
    body = "".join(order)
    body = body[: at + 1] + body[at] + body[at + 1 :]
    assert sum(checks.steuer_id(body + d) for d in string.digits) == 1
    assert not checks.steuer_id("0" + body)
    assert not checks.steuer_id("1234567890" + twice)  # none of the first ten comes twice


@given(digits_of(8), st.sampled_from(string.ascii_uppercase), digits_of(2))
def test_a_pension_number_has_one_right_last_digit(head: str, letter: str, serial: str) -> None:
    assert sum(checks.pension_number(head + letter + serial + d) for d in string.digits) == 1


def test_numbers_that_were_never_given_out() -> None:
    assert checks.us_ssn("123456789")
    assert not any(
        checks.us_ssn(n) for n in ("000456789", "666456789", "900456789", "123006789", "123450000")
    )


HEX = "0123456789abcdef"


def of(alphabet: str, count: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=count, max_size=count)


def with_check(number: str) -> str:
    return next(number + d for d in string.digits if checks.gs1(number + d))


# The survival list: identifiers of parcels, goods, orders and traces.
SURVIVORS = {
    "DHL": of(string.digits, 20),
    "DHL as printed": of(string.digits, 20).map(lambda d: " ".join(d[i : i + 4] for i in range(0, 20, 4))),
    "JJD": of(string.digits, 18).map("JJD{}".format),
    "JVGL": of(string.digits, 16).map("JVGL{}".format),
    "UPS": of(string.digits + string.ascii_uppercase, 16).map("1Z{}".format),
    "Hermes": of(string.digits, 19).map("H{}".format),
    "Hermes, 14 digits": of(string.digits, 14),
    "DPD": of(string.digits, 14).flatmap(lambda d: st.sampled_from("ABCXYZ").map(lambda c: d + c)),
    "SSCC": of(string.digits, 17).map(with_check),
    "S10": of(string.digits, 9).map("RR{}DE".format),
    "EAN": of(string.digits, 12).map(with_check),
    "SKU": of(string.digits, 4).map("SKU-{}-B".format),
    "invoice": of(string.digits, 6).map("RE-2026-{}".format),
    "order": of(string.digits, 6).map("ORD-{}".format),
    "order with two letters": of(string.digits, 8).map("AB{}".format),
    "trace": of(HEX, 31).map("a{}".format),
    "span": of(HEX, 15).map("{}b".format),
    "UUID": st.uuids().map(str),
    "time": st.datetimes().map(lambda t: t.replace(year=2026).isoformat() + "Z"),
}
FRAMES = (
    "{}",
    "Wo ist {}?",
    "Where is {}, please?",
    "({})",
    '{{"value": "{}"}}',
    "Guten Tag, es geht um {}. Danke",
)


@pytest.mark.parametrize("name", SURVIVORS)
@settings(max_examples=40)
@given(data=st.data())
def test_business_identifiers_survive_in_every_sentence(name: str, data: st.DataObject) -> None:
    value = data.draw(SURVIVORS[name])
    for frame in FRAMES:
        assert value in ALL.scrub(frame.format(value))


@given(
    of(string.digits, 11),
    st.sampled_from(["GLS {}", "Paket {}", "Sendungsnummer: {}", "tracking number is {}"]),
)
def test_eleven_digits_that_are_called_a_parcel_survive(number: str, frame: str) -> None:
    assert number in ALL.scrub(frame.format(number))
