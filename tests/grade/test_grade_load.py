from __future__ import annotations

from pathlib import Path

import pytest
from grading import EXAMPLE

from strop.errors import ConfigError
from strop.grade.load import GraderSource, load_grader


def weights(tmp_path: Path, body: str) -> dict[str, float]:
    path = tmp_path / "grader.py"
    path.write_text("def grade(rollout, ground_truth):\n" + "".join(f"    {x}\n" for x in body.splitlines()))
    return load_grader(path).weights


def test_the_example_grader(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text(EXAMPLE)
    grader = load_grader(path)
    assert grader.form == "rollout"
    assert grader.weights == {"answer_ok": 0.6, "tool_ok": 0.25, "tone_ok": 0.15}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = b = 1\nreturn 0.5 * a + b * 0.5", {"a": 0.5, "b": 0.5}),
        ("a = b = 1\nreturn (a + b) / 2", {"a": 0.5, "b": 0.5}),
        ("a = b = 1\nreturn 0.5 * (a - b) + a", {"a": 1.5, "b": -0.5}),
        ("if not rollout:\n    return 0.0\na = b = 1\nreturn 0.5 * a + 0.5 * b", {"a": 0.5, "b": 0.5}),
        ("a = 1\nreturn a", {}),
        ("a = b = 1\nreturn 1" + 400 * "0" + " * a + b", {}),
        ("a = b = 1\nreturn a / 1" + 400 * "0" + " + b", {}),
        ("a = b = 1\nreturn a * b", {}),
        ("a = b = 1\nreturn round(0.5 * a + 0.5 * b, 2)", {}),
        ("a = 1\nreturn 0.5 * a + 0.1", {}),
        ("return 0.5 * rollout + 0.5 * ground_truth", {}),
        ("a = b = 1\nif a:\n    return 0.5 * a\nreturn 0.5 * a + 0.5 * b", {}),
        ("a = b = 1\ndef f():\n    return a + b\nreturn 0.5 * a + 0.5 * b", {"a": 0.5, "b": 0.5}),
    ],
)
def test_weights_come_from_a_linear_return(tmp_path: Path, body: str, expected: dict[str, float]) -> None:
    assert weights(tmp_path, body) == expected


def rubric(tmp_path: Path, body: str) -> GraderSource:
    path = tmp_path / "grader.py"
    path.write_text("from strop.grade.rubric import Component, Rubric\n" + body)
    return load_grader(path)


def test_a_rubric_is_read_without_running_it(tmp_path: Path) -> None:
    grader = rubric(
        tmp_path,
        """
import antigravity_that_is_not_there
HALF = 0.5
rubric: Rubric = Rubric(
    Component("answer_ok", equal("status", "status"), weight=2, gate=True),
    Component("tool_ok", own, 1.5, 0.8),
    rubrics.Component(name="tone_ok", score=lambda r, t: 1.0, weight=HALF),
    Component("never", own, weight=0),
)
""",
    )
    assert grader.form == "rubric"
    assert grader.weights == {"answer_ok": 0.5, "tool_ok": 0.375, "tone_ok": 0.125, "never": 0.0}
    assert grader.gates == {"answer_ok": 1.0, "tool_ok": 0.8}


@pytest.mark.parametrize(
    ("body", "says", "line"),
    [
        ("rubric = Rubric(*parts)", "written out", 2),
        ("rubric = Rubric(\n    Component('a', f),\n    Component('a', f),\n)", "a text of its own", 4),
        ("rubric = Rubric(Component(name(), f))", "a text of its own", 2),
        ("rubric = Rubric(Component('a', f, weight=w()))", "the weight of a", 2),
        ("rubric = Rubric(Component('a', f, weight=-1))", "the weight of a", 2),
        ("rubric = Rubric(Component('a', f, weight=True))", "the weight of a", 2),
        ("rubric = Rubric(Component('a', f, gate=2))", "the gate of a", 2),
        ("rubric = Rubric(Component('a', f, weight=0))", "one of which has weight", 2),
        ("rubric = Rubric()", "one of which has weight", 2),
        ("rubric = Rubric(Component('a', f))\ndef grade(rollout, ground_truth): ...", "which of them", 3),
        ("rubric = 3", "no function named grade and no rubric", None),
    ],
)
def test_a_rubric_that_can_not_be_read_names_its_line(
    tmp_path: Path, body: str, says: str, line: int | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        rubric(tmp_path, body)
    assert says in caught.value.what
    assert caught.value.where.endswith(f":{line}" if line else "grader.py")
    assert caught.value.fix


def test_openai_form(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text("def grade(sample, item):\n    return 1.0")
    assert load_grader(path).form == "sample"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "does not exist"),
        (b"def grade(rollout, ground_truth)\n", "not Python"),
        (b"def score(a, b): return 1", "no function named grade"),
        (b"def grade(a, b): return 1", "grade(a, b) is not a form"),
        (b"def grade(): return 1", "grade() is not a form"),
        (b"\xff\xfe", "can't be read"),
        (b"x = 1\0", "not Python"),
    ],
)
def test_bad_files_are_configuration_errors(tmp_path: Path, source: bytes | None, says: str) -> None:
    path = tmp_path / "grader.py"
    if source is not None:
        path.write_bytes(source)
    with pytest.raises(ConfigError) as caught:
        load_grader(path)
    assert says in caught.value.what and str(path) in caught.value.where and caught.value.exit_code == 2


def test_the_hash_follows_file_fields_and_rubrics(tmp_path: Path) -> None:
    path = tmp_path / "grader.py"
    path.write_text(EXAMPLE)
    hashes = [
        load_grader(path).hash,
        load_grader(path, extract=["a"]).hash,
        load_grader(path, judges={"tone": ["m", "Is it polite?", None]}).hash,
        load_grader(path, judges={"tone": ["m", "Is it kind?", None]}).hash,
    ]
    path.write_text(EXAMPLE + "\n")
    hashes.append(load_grader(path).hash)
    assert len(set(hashes)) == 5
    assert load_grader(path, extract=["a", "b"]).hash == load_grader(path, extract=["b", "a"]).hash
