"""Whether golden cases notice that a grader broke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from grading import EXAMPLE
from hypothesis import given
from hypothesis import strategies as st
from mutated import CLEAN, items_of, score_with

from strop.errors import ConfigError
from strop.grade.audit.golden import Golden, Item, golden_line, parse_golden
from strop.grade.audit.mutants import MutationTest, Seen, chosen, mutants_of, mutation_test
from strop.grade.audit.mutation import KINDS, Mutation
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox
from strop.records import Grade


def seen(status: str, tools: Sequence[str], tone: bool = True) -> Item:
    calls = [{"name": name, "arguments": {}, "id": "c"} for name in tools]
    return {"final_status": status, "tool_calls": calls, "llm_judge": {"tone_pass": tone}}, {
        "status": "delivered"
    }


BOTH = ("lookup_tracking", "lookup_eta")
ATTEMPTS: dict[str, Item] = {
    "right": seen("delivered", BOTH),
    "wrong": seen("lost", BOTH),
    "rude": seen("delivered", BOTH, tone=False),
    "lazy": seen("delivered", ()),
    "turned": seen("delivered", BOTH[::-1]),
    "more": seen("delivered", (*BOTH, "refund")),
}


def cases_of(names: Sequence[str]) -> list[tuple[Golden, Item]]:
    items = [ATTEMPTS[name] for name in names]
    text = "\n".join(
        golden_line("rollout", item, grade.score or 0.0, name)
        for name, item, grade in zip(names, items, score_with("rollout")(EXAMPLE, items), strict=True)
    )
    return [(case, case.arguments("rollout")) for case in parse_golden(text)]


def examined(names: Sequence[str], rollouts: Sequence[str] = tuple(ATTEMPTS), **more: Any) -> MutationTest:
    wide = [Seen(name, ATTEMPTS[name]) for name in rollouts]
    return mutation_test(EXAMPLE, cases_of(names), wide, score_with("rollout"), form="rollout", **more)


def test_golden_cases_for_everything_catch_everything() -> None:
    found = examined(list(ATTEMPTS))
    assert (found.caught, found.survived, found.share, found.verdict) == (
        found.tried - found.alike,
        0,
        1.0,
        "pass",
    )
    assert found.alike <= 1 and found.broken == 0 and found.unmet == () and found.add == ()
    assert found.made == found.tried == len(found.mutants) == len(mutants_of(EXAMPLE, "rollout"))
    assert msgspec.json.encode(found) == msgspec.json.encode(examined(list(ATTEMPTS)))
    dropped = next(m for m in found.mutants if "0.0 * tone_ok" in m.diff)
    assert dropped.fate == "caught" and "right" in dropped.caught_by and "rude" not in dropped.caught_by


def test_survivors_name_the_rollout_and_its_line_catches_them() -> None:
    few = examined(["right"])
    assert (
        few.verdict == "warn"
        and few.survived > 3
        and few.share is not None
        and few.low < few.share < few.high
    )
    assert all(m.tells is not None for m in few.mutants if m.fate == "survived")
    truth = next(m for m in few.mutants if 'ground_truth["status"] == ground_truth["status"]' in m.diff)
    assert truth.fate == "survived" and truth.tells is not None
    assert (truth.tells.name, truth.tells.grader, truth.tells.mutant) == ("wrong", pytest.approx(0.4), 1.0)
    added = parse_golden("\n".join([golden_line("rollout", ATTEMPTS["right"], 1.0, "first"), *few.add]))
    more = [(case, case.arguments("rollout")) for case in added]
    wide = [Seen(name, item) for name, item in ATTEMPTS.items()]
    again = mutation_test(EXAMPLE, more, wide, score_with("rollout"), form="rollout")
    assert again.survived == 0 and again.share == 1.0 and again.verdict == "pass"


def test_what_no_rollout_tells_apart_counts_neither_way() -> None:
    found = examined(["right"], ["right", "rude"])
    swapped = next(m for m in found.mutants if "tools[:3]" in m.diff)
    assert swapped.fate == "not distinguishable on your rollouts" and swapped.tells is None
    assert found.alike > 0 and found.caught + found.survived + found.alike + found.broken == found.tried
    assert found.share == found.caught / (found.caught + found.survived)
    wide = examined(["right"], ["right", "rude", "more"])
    told = next(m for m in wide.mutants if "tools[:3]" in m.diff)
    assert told.fate == "survived" and told.tells is not None and told.tells.name == "more"


def test_bounds_that_are_too_wide_let_mutants_pass() -> None:
    (loose,) = parse_golden(
        golden_line("rollout", ATTEMPTS["wrong"], 0.4, "loose").replace('"score":0.4', '"at_most":0.9')
    )
    found = mutation_test(
        EXAMPLE, [(loose, loose.arguments("rollout"))], [], score_with("rollout"), form="rollout"
    )
    survivor = next(m for m in found.mutants if "0.0 * tool_ok" in m.diff)
    assert survivor.tells is not None and survivor.tells.golden and survivor.tells.name == "loose"


def test_a_golden_case_that_the_grader_misses_fails_and_catches_nothing() -> None:
    (wrong,) = parse_golden(golden_line("rollout", ATTEMPTS["wrong"], 0.9, "mistaken"))
    found = mutation_test(
        EXAMPLE,
        [(wrong, wrong.arguments("rollout")), *cases_of(["right"])],
        [],
        score_with("rollout"),
        form="rollout",
    )
    assert found.verdict == "fail" and "expects 0.9, got 0.4" in found.reason
    assert [(u.name, u.line, u.score) for u in found.unmet] == [("mistaken", 1, pytest.approx(0.4))]
    assert not any("mistaken" in m.caught_by for m in found.mutants)


def test_mutants_that_do_not_run_are_no_merit() -> None:
    source = EXAMPLE.replace('ground_truth["status"]', 'ground_truth["status"][:9]')
    item: Item = (ATTEMPTS["right"][0], {"status": "delivered", "none": "x"})

    def score(text: str, items: Sequence[Item]) -> list[Grade]:
        if "tools[:1]" in text:
            raise ConfigError("it does not load")
        if "!=" in text:
            return [Grade(error="raised") for _ in items]
        return score_with("rollout")(text, items)

    (case,) = parse_golden(golden_line("rollout", item, 1.0, "right"))
    found = mutation_test(source, [(case, item)], [], score, form="rollout")
    broken = [m.diff for m in found.mutants if m.fate == "does not run"]
    assert found.broken == len(broken) == 3 and all("!=" in d or "tools[:1]" in d for d in broken)


def test_without_golden_cases_or_items() -> None:
    none = examined([])
    assert none.verdict == "not applicable" and none.survived > 0 and none.caught == 0 and none.add
    empty = mutation_test(EXAMPLE, [], [], score_with("rollout"), form="rollout")
    assert (empty.tried, empty.share, empty.verdict) == (0, None, "not applicable") and empty.made > 10


@pytest.mark.parametrize("name", ["shipment_desk", "refund_rubric", "shipment_hosted", "expression_rubric"])
def test_rollouts_as_golden_cases_catch_most_mutants(name: str) -> None:
    specimen = next(s for s in CLEAN if s.name == name)
    form = load_grader(specimen.file).form
    source = specimen.file.read_text(encoding="utf-8")
    items, score = items_of(specimen, 4), score_with(form)
    text = "\n".join(
        golden_line(form, i, g.score or 0.0) for i, g in zip(items, score(source, items), strict=True)
    )
    cases = [(case, case.arguments(form)) for case in parse_golden(text)]
    wide = [Seen(f"r{i}", item) for i, item in enumerate(items_of(specimen, 6))]
    found = mutation_test(source, cases, wide, score, form=form)
    assert found.share is not None and found.share >= 0.8 and found.verdict == "pass"
    few = mutation_test(source, cases[:1], wide, score, form=form)
    assert few.share is not None and few.share < found.share


@given(st.lists(st.sampled_from(KINDS), max_size=90), st.integers(0, 70))
def test_the_choice_is_fair_and_bounded(kinds: list[Any], most: int) -> None:
    found = [Mutation(kind=k, place="", line=i, diff=str(i), source=str(i)) for i, k in enumerate(kinds)]
    kept = chosen(found, most)
    assert len(kept) == min(most, len(found)) and list(kept) == sorted(kept, key=lambda m: m.line)
    counts, given_ = Counter(m.kind for m in kept), Counter(kinds)
    short = [counts[k] for k in KINDS if counts[k] < given_[k]]
    assert not short or max(counts.values(), default=0) - min(short) <= 1


def test_in_the_sandbox(tmp_path: Path) -> None:
    def score(source: str, items: Sequence[Item]) -> list[Grade]:
        (tmp_path / "grader.py").write_text(source)
        with Sandbox(load_grader(tmp_path / "grader.py"), Limits(workers=1)) as sandbox:
            return sandbox.run(items)

    wide = [Seen(name, item) for name, item in ATTEMPTS.items()]
    found = mutation_test(EXAMPLE, cases_of(["right", "wrong"]), wide, score, form="rollout", most=6)
    here = mutation_test(
        EXAMPLE, cases_of(["right", "wrong"]), wide, score_with("rollout"), form="rollout", most=6
    )
    assert found == here and found.tried == 6
