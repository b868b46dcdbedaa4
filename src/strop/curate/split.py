"""Splits by group and time, permanent once made: pure functions over light rows."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from strop.config import Curate
from strop.records import Split

STRADDLES = "its group straddles splits"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What splitting needs of a trace. keys: its group first, then what links it to other groups."""

    trace_hash: str
    customer: str | None
    keys: tuple[str, ...]
    at: int


def assign(
    items: Sequence[Item], settled: Mapping[str, str], settings: Curate
) -> tuple[dict[str, Split], dict[str, str], set[str]]:
    """Assign each item a split.

    settled: the split of every group key that was ever assigned; these stay. Customers that were held
    out stay held out, and with them whatever shares a group with them. New groups are cut
    by their last time; a customer that is new may be held out.
    Returns (split by trace hash, new keys' splits, hashes of items whose keys contradict each other).
    """
    fixed: dict[str, Split] = {}
    straddling: set[str] = set()
    fresh: list[Item] = []
    added: dict[str, str] = {}
    for item in items:
        found = {settled[k] for k in item.keys if k in settled}
        if not found:
            fresh.append(item)
        elif len(found) > 1:
            straddling.add(item.trace_hash)
        else:
            fixed[item.trace_hash] = _split(found.pop())
            added.update({k: fixed[item.trace_hash] for k in item.keys if k not in settled})
    known = {i.customer for i in items if i.trace_hash in fixed}
    seen = {i.customer for i in items if fixed.get(i.trace_hash, "unseen") != "unseen"}
    held = known - seen | held_out(
        [i for i in fresh if i.customer not in known], settings.unseen_customer_share
    )
    groups = _groups(fresh)
    apart = [any(i.customer is not None and i.customer in held for i in g) for g in groups]
    kept_out = [g for g, out in zip(groups, apart, strict=True) if out]
    cut = _cut([g for g, out in zip(groups, apart, strict=True) if not out], settings)
    for split, group in [("unseen", g) for g in kept_out] + cut:
        for item in group:
            fixed[item.trace_hash] = _split(split)
            added.update(dict.fromkeys(item.keys, split))
    for trace_hash in straddling:
        fixed[trace_hash] = "test"
    return fixed, {k: s for k, s in added.items() if k not in settled}, straddling


def held_out(items: Iterable[Item], share: float) -> set[str]:
    """Choose the small customers (under the mean traffic) to hold out whole; the choice is a hash's."""
    counts = Counter(i.customer for i in items if i.customer is not None)
    if not counts:
        return set()
    mean = counts.total() / len(counts)
    small = [c for c, n in counts.items() if n < mean]
    ranked = sorted(small, key=lambda c: hashlib.sha256(f"held out:{c}".encode()).digest())
    return set(ranked[: round(share * len(small))])


def cap_loudest(customers: Mapping[str, str | None], share: float) -> tuple[str | None, set[str]]:
    """Return the customer with the most rows, and the hashes to drop so that its share is at most `share`.

    customers: customer by trace hash. Which rows stay is decided by their hash. Where there are too few
    customers for any to be under the share, nothing is dropped.
    """
    counts = Counter(c for c in customers.values() if c is not None)
    if not counts:
        return None, set()
    loudest = min(counts, key=lambda c: (-counts[c], c))
    others = len(customers) - counts[loudest]
    allowed = int(share * others / (1 - share)) if share < 1 else counts[loudest]
    if counts[loudest] <= allowed or len(counts) * share < 1:
        return loudest, set()
    own = sorted(h for h, c in customers.items() if c == loudest)
    return loudest, set(own[allowed:])


def _groups(items: Iterable[Item]) -> list[list[Item]]:
    """Join items that share any key, transitively."""
    parent: dict[str, str] = {}

    def find(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    listed = list(items)
    for item in listed:
        for key in item.keys[1:]:
            parent[find(key)] = find(item.keys[0])
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in listed:
        groups[find(item.keys[0])].append(item)
    return list(groups.values())


def _cut(groups: Iterable[list[Item]], settings: Curate) -> list[tuple[str, list[Item]]]:
    ordered = sorted(groups, key=lambda g: (max(i.at for i in g), min(i.keys[0] for i in g)))
    total = sum(len(g) for g in ordered)
    test_from = 1 - settings.test_share
    validation_from = test_from - settings.validation_share
    out: list[tuple[str, list[Item]]] = []
    before = 0
    for group in ordered:
        middle = (before + len(group) / 2) / total
        split: Split = (
            "train" if middle <= validation_from else "validation" if middle <= test_from else "test"
        )
        out.append((split, group))
        before += len(group)
    return out


def _split(name: str) -> Split:
    for split in ("train", "validation", "test", "unseen"):
        if split == name:
            return split
    raise ValueError(f"unknown split {name!r}")
