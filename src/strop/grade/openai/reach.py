"""What a grader file reads of a rollout, as far as its text shows, and whether a hosted grader gets that.

OpenAI hands a grader the model's one turn and the row of the data set. Out of reach are the verdicts of
judges (`llm_judge`; a multi grader has them), token counts (`usage`), the turns and tool results before the
last (`messages`) and the offered tools (`tools`). Reads that the text doesn't show, such as
`rollout[key]`, are caught when the compiled grader runs: adapter.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from strop.errors import ConfigError

_REASONS = {
    "llm_judge": (
        "verdicts of judges are not handed to a Python grader",
        "compile to a multi grader: there a component may be a verdict",
    ),
    "usage": ("token counts are not handed to graders", "drop the component that reads them"),
    "messages": (
        "the conversation is not handed to graders, only the last turn and its tool calls",
        "read rollout['tool_calls'] and the answer's fields; or compile with single_turn=True",
    ),
    "tools": ("the offered tools are not handed to graders", "or compile with single_turn=True"),
}
_ARGUMENTS = {
    "rollout": {
        "rollout": ("llm_judge", "usage", "messages", "tools"),
        "ground_truth": ("messages", "tools"),
    },
    "sample": {"sample": ("llm_judge", "usage"), "item": ("messages", "tools")},
}
JUDGED = "llm_judge"


def check_reach(
    nodes: Iterable[ast.AST],
    form: str,
    where: str,
    modules: Mapping[str, str],
    *,
    single_turn: bool,
) -> None:
    """Raise ConfigError for a read in these nodes, or in strop's components they use, that is out of reach.

    single_turn: `messages` and `tools` are in the item, and the one choice is the whole attempt.
    """
    given = _ARGUMENTS["sample" if form == "sample" else "rollout"]
    functions = _functions(modules)
    seen: set[str] = set()
    # A read inside of a component is reported where the file first names the component.
    todo: list[tuple[ast.AST, str, int]] = [(node, "", 0) for node in nodes]
    while todo:
        tree, component, line = todo.pop()
        for node in ast.walk(tree):
            here = line or getattr(node, "lineno", 1)
            argument, key = _read(node)
            if key in given.get(argument, ()) and not (single_turn and key in ("messages", "tools")):
                why, fix = _REASONS[key]
                by = f", which {component} reads," if component else ""
                raise ConfigError(
                    f"{argument}[{key!r}]{by} is out of reach: {why}", where=f"{where}:{here}", fix=fix
                )
            name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
            if name in functions and name not in seen:
                seen.add(name)
                todo += [(function, component or name, here) for function in functions[name]]


def _functions(modules: Mapping[str, str]) -> dict[str, list[ast.FunctionDef]]:
    found: dict[str, list[ast.FunctionDef]] = {}
    for source in modules.values():
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append(node)
    return found


def _read(node: ast.AST) -> tuple[str, str]:
    # `argument["key"]`, `argument.get("key")`, `argument.pop("key")`
    target: ast.AST | None = None
    key: ast.AST | None = None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        target, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        target, key = (node.func.value if node.func.attr in ("get", "pop") else None), node.args[0]
    if isinstance(target, ast.Name) and isinstance(key, ast.Constant) and isinstance(key.value, str):
        return target.id, key.value
    return "", ""
