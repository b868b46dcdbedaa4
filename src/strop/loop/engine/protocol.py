"""All that a loop body, a step and the command line may know of the engine that runs them.

Rules for every engine: JSON in and JSON out, about 100 KB at most (larger things are files in the
run's folder); a body is deterministic (no clock, no random numbers, no I/O); a finished step is
never called again; the step in progress at a crash is called again with the same `key`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

Json: TypeAlias = dict[str, Any]


class Run(Protocol):
    """All that a loop body may touch."""

    @property
    def run_id(self) -> str:
        """Our own name of the run, stable over restarts."""
        ...

    async def step(self, name: str, arg: Json | None = None) -> Json:
        """Call a registered step once and return its result; raises the StropError it raised."""
        ...

    async def publish(self, key: str, value: Json) -> None:
        """Make a value visible in the run's status."""
        ...

    async def wait(self, topic: str, timeout_s: float) -> Json | None:
        """Wait for the first signal of a topic; None after `timeout_s` seconds."""
        ...


class StepContext(Protocol):
    """All that a step may touch beside its argument."""

    @property
    def run_id(self) -> str:
        """The run that this step belongs to."""
        ...

    @property
    def folder(self) -> Path:
        """The run's own folder for artifacts; it exists."""
        ...

    def progress(self, news: Json) -> None:
        """Tell whoever watches how far the step is."""
        ...


Step: TypeAlias = Callable[[Json, StepContext], Json]
Body: TypeAlias = Callable[[Run, Json], Awaitable[Json]]
Watcher: TypeAlias = Callable[[str, Json], None]  # (step, news)


@dataclass(frozen=True)
class Loop:
    """A body, the steps it may call by name, and who hears of their progress."""

    body: Body
    steps: Mapping[str, Step]
    watch: Watcher = field(default=lambda step, news: None)


@dataclass(frozen=True)
class StepStatus:
    """A step that ended: `seconds` of wall time, `error` in words where it failed."""

    number: int
    name: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands. `retryable`: it failed in a way that trying again may cure."""

    run_id: str
    state: Literal["unfinished", "done", "failed", "cancelled"]
    inputs: str
    started_at: int
    steps: tuple[StepStatus, ...] = ()
    published: Json = field(default_factory=dict)
    error: str | None = None
    retryable: bool = False


class Engine(Protocol):
    """All that the command line may touch. One engine holds a state folder at a time."""

    def latest(self) -> RunStatus | None:
        """Return the newest run, None where there is none."""
        ...

    def start(self, run_id: str, inputs: str, options: Json) -> None:
        """Begin a run. `inputs` identifies the configuration that it runs under."""
        ...

    def resume(self, run_id: str) -> None:
        """Continue an unfinished run, or a failed one at the step that failed."""
        ...

    def cancel(self, run_id: str) -> None:
        """Set an unfinished run aside for good."""
        ...

    def result(self, run_id: str) -> Json:
        """Wait for the run's result; raises its StropError, ApprovalPending where it waits for a signal."""
        ...

    def close(self) -> None:
        """Let the state folder go; a run that is still alive in this process needs the process to end."""
        ...
