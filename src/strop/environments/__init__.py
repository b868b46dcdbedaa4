"""The world a rollout acts in: tools replayed from the traces."""

from __future__ import annotations

from strop.environments.replay import ReplayTable
from strop.environments.rollouts import Limits, Trajectory, roll_out
from strop.environments.tasks import filled, is_own, reference_of, task_of

__all__ = ["Limits", "ReplayTable", "Trajectory", "filled", "is_own", "reference_of", "roll_out", "task_of"]
