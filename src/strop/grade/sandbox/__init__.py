"""Grader code runs in processes of its own, without network, files or other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strop.grade.sandbox.pool import Limits, Sandbox

__all__ = ["Limits", "Sandbox"]


def __getattr__(name: str) -> Any:
    # Not before it is asked for: a worker needs nothing of the parent's side, and starts in half the time.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from strop.grade.sandbox import pool

    return getattr(pool, name)
