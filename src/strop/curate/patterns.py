"""A tenant's regular expressions: refused where they are none, or where some text would take for ever."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from re import _constants as names  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any, cast

from strop.errors import ConfigError

_CPU_S, _PATIENCE_S = 1, 60.0  # for a few kilobytes; the second where the machine can't hold to the first
_PUMPED = (1, 3, 30, 2000)  # how often what may repeat for ever does, in the texts that are tried
_CHARACTERS = {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
_TRY = """
import json, re, sys
pattern, texts, seconds = json.load(sys.stdin)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
except (ImportError, OSError, ValueError):
    pass
for text in texts:
    for _ in re.finditer(pattern, text):
        pass
"""


@lru_cache(maxsize=8)
def compiled(patterns: tuple[str, ...], key: str) -> tuple[re.Pattern[str], ...]:
    """Return the patterns of a key of strop.toml, compiled. Raises ConfigError."""
    found: list[re.Pattern[str]] = []
    for pattern in patterns:
        try:
            found.append(re.compile(pattern))
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(
                f"{key}: {pattern!r} is no regular expression: {error}", fix="correct it in strop.toml"
            ) from error
        if not _is_quick(pattern):
            raise ConfigError(
                f"{key}: {pattern!r} takes for ever on some texts",
                fix=r"leave out repetitions inside of repetitions: \d+ instead of (\d+)+",
            )
    return tuple(found)


def _is_quick(pattern: str) -> bool:
    """Try it on texts that nearly match, in a process that can be stopped; one repetition needs no try."""
    tree = cast("Sequence[tuple[Any, Any]]", parser.parse(pattern))
    if (
        sum(1 for op, _ in _walk(tree) if op in (names.MAX_REPEAT, names.MIN_REPEAT)) < 2
        and "|" not in pattern
    ):
        return True
    samples = [
        _sample(tree[:n], times, opt) for n in range(1, len(tree) + 1) for times in _PUMPED for opt in (0, 1)
    ]
    texts = list(dict.fromkeys(part + end for s in samples for part in (s, s[:-1]) for end in ("", "\0")))
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TRY],
            input=json.dumps([pattern, texts, _CPU_S]).encode(),
            timeout=_PATIENCE_S,
            capture_output=True,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _walk(value: object) -> Iterator[tuple[Any, Any]]:
    """Yield (operation, arguments) of a parsed pattern, at any depth."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], type(names.LITERAL)):
        yield cast("tuple[Any, Any]", value)
    if isinstance(value, list | tuple | parser.SubPattern):
        for inner in cast("Sequence[object]", value):
            yield from _walk(inner)


def _sample(tree: Sequence[tuple[Any, Any]], times: int, optional: int) -> str:
    """A text that the pattern begins to match: what may repeat for ever does so many times.

    optional: whether what may be left out is there, 0 or 1.
    """
    text = ""
    for op, argument in tree:
        if op is names.LITERAL:
            text += chr(argument)
        elif op is names.IN:
            text += _one_of(argument)
        elif op in (names.ANY, names.NOT_LITERAL):
            text += "a"
        elif op in (names.MAX_REPEAT, names.MIN_REPEAT, names.POSSESSIVE_REPEAT):
            low, high, inner = argument
            unbounded = high is names.MAXREPEAT or high > 50
            nested = any(o in (names.MAX_REPEAT, names.MIN_REPEAT) for o, _ in _walk(inner))
            count = max(low, times) if unbounded else max(low, optional)
            text += _sample(inner, 1 if nested else times, optional) * count
        elif op is names.SUBPATTERN:
            text += _sample(argument[-1], times, optional)
        elif op is names.ATOMIC_GROUP:
            text += _sample(argument, times, optional)
        elif op is names.BRANCH:
            text += _sample(argument[1][0], times, optional)
    return text


def _one_of(choices: Sequence[tuple[Any, Any]]) -> str:
    for op, argument in choices:
        if op is names.LITERAL:
            return chr(argument)
        if op is names.RANGE:
            return chr(argument[0])
        if op is names.CATEGORY:
            return _CHARACTERS.get(str(argument), "a")
    return "a"
