"""Krippendorff's alpha: agreement of any number of raters with gaps.

Measured coverage of the 95 % interval with three raters, a fifth of the ratings missing, 50 and 100 units:
0.941 to 0.954 over the three levels (2,000 sets each, `benchmarks/audit_statistics.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from strop.stats.jackknife import jackknife

Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]


class Alpha(msgspec.Struct, frozen=True, kw_only=True):
    """Krippendorff's alpha with its interval; None where no two ratings differ or none can be compared.

    units: with at least two ratings. unpaired: units left out because they have fewer. n: ratings in the
    units that count. Krippendorff's own reading: 0.8 is good, 0.667 the least for tentative conclusions.
    """

    alpha: float | None
    low: float | None
    high: float | None
    units: int
    unpaired: int
    n: int
    note: str = ""


def krippendorff_alpha(ratings_R_U: ArrayLike, level: Level = "nominal", *, alpha: float = 0.05) -> Alpha:
    """Return alpha of ratings (raters x units), NaN where a rater did not rate a unit.

    Coincidence matrices as in Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011); nominal
    categories are any distinct numbers. The interval leaves out one unit at a time. Raises ValueError
    for an array that is not two-dimensional.
    """
    ratings = np.asarray(ratings_R_U, dtype=np.float64)
    if ratings.ndim != 2:
        raise ValueError(f"ratings of shape {ratings.shape}: raters x units are needed")
    values_C, code = np.unique(ratings[np.isfinite(ratings)], return_inverse=True)
    counts_U_C = np.zeros((ratings.shape[1], max(values_C.size, 1)))
    np.add.at(counts_U_C, (np.nonzero(np.isfinite(ratings))[1], code), 1.0)
    paired_U = counts_U_C.sum(axis=1) >= 2
    counts_U_C = counts_U_C[paired_U]
    m_U = counts_U_C.sum(axis=1)
    scaled_U_C = counts_U_C / (m_U - 1.0)[:, None]
    pairs_C_C = scaled_U_C.T @ counts_U_C - np.diag(scaled_U_C.sum(axis=0))
    n_C = counts_U_C.sum(axis=0)
    value = _alpha(pairs_C_C, n_C, values_C, level)
    counted = {"units": int(m_U.size), "unpaired": int((~paired_U).sum()), "n": int(m_U.sum())}
    if not np.isfinite(value):
        return Alpha(alpha=None, low=None, high=None, note="no two ratings differ: not defined", **counted)
    without_U = [
        _alpha(pairs_C_C - np.outer(scaled, counts) + np.diag(scaled), n_C - counts, values_C, level)
        for scaled, counts in zip(scaled_U_C, counts_U_C, strict=True)
    ]
    found = jackknife(value, without_U, alpha=alpha, bounds=(-1.0, 1.0))
    return Alpha(alpha=value, low=found.low, high=found.high, note=found.note, **counted)


def _alpha(pairs_C_C: Floats, n_C: Floats, values_C: Floats, level: Level) -> float:
    """Return alpha of a coincidence matrix with its margins, NaN where chance leaves no disagreement."""
    if level == "nominal":
        distance_C_C = 1.0 - np.eye(n_C.size)
    elif level == "interval":
        distance_C_C = (values_C[:, None] - values_C[None, :]) ** 2
    else:
        middle_C = np.cumsum(n_C) - n_C / 2  # the mean rank of a category, up to a constant
        distance_C_C = (middle_C[:, None] - middle_C[None, :]) ** 2
    expected = float(n_C @ distance_C_C @ n_C)
    if expected <= 0 or n_C.sum() < 2:
        return float("nan")
    return 1.0 - float((pairs_C_C * distance_C_C).sum()) * (float(n_C.sum()) - 1.0) / expected
