"""Mutants of Python graders, from their syntax tree.

- component dropped: a term of a weighted sum gets weight 0, the others keep theirs. A weighted sum is a
  chain of + and - with a number times something in it (or divided by a number), a series of
  `score += number`, or a dictionary of weights.
- weight flipped: a weight changes places with the largest other one, so that the total stays in range and
  only what matters most is another thing; where all are equal, its sign changes.
- gate off by one: < and <=, > and >=, == and >= on numbers; numbers in comparisons and bounds of slices one
  step lower and higher (1 in the last written place).
- reference swapped: a key of the ground truth or the rollout becomes another one of the same type; what is
  compared with the ground truth becomes the ground truth itself.
- comparison negated; and/or exchanged (all and any, min and max, too).
- constant returned: 0 and 1 instead of the whole grade or of a helper's result, an early return's other
  value, an early return that never happens.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

from strop.grade.audit.mutation import (
    Edit,
    Item,
    Kind,
    Mutation,
    Text,
    nodes_of,
    number_of,
    steps_of,
)
from strop.grade.extract import RESERVED

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Made: TypeAlias = tuple[Kind, list[Edit | None]]

TRUTH, ATTEMPT = ("ground_truth", "item"), ("rollout", "sample")
_OPERATORS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Lt: ("<", ">="), ast.LtE: ("<=", ">"),
    ast.Gt: (">", "<="), ast.GtE: (">=", "<"), ast.In: (r"\bin\b", "not in"),
    ast.NotIn: (r"\bnot\s+in\b", "in"), ast.Is: (r"\bis\b", "is not"), ast.IsNot: (r"\bis\s+not\b", "is"),
}  # fmt: skip
_LOOSER: dict[type[ast.cmpop], str] = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: ">="}
_EXCHANGED = {"all": "any", "any": "all", "min": "max", "max": "min"}
_NUMERIC_CALLS = frozenset({"len", "sum", "abs", "round", "int", "float", "count"})
_OF_SAMPLE = frozenset({"output_text", "output_json", "output_tools", "choices"})
_RETURNS = frozenset({"float", "bool", "int", "Scored"})


def mutations(text: Text, examples: Sequence[Item] = ()) -> list[Mutation]:
    """Return the mutants of a Python grader, in the order of the lines and without repetition.

    examples: arguments that the grader gets, for the keys that can be confused.
    """
    made: list[Made] = []
    made += [m for terms in _sums(text) for m in _of_weights(text, terms)]
    made += _of_keys(text, examples)
    for node in nodes_of(text.tree):
        made += _of_node(text, node)
    for function in (n for n in text.tree.body if isinstance(n, Function)):
        made += _of_returns(text, function)
    found = [m for kind, edits in made if (m := text.mutation(kind, edits)) is not None]
    return once(found)


def once(found: Iterable[Mutation]) -> list[Mutation]:
    """Return each mutated source once, by line."""
    by_source: dict[str, Mutation] = {}
    for mutation in found:
        by_source.setdefault(mutation.source, mutation)
    return sorted(by_source.values(), key=lambda m: m.line)


def _of_node(text: Text, node: ast.AST) -> Iterator[Made]:
    if isinstance(node, ast.Compare):
        yield from _of_compare(text, node)
    elif isinstance(node, ast.BoolOp):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        pairs = zip(node.values[:-1], node.values[1:], strict=True)
        start, end = text.span(node)
        edits = [text.between(a, b, rf"\b{old}\b", new) for a, b in pairs]
        yield "and/or exchanged", [Edit(start, start, "("), *edits, Edit(end, end, ")")]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _EXCHANGED:
        if node.func.id in ("all", "any") or len(node.args) > 1:
            yield "and/or exchanged", [text.replaced(node.func, _EXCHANGED[node.func.id])]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "comparison negated", [text.replaced(node, f"({text.segment(node.operand)})")]
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        for bound in (node.slice.lower, node.slice.upper):
            if bound is not None and number_of(bound) is not None:
                yield from _stepped(text, bound, least=0)
    tests = [node.test] if isinstance(node, ast.If | ast.IfExp | ast.While) else []
    tests += node.ifs if isinstance(node, ast.comprehension) else []
    for test in tests:
        if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield "comparison negated", [text.replaced(test, f"(not ({text.segment(test)}))")]


def _of_compare(text: Text, node: ast.Compare) -> Iterator[Made]:
    sides = [node.left, *node.comparators]
    for op, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True):
        pattern, negated = _OPERATORS[type(op)]
        yield "comparison negated", [text.between(left, right, pattern, negated)]
        counts = not isinstance(op, ast.Eq) or any(_is_numeric(side) for side in (left, right))
        if type(op) in _LOOSER and counts:
            yield "gate off by one", [text.between(left, right, pattern, _LOOSER[type(op)])]
        if isinstance(op, ast.Eq):
            for own, other in ((left, right), (right, left)):
                if _reads(own, TRUTH) and not _reads(other, TRUTH):
                    yield "reference swapped", [text.replaced(other, text.segment(own))]
    for side in sides:
        for number in _numbers(side):
            yield from _stepped(text, number)


def _is_numeric(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name in _NUMERIC_CALLS
    return number_of(node) is not None


def _numbers(node: ast.AST) -> Iterator[ast.expr]:
    """Return the literal numbers of a side of a comparison, not those of an index or another comparison."""
    if isinstance(node, ast.Constant):
        if number_of(node) is not None:
            yield node
    elif not isinstance(node, ast.Subscript | ast.Compare | ast.Lambda | ast.JoinedStr):
        for inner in ast.iter_child_nodes(node):
            yield from _numbers(inner)


def _stepped(text: Text, number: ast.expr, least: float | None = None) -> Iterator[Made]:
    for step in steps_of(text.segment(number)) or ():
        if least is None or not step.startswith("("):
            yield "gate off by one", [text.replaced(number, step)]


def _reads(node: ast.AST, names: Sequence[str]) -> bool:
    return any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(node))


Term: TypeAlias = tuple[ast.expr, ast.expr | None, float]  # whole term, its weight in the text, the weight


def _sums(text: Text) -> Iterator[list[Term]]:
    """Return the weighted sums: of chains, of series of +=, of dictionaries of weights."""
    constants = constants_of(text.tree)
    inner: set[int] = set()
    averaged: set[int] = set()
    series: dict[tuple[int, str], list[Term]] = {}
    owner = {id(n): f.lineno for f in ast.walk(text.tree) if isinstance(f, Function) for n in ast.walk(f)}
    for node in nodes_of(text.tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and number_of(node.right) is not None:
            averaged.add(id(node.left))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and id(node) not in inner:
            inner |= {id(n) for n in _spine(node)}
            terms = [_term(part, constants) for part in _parts(node)]
            if any(weight is not None for _, weight, _ in terms) or id(node) in averaged:
                yield terms
        elif isinstance(node, ast.AugAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
            adds = isinstance(node, ast.Assign) or isinstance(node.op, ast.Add | ast.Sub)
            term = _term(node.value, constants)
            if number_of(node.value) is not None:
                term = (node.value, node.value, number_of(node.value) or 0.0)
            if adds and isinstance(target, ast.Name) and term[1] is not None and term[2]:
                series.setdefault((owner.get(id(node), 0), target.id), []).append(term)
        if isinstance(node, ast.Dict) and (weights := _weights(node)):
            yield weights
    yield from (terms for terms in series.values() if len(terms) > 1)


def _spine(node: ast.expr) -> list[ast.BinOp]:
    """Return the additions of a chain, the last one first."""
    found: list[ast.BinOp] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        found.append(node)
        node = node.left
    return found


def _parts(node: ast.BinOp) -> list[ast.expr]:
    chain = _spine(node)
    return [chain[-1].left, *(link.right for link in reversed(chain))]


def constants_of(tree: ast.Module) -> dict[str, float]:
    """Return the module's names for numbers."""
    found: dict[str, float] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and (value := number_of(node.value)) is not None:
            found.update({t.id: value for t in node.targets if isinstance(t, ast.Name)})
    return found


def _term(node: ast.expr, constants: Mapping[str, float]) -> Term:
    """Find the weight among the factors of a term."""
    stack = [node]
    while stack:
        factor = stack.pop()
        if isinstance(factor, ast.BinOp) and isinstance(factor.op, ast.Mult):
            stack += [factor.right, factor.left]
        elif factor is not node:
            value = constants.get(factor.id) if isinstance(factor, ast.Name) else number_of(factor)
            if value is not None:
                return node, factor, value
    return node, None, 1.0


def _weights(node: ast.Dict) -> list[Term]:
    values = [number_of(value) for value in node.values]
    texts = all(isinstance(k, ast.Constant) and isinstance(k.value, str) for k in node.keys)
    if len(values) < 2 or not texts or any(v is None for v in values):
        return []
    if abs(sum(v or 0.0 for v in values) - 1.0) > 0.011:
        return []
    return [
        (node, value, number_of(value) or 0.0) for node, value in zip(node.values, node.values, strict=True)
    ]


def _of_weights(text: Text, terms: Sequence[Term]) -> Iterator[Made]:
    for i, (whole, weight, value) in enumerate(terms):
        yield "component dropped", [text.replaced(weight if weight is not None else whole, "0.0")]
        if weight is None:
            continue
        others = [(w, v) for j, (_, w, v) in enumerate(terms) if j != i and w is not None and v != value]
        if others:
            other, _ = max(others, key=lambda found: abs(found[1]))
            yield (
                "weight flipped",
                [
                    text.replaced(weight, text.segment(other)),
                    text.replaced(other, text.segment(weight)),
                ],
            )
        else:
            yield "weight flipped", [text.replaced(weight, f"(-{text.segment(weight)})")]


Path: TypeAlias = tuple[str, ...]


def _of_keys(text: Text, examples: Sequence[Item]) -> Iterator[Made]:
    """Swap keys of what the grader is given."""
    read: dict[Path, set[str]] = {}
    sites: list[tuple[ast.expr, Path, str]] = []
    for node in nodes_of(text.tree):
        path, key = _path(node)
        if key is None or not path:
            continue
        name = cast("str", cast("ast.Constant", key).value)
        read.setdefault(path, set()).add(name)
        sites.append((key, path, name))
    for key, path, name in sites:
        other = confusable(name, path, examples, read[path])
        if other is not None:
            yield "reference swapped", [text.replaced(key, quoted(text.segment(key), other))]


def quoted(like: str, value: str) -> str:
    """Return a text as a literal, in double quotes where its model is."""
    return json.dumps(value, ensure_ascii=False) if like.startswith('"') else repr(value)


def confusable(name: str, path: Path, examples: Sequence[Item], read: Iterable[str] = ()) -> str | None:
    """Return another key at this place of the arguments, of the same type; those that are read come first.

    path: from the argument's name on. Without examples any key that is read will do. What every rollout has
    (messages, calls) has a shape of its own and is confused with nothing.
    """
    fixed = RESERVED | _OF_SAMPLE if path[0] in ATTEMPT and len(path) == 1 else frozenset[str]()
    if name in fixed:
        return None
    seen = set(read) - {name} - fixed
    for item in examples:
        inside: Any = item[path[0] in TRUTH]
        for step in path[1:]:
            inside = cast("Any", inside).get(step) if isinstance(inside, dict) else None
        if isinstance(inside, dict) and name in inside:
            values = cast("dict[str, Any]", inside)
            alike = [
                k for k in sorted(values) if k != name and k not in fixed and _alike(values[k], values[name])
            ]
            return next((k for k in alike if k in seen), alike[0] if alike else None)
    return min(seen) if seen and not examples else None


def _alike(one: Any, other: Any) -> bool:
    numbers = (int, float)
    return type(one) is type(other) or (type(one) in numbers and type(other) in numbers)


def _path(node: ast.AST) -> tuple[Path, ast.expr | None]:
    """Return the steps to a value that is read by key, `item["a"]["b"]`, and the node of its last key."""
    key: ast.expr | None = None
    inside: ast.expr | None = None
    if isinstance(node, ast.Subscript):
        inside, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        inside, key = node.func.value, (node.args[0] if node.args else None)
    if inside is None or not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
        return (), None
    if isinstance(inside, ast.Name):
        return ((inside.id,), key) if inside.id in (*TRUTH, *ATTEMPT) else ((), None)
    above, last = _path(inside)
    if not above or not isinstance(last, ast.Constant):
        return (), None
    return (*above, str(last.value)), key


def _of_returns(text: Text, function: Function) -> Iterator[Made]:
    body = list(nodes_of(function))
    returned = [n for n in body if isinstance(n, ast.Return) and n.value is not None]
    kind = function.returns.id if isinstance(function.returns, ast.Name) else ""
    if function.name == "grade" or kind in _RETURNS:
        first = next((s for s in function.body if not _is_text(s)), None)
        for value in ("0.0", "1.0"):
            value = f"Scored({value})" if kind == "Scored" else value
            edit = None if first is None else text.before(first, f"return {value}")
            if edit is None and isinstance(first, ast.Return) and first.value is not None:
                edit = text.replaced(first.value, value)
            yield "constant returned", [edit]
    for node in returned:
        number = number_of(node.value)
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool):
            number = float(node.value.value)
        if number is not None and node.value is not None:
            yield "constant returned", [text.replaced(node.value, "0.0" if number else "1.0")]
    for node in body:
        if isinstance(node, ast.If) and not node.orelse and len(node.body) == 1:
            only = node.body[0]
            if isinstance(only, ast.Return) and isinstance(only.value, ast.Constant):
                yield "constant returned", [text.replaced(node.test, "False")]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
