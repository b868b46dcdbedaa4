"""Probes: attempts that must not pay, made from honest rollouts alone, one file a group of families."""

from __future__ import annotations

from strop.grade.audit.probes import answers, calls, parsing, truth, words
from strop.grade.audit.probes.probe import Family, Probe

FAMILIES: tuple[Family, ...] = tuple(
    sorted(
        (
            *answers.FAMILIES,
            *calls.FAMILIES,
            *parsing.FAMILIES,
            *truth.FAMILIES,
            *words.FAMILIES,
        ),
        key=lambda family: family.id,
    )
)

__all__ = ["FAMILIES", "Family", "Probe"]
