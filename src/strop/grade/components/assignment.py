"""Pair rows with columns so that the pairs are worth most together."""

from __future__ import annotations

from collections.abc import Sequence


def assign(worth: Sequence[Sequence[float]]) -> list[int | None]:
    """Return each row's column, None for none, such that the sum of worth[row][column] is largest.

    worth: rows x columns, each at least 0. The Hungarian method with potentials (Kuhn 1955, Munkres
    1957): min(rows, columns)^2 * max(rows, columns) steps.
    """
    rows, columns = len(worth), len(worth[0]) if worth else 0
    if rows > columns:
        turned = assign([[worth[r][c] for r in range(rows)] for c in range(columns)])
        found: list[int | None] = [None] * rows
        for column, row in enumerate(turned):
            if row is not None:
                found[row] = column
        return found
    # Index 0 is a place for the row that is being added; rows and columns count from 1.
    of_row, of_column = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner = [0] * (columns + 1)
    for row in range(1, rows + 1):
        owner[0] = row
        _add(worth, of_row, of_column, owner)
    chosen: list[int | None] = [None] * rows
    for column in range(1, columns + 1):
        if owner[column]:
            chosen[owner[column] - 1] = column - 1
    return chosen


def _add(
    worth: Sequence[Sequence[float]], of_row: list[float], of_column: list[float], owner: list[int]
) -> None:
    # The shortest augmenting path from owner[0] to a free column, by Dijkstra over reduced costs.
    columns = len(of_column) - 1
    slack, previous = [float("inf")] * (columns + 1), [0] * (columns + 1)
    used = [False] * (columns + 1)
    column = 0
    while owner[column]:
        used[column] = True
        row, step, following = owner[column], float("inf"), 0
        for c in range(1, columns + 1):
            if used[c]:
                continue
            cost = -worth[row - 1][c - 1] - of_row[row] - of_column[c]
            if cost < slack[c]:
                slack[c], previous[c] = cost, column
            if slack[c] < step:
                step, following = slack[c], c
        for c in range(columns + 1):
            if used[c]:
                of_row[owner[c]] += step
                of_column[c] -= step
            else:
                slack[c] -= step
        column = following
    while column:
        owner[column] = owner[previous[column]]
        column = previous[column]
