"""What one item leaves behind in its worker, put back before the next.

Files, the current folder, the environment, hooks and timers; and what it patched in builtins and in the
modules and classes that graders lean on. This undoes carelessness and plain monkey-patching. It is no
wall: code that walks frames or writes to memory reaches this code, too.
"""

from __future__ import annotations

import _thread
import ctypes
import gc
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from strop.grade.sandbox.folder import empty

# Where they are loaded once the grader is. A hundred names cost a microsecond an item.
_MODULES = (
    "__main__", "collections", "datetime", "decimal", "difflib", "functools", "itertools", "json",
    "json.decoder", "json.encoder", "math", "msgspec", "msgspec.json", "numbers", "operator", "os",
    "random", "re", "statistics", "string", "strop.grade.rubric", "strop.grade.sandbox.folder",
    "strop.grade.sandbox.leftovers", "strop.grade.sandbox.worker", "sys", "unicodedata",
)  # fmt: skip
_MOST_OPEN = 32  # of the 64 files that a worker may have open
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU)
# The names are this module's own, because a grader may have put others in their places.
_id, _len, _map, _tuple, _bytes_at = id, len, map, tuple, ctypes.string_at
_enable, _set_threshold = gc.enable, gc.set_threshold
_setitimer, _signal = signal.setitimer, signal.signal
_running = _thread._count  # pyright: ignore[reportPrivateUsage]
_ROUNDS = (1, 2, 3)
_PYTHONS = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_HEAD = tuple.__basicsize__  # the items' addresses follow


class _Guarded(NamedTuple):
    names: Mapping[str, Any]  # of a module, a class or an object, as they are now
    copy: dict[str, Any]  # as they were
    put: Callable[[str, Any], None]
    drop: Callable[[str], Any]


class Leftovers:
    """Remember the worker as it is once its grader is loaded, to put it back like that after each item."""

    def __init__(self, workdir: str, grader: object) -> None:
        self._workdir, self._environment = workdir, dict(os.environ)
        self._raw, self._raw_before = vars(os.environ)["_data"], dict(vars(os.environ)["_data"])
        self._threads, self._recursion = _running(), sys.getrecursionlimit()
        self._collecting = gc.get_threshold()
        self._modules, self._loaded = sys.modules, dict(sys.modules)
        self._in_order = ["builtins", *(name for name in _MODULES if name in self._loaded)]
        names = [vars(self._loaded[name]) for name in self._in_order]
        self._guarded = [
            *(_Guarded(n, dict(n), n.__setitem__, n.__delitem__) for n in (*names, vars(grader))),
            *map(_of_class, _classes(names, {*self._in_order})),
        ]
        self._before = self._addresses()

    def put_back(self) -> str | None:
        """Put back what can be; return in words what can't: the process must then end."""
        if self._addresses() != self._before and not self._restored():
            return "tampers with the interpreter without end"
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(self._recursion)
        _enable()
        _set_threshold(*self._collecting)
        for timer in _TIMERS:
            _setitimer(timer, 0)
        for number in _SIGNALS:
            _signal(number, signal.SIG_DFL)
        os.umask(0o077)
        os.chdir(self._workdir)
        if self._raw != self._raw_before:
            os.environ.clear()
            os.environ.update(self._environment)
        if _running() > self._threads and (running := self._still_running()) > 0:
            return f"left {running} thread{'s' if running > 1 else ''} running; join before returning"
        return None if empty(self._workdir) else "left files that can't be removed"

    def spent(self) -> bool:
        """Say whether so many files were left open that the process should end after this item."""
        return _first_free() > _MOST_OPEN and (gc.collect(), _first_free())[1] > _MOST_OPEN

    def _addresses(self) -> bytes:
        # Identities and no comparison, which a value could answer itself; 10 ns a name instead of 40.
        values: list[Any] = [*_map(self._modules.get, self._in_order)]
        for guarded in self._guarded:
            values += guarded.names.values()
        packed = _tuple(values)
        return _bytes_at(_id(packed) + _HEAD, 8 * _len(packed))

    def _restored(self) -> bool:
        # What is removed may run code of its own, which tampers again.
        for _ in _ROUNDS:
            changed = False
            for guarded in self._guarded:
                changed |= _restore(guarded)
            self._modules.update(self._loaded)
            if not changed:
                self._before = self._addresses()
                return True
        return False

    def _still_running(self) -> int:
        # An executor's threads end with it, soon after.
        gc.collect()
        for _ in range(20):
            if _running() <= self._threads:
                break
            time.sleep(0.005)
        return _running() - self._threads


def _classes(modules: list[dict[str, Any]], names: set[str]) -> list[type]:
    # Python's own, which can be changed, each once.
    found = [v for module in modules for v in module.values() if isinstance(v, type)]
    return list({id(c): c for c in found if c.__flags__ & _PYTHONS and c.__module__ in names}.values())


def _of_class(owner: type) -> _Guarded:
    names = vars(owner)
    return _Guarded(names, dict(names), partial(type.__setattr__, owner), partial(type.__delattr__, owner))


def _restore(guarded: _Guarded) -> bool:
    changed = False
    names, copy, put, drop = guarded
    for name, value in copy.items():
        if name not in names or names[name] is not value:
            put(name, value)
            changed = True
    for name in [name for name in names if name not in copy]:
        if type(names[name]) is types.ModuleType:
            copy[name] = names[name]  # a submodule that was imported meanwhile: nothing would set it again
        else:
            drop(name)
            changed = True
    return changed


def _first_free() -> int:
    fd = os.dup(0)
    os.close(fd)
    return fd
