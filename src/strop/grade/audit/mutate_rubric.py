"""Mutants of `rubric = Rubric(Component(...), ...)`, beside those of the functions that it is made of.

A dropped component has weight 0 and the others grow as the Rubric normalises them; one that only is a gate
loses the gate. A weight changes places with the largest other one, or doubles where all are equal, since a
Rubric takes no negative weight.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import cast

import msgspec

from strop.grade.audit.mutate_source import Made, confusable, constants_of, once, quoted
from strop.grade.audit.mutation import Edit, Item, Mutation, Text, number_of, steps_of
from strop.grade.declared import declared_rubric

_PARAMETERS = ("name", "score", "weight", "gate")


class _Part(msgspec.Struct):
    """A Component as it stands in the file."""

    call: ast.Call
    score: ast.expr | None
    weight: ast.expr | None
    gate: ast.expr | None
    value: float
    threshold: float | None


def mutations(text: Text, examples: Sequence[Item] = ()) -> list[Mutation]:
    """Return the mutants of a rubric's components; none where the file has no rubric."""
    rubric = declared_rubric(text.tree)
    if rubric is None:
        return []
    constants = constants_of(text.tree)
    parts = [_part(part, constants) for part in rubric.args if isinstance(part, ast.Call)]
    made: list[Made] = []
    for part in parts:
        others = [p for p in parts if p is not part]
        made += _of_weight(text, part, others)
        made += _of_gate(text, part)
        if part.score is not None:
            made += _of_score(text, part.score, examples)
    return once([m for kind, edits in made if (m := text.mutation(kind, edits)) is not None])


def _part(call: ast.Call, constants: dict[str, float]) -> _Part:
    given: dict[str, ast.expr] = dict(zip(_PARAMETERS, call.args, strict=False))
    given |= {k.arg: k.value for k in call.keywords if k.arg is not None}
    weight, gate = given.get("weight"), given.get("gate")
    value = constants.get(weight.id) if isinstance(weight, ast.Name) else number_of(weight)
    threshold = number_of(gate)
    if isinstance(gate, ast.Constant) and gate.value is True:
        threshold = 1.0
    return _Part(call, given.get("score"), weight, gate, 1.0 if value is None else value, threshold)


def _with(text: Text, part: _Part, name: str, node: ast.expr | None, value: str) -> Edit:
    """Give a parameter of a Component a value, whether it was written down or not."""
    if node is not None:
        return text.replaced(node, value)
    last = max((*part.call.args, *(k.value for k in part.call.keywords)), key=lambda n: text.span(n)[1])
    end = text.span(last)[1]
    return Edit(end, end, f", {name}={value}")


def _of_weight(text: Text, part: _Part, others: Sequence[_Part]) -> Iterator[Made]:
    if part.value == 0:
        yield "component dropped", [_with(text, part, "gate", part.gate, "False")]
        return
    if sum(p.value for p in others) > 0:
        yield "component dropped", [_with(text, part, "weight", part.weight, "0.0")]
    unlike = [p for p in others if p.value != part.value]
    if not unlike:
        yield "weight flipped", [_with(text, part, "weight", part.weight, f"{2 * part.value:g}")]
        return
    largest = max(unlike, key=lambda p: p.value)
    yield (
        "weight flipped",
        [
            _with(text, part, "weight", part.weight, f"{largest.value:g}"),
            _with(text, largest, "weight", largest.weight, f"{part.value:g}"),
        ],
    )


def _of_gate(text: Text, part: _Part) -> Iterator[Made]:
    if part.threshold is None:
        yield "gate off by one", [_with(text, part, "gate", part.gate, "True")]
        return
    values = ["False"]
    if part.threshold == 1.0:
        values.append("0.5")
    elif part.gate is not None:
        values += [s for s in steps_of(text.segment(part.gate)) or () if 0 < float(s.strip("()")) <= 1]
    for value in values:
        yield "gate off by one", [_with(text, part, "gate", part.gate, value)]


def _of_score(text: Text, score: ast.expr, examples: Sequence[Item]) -> Iterator[Made]:
    for value in ("0.0", "1.0"):
        yield "constant returned", [text.replaced(score, f"lambda rollout, ground_truth: {value}")]
    if not isinstance(score, ast.Call):
        return
    # Ready components name the rollout's key first and the ground truth's last: equal("status", "state").
    names = [a for a in score.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    for i, node in enumerate(names):
        places = ("ground_truth",) if i else ("rollout", "ground_truth")
        for place in places if len(names) == 1 else places[:1]:
            other = confusable(cast("str", node.value), (place,), examples)
            if other is not None:
                yield "reference swapped", [text.replaced(node, quoted(text.segment(node), other))]
    for keyword in score.keywords:
        if number_of(keyword.value) is not None:
            for step in steps_of(text.segment(keyword.value)) or ():
                yield "gate off by one", [text.replaced(keyword.value, step)]
