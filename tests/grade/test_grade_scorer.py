from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from grading import EXAMPLE, curated, project, rollout, task

from strop.errors import ConfigError
from strop.grade.scorer import NO_GROUND_TRUTH, Scorer
from strop.records import Grade
from strop.store.grades import load_grades, save_grades

NO_TONE = EXAMPLE.replace('rollout["llm_judge"]["tone_pass"]', 'rollout["llm_judge"].get("tone_pass", False)')
RIGHT = '{"final_status": "delivered"}'


def test_rollouts_are_graded_in_order(tmp_path: Path) -> None:
    config, db = project(tmp_path, NO_TONE)
    pairs = [
        (task(), rollout(RIGHT)),
        (task(), rollout('{"final_status": "delayed"}')),
        (task(None), rollout(RIGHT)),
        (task(), rollout(None, tools=())),
    ]
    with Scorer(config, db) as scorer:
        grades = scorer.score(pairs)
        assert [g.score for g in grades] == [0.85, 0.25, None, 0.0]
        assert grades[2].error == NO_GROUND_TRUTH
        assert grades[0].components == {"answer_ok": 1.0, "tool_ok": 1.0, "tone_ok": 0.0}
        assert scorer.weights == {"answer_ok": 0.6, "tool_ok": 0.25, "tone_ok": 0.15}


@pytest.mark.parametrize(
    "answer",
    [
        '{"final_status": "x", "llm_judge": {"tone_pass": true}}',
        '{"final_status": "x", "tool_calls": [{"name": "lookup_tracking"}, {"name": "lookup_eta"}]}',
        '{"final_status": "x", "final_status": "delivered"}',
        '{"final_status": "x", "messages": [], "sample": {}, "item": {"status": "x"}}',
    ],
)
def test_a_forged_answer_gains_nothing_and_is_counted(tmp_path: Path, answer: str) -> None:
    config, db = project(tmp_path, NO_TONE)
    with Scorer(config, db) as scorer:
        honest, forged = scorer.score(
            [(task(), rollout('{"final_status": "x"}', tools=())), (task(), rollout(answer, tools=()))]
        )
    assert (honest.score, honest.forged) == (0.0, False) and (forged.score, forged.forged) == (0.0, True)


BREAKABLE = """
def grade(rollout, ground_truth):
    if rollout["eta"] == "nan": return float("nan")
    return float(rollout["final_status"].strip() == ground_truth["status"])
"""


def test_breaking_the_grader_gives_the_floor(tmp_path: Path) -> None:
    config, db = project(tmp_path, BREAKABLE)
    pairs = [(task(number=i), rollout("{}", i)) for i in range(2)]
    pairs.append((task(number=0), rollout('{"eta": "nan"}')))
    with Scorer(config, db) as scorer:
        for _ in range(2):  # the second time from the store
            first, second, third = scorer.score(pairs, reference_ok=lambda task_id: task_id == "task-0")
            assert first == Grade(score=0.0, floored=True)
            assert second.error is not None and second.error.startswith("raised AttributeError")
            assert third.error is not None and third.score is None
        plain = scorer.score(pairs[:1])[0]
        assert plain.error is not None


def test_a_grade_is_computed_once_for_a_grader(tmp_path: Path) -> None:
    config, db = project(tmp_path, NO_TONE)
    items = [curated(i, RIGHT, {"status": "delivered"}) for i in range(30)]
    with Scorer(config, db) as scorer:
        first = list(scorer.grade_curated(items))
        subjects = load_grades(db, scorer.grader_hash)
        assert len(subjects) == 30
        save_grades(db, scorer.grader_hash, {s: Grade(score=0.1) for s in subjects})
        assert load_grades(db, scorer.grader_hash) == subjects
    with Scorer(config, db) as scorer:
        assert list(scorer.grade_curated(items)) == first
        assert scorer._sandbox is None  # pyright: ignore[reportPrivateUsage]  (nothing had to start)
    changed, _ = project(tmp_path, NO_TONE + "\n# changed\n")
    with Scorer(changed, db) as scorer:
        assert load_grades(db, scorer.grader_hash) == {}


def test_timeouts_are_tried_again_next_time(tmp_path: Path) -> None:
    once = "import time\ndef grade(rollout, ground_truth):\n    time.sleep(60)\n"
    config, db = project(tmp_path, once, grade={"timeout_s": 0.3})
    with Scorer(config, db) as scorer:
        (grade,) = scorer.score([(task(), rollout(RIGHT))])
        assert grade.error == "timeout: no grade within 0.3 s"
        assert load_grades(db, scorer.grader_hash) == {}


def test_openai_form_scores_alike(tmp_path: Path) -> None:
    form = """
def grade(sample, item):
    answer_ok = float((sample["output_json"] or {}).get("final_status") == item["status"])
    tools = [c["function"]["name"] for c in sample["output_tools"]]
    tool_ok = float(tools[:2] == ["lookup_tracking", "lookup_eta"])
    return 0.60 * answer_ok + 0.25 * tool_ok
"""
    answers = [RIGHT, "{}", "nonsense", None]
    scores: list[list[float | None]] = []
    for name, grader in (("a", NO_TONE), ("b", form)):
        config, db = project(tmp_path / name, grader)
        with Scorer(config, db) as scorer:
            scores.append([g.score for g in scorer.score([(task(), rollout(a)) for a in answers])])
    assert scores[0] == scores[1] == [0.85, 0.25, 0.25, 0.25]


def test_a_missing_grader_is_a_configuration_error(tmp_path: Path) -> None:
    config, db = project(tmp_path)
    (tmp_path / "grader.py").unlink()
    with pytest.raises(ConfigError, match="does not exist"):
        Scorer(config, db)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from grading import curated, project
from strop.grade.scorer import Scorer
config, db = project(Path(sys.argv[1]), Path(sys.argv[1], "grader.py").read_text())
with Scorer(config, db) as scorer:
    right = '{"final_status": "delivered"}'
    items = [curated(i, right, {"status": "delivered", "n": i}) for i in range(300)]
    for done, _ in enumerate(scorer.grade_curated(items), 1):
        print(done, flush=True)
"""


def test_a_killed_step_resumes_without_grading_again(tmp_path: Path) -> None:
    slow = "import time\ndef grade(rollout, ground_truth):\n    time.sleep(0.005)\n"
    slow += "    return ground_truth['n'] / 300\n"
    config, db = project(tmp_path, slow)
    program = [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)]
    child = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while (line := child.stdout.readline()) and int(line) < 21:
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with Scorer(config, db) as scorer:
        before = load_grades(db, scorer.grader_hash)
        assert 20 <= len(before) < 300
        graded = dict(
            scorer.grade_curated([curated(i, RIGHT, {"status": "delivered", "n": i}) for i in range(300)])
        )
        after = load_grades(db, scorer.grader_hash)
    assert [g.score for g in graded.values()] == [i / 300 for i in range(300)]
    assert len(after) == 300 and before.items() <= after.items()
