"""The same function over many chunks: here, in processes, or on a Ray cluster.

Results come in the order of the chunks, and only a few chunks are in flight, so that memory stays the
same however many there are. The function is a module's own (or `functools.partial` of one), since it is
sent by name: nodes of a cluster have strop installed in the same version.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

from strop.errors import ConfigError, OutsideServiceError
from strop.loop.worker import Worker

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Here:
    """This process."""


@dataclass(frozen=True)
class Processes:
    """So many processes on this machine."""

    workers: int


@dataclass(frozen=True)
class Ray:
    """A Ray cluster. address: "auto" (the one this machine belongs to), or "ray://host:port"."""

    address: str = "auto"


Engine: TypeAlias = Here | Processes | Ray

HERE = Here()
_IN_FLIGHT = 2  # chunks a worker: the next one lies ready while one is worked on
_SMALL = 2000  # items that are done here before processes have begun


def engine_for(items: int, *, ray: str | None = None) -> Engine:
    """Return Ray where an address is given, else this machine's cores, or this process for few items."""
    if ray:
        return Ray(ray)
    workers = min(len(os.sched_getaffinity(0)), 8)
    return Processes(workers) if workers > 1 and items > _SMALL else HERE


def map_chunks(
    function: Callable[[Chunk], Result], chunks: Iterable[Chunk], engine: Engine = HERE
) -> Iterator[Result]:
    """Yield the function's result of each chunk, in order; its exceptions are raised here.

    Chunks are taken as they are needed. Raises ConfigError where ray is not installed, OutsideServiceError
    where the cluster does not answer, StropError where a worker process died.
    """
    match engine:
        case Here():
            yield from map(function, chunks)
        case Processes():
            yield from _in_processes(function, chunks, engine.workers)
        case Ray():
            yield from _on_ray(function, chunks, engine.address)


def _in_processes(
    function: Callable[[Chunk], Result], chunks: Iterable[Chunk], workers: int
) -> Iterator[Result]:
    """A thread for each process: it hands over a chunk and waits for the result."""
    processes = [Worker() for _ in range(workers)]
    free: SimpleQueue[Worker] = SimpleQueue()
    for process in processes:
        free.put(process)

    def call(chunk: Chunk) -> Result:
        process = free.get()
        try:
            return process.call(function, chunk)
        finally:
            free.put(process)

    waiting: deque[Future[Result]] = deque()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="chunks")
    try:
        for chunk in chunks:
            waiting.append(threads.submit(call, chunk))
            if len(waiting) > _IN_FLIGHT * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.end()  # whoever waits for it is told that it died
        threads.shutdown()


def _on_ray(function: Callable[[Chunk], Result], chunks: Iterable[Chunk], address: str) -> Iterator[Result]:
    ray = _ray()
    joined_here = not ray.is_initialized()
    try:
        if joined_here:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        call, shared = ray.remote(_call), ray.put(function)
        limit = _IN_FLIGHT * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[Any] = deque()
        for chunk in chunks:
            waiting.append(call.remote(shared, chunk))
            if len(waiting) > limit:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())
    except ray.exceptions.RayTaskError as error:  # the function's own exception
        raise error.cause from error
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise OutsideServiceError(
            f"the Ray cluster does not answer: {type(error).__name__}",
            where=f"engine.ray = {address!r}",
            fix="ray status; strop must be installed on every node in the same version",
        ) from error
    finally:
        if joined_here:
            ray.shutdown()


def _call(function: Callable[[Chunk], Result], chunk: Chunk) -> Result:
    return function(chunk)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no hidden network
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "ray is not installed", where="strop.toml, [engine] ray", fix="pip install 'ray>=2.40'"
        ) from error
