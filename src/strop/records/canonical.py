"""One byte representation of a JSON value, so that equal things hash equal."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="deterministic")


def canonical_json(value: Any) -> bytes:
    """Encode a value as JSON with sorted keys and no white space.

    Strings stay strings: `"007"` and `7` differ, as tracking numbers must.
    """
    return _encoder.encode(value)


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
