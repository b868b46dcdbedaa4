"""Run a python grader's source in this process.

For use inside of the sandboxed worker only: the source runs with all that this process may do.
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_FILE = "<grader>"
_NAME = "grader"


class GraderRaised(Exception):
    """The source raised; the message names the error and the line."""


def run_in_process(source: str, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Any:
    """Execute a source afresh and return what its `grade(sample, item)` returns.

    Both arguments are copied: what one grader does to them, the next does not see. Raises GraderRaised
    for anything that the source raises, SystemExit and KeyboardInterrupt included.
    """
    module = types.ModuleType(_NAME)
    before = sys.modules.get(_NAME)
    sys.modules[_NAME] = module  # where dataclasses look up the names in their annotations
    try:
        exec(_compiled(source), module.__dict__)  # noqa: S102  (this function exists to do it)
        return module.__dict__["grade"](copy.deepcopy(dict(sample)), copy.deepcopy(dict(item)))
    except BaseException as raised:
        raise GraderRaised(_described(raised)) from None
    finally:
        if before is None:
            sys.modules.pop(_NAME, None)
        else:
            sys.modules[_NAME] = before


@lru_cache(maxsize=64)
def _compiled(source: str) -> types.CodeType:
    return compile(source, _FILE, "exec", dont_inherit=True)


def _described(raised: BaseException) -> str:
    line: int | None = None
    traceback = raised.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _FILE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    try:
        said = str(raised)[:200]
    except BaseException:
        said = "(its message can't be printed)"
    return f"{type(raised).__name__}: {said}" + (f" (line {line})" if line else "")
