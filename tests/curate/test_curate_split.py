"""Splits: by group and time, permanent; small customers held out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strop.config import Curate
from strop.curate.readable import group_keys
from strop.curate.split import OPEN, SPLITS, Rows, assign, held_out
from strop.records import Episode, Message, Trace

SETTINGS = Curate()


@dataclass(frozen=True)
class Item:
    name: str
    customer: str | None
    keys: tuple[str, ...]
    at: int
    link: str | None = None
    before: str | None = None
    counted: bool = True


def item(
    n: int, group: str | None = None, customer: str | None = None, at: int | None = None, *more: str
) -> Item:
    return Item(f"{n:064x}", customer, (group or f"g{n}", *more), n if at is None else at)


def assigned(
    items: list[Item], settled: dict[str, str], settings: Curate
) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """Translate names into ranks and back."""
    names = sorted({i.customer for i in items if i.customer is not None})
    keys = sorted({k for i in items for k in i.keys})
    places = {i.name: n for n, i in enumerate(items)}
    wide = [[*(keys.index(k) for k in i.keys), -1][:2] for i in items]
    rows = Rows(
        customers_N=np.array(
            [-1 if i.customer is None else names.index(i.customer) for i in items], np.int32
        ),
        names=names,
        keys_N_K=np.array(wide, np.int32).reshape(-1, 2),
        ends_N=np.array([i.at for i in items], np.int64),
        links_N=np.array([places[i.link or i.name] for i in items], np.int32),
        before_N=np.array([OPEN if i.before is None else SPLITS.index(i.before) for i in items], np.int8),
        counted_N=np.array([i.counted for i in items], np.bool_),
    )
    old = np.array([SPLITS.index(settled[k]) if k in settled else OPEN for k in keys], np.int8)
    found = assign(rows, old, settings)
    splits = {i.name: SPLITS[s] for i, s in zip(items, found.splits_N.tolist(), strict=True)}
    added = {k: SPLITS[s] for k, s in zip(keys, found.keys.tolist(), strict=True) if s != OPEN}
    return splits, added, {i.name for i, torn in zip(items, found.straddling_N, strict=True) if torn}


def test_time_cuts_70_10_20() -> None:
    splits, _, _ = assigned([item(n) for n in range(100)], {}, SETTINGS)
    assert Counter(splits.values()) == {"train": 70, "validation": 10, "test": 20}
    assert [splits[f"{n:064x}"] for n in (0, 69, 70, 79, 80, 99)] == [
        "train", "train", "validation", "validation", "test", "test",
    ]  # fmt: skip


def test_nothing_at_all_is_split_into_nothing() -> None:
    assert assigned([], {}, SETTINGS) == ({}, {}, set())


ITEMS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(0, 50), st.integers(0, 8)),
    min_size=1,
    max_size=60,
).map(lambda rows: [item(n, f"g{g}", f"c{c}", at, f"session:{s}") for n, (g, c, at, s) in enumerate(rows)])


@given(ITEMS)
def test_groups_and_sessions_never_straddle(items: list[Item]) -> None:
    whole = SETTINGS.model_copy(update={"unseen_customer_share": 0.0})
    splits, added, straddling = assigned(items, {}, whole)
    assert not straddling
    assert set(splits) == {i.name for i in items}
    for i in items:
        assert {added[k] for k in i.keys} == {splits[i.name]}


@given(ITEMS, ITEMS)
def test_assignments_are_permanent(first: list[Item], second: list[Item]) -> None:
    before, settled, _ = assigned(first, {}, SETTINGS)
    renumbered = [item(100 + n, i.keys[0], i.customer, i.at, *i.keys[1:]) for n, i in enumerate(second)]
    after, added, straddling = assigned([*first, *renumbered], settled, SETTINGS)
    for i in first:
        assert after[i.name] == before[i.name] or i.name in straddling
    for i in renumbered:
        found = {settled[k] for k in i.keys if k in settled}
        assert after[i.name] != "train" or found <= {"train"}
    assert not set(added) & set(settled)


@given(ITEMS, ITEMS)
def test_whoever_shares_a_key_shares_a_split_in_later_rounds_too(
    first: list[Item], second: list[Item]
) -> None:
    _, settled, _ = assigned(first, {}, SETTINGS)
    later = [item(100 + n, f"new{i.keys[0]}", i.customer, i.at, i.keys[1]) for n, i in enumerate(second)]
    splits, _, straddling = assigned([*first, *later], settled, SETTINGS)
    for key in {k for i in later for k in i.keys}:
        tied = {splits[i.name] for i in later if key in i.keys and i.name not in straddling}
        assert len(tied) <= 1


def test_held_out_customers_stay_held_out_whole() -> None:
    items = [item(n, customer=f"c{n % 40}" if n % 2 else "big") for n in range(400)]
    splits, settled, _ = assigned(items, {}, SETTINGS)
    unseen = {i.customer for i in items if splits[i.name] == "unseen"}
    assert len(unseen) == 3
    assert "big" not in unseen
    assert all(splits[i.name] == "unseen" for i in items if i.customer in unseen)
    later = [item(1000 + n, customer=c) for n, c in enumerate([*sorted(map(str, unseen)), "c1"])]
    again, _, _ = assigned([*items, *later], settled, SETTINGS)
    assert {again[i.name] for i in later[:-1]} == {"unseen"}


def test_a_trace_that_ties_two_splits_together_is_set_aside() -> None:
    linking = item(1, "new-in-train", None, None, "session:test")
    settled = {"new-in-train": "train", "session:test": "test"}
    splits, _, straddling = assigned([linking], settled, SETTINGS)
    assert straddling == {linking.name}
    assert splits[linking.name] == "test"


def test_a_new_key_that_ties_training_to_test_takes_the_row_out_of_training_at_once() -> None:
    first, second = item(1, "a", None, None, "session:new"), item(2, "b", None, None, "session:new")
    settled = {"a": "train", "b": "test"}
    splits, added, straddling = assigned([first, second], settled, SETTINGS)
    assert (straddling, splits[second.name], added) == ({first.name}, "test", {"session:new": "test"})
    again, _, still = assigned([first, second], settled | added, SETTINGS)
    assert (again, still) == (splits, straddling)


def test_a_row_stays_where_it_was_used() -> None:
    items = [Item(i.name, None, i.keys, i.at, before="test") if i.at < 5 else i for i in map(item, range(50))]
    splits, added, _ = assigned(items, {}, SETTINGS)
    assert {splits[i.name] for i in items[:5]} == {added[f"g{n}"] for n in range(5)} == {"test"}


def test_what_is_linked_stays_together_and_what_is_not_counted_has_no_weight() -> None:
    items = [item(n) for n in range(100)]
    items[99] = Item(items[99].name, None, items[99].keys, 99, link=items[0].name, counted=False)
    splits, added, _ = assigned(items, {}, SETTINGS)
    assert splits[items[0].name] == splits[items[99].name] == "test"  # by the later one's time
    assert added["g0"] == added["g99"] == "test"
    assert Counter(splits[i.name] for i in items if i.counted) == {"train": 69, "validation": 10, "test": 20}


def test_a_link_to_a_settled_row_is_followed() -> None:
    old, new = item(5), item(900)
    new = Item(new.name, None, new.keys, new.at, link=old.name)
    splits, added, straddling = assigned(
        [old, new, *(item(n) for n in range(10, 20))], {"g5": "train"}, SETTINGS
    )
    assert (splits[new.name], added["g900"], straddling) == ("train", "train", set())


def test_few_customers_are_not_held_out() -> None:
    assert held_out(np.zeros(10, np.int32), ["only"], 0.15) == set()
    assert held_out(np.full(10, -1, np.int32), [], 0.15) == set()


def trace(**fields: object) -> Trace:
    said = (Message("system", "be kind"), Message("user", "where is 7?"), Message("assistant", "here"))
    episodes = (Episode(said),)
    given: dict[str, object] = {"source": "s", "source_id": "1", "started_at": 0, "ended_at": 1, **fields}
    return Trace(episodes=episodes, **given)  # type: ignore[arg-type]


def test_groups_by_task_session_customer_or_attribute() -> None:
    one = trace(workflow_id="w", session_id="s", customer="c", attributes={"shop": "x"})
    (task,) = group_keys(trace(customer="c"), None)
    assert group_keys(one, None) == ("workflow:w", "session:s")
    assert group_keys(one, "task") == (task, "session:s")
    assert group_keys(one, "session") == ("session:s",)
    assert group_keys(one, "customer") == ("customer:c", "session:s")
    assert group_keys(one, "shop") == ("group:x", "session:s")
    assert group_keys(one, "missing") == ("workflow:w", "session:s")
    assert group_keys(trace(workflow_id="w"), "session") == ("workflow:w",)
    assert group_keys(trace(workflow_id="w"), "customer") == ("workflow:w",)
    assert group_keys(trace(customer="d"), "task") != (task,)
