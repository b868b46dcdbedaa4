"""strop sharpens a small model on the traces an agent already leaves."""

from __future__ import annotations

__all__ = ["__version__"]
__version__ = "0.1.0"
