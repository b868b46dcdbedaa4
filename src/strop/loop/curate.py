"""The loop's second step: which traces train, which validate, which test, and which are left out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from strop.config import Config
from strop.curate.readable import group_keys, unreadable
from strop.curate.split import STRADDLES, Item, assign, cap_loudest
from strop.errors import AnswerIsNo, NotEnoughData
from strop.loop.labels import Labelled, find_labels, score_label
from strop.records import JsonObject
from strop.store import Database
from strop.store.curated import load_splits, save_curated, save_labels
from strop.store.traces import CAPTURE, agent_run_ids, iter_records, skipped_counts, source_counts


class _Row(msgspec.Struct, frozen=True):
    item: Item
    problem: str | None
    labelled: Labelled


def curate(config: Config, db: Database, *, allow_small: str | None = None) -> dict[str, Any]:
    """Decide about every stored trace and store the decisions; return the counts.

    Drops copies, captured twins of an agent's own record, and what can't be read; joins ground truth;
    splits by group and time; caps the loudest customer's training rows. The traces without ground
    truth stay, without it. Raises NotEnoughData under the floor and AnswerIsNo past the budget of
    unreadable traces, unless `allow_small` gives a reason.
    """
    rows, copies, merged, captured = _distinct(config, db)
    labels = find_labels(config, [r.labelled for r in rows if r.problem is None])
    skipped = skipped_counts(db)
    dropped: Counter[str] = Counter(skipped)
    dropped.update({"duplicate": copies, "merged with the agent's record": merged})
    dropped.update(r.problem for r in rows if r.problem is not None)
    readable = [r for r in rows if r.problem is None]
    usable = sum(r.item.trace_hash in labels for r in readable)
    stored = sum(source_counts(db).values())
    pulled = stored + sum(skipped.values())
    _enough(config, dropped, pulled, len(readable), usable, allow_small)
    splits, added, straddling = assign([r.item for r in readable], load_splits(db), config.curate)
    training = {
        r.item.trace_hash: r.item.customer
        for r in readable
        if splits[r.item.trace_hash] == "train" and r.item.trace_hash not in straddling
    }
    loudest, capped = cap_loudest(training, config.curate.max_customer_share)
    reasons = {r.item.trace_hash: r.problem or "" for r in rows}
    reasons.update(dict.fromkeys(capped, "over the loudest customer's share"))
    reasons.update(dict.fromkeys(straddling, STRADDLES))
    dropped.update(reasons[h] for h in (*capped, *straddling))
    save_labels(db, labels)
    save_curated(db, [_decision(r, reasons, splits) for r in rows], added)
    kept = [r for r in rows if not reasons[r.item.trace_hash]]
    return {
        "pulled": pulled,
        "unique": len(rows),
        "kept": len(kept),
        "labelled": sum(r.item.trace_hash in labels for r in kept),
        "dropped": {reason: n for reason, n in dropped.most_common() if n},
        "splits": dict(Counter(splits[r.item.trace_hash] for r in kept)),
        "customers": len({r.item.customer for r in kept if r.item.customer is not None}),
        "unseen_customers": sorted(
            {r.item.customer for r in kept if r.item.customer and splits[r.item.trace_hash] == "unseen"}
        ),
        "loudest": _loudest(loudest, training, capped),
        "sources": source_counts(db),
        "captured": {"stored": captured, "merged": merged},
        "allow_small": allow_small,
    }


def _distinct(config: Config, db: Database) -> tuple[list[_Row], int, int, int]:
    """Return the distinct traces, and the numbers of copies, of merged twins and of captured traces.

    A run that both the agent and the server recorded counts once: the agent's record knows workflow
    and customer.
    """
    agents = agent_run_ids(db)
    rows: dict[str, _Row] = {}
    copies = merged = captured = 0
    for trace_hash, trace in iter_records(db):
        if trace.source == CAPTURE:
            captured += 1
            if trace.source_id in agents:
                merged += 1
                continue
        if trace_hash in rows:
            copies += 1
            continue
        keys = group_keys(trace, config.curate.group_by)
        scored = score_label(trace, config.labels.score)
        rows[trace_hash] = _Row(
            Item(trace_hash=trace_hash, customer=trace.customer, keys=keys, at=trace.ended_at),
            unreadable(trace),
            Labelled(trace_hash, trace.source_id, trace.workflow_id, trace.ended_at, scored),
        )
    return list(rows.values()), copies, merged, captured


def _enough(
    config: Config, dropped: Counter[str], pulled: int, readable: int, usable: int, allow_small: str | None
) -> None:
    if allow_small:
        return
    floor = config.curate.min_rows
    causes = ", ".join(f"{n} {reason}" for reason, n in dropped.most_common(5) if n) or "nothing was dropped"
    if usable < floor:
        raise NotEnoughData(
            f"{usable} usable traces (unique, readable, labelled), and {floor} are needed",
            where=f"{pulled} pulled, {readable} readable, {readable - usable} without ground truth; {causes}",
            fix='pull more, or say why fewer will do: --allow-small "reason"',
        )
    unusable = pulled - readable - dropped["duplicate"] - dropped["merged with the agent's record"]
    budget = config.curate.failure_budget
    if unusable > budget * pulled:
        raise AnswerIsNo(
            f"{unusable} of {pulled} traces can't be read: over the budget of {budget:.0%}",
            where=causes,
            fix="look at what the source sends, or raise curate.failure_budget",
        )


def _decision(row: _Row, reasons: dict[str, str], splits: dict[str, Any]) -> JsonObject:
    trace_hash = row.item.trace_hash
    return {
        "trace_hash": trace_hash,
        "kept": not reasons[trace_hash],
        "reason": reasons[trace_hash],
        "group_id": row.item.keys[0],
        "split": splits.get(trace_hash, "none"),
    }


def _loudest(customer: str | None, training: dict[str, str | None], capped: set[str]) -> JsonObject | None:
    if customer is None:
        return None
    rows = sum(c == customer for c in training.values())
    left = len(training) - len(capped)
    return {
        "customer": customer,
        "training_rows": rows - len(capped),
        "dropped": len(capped),
        "share_before": rows / len(training),
        "share": (rows - len(capped)) / left if left else 0.0,
    }
