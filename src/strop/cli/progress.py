"""What a step tells while it works: a bar for counted work, a table row a training step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from strop.loop.engine.protocol import Json

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

_COLUMNS = (
    ("phase", 8), ("step", 5), ("loss", 8), ("reward", 7),
    ("kl", 7), ("entropy", 8), ("length", 7), ("seconds", 8),
)  # fmt: skip
_QUIET_S = 10.0  # between lines about counted work where there is no terminal


class Progressing:
    """A watcher (`loop.engine.protocol.Watcher`) that prints to a console. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._header: tuple[str, ...] = ()

    def __enter__(self) -> Progressing:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, step: str, news: Json) -> None:
        """Show one piece of news of a step."""
        if "phase" in news:
            self._training_row(news)
        elif "total" in news:
            self._counted(step, int(news["done"]), int(news["total"]), str(news.get("text", "")))
        else:
            text = ", ".join(str(v) if key == "text" else f"{key} {v}" for key, v in news.items())
            self._console.print(f"{step}: {escape(text)}", highlight=False)

    def _counted(self, step: str, done: int, total: int, text: str) -> None:
        if self._console.is_terminal:
            task = self._tasks.get(step)
            if task is None:
                task = self._tasks[step] = self._bars.add_task(step, total=total)
            self._bars.update(task, completed=done, total=total, description=f"{step} {escape(text)}")
        elif done >= total or time.monotonic() - self._said.get(step, float("-inf")) > _QUIET_S:
            self._said[step] = time.monotonic()
            self._console.print(f"{step}: {done}/{total} {escape(text)}", highlight=False)

    def _training_row(self, news: Mapping[str, Any]) -> None:
        extra = (*_rates("", news.get("components")), *_rates("tool ", news.get("tools")))
        columns = (*_COLUMNS, *((name, max(7, len(name))) for name, _ in extra))
        names = tuple(name for name, _ in columns)
        if names != self._header:
            self._header = names
            self._console.print(
                "  ".join(f"{name:>{width}}" for name, width in columns), style="bold", soft_wrap=True
            )
        values = {**news, "kl": news.get("kl_warm"), **dict(extra)}
        row = "  ".join(f"{_cell(values.get(name)):>{width}}" for name, width in columns)
        self._console.print(row, highlight=False, markup=False, soft_wrap=True)


def _rates(prefix: str, values: object) -> tuple[tuple[str, Any], ...]:
    if not isinstance(values, dict):
        return ()
    return tuple((f"{prefix}{name}", value) for name, value in sorted(values.items()))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
