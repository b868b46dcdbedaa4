"""Read a file's `rubric = Rubric(...)` without running it: names, weights and gates of its components."""

from __future__ import annotations

import ast
from pathlib import Path

from strop.errors import ConfigError

_PARAMETERS = ("name", "score", "weight", "gate")
_HINT = 'Component("answer_ok", equal("status", "status"), weight=0.6, gate=True)'


def declared_rubric(tree: ast.Module) -> ast.Call | None:
    """Return the call that a module assigns to the name `rubric`, None where there is none."""
    found: ast.Call | None = None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        named = any(isinstance(t, ast.Name) and t.id == "rubric" for t in targets)
        if named and isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            found = node.value
    return found


def declared_weights(
    tree: ast.Module, rubric: ast.Call, path: Path
) -> tuple[dict[str, float], dict[str, float]]:
    """Return weights (summing to 1) and gate thresholds by component, in the order of the file.

    Names, weights and gates stand in the file as literals or as constants of the module: what a
    grade is made of must be plain to see before anything runs. Raises ConfigError, naming the line.
    """
    constants = _constants(tree)
    weights: dict[str, float] = {}
    gates: dict[str, float] = {}
    for part in rubric.args:
        if not isinstance(part, ast.Call) or _last_name(part.func) != "Component":
            raise _unreadable(part, path, "the rubric's components must be written out, one Component each")
        given: dict[str, ast.expr] = dict(zip(_PARAMETERS, part.args, strict=False))
        given.update({k.arg: k.value for k in part.keywords if k.arg is not None})
        name = _value(given.get("name"), constants)
        weight = _value(given["weight"], constants) if "weight" in given else 1.0
        gate = _value(given["gate"], constants) if "gate" in given else False
        if not isinstance(name, str) or name in weights:
            raise _unreadable(part, path, "a component's name must be a text of its own")
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not weight >= 0:
            raise _unreadable(part, path, f"the weight of {name} must be a number from 0 on")
        if not isinstance(gate, int | float) or not 0 <= gate <= 1:
            raise _unreadable(part, path, f"the gate of {name} must be True, False or a share")
        weights[name] = float(weight)
        if gate:
            gates[name] = float(gate)
    total = sum(weights.values())
    if rubric.keywords or not total > 0:
        raise _unreadable(rubric, path, "a rubric is its components, one of which has weight")
    return {name: weight / total for name, weight in weights.items()}, gates


def _constants(tree: ast.Module) -> dict[str, object]:
    found: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found.update({t.id: node.value.value for t in node.targets if isinstance(t, ast.Name)})
    return found


def _value(node: ast.expr | None, constants: dict[str, object]) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    return None


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _unreadable(node: ast.AST, path: Path, what: str) -> ConfigError:
    return ConfigError(what, where=f"{path}:{getattr(node, 'lineno', 1)}", fix=_HINT)
