"""The head of every compiled python grader: from OpenAI's `sample` and `item` to strop's arguments.

This file's text is put in front of a plan (`_PLAN`, made in compile.py), and the two together are the
`source` of a grader. So it runs outside of strop: standard library only, and it must read answers and tool
calls exactly as strop/grade/extract.py does. What a hosted grader can't know stands in the rollout as
`_OutOfReach`, which raises when it is used: a score that would differ is no score.
"""

from __future__ import annotations

import builtins
import dataclasses
import json
import math
import numbers
import sys
import types
from typing import Any

# source, file, entry: the user's and the name in it that grades; kind: "rollout", "rubric" or "given";
# unit: the value must be in [0, 1]; fields: lifted from the answer; single_turn: messages are the item's
# and the one choice; modules, tag: sources by name and their hash; given: the field that a judge needs.
_PLAN: dict[str, Any] = {}
_CODE: dict[str, Any] = {}


class _OutOfReach:
    """A part of the rollout that a hosted grader doesn't get."""

    def __init__(self, key: str) -> None:
        object.__setattr__(self, "_key", key)

    def _raise(self, *_: Any, **__: Any) -> Any:
        key = object.__getattribute__(self, "_key")
        raise LookupError(f"rollout[{key!r}] is out of reach in this grader")

    __getitem__ = __iter__ = __len__ = __bool__ = __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = _raise
    __contains__ = __hash__ = __str__ = __repr__ = __getattr__ = __call__ = __float__ = __int__ = _raise
    __format__ = __add__ = __radd__ = __or__ = __ror__ = _raise
    __class__ = property(_raise)  # pyright: ignore  (isinstance asks for it)


def grade(sample: dict[str, Any], item: dict[str, Any]) -> float:
    """Return the grade; raises where the user's file does, and for a value that is no valid grade."""
    if _PLAN["kind"] == "given":
        return float(_given(sample, _PLAN["given"]))
    value = _function()(_rollout(sample, item), _ground_truth(item))
    if _PLAN["kind"] == "rubric":
        value = getattr(value, "score", value)
    if not isinstance(value, numbers.Real):
        raise TypeError(f"the grade is of type {type(value).__name__}, not a number")
    number = float(value)
    if not math.isfinite(number) or (_PLAN["unit"] and not 0.0 <= number <= 1.0):
        raise ValueError(f"the grade is {number!r}, " + ("outside [0, 1]" if _PLAN["unit"] else "not finite"))
    return number


def _rollout(sample: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    answer = _answer(sample)
    calls = sample.get("output_tools") or []
    messages: Any = _OutOfReach("messages")
    tools: Any = _OutOfReach("tools")
    if _PLAN["single_turn"]:
        said: dict[str, Any] = {"role": "assistant", "content": _content(sample)}
        if calls:
            said["tool_calls"] = calls
        answered = bool(calls) or said["content"] is not None
        messages = [*item["messages"], said] if answered else [*item["messages"]]
        tools = item["tools"]
    return {
        **{field: None if answer is None else answer.get(field) for field in _PLAN["fields"]},
        "messages": messages,
        "tool_calls": [_call(call) for call in calls],
        "tools": tools,
        "usage": _OutOfReach("usage"),
        "llm_judge": _OutOfReach("llm_judge"),
    }


def _ground_truth(item: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in item.items() if k not in ("messages", "tools", "strop_inquiry")}


def _given(sample: dict[str, Any], field: str | None) -> bool:
    if field is None:
        return _content(sample) is not None
    answer = _answer(sample)
    return answer is not None and answer.get(field) is not None


def _content(sample: dict[str, Any]) -> Any:
    return sample["choices"][0]["message"].get("content")


def _answer(sample: dict[str, Any]) -> dict[str, Any] | None:
    # One valid JSON object, without duplicate keys at any depth, non-finite numbers, lone surrogates.
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(found)
        if len(result) < len(found):
            raise ValueError("duplicate key")
        return result

    return _object(sample.get("output_text") or "", pairs)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    text = call["function"]["arguments"]
    parsed = _object(text or "{}", dict)
    return {
        "name": call["function"]["name"],
        "arguments": text if parsed is None else parsed,
        "id": call["id"],
    }


def _object(text: str, pairs: Any) -> dict[str, Any] | None:
    try:
        parsed: Any = json.loads(
            text, object_pairs_hook=pairs, parse_constant=_not_finite, parse_float=_finite
        )
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _not_finite(constant: str) -> float:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _function() -> Any:
    # The user's file is executed afresh for each item; modules that it imports stay loaded.
    if "user" not in _CODE:
        _CODE["user"] = compile(_PLAN["source"], _PLAN["file"], "exec", dont_inherit=True)
    module = _module("_graded")
    exec(_CODE["user"], module.__dict__)  # noqa: S102
    return module.__dict__[_PLAN["entry"]]


def _module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
    sys.modules[name] = module
    return module


def _import(name: str, given: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
    # Names of strop's own modules lead to the sources in the plan, under names of their own, so that
    # nothing here meets an installed strop.
    if level or name.split(".")[0] not in ("strop", "msgspec"):
        return __import__(name, given, local, wanted, level)
    module = _embedded(name)
    if wanted:
        for attribute in wanted:
            if f"{name}.{attribute}" in _PLAN["modules"]:
                setattr(module, attribute, _embedded(f"{name}.{attribute}"))
        return module
    return _embedded(name.split(".")[0])


def _embedded(name: str) -> types.ModuleType:
    alias = f"_graded_{_PLAN['tag']}_{name}"
    if alias in sys.modules:
        return sys.modules[alias]
    module = _module(alias)
    try:
        if name == "msgspec":
            module.__dict__["Struct"] = _Struct
        elif name == "strop.records":
            module.__dict__["JsonObject"] = dict[str, Any]
        else:
            source = _PLAN["modules"].get(name, "")
            exec(compile(source, f"{name}.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except BaseException:
        del sys.modules[alias]
        raise
    if "." in name:
        parent, _, own = name.rpartition(".")
        setattr(_embedded(parent), own, module)
    return module


class _Struct:
    """Stands in for msgspec.Struct, which hosted graders lack: a data class."""

    def __init_subclass__(cls, *, frozen: bool = False, kw_only: bool = False) -> None:
        dataclasses.dataclass(frozen=frozen, kw_only=kw_only)(cls)
