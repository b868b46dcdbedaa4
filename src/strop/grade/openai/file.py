"""A grader file that holds OpenAI's grader JSON."""

from __future__ import annotations

import json
from typing import Any

from strop.errors import ConfigError
from strop.grade.openai.linear import weights_of
from strop.grade.openai.schema import Grader, Multi, parse_grader

MAX_BYTES = 8_000_000
_FIX = '{"type": "multi", "graders": {...}, "calculate_output": "..."}, as OpenAI documents it'


def read_grader(source: str, where: str) -> Grader:
    """Read a grader from a file's text. Raises ConfigError, naming the line or the place in the JSON."""
    if len(source) > MAX_BYTES:
        raise ConfigError(
            f"the grader has {len(source):,} characters; the limit is {MAX_BYTES:,}", where=where, fix=_FIX
        )
    try:
        raw = json.loads(source, object_pairs_hook=_unique, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"the grader file is not JSON: {error.msg}", where=f"{where}:{error.lineno}", fix=_FIX
        ) from error
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(f"the grader file can't be read: {what}", where=where, fix=_FIX) from error
    return parse_grader(raw, f"{where} $")


def components_of(grader: Grader) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the keys of a multi grader's parts, and their weights where the formula is linear."""
    if not isinstance(grader, Multi):
        return (), {}
    return tuple(grader.graders), weights_of(grader)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two graders with one name, JSON keeps the last without a word.
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
