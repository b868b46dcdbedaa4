"""Checkpoints at step ends: atomic, two kept, with all that the next step depends on.

Draws are functions of (seed, step, task, index), so weights, optimizer and step number are everything.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """A state to continue from. phase: "sft" or "grpo"; step: steps of the phase that are done."""

    phase: str
    step: int
    notes: dict[str, Any]
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one training run."""

    def __init__(self, folder: Path, every_s: float) -> None:
        self._folder = folder
        self._every_s = every_s
        self._last = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def due(self) -> bool:
        """Say whether the time since the last checkpoint has passed `every_s`."""
        return time.monotonic() - self._last >= self._every_s

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and remove all but the newest two."""
        number = max((int(p.name) for p in self._complete()), default=0) + 1
        draft = self._folder / f"{number}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        save_file(checkpoint.tensors, draft / "state.safetensors")
        about = {"phase": checkpoint.phase, "step": checkpoint.step, "notes": checkpoint.notes}
        (draft / "about.json").write_text(json.dumps(about))
        draft.rename(self._folder / str(number))
        for old in sorted(self._complete(), key=lambda p: int(p.name))[:-2]:
            shutil.rmtree(old)
        self._last = time.monotonic()

    def latest(self) -> Checkpoint | None:
        """Return the newest complete checkpoint, or None."""
        found = max(self._complete(), key=lambda p: int(p.name), default=None)
        if found is None:
            return None
        about = json.loads((found / "about.json").read_text())
        return Checkpoint(
            about["phase"], about["step"], about["notes"], load_file(found / "state.safetensors")
        )

    def _complete(self) -> list[Path]:
        return [p for p in self._folder.iterdir() if p.name.isdigit()]
