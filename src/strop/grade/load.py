"""Read a grader file without running it: its form, its components, weights and gates, its hash."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeGuard

import msgspec

from strop.errors import ConfigError
from strop.grade.declared import declared_rubric, declared_weights
from strop.grade.openai.file import components_of, read_grader
from strop.records import digest

Form = Literal["rollout", "sample", "rubric", "openai"]
_LARGEST = 1e9  # what is larger is no weight

FORMS: dict[tuple[str, ...], Form] = {
    ("rollout", "ground_truth"): "rollout",
    ("sample", "item"): "sample",
}


class GraderSource(msgspec.Struct, frozen=True, kw_only=True):
    """A grader file as read.

    form: "rollout" for `grade(rollout, ground_truth)`, "sample" for OpenAI's `grade(sample, item)`,
    "rubric" for `rubric = Rubric(...)`, "openai" for OpenAI's grader JSON. weights: component names and
    weights, a rubric's or those of a return (or formula) that is a linear combination of local names, else
    empty. names: of the components, also of those of a formula that is not linear. gates: thresholds by
    component.
    hash: SHA-256 of the file, the extracted fields and the judges.
    """

    path: Path
    source: str
    form: Form
    weights: dict[str, float]
    hash: str
    names: tuple[str, ...] = ()
    gates: dict[str, float] = {}


def load_grader(
    path: Path, *, extract: Sequence[str] = (), judges: Mapping[str, Any] | None = None
) -> GraderSource:
    """Read a grader file: Python, or OpenAI's grader JSON where it is named `.json`.

    Raises ConfigError, naming the line or the place in the JSON, for a file that holds no grader.
    """
    source = _read(path)
    fingerprint = digest([hashlib.sha256(source.encode()).hexdigest(), sorted(extract), judges or {}])
    if path.suffix.lower() == ".json":
        names, weights = components_of(read_grader(source, str(path)))
        return GraderSource(
            path=path, source=source, form="openai", weights=weights, names=names, hash=fingerprint
        )
    tree = _parse(source, path)
    rubric = declared_rubric(tree)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "grade"]
    if rubric is not None and functions:
        raise ConfigError(
            "the file has both a rubric and a function named grade: which of them grades?",
            where=f"{path}:{functions[-1].lineno}",
            fix="rename the one that is not meant",
        )
    if rubric is not None:
        weights, gates = declared_weights(tree, rubric, path)
        form = "rubric"
    elif functions:
        form, weights, gates = _form(functions[-1], path), _weights(functions[-1]), {}
    else:
        raise ConfigError(
            "the grader file has no function named grade and no rubric",
            where=str(path),
            fix="def grade(rollout, ground_truth) -> float: ...   # or rubric = Rubric(...)",
        )
    return GraderSource(
        path=path,
        source=source,
        form=form,
        weights=weights,
        names=tuple(weights),
        gates=gates,
        hash=fingerprint,
    )


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "the grader file does not exist", where=str(path), fix="set grade.file in strop.toml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the grader file can't be read: {error}", where=str(path)) from error


def _parse(source: str, path: Path) -> ast.Module:
    try:
        return ast.parse(source, filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(
            f"the grader file is not Python: {getattr(error, 'msg', error)}",
            where=f"{path}:{line}" if line else str(path),
        ) from error


def _form(function: ast.FunctionDef, path: Path) -> Form:
    names = tuple(a.arg for a in [*function.args.posonlyargs, *function.args.args][:2])
    form = FORMS.get(names)
    if form is None:
        raise ConfigError(
            f"grade({', '.join(names)}) is not a form that strop knows",
            where=f"{path}:{function.lineno}",
            fix="def grade(rollout, ground_truth) -> float   # or OpenAI's grade(sample, item)",
        )
    return form


def _weights(function: ast.FunctionDef) -> dict[str, float]:
    # Early returns of a constant (`return 0.0`) don't hide the components; two combinations do.
    returns = [r.value for r in _own_nodes(function) if isinstance(r, ast.Return) and r.value is not None]
    combinations = [r for r in returns if not isinstance(r, ast.Constant)]
    if len(combinations) != 1 or isinstance(combinations[0], ast.Name):
        return {}
    assigned = {
        n.id for n in _own_nodes(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    terms = _terms(combinations[0], 1.0)
    if terms is None or any(name not in assigned for name, _ in terms):
        return {}
    weights: dict[str, float] = {}
    for name, weight in terms:
        weights[name] = weights.get(name, 0.0) + weight
    return weights


def _own_nodes(function: ast.FunctionDef) -> list[ast.AST]:
    nested = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
    found: list[ast.AST] = []
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        if isinstance(node, nested):
            continue
        found.append(node)
        stack += ast.iter_child_nodes(node)
    return found


def _terms(node: ast.expr, factor: float) -> list[tuple[str, float]] | None:
    if isinstance(node, ast.Name):
        return [(node.id, factor)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _terms(node.operand, -factor)
    if not isinstance(node, ast.BinOp):
        return None
    if isinstance(node.op, ast.Add | ast.Sub):
        left = _terms(node.left, factor)
        right = _terms(node.right, factor if isinstance(node.op, ast.Add) else -factor)
        return None if left is None or right is None else left + right
    if isinstance(node.op, ast.Mult):
        for number, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(number, ast.Constant) and _is_weight(number.value):
                return _terms(other, factor * float(number.value))
    if isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
        divisor = node.right.value
        if _is_weight(divisor) and divisor:
            return _terms(node.left, factor / float(divisor))
    return None


def _is_weight(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and abs(value) < _LARGEST
