"""Partial credit that falls with the distance."""

from __future__ import annotations

from decimal import Decimal


def falling(distance: Decimal | int, full: Decimal | int, zero: Decimal | int) -> float:
    """Return 1 up to the distance `full`, 0 from `zero` on (at least `full`), linear between."""
    if distance <= full:
        return 1.0
    if distance >= zero:
        return 0.0
    return min(1.0, max(0.0, float((zero - distance) / (zero - full))))


def checked(name: str, value: float, least: float) -> Decimal:
    """Return a tolerance as an exact number. Raises ValueError unless it is finite and at least `least`."""
    if not least <= value < float("inf"):
        raise ValueError(f"{name} is {value!r}; give a finite number, at least {least:g}")
    return Decimal(repr(value))
