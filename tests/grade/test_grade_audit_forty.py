"""The probes' own examination: forty graders, half of them with one planted flaw, written before the probes.

The fast tests take a few of the graders, the slow one all of them.
`python tests/grade/test_grade_audit_forty.py` prints one line for each.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
import pytest

TESTS = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS / "grade"), str(TESTS.parent)]

from forty.manifest import SPECIMENS, WORLDS, Specimen  # noqa: E402
from test_grade_forty import grader  # noqa: E402

from strop.grade.audit.cases import Case, Score  # noqa: E402
from strop.grade.audit.exploits import Examination, examine  # noqa: E402
from strop.records import Grade, Rollout, Task  # noqa: E402

FEW = SPECIMENS[::7]


def scoring(specimen: Specimen) -> Score:
    grade = grader(specimen)

    def score(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
        grades: list[Grade] = []
        for task, rollout in pairs:
            try:
                found = grade(task, rollout)
            except SystemExit:  # an answer that a grader ran; the sandbox says the same of its worker
                found = "crashed: the grader ended its process"
            grades.append(Grade(error=found) if isinstance(found, str) else Grade(score=found))
        return grades

    return score


@cache
def examined(name: str) -> tuple[Examination, float]:
    """Examine one grader on its world's tasks; with the seconds of CPU that it took."""
    specimen = next(s for s in SPECIMENS if s.name == name)
    world = WORLDS[specimen.world]
    cases = [Case(task, rollouts) for task, rollouts in world.cases]
    started = time.process_time()
    found = examine(cases, scoring(specimen), writes=world.writes)
    return found, time.process_time() - started


def failed(name: str) -> set[str]:
    return {f.id for f in examined(name)[0].families if f.verdict == "fail"}


def tally(specimens: Sequence[Specimen]) -> tuple[list[str], list[str], list[str]]:
    """Return flawed graders that were missed, those found by another family only, clean ones flagged."""
    flawed = [s for s in specimens if s.flawed]
    missed = [s.name for s in flawed if not failed(s.name)]
    other = [s.name for s in flawed if failed(s.name) and not failed(s.name) & s.families]
    flagged = [s.name for s in specimens if not s.flawed and failed(s.name)]
    return missed, other, flagged


def table() -> None:
    for specimen in SPECIMENS:
        examination, seconds = examined(specimen.name)
        families = failed(specimen.name)
        mark = "ok" if bool(families) == specimen.flawed else "MISSED" if specimen.flawed else "FALSE ALARM"
        if specimen.flawed and families and not families & specimen.families:
            mark = "found, other family"
        print(
            f"{'flawed' if specimen.flawed else 'clean':7}{specimen.name:26}{mark:20}{seconds:5.1f} s "
            f"{examination.probes:6} probes  failed {sorted(families)} of {sorted(specimen.families)}"
        )
        if mark != "ok":
            for f in examination.families:
                if f.verdict == "fail" or (f.verdict == "warn" and f.techniques):
                    print(f"          {f.id} {f.verdict}: {f.reason}")
    missed, other, flagged = tally(SPECIMENS)
    named = 20 - len(missed) - len(other)
    print(f"found {20 - len(missed)}/20, named {named}/20, clean flagged {len(flagged)}/20")


def digest_of(name: str) -> str:
    return hashlib.sha256(msgspec.json.encode(examined(name)[0])).hexdigest()


def test_some_of_the_graders_are_told_apart() -> None:
    missed, other, flagged = tally(FEW)
    assert sum(s.flawed for s in FEW) == 3 == len(FEW) / 2
    assert (missed, other, flagged) == ([], [], [])


@pytest.mark.slow
def test_flawed_are_found_and_named_and_clean_are_not_flagged() -> None:
    missed, other, flagged = tally(SPECIMENS)
    assert len(missed) <= 1, missed
    assert len(missed) + len(other) <= 3, (missed, other)
    assert len(flagged) <= 1, flagged
    assert max(examined(s.name)[1] for s in SPECIMENS) < 300
    assert min(examined(s.name)[0].probes for s in SPECIMENS) >= 300


def test_every_grader_is_probed_at_least_300_times() -> None:
    few = {s.name: examined(s.name)[0].probes for s in FEW}
    assert {name: n for name, n in few.items() if n < 300} == {}


def test_a_family_that_fails_shows_a_probe_and_what_to_change() -> None:
    for specimen in FEW:
        for family in examined(specimen.name)[0].families:
            assert family.remedy and family.reason
            if family.verdict == "fail":
                worst = family.worst[0]
                assert worst.family == family.id and worst.technique == family.techniques[0].name
                assert worst.score > 0 and len(worst.held) >= 1
                assert family.low <= family.exploits / family.probes <= family.high


@pytest.mark.slow
def test_another_process_says_the_same_to_the_byte() -> None:
    names = ["refund_plan", "expression_sheet", "support_quality"]
    there = subprocess.run(
        [sys.executable, __file__, "digests", *names],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == "\n".join(map(digest_of, names))


if __name__ == "__main__":
    if sys.argv[1:2] == ["digests"]:
        print("\n".join(map(digest_of, sys.argv[2:])))
    else:
        table()
