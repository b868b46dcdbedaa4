"""Which modules a grader file needs, and strop's own among them as text.

A hosted grader has the standard library and the packages of OpenAI's image, nothing else. A rubric file
imports strop's components; their source goes along. `msgspec.Struct` and `JsonObject` have stand-ins in
adapter.py, so what is embedded may use those two of strop's dependencies and no more.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from strop.errors import ConfigError

# The guide, "Python graders", image 2025-05-08, by the names that are imported.
IMAGE = frozenset({
    "numpy", "scipy", "sympy", "pandas", "rapidfuzz", "sklearn", "rouge_score", "deepdiff", "jsonschema",
    "pydantic", "yaml", "nltk", "sqlparse", "rdkit", "skbio", "ast_grep_py",
})  # fmt: skip
LIBRARY = ("strop.grade.rubric", "strop.grade.components")
_STAND_INS = {"strop.records": {"JsonObject"}, "msgspec": {"Struct"}}
_ROOT = Path(__file__).resolve().parents[3]


class Imported(msgspec.Struct, frozen=True):
    """One imported module; names are those of a `from` import, None for a plain one."""

    module: str
    names: tuple[str, ...] | None
    line: int


def imports(tree: ast.AST) -> Iterator[Imported]:
    """Yield what runs of the imports in a tree; those for type checkers don't."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for node in tree.orelse:
            yield from imports(node)
        return
    if isinstance(tree, ast.Import):
        for alias in tree.names:
            yield Imported(alias.name, None, tree.lineno)
    elif isinstance(tree, ast.ImportFrom):
        names = tuple(alias.name for alias in tree.names)
        yield Imported("." * tree.level + (tree.module or ""), names, tree.lineno)
    for node in ast.iter_child_nodes(tree):
        yield from imports(node)


def embedded_modules(tree: ast.Module, where: str) -> dict[str, str]:
    """Return the sources of strop's modules that a file needs, by name, all that they import included.

    Raises ConfigError, naming the line, for an import that a hosted grader would not find.
    """
    found: dict[str, str] = {}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {name for imported in imports(tree) for name in imported.names or ()}
    todo = [(imported, where, False) for imported in imports(tree)]
    while todo:
        imported, place, ours = todo.pop()
        names = _library(imported)
        if not names and not _known(imported, ours):
            raise ConfigError(
                f"a hosted grader can't import {imported.module}",
                where=f"{place}:{imported.line}",
                fix="use the standard library or a package of OpenAI's image: " + ", ".join(sorted(IMAGE)),
            )
        for name in names - found.keys():
            found[name] = _source(name, used)
            inner = ast.parse(found[name])
            _check_stand_ins(inner, name)
            todo += [(i, name, True) for i in imports(inner)]
    return found


def _library(imported: Imported) -> set[str]:
    names = {imported.module} | {f"{imported.module}.{name}" for name in imported.names or ()}
    return {n for n in names if n.startswith(LIBRARY) and _path(n) is not None}


def _path(name: str) -> Path | None:
    base = _ROOT.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _source(name: str, used: set[str]) -> str:
    # Of a package, which only gathers names, those that the file uses: the others stay out.
    path = _path(name)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    if path.name != "__init__.py" or "*" in used:
        return text
    lines = [
        f"from {node.module} import {alias.name}"
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
        if alias.name in used
    ]
    return "\n".join(lines) + "\n"


def _known(imported: Imported, ours: bool) -> bool:
    if imported.module == "strop.records" or (ours and imported.module == "msgspec"):
        return imported.names is None or set(imported.names) <= _STAND_INS[imported.module]
    top = imported.module.split(".")[0]
    return top in sys.stdlib_module_names or top in IMAGE


def _check_stand_ins(tree: ast.Module, name: str) -> None:
    for node in ast.walk(tree):
        used = node.attr if isinstance(node, ast.Attribute) else ""
        of = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(of, ast.Name) and of.id == "msgspec" and used not in _STAND_INS["msgspec"]:
            raise ConfigError(
                f"{name} uses msgspec.{used}, for which hosted graders have no stand-in",
                where=f"{name}:{of.lineno}",
            )
