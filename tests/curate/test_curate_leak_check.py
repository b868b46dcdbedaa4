"""What is known is found in every way to write it, and nothing else."""

from __future__ import annotations

import json
import random
import string
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.curate.leak_check import Sought


def found(known: str, text: str) -> bool:
    hits = Sought([known, "", " \n", "Otto Sonstwer"]).found(text.encode())
    assert hits <= {known}
    return known in hits


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("Erika Müller", "erika  MUELLER"),
        ("Erika Müller", "Müller, Erika"),
        ("Erika Mueller", "ERIKA MÜLLER"),
        ("Erika Müller", unicodedata.normalize("NFD", "Erika Müller")),
        ("Erika Müller", '{"name": "Erika M\\u00fcller"}'),
        ("Erika Müller", json.dumps(json.dumps(json.dumps({"n": "an\nErika\nMüller"})))),
        ("Erika Müller", "https://x.example/?q=erika%20m%C3%BCller&page=2"),
        ("Erika Müller", "q=Erika+M%C3%BCller"),
        ("Erika Müller", "an erika.mueller: "),
        ("Erika Maria Müller", "Müller Erika Maria"),
        ("Jörg Öz", "JOERG OEZ"),
        ("Jörg Öz", "jörg_öz"),
        ("Jörg Öz", '"J\\u00d6RG \\u00d6Z"'),
        ("Weiß", "Frau WEISS."),
        ("Иван Петров", "ПЕТРОВ Иван"),
        ("Иван Петров", json.dumps("Иван Петров")),
        ("Ida", "fragt Ida?"),
        ("Ida", json.dumps("Grüße,\nIda")),
        ("Bob", "bob"),
        ("e.mueller@post.example", "<E.Mueller@post.example>"),
        ("e.mueller@post.example", "to=e.mueller%40post.example"),
        ("Zeisigweg 4, 29525 Uelzen", "Zeisigweg 4\n29525 Uelzen"),
        ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00"),
        ("DE89 3704 0044 0532 0130 00", "iban=de89370400440532013000"),
        ("1990-02-01", "1990 02 01"),
        ("+49 170 1234567", "0170/123 45 67"),
        ("+49 170 1234567", "tel 00491701234567 or"),
        ("+49 (0)170 1234567", "+49170-1234567"),
        ("0170 1234567", '"phone": 491701234567, "n": 1'),
        ("+49 170 1234567", "0170 1234567 22 Pakete"),
        ("+49 30 123456", "(030) 12 34 56"),
        ("030 123456", "+49 (0) 30 / 123456"),
    ],
)
def test_a_leak_is_found_however_it_is_written(known: str, text: str) -> None:
    assert found(known, text)
    assert found(known, f"{'-' * 1000}{text}{'-' * 1000}")


@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize("before", [b"", b"x"])
def test_wide_characters_are_read_too(code: str, before: bytes) -> None:
    assert Sought(["Erika Müller"]).found(before + " fragt Erika Müller.".encode(code)) == {"Erika Müller"}


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ("Ida", "Idaho, Fidalgo, ID A, validation"),
        ("Erika Müller", "Erika Müllermann, Müller und Erika, Merika Müller"),
        ("+49 170 1234567", "0170 1234568, 1701234567890"),
        ("+49 30 1234", "0034043030123456"),
        ("DE89370400440532013000", "DE893704004405320130001"),
        ("Jörg Öz", "Jörg Özil"),
    ],
)
def test_what_is_no_leak_is_none(known: str, text: str) -> None:
    assert not found(known, text)


def test_values_without_three_letters_or_digits_are_left_out() -> None:
    sought = Sought(["Al", "--- 4", "Ida", " Ida ", ""])
    assert sought.values == ["Ida"]
    assert Sought(["Al"]).found(b"Al") == set()
    assert sought.found(b"") == sought.found(b"id") == set()


def test_only_places_in_the_middle_count() -> None:
    data = b"Ida, then Ida"
    sought = Sought(["Ida"])
    assert sought.found(data, 1) == sought.found(data, 10) == {"Ida"}
    assert sought.found(data, 1, 10) == sought.found(data, 11) == set()


NAMES = st.text("abö-", min_size=3, max_size=6).filter(lambda t: sum(map(str.isalnum, t)) >= 3)


@settings(max_examples=60)
@given(
    st.lists(NAMES, min_size=1, max_size=4), st.lists(NAMES | st.sampled_from([" ", ",", "x"]), max_size=8)
)
def test_many_together_are_found_like_each_alone(known: list[str], pieces: list[str]) -> None:
    data = " ".join(pieces).encode()
    alone = {k for k in known if Sought([k]).found(data)}
    assert Sought(known).found(data) == alone
    assert {k for k in known if k in pieces} <= alone


def test_thousands_in_megabytes_take_a_moment() -> None:
    rng = random.Random(1)
    words = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(5000)]
    known = [f"{rng.choice(words)} {rng.choice(words)}" for _ in range(3000)]
    text = " ".join(rng.choices(["time", "status", "tool", quote("ü"), "4711"], k=100_000)) + f" {known[7]}"
    assert Sought([*known, "Tim"]).found(text.encode()) == {known[7]}
