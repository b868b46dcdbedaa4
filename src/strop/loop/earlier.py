"""What earlier models were trained on: the trace hashes that training left beside each model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from strop.config import Config
from strop.store import Database
from strop.store.registry import load_candidates
from strop.store.worksheet import Worksheet


class _Lineage(msgspec.Struct):
    base: str = ""
    trace_hashes: list[str] = []


@dataclass(frozen=True)
class Earlier:
    """A model that was trained before. base: the next training begins with it, or with what came of it.

    rows: of the worksheet, those it was trained on; None where its folder no longer says so.
    """

    model: str
    base: bool
    rows: NDArray[np.int64] | None


def earlier_models(config: Config, db: Database, sheet: Worksheet) -> list[Earlier]:
    """Return the base model with its own bases, then the other candidates of the project."""
    folders = {c.candidate_id: Path(c.path) for c in load_candidates(db)}
    found: list[Earlier] = []
    seen: set[Path] = set()
    folder = config.path(config.train.base)
    while folder.is_dir() and folder not in seen:
        seen.add(folder)
        lineage = _lineage(folder)
        if lineage is None:
            break
        found.append(Earlier(folder.name, True, sheet.rows_of(lineage.trace_hashes)))
        before = folders.get(lineage.base, config.state / "models" / (lineage.base or "none"))
        folder = before.resolve()
    for model, path in folders.items():
        if path.resolve() not in seen:
            lineage = _lineage(path)
            found.append(Earlier(model, False, sheet.rows_of(lineage.trace_hashes) if lineage else None))
    return found


def _lineage(folder: Path) -> _Lineage | None:
    try:
        return msgspec.json.decode((folder / "lineage.json").read_bytes(), type=_Lineage)
    except (OSError, msgspec.DecodeError):
        return None
