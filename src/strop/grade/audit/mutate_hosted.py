"""Mutants of OpenAI's grader JSON: of its formula, its checks, its templates, and the Python inside.

In `calculate_output` a grader's name becomes 0 (component dropped) and 1 (constant returned), a number
changes places with the largest other one (weight flipped) or moves by a step (gate off by one). A check is
negated or loosened (eq and ilike), its template reads another key, its input is compared with itself. A label
model passes what it failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from strop.errors import ConfigError
from strop.grade.audit import mutate_source
from strop.grade.audit.mutate_source import confusable, once
from strop.grade.audit.mutation import Item, Kind, Mutation, Text, steps_of
from strop.grade.openai.file import read_grader
from strop.grade.openai.template import TemplateError, Variable, parse_template
from strop.records import JsonObject

_NUMBER = re.compile(r"(?<![\w.])(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NAME = re.compile(r"[^\W\d]\w*")
_NEGATED = {"eq": "ne", "ne": "eq"}
_OTHER = {"eq": "ilike", "like": "eq", "ilike": "eq"}
_WIDEST = 160

Where = tuple[str | int, ...]


def mutations(source: str, examples: Sequence[Item] = ()) -> list[Mutation]:
    """Return the mutants of a grader's JSON, those that can be read as a grader.

    Raises ConfigError for a source that is none.
    """
    read_grader(source, "grader")
    tree: JsonObject = json.loads(source)
    found: list[Mutation] = []
    for kind, where, old, new, inner in _changes(tree, examples):
        changed = json.dumps(_set(tree, where, new), indent=2, ensure_ascii=False) + "\n"
        try:
            read_grader(changed, "mutant")
        except ConfigError:
            continue
        place = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
        diff = f"{_shown(old)} -> {_shown(new)}" if inner is None else inner.diff
        found.append(
            Mutation(
                kind=kind,
                place=place if inner is None else f"{place} {inner.place}",
                line=_line(source, where),
                diff=diff,
                source=changed,
            )
        )
    return once(found)


Change = tuple[Kind, Where, Any, Any, Mutation | None]


def _changes(tree: JsonObject, examples: Sequence[Item]) -> Iterator[Change]:
    if tree.get("type") != "multi":
        yield from _of_grader(tree, (), examples)
        return
    raw = tree["graders"]
    if isinstance(raw, list):
        members = [(("graders", i), g) for i, g in enumerate(cast("list[JsonObject]", raw))]
        names = {str(g.get("name")) for _, g in members}
    elif isinstance(raw.get("type"), str):
        members, names = [(("graders",), raw)], {str(raw.get("name"))}
    else:
        members = [(("graders", key), g) for key, g in cast("dict[str, JsonObject]", raw).items()]
        names = set(raw)
    formula = str(tree["calculate_output"])
    for kind, new in _of_formula(formula, names):
        yield kind, ("calculate_output",), formula, new, None
    for where, grader in members:
        yield from _of_grader(grader, where, examples)


def _of_formula(formula: str, names: set[str]) -> Iterator[tuple[Kind, str]]:
    for found in _NAME.finditer(formula):
        if found[0] in names:
            start, end = found.span()
            yield "component dropped", f"{formula[:start]}0{formula[end:]}"
            yield "constant returned", f"{formula[:start]}1{formula[end:]}"
    numbers = list(_NUMBER.finditer(formula))
    for found in numbers:
        for step in steps_of(found[0]) or ():
            yield "gate off by one", formula[: found.start()] + step + formula[found.end() :]
        others = [n for n in numbers if float(n[0]) != float(found[0])]
        if not others:
            yield "weight flipped", f"{formula[: found.start()]}(-{found[0]}){formula[found.end() :]}"
            continue
        largest = max(others, key=lambda n: float(n[0]))
        one, two = sorted((found, largest), key=lambda n: n.start())
        yield (
            "weight flipped",
            (
                formula[: one.start()]
                + two[0]
                + formula[one.end() : two.start()]
                + one[0]
                + formula[two.end() :]
            ),
        )


def _of_grader(grader: JsonObject, where: Where, examples: Sequence[Item]) -> Iterator[Change]:
    kind = grader.get("type")
    if kind == "python":
        source = str(grader["source"])
        for inner in mutate_source.mutations(Text(source), examples):
            yield inner.kind, (*where, "source"), source, inner.source, inner
    elif kind in ("string_check", "text_similarity"):
        if kind == "string_check":
            operation = str(grader["operation"])
            for change, table in (("comparison negated", _NEGATED), ("gate off by one", _OTHER)):
                if operation in table:
                    yield cast("Kind", change), (*where, "operation"), operation, table[operation], None
        own, other = str(grader["input"]), str(grader["reference"])
        if own != other:
            yield "reference swapped", (*where, "input"), own, other, None
        for key, text in (("input", own), ("reference", other)):
            for swapped in _of_template(text, examples):
                yield "reference swapped", (*where, key), text, swapped, None
    elif kind == "label_model":
        passing, labels = list(grader["passing_labels"]), list(grader["labels"])
        rest = [label for label in labels if label not in passing]
        if rest:
            yield "comparison negated", (*where, "passing_labels"), passing, rest, None


def _of_template(text: str, examples: Sequence[Item]) -> Iterator[str]:
    """Put another key in the place of each variable's last one."""
    try:
        parts = parse_template(text).parts
    except TemplateError:
        return
    for i, part in enumerate(parts):
        if not isinstance(part, Variable) or not all(isinstance(step, str) for step in part.path):
            continue
        steps = cast("tuple[str, ...]", part.path)
        other = confusable(steps[-1], (part.namespace, *steps[:-1]), examples)
        if other is not None:
            swapped = Variable(part.namespace, (*steps[:-1], other))
            yield "".join(
                p if isinstance(p, str) else "{{ " + str(p) + " }}"
                for p in (*parts[:i], swapped, *parts[i + 1 :])
            )


def _set(tree: Any, where: Where, value: Any) -> Any:
    """Return a copy of the tree with a value in one place."""
    if not where:
        return value
    step, rest = where[0], where[1:]
    if isinstance(step, int):
        return [_set(v, rest, value) if i == step else v for i, v in enumerate(tree)]
    held = cast("Mapping[str, Any]", tree)
    return {key: _set(inner, rest, value) if key == step else inner for key, inner in held.items()}


def _line(source: str, where: Where) -> int:
    """Return the line on which the last key of a path stands."""
    at = 0
    for step in where:
        if isinstance(step, str):
            found = re.compile(re.escape(json.dumps(step)) + r"\s*:").search(source, at)
            found = found or re.compile(re.escape(json.dumps(step, ensure_ascii=False))).search(source, at)
            at = at if found is None else found.start()
    return source.count("\n", 0, at) + 1


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."
