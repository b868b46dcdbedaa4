"""OpenAI's grader templates: `{{ namespace.variable }}` in a text.

Guide "Graders", section "Templating": the namespaces are `item` and `sample`, nested values are reached
with a path like JSONPath: `{{ sample.output_tools[0].function.name }}`. Keys that are no plain words stand
in quotes: `{{ item["due date"] }}`. A text is read once: braces inside of a value stay what they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import msgspec

_HEAD = re.compile(r"item|sample")
_STEP = re.compile(
    r"""\.(?P<word>[^\s.\[\]{}"']+)|\[(?P<index>[0-9]{1,9})\]|\[(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')\]"""
)
_WORD = re.compile(r"""[^\s.\[\]{}"']+""")

Step: TypeAlias = str | int


class TemplateError(ValueError):
    """A text is no template: braces that don't close, or no variable between them."""


class MissingVariable(LookupError):
    """A template names a variable that is not there; `variable` is the one."""

    def __init__(self, variable: Variable) -> None:
        super().__init__(f"no variable {variable}")
        self.variable = variable


class Variable(msgspec.Struct, frozen=True):
    """One `{{ namespace.path }}`; str steps are keys, int steps are positions in a list."""

    namespace: Literal["item", "sample"]
    path: tuple[Step, ...]

    def __str__(self) -> str:
        return self.namespace + "".join(_step(step) for step in self.path)

    def find(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> Any:
        """Return the value. Raises MissingVariable where the path ends early."""
        value: Any = item if self.namespace == "item" else sample
        for step in self.path:
            inside = isinstance(value, Mapping) if isinstance(step, str) else isinstance(value, list | tuple)
            try:
                value = value[step] if inside else None
            except (KeyError, IndexError):
                inside = False
            if not inside:
                raise MissingVariable(self)
        return value


class Template(msgspec.Struct, frozen=True):
    """A text with variables, as read."""

    parts: tuple[str | Variable, ...]

    def __str__(self) -> str:
        return "".join(p if isinstance(p, str) else "{{ " + str(p) + " }}" for p in self.parts)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return the variables in the order of the text."""
        return tuple(part for part in self.parts if isinstance(part, Variable))

    def render(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> str:
        """Return the text with its values: strings as they are, anything else as JSON (`1.0`, `true`).

        How OpenAI writes values that are no strings is not documented. Raises MissingVariable; a
        missing variable is never an empty text. Raises ValueError for values nested too deeply.
        """
        return "".join(p if isinstance(p, str) else _text(p.find(sample, item)) for p in self.parts)


@lru_cache(maxsize=256)
def parse_template(text: str) -> Template:
    """Read a template, in time linear in its length. Raises TemplateError, naming the place."""
    parts: list[str | Variable] = []
    at = 0
    while (start := text.find("{{", at)) >= 0:
        end = text.find("}}", start + 2)
        if end < 0:
            raise TemplateError(f"'{{{{' at character {start} is never closed")
        if start > at:
            parts.append(text[at:start])
        parts.append(_variable(text[start + 2 : end]))
        at = end + 2
    if at < len(text) or not parts:
        parts.append(text[at:])
    return Template(tuple(parts))


def _variable(inside: str) -> Variable:
    said = inside.strip()
    head = _HEAD.match(said)
    path: list[Step] = []
    at = head.end() if head else 0
    while head and at < len(said):
        step = _STEP.match(said, at)
        if step is None:
            break
        at = step.end()
        index = step["index"]
        key = step["word"] or step["double"] or step["single"] or ""
        path.append(key if index is None else int(index))
    if head is None or at < len(said) or not path or not isinstance(path[0], str):
        raise TemplateError(
            f"'{{{{{inside[:60]}}}}}' names no variable; "
            "write {{ item.key }} or {{ sample.output_text }}"
        )
    return Variable("item" if head[0] == "item" else "sample", tuple(path))


def _step(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if _WORD.fullmatch(step):
        return f".{step}"
    return f"['{step}']" if '"' in step else f'["{step}"]'


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ValueError("a value is nested too deeply to be written out") from None
