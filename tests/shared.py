"""Where the shared real data lies: STROP_SHARED, else ../shared beside the clone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2] / "shared"


def shared(relative: str) -> Path:
    """Return a path of the shared data, or skip the test with the reason."""
    path = Path(os.environ.get("STROP_SHARED") or _DEFAULT) / relative
    if not path.exists():
        pytest.skip(f"shared data not present: {relative} (set STROP_SHARED)")
    return path
