"""Judges on a scale, and what they may spend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import FakeEndpoint, said, serving
from grading import project, rollout, task
from test_grade_judge import seen

from strop.config import load
from strop.errors import ConfigError
from strop.grade.judge import Judges
from strop.grade.scorer import Scorer

GRADER = """
from strop.grade.components import verdict
from strop.grade.rubric import Component, Rubric

rubric = Rubric(Component("clear", verdict("clarity")))
"""


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with serving(lambda _: said(4)) as server:
        yield server


def judges(root: Path, server: FakeEndpoint, **judge: Any) -> Judges:
    clarity = {"rubric": "How clear?", "field": "message", "base_url": server.url, "scale": [1, 2, 3, 4, 5]}
    config, db = project(root, judges={"clarity": {**clarity, **judge}})
    return Judges(config, db)


def test_a_number_is_scaled_into_zero_to_one(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    with judges(tmp_path, endpoint) as asked:
        assert asked.verdicts([seen()]) == [{"clarity": 0.75}]
        for number, share in ((1, 0.0), (3, 0.5), (5, 1.0)):
            endpoint.answer = lambda _, number=number: said(number)
            assert asked.verdicts([seen(f"Hello {number}.")]) == [{"clarity": share}]
        assert asked.verdicts([seen(None)]) == [{"clarity": 0.0}]
    schema = endpoint.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdict"] == {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    with judges(tmp_path, endpoint) as again:
        assert again.verdicts([seen()]) == [{"clarity": 0.75}] and again.calls == 0
    with judges(tmp_path, endpoint, scale=[0, 2, 4]) as other:  # another scale is another question
        endpoint.answer = lambda _: said(2)
        assert other.verdicts([seen()]) == [{"clarity": 0.5}] and other.calls == 1


@pytest.mark.parametrize("bad", [said(6), said(0), said(3.5), said("4"), said(True), said(None), "4", "[4]"])
def test_out_of_the_scale_is_no_verdict(tmp_path: Path, endpoint: FakeEndpoint, bad: str) -> None:
    answers = [bad, said(5), bad, bad]
    endpoint.answer = lambda _: answers.pop(0)
    with judges(tmp_path, endpoint) as asked:
        assert asked.verdicts([seen()]) == [{"clarity": 1.0}]
        (why,) = asked.verdicts([seen("Other.")])
        assert isinstance(why, str) and why.startswith("judge clarity: no verdict")
    assert len(endpoint.requests) == 4


def test_graders_get_the_number(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    clarity = {"rubric": "How clear?", "base_url": endpoint.url, "scale": [1, 2, 3, 4, 5]}
    hashes: set[str] = set()
    for root, scale in (("a", [1, 2, 3, 4, 5]), ("b", [2, 4])):
        config, db = project(tmp_path / root, GRADER, judges={"clarity": {**clarity, "scale": scale}})
        with Scorer(config, db) as scorer:
            hashes.add(scorer.grader_hash)
            (grade,) = scorer.score([(task(), rollout("said"))])
        assert grade.score == {"a": 0.75, "b": 1.0}[root]
    assert grade.feedback == {} and len(hashes) == 2


def test_the_cap_refuses_before_the_call(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    views = [seen(f"Hello {i}.") for i in range(6)]
    with judges(tmp_path, endpoint, usd_per_call=0.5, max_usd=1.5) as asked:
        with pytest.raises(ConfigError, match=r"judges\.clarity\.max_usd = 1\.5") as caught:
            asked.verdicts(views)
        assert asked.usd == 1.5 and len(endpoint.requests) == 3 and "kept" in caught.value.fix
        with pytest.raises(ConfigError):
            asked.verdicts(views)
        assert len(endpoint.requests) == 3
    with judges(tmp_path, endpoint, usd_per_call=0.5, max_usd=1.5) as asked:  # the next process
        assert asked.verdicts(views) == [{"clarity": 0.75}] * 6
        assert (asked.calls, asked.cached) == (3, 3)


def test_a_second_try_counts_against_the_cap(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    endpoint.answer = lambda _: "nothing"
    with judges(tmp_path, endpoint, usd_per_call=1.0, max_usd=1.0) as asked, pytest.raises(ConfigError):
        asked.verdicts([seen()])
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("scale = [3]", "two or more"),
        ("scale = [2, 1]", "ascending"),
        ("scale = [1, 1, 2]", "ascending"),
        ("scale = [1.5, 2]", "scale"),
        ("max_usd = 2.0", "needs usd_per_call"),
        ("max_usd = -1\nusd_per_call = 1", "max_usd"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, keys: str, says: str) -> None:
    (tmp_path / "strop.toml").write_text(f'[judges.tone]\nrubric = "r"\n{keys}\n')
    with pytest.raises(ConfigError, match=says) as caught:
        load(tmp_path, environ={})
    assert "judges.tone" in caught.value.what
