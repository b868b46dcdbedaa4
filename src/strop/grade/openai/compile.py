"""A grader file compiled to one `python` grader of OpenAI's.

The compiled source holds the user's file unchanged, strop's components that it imports, and adapter.py,
which rebuilds `rollout` and `ground_truth` from `sample` and `item` as strop/grade/extract.py builds them:

- fields: parsed from `sample["output_text"]` by strop's own rules, not taken from `output_json`, so that
  duplicate keys and NaN make an answer invalid here too; None where the answer lacks them.
- tool_calls: `sample["output_tools"]`, which in OpenAI's service are those of the model's single turn.
- ground_truth: the item without `messages`, `tools` and `strop_inquiry`.
- messages, tools: with single_turn=True `item["messages"]` and the one choice, and `item["tools"]`: right
  where an attempt is one assistant turn and the rows carry both keys. Else out of reach.
- llm_judge, usage: out of reach.

A file that is seen to read what is out of reach is refused; one that does so unseen raises when it runs.
Answers nested some 900 levels deep can be read on one side and not on the other: Python's own limit.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from strop.errors import ConfigError
from strop.grade.extract import RESERVED
from strop.grade.load import GraderSource
from strop.grade.openai.embed import embedded_modules
from strop.grade.openai.reach import check_reach
from strop.grade.openai.schema import source_problem
from strop.records import JsonObject

IMAGE_TAG = "2025-05-08"
_ADAPTER = Path(__file__).with_name("adapter.py")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a compiled grader needs to know beside the file: lifted fields, and the shape of an attempt."""

    extract: tuple[str, ...] = ()
    single_turn: bool = False


def to_python(
    grader: GraderSource, *, extract: Sequence[str] = (), name: str = "strop", single_turn: bool = False
) -> JsonObject:
    """Compile a grader file of any form to one python grader, as JSON.

    extract: the answer's fields that are lifted (grade.extract). A file of form `grade(sample, item)` is
    taken as it is. Raises ConfigError, naming the line, for a file that reads what is out of reach or
    imports what the image lacks, and for a result of 256 kB or more.
    """
    options = Options(extract=tuple(extract), single_turn=single_turn)
    where = str(grader.path)
    check_form(grader)
    tree = ast.parse(grader.source)
    modules = embedded_modules(tree, where)
    check_reach([tree], grader.form, where, modules, single_turn=single_turn)
    if grader.form == "sample":
        return python_grader(name, own_source(grader.source, modules, where), where)
    kind = "rubric" if grader.form == "rubric" else "rollout"
    entry = "rubric" if grader.form == "rubric" else "grade"
    source = adapted(grader.source, where, options, modules, kind=kind, entry=entry, unit=True)
    return python_grader(name, source, where)


def check_form(grader: GraderSource) -> None:
    """Raise ConfigError for a file that is OpenAI's JSON already."""
    if grader.form == "openai":
        raise ConfigError(
            "the grader is OpenAI's JSON already", where=str(grader.path), fix="hand in the file as it is"
        )


def adapted(
    source: str,
    where: str,
    options: Options,
    modules: Mapping[str, str],
    *,
    kind: str,
    entry: str = "grade",
    unit: bool = False,
    given: str | None = None,
) -> str:
    """Return the adapter with its plan (see adapter.py). Raises ConfigError for a reserved field."""
    taken = RESERVED.intersection(options.extract)
    if taken:
        raise ConfigError(
            f"grade.extract names the reserved key {min(taken)!r}", fix="rename the field in the answer"
        )
    plan: dict[str, Any] = {
        "kind": kind,
        "entry": entry,
        "unit": unit,
        "given": given,
        "fields": list(options.extract),
        "single_turn": options.single_turn,
        "file": Path(where).name,
        "source": source,
        "modules": dict(sorted(modules.items())),
        "tag": hashlib.sha256(repr(sorted(modules.items())).encode()).hexdigest()[:12],
    }
    return f"{_ADAPTER.read_text(encoding='utf-8')}\n\n_PLAN.update({plan!r})\n"


def own_source(source: str, modules: Mapping[str, str], where: str) -> str:
    """Return the source of a `grade(sample, item)` file, which goes along without the adapter."""
    if modules:
        raise ConfigError(
            "a grade(sample, item) file can't take strop's components along",
            where=where,
            fix="write it as rubric = Rubric(...) or grade(rollout, ground_truth)",
        )
    return source


def python_grader(name: str, source: str, where: str) -> JsonObject:
    """Return a python grader as JSON. Raises ConfigError where the source can't be one."""
    problem = source_problem(source)
    if problem:
        raise ConfigError(f"{name} can't be compiled: {problem}", where=where)
    return {"type": "python", "name": name, "source": source, "image_tag": IMAGE_TAG}
