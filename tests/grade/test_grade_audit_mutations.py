"""Mutants of graders: what is changed, where, and what is left alone."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from forty.manifest import Specimen
from grading import EXAMPLE
from hypothesis import given
from hypothesis import strategies as st
from mutated import CLEAN, items_of, score_with

from strop.errors import ConfigError
from strop.grade.audit.golden import Item
from strop.grade.audit.mutants import mutants_of
from strop.grade.audit.mutation import KINDS, steps_of
from strop.grade.load import load_grader
from strop.grade.openai.schema import parse_grader

RUBRIC = """
from strop.grade.components import close_number, equal
from strop.grade.rubric import Component, Rubric

HALF = 0.5

rubric = Rubric(
    Component("status", equal("final_status", "status"), weight=HALF, gate=True),
    Component("amount", close_number("amount", "amount", absolute=0.05), 0.3),
    Component("calm", lambda rollout, ground_truth: len(rollout["message"] or "") < 80, weight=0.2, gate=0.4),
)
"""


def diffs(source: str, kind: str, form: str = "rollout", examples: Sequence[Item] = ()) -> set[str]:
    return {m.diff for m in mutants_of(source, form, examples) if m.kind == kind}


def test_the_example_has_a_mutant_of_each_kind() -> None:
    returned = "return 0.60 * answer_ok + 0.25 * tool_ok + 0.15 * tone_ok"
    assert diffs(EXAMPLE, "component dropped") == {
        f"{returned} -> return 0.0 * answer_ok + 0.25 * tool_ok + 0.15 * tone_ok",
        f"{returned} -> return 0.60 * answer_ok + 0.0 * tool_ok + 0.15 * tone_ok",
        f"{returned} -> return 0.60 * answer_ok + 0.25 * tool_ok + 0.0 * tone_ok",
    }
    assert diffs(EXAMPLE, "weight flipped") == {
        f"{returned} -> return 0.25 * answer_ok + 0.60 * tool_ok + 0.15 * tone_ok",
        f"{returned} -> return 0.15 * answer_ok + 0.25 * tool_ok + 0.60 * tone_ok",
    }
    tools = "tool_ok = float(tools[:2] == expected)"
    assert diffs(EXAMPLE, "gate off by one") == {
        f"{tools} -> tool_ok = float(tools[:1] == expected)",
        f"{tools} -> tool_ok = float(tools[:3] == expected)",
    }
    answer = 'answer_ok = float(rollout["final_status"] == ground_truth["status"])'
    assert diffs(EXAMPLE, "comparison negated") == {
        f"{answer} -> {answer.replace('==', '!=')}",
        f"{tools} -> tool_ok = float(tools[:2] != expected)",
    }
    assert diffs(EXAMPLE, "reference swapped") == {
        f'{answer} -> answer_ok = float(ground_truth["status"] == ground_truth["status"])'
    }
    assert diffs(EXAMPLE, "constant returned") == {f"before {answer}: return {v}" for v in ("0.0", "1.0")}
    first = mutants_of(EXAMPLE, "rollout")[0]
    assert (first.line, first.place) == (5, "line 5") and first.source.count("\n") >= EXAMPLE.count("\n")


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [
        ("gate off by one", "return float(x <= 0.85)", {"x < 0.85", "x <= 0.84", "x <= 0.86"}),
        ("gate off by one", "return float(len(y) == 2)", {"len(y) >= 2", "len(y) == 1", "len(y) == 3"}),
        ("gate off by one", "return float(x > 0)", {"x >= 0", "x > (-1)", "x > 1"}),
        ("gate off by one", "return float(y[1:] == z)", {"y[0:] == z", "y[2:] == z"}),
        ("gate off by one", "return float(y[:0] == z)", {"y[:1] == z"}),
        ("gate off by one", "return float(y == z)", set[str]()),
        ("gate off by one", "return float(y[2] == z)", set[str]()),
        ("and/or exchanged", "return float(x and y and z)", {"(x or y or z)"}),
        ("and/or exchanged", "return float(all(x))", {"any(x)"}),
        ("and/or exchanged", "return float(min(x, y))", {"max(x, y)"}),
        ("and/or exchanged", "return float(max(x))", set[str]()),
        ("comparison negated", "return float(x not in y)", {"x in y"}),
        ("comparison negated", "return float((x) is(y))", {"(x) is not(y)"}),
        ("comparison negated", "return float(0 < x < 1)", {"0 >= x < 1", "0 < x >= 1"}),
        ("comparison negated", "return float(not x)", {"(x)"}),
        ("comparison negated", "return float(1 if x else 0)", {"1 if (not (x)) else 0"}),
        ("comparison negated", "return float([i for i in x if ok(i)])", {"[i for i in x if (not (ok(i)))]"}),
        ("comparison negated", "return float('ä' == x)", {"'ä' != x"}),
    ],
)
def test_what_each_change_does(kind: str, line: str, expected: set[str]) -> None:
    found = diffs(f"def grade(rollout, ground_truth):\n    {line}\n", kind)
    assert found == {f"{line} -> return float({new})" for new in expected}


@pytest.mark.parametrize(
    ("body", "dropped", "flipped"),
    [
        ("return (a + b + c) / 3", 3, 0),
        ("s = 0.0\n    if a:\n        s += 0.7\n    if b:\n        s += 0.3\n    return s", 2, 1),
        ("W = {'a': 0.7, 'b': 0.3}\n    return sum(W[k] * v for k, v in x)", 2, 1),
        ("return W_A * a + 0.3 * b", 2, 1),
        ("return 0.5 * a + 0.5 * b", 2, 2),
        ("return 'a' + b", 0, 0),
        ("d = {'a': 3, 'b': 4}\n    return d", 0, 0),
        ("return 0.6 * (a + b) + 0.4 * c - 0.1 * d", 3, 2),
        ("return 0.6 * (0.7 * a + 0.3 * b) + 0.4 * c", 4, 2),
    ],
)
def test_weighted_sums_are_recognised(body: str, dropped: int, flipped: int) -> None:
    source = f"W_A = 0.7\ndef grade(rollout, ground_truth):\n    {body}\n"
    counts = Counter(m.kind for m in mutants_of(source, "rollout"))
    assert (counts["component dropped"], counts["weight flipped"]) == (dropped, flipped)


def test_equal_weights_change_their_sign() -> None:
    source = "def grade(rollout, ground_truth):\n    return 0.5 * a + 0.5 * b\n"
    assert "return 0.5 * a + 0.5 * b -> return (-0.5) * a + 0.5 * b" in diffs(source, "weight flipped")


def test_keys_are_confused_with_those_that_occur_and_are_alike() -> None:
    source = """
def grade(sample, item):
    a = sample["output_json"]["status"] == item.get("status")
    return float(a and item["days"] < 3 and sample["output_text"] != "" and len(item["calls"]))
"""
    example: Item = (
        {"output_text": "x", "output_json": {"status": "ok", "days": 3, "eta": "soon"}, "usage": {}},
        {"status": "ok", "days": 3, "weight": 2.5, "route": "r", "calls": []},
    )
    found = diffs(source, "reference swapped", "sample", [example])
    assert {d.split(" -> ")[1] for d in found} == {
        'a = sample["output_json"]["eta"] == item.get("status")',
        'a = sample["output_json"]["status"] == item.get("route")',
        'a = item.get("status") == item.get("status")',
        'return float(a and item["weight"] < 3 and sample["output_text"] != "" and len(item["calls"]))',
    }
    # Without examples only keys that the file itself reads are known.
    assert any('item["calls"] < 3' in d for d in diffs(source, "reference swapped", "sample"))


def test_early_returns() -> None:
    source = """
def grade(rollout, ground_truth):
    if not rollout["tool_calls"]:
        return 0.0
    return helper(rollout)

def helper(rollout) -> bool:
    return True
"""
    found = diffs(source, "constant returned")
    assert "return 0.0 -> return 1.0" in found and "return True -> return 0.0" in found
    assert 'if not rollout["tool_calls"]: -> if False:' in found
    assert 'before if not rollout["tool_calls"]:: return 1.0' in found
    assert "before return True: return 0.0" in found


def test_odd_layouts() -> None:
    assert diffs("def grade(rollout, ground_truth): return a", "constant returned") == {
        f"def grade(rollout, ground_truth): return a -> def grade(rollout, ground_truth): return {v}"
        for v in ("0.0", "1.0")
    }
    tabs = "def grade(rollout, ground_truth):\r\n\treturn 0.7 * a + \\\r\n\t\t0.3 * b\r\n"
    assert diffs(tabs, "constant returned") == {
        f"before return 0.7 * a + \\: return {v}" for v in ("0.0", "1.0")
    }
    assert diffs(tabs, "weight flipped") == {"return 0.7 * a + \\ -> return 0.3 * a + \\; 0.3 * b -> 0.7 * b"}
    commented = "def grade(rollout, ground_truth):\n    return (x  # not ==\n        == y)\n"
    assert all("# not ==" in m.source for m in mutants_of(commented, "rollout"))
    assert "== y) -> != y)" in diffs(commented, "comparison negated")
    formatted = 'def grade(rollout, ground_truth):\n    return tell(f"""\n{1 < 2} and""")\n'
    assert {m.kind for m in mutants_of(formatted, "rollout")} == {"constant returned"}
    assert mutants_of("", "rollout") == ()


def test_what_does_not_grade_is_left_alone() -> None:
    source = '''
"""Doc: 1 < 2."""
import os
def grade(rollout: "a and b", ground_truth: dict[str, "x == y"]) -> "0 < 1":
    """Not this: x and y == 3."""
    return 0.5

if __name__ == "__main__":
    print(1 < 2)
'''
    assert {m.kind for m in mutants_of(source, "rollout")} == {"constant returned"}


def test_a_rubric_is_mutated_as_a_rubric_can_be() -> None:
    example: Item = (
        {"final_status": "a", "message": "b", "amount": 3},
        {"status": "a", "route": "b", "amount": 3, "days": 1},
    )  # fmt: skip
    found = {k: diffs(RUBRIC, k, "rubric", [example]) for k in KINDS}
    status = 'Component("status", equal("final_status", "status"), weight=HALF, gate=True),'
    assert f"{status} -> {status.replace('HALF', '0.0')}" in found["component dropped"]
    assert len(found["component dropped"]) == 3
    assert f"{status} -> {status.replace('gate=True', 'gate=False')}" in found["gate off by one"]
    assert f"{status} -> {status.replace('gate=True', 'gate=0.5')}" in found["gate off by one"]
    amount = 'Component("amount", close_number("amount", "amount", absolute=0.05), 0.3),'
    assert f"{amount} -> {amount.replace('0.3)', '0.3, gate=True)')}" in found["gate off by one"]
    assert f"{amount} -> {amount.replace('0.05', '0.04')}" in found["gate off by one"]
    assert f"{status} -> {status.replace('final_status', 'message')}" in found["reference swapped"]
    assert (
        f"{status} -> {status.replace(', ' + chr(34) + 'status', ', ' + chr(34) + 'route')}"
        in found["reference swapped"]
    )
    swapped = f"{amount} -> {amount.replace('0.3', '0.5')}"
    assert any(d.startswith(status) and swapped in d and "weight=0.3" in d for d in found["weight flipped"])
    calm = [d for d in found["gate off by one"] if "gate=0.3" in d or "gate=0.5)" in d]
    assert len(calm) >= 2
    for m in mutants_of(RUBRIC, "rubric", [example]):
        score_with("rubric")(m.source, [])  # each loads: weights are valid, gates in (0, 1]


def test_dropping_the_only_weight_would_leave_no_rubric() -> None:
    source = (
        RUBRIC.replace("weight=HALF", "weight=1.0").replace("0.3)", "0.0)").replace("weight=0.2", "weight=0")
    )
    dropped = diffs(source, "component dropped", "rubric")
    assert not any("weight=0.0, gate=True" in d for d in dropped)
    assert any("0.0, gate=False)" in d for d in dropped)  # a component that is a gate only loses the gate


HOSTED = {
    "type": "multi",
    "name": "m",
    "graders": {
        "status": {
            "type": "string_check", "name": "status", "operation": "eq",
            "input": "{{ sample.output_json.status }}", "reference": "{{ item.status }}",
        },
        "code": {
            "type": "python", "name": "code",
            "source": "def grade(sample, item):\n    return float(1 < 2)\n",
        },
        "tone": {
            "type": "label_model", "name": "tone", "model": "m",
            "input": [{"role": "user", "content": "Kind?"}],
            "labels": ["yes", "no", "so"], "passing_labels": ["yes"],
        },
    },
    "calculate_output": "status * (0.5 + 0.3 * code + 0.2 * tone)",
}  # fmt: skip


@pytest.mark.parametrize("indent", [2, None])
def test_hosted_graders(indent: int | None) -> None:
    example: Item = ({"output_json": {"status": "a", "eta": "b"}}, {"status": "a", "route": "b"})
    source = json.dumps(HOSTED, indent=indent)
    found = mutants_of(source, "openai", [example])
    by_place: dict[str, set[tuple[str, str]]] = {}
    for m in found:
        parse_grader(json.loads(m.source))
        by_place.setdefault(m.place, set()).add((m.kind, m.diff))
        assert m.line == 1 or indent
    assert by_place["$.graders.status.operation"] == {
        ("comparison negated", "eq -> ne"), ("gate off by one", "eq -> ilike"),
    }  # fmt: skip
    assert by_place["$.graders.status.input"] == {
        ("reference swapped", "{{ sample.output_json.status }} -> {{ sample.output_json.eta }}"),
        ("reference swapped", "{{ sample.output_json.status }} -> {{ item.status }}"),
    }
    assert ("reference swapped", "{{ item.status }} -> {{ item.route }}") in by_place[
        "$.graders.status.reference"
    ]
    assert by_place["$.graders.tone.passing_labels"] == {("comparison negated", '["yes"] -> ["no", "so"]')}
    code = {kind for kind, _ in by_place["$.graders.code.source line 2"]}
    assert {"comparison negated", "gate off by one", "constant returned"} <= code
    formula = {diff.split(" -> ")[1]: kind for kind, diff in by_place["$.calculate_output"]}
    assert formula["0 * (0.5 + 0.3 * code + 0.2 * tone)"] == "component dropped"
    assert formula["1 * (0.5 + 0.3 * code + 0.2 * tone)"] == "constant returned"
    assert formula["status * (0.3 + 0.5 * code + 0.2 * tone)"] == "weight flipped"
    assert formula["status * (0.5 + 0.3 * code + 0.1 * tone)"] == "gate off by one"
    lines = source.split("\n")
    for m in found:
        if indent and m.place == "$.graders.status.operation":
            assert '"operation"' in lines[m.line - 1]
    listed = {**HOSTED, "graders": list(HOSTED["graders"].values())}  # type: ignore[attr-defined]
    assert any(m.place == "$.graders[0].operation" for m in mutants_of(json.dumps(listed), "openai"))


def test_sources_that_are_no_grader() -> None:
    with pytest.raises(ConfigError):
        mutants_of("{", "openai")
    with pytest.raises(SyntaxError):
        mutants_of("def grade(:", "rollout")


@pytest.mark.parametrize("specimen", CLEAN, ids=[s.name for s in CLEAN])
def test_every_mutant_differs_and_can_be_read(specimen: Specimen, tmp_path: Path) -> None:
    source = specimen.file.read_text(encoding="utf-8")
    form = load_grader(specimen.file).form
    found = mutants_of(source, form, items_of(specimen, 1))
    assert len(found) >= 20 and len({m.source for m in found} | {source}) == len(found) + 1
    file = tmp_path / f"mutant{specimen.file.suffix}"
    for m in found:
        assert m.kind in KINDS and m.diff and 1 <= m.line <= source.count("\n") + 1
        file.write_text(m.source, encoding="utf-8")
        assert load_grader(file).form == form
    if form != "openai":
        plain = [m for m in found if m.source.count("\n") == source.count("\n")]
        for m in plain:  # nothing but the named lines moved
            pairs = zip(source.split("\n"), m.source.split("\n"), strict=True)
            changed = [i for i, (a, b) in enumerate(pairs, 1) if a != b]
            assert m.line in changed and len(changed) <= 2


@given(st.decimals(min_value=0, max_value=1000, places=3))
def test_a_step_is_one_in_the_last_place(value: Any) -> None:
    low, high = steps_of(str(value)) or ("", "")
    assert float(high) - float(value) == pytest.approx(0.001)
    assert float(value) - float(low.strip("()")) == pytest.approx(0.001)
    assert steps_of("1_000") == ("999", "1001") and steps_of("x") is None
    assert ast.literal_eval(low) is not None
