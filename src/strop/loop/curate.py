"""The loop's second step: which traces train, which validate, which test, and which are left out.

Every trace is read once and leaves a light row behind; bodies are read again only where two traces look
alike. So memory stays small however many traces there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strop.config import Config
from strop.curate import balance, leakage, near
from strop.curate.likeness import hashed
from strop.curate.split import (
    OPEN,
    SPLITS,
    STRADDLES,
    TEST,
    TRAIN,
    UNSEEN,
    VALIDATION,
    Rows,
    Splits,
    assign,
    settled_of,
)
from strop.errors import AnswerIsNo, NotEnoughData
from strop.loop.duplicates import Duplicates, Verifier, alone, find_duplicates
from strop.loop.earlier import Earlier, earlier_models
from strop.loop.labels import Labelled, find_labels
from strop.loop.parallel import Engine, engine_for, map_chunks
from strop.loop.sketch import Wanted, in_chunks, sketch
from strop.records import JsonObject
from strop.store import Database
from strop.store.curated import iter_kept, iter_splits, save_curated, save_labels
from strop.store.curating import iter_graded_below, iter_stored, shared_identities
from strop.store.traces import skipped_counts, source_counts
from strop.store.worksheet import Columns, Worksheet, chunked

Progress = Callable[[int, int, str], None]
Mask = NDArray[np.bool_]

COPY, MERGED, NEAR = "duplicate", "merged with the agent's record", "near-duplicate"
OVER_SHARE = "over the loudest customer's share"
_LABELS = 2000  # asked for together
_SCORES = "score: "  # a score that could not be read is no trace that failed


class Decisions:
    """Each row's split and why it is left out; the first reason that is given counts."""

    def __init__(self, readable: Mask) -> None:
        self.splits: Splits = np.full(len(readable), OPEN, dtype=np.int8)
        self.weights: NDArray[np.float64] = np.ones(len(readable))
        self.kept: Mask = readable.copy()
        self._codes = np.zeros(len(readable), dtype=np.int8)
        self._reasons = [""]

    def leave_out(self, mask: Mask, reason: str) -> int:
        """Leave out the rows that are still kept; return how many."""
        left = mask & self.kept
        if left.any():
            self._codes[left] = len(self._reasons)
            self._reasons.append(reason)
            self.kept &= ~left
        return int(left.sum())

    def training(self) -> NDArray[np.int64]:
        """Return the rows that are trained on."""
        return np.flatnonzero(self.kept & (self.splits == TRAIN))

    def reason(self, row: int) -> str:
        """Return why a readable row is left out; empty where it is kept."""
        return self._reasons[self._codes[row]]

    def counts(self) -> dict[str, int]:
        """Return how many rows are left out by reason."""
        found = np.bincount(self._codes, minlength=len(self._reasons))
        return dict(zip(self._reasons[1:], found[1:].tolist(), strict=True))


@dataclass(frozen=True)
class _Read:
    copies: int
    captured: int
    merged: int


def curate(
    config: Config,
    db: Database,
    *,
    allow_small: str | None = None,
    engine: Engine | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Decide about every stored trace and store the decisions; return the counts.

    Drops copies, captured twins of an agent's own record, near-duplicates of one outcome, and what can't be
    read; joins ground truth; splits by group and time; keeps near-duplicates of test rows out of training;
    caps the loudest customer's training rows or weights customers. The traces without ground truth stay,
    without it. engine: where traces are read; by default this machine's cores where there are many.
    Raises NotEnoughData under the floor and AnswerIsNo past the budget of unreadable traces, unless
    `allow_small` gives a reason.
    """
    tell = on_progress or _quiet
    sources = source_counts(db)
    stored = sum(sources.values())
    with Worksheet(config.state, near.PERMUTATIONS) as sheet:
        where = engine or engine_for(stored, ray=config.engine.ray)
        read = _read(config, db, sheet, where, lambda n: tell(n, stored, "traces read"))
        tell(0, sheet.size, "ground truth")
        _label(config, db, sheet)
        columns = sheet.columns()
        tell(0, sheet.size, "near-duplicates")
        threshold = config.curate.near_duplicate
        verifier = Verifier(db, sheet, threshold)
        alike = find_duplicates(db, sheet, columns, verifier) if threshold else alone(sheet.size)
        earlier = earlier_models(config, db, sheet)
        settled, before = _settled(db, sheet, columns), _before(db, sheet, earlier)
        decisions = Decisions(columns.readable)
        decisions.leave_out(_repeated(columns, alike, settled, before), NEAR)
        skipped = {why: n for why, n in skipped_counts(db).items() if not why.startswith(_SCORES)}
        dropped: Counter[str] = Counter(skipped)
        dropped.update({COPY: read.copies, MERGED: read.merged})
        dropped.update(sheet.problems())
        pulled = stored + sum(skipped.values())
        _enough(config, dropped + Counter(decisions.counts()), pulled, columns, decisions.kept, allow_small)
        tell(0, sheet.size, "splits")
        new_keys = _split(config, sheet, columns, alike, settled, before, decisions)
        leaks = _stop_leaks(columns, alike, earlier, verifier, decisions)
        balanced = _balance(config, db, sheet, columns, earlier, decisions)
        dropped.update(decisions.counts())
        tell(0, sheet.size, "storing")
        save_curated(db, _rows(sheet, decisions), _new_splits(sheet, new_keys))
        counts = _counts(sheet, columns, decisions)
    people = leakage.shared_by_pair(shared_identities(db, SPLITS))
    return {
        "pulled": pulled,
        **counts,
        "dropped": {reason: n for reason, n in dropped.most_common() if n},
        **balanced,
        "near_duplicates": _near_counts(config, alike, columns, decisions),
        "leakage": {"threshold": threshold, **leaks, "identities": people},
        "sources": sources,
        "captured": {"stored": read.captured, "merged": read.merged},
        "allow_small": allow_small,
    }


def _read(
    config: Config, db: Database, sheet: Worksheet, engine: Engine, tell: Callable[[int], None]
) -> _Read:
    """Put a light row of each distinct trace on the worksheet.

    A run that both the agent and the server recorded counts once: the agent's record knows workflow
    and customer.
    """
    captured = merged = seen = copies = 0

    def records() -> Iterator[tuple[str, bytes]]:
        nonlocal captured, merged
        for trace_hash, body, by_server, twin in iter_stored(db):
            captured += by_server
            merged += twin
            if not twin:
                yield trace_hash, body

    settings = config.curate
    wanted = Wanted(settings.group_by, config.labels.score, settings.near_duplicate > 0)
    for rows, signatures in map_chunks(partial(sketch, wanted), in_chunks(records()), engine):
        copies += sheet.add(rows, signatures)
        seen += len(rows)
        tell(seen)
    return _Read(copies, captured, merged)


def _label(config: Config, db: Database, sheet: Worksheet) -> None:
    for rows in sheet.readable(_LABELS):
        asked = [Labelled(r.trace_hash, r.trace_id, r.workflow_id, r.ended_at, r.scored) for r in rows]
        truths = find_labels(config, asked)
        save_labels(db, truths)
        sheet.label((trace_hash, hashed(truth)) for trace_hash, truth in truths.items())


def _settled(db: Database, sheet: Worksheet, columns: Columns) -> Splits:
    """Return the split of each key that was ever assigned one."""
    settled = np.full(int(columns.keys.max(initial=-1)) + 1, OPEN, dtype=np.int8)
    for pairs in chunked(iter_splits(db), 500):
        ranks = sheet.rank_keys([key for key, _ in pairs])
        for rank, (_, split) in zip(ranks, pairs, strict=True):
            if rank is not None:
                settled[rank] = SPLITS.index(split)
    return settled


def _before(db: Database, sheet: Worksheet, earlier: list[Earlier]) -> Splits:
    """Return the split that each row is in until now, OPEN for all while no model was trained.

    A copy of another group or another `group_by` changes a row's keys; what it was used for stays.
    """
    before = np.full(sheet.size, OPEN, dtype=np.int8)
    for split, name in enumerate(SPLITS if earlier else ()):
        before[sheet.rows_of(iter_kept(db, name))] = split
    return before


def _repeated(columns: Columns, alike: Duplicates, settled: Splits, before: Splits) -> Mask:
    """Say which rows repeat another of the same outcome; the one of the split that stays clean is kept."""
    _, split = settled_of(columns.keys, before, settled)
    order = np.lexsort((np.arange(len(split)), -np.minimum(split, TEST), alike.same))
    repeated = np.zeros(len(split), dtype=np.bool_)
    repeated[order[1:]] = alike.same[order[1:]] == alike.same[order[:-1]]
    return repeated


def _enough(
    config: Config, dropped: Counter[str], pulled: int, columns: Columns, kept: Mask, allow_small: str | None
) -> None:
    if allow_small:
        return
    floor = config.curate.min_rows
    readable = int(columns.readable.sum())
    usable = int((kept & columns.labelled).sum())
    causes = ", ".join(f"{n} {reason}" for reason, n in dropped.most_common(5) if n) or "nothing was dropped"
    if usable < floor:
        unlabelled = int((columns.readable & ~columns.labelled).sum())
        raise NotEnoughData(
            f"{usable} usable traces (unique, readable, labelled), and {floor} are needed",
            where=f"{pulled} pulled, {readable} readable, {unlabelled} without ground truth; {causes}",
            fix='pull more, or say why fewer will do: --allow-small "reason"',
        )
    unusable = pulled - readable - dropped[COPY] - dropped[MERGED]
    budget = config.curate.failure_budget
    if unusable > budget * pulled:
        raise AnswerIsNo(
            f"{unusable} of {pulled} traces can't be read: over the budget of {budget:.0%}",
            where=causes,
            fix="look at what the source sends, or raise curate.failure_budget",
        )


def _split(
    config: Config,
    sheet: Worksheet,
    columns: Columns,
    alike: Duplicates,
    settled: Splits,
    before: Splits,
    decisions: Decisions,
) -> Splits:
    """Assign the readable rows; near-duplicates are never parted. Returns the new keys' splits."""
    rows = np.flatnonzero(columns.readable)
    assigned = assign(
        Rows(
            customers_N=columns.customers[rows],
            names=sheet.customers(),
            keys_N_K=columns.keys[rows],
            ends_N=columns.ends[rows],
            links_N=np.searchsorted(rows, alike.near[rows]).astype(np.int32),
            before_N=before[rows],
            counted_N=decisions.kept[rows],
        ),
        settled,
        config.curate,
    )
    decisions.splits[rows] = assigned.splits_N
    decisions.leave_out(_within(len(columns.ends), rows[assigned.straddling_N]), STRADDLES)
    return assigned.keys


def _stop_leaks(
    columns: Columns,
    alike: Duplicates,
    earlier: list[Earlier],
    verifier: Verifier,
    decisions: Decisions,
) -> JsonObject:
    """Leave out what would make a test say more than it knows; return what was found and done."""
    size = len(columns.ends)
    models: list[JsonObject] = []
    base = np.zeros(size, dtype=np.bool_)
    tested = decisions.kept & (decisions.splits >= TEST)
    for model in earlier:
        rows = model.rows
        known = None
        if rows is not None:
            trained = np.isin(alike.near, alike.near[rows])  # on these traces or near-duplicates of them
            known = int((tested & trained).sum())
            base |= trained & model.base
        models.append({"model": model.model, "base": model.base, "test_traces": known})
    pairs, complete = leakage.pairs_across(alike.near, decisions.splits, decisions.kept, verifier)
    dropped_for_base = decisions.leave_out(base & (decisions.splits >= VALIDATION), leakage.BASE_SAW_IT)
    leaking = leakage.leaking(alike.near, np.maximum(decisions.splits, TRAIN), decisions.kept)
    dropped = decisions.leave_out(leaking, leakage.NEAR_TEST)
    return {
        "near_duplicate_pairs": pairs,
        "all_pairs_compared": complete,
        "dropped_near_duplicates": dropped,
        "earlier_models": models,
        "dropped_seen_by_base": dropped_for_base,
    }


def _balance(
    config: Config,
    db: Database,
    sheet: Worksheet,
    columns: Columns,
    earlier: list[Earlier],
    decisions: Decisions,
) -> JsonObject:
    """Cap or weight the training rows' customers and oversample; return what was done."""
    settings = config.curate
    before = decisions.training()
    first = balance.loudest(columns.customers[before])
    capped = 0
    if settings.customers == "capped":
        over = balance.over_share(
            columns.customers[before], columns.hashes[before].astype(np.int64), settings.max_customer_share
        )
        capped = decisions.leave_out(_within(len(columns.ends), before[over]), OVER_SHARE)
    rows = decisions.training()
    traits = _traits(config, db, sheet, columns, earlier, rows)
    weights = np.ones(len(rows))
    if settings.customers == "weighted":
        weights = balance.customer_weights(columns.customers[rows], settings.exponent)
    weights = balance.oversampled(weights, traits, settings.oversample)
    decisions.weights[rows] = weights
    own = columns.customers[rows] == first
    names = sheet.customers()
    loudest = {
        "customer": names[first],
        "training_rows": int(own.sum()),
        "dropped": capped,
        "share_before": float((columns.customers[before] == first).mean()),
        "share": float(own.mean()) if len(rows) else 0.0,
        "share_drawn": float(weights[own].sum() / weights.sum()) if len(rows) else 0.0,
    } if first is not None else None  # fmt: skip
    return {
        "loudest": loudest,
        "balance": {
            "customers": settings.customers,
            "weights": settings.weights if settings.customers == "weighted" else None,
            "oversample": {
                name: {"factor": factor, "training_rows": int(traits[name].sum())}
                for name, factor in settings.oversample.items()
            },
            "training_rows": len(rows),
            "effective_rows": balance.effective_size(weights),
        },
    }


def _traits(
    config: Config,
    db: Database,
    sheet: Worksheet,
    columns: Columns,
    earlier: list[Earlier],
    rows: NDArray[np.int64],
) -> dict[str, Mask]:
    """Say of training rows which failed, which call tools as few do, and which no earlier model saw."""
    wanted = config.curate.oversample
    failed = columns.failed.copy()
    if "failing" in wanted:
        failed[sheet.rows_of(iter_graded_below(db, config.train.sft_min_score))] = True
    trained = [model.rows for model in earlier if model.rows is not None]
    new = np.full(len(columns.ends), bool(trained))
    for seen in trained:
        new[seen] = False
    return {"failing": failed[rows], "rare": balance.rare(columns.tools[rows]), "new": new[rows]}


def _rows(sheet: Worksheet, decisions: Decisions) -> Iterator[JsonObject]:
    for row, (trace_hash, group, problem) in enumerate(sheet.decided()):
        reason = problem or decisions.reason(row)
        split = int(decisions.splits[row])
        yield {
            "trace_hash": trace_hash,
            "kept": not reason,
            "reason": reason,
            "group_id": group,
            "split": "none" if split == OPEN else SPLITS[split],
            "weight": float(decisions.weights[row]),
        }


def _new_splits(sheet: Worksheet, new_keys: Splits) -> Iterator[tuple[str, str]]:
    for key, split in zip(sheet.keys(), new_keys.tolist(), strict=True):
        if split != OPEN:
            yield key, SPLITS[split]


def _counts(sheet: Worksheet, columns: Columns, decisions: Decisions) -> JsonObject:
    kept, splits, customers = decisions.kept, decisions.splits, columns.customers
    by_split = np.bincount(splits[kept], minlength=len(SPLITS)).tolist()
    names = sheet.customers()
    unseen = np.unique(customers[kept & (splits == UNSEEN) & (customers >= 0)]).tolist()
    return {
        "unique": sheet.size,
        "kept": int(kept.sum()),
        "labelled": int((kept & columns.labelled).sum()),
        "splits": {name: n for name, n in zip(SPLITS, by_split, strict=True) if n},
        "customers": len(np.unique(customers[kept & (customers >= 0)])),
        "unseen_customers": [names[c] for c in unseen],
    }


def _near_counts(config: Config, alike: Duplicates, columns: Columns, decisions: Decisions) -> JsonObject:
    """Count near-duplicates: what was dropped, and the retries of other outcomes that stay together."""
    kept = np.flatnonzero(decisions.kept)
    _, sizes = np.unique(alike.near[kept], return_counts=True)
    return {
        "threshold": config.curate.near_duplicate,
        "dropped": decisions.counts().get(NEAR, 0),
        "retries": {"groups": int((sizes > 1).sum()), "traces": int(sizes[sizes > 1].sum())},
        "largest_group": int(sizes.max(initial=0)),
    }


def _quiet(_done: int, _total: int, _text: str) -> None:
    return None


def _within(size: int, rows: NDArray[np.int64]) -> Mask:
    mask = np.zeros(size, dtype=np.bool_)
    mask[rows] = True
    return mask
