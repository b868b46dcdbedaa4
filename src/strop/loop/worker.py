"""A worker process: `python -m strop.loop.worker`, started and talked to by `parallel` over its pipes.

Requests are pickled (function, chunk), answers (worked, result or exception). It ends with its standard
input, so nobody has to stop it, however its parent ended. Unlike a process of `multiprocessing` it never
runs the parent's main module, which may be a script without a guard.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from strop.errors import StropError


class Worker:
    """The parent's end: one process that does one thing at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "strop.loop.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def call(self, function: Callable[[Any], Any], chunk: Any) -> Any:
        """Return the function's result, or raise what it raised. Raises StropError where the process died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = pickle.dumps((function, chunk), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            worked, result = pickle.load(self._process.stdout)  # noqa: S301 what this process's own child wrote
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise StropError(
                f"a worker process died (exit {self._process.wait()}); -9 is most often a lack of memory",
                where=f"process {self._process.pid}",
                fix="free some memory and run the command again: what is stored is not done again",
            ) from error
        if not worked:
            raise result
        return result

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what the process did not read before it died
                pipe.close()
        self._process.wait()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more, or the parent died in the middle of one."""
    while True:
        try:
            function, chunk = pickle.load(requests)  # noqa: S301
        except (EOFError, pickle.UnpicklingError):
            return
        try:
            answer = pickle.dumps((True, function(chunk)), protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # it is raised again in the parent
            answer = pickle.dumps((False, error))
        with suppress(BrokenPipeError):  # nobody waits for it any more
            answers.write(answer)
            answers.flush()


def main() -> None:
    """Serve standard input and output; what the functions print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
