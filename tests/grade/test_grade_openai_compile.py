from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grading import EXAMPLE
from hosted import FIELDS, JUDGES, load
from hypothesis import given
from hypothesis import strategies as st
from openai.types.fine_tuning.alpha.grader_validate_params import Grader as GraderParam
from openai.types.graders import LabelModelGrader, MultiGrader, PythonGrader
from pydantic import TypeAdapter, ValidationError

from strop.config import Judge
from strop.errors import ConfigError
from strop.grade.openai.compile import to_python
from strop.grade.openai.execute import evaluate
from strop.grade.openai.formula import parse_formula
from strop.grade.openai.python import GraderRaised, run_in_process
from strop.grade.openai.sample import sample_of_text
from strop.grade.openai.schema import MAX_SOURCE_BYTES, parse_grader
from strop.grade.openai.split import to_multi

RUBRIC = """
from strop.grade.components import equal, tool_order, verdict
from strop.grade.rubric import Component, Rubric

def own(rollout, ground_truth):
    return 1.0 if rollout["message"] else 0.0

rubric = Rubric(
    Component("answer_ok", equal("final_status", "status"), weight=0.60, gate=True),
    Component("own_ok", own, weight=0.25, gate=0.5),
    Component("more", {more}, weight=0.15),
)
"""
SAMPLE: dict[str, Any] = sample_of_text('{"final_status": "lost", "message": "hi"}')
ITEM: dict[str, Any] = {"status": "lost", "messages": [{"role": "user", "content": "q"}], "tools": []}


def body(*lines: str, first: str = "rollout", second: str = "ground_truth") -> str:
    return f"def grade({first}, {second}):\n" + "".join(f"    {line}\n" for line in lines)


def refused(folder: Path, source: str, kind: str = "python", **more: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        grader = load(folder, source)
        if kind == "python":
            to_python(grader, extract=FIELDS, **more)
        else:
            to_multi(grader, extract=FIELDS, **{"judges": JUDGES, **more})
    return caught.value


def python_value(folder: Path, source: str, sample: dict[str, Any] = SAMPLE, **more: Any) -> float:
    compiled = to_python(load(folder, source), extract=FIELDS, **more)
    return run_in_process(compiled["source"], sample, ITEM)


# The JSON


def test_the_official_sdk_accepts_what_is_compiled(tmp_path: Path) -> None:
    python = to_python(load(tmp_path, body("return float(rollout['message'] == 'hi')")), extract=FIELDS)
    assert PythonGrader.model_validate(python).image_tag == "2025-05-08"
    multi = to_multi(load(tmp_path, EXAMPLE), judges=JUDGES, extract=FIELDS)
    for grader in multi["graders"].values():
        kind = LabelModelGrader if grader["type"] == "label_model" else PythonGrader
        assert kind.model_validate(grader).name
        MultiGrader.model_validate({**multi, "graders": grader})
        TypeAdapter(GraderParam).validate_python({**multi, "graders": grader})
    # The SDK types `graders` as one grader; the service takes an object of them, as compiled here.
    with pytest.raises(ValidationError):
        MultiGrader.model_validate(multi)
    json.dumps([python, multi])


def test_the_example_becomes_three_components_and_a_formula(tmp_path: Path) -> None:
    multi = to_multi(load(tmp_path, EXAMPLE), judges=JUDGES, extract=FIELDS, name="example")
    assert multi["name"] == "example"
    assert multi["calculate_output"] == "0.6 * answer_ok + 0.25 * tool_ok + 0.15 * (tone_ok * tone_ok_given)"
    assert {k: g["type"] for k, g in multi["graders"].items()} == {
        "answer_ok": "python",
        "tool_ok": "python",
        "tone_ok": "label_model",
        "tone_ok_given": "python",
    }
    judge = multi["graders"]["tone_ok"]
    assert judge["labels"] == ["yes", "no"] and judge["passing_labels"] == ["yes"]
    assert "Is it polite?" in judge["input"][0]["content"] and "'message'" in judge["input"][0]["content"]


def test_gates_are_steps_of_the_formula(tmp_path: Path) -> None:
    grader = load(tmp_path, RUBRIC.replace("{more}", 'verdict("tone_pass")'))
    multi = to_multi(grader, judges=JUDGES, extract=FIELDS)
    assert multi["calculate_output"] == (
        "0.6 * answer_ok + 0.25 * own_ok"
        " + min(1, 1 + floor(answer_ok - 1.0)) * min(1, 1 + floor(own_ok - 0.5))"
        " * (0.15 * (more * more_given))"
    )


shares = st.floats(0, 1) | st.sampled_from([0.1, 0.5, 0.7, 1.0, 5e-324])


@given(shares.filter(bool), shares, st.integers(-2, 2))
def test_a_step_of_the_formula_is_a_gate(threshold: float, value: float, near: int) -> None:
    if near:  # the neighbours of the threshold, where rounding would show
        value = math.nextafter(threshold, near)
    step = parse_formula(f"min(1, 1 + floor(x - {threshold!r}))")  # 1 - 1e-21 is 1: hence the min
    assert not 0 <= value <= 1 or step.value({"x": value}) == float(value >= threshold)


def test_compiled_sources_need_nothing_of_strop(tmp_path: Path) -> None:
    rubric = RUBRIC.replace("{more}", 'tool_order("lookup")')
    compiled = to_python(load(tmp_path, rubric), extract=FIELDS, single_turn=True)
    script = f"""
import json, sys
class Block:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("strop", "msgspec"):
            raise ImportError(name)
sys.meta_path.insert(0, Block())
namespace = {{"__name__": "hosted"}}
exec({compiled["source"]!r}, namespace)
values = [namespace["grade"]({SAMPLE!r}, {ITEM!r}) for _ in range(2)]
print(json.dumps([values, sorted(m for m in sys.modules if m.split(".")[0] in ("strop", "msgspec"))]))
"""
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [[0.85, 0.85], []]


def test_only_used_components_go_along(tmp_path: Path) -> None:
    compiled = to_python(load(tmp_path, RUBRIC.replace("{more}", "own")), extract=FIELDS)
    assert "def equal(" in compiled["source"] and "def own(" in compiled["source"]
    other = "from strop.grade.components import equal\nfrom strop.grade.rubric import Component, Rubric\n"
    small = to_python(load(tmp_path, other + 'rubric = Rubric(Component("a", equal("message", "status")))'))
    assert "def tool_order(" not in small["source"] and len(small["source"]) < 60_000


@pytest.mark.parametrize(
    "imported",
    [
        "import strop.grade.components as c\nequal = c.equal\n"
        "from strop.grade.rubric import Component, Rubric",
        "from strop.grade import components as c\nfrom strop.grade import rubric as r\nequal = c.equal\n"
        "Rubric, Component = r.Rubric, r.Component",
        "from strop.grade.components.match import equal\nimport strop.grade.rubric\n"
        "Rubric, Component = strop.grade.rubric.Rubric, strop.grade.rubric.Component",
    ],
)
def test_components_may_be_imported_in_any_way(tmp_path: Path, imported: str) -> None:
    source = imported + '\nrubric = Rubric(Component("a", equal("final_status", "status")))\n'
    assert python_value(tmp_path, source) == 1.0


# What is out of reach


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (EXAMPLE, "llm_judge"),
        (body("return rollout['usage']['prompt_tokens'] / 100"), "usage"),
        (body("return len(rollout['messages']) / 9"), "messages"),
        (body("return len(rollout.get('messages', ())) / 9"), "messages"),
        (body("return len(rollout['tools']) / 9"), "tools"),
        (body("return ground_truth['messages']"), "ground_truth['messages']"),
        (body("return sample['llm_judge']['x']", first="sample", second="item"), "sample['llm_judge']"),
        (body("return item['messages']", first="sample", second="item"), "item['messages']"),
        ("def help(rollout):\n    return rollout['usage']\n" + body("return help(rollout)"), "usage"),
        (RUBRIC.replace("{more}", 'verdict("tone_pass")'), "which verdict reads"),
        (RUBRIC.replace("{more}", 'tool_order("lookup")'), "which tool_order reads"),
    ],
)
def test_a_file_that_reads_what_is_out_of_reach_is_refused(tmp_path: Path, source: str, says: str) -> None:
    error = refused(tmp_path, source)
    assert "out of reach" in error.what and says in error.what and error.fix
    assert error.where.startswith(str(tmp_path / "grader.py:"))


def test_the_line_of_the_refusal_is_the_files(tmp_path: Path) -> None:
    error = refused(tmp_path, RUBRIC.replace("{more}", 'tool_order("lookup")'))
    assert error.where == f"{tmp_path / 'grader.py'}:11"
    assert refused(tmp_path, body("x = 1", "return rollout['usage']['a']")).where.endswith(":3")


@pytest.mark.parametrize(
    "line",
    [
        "return rollout['us' + 'age']['prompt_tokens'] / 100",
        "return float(isinstance(rollout['mess' + 'ages'], list))",
        "return float(bool(rollout['llm_' + 'judge']))",
        "return float('x' in str(rollout))",
        "return float(any(v == 3 for v in rollout.values()))",
        "return [len(v) for k, v in rollout.items() if k == 'too' + 'ls'][0]",
        "import copy; return float(copy.deepcopy(rollout) is None)",
        "import json; return float(json.dumps(rollout) == '')",
        "return float(rollout == {})  or  float(hash(tuple(rollout.values())))",
        "return f'{[*rollout.values()][-2]}' and 1.0",
    ],
)
def test_a_read_that_the_text_hides_raises_when_it_runs(tmp_path: Path, line: str) -> None:
    with pytest.raises(GraderRaised, match=r"out of reach|not JSON serializable"):
        python_value(tmp_path, body(line))


def test_single_turn_brings_messages_and_tools(tmp_path: Path) -> None:
    source = body("return float(len(rollout['messages']) == 2 and rollout['tools'] == [])")
    assert python_value(tmp_path, source, single_turn=True) == 1.0
    compiled = to_python(load(tmp_path, source), single_turn=True)
    with pytest.raises(GraderRaised, match="KeyError"):
        run_in_process(compiled["source"], SAMPLE, {"status": "lost"})
    assert "usage" in refused(tmp_path, body("return rollout['usage']"), single_turn=True).what


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import httpx\n" + body("return 1"), "can't import httpx"),
        (body("from mine import x", "return x"), "can't import mine"),
        ("from . import x\n" + body("return 1"), "can't import ."),
        ("import msgspec\n" + body("return 1"), "can't import msgspec"),
        ("from strop.records import canonical_json\n" + body("return 1"), "can't import strop.records"),
        ("from strop.config import Config\n" + body("return 1"), "can't import strop.config"),
        (
            "from strop.grade.components import valid_json\n" + RUBRIC.replace("{more}", "valid_json({})"),
            "strop.grade.components.schema",
        ),
        (
            "from strop.grade.components import equal\n" + body("return 1", first="sample", second="item"),
            "can't take strop's components along",
        ),
    ],
)
def test_imports_that_a_hosted_grader_lacks_are_refused(tmp_path: Path, source: str, says: str) -> None:
    error = refused(tmp_path, source, single_turn=True)
    assert says in error.what + error.where


def test_imports_of_the_image_and_for_type_checkers_are_fine(tmp_path: Path) -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import httpx\nimport json, re\n"
    assert python_value(tmp_path, source + body("return float(json.loads('1'))")) == 1.0
    to_python(load(tmp_path, "import numpy as np\nfrom rapidfuzz import fuzz\n" + body("return 1")))


def test_reserved_fields_and_large_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'usage'"):
        to_python(load(tmp_path, body("return 1")), extract=["usage"])
    for kind in ("python", "multi"):
        error = refused(tmp_path, body("a = 1", "return a") + "#" * MAX_SOURCE_BYTES, kind)
        assert "256 kB" in error.what


# What the compiled grader does


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("return 1.5", "outside [0, 1]"),
        ("return float('nan')", "outside [0, 1]"),
        ("return '1'", "type str, not a number"),
        ("return None", "type NoneType, not a number"),
        ("return ground_truth['nope']", "KeyError"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_grade_that_is_none_raises(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(GraderRaised) as caught:
        python_value(tmp_path, body(line))
    assert says in str(caught.value)


def test_annotations_stay_as_the_file_has_them(tmp_path: Path) -> None:
    source = body("return float(grade.__annotations__ == {'rollout': dict})").replace(
        "(rollout,", "(rollout: dict,"
    )
    assert python_value(tmp_path, source) == 1.0


def test_the_item_is_the_ground_truth_without_what_strop_added(tmp_path: Path) -> None:
    source = body("return float(sorted(ground_truth) == ['status'])")
    compiled = to_python(load(tmp_path, source))
    assert run_in_process(compiled["source"], SAMPLE, {**ITEM, "strop_inquiry": "q"}) == 1.0


def test_what_openai_leaves_out_of_a_sample_is_no_answer(tmp_path: Path) -> None:
    source = body("return float(rollout['message'] is None and rollout['tool_calls'] == [])")
    bare = {"choices": [{"message": {"role": "assistant", "content": None}}]}
    for sample in (bare, {**bare, "output_text": None, "output_tools": None}):
        assert python_value(tmp_path, source, sample) == 1.0


# What can't be split


TONE = "tone = float(rollout['llm_judge']['tone_pass'])"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (body("if not rollout['eta']:", "    return 0.0", "a = 1", "return a"), "one result"),
        (body("a = 1", "for _ in [1]:", "    return a"), "one result"),
        (body("pass"), "one result"),
        (body("a = 1", "return round(a, 2)"), "functions are"),
        (body("a = 1", "return max([a])"), "functions are"),
        (body("a = 1", "return a // 2"), "arithmetic"),
        (body("a = 1", "return a if a else 0"), "arithmetic"),
        (body("a = 1", "return a * W").replace("def", "W = 0.5\ndef", 1), "arithmetic"),
        (body("return rollout * 0.5"), "arithmetic"),
        (body("a = 1", "return True * a"), "arithmetic"),
        (body("a = 1", "return a * 1e999"), "arithmetic"),
        (body(TONE, "ok = tone > 0", "return 0.5 * ok + 0.5 * tone"), "may only stand in the return"),
        (body("ok = rollout['llm_judge']['tone_pass'] and 1", "return ok"), "verdict must be a component"),
        (body("ok = rollout['llm_judge'].get('tone_pass')", "return ok"), "verdict must be a component"),
        (body("j = rollout['llm_judge']", "return float(j['tone_pass'])"), "arithmetic"),
        (body(TONE, "tone += 1", "return tone"), "out of reach"),
        (body("a = 1", "return a") + "grade = str(grade)", "bound anew"),
        ("@staticmethod\n" + body("a = 1", "return a"), "wrapped"),
        ("def min(a, b): return 3\n" + body("a = 1", "return min(a, a)"), "bound anew"),
        (body("log = 1", "return log"), "function of the formula"),
        (body("a = float(rollout['llm_judge']['nobody'])", "return a"), "no such judge"),
        (body("tone_pass = 1", "return tone_pass * rollout['llm_judge']['tone_pass']"), "name this verdict"),
        (RUBRIC.replace("own, weight", "lambda r, t: r['llm_judge'], weight").replace("{more}", "own"), ""),
    ],
)
def test_what_is_no_formula_of_components_is_refused(tmp_path: Path, source: str, says: str) -> None:
    if says:
        error = refused(tmp_path, source, "multi")
        assert says in error.what, error.what
    else:  # a component that hides its read is found when it runs
        grader = parse_grader(to_multi(load(tmp_path, source), judges=JUDGES, extract=FIELDS))
        outcome = evaluate(grader, SAMPLE, ITEM, run_python=run_in_process)
        assert outcome.score is None and "out of reach" in str(outcome.error)


def test_a_rubric_of_a_judge_with_braces_is_refused(tmp_path: Path) -> None:
    judges = {"tone_pass": Judge(rubric="Say {{name}}")}
    assert "doubled braces" in refused(tmp_path, EXAMPLE, "multi", judges=judges).fix


def test_names_of_guards_do_not_collide(tmp_path: Path) -> None:
    source = body(TONE, "tone_given = 1.0", "return 0.5 * tone + 0.5 * tone_given")
    multi = to_multi(load(tmp_path, source), judges=JUDGES, extract=FIELDS)
    assert multi["calculate_output"] == "0.5 * (tone * tone_given_) + 0.5 * tone_given"
    assert set(multi["graders"]) == {"tone", "tone_given", "tone_given_"}


def test_offsets_are_right_beside_other_letters(tmp_path: Path) -> None:
    source = body("größe = 1; ü = '…é'; return größe * 0.5  # ñ")
    multi = parse_grader(to_multi(load(tmp_path, source), judges={}))
    assert evaluate(multi, SAMPLE, ITEM, run_python=run_in_process).score == 0.5
