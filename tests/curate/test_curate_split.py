"""Splits: by group and time, permanent; small customers held out; the loudest capped."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from strop.config import Curate
from strop.curate.split import Item, assign, cap_loudest, held_out

SETTINGS = Curate()


def item(
    n: int, group: str | None = None, customer: str | None = None, at: int | None = None, *more: str
) -> Item:
    return Item(
        trace_hash=f"{n:064x}", customer=customer, keys=(group or f"g{n}", *more), at=n if at is None else at
    )


def test_time_cuts_70_10_20() -> None:
    splits, _, _ = assign([item(n) for n in range(100)], {}, SETTINGS)
    assert Counter(splits.values()) == {"train": 70, "validation": 10, "test": 20}
    assert [splits[f"{n:064x}"] for n in (0, 69, 70, 79, 80, 99)] == [
        "train", "train", "validation", "validation", "test", "test",
    ]  # fmt: skip


ITEMS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(0, 50), st.integers(0, 8)),
    min_size=1,
    max_size=60,
).map(lambda rows: [item(n, f"g{g}", f"c{c}", at, f"session:{s}") for n, (g, c, at, s) in enumerate(rows)])


@given(ITEMS)
def test_groups_and_sessions_never_straddle(items: list[Item]) -> None:
    splits, added, straddling = assign(items, {}, SETTINGS.model_copy(update={"unseen_customer_share": 0.0}))
    assert not straddling
    assert set(splits) == {i.trace_hash for i in items}
    for i in items:
        assert {added[k] for k in i.keys} == {splits[i.trace_hash]}


@given(ITEMS, ITEMS)
def test_assignments_are_permanent(first: list[Item], second: list[Item]) -> None:
    before, settled, _ = assign(first, {}, SETTINGS)
    renumbered = [item(100 + n, i.keys[0], i.customer, i.at, *i.keys[1:]) for n, i in enumerate(second)]
    after, added, straddling = assign([*first, *renumbered], settled, SETTINGS)
    for i in first:
        assert after[i.trace_hash] == before[i.trace_hash] or i.trace_hash in straddling
    for i in renumbered:
        found = {settled[k] for k in i.keys if k in settled}
        assert after[i.trace_hash] != "train" or found <= {"train"}
    assert not set(added) & set(settled)


def test_held_out_customers_stay_held_out_whole() -> None:
    items = [item(n, customer=f"c{n % 40}" if n % 2 else "big") for n in range(400)]
    splits, settled, _ = assign(items, {}, SETTINGS)
    unseen = {i.customer for i in items if splits[i.trace_hash] == "unseen"}
    assert len(unseen) == 3
    assert "big" not in unseen
    assert all(splits[i.trace_hash] == "unseen" for i in items if i.customer in unseen)
    later = [item(1000 + n, customer=c) for n, c in enumerate([*sorted(map(str, unseen)), "c1"])]
    again, _, _ = assign([*items, *later], settled, SETTINGS)
    assert {again[i.trace_hash] for i in later[:-1]} == {"unseen"}


def test_a_trace_that_ties_two_splits_together_is_set_aside() -> None:
    linking = item(1, "new-in-train", None, None, "session:test")
    settled = {"new-in-train": "train", "session:test": "test"}
    splits, _, straddling = assign([linking], settled, SETTINGS)
    assert straddling == {linking.trace_hash}
    assert splits[linking.trace_hash] == "test"


def test_few_customers_are_not_held_out() -> None:
    assert held_out([item(n, customer="only") for n in range(10)], 0.15) == set()
    assert held_out([item(n) for n in range(10)], 0.15) == set()


@given(st.lists(st.integers(1, 60), min_size=5, max_size=20), st.sampled_from([0.2, 0.3, 0.5]))
def test_the_loudest_ends_at_its_share(sizes: list[int], share: float) -> None:
    rows = {f"{c}-{n}": f"c{c}" for c, size in enumerate(sizes) for n in range(size)}
    loudest, dropped = cap_loudest(rows, share)
    kept = Counter(c for h, c in rows.items() if h not in dropped)
    assert loudest is not None
    assert all(rows[h] == loudest for h in dropped)
    assert kept[loudest] <= share * kept.total() + 1e-9 or len(sizes) * share < 1
    if dropped:
        assert (kept[loudest] + 1) > share * (kept.total() + 1)
    assert cap_loudest(dict(reversed(rows.items())), share) == (loudest, dropped)


def test_one_customer_is_not_capped_away() -> None:
    assert cap_loudest(dict.fromkeys("abcdef", "only"), 0.2) == ("only", set())
    assert cap_loudest(dict.fromkeys("abcdef", None), 0.2) == (None, set())
