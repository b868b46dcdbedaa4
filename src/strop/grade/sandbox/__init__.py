"""Grader code runs in processes of its own, without network, files or other processes."""

from __future__ import annotations

from strop.grade.sandbox.pool import Limits, Sandbox

__all__ = ["Limits", "Sandbox"]
