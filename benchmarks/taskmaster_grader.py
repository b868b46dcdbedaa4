"""A small learned grader against people: is the agent's next step in a coffee order right?

    python -m benchmarks.taskmaster_grader --out benchmarks/results/taskmaster_grader.json

Taskmaster-4's reward rows (CC BY 4.0, read from STROP_SHARED, else from `shared/` beside the clone) hold a
dialogue so far, one next step of the agent (an API call or a sentence) and a person's 0/1 label. Features
are written by hand (`taskmaster_features.py`); a logistic regression weighs them.

Contradictory labels are kept and reported: contexts with accepted and rejected steps (not a contradiction
by itself: the steps differ), and steps that were labelled both ways, compared by their words.

Split: by the customer's first sentence, by hash; so identical contexts, and all later turns of one opening,
lie on one side. Settings were chosen by cross-validation inside the training part; `--validate` repeats
that and never looks at the held-out part. Rows that repeat context, step and label are counted once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.taskmaster_features import features, words
from strop.grade.audit.agreement import Labelled, with_people
from strop.stats.auc import Auc, auc
from strop.stats.cluster import cluster_mean

REPO = Path(__file__).resolve().parents[1]
Floats = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One distinct (context, step, label) with the group it is split by.

    copies: rows that say the same. dialogue: the conversation_id of the first of them.
    """

    context: str
    generation: str
    label: int
    opening: str
    copies: int
    dialogue: str = ""


def data_folder() -> Path:
    """Return where Taskmaster-4 lies."""
    return Path(os.environ.get("STROP_SHARED") or REPO.parent / "shared") / "data" / "taskmaster4_coffee"


def read_rows(folder: Path) -> list[Row]:
    """Return the distinct rows, in the order of the files."""
    files = sorted(folder.glob("reward_*.json"))
    if not files:
        raise SystemExit(f"no Taskmaster-4 rewards in {folder}: set STROP_SHARED")
    raw = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))]
    return distinct(raw)


def distinct(raw: Iterable[Json]) -> list[Row]:
    """Count repeated rows once."""
    seen: dict[tuple[str, str, int], list[str]] = {}
    for r in raw:
        key = (r["context"], r["generation"], int(r["reward"]))
        seen.setdefault(key, []).append(str(r.get("conversation_id", "")))
    return [Row(*key, opening(json.loads(key[0])), len(ids), ids[0]) for key, ids in seen.items()]


def opening(context: Sequence[Json]) -> str:
    """Return the words of the customer's first sentence."""
    return next((words(t.get("text", "")) for t in context if t["role"] == "user"), "")


def split(rows: Sequence[Row], share: float = 0.3) -> tuple[list[Row], list[Row]]:
    """Return training and held-out rows; an opening lies on one side."""
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[_place(row.opening, "taskmaster-grader") < share].append(row)
    return sides


def _place(text: str, salt: str) -> float:
    """Return where a text falls in [0, 1)."""
    return int(hashlib.sha256(f"{salt}|{text}".encode()).hexdigest()[:12], 16) / 16**12


@dataclass
class Grader:
    """Logistic regression over named features; names unseen in training are ignored."""

    index: dict[str, int]
    weights: Floats
    bias: float

    def score(self, rows: Sequence[dict[str, float]]) -> Floats:
        """Return the probability of label 1."""
        return np.asarray(expit(matrix(rows, self.index) @ self.weights + self.bias), dtype=np.float64)


def matrix(rows: Sequence[dict[str, float]], index: dict[str, int]) -> Floats:
    """Return rows x features."""
    out = np.zeros((len(rows), len(index)))
    for i, row in enumerate(rows):
        for name, value in row.items():
            if name in index:
                out[i, index[name]] = value
    return out


def fit(rows: Sequence[dict[str, float]], labels: Floats, penalty: float, fewest: int) -> Grader:
    """Return the ridge-penalised maximum likelihood; features in fewer than `fewest` rows are dropped."""
    counts = Counter(name for row in rows for name, value in row.items() if value)
    index = {name: i for i, name in enumerate(sorted(n for n, c in counts.items() if c >= fewest))}
    x = matrix(rows, index)

    def loss(w: Floats) -> tuple[float, Floats]:
        z = x @ w[:-1] + w[-1]
        gap = expit(z) - labels
        value = float(np.logaddexp(0.0, z).sum() - labels @ z + penalty / 2 * (w[:-1] @ w[:-1]))
        return value, np.append(x.T @ gap + penalty * w[:-1], gap.sum())

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return Grader(index, found.x[:-1], float(found.x[-1]))


def features_of(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return the features of each row."""
    return [features(json.loads(row.context), json.loads(row.generation)) for row in rows]


def labels_of(rows: Sequence[Row]) -> Floats:
    """Return the people's labels."""
    return np.array([float(row.label) for row in rows])


def validate(rows: Sequence[Row], penalty: float, fewest: int, folds: int = 5) -> Auc:
    """Return the AUC over folds of the training part; an opening lies in one fold."""
    found, y = features_of(rows), labels_of(rows)
    fold = np.array([int(_place(row.opening, "fold") * folds) for row in rows])
    scores = np.zeros(len(rows))
    for k in range(folds):
        inside = [i for i in range(len(rows)) if fold[i] != k]
        outside = [i for i in range(len(rows)) if fold[i] == k]
        grader = fit([found[i] for i in inside], y[inside], penalty, fewest)
        scores[outside] = grader.score([found[i] for i in outside])
    return auc(scores, y, [row.context for row in rows])


def run(options: argparse.Namespace) -> Json:
    """Split, fit, and measure once on the held-out part (or validate); return the document."""
    started = time.process_time()
    rows = read_rows(data_folder())
    train, held_out = split(rows)
    document: Json = {
        "benchmark": "taskmaster_grader",
        "settings": {"penalty": options.penalty, "fewest": options.fewest, "held_out_share": 0.3},
        "data": data_report(rows) | {"train": data_report(train), "held_out": data_report(held_out)},
    }
    document["contradictory"] = contradictory(rows)
    if options.validate:
        document["validation"] = as_json(validate(train, options.penalty, options.fewest))
    else:
        grader = fit(features_of(train), labels_of(train), options.penalty, options.fewest)
        document["features"] = len(grader.index)
        document["held_out"] = measure(grader.score(features_of(held_out)), held_out, train)
    return document | {"cpu_seconds": round(time.process_time() - started, 1)}


def data_report(rows: Sequence[Row]) -> Json:
    """Count rows, contexts and what people disagreed on; nothing is left out for that."""
    by_context, by_pair = defaultdict(set), defaultdict(set)
    for row in rows:
        by_context[row.context].add(row.label)
        by_pair[row.context, row.generation].add(row.label)
    return {
        "rows": sum(row.copies for row in rows),
        "distinct": len(rows),
        "label_0": sum(row.label == 0 for row in rows),
        "openings": len({row.opening for row in rows}),
        "contexts": len(by_context),
        "contexts_with_both_labels": sum(len(labels) > 1 for labels in by_context.values()),
        "steps_with_both_labels": sum(len(labels) > 1 for labels in by_pair.values()),
    }


def contradictory(rows: Sequence[Row]) -> Json:
    """Name, by their dialogues, the contexts and the steps (by their words) that carry both labels."""
    by_context: dict[str, list[Row]] = defaultdict(list)
    by_words: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_context[row.context].append(row)
        by_words[words(row.context), words(row.generation)].append(row)
    both = [own for own in by_context.values() if len({row.label for row in own}) > 1]
    steps = [own for own in by_words.values() if len({row.label for row in own}) > 1]
    return {
        "contexts": [own[0].dialogue for own in both],
        "steps_by_their_words": [[row.dialogue for row in own] for own in steps],
    }


def with_the_audit(scores: Floats, rows: Sequence[Row]) -> Json:
    """Return what the grader's examination says of this grader and these labels."""
    found = with_people(
        [
            Labelled(prompt=row.context, answer=row.generation, label=float(row.label), score=float(score))
            for row, score in zip(rows, scores, strict=True)
        ]
    )
    kappa, within = found.kappa, found.spearman
    return {
        "verdict": found.verdict,
        "reason": found.reason,
        "kappa": None if kappa is None else _interval(kappa.kappa, kappa.low, kappa.high, kappa.n),
        "spearman_within_contexts": _interval(within.rho, within.low, within.high, within.n),
        "contradictions": len(found.contradictions),
    }


def _interval(value: float | None, low: float | None, high: float | None, n: int) -> Json | None:
    if value is None or low is None or high is None:
        return None
    return {"mean": round(value, 4), "ci95": [round(low, 4), round(high, 4)], "n": n}


def measure(scores: Floats, rows: Sequence[Row], train: Sequence[Row]) -> Json:
    """Return the AUCs of the held-out rows, and whether anything of theirs was in training."""
    y, contexts = labels_of(rows), np.array([row.context for row in rows])
    call = np.array(["api" in json.loads(row.generation) for row in rows])
    return {
        "auc": as_json(auc(scores, y, contexts.tolist())),
        "auc_clustered_by_opening": as_json(auc(scores, y, [row.opening for row in rows])),
        "auc_of_calls": as_json(
            auc(scores[call], y[call], [c for c, k in zip(contexts, call, strict=True) if k])
        ),
        "auc_of_sentences": as_json(
            auc(scores[~call], y[~call], [c for c, k in zip(contexts, call, strict=True) if not k])
        ),
        "same_context": same_context(scores, y, contexts.tolist()),
        "audit": with_the_audit(scores, rows),
        "contexts_in_training": len(set(contexts.tolist()) & {row.context for row in train}),
    }


def same_context(scores: Floats, labels: Floats, contexts: Sequence[str]) -> Json:
    """Return how often the step that people accepted outscores the rejected one of the same context."""
    by_context: dict[str, list[int]] = defaultdict(list)
    for i, context in enumerate(contexts):
        by_context[context].append(i)
    won, names = list[float](), list[str]()
    for context, members in by_context.items():
        for i in members:
            for j in members:
                if labels[i] > labels[j]:
                    won.append(float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j]))
                    names.append(context)
    if not won:
        return {"pairs": 0}
    found = cluster_mean(won, names)
    return {
        "mean": round(found.mean, 4), "ci95": [round(found.low, 4), round(found.high, 4)],
        "pairs": found.n, "contexts": found.clusters,
    }  # fmt: skip


def as_json(found: Auc) -> Json:
    """Return an AUC with its interval and counts."""
    if found.auc is None or found.low is None or found.high is None:
        return {"note": found.note}
    return {
        "mean": round(found.auc, 4), "ci95": [round(found.low, 4), round(found.high, 4)],
        "label_1": found.positives, "label_0": found.negatives, "clusters": found.clusters,
    }  # fmt: skip


def table(document: Json) -> str:
    """Return the measured figures as one table."""
    data = document["data"]
    part = data["train" if "validation" in document else "held_out"]
    lines = [
        f"{data['rows']} rows, {data['distinct']} distinct; {data['contexts_with_both_labels']} contexts and "
        f"{data['steps_with_both_labels']} steps carry both labels "
        f"({len(document['contradictory']['steps_by_their_words'])} steps compared by their words), all kept",
        f"{'validation in training' if 'validation' in document else 'held out'}: {part['distinct']} rows, "
        f"{part['contexts']} contexts, {part['openings']} openings, {part['contexts_with_both_labels']} "
        "contexts with both labels; split by opening",
        f"{'':34}{'':>8}{'95 % interval':>18}{'label 1':>9}{'label 0':>9}{'clusters':>10}",
    ]
    shown = {"AUC, validation": document.get("validation")}
    if "held_out" in document:
        found = document["held_out"]
        shown = {
            "AUC, clustered by context": found["auc"],
            "AUC, clustered by opening": found["auc_clustered_by_opening"],
            "AUC of API calls": found["auc_of_calls"],
            "AUC of sentences": found["auc_of_sentences"],
            "right order in the same context": found["same_context"],
        }
    for name, f in shown.items():
        if f and "mean" in f:
            interval = f"[{f['ci95'][0]:.3f}, {f['ci95'][1]:.3f}]"
            counts = (f.get("label_1", ""), f.get("label_0", ""), f.get("clusters", f.get("contexts", "")))
            lines.append(f"{name:34}{f['mean']:>8.3f}{interval:>18}" + "{:>9}{:>9}{:>10}".format(*counts))
    if "held_out" in document:
        lines.append(
            f"audit: {document['held_out']['audit']['verdict']}, {document['held_out']['audit']['reason']}"
        )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the flags."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--penalty", type=float, default=1.0, help="ridge penalty of the logistic regression")
    p.add_argument("--fewest", type=int, default=3, help="training rows that a feature needs")
    p.add_argument("--validate", action="store_true", help="cross-validate in the training part only")
    p.add_argument("--out", type=Path)
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser().parse_args(arguments)
    document = run(options)
    print(table(document))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
