"""The child process that runs a grader: `python -P -s -B -m strop.grade.sandbox.worker`.

Frames on stdin and stdout: four bytes of length (little endian), then JSON. First frame in: the
grader and its limits; first frame out: which layers hold. Then batches in, one result an item out.
The grader's module is executed afresh for every item, so that no state of its own carries over;
modules that it imports stay loaded, and what an item leaves behind is put back (`leftovers`). Nothing
here is trusted by the parent, which checks each result.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import numbers
import os
import signal
import struct
import sys
import time
import types
from typing import Any, BinaryIO

import msgspec

from strop.grade.sandbox.confine import allow_cpu, confine, die_with_parent, enough
from strop.grade.sandbox.leftovers import Leftovers

_NAME = "grader"
_FEEDBACK = 400  # characters a component

# score, components, feedback by component, error
Result = tuple[float | None, dict[str, float], dict[str, str], str | None]


class Setup(msgspec.Struct, frozen=True):
    """The first frame."""

    source: str
    filename: str
    form: str
    names: tuple[str, ...]
    workdir: str
    memory_mb: int
    file_mb: int
    cpu_s: int
    timeout_s: float
    unsafe: bool


class Grader:
    """The user's file, compiled once and executed afresh for each item."""

    def __init__(self, setup: Setup) -> None:
        self._code = compile(setup.source, setup.filename, "exec", dont_inherit=True)
        self._filename = setup.filename
        self._names = setup.names
        self._entry = "rubric" if setup.form == "rubric" else "grade"
        self._function()

    def grade(self, first: Any, second: Any) -> Result:
        """Return score, components, feedback and error; score and error exclude each other."""
        if self._entry == "rubric":
            return self._rubric(first, second)
        values: dict[str, float] = {}
        try:
            function = self._function()
            code = getattr(function, "__code__", None) if self._names else None

            def at_return(frame: types.FrameType, event: str, _: Any) -> None:
                if event == "return" and frame.f_code is code:
                    values.update(self._components(frame.f_locals))

            if code is not None:
                sys.setprofile(at_return)
            try:
                returned = function(first, second)
            finally:
                sys.setprofile(None)
            score, error = _score(returned)
        except BaseException as raised:  # SystemExit and KeyboardInterrupt are the grader's, too
            return None, {}, {}, describe(raised, self._filename)
        return score, (values if error is None else {}), {}, error

    def _rubric(self, first: Any, second: Any) -> Result:
        try:
            result = self._function()(first, second)
            score, error = _score(result.score)
            components = {name: float(result.components[name]) for name in self._names}
            feedback = {n: str(result.feedback[n])[:_FEEDBACK] for n in self._names if n in result.feedback}
        except BaseException as raised:
            return None, {}, {}, describe(raised, self._filename)
        return (score, components, feedback, None) if error is None else (None, {}, {}, error)

    def _function(self) -> Any:
        module = types.ModuleType(_NAME)
        module.__file__ = self._filename
        sys.modules[_NAME] = module
        exec(self._code, module.__dict__)  # noqa: S102  (this process exists to do it)
        return module.__dict__[self._entry]

    def _components(self, local: dict[str, Any]) -> dict[str, float]:
        found: dict[str, float] = {}
        for name in self._names:
            score, error = _score(local.get(name))
            if score is not None and error is None:
                found[name] = score
        return found


class OpenAIGrader:
    """A file of OpenAI's grader JSON."""

    def __init__(self, setup: Setup) -> None:
        # Here, so that other forms don't pay for it; after the confinement, which lets packages be read.
        from strop.grade.openai.confined import Confined

        self._confined = Confined(setup.source, setup.filename)
        self._filename = setup.filename

    def grade(self, first: Any, second: Any, given: Any = None) -> Result:
        """Return score, components, no feedback and the error; given: what models said, by key."""
        try:
            score, components, error = self._confined.grade(first, second, given)
        except BaseException as raised:
            return None, {}, {}, describe(raised, self._filename)
        return score, components, {}, error


def describe(raised: BaseException, filename: str) -> str:
    """Return `raised Type: message (line N)`, N in the grader's file."""
    line: int | None = None
    traceback = raised.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == filename:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    try:
        message = str(raised)[:200]
    except BaseException:
        message = "(its message can't be printed)"
    return f"raised {type(raised).__name__}: {message}" + (f" (line {line})" if line else "")


def _score(value: Any) -> tuple[float | None, str | None]:
    if not isinstance(value, numbers.Real):
        return None, f"returned {_short(value)} ({type(value).__name__}), not a number"
    try:
        number = float(value)
    except OverflowError:
        return None, "returned a number outside [0, 1]"
    if math.isnan(number):
        return None, "returned nan, not a number in [0, 1]"
    if not 0.0 <= number <= 1.0:
        return None, f"returned {number:g}, outside [0, 1]"
    return number, None


def _short(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str | bytes | None) else "a value"


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the next frame, None at the end of the stream."""
    header = stream.read(4)
    if len(header) < 4:
        return None
    return stream.read(struct.unpack("<I", header)[0])


def write_frame(fd: int, value: Any) -> None:
    """Write one frame."""
    body = msgspec.json.encode(value)
    data = memoryview(struct.pack("<I", len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]


def _serve(reader: BinaryIO, out: int) -> None:
    first = read_frame(reader)
    if first is None:
        return
    setup = msgspec.json.decode(first, type=Setup)
    layers = confine(setup.workdir, setup.filename, memory_mb=setup.memory_mb, file_mb=setup.file_mb)
    if not (enough(layers) or setup.unsafe):  # the parent refuses; nothing of the file's may run before
        write_frame(out, {"layers": layers, "error": None})
        return
    try:
        grader = OpenAIGrader(setup) if setup.form == "openai" else Grader(setup)
    except BaseException as raised:
        write_frame(out, {"layers": layers, "error": describe(raised, setup.filename)})
        return
    write_frame(out, {"layers": layers, "error": None})
    leftovers, copy_context = Leftovers(setup.workdir, grader), contextvars.copy_context
    leftovers.put_back()
    # The parent enforces the wall clock; this alarm ends a worker whose parent can't any more.
    alarm = 2 * setup.timeout_s + 5
    while (frame := read_frame(reader)) is not None:
        batch, items = msgspec.json.decode(frame)
        for index, arguments in enumerate(items):
            allow_cpu(setup.cpu_s, time.process_time())
            signal.setitimer(signal.ITIMER_REAL, alarm)
            result = copy_context().run(grader.grade, *arguments)
            left = leftovers.put_back()
            if left is not None and result[3] is None:
                result = None, {}, {}, left
            write_frame(out, [batch, index, *result])
            if left is not None or leftovers.spent():
                os._exit(0)


def main() -> None:
    """Serve grades until stdin ends. What the grader prints goes nowhere."""
    die_with_parent()
    with contextlib.suppress(OSError):
        os.setsid()  # no terminal, whose keys would interrupt a grade
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    reader, out = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)
    end = os._exit  # nothing that a grader registered for the end may run
    try:
        _serve(reader, out)
    except BaseException:
        end(1)
    end(0)


if __name__ == "__main__":
    main()
