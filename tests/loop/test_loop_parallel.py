"""The same function over chunks, here and in processes: same results, same order, few chunks in flight."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from strop.errors import ConfigError, OutsideServiceError, StropError
from strop.loop.parallel import HERE, Here, Processes, Ray, engine_for, map_chunks


def test_here_takes_a_chunk_when_its_result_is_wanted() -> None:
    taken: list[int] = []

    def chunks() -> Iterator[list[int]]:
        for n in range(5):
            taken.append(n)
            yield [n]

    results = map_chunks(sum, chunks())
    assert (next(results), taken) == (0, [0])
    assert list(results) == [1, 2, 3, 4]


def test_processes_give_the_same_in_the_same_order() -> None:
    taken: list[int] = []

    def chunks() -> Iterator[list[int]]:
        for n in range(40):
            taken.append(n)
            yield list(range(n))

    results = map_chunks(partial(sorted, reverse=True), chunks(), Processes(2))
    assert next(results) == []
    assert len(taken) <= 6
    assert list(results) == [list(range(n))[::-1] for n in range(1, 40)]


def test_a_functions_own_error_arrives() -> None:
    with pytest.raises(TypeError, match="not iterable"):
        list(map_chunks(sum, [[1], 2], Processes(1)))  # type: ignore[list-item]


def test_a_dead_worker_is_an_error_that_says_so() -> None:
    with pytest.raises(StropError, match="worker process died"):
        list(map_chunks(os._exit, [9], Processes(1)))


def test_a_consumer_that_stops_leaves_nobody_waiting() -> None:
    results = map_chunks(sum, ([n] for n in range(1000)), Processes(1))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]


def test_a_worker_whose_parent_died_in_the_middle_of_a_request_ends_quietly() -> None:
    request = pickle.dumps((sum, [1, 2]))
    argv = [sys.executable, "-m", "strop.loop.worker"]
    done = subprocess.run(argv, input=request + request[:10], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert pickle.loads(done.stdout) == (True, 3)


def test_ray_that_is_not_there_is_an_error_that_says_so() -> None:
    if "ray" in sys.modules or _installed():
        with pytest.raises(OutsideServiceError, match="Ray cluster"):
            list(map_chunks(sum, [[1]], Ray("127.0.0.1:1")))
    else:
        with pytest.raises(ConfigError, match="ray is not installed"):
            list(map_chunks(sum, [[1]], Ray()))


def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("ray") is not None


def test_few_items_are_done_here_and_an_address_means_ray() -> None:
    assert engine_for(10) == HERE == Here()
    assert isinstance(engine_for(10**6), Processes | Here)
    assert engine_for(10, ray="auto") == Ray("auto")
