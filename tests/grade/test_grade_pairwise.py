"""Pairs of answers are judged in both orders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import FakeEndpoint, said, serving
from grading import project
from hypothesis import given
from hypothesis import strategies as st

from strop.errors import ConfigError
from strop.grade.judge import Judges
from strop.grade.pairwise import Pair, Preference, Tally, compare_pairs, tally

PAIRS = [Pair("Where?", "short", "a longer one"), Pair("When?", "the longest of all", "brief")]


def longer(body: dict[str, Any]) -> str:
    shown = json.loads(body["messages"][-1]["content"])
    return said("A" if len(shown["A"]) > len(shown["B"]) else "B")


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with serving(longer) as server:
        yield server


def judges(root: Path, server: FakeEndpoint) -> Judges:
    tone = {"rubric": "Is it polite?", "base_url": server.url, "usd_per_call": 0.5}
    config, db = project(root, judges={"tone": tone})
    return Judges(config, db)


def test_the_same_answer_in_both_orders_wins(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    with judges(tmp_path, endpoint) as asked:
        found = compare_pairs(asked, "tone", PAIRS)
        assert found == [Preference("second"), Preference("first")]
        assert tally(found) == Tally(first=1, second=1, ties=0, order_sensitive=0, unjudged=0)
        assert (asked.calls, asked.usd) == (4, 2.0)
        assert compare_pairs(asked, "tone", [Pair("Where?", "a longer one", "short")]) == [
            Preference("first")
        ]
        assert asked.calls == 4  # both orders are known
    assert endpoint.requests[0]["messages"][0]["content"].startswith("Is it polite?\n")
    schema = endpoint.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdict"] == {"type": "string", "enum": ["A", "B"]}


@pytest.mark.parametrize("place", ["A", "B"])
def test_a_taste_for_a_place_is_a_tie(tmp_path: Path, endpoint: FakeEndpoint, place: str) -> None:
    endpoint.answer = lambda _: said(place)
    with judges(tmp_path, endpoint) as asked:
        found = compare_pairs(asked, "tone", [*PAIRS, Pair("Who?", "same", "same")])
    assert found == [Preference("tie", True), Preference("tie", True), Preference("tie")]
    assert tally(found) == Tally(first=0, second=0, ties=3, order_sensitive=2, unjudged=0)
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize("bad", [said("C"), said("first"), said(True), "A", said("a")])
def test_no_verdict_is_a_reason(tmp_path: Path, endpoint: FakeEndpoint, bad: str) -> None:
    endpoint.answer = lambda body: bad if "short" in body["messages"][-1]["content"] else longer(body)
    with judges(tmp_path, endpoint) as asked:
        found = compare_pairs(asked, "tone", PAIRS)
    assert isinstance(found[0], str) and found[0].startswith("judge tone: no verdict")
    assert found[1] == Preference("first") and tally(found).unjudged == 1
    assert len(endpoint.requests) == 6  # each of the two was tried twice


def test_an_unknown_judge_is_named(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    with judges(tmp_path, endpoint) as asked, pytest.raises(ConfigError, match="no judge named 'kind'"):
        compare_pairs(asked, "kind", PAIRS)


@given(st.lists(st.sampled_from([Preference("first"), Preference("tie", True), Preference("tie"), "why"])))
def test_a_tally_counts_each_pair_once(found: list[Preference | str]) -> None:
    counted = tally(found)
    assert counted.first + counted.second + counted.ties + counted.unjudged == len(found)
    assert counted.order_sensitive <= counted.ties
