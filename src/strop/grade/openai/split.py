"""A grader file compiled to a `multi` grader: a python grader a component, a label_model a judge.

From `return 0.60 * answer_ok + 0.25 * tool_ok + 0.15 * tone_ok` each name becomes a grader and the return
becomes the formula. A component that is a verdict, `tone_ok = float(rollout["llm_judge"]["tone_pass"])`,
becomes a label_model with the judge's rubric; since a judge that has nothing to judge says no without being
asked, its score is multiplied with a second grader, `tone_ok_given`. From a rubric each component becomes a
grader, and gates are written with floor: `min(1, 1 + floor(x - threshold))` is 1 from the threshold on,
else 0.

What is out of reach for one python grader is so here (compile.py). The judges' questions are not worded as
strop words them: they show the whole answer and name the field, since a template can't pass over a missing
one. They read `item.strop_inquiry`, the last user message; the rows must carry it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence

import msgspec

from strop.config import Judge
from strop.errors import ConfigError
from strop.grade.declared import declared_rubric
from strop.grade.load import GraderSource
from strop.grade.openai.compile import Options, adapted, check_form, own_source, python_grader
from strop.grade.openai.embed import embedded_modules
from strop.grade.openai.formula import FUNCTIONS
from strop.grade.openai.reach import JUDGED, check_reach
from strop.grade.openai.sample import INQUIRY
from strop.grade.openai.schema import parse_grader
from strop.records import JsonObject

_CASTS = ("float", "int", "bool")
_OPERATORS = ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow


class _Part(msgspec.Struct, frozen=True):
    """One component: a source whose grade returns it, or the judge whose verdict it is."""

    source: str = ""
    judge: str = ""


class _Split(msgspec.Struct, frozen=True):
    """A file taken apart; the formula names the parts, a judged one with its `_given` beside it."""

    parts: dict[str, _Part]
    formula: str


def to_multi(
    grader: GraderSource,
    *,
    judges: Mapping[str, Judge],
    extract: Sequence[str] = (),
    name: str = "strop",
    single_turn: bool = False,
) -> JsonObject:
    """Compile a grader file whose return is arithmetic over its components to a multi grader, as JSON.

    The return may use + - * / **, min, max, abs, float and math's floor, ceil, exp, sqrt, log over local
    names and numbers; it must be the only one, at the end of the function. judges: those of strop.toml.
    Raises ConfigError, naming the line, for a file that can't be split, a verdict used otherwise than as
    a component, and for what to_python refuses.
    """
    where = str(grader.path)
    options = Options(extract=tuple(extract), single_turn=single_turn)
    check_form(grader)
    tree = ast.parse(grader.source)
    modules = embedded_modules(tree, where)
    split = _split_rubric(grader, tree) if grader.form == "rubric" else _split_function(grader, tree)
    graders: JsonObject = {}
    for key, part in split.parts.items():
        if key in FUNCTIONS:
            raise ConfigError(f"a component can't be named {key}, a function of the formula", where=where)
        if part.judge:
            graders[key] = _label_model(key, part.judge, judges, where)
            source = adapted("", where, options, {}, kind="given", given=judges[part.judge].field)
            graders[_given(key, split.parts)] = python_grader(_given(key, split.parts), source, where)
            continue
        check_reach([ast.parse(part.source)], grader.form, where, modules, single_turn=single_turn)
        if grader.form == "sample":
            source = own_source(part.source, modules, where)
        else:
            rubric = grader.form == "rubric"
            kind = "rubric" if rubric else "rollout"
            source = adapted(part.source, where, options, modules, kind=kind, unit=rubric)
        graders[key] = python_grader(key, source, where)
    multi: JsonObject = {"type": "multi", "name": name, "graders": graders, "calculate_output": split.formula}
    parse_grader(multi, where)
    return multi


def _label_model(name: str, judge: str, judges: Mapping[str, Judge], where: str) -> JsonObject:
    if judge not in judges:
        raise ConfigError(
            f"the grader reads the verdict of {judge!r}, and there is no such judge",
            where=where,
            fix=f"add [judges.{judge}] to strop.toml",
        )
    asked = judges[judge]
    what = "the answer" if asked.field is None else f"the value of {asked.field!r} in the answer's JSON"
    system = (
        f"{asked.rubric.strip()}\nLabel {what}, and nothing else: yes if it meets this rubric, no if not."
    )
    if asked.scale:
        raise ConfigError(
            "a judge with a scale can't be compiled: the formula of a multi grader has no such part",
            where=f"judges.{judge}.scale",
            fix="ask for yes or no, or write the part as a score_model",
        )
    if "{{" in system:
        raise ConfigError(
            "a judge's rubric with '{{' can't be compiled: it would be read as a template",
            where=f"judges.{judge}.rubric",
            fix="write it without doubled braces",
        )
    user = f"Inquiry:\n{{{{ item.{INQUIRY} }}}}\n\nAnswer:\n{{{{ sample.output_text }}}}"
    return {
        "type": "label_model",
        "name": name,
        "model": asked.model,
        "input": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "labels": ["yes", "no"],
        "passing_labels": ["yes"],
    }


def _given(name: str, parts: Mapping[str, _Part]) -> str:
    name += "_given"
    while name in parts:
        name += "_"
    return name


def _split_rubric(grader: GraderSource, tree: ast.Module) -> _Split:
    rubric = declared_rubric(tree)
    assert rubric is not None
    statement = next(node for node in tree.body if getattr(node, "value", None) is rubric)
    parts: dict[str, _Part] = {}
    for name, component in zip(grader.weights, rubric.args, strict=True):
        assert isinstance(component, ast.Call)
        by_name = {k.arg: k.value for k in component.keywords}
        score = component.args[1] if len(component.args) > 1 else by_name.get("score")
        if score is None:
            raise ConfigError(f"{name} has no score function", where=f"{grader.path}:{component.lineno}")
        judge = _verdict_component(score)
        if judge:
            parts[name] = _Part(judge=judge)
        else:
            text = ast.get_source_segment(grader.source, score) or ast.unparse(score)
            parts[name] = _Part(source=_replaced(grader.source, {statement: f"grade = ({text})"}))
    values = {n: f"({n} * {_given(n, parts)})" if p.judge else n for n, p in parts.items()}
    terms = {n: f"{w!r} * {values[n]}" for n, w in grader.weights.items() if w}
    opened = [f"min(1, 1 + floor({values[n]} - {t!r}))" for n, t in grader.gates.items()]
    gates = [term for n, term in terms.items() if n in grader.gates]
    others = " + ".join(term for n, term in terms.items() if n not in grader.gates)
    if opened and others:
        others = " * ".join([*opened, f"({others})"])
    return _Split(parts, " + ".join([*gates, *([others] if others else [])]))


def _verdict_component(node: ast.expr) -> str:
    # verdict("tone_pass") of strop.grade.components
    if not isinstance(node, ast.Call) or len(node.args) != 1 or node.keywords:
        return ""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    name = node.args[0]
    if called != "verdict" or not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return ""
    return name.value


def _split_function(grader: GraderSource, tree: ast.Module) -> _Split:
    where = str(grader.path)
    function = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "grade"][-1]
    own = _own_nodes(function)
    last = function.body[-1]
    returns = [n for n in own if isinstance(n, ast.Return)]
    if len(returns) != 1 or returns[0] is not last or not isinstance(last, ast.Return) or last.value is None:
        raise ConfigError(
            "a formula has one result: grade must return once, at its end",
            where=f"{where}:{function.lineno}",
            fix="write the early returns as components or gates; or compile to one python grader",
        )
    rebound = _bound(tree) & {"grade", "float", "min", "max", "abs", "math"}
    if function.decorator_list or rebound:
        raise ConfigError(
            f"{min(rebound, default='grade')} is wrapped or bound anew, so the return is not the formula",
            where=f"{where}:{function.lineno}",
            fix="keep grade plain and the built-in names as they are; or compile to one python grader",
        )
    first = function.args.args[0].arg if function.args.args else function.args.posonlyargs[0].arg
    reader = _Arithmetic(where, first, own, last.value)
    for statement in function.body:
        reader.take_verdict(statement)
    shape = reader.expression(last.value)
    reader.check_verdicts(tree)
    parts: dict[str, _Part] = {}
    for name in reader.names:
        judge = reader.judges.get(name, "")
        edits: dict[ast.stmt, str] = {s: f"{n} = None" for n, s in reader.statements.items()}
        edits[last] = f"return 1.0 * ({name})"
        parts[name] = _Part(judge=judge) if judge else _Part(source=_replaced(grader.source, edits))
    for node in ast.walk(shape):
        if isinstance(node, ast.Name) and reader.judges.get(node.id):
            node.id = f"({node.id} * {_given(node.id, parts)})"
    return _Split(parts, ast.unparse(shape).replace("**", "^"))


class _Arithmetic:
    """The return expression, and which of its names are verdicts."""

    def __init__(self, where: str, first: str, own: Sequence[ast.AST], returned: ast.expr) -> None:
        self._where, self._first = where, first
        self._in_return = set(ast.walk(returned))
        stored = [n.id for n in own if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        self._stored = {name: stored.count(name) for name in stored}
        self._understood: set[ast.AST] = set()
        self.names: dict[str, None] = {}
        self.judges: dict[str, str] = {}
        self.statements: dict[str, ast.stmt] = {}

    def take_verdict(self, statement: ast.stmt) -> None:
        """Note a statement that does no more than name a verdict."""
        target: ast.expr | None = None
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):
            target = statement.target
        value = getattr(statement, "value", None)
        judge = self._verdict(value) if isinstance(target, ast.Name) and value is not None else ""
        if judge and isinstance(target, ast.Name) and self._stored[target.id] == 1:
            self.judges[target.id] = judge
            self.statements[target.id] = statement

    def expression(self, node: ast.expr) -> ast.expr:
        """Return the expression as the formula has it. Raises ConfigError for anything but arithmetic."""
        judge = self._verdict(node)
        if judge:
            name = judge if judge.isidentifier() and judge not in self._stored else ""
            if not name:
                raise self._refused(node, "name this verdict first: tone_ok = ...")
            self.judges[name] = judge
            self.names[name] = None
            return ast.Name(name, ast.Load())
        match node:
            case ast.Name(id=name) if name in self._stored:
                self.names[name] = None
                return ast.Name(name, ast.Load())
            case ast.Constant(value=int() | float() as value) if _is_number(value):
                return node
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
                return ast.BinOp(self.expression(left), op, self.expression(right))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                return ast.UnaryOp(op, self.expression(operand))
            case ast.Call(func=func, args=args, keywords=[]):
                return self._call(node, func, args)
            case _:
                raise self._refused(node, "a formula is arithmetic over local names and numbers")

    def _call(self, node: ast.expr, func: ast.expr, args: list[ast.expr]) -> ast.expr:
        if isinstance(func, ast.Name) and func.id == "float" and len(args) == 1:
            return self.expression(args[0])
        name = func.id if isinstance(func, ast.Name) and func.id in ("min", "max", "abs") else ""
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "math":
            name = func.attr
        least, most = (2, len(args)) if name in ("min", "max") else (1, 1)
        if name not in FUNCTIONS or not least <= len(args) <= most:
            raise self._refused(node, f"the formula's functions are {', '.join(sorted(FUNCTIONS))}")
        return ast.Call(ast.Name(name, ast.Load()), [self.expression(a) for a in args], [])

    def check_verdicts(self, tree: ast.Module) -> None:
        """Raise ConfigError where a verdict is used otherwise than as a component."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value == JUDGED and node not in self._understood:
                raise self._refused(node, "a verdict must be a component of its own: tone_ok = float(...)")
        loads = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
        for name in self.statements:
            elsewhere = [n for n in loads if n.id == name and n not in self._in_return]
            if elsewhere:
                raise self._refused(elsewhere[0], f"{name} is a verdict and may only stand in the return")

    def _verdict(self, node: ast.expr) -> str:
        # rollout["llm_judge"]["tone_pass"], with or without a cast
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _CASTS:
            if len(node.args) != 1 or node.keywords:
                return ""
            node = node.args[0]
        match node:
            case ast.Subscript(
                value=ast.Subscript(value=ast.Name(id=base), slice=ast.Constant(value="llm_judge") as key),
                slice=ast.Constant(value=str(judge)),
            ) if base == self._first:
                self._understood.add(key)
                return judge
            case _:
                return ""

    def _refused(self, node: ast.AST, why: str) -> ConfigError:
        return ConfigError(
            "this grader can't be split into a multi grader: " + why,
            where=f"{self._where}:{getattr(node, 'lineno', 1)}",
            fix="name each component before a return that is arithmetic; or compile to one python grader",
        )


def _is_number(value: float) -> bool:
    return not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _own_nodes(function: ast.FunctionDef) -> list[ast.AST]:
    found: list[ast.AST] = []
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            found.append(node)
            stack += ast.iter_child_nodes(node)
    return found


def _bound(tree: ast.Module) -> set[str]:
    # Names that assignments, parameters and functions other than the one grade bind, anywhere.
    names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names += [n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)]
    functions = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    functions.remove("grade")
    return {*names, *functions}


def _replaced(source: str, edits: Mapping[ast.stmt, str]) -> str:
    # Offsets in the tree are bytes of UTF-8; the last edit comes first, so that the others stay right.
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in sorted(edits, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        data = data[:start] + edits[node].encode() + data[end:]
    return data.decode()
