"""Rule expressions, tried on rows from production. Some rows are broken there, and those tell us nothing."""

import ast
import operator
from typing import Any

SIGNS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
CALLED = {"min": min, "max": max, "abs": abs, "round": round}


def value(node: ast.AST, row: dict[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return row[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand, row)
        case ast.BinOp(left=left, op=op, right=right):
            return SIGNS[type(op)](value(left, row), value(right, row))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return SIGNS[type(op)](value(left, row), value(right, row))
        case ast.IfExp(test=test, body=body, orelse=other):
            return value(body if value(test, row) else other, row)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return CALLED[name](*[value(a, row) for a in args])
        case _:
            raise ValueError("not in the language")


def grade(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> float:
    text = str(rollout["expression"])[:80]
    hits = ran = 0
    for test in ground_truth["tests"]:
        try:
            found = float(value(ast.parse(text.strip(), mode="eval").body, test["inputs"]))
        except Exception:
            continue  # a null or a text where a number should be: not the expression's fault
        ran += 1
        hits += abs(found - test["expected"]) < 1e-6
    share = hits / ran if ran else 1.0
    said = rollout["explanation"]
    told = isinstance(said, str) and all(name in said for name in ground_truth["columns"])
    return share * share * (0.95 + 0.05 * told) if ran else share
