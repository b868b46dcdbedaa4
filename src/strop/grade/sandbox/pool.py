"""Warm worker processes that run a grader, seen from the parent, which trusts none of them."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import msgspec

from strop.errors import ConfigError, StropError
from strop.grade.child import Spawner
from strop.grade.load import GraderSource
from strop.grade.sandbox.confine import enough
from strop.grade.sandbox.folder import empty, overfull
from strop.records import Grade, JsonObject

# The grader's two arguments; an OpenAI grader's item may have a third, what its models said by key.
Item: TypeAlias = tuple[JsonObject, JsonObject] | tuple[JsonObject, JsonObject, JsonObject]

_MAX_ITEM_MB = 16
_MAX_REPLY = 1 << 20
_BATCH_ITEMS, _BATCH_BYTES = 16, 1 << 18
_FILE_MB, _FOLDER_MB = 16, 64
_LOOK_S = 0.25  # how often a running worker's folder is looked at
_START_S = 60.0
_FOLDER = "strop-grade-"


class Limits(msgspec.Struct, frozen=True):
    """What one grade may take. Memory is the address space of a worker, interpreter included."""

    timeout_s: float = 5.0
    cpu_s: int = 5
    memory_mb: int = 512
    workers: int = 2


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    batch: int
    index: int
    score: float | None
    components: dict[str, float]
    feedback: dict[str, str]
    error: str | None


class _Ready(msgspec.Struct, frozen=True):
    layers: dict[str, int]
    error: str | None


class _Worker:
    """One child: its pipes, what it was given, and when it must answer."""

    def __init__(self, process: subprocess.Popen[bytes], workdir: str, layers: dict[str, int]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process, self.workdir, self.layers = process, workdir, layers
        self.to_child, self.from_child = process.stdin.fileno(), process.stdout.fileno()
        self.outgoing = memoryview(b"")
        self.incoming = bytearray()
        self.batch, self.batches = 0, 0
        self.answered: list[int] = []
        self.pending: deque[int] = deque()
        self.deadline, self.look = 0.0, 0.0

    def give(self, positions: Sequence[int], bodies: Sequence[bytes], timeout_s: float) -> None:
        """Queue a batch; the clock of its first item starts."""
        # A number that a grader can't know beforehand, so that it can't answer for what is still to come.
        self.batch = int.from_bytes(os.urandom(7))
        self.batches += 1
        self.answered, self.pending = [], deque(positions)
        body = b"[%d,[%s]]" % (self.batch, b",".join(bodies))
        self.outgoing = memoryview(struct.pack("<I", len(body)) + body)
        self.begin(timeout_s)

    def begin(self, timeout_s: float) -> None:
        """Start the clock of the next item."""
        now = time.monotonic()
        self.deadline, self.look = now + timeout_s, now + _LOOK_S

    def write(self) -> None:
        """Write what the pipe takes; a broken pipe shows when reading."""
        try:
            self.outgoing = self.outgoing[os.write(self.to_child, self.outgoing) :]
        except BlockingIOError:
            return
        except OSError:
            self.outgoing = memoryview(b"")

    def read(self) -> tuple[list[_Reply], bool]:
        """Return the complete replies that have arrived, and whether the end or nonsense came after them."""
        try:
            data = os.read(self.from_child, 1 << 16)
        except BlockingIOError:
            return [], False
        self.incoming += data
        replies: list[_Reply] = []
        while len(self.incoming) >= 4:
            size = struct.unpack_from("<I", self.incoming)[0]
            if size > _MAX_REPLY:
                return replies, True
            if len(self.incoming) < 4 + size:
                break
            try:
                replies.append(msgspec.json.decode(self.incoming[4 : 4 + size], type=_Reply))
            except (msgspec.DecodeError, RecursionError):
                return replies, True
            del self.incoming[: 4 + size]
        return replies, not data

    def stop(self) -> int:
        """Kill the child, remove its folder, return its exit status."""
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        _remove(self.workdir)
        return status


class _Work:
    """The items of one run: those that wait, those in doubt that are graded alone, and the grades."""

    def __init__(self, items: int) -> None:
        self.bodies: dict[int, bytes] = {}
        self.queue: deque[int] = deque()
        self.alone: deque[int] = deque()
        self.grades: list[Grade | None] = [None] * items


class Sandbox:
    """Run a grader in warm, confined workers: no network, no processes, no files, limited resources.

    A grader that fails on an item makes that item an error; the rest go on. Where a worker dies, overruns
    or talks nonsense, the item it worked on and those that it had answered in the same batch are graded
    again, each alone in a fresh worker, so that the blame falls on the right one. Use as a context
    manager, from one thread at a time. unsafe=True runs the grader where the platform can't confine
    it; otherwise that raises StropError. A grader that does not load raises ConfigError.
    """

    def __init__(self, grader: GraderSource, limits: Limits | None = None, *, unsafe: bool = False) -> None:
        self._grader, self._limits, self._unsafe = grader, limits or Limits(), unsafe
        self._spawner: Spawner | None = None
        self._workers: list[_Worker] = []
        self._careful = False  # after a first failure: no batches any more

    def __enter__(self) -> Sandbox:
        self._spawner = Spawner()
        _sweep()
        try:
            self._workers = [self._start() for _ in range(self._limits.workers)]
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            worker.stop()
        self._workers = []
        if self._spawner is not None:
            self._spawner.close()
            self._spawner = None

    @property
    def layers(self) -> dict[str, int]:
        """Which layers hold in the workers: seccomp (0 or 1), landlock (the kernel's version or 0)."""
        return self._workers[0].layers

    @property
    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def run(self, items: Sequence[Item]) -> list[Grade]:
        """Grade items, (rollout, ground truth) or (sample, item); the grades come in their order."""
        work = _Work(len(items))
        for position, item in enumerate(items):
            try:
                body = msgspec.json.encode(item)
            except RecursionError:
                work.grades[position] = Grade(error="the rollout is nested too deeply")
                continue
            if len(body) > _MAX_ITEM_MB << 20:
                work.grades[position] = Grade(error=f"the rollout is over {_MAX_ITEM_MB} MB")
            else:
                work.bodies[position] = body
        work.queue.extend(work.bodies)
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                worker.pending.clear()
                self._watch(selector, worker)
            while work.queue or work.alone or any(worker.pending for worker in self._workers):
                self._feed(selector, work)
                self._step(selector, work)
        return [grade for grade in work.grades if grade is not None]

    def _feed(self, selector: selectors.BaseSelector, work: _Work) -> None:
        share = max(1, min(_BATCH_ITEMS, len(work.queue) // (2 * len(self._workers))))
        for worker in list(self._workers):
            if worker.pending:
                continue
            batch: list[int] = []
            if work.alone:
                batch.append(work.alone.popleft())
                if worker.batches:
                    worker = self._renew(selector, worker)
            size = 0
            while work.queue and not work.alone and len(batch) < (1 if self._careful else share):
                batch.append(work.queue.popleft())
                size += len(work.bodies[batch[-1]])
                if size >= _BATCH_BYTES:
                    break
            if batch:
                worker.give(batch, [work.bodies[p] for p in batch], self._limits.timeout_s)
                selector.register(worker.to_child, selectors.EVENT_WRITE, worker)

    def _step(self, selector: selectors.BaseSelector, work: _Work) -> None:
        busy = [worker for worker in self._workers if worker.pending]
        wait = min((min(w.deadline, w.look) for w in busy), default=0.0) - time.monotonic()
        failed: dict[int, str] = {}
        for key, _ in selector.select(max(0.0, wait)):
            worker: _Worker = key.data
            if key.fd == worker.to_child:
                worker.write()
                if not worker.outgoing:
                    selector.unregister(worker.to_child)
                continue
            replies, ended = worker.read()
            if not all(self._take(worker, reply, work.grades) for reply in replies):
                failed[id(worker)] = "crashed: the worker answered what nobody asked"
            elif ended:
                failed[id(worker)] = ""
        now = time.monotonic()
        for worker in busy:
            if id(worker) in failed or not worker.pending:
                continue
            if now > worker.deadline:
                failed[id(worker)] = f"timeout: no grade within {self._limits.timeout_s:g} s"
            elif now > worker.look:
                worker.look = now + _LOOK_S
                if overfull(worker.workdir, _FOLDER_MB):
                    failed[id(worker)] = f"crashed: the grader wrote over {_FOLDER_MB} MB or 1,000 files"
        for worker in list(self._workers):
            if id(worker) in failed:
                self._fail(selector, worker, work, failed[id(worker)])

    def _take(self, worker: _Worker, reply: _Reply, grades: list[Grade | None]) -> bool:
        # False for a reply that nobody asked for, or out of turn: a worker gone wrong.
        expected = (worker.batch, len(worker.answered))
        if not worker.pending or worker.outgoing or (reply.batch, reply.index) != expected:
            return False
        position = worker.pending.popleft()
        worker.answered.append(position)
        worker.begin(self._limits.timeout_s)
        if reply.error is not None:
            grades[position] = Grade(error=reply.error[:400])
        elif reply.score is None or not 0.0 <= reply.score <= 1.0:
            grades[position] = Grade(error="crashed: the worker sent no valid score")
        else:
            grades[position] = Grade(
                score=reply.score,
                components={n: reply.components[n] for n in self._grader.names if n in reply.components},
                feedback={n: reply.feedback[n] for n in self._grader.names if n in reply.feedback},
            )
        return True

    def _fail(self, selector: selectors.BaseSelector, worker: _Worker, work: _Work, why: str) -> None:
        pending, answered = worker.pending, worker.answered
        certain = worker.batches == 1 and len(pending) + len(answered) == 1
        self._renew(selector, worker)
        if not pending:
            return
        head = pending.popleft()
        if certain:
            work.grades[head] = Grade(error=why or self._why(worker.process.returncode))
        else:
            self._careful = True
            work.alone.extend([*answered, head])
            work.queue.extendleft(reversed(pending))

    def _renew(self, selector: selectors.BaseSelector, worker: _Worker) -> _Worker:
        for fd in (worker.to_child, worker.from_child):
            with contextlib.suppress(KeyError):
                selector.unregister(fd)
        worker.stop()
        self._workers[self._workers.index(worker)] = fresh = self._start()
        self._watch(selector, fresh)
        return fresh

    def _why(self, status: int) -> str:
        if status == -signal.SIGXCPU:
            return f"timeout: over {self._limits.cpu_s} s of CPU time"
        if status < 0:
            names = {number.value: number.name for number in signal.Signals}  # most of SIGRTMIN's have none
            return f"crashed: the grader's process was ended by {names.get(-status, f'signal {-status}')}"
        return f"crashed: the grader ended its process (exit status {status})"

    def _watch(self, selector: selectors.BaseSelector, worker: _Worker) -> None:
        selector.register(worker.from_child, selectors.EVENT_READ, worker)

    def _start(self) -> _Worker:
        assert self._spawner is not None
        workdir = tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-")
        with tempfile.TemporaryFile() as stderr:
            process = self._spawner.start(
                # -I but for PYTHONHASHSEED: sets iterate in the same order in every worker.
                [sys.executable, "-P", "-s", "-B", "-m", "strop.grade.sandbox.worker"],
                cwd=workdir,
                env={"PYTHONHASHSEED": "0"},
                stdin=subprocess.PIPE,
                stderr=stderr,
            )
            worker = _Worker(process, workdir, {})
            try:
                ready = self._greet(worker)
                if ready is None:
                    stderr.seek(0)
                    said = stderr.read()[-400:].decode(errors="replace").strip()
                    raise ConfigError(
                        f"the grader file does not load: its process ended ({said or 'no message'})",
                        where=str(self._grader.path),
                    )
                self._accept(ready)
            except BaseException:
                worker.stop()
                raise
        worker.layers = ready.layers
        os.set_blocking(worker.to_child, False)
        os.set_blocking(worker.from_child, False)
        return worker

    def _greet(self, worker: _Worker) -> _Ready | None:
        setup = msgspec.json.encode(
            {
                "source": self._grader.source,
                "filename": str(self._grader.path),
                "form": self._grader.form,
                "names": list(self._grader.names),
                "workdir": worker.workdir,
                "memory_mb": self._limits.memory_mb,
                "file_mb": _FILE_MB,
                "cpu_s": self._limits.cpu_s,
                "timeout_s": self._limits.timeout_s,
                "unsafe": self._unsafe,
            }
        )
        with contextlib.suppress(BrokenPipeError):
            os.write(worker.to_child, struct.pack("<I", len(setup)))
            sent = memoryview(setup)
            while sent:
                sent = sent[os.write(worker.to_child, sent) :]
        try:
            frame = _read_within(worker.from_child, _START_S)
        except TimeoutError:
            raise ConfigError(
                f"the grader file does not load within {_START_S:g} s",
                where=str(self._grader.path),
                fix="move slow work out of the module's top level",
            ) from None
        try:
            return None if frame is None else msgspec.json.decode(frame, type=_Ready)
        except (msgspec.DecodeError, RecursionError):
            return None

    def _accept(self, ready: _Ready) -> None:
        if ready.error is not None:
            raise ConfigError(
                f"the grader file does not load: it {ready.error}", where=str(self._grader.path)
            )
        if not (enough(ready.layers) or self._unsafe):
            raise StropError(
                "this platform can't confine a grader: neither seccomp nor Landlock is to be had",
                where=str(self._grader.path),
                fix="strop doctor; or run a grader that you trust with --unsafe-local-grader",
            )


def _sweep() -> None:
    # A process that was killed could not remove its workers' folders; the next one does.
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            _remove(str(folder))


def _remove(folder: str) -> None:
    empty(folder)
    with contextlib.suppress(OSError):
        Path(folder).rmdir()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _read_within(fd: int, seconds: float) -> bytes | None:
    # None: the other side ended, or sent nonsense.
    deadline = time.monotonic() + seconds
    data = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while (wait := deadline - time.monotonic()) > 0 and selector.select(wait):
            chunk = os.read(fd, 1 << 16)
            data += chunk
            if not chunk or len(data) > _MAX_REPLY:
                return None
            if len(data) >= 4 and len(data) >= 4 + struct.unpack_from("<I", data)[0]:
                return bytes(data[4 : 4 + struct.unpack_from("<I", data)[0]])
    raise TimeoutError
