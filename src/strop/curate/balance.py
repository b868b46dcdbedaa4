"""Balance of the training rows: the loudest customer capped or customers weighted, some oversampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Customers = NDArray[np.int32]  # (n,) the rank of each row's customer among all names, -1 where it has none

RARE = 0.02  # a sequence of tools that at most this share of the training rows have


def loudest(customers: Customers) -> int | None:
    """Return the customer with the most rows, of equals the first by name; None where none has a name."""
    named = customers[customers >= 0]
    return int(np.bincount(named).argmax()) if len(named) else None


def over_share(customers: Customers, ranks: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Say which rows to drop so that the loudest customer's share is at most `share`.

    ranks: of the rows' hashes; they decide which rows stay. Where there are too few customers for any to
    be under the share, nothing is dropped.
    """
    drop = np.zeros(len(customers), dtype=np.bool_)
    first = loudest(customers)
    if first is None:
        return drop
    own = np.flatnonzero(customers == first)
    others = len(customers) - len(own)
    allowed = int(share * others / (1 - share)) if share < 1 else len(own)
    if len(own) > allowed and len(np.unique(customers[customers >= 0])) * share >= 1:
        drop[own[np.argsort(ranks[own])][allowed:]] = True
    return drop


def customer_weights(customers: Customers, exponent: float) -> NDArray[np.float64]:
    """Return n^exponent / n for each row of a customer with n rows; rows without a customer are one's."""
    _, which, counts = np.unique(customers, return_inverse=True, return_counts=True)
    return (counts.astype(np.float64) ** (exponent - 1))[which]


def rare(sequences: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which rows have a sequence of tools that at most RARE of all rows have."""
    _, which, counts = np.unique(sequences, return_inverse=True, return_counts=True)
    return (counts <= RARE * len(sequences))[which]


def oversampled(
    weights: NDArray[np.float64], traits: Mapping[str, NDArray[np.bool_]], factors: Mapping[Any, float]
) -> NDArray[np.float64]:
    """Return weights times the factor of every trait that a row has, with mean 1."""
    for name, factor in factors.items():
        weights = np.where(traits[name], weights * factor, weights)
    return weights / weights.mean() if len(weights) else weights


def effective_size(weights: NDArray[np.float64]) -> float:
    """Return how many equally weighted rows are worth these (Kish 1965, section 11.7)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0
