"""What the grader's present version changes about the past: grades, and verdicts of the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from strop.config import Config
from strop.environments import filled, reference_of, task_of
from strop.grade.audit.checks import Check
from strop.grade.audit.history import Rescored, history
from strop.grade.scorer import Scorer
from strop.loop.audit.cases import SEEN
from strop.promote.compare import Arm, compare
from strop.promote.gate import decide
from strop.records import Curated, Rollout, Task, Verdict, digest
from strop.store import Database
from strop.store.curated import load_curated
from strop.store.graders import grader_versions
from strop.store.grades import load_grades
from strop.store.registry import load_verdicts


def past(config: Config, db: Database, document: dict[str, Any], scorer: Scorer) -> list[Check]:
    """Compare the present version with the one before it, and decide past comparisons again."""
    older = [v for v in grader_versions(db) if v.grader_hash != scorer.grader_hash]
    if not older:
        return [
            Check(
                part="history", id="H1", name="past grades", verdict="not applicable",
                what="no other version of the grader has graded these traces",
            )
        ]  # fmt: skip
    before = older[-1]
    rows = _rescored(db, before.grader_hash, scorer)
    found = history(rows, pass_at=config.train.sft_min_score)
    turned = len(found.flips)
    document["history"] = {"before": before.grader_hash, **msgspec.to_builtins(found)}
    moved = "" if found.change is None else f", mean change {found.change.mean:+.3f}"
    what = (
        f"{turned} of {found.rollouts} past grades flip at {found.pass_at:g} against version "
        f"{before.grader_hash[:12]}{moved}"
    )
    remedy = "read the list in the document before you compare new figures with old ones" if turned else ""
    checks = [
        Check(
            part="history", id="H1", name="past grades", verdict="warn" if turned else "pass", what=what,
            remedy=remedy,
        )
    ]  # fmt: skip
    return checks + _gate(config, db, document, scorer)


def _rescored(db: Database, before: str, scorer: Scorer) -> list[Rescored]:
    """Return every trace that the earlier version graded, with its grade then and now."""
    seen = [c for c in load_curated(db, SEEN) if c.ground_truth is not None and c.trace.episodes]
    subjects = {c.trace_hash: scorer.subject(c) for c in seen}
    old = load_grades(db, before, sorted(subjects.values()))
    kept = {c.trace_hash: c for c in seen if subjects[c.trace_hash] in old}
    return [
        Rescored(
            subject=trace_hash,
            old=old[subjects[trace_hash]],
            new=grade,
            prompt=digest(kept[trace_hash].trace.episodes[0].prompt()),
            cluster=kept[trace_hash].trace.customer or trace_hash,
        )
        for trace_hash, grade in scorer.grade_curated(kept.values())
    ]


def _gate(config: Config, db: Database, document: dict[str, Any], scorer: Scorer) -> list[Check]:
    """Decide the comparisons whose rollouts are kept again, graded by the present version."""
    decided: list[dict[str, Any]] = []
    for run_id, verdict in load_verdicts(db):
        now = _decided_again(config, db, config.state / "runs" / run_id, verdict, scorer)
        if now is not None:
            decided.append(
                {"run_id": run_id, "then": verdict.decision, "now": now.decision, "reasons": now.reasons}
            )
    document["gate_history"] = decided
    if not decided:
        return []
    flips = [d for d in decided if d["then"] != d["now"]]
    said = "; ".join(f"run {d['run_id']}: {d['then']}, now {d['now']}" for d in flips)
    return [
        Check(
            part="history", id="H2", name="past verdicts", verdict="warn" if flips else "pass",
            what=said or f"{len(decided)} past verdicts of the gate stay what they were",
            remedy="a promotion rests on the old version: strop rollback, or compare again" if flips else "",
        )
    ]  # fmt: skip


def _decided_again(
    config: Config, db: Database, folder: Path, verdict: Verdict, scorer: Scorer
) -> Verdict | None:
    rollouts = {name: _read(folder, name) for name in ("candidate", "sft", "champion")}
    wanted = set(rollouts["candidate"])
    if not wanted:
        return None
    found: dict[str, tuple[Task, Curated]] = {}
    for curated in load_curated(db):
        if curated.trace_hash in wanted and (task := task_of(curated)) is not None:
            found[curated.trace_hash] = (task, curated)
    if len(found) < len(wanted):  # traces were deleted since: no longer the same comparison
        return None
    tasks = [task for task, _ in found.values()]
    arms = [_arm(scorer, "teacher", tasks, [reference_of(c) for _, c in found.values()])]
    sound = {t.task_id for t, g in zip(tasks, arms[0].grades, strict=True) if g.score is not None}
    for name, own in rollouts.items():
        if own and wanted <= own.keys():
            seen = [filled(task) for task in tasks]
            arms.append(_arm(scorer, name, seen, [own[t.task_id] for t in tasks], sound))
    report = compare(arms, config, label=config.baselines.label, weights=scorer.weights)
    return decide(report, config.promote, candidate_id=verdict.candidate_id)


def _arm(
    scorer: Scorer, name: str, tasks: list[Task], rollouts: list[Rollout], sound: set[str] | None = None
) -> Arm:
    reference_ok = None if sound is None else sound.__contains__
    grades = scorer.score(list(zip(tasks, rollouts, strict=True)), reference_ok=reference_ok)
    return Arm(name=name, tasks=tasks, rollouts=rollouts, grades=grades)


def _read(folder: Path, name: str) -> dict[str, Rollout]:
    files = sorted(folder.glob(f"rollouts-{name}-*.jsonl"), key=lambda path: path.stat().st_mtime)
    if not files:
        return {}
    lines = files[-1].read_bytes().splitlines()
    return {r.task_id: r for r in (msgspec.json.decode(line, type=Rollout) for line in lines)}
