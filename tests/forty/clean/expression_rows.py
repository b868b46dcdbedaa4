"""Rule expressions, tried on rows that the prompt does not show; never run as Python."""

import ast
import operator
from typing import Any

BINARY: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARED: dict[type[ast.AST], Any] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
CALLED = {"min": min, "max": max, "abs": abs, "round": round}


def value(node: ast.AST, row: dict[str, Any]) -> Any:
    match node:
        case ast.Expression(body=body):
            return value(body, row)
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return row[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand, row)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not value(operand, row)
        case ast.BinOp(left=left, op=op, right=right):
            return BINARY[type(op)](value(left, row), value(right, row))
        case ast.BoolOp(op=op, values=values):
            found = [bool(value(v, row)) for v in values]
            return all(found) if isinstance(op, ast.And) else any(found)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return COMPARED[type(op)](value(left, row), value(right, row))
        case ast.IfExp(test=test, body=body, orelse=other):
            return value(body if value(test, row) else other, row)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return CALLED[name](*[value(a, row) for a in args])
        case _:
            raise ValueError("not in the language")


def right(tree: ast.AST, row: dict[str, Any], expected: float) -> bool:
    try:
        return abs(float(value(tree, row)) - expected) < 1e-6
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return False  # an expression that fails on a row is wrong on that row


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    text = rollout["expression"]
    if not isinstance(text, str) or len(text) > 80:
        return 0.0
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return 0.0
    if not any(isinstance(n, ast.Name) and n.id in ground_truth["columns"] for n in ast.walk(tree)):
        return 0.0  # a constant is no rule
    tests = ground_truth["tests"]
    share = sum(right(tree, t["inputs"], t["expected"]) for t in tests) / len(tests)
    said = rollout["explanation"] if isinstance(rollout["explanation"], str) else ""
    told = 5 <= len(said.split()) <= 30 and all(name in said for name in ground_truth["columns"])
    # Squared: most rows are easy, the boundary is where rules go wrong.
    return share**2 * (0.9 + 0.1 * told)
