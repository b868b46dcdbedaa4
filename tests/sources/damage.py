"""Damage to JSON rows, drawn by hypothesis: something somewhere is replaced or left out."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False),
        st.text(max_size=8), st.sampled_from(["{", "[[", "content='x", "{'a': 1}", "assistant"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)  # fmt: skip


def mutated(value: Any, data: st.DataObject) -> Any:
    """Replace or drop something somewhere in a JSON value."""
    inside = isinstance(value, dict | list) and len(value) > 0
    if not inside or data.draw(st.integers(0, 3)) == 0:
        return data.draw(VALUES)
    if isinstance(value, dict):
        key = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.integers(0, 5)) == 0:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutated(value[key], data)}
    i = data.draw(st.integers(0, len(value) - 1))
    return [*value[:i], mutated(value[i], data), *value[i + 1 :]]
