"""Plain data out of a Python pickle, without running what else a pickle can hold.

A pickle is a program: unpickling one from elsewhere runs whatever it names. Here its operations are looked
at first, and only those that build None, booleans, numbers, strings, bytes and containers of them pass,
besides datetime's classes and Decimal; everything else is refused before anything runs.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, cast

_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("datetime", "datetime"): datetime,
    ("datetime", "date"): date,
    ("datetime", "time"): time,
    ("datetime", "timedelta"): timedelta,
    ("datetime", "timezone"): timezone,
    ("decimal", "Decimal"): Decimal,
}
_OPERATIONS = {
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "INT",
    "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS",
    "FROZENSET", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL",
    "STACK_GLOBAL", "REDUCE", "NEWOBJ",
}  # fmt: skip
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
_MOST = 64 << 20  # bytes, about, that a pickle expands to: a few of them can name one list again and again
_VALUE = 128  # of these for each value
_MOST_BITS = 4096  # of an integer


def plain(data: bytes) -> Any:
    """Return a pickle's value as JSON values: tuples and sets as lists, times as ISO 8601, bytes as hex.

    Raises ValueError, which quotes at most the name of a class, where it holds anything else.
    """
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name not in _OPERATIONS:
                raise ValueError(f"a pickle does more than hold plain data ({operation.name})")
            if operation.name in _MEMO and int(cast(Any, argument)) > len(data):
                raise ValueError("a pickle asks for more memory than it could need")
        value = _Plain(io.BytesIO(data)).load()
    except _Refused as error:
        raise ValueError(str(error)) from None
    except ValueError as error:
        own = str(error).startswith("a pickle ")
        raise ValueError(str(error) if own else "a pickle is damaged") from None
    except Exception as error:  # documented: a damaged pickle may raise anything
        raise ValueError(f"a pickle is damaged: {type(error).__name__}") from None
    return _json(value, [_MOST], 0)


class _Refused(pickle.UnpicklingError):
    """A class that is not plain data."""


class _Plain(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        found = _ALLOWED.get((module_name, global_name))
        if found is None:
            named = f"{module_name}.{global_name}"
            plain_name = named.replace(".", "").isidentifier() and len(named) <= 100
            raise _Refused(f"a pickle holds a Python object: {named if plain_name else 'of an odd name'}")
        return found


def _json(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= _VALUE + (len(value) if isinstance(value, str | bytes | bytearray) else 0)
    if left[0] < 0 or depth > 200:
        raise ValueError("a pickle expands to more than can be read")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError("a pickle holds a number of too many digits")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal | timedelta):
        return str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        named = {_key(k): _json(v, left, depth + 1) for k, v in items.items()}
        if len(named) < len(items):
            raise ValueError("a pickle holds a mapping whose keys are no text")
        return named
    if isinstance(value, list | tuple):
        return [_json(v, left, depth + 1) for v in cast("list[Any]", value)]
    if isinstance(value, set | frozenset):
        found = [_json(v, left, depth + 1) for v in cast("set[Any]", value)]
        return sorted(found, key=repr)  # a set has no order that would be the same tomorrow
    raise ValueError(f"a pickle holds a Python object: {type(cast(object, value)).__name__}")


def _key(key: Any) -> str:
    if key is None or isinstance(key, str | bool | int | float | Decimal):
        return str(key)
    if isinstance(key, datetime | date):
        return key.isoformat()
    raise ValueError("a pickle holds a mapping whose keys are no text")
