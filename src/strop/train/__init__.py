"""The small-model trainer: one readable file a method, over shared preparation of the data."""

from __future__ import annotations
