"""Rule expressions as a rubric: half of the unseen rows is the least, and the rest is not for free."""

import re
from typing import Any

from strop.grade.components import length
from strop.grade.rubric import Component, Rubric, Scored

TOKENS = re.compile(r"\s*(?:\d+(?:\.\d+)?|[a-z_]+|//|<=|>=|==|!=|[-+*/%()<>,])")
WORDS = {"if", "else", "and", "or", "not", "min", "max", "abs", "round"}
FUNCTIONS: dict[str, Any] = {"min": min, "max": max, "abs": abs, "round": round}


def readable(text: Any, columns: list[str]) -> bool:
    """Only numbers, columns, the language's words and signs; no attributes, strings or brackets."""
    if not isinstance(text, str) or len(text) > 80 or "**" in text:
        return False
    tokens = [match.group().strip() for match in TOKENS.finditer(text)]
    if "".join(tokens) != re.sub(r"\s", "", text):
        return False
    names = {token for token in tokens if token[0].isalpha() or token[0] == "_"}
    return names <= WORDS | set(columns) and bool(names & set(columns))


def rows(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> Scored:
    text = rollout["expression"]
    if not readable(text, ground_truth["columns"]):
        return Scored(0.0, "not an expression of the rule language")
    wrong = []
    for test in ground_truth["tests"]:
        try:
            # Nothing but arithmetic is left in the text by now.
            found = eval(text, {"__builtins__": {}}, FUNCTIONS | test["inputs"])
            hit = abs(float(found) - test["expected"]) < 1e-6
        except (ArithmeticError, SyntaxError, TypeError, ValueError, NameError):
            hit = False
        if not hit:
            wrong.append(test["inputs"])
    return Scored(1 - len(wrong) / len(ground_truth["tests"]), f"wrong on {wrong[:2]}" if wrong else "")


def names_columns(rollout: dict[str, Any], ground_truth: dict[str, Any]) -> bool:
    said = rollout["explanation"]
    return isinstance(said, str) and all(name in said for name in ground_truth["columns"])


rubric = Rubric(
    Component("rows", rows, weight=0.85, gate=0.7),
    Component("told", length("explanation", least=5, most=30), weight=0.05),
    Component("names_columns", names_columns, weight=0.1),
)
