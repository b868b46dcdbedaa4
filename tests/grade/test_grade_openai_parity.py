"""One grader, one score: run as a file, compiled to a python grader, compiled to a multi grader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from grading import EXAMPLE
from hosted import (
    FIELDS,
    JUDGES,
    any_rollout,
    direct,
    hosted_judge,
    load,
    single_turn,
    truth_of,
    wired,
)

from strop.grade.extract import View
from strop.grade.load import GraderSource
from strop.grade.openai.compile import to_python
from strop.grade.openai.execute import evaluate
from strop.grade.openai.python import run_in_process
from strop.grade.openai.sample import arguments_of
from strop.grade.openai.schema import Grader, parse_grader
from strop.grade.openai.split import to_multi

LINEAR = """
from __future__ import annotations
from typing import Any

def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    answer_ok = rollout["final_status"] == ground_truth["status"]
    names = [c["name"] for c in rollout["tool_calls"]]
    tool_ok = float(names[:2] == ["lookup_tracking", "lookup_eta"])
    told = 1.0 if isinstance(rollout["message"], str) else 0.25
    return 0.55 * answer_ok + 0.3 * tool_ok + 0.15 * told
"""
# A hash of all that is in reach: it can't come out equal by chance.
DIGEST = """
import hashlib, json
from dataclasses import dataclass

CALLS = []

@dataclass
class Seen:
    fields: list
    calls: list
    truth: dict

def grade(rollout, ground_truth):
    CALLS.append(1)
    if len(CALLS) > 1:
        raise RuntimeError("state of the last item")
    seen = Seen([rollout[k] for k in ("final_status", "eta", "message")], rollout["tool_calls"], ground_truth)
    text = json.dumps([seen.fields, seen.calls, seen.truth, list(rollout), "other" in rollout])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
"""
WHOLE = """
import hashlib, json

def grade(rollout, ground_truth):
    del rollout["usage"], rollout["llm_judge"]
    text = json.dumps([rollout, ground_truth])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
"""
SAMPLE = """
import hashlib, json

def grade(sample, item):
    seen = [sample[k] for k in ("output_text", "output_json", "output_tools", "choices")]
    text = json.dumps([seen, item["status"], item["extra"]])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
"""
RUBRIC = """
from strop.grade.components import close_date, equal, equal_normalised, set_overlap
from strop.grade.rubric import Component, Rubric, Scored
from strop.records import JsonObject

THRESHOLD = 0.5

def few_calls(rollout: JsonObject, ground_truth: JsonObject) -> Scored:
    n = len(rollout["tool_calls"])
    return Scored(1 / (1 + n), f"{n} calls")

rubric = Rubric(
    Component("answer_ok", equal("final_status", "status"), weight=0.60, gate=True),
    Component("few", few_calls, 0.2, THRESHOLD),
    Component("same", score=equal_normalised("message", "status"), weight=0.3),
    Component("told", lambda r, t: r["message"] is not None, weight=0.1),
)
"""
JUDGED_RUBRIC = (
    RUBRIC.replace("import close_date,", "import close_date, verdict,").removesuffix(")\n")
    + """    Component("tone", verdict("tone_pass"), weight=0.2),
    Component("whole", verdict("whole"), weight=0.1, gate=True),
)
"""
)
ARITHMETIC = """
import math

def grade(rollout, ground_truth):
    right = rollout["final_status"] == ground_truth["status"]
    tone = bool(rollout["llm_judge"]["tone_pass"])
    calls = 0
    for call in rollout["tool_calls"]:
        if isinstance(call["arguments"], dict):
            calls += 1
    return float(right) ** 2 / 2 + max(0, min(calls, 3) / 3 - 0.5 * (1 - tone)) * math.sqrt(0.25) * float(
        rollout["llm_judge"]["whole"]
    )
"""
SAMPLE_LINEAR = """
def grade(sample, item):
    # früher: ein anderer Satz
    said = sample["output_json"] or {}; right = float(said.get("final_status") == item["status"])
    tone: float = float(sample["llm_judge"]["tone_pass"])
    called = min(1.0, len(sample["output_tools"]) / 2)
    return (
        0.5 * right
        + 0.25 * called + 0.25 * tone
    )
"""
N = 500


def agree(
    grader: GraderSource,
    compiled: dict[str, Grader],
    rollouts: Callable[[Random], View],
    seed: int,
    n: int = N,
) -> list[float | None]:
    """Assert equal scores, and errors where the file gives none; return the scores of the file."""
    rng = Random(seed)
    found: list[float | None] = []
    for _ in range(n):
        seen, truth = rollouts(rng), truth_of(rng)
        expected = direct(grader, seen, truth)
        found.append(expected)
        sample, item = map(wired, arguments_of(seen, truth))
        for kind, other in compiled.items():
            outcome = evaluate(other, sample, item, hosted_judge, run_python=run_in_process)
            where = (kind, seen.final, seen.rollout["tool_calls"], truth, outcome.error)
            if expected is None:
                assert outcome.score is None and outcome.error, where
            else:
                assert outcome.score == pytest.approx(expected, abs=1e-9), where
    return found


def python(grader: GraderSource, *, one_turn: bool = False) -> Grader:
    return parse_grader(to_python(grader, extract=FIELDS, single_turn=one_turn))


def multi(grader: GraderSource) -> Grader:
    return parse_grader(to_multi(grader, judges=JUDGES, extract=FIELDS))


def spread(found: list[float | None], distinct: int) -> None:
    """Assert that the rollouts were worth comparing: many scores, and some errors."""
    scores = {score for score in found if score is not None}
    assert len(scores) >= distinct and None in found


def test_a_linear_grader(tmp_path: Path) -> None:
    grader = load(tmp_path, LINEAR)
    spread(agree(grader, {"python": python(grader), "multi": multi(grader)}, any_rollout, 1), 7)


def test_all_that_is_in_reach_is_equal(tmp_path: Path) -> None:
    grader = load(tmp_path, DIGEST)
    spread([*agree(grader, {"python": python(grader)}, any_rollout, 2), None], N // 2)


def test_all_of_a_single_turn_is_equal(tmp_path: Path) -> None:
    grader = load(tmp_path, WHOLE)
    compiled = {"python": python(grader, one_turn=True)}
    spread([*agree(grader, compiled, single_turn, 3), None], N // 3)


def test_openais_own_form(tmp_path: Path) -> None:
    grader = load(tmp_path, SAMPLE)
    spread(agree(grader, {"python": python(grader)}, any_rollout, 4), N // 2)


def test_the_example_with_its_judge(tmp_path: Path) -> None:
    grader = load(tmp_path, EXAMPLE)
    spread(agree(grader, {"multi": multi(grader)}, any_rollout, 5), 7)


def test_arithmetic_beyond_a_weighted_sum(tmp_path: Path) -> None:
    grader = load(tmp_path, ARITHMETIC)
    spread(agree(grader, {"multi": multi(grader)}, any_rollout, 6), 5)


def test_openais_own_form_with_a_judge(tmp_path: Path) -> None:
    grader = load(tmp_path, SAMPLE_LINEAR)
    spread(agree(grader, {"multi": multi(grader)}, any_rollout, 7), 7)


def test_a_rubric_with_gates(tmp_path: Path) -> None:
    grader = load(tmp_path, RUBRIC)
    spread(agree(grader, {"python": python(grader), "multi": multi(grader)}, any_rollout, 8, 300), 10)


def test_a_rubric_with_judges(tmp_path: Path) -> None:
    grader = load(tmp_path, JUDGED_RUBRIC)
    spread(agree(grader, {"multi": multi(grader)}, any_rollout, 9, 300), 12)
