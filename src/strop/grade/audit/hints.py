"""Which line of the grader a finding is about."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import msgspec

from strop.grade.load import GraderSource


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the grader's file, counted from 1, with its text."""

    file: str
    line: int
    text: str


def hint(grader: GraderSource, component: str | None) -> Hint | None:
    """Return the line that makes a component (the score itself for None); None where it can't be told."""
    lines = grader.source.splitlines()
    found = (
        _json_line(lines, component) if grader.form == "openai" else _python_line(grader.source, component)
    )
    if found is None or not 1 <= found <= len(lines):
        return None
    return Hint(file=grader.path.name, line=found, text=lines[found - 1].strip())


def _json_line(lines: list[str], component: str | None) -> int | None:
    wanted = f'"{component}"' if component else '"calculate_output"'
    found = (i for i, line in enumerate(lines, 1) if wanted in line)
    return next(found, 1 if component is None else None)


def _python_line(source: str, component: str | None) -> int | None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    if component is not None:
        return max(_makes(tree, component), default=None)
    grade = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "grade"), None)
    if grade is not None:
        return max((n.lineno for n in ast.walk(grade) if isinstance(n, ast.Return)), default=grade.lineno)
    named = (n for n in tree.body if isinstance(n, ast.Assign) and any(_is(t, "rubric") for t in n.targets))
    return next((n.lineno for n in named), None)


def _makes(tree: ast.Module, component: str) -> Iterator[int]:
    """Yield the lines that assign a name, or that make a rubric's component of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(_is(t, component) for t in node.targets):
            yield node.lineno
        if isinstance(node, ast.Call) and _is(node.func, "Component"):
            given = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "name")]
            if any(isinstance(v, ast.Constant) and v.value == component for v in given):
                yield node.lineno


def _is(node: ast.expr, name: str) -> bool:
    return (isinstance(node, ast.Name) and node.id == name) or (
        isinstance(node, ast.Attribute) and node.attr == name
    )
