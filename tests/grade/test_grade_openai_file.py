"""grade.file = "grader.json": read with errors that name the place, run in the sandbox like any grader."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from forty.manifest import SPECIMENS, WORLDS, Specimen
from grading import EXAMPLE, project, rollout, task, turns
from hosted import FIELDS, JUDGES, final_of
from msgspec.structs import replace

from strop.config import Config
from strop.errors import ConfigError
from strop.grade.extract import view_of_rollout
from strop.grade.load import GraderSource, load_grader
from strop.grade.openai.compile import to_python
from strop.grade.openai.execute import evaluate
from strop.grade.openai.python import run_in_process
from strop.grade.openai.sample import arguments_of
from strop.grade.openai.schema import parse_grader
from strop.grade.openai.split import to_multi
from strop.grade.sandbox import Limits, Sandbox
from strop.grade.sandbox.probe import probe
from strop.grade.scorer import Scorer
from strop.records import Grade, Rollout, Task
from strop.store import Database

HOLDS = probe()
confined = pytest.mark.skipif(
    not (HOLDS["seccomp"] and HOLDS["landlock"]), reason="needs seccomp and Landlock"
)

STATUS: dict[str, Any] = {
    "type": "string_check", "name": "status", "input": "{{ sample.output_json.final_status }}",
    "reference": "{{ item.status }}", "operation": "eq",
}  # fmt: skip
WORDS: dict[str, Any] = {
    "type": "text_similarity", "name": "words", "input": "{{ sample.output_text }}",
    "reference": "{{ item.status }}", "evaluation_metric": "rouge_1",
}  # fmt: skip
RIGHT = '{"final_status": "delivered"}'


def python(body: str, name: str = "code") -> dict[str, Any]:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return {"type": "python", "name": name, "source": f"def grade(sample, item):\n{lines}"}


def multi(formula: str, **graders: dict[str, Any]) -> dict[str, Any]:
    return {"type": "multi", "name": "m", "graders": graders, "calculate_output": formula}


def hosted(root: Path, grader: object, **sections: Any) -> tuple[Config, Database]:
    """Return a project whose grader is this JSON; a text is written as it is."""
    root.mkdir(parents=True, exist_ok=True)
    text = grader if isinstance(grader, str) else json.dumps(grader)
    (root / "grader.json").write_text(text, encoding="utf-8")
    return project(root, grade={"file": "grader.json", **sections.pop("grade", {})}, **sections)


def graded(root: Path, grader: object, *pairs: tuple[Task, Rollout], **sections: Any) -> list[Grade]:
    config, db = hosted(root, grader, **sections)
    with Scorer(config, db) as scorer:
        return scorer.score(pairs or [(task(), rollout(RIGHT))])


def with_truth(truth: dict[str, Any]) -> Task:
    return replace(task(), ground_truth=truth)


def read(tmp_path: Path, text: str) -> GraderSource:
    (tmp_path / "grader.json").write_text(text, encoding="utf-8")
    return load_grader(tmp_path / "grader.json")


# reading


def test_form_names_weights_and_hash(tmp_path: Path) -> None:
    raw = multi("0.75 * status + 0.25 * code", status=STATUS, code=python("return 1"))
    grader = read(tmp_path, json.dumps(raw))
    assert (grader.form, grader.names) == ("openai", ("status", "code"))
    assert grader.weights == {"status": 0.75, "code": 0.25} and grader.gates == {}
    product = read(tmp_path, json.dumps({**raw, "calculate_output": "status * code"}))
    assert (product.names, product.weights) == (("status", "code"), {})
    assert product.hash != grader.hash
    alone = read(tmp_path, json.dumps(STATUS))
    assert (alone.form, alone.names, alone.weights) == ("openai", (), {})


@pytest.mark.parametrize(
    ("text", "says", "where"),
    [
        ("", "not JSON", ":1"),
        ('{\n  "type": "python",\n}', "not JSON", ":3"),
        ("[1]", "a grader is a JSON object", " $"),
        ('{"a": 1, "a": 2}', "'a' stands twice", ""),
        ('{"type": "python", "pass_threshold": NaN}', "NaN is not JSON", ""),
        ('{"type": "python", "pass_threshold": ' + "9" * 5000 + "}", "can't be read", ""),
        ("[" * 100_000, "nested too deeply", ""),
        (json.dumps({**STATUS, "operation": "neq"}), "neq", " $.operation"),
        (json.dumps({**STATUS, "reward": 1}), "reward", " $"),
        (json.dumps({**STATUS, "input": "{{ sample.x"}), "never closed", " $.input"),
        (json.dumps(python("return (")), "not Python", " $.source"),
        (json.dumps(multi("status + tone", status=STATUS)), "'tone'", " $.calculate_output"),
        (
            json.dumps(multi("(" * 2000 + "status" + ")" * 2000, status=STATUS)),
            "levels",
            " $.calculate_output",
        ),
        (json.dumps(multi("code", code={**python("return 1"), "name": 3})), "str", " $.graders.code.name"),
        (json.dumps(multi("a.b", **{"a.b": STATUS})), "can't be read", " $.calculate_output"),
        (json.dumps(python("return 1" + "#" * 256_000)), "256 kB", " $.source"),
        (json.dumps({**STATUS, "reference": "x" * 9_000_000}), "the limit is", ""),
    ],
    ids=range(17),
)
def test_a_bad_file_names_its_place(tmp_path: Path, text: str, says: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert says in caught.value.what
    assert caught.value.where == f"{tmp_path / 'grader.json'}{where}"


def test_json_is_not_compiled_again(tmp_path: Path) -> None:
    grader = read(tmp_path, json.dumps(STATUS))
    for compiling in (lambda: to_python(grader), lambda: to_multi(grader, judges={})):
        with pytest.raises(ConfigError, match="already"):
            compiling()


# grading


def test_a_multi_grader_has_its_parts_as_components(tmp_path: Path) -> None:
    raw = multi(
        "0.5 * status + 0.25 * calls + 0.25 * words",
        status=STATUS,
        calls=python("return len(sample['output_tools']) / 2"),
        words=WORDS,
    )
    right, wrong = graded(
        tmp_path, raw, (task(), rollout(RIGHT)), (task(), rollout('{"final_status": "lost"}', tools=()))
    )
    assert right.components == {"status": 1.0, "calls": 1.0, "words": 0.5} and right.score == 0.875
    assert wrong == Grade(score=0.0, components={"status": 0.0, "calls": 0.0, "words": 0.0})


def test_components_also_where_the_formula_is_no_sum(tmp_path: Path) -> None:
    (grade,) = graded(tmp_path, multi("status * min(1, code)", status=STATUS, code=python("return 0.5")))
    assert grade == Grade(score=0.5, components={"status": 1.0, "code": 0.5})


def test_a_part_outside_of_zero_to_one_counts_and_is_no_component(tmp_path: Path) -> None:
    (grade,) = graded(tmp_path, multi("status - code / 10", status=STATUS, code=python("return 5")))
    assert grade == Grade(score=0.5, components={"status": 1.0})


def test_the_item_is_the_ground_truth_and_the_prompt(tmp_path: Path) -> None:
    source = (
        "assert item['status'] == 'delivered' and item['strop_inquiry'] == 'Where is parcel 0?'\n"
        "assert [m['role'] for m in item['messages']] == ['system', 'user'] and item['tools'] == []\n"
        "assert sample['choices'][0]['message']['content'] == sample['output_text']\n"
        "return 1"
    )
    assert graded(tmp_path, python(source)) == [Grade(score=1.0)]


def test_a_threshold_changes_no_score(tmp_path: Path) -> None:
    raw = multi("0.3 * status", status={**STATUS, "pass_threshold": 2.0})
    for number, extra in enumerate(({}, {"pass_threshold": 0.9, "invalid_grade": 0.7})):
        (grade,) = graded(tmp_path / str(number), {**raw, **extra})
        assert grade == Grade(score=0.3, components={"status": 1.0})


def test_grades_are_stored_and_follow_the_file(tmp_path: Path) -> None:
    pairs = [(task(), rollout(RIGHT))]
    config, db = hosted(tmp_path, STATUS)
    with Scorer(config, db) as scorer:
        first = scorer.score(pairs)
    with Scorer(config, db) as again:
        assert again.score(pairs) == first
        assert again._sandbox is None  # pyright: ignore[reportPrivateUsage]  (nothing had to start)
    config, _ = hosted(tmp_path, {**STATUS, "operation": "ne"})
    with Scorer(config, db) as changed:
        assert (first[0].score, changed.score(pairs)[0].score) == (1.0, 0.0)


def test_a_source_may_define_dataclasses(tmp_path: Path) -> None:
    source = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Seen:
    calls: list[dict]

def grade(sample, item):
    return len(Seen(sample["output_tools"]).calls) / 2
"""
    assert graded(tmp_path, {"type": "python", "source": source}) == [Grade(score=1.0)]


@pytest.mark.parametrize("specimen", [s for s in SPECIMENS if s.file.suffix == ".json"], ids=lambda s: s.name)
def test_the_sandbox_gives_what_the_library_gives(specimen: Specimen) -> None:
    world = WORLDS[specimen.world]
    source = load_grader(specimen.file, extract=world.extract)
    grader = parse_grader(json.loads(source.source))
    seen = [
        arguments_of(view_of_rollout(one, attempt, world.extract), dict(one.ground_truth or {}))
        for one, attempts in world.cases[:20]
        for attempt in (*attempts, Rollout(task_id=one.task_id, policy="none", messages=(), final=None))
    ]
    with Sandbox(source, Limits(timeout_s=20, cpu_s=20, workers=1)) as sandbox:
        grades = sandbox.run(seen)
    for grade, (sample, item) in zip(grades, seen, strict=True):
        outcome = evaluate(grader, sample, item, run_python=run_in_process)
        assert grade.score == outcome.score
        assert (grade.error or "").startswith("raised ") == outcome.from_answer
        assert outcome.error is None or (grade.error or "").endswith(outcome.error[-40:])
        if grade.score is not None:
            assert grade.components == {k: v for k, v in outcome.sub_scores.items() if 0 <= v <= 1}


# failures


@pytest.mark.parametrize(
    ("grader", "answer", "says"),
    [
        (STATUS, '{"other": 1}', "no variable sample.output_json.final_status"),
        (STATUS, "no json", "the answer is no JSON"),
        (python("return sample['output_json']['x']"), "{}", "KeyError: 'x' (line 2)"),
        (python("import sys\nsys.exit(0)"), "{}", "SystemExit"),
        (python("return 'good'"), "{}", "no finite number"),
        (python("return 7"), "{}", "outside [0, 1]"),
        (multi("1 / (code - 1)", code=python("return 1")), "{}", "no finite value"),
        (WORDS, "x" * 60_000, "the limit is 50,000"),
    ],
    ids=range(8),
)
def test_an_answer_does_not_gain_by_breaking_its_grader(
    tmp_path: Path, grader: dict[str, Any], answer: str, says: str
) -> None:
    config, db = hosted(tmp_path, grader)
    with Scorer(config, db) as scorer:
        (plain,) = scorer.score([(task(), rollout(answer))])
        assert plain.score is None and plain.error is not None and says in plain.error
        (floored,) = scorer.score([(task(), rollout(answer))], reference_ok=lambda _: True)
        assert floored == Grade(score=0.0, floored=True)
        (unsure,) = scorer.score([(task(), rollout(answer))], reference_ok=lambda _: False)
        assert unsure == plain


@pytest.mark.parametrize(
    ("grader", "says"),
    [
        ({**STATUS, "reference": "{{ item.gone }}"}, "no variable item.gone"),
        (
            multi("a * b", a={**STATUS, "reference": "{{item.gone}}"}, b=python("1 / 0")),
            "no variable item.gone",
        ),
        ({**STATUS, "reference": "{{ item.messages[0].x }}"}, "no variable item.messages[0].x"),
    ],
    ids=range(3),
)
def test_a_fault_of_the_task_is_no_floor(tmp_path: Path, grader: dict[str, Any], says: str) -> None:
    config, db = hosted(tmp_path, grader)
    with Scorer(config, db) as scorer:
        (grade,) = scorer.score([(task(), rollout(RIGHT))], reference_ok=lambda _: True)
    assert grade.score is None and grade.error is not None and says in grade.error


def test_a_part_that_fails_fails_the_whole(tmp_path: Path) -> None:
    (grade,) = graded(tmp_path, multi("max(status, code)", status=STATUS, code=python("1 / 0")))
    assert grade.error is not None and "code: raised" in grade.error and not grade.components


# abuse


@confined
@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd').read()",
        "open('/tmp/strop-was-here', 'w')",
        "open(item['grader'], 'w')",
        "__import__('socket').socket()",
        "__import__('os').fork()",
        "__import__('os').listdir('/proc')",
        "__import__('os').kill(__import__('os').getppid(), 9)",
        "__import__('subprocess').run(['true'])",
        "bytearray(10 << 30)",
        "grade(sample, item)",
    ],
)
def test_python_in_the_json_is_contained(tmp_path: Path, attempt: str) -> None:
    config, db = hosted(tmp_path, multi("0.5 * status + 0.5 * code", status=STATUS, code=python(attempt)))
    truth = {"status": "delivered", "grader": str(tmp_path / "grader.json")}
    text = (tmp_path / "grader.json").read_text()
    with Scorer(config, db) as scorer:
        (grade,) = scorer.score([(with_truth(truth), rollout(RIGHT))])
    assert grade.score is None and grade.error is not None and "code: raised GraderRaised" in grade.error
    assert (tmp_path / "grader.json").read_text() == text
    assert not Path("/tmp/strop-was-here").exists()


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        ("while True: pass", "timeout: no grade within 1 s"),
        ("import os; os._exit(0)", "crashed: the grader ended its process (exit status 0)"),
    ],
)
def test_a_worker_that_ends_costs_one_item(tmp_path: Path, attempt: str, says: str) -> None:
    body = f"if item['n'] == 1:\n    {attempt}\nreturn 0.5"
    config, db = hosted(tmp_path, python(body), grade={"timeout_s": 1.0})
    pairs = [(with_truth({"n": n}), rollout(RIGHT)) for n in range(3)]
    with Scorer(config, db) as scorer:
        before, bad, after = scorer.score(pairs, reference_ok=lambda _: True)
    assert before == after == Grade(score=0.5)
    assert bad.error is not None and bad.error.startswith(says)


def test_what_one_source_does_to_its_item_the_next_does_not_see(tmp_path: Path) -> None:
    raw = multi(
        "0.5 * a + 0.5 * b",
        a=python("sample.clear()\nitem['status'] = 'x'\nimport builtins\nbuiltins.SEEN = 1\nreturn 1"),
        b=python("return float(item['status'] == 'delivered' and 'output_text' in sample)"),
    )
    (grade,) = graded(tmp_path, raw)
    assert grade.score == 1.0


def test_a_huge_grader_and_a_long_formula_are_graded(tmp_path: Path) -> None:
    parts = {
        f"p{i}": {**STATUS, "name": f"p{i}", "reference": "delivered" + " " * 10_000} for i in range(200)
    }
    parts["ok"] = STATUS
    formula = " + ".join(["0.000001 * ok"] * 5000) + "".join(f" + 0 * p{i}" for i in range(200))
    (grade,) = graded(tmp_path, multi(formula, **parts))
    assert grade.score == pytest.approx(0.005) and len(grade.components) == 201


# a grader file and its compiled JSON


LINEAR = EXAMPLE.replace(
    'float(rollout["llm_judge"]["tone_pass"])', 'float(isinstance(rollout["message"], str))'
)
RUBRIC = """
from strop.grade.components import equal, equal_normalised
from strop.grade.rubric import Component, Rubric, Scored


def few_calls(rollout, ground_truth):
    return Scored(1 / (1 + len(rollout["tool_calls"])), "calls")


rubric = Rubric(
    Component("answer_ok", equal("final_status", "status"), weight=0.6, gate=True),
    Component("few", few_calls, weight=0.25),
    Component("same", equal_normalised("message", "status"), weight=0.15),
)
"""


@pytest.mark.parametrize("source", [LINEAR, RUBRIC], ids=["function", "rubric"])
def test_a_file_and_its_compiled_json_score_alike(tmp_path: Path, source: str) -> None:
    rng = Random(11)
    pairs: list[tuple[Task, Rollout]] = []
    for number in range(150):
        tools = rng.choice([(), ("lookup_tracking",), ("lookup_tracking", "lookup_eta"), ("lookup_eta",)])
        final = final_of(rng)
        truth = {"status": rng.choice(("delivered", "lost")), "n": number}
        made = Rollout(task_id="task-0", policy="test", messages=turns(final, tools), final=final)
        pairs.append((with_truth(truth), made))
    config, db = project(tmp_path / "file", source, grade={"extract": FIELDS})
    grader = load_grader(tmp_path / "file" / "grader.py")
    with Scorer(config, db) as scorer:
        expected = scorer.score(pairs)
    assert len({g.score for g in expected}) > 2
    compiled = {
        "python": to_python(grader, extract=FIELDS),
        "multi": to_multi(grader, judges=JUDGES, extract=FIELDS),
    }
    for kind, raw in compiled.items():
        config, db = hosted(tmp_path / kind, raw)
        with Scorer(config, db) as scorer:
            found = scorer.score(pairs)
        for one, other in zip(expected, found, strict=True):
            assert (one.score is None) == (other.score is None), (kind, other.error)
            assert one.score is None or other.score == pytest.approx(one.score, abs=1e-9)
            if kind == "multi" and source == LINEAR:
                assert other.components == one.components
