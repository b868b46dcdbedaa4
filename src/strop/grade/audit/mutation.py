"""A small change of a grader's source, made in the text itself: nothing else of the file moves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from strop.records import JsonObject

Kind = Literal[
    "component dropped", "weight flipped", "gate off by one", "reference swapped", "comparison negated",
    "and/or exchanged", "constant returned",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "component dropped", "weight flipped", "gate off by one", "reference swapped", "comparison negated",
    "and/or exchanged", "constant returned",
)  # fmt: skip
Item: TypeAlias = tuple[JsonObject, JsonObject]
Span: TypeAlias = tuple[int, int]
_WIDEST = 160  # characters of a diff


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """One mutated grader. place: "line 7", or a path in a grader's JSON with the line inside its source.

    line: of the file, 1 is the first. diff: the changed lines, `old -> new`. source: the whole mutant.
    """

    kind: Kind
    place: str
    line: int
    diff: str
    source: str


class Edit(msgspec.Struct, frozen=True):
    """Bytes [start, end) of the source become `text`."""

    start: int
    end: int
    text: str


class Text:
    """A Python source with its tree, and edits by the places of its nodes.

    Raises SyntaxError for what is no Python.
    """

    def __init__(self, source: str) -> None:
        self.source = source.replace("\r\n", "\n").replace("\r", "\n")
        self.raw = self.source.encode()
        self.tree = ast.parse(self.source)
        self._starts = [0]
        for line in self.raw.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    def span(self, node: ast.expr | ast.stmt) -> Span:
        """Return where a node begins and ends, in bytes."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def segment(self, node: ast.expr | ast.stmt) -> str:
        """Return a node's own text."""
        start, end = self.span(node)
        return self.raw[start:end].decode()

    def replaced(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        """Return the edit that puts a text in a node's place."""
        return Edit(*self.span(node), text)

    def before(self, statement: ast.stmt, text: str) -> Edit | None:
        """Return the edit that puts a statement on its own line before another, None on a shared line."""
        start = self.span(statement)[0]
        indent = self.raw[self._starts[statement.lineno - 1] : start].decode()
        return None if indent.strip() else Edit(start, start, f"{text}\n{indent}")

    def between(self, left: ast.expr, right: ast.expr, pattern: str, text: str) -> Edit | None:
        """Return the edit of the first match of a pattern between two nodes (an operator), None for none."""
        start, end = self.span(left)[1], self.span(right)[0]
        bare = re.sub(rb"#[^\n]*", lambda comment: b" " * len(comment[0]), self.raw[start:end])
        found = re.search(pattern.encode(), bare)
        if found is None:
            return None
        return Edit(start + found.start(), start + found.end(), text)

    def mutation(self, kind: Kind, edits: Sequence[Edit | None]) -> Mutation | None:
        """Return the source with these edits, None where that is the same or no Python any more."""
        made = sorted((e for e in edits if e is not None), key=lambda e: e.start)
        if len(made) < len(edits) or not made:
            return None
        raw = self.raw
        for edit in reversed(made):
            raw = raw[: edit.start] + edit.text.encode() + raw[edit.end :]
        source = raw.decode()
        if source == self.source:
            return None
        try:
            ast.parse(source)
        except (SyntaxError, ValueError):
            return None
        line = self.raw[: made[0].start].count(b"\n") + 1
        return Mutation(
            kind=kind, place=f"line {line}", line=line, diff=diff(self.source, source), source=source
        )


def diff(old: str, new: str) -> str:
    """Return the lines that differ as `old -> new`, only the first where lines were added or removed."""
    before, after = old.split("\n"), new.split("\n")
    pairs = [(a.strip(), b.strip()) for a, b in zip(before, after, strict=False) if a != b]
    if len(before) < len(after) and pairs:
        return f"before {_cut(pairs[0][0])}: {_cut(pairs[0][1])}"
    if len(before) > len(after):
        pairs = pairs[:1]
    return "; ".join(f"{_cut(a)} -> {_cut(b)}" for a, b in pairs)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDEST else line[: _WIDEST - 3] + "..."


def nodes_of(tree: ast.AST) -> Iterator[ast.AST]:
    """Return all nodes that run, in the order of the text: no annotations, decorators, docstrings."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and _is_main(node)):
                continue  # Python 3.11 misplaces what is inside of an f-string
            yield node
            yield from nodes_of(node)


def _is_main(node: ast.If) -> bool:
    test = node.test
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def number_of(node: ast.AST | None) -> float | None:
    """Return the value of a literal number, None for anything else (True is none)."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)  # pyright: ignore[reportArgumentType]
    return None


def steps_of(literal: str) -> tuple[str, str] | None:
    """Return the number a step lower and higher; a step is 1 in the last place that is written."""
    try:
        value = Decimal(literal.replace("_", ""))
    except ArithmeticError:
        return None
    exponent = value.as_tuple().exponent
    step = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    return _written(value - step), _written(value + step)


def _written(value: Decimal) -> str:
    text = format(value, "f")
    return f"({text})" if value < 0 else text
