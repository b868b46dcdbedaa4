"""How often the intervals of the grader's examination cover the truth, and how often it cries wolf.

    python benchmarks/audit_statistics.py [--sets 2000] [--out benchmarks/results/audit_statistics.json]

Each line simulates `sets` data sets whose truth is known, and counts how often the 95 % interval holds it.
`alarm` is the share of sets in which a test rejects though its null hypothesis just holds: "collapse
predicted" at q = q* exactly, an annotator "beaten" at a gap of exactly epsilon (nominal 0.05), a grader
that "fails" though gold does not fall. Last, tabular policies trained by sampled policy gradient show
whether the predicted collapse comes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from strop.grade.audit.incentives import incentive
from strop.grade.audit.preview import preview
from strop.grade.audit.shape import shape
from strop.grade.audit.weights import effective_weights
from strop.stats.agreement import cohen_kappa, within_spearman
from strop.stats.alt_test import alt_test
from strop.stats.auc import auc
from strop.stats.krippendorff import Level, krippendorff_alpha

Floats = NDArray[np.float64]
Rng = np.random.Generator
Json = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """One simulated set: the interval, None where nothing could be said, and whether the test rejected."""

    low: float | None
    high: float | None
    alarm: bool | None = None


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    family: str
    setting: str
    truth: float | None
    draw: Callable[[Rng], Drawn]


def measure(case: Case, sets: int, seed: int) -> Json:
    """Return coverage and rejections; sets without an interval are counted apart."""
    rng = np.random.default_rng(seed)
    drawn = [case.draw(rng) for _ in range(sets)]
    row: Json = {"family": case.family, "setting": case.setting, "sets": sets}
    if case.truth is not None:
        said = [(d.low, d.high) for d in drawn if d.low is not None and d.high is not None]
        row |= {
            "truth": round(case.truth, 4),
            "undefined": sets - len(said),
            "coverage": round(
                sum(low - 1e-12 <= case.truth <= high + 1e-12 for low, high in said) / len(said), 4
            ),
            "width": round(float(np.mean([high - low for low, high in said])), 4),
        }
    alarms = [d.alarm for d in drawn if d.alarm is not None]
    if alarms:
        row["alarm"] = round(sum(alarms) / len(alarms), 4)
    return row


TABLES = {
    "chance": [[0.25, 0.25], [0.25, 0.25]],
    "middling": [[0.35, 0.15], [0.15, 0.35]],
    "high": [[0.45, 0.05], [0.03, 0.47]],
    "one label rare": [[0.75, 0.08], [0.07, 0.10]],
}
FIVE = [[10, 5, 2, 0, 0], [5, 12, 6, 2, 0], [1, 5, 14, 5, 2], [0, 1, 5, 10, 4], [0, 0, 1, 3, 7]]


def kappas() -> Iterator[Case]:
    for n in (30, 50, 100, 300):
        for name, table in TABLES.items():
            yield _kappa(name, np.array(table), n, "nominal")
        yield _kappa("five ordered categories", np.array(FIVE) / np.sum(FIVE), n, "quadratic")
    yield Case("kappa", "40 contexts of 5 pairs, correlated within", 0.4, _clustered_kappa)
    for n in (50, 100, 300):
        yield _kappa("chance, one label rare (a fifth)", np.outer([0.8, 0.2], [0.8, 0.2]), n, "nominal")


def _kappa(name: str, cells: Floats, n: int, weights: Any) -> Case:
    size = len(cells)
    gap = np.subtract.outer(np.arange(size), np.arange(size))
    cost = gap**2 if weights == "quadratic" else (gap != 0) * 1.0
    truth = 1 - (cells * cost).sum() / (np.outer(cells.sum(1), cells.sum(0)) * cost).sum()

    def draw(rng: Rng) -> Drawn:
        a, b = np.divmod(rng.choice(size * size, n, p=cells.ravel()), size)
        found = cohen_kappa(a.tolist(), b.tolist(), list(range(size)), weights=weights)
        return Drawn(found.low, found.high)

    return Case("kappa", f"{name}, n = {n}", float(truth), draw)


def _clustered_kappa(rng: Rng) -> Drawn:
    """Both raters see one class a context; each pair agrees on it with a context's own probability."""
    names = np.repeat(np.arange(40), 5)
    a = rng.integers(0, 2, 40)[names]
    agree = rng.random(200) < rng.beta(1.4, 0.6, 40)[names]  # 0.7 on average, so kappa is 0.4
    found = cohen_kappa(a.tolist(), np.where(agree, a, 1 - a).tolist(), [0, 1], clusters=names.tolist())
    return Drawn(found.low, found.high)


def alphas() -> Iterator[Case]:
    levels: tuple[Level, ...] = ("nominal", "ordinal", "interval")
    for level in levels:
        for n in (50, 100):
            truth = krippendorff_alpha(_ratings(np.random.default_rng(0), 40_000), level).alpha
            yield Case("alpha", f"{level}, 3 raters, a fifth missing, {n} units", truth, _alpha(level, n))


def _ratings(rng: Rng, n: int) -> Floats:
    """Three raters copy one of four classes with probability 0.8, else guess; a fifth is missing."""
    truth = rng.integers(0, 4, n)
    rated = np.where(rng.random((3, n)) < 0.8, truth, rng.integers(0, 4, (3, n))).astype(np.float64)
    return np.where(rng.random((3, n)) < 0.2, np.nan, rated)


def _alpha(level: Level, n: int) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        found = krippendorff_alpha(_ratings(rng, n), level)
        return Drawn(found.low, found.high)

    return draw


def spearmans() -> Iterator[Case]:
    for groups in (15, 60):
        many = _within(np.random.default_rng(0), 20_000)
        yield Case(
            "within Spearman", f"{groups} prompts of 8", many[0], lambda rng, g=groups: _within(rng, g)[1]
        )


def _within(rng: Rng, groups: int) -> tuple[float | None, Drawn]:
    names = np.repeat(np.arange(groups), 8)
    first = rng.normal(0, 1, groups * 8)
    found = within_spearman(first, 0.6 * first + rng.normal(0, 0.8, groups * 8), names.tolist())
    return found.rho, Drawn(found.low, found.high)


def aucs() -> Iterator[Case]:
    for m, n in ((15, 15), (30, 30), (20, 100), (100, 100)):
        for shift in (0.5, 1.0, 2.0):
            yield Case("AUC", f"{m} and {n}", float(norm.cdf(shift / np.sqrt(2))), _auc(m, n, shift))
    five = [0.1, 0.2, 0.3, 0.4], [0.3, 0.3, 0.25, 0.15]
    tied = sum(
        p * q * ((i > j) + 0.5 * (i == j)) for i, p in enumerate(five[0]) for j, q in enumerate(five[1])
    )
    yield Case("AUC", "40 and 40, four tied levels", tied, lambda rng: _tied_auc(rng, five))
    # Contexts shift all their scores and differ in their share of label 1.
    pooled = float(norm.cdf(1 / np.sqrt(2 * 1.36)))
    for contexts in (20, 60):
        yield Case("AUC", f"{contexts} contexts of 4", pooled, lambda rng, c=contexts: _clustered_auc(rng, c))


def _auc(m: int, n: int, shift: float) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        found = auc(np.r_[rng.normal(shift, 1, m), rng.normal(0, 1, n)], np.r_[np.ones(m), np.zeros(n)])
        return Drawn(found.low, found.high)

    return draw


def _tied_auc(rng: Rng, levels: tuple[list[float], list[float]]) -> Drawn:
    found = auc(
        np.r_[rng.choice(4, 40, p=levels[0]), rng.choice(4, 40, p=levels[1])], np.repeat([1.0, 0.0], 40)
    )
    return Drawn(found.low, found.high)


def _clustered_auc(rng: Rng, contexts: int) -> Drawn:
    names = np.repeat(np.arange(contexts), 4)
    y = (rng.random(names.size) < rng.beta(0.6, 0.6, contexts)[names]).astype(np.float64)
    x = y + rng.normal(0, 1, names.size) + 0.6 * rng.normal(0, 1, contexts)[names]
    found = auc(x, y, names.tolist())
    return Drawn(found.low, found.high)


def alt_tests() -> Iterator[Case]:
    for n in (30, 60, 100):
        for method in ("t", "bootstrap"):
            yield Case("alt-test", f"{method}, {n} items, gap = epsilon", None, _alt(n, method))


def _alt(n: int, method: Any) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        gap = rng.choice([1, 0, -1], n, p=[0.25, 0.60, 0.15])
        ratings = np.stack([gap < 0, np.zeros(n)]) * 1.0
        found = alt_test((gap > 0) * 1.0, ratings, epsilon=0.1, method=method, draws=500)
        return Drawn(None, None, found.annotators[0].p <= 0.05)

    return draw


def shares() -> Iterator[Case]:
    for prompts in (30, 100):
        for name, group in (("binary", 8), ("binary", 4), ("normal, correlated", 8)):
            truth = 0.21 / 0.30 if name == "binary" else (0.36 + 0.12) / (0.36 + 0.16 + 0.24)
            setting = f"{name}, {prompts} prompts of {group}"
            yield Case("effective weight", setting, truth, _share(name, prompts, group))


def _share(name: str, prompts: int, group: int) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        if name == "binary":
            components, weights = (rng.random((prompts, group, 2)) < [0.3, 0.9]) * 1.0, [0.5, 0.5]
        else:
            components = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], (prompts, group))
            weights = [0.6, 0.4]
        found = effective_weights(components, weights).components[0]
        return Drawn(found.low, found.high)

    return draw


def iccs() -> Iterator[Case]:
    for prompts in (30, 100):
        for sd, truth in ((0.06, 0.5), (0.03, 0.2)):
            yield Case("ICC", f"{prompts} prompts of 6", truth, _icc(prompts, sd))


def _icc(prompts: int, sd: float) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        level = rng.normal(0, sd, (prompts, 1))
        found = shape(np.clip(0.5 + level + rng.normal(0, 0.06, (prompts, 6)), 0, 1))
        return Drawn(found.icc_low, found.icc_high)

    return draw


def margins() -> Iterator[Case]:
    for n in (40, 100, 300):
        for noise in (0.0, 0.1, 0.3):
            for rewards in ((0.2, -0.3, 0.0), (1.0, -1.0, 0.5)):
                yield _margin(n, noise, rewards, 0.0)
    yield _margin(100, 0.1, (1.0, -0.5, 0.1), 0.1)
    yield _margin(100, 0.1, (1.0, -0.5, 0.1), -0.1)
    for contexts in (20, 40):
        setting = f"{contexts} contexts of 5 calls, correlated within, q = q*"
        yield Case("q - q*", setting, 0.0, lambda rng, c=contexts: _clustered_margin(rng, c))


def _margin(n: int, noise: float, rewards: tuple[float, float, float], off: float) -> Case:
    right, wrong, idle = rewards
    q = (idle - wrong) / (right - wrong) + off

    def draw(rng: Rng) -> Drawn:
        hits = int(rng.binomial(n, q))
        if hits in (0, n):
            return Drawn(None, None)
        found = incentive(
            "tool",
            rng.normal(right, noise, hits),
            rng.normal(wrong, noise, n - hits),
            rng.normal(idle, noise, n),
        )
        alarm = None if off else found.verdict == "collapse predicted"
        return Drawn(found.margin_low, found.margin_high, alarm)

    where = "q = q*" if not off else f"q = q* {off:+}"
    return Case("q - q*", f"{n} calls, reward noise {noise}, {where} = {q - off:.2f}", off, draw)


def _clustered_margin(rng: Rng, contexts: int) -> Drawn:
    names = np.repeat(np.arange(contexts), 5)
    level = rng.normal(0, 0.05, contexts)[names]
    hit = rng.random(names.size) < rng.beta(1.8, 1.2, contexts)[names]  # 0.6 on average
    reward = np.where(hit, 0.2, -0.3) + level + rng.normal(0, 0.05, names.size)
    idle = rng.normal(0, 0.05, contexts)[names] + rng.normal(0, 0.05, names.size)
    found = incentive(
        "tool", reward[hit], reward[~hit], idle,
        clusters=(names[hit].tolist(), names[~hit].tolist(), [f"idle {i}" for i in names]),
    )  # fmt: skip
    return Drawn(found.margin_low, found.margin_high, found.verdict == "collapse predicted")


def previews() -> Iterator[Case]:
    for prompts in (20, 60):
        yield Case("best of N", f"gold unrelated, {prompts} prompts of 16", 0.0, _preview(prompts))


def _preview(prompts: int) -> Callable[[Rng], Drawn]:
    def draw(rng: Rng) -> Drawn:
        found = preview(rng.random((prompts, 16)), rng.random((prompts, 16)), draws=2)
        return Drawn(found.decline.low, found.decline.high, found.verdict == "fails")

    return draw


def policies(count: int, seed: int) -> Json:
    """Compare predictions from 400 rollouts at P(call) = 0.5 with what the trained policy does."""
    rng = np.random.default_rng(seed)
    agree = near = near_agree = decided = wrong = 0
    for _ in range(count):
        right, penalty = rng.uniform(0.2, 1), rng.uniform(0, 1)
        idle, q = rng.uniform(0, 0.15), rng.uniform(0.05, 0.95)
        calls = int(rng.binomial(400, 0.5))
        hits = int(rng.binomial(calls, q))
        if hits in (0, calls):
            continue
        found = incentive("tool", [right] * hits, [-penalty] * (calls - hits), [idle] * (400 - calls))
        collapsed = train(right, penalty, idle, q, rng) < 0.5
        same = (found.margin is not None and found.margin < 0) == collapsed
        close = abs(q - (idle + penalty) / (right + penalty)) <= 0.05
        agree, near, near_agree = agree + same, near + close, near_agree + (same and close)
        if found.verdict != "at risk":
            decided, wrong = decided + 1, wrong + ((found.verdict == "collapse predicted") != collapsed)
    return {
        "settings": count, "sign_agrees": agree, "within_0.05_of_q*": near, "of_those_agree": near_agree,
        "decided": decided, "decided_wrongly": wrong,
    }  # fmt: skip


def train(right: float, penalty: float, idle: float, q: float, rng: Rng, steps: int = 5000) -> float:
    """Return P(call) of a softmax policy after sampled policy gradient: 16 groups of 8 a step, centred."""
    logit = 0.0
    for _ in range(steps):
        p = 1 / (1 + np.exp(-logit))
        if not 0.01 < p < 0.99:
            break
        called, is_right = rng.random((16, 8)) < p, rng.random((16, 8)) < q
        reward = np.where(called, np.where(is_right, right, -penalty), idle)
        logit += float(((reward - reward.mean(axis=1, keepdims=True)) * (called - p)).mean())
    return float(1 / (1 + np.exp(-logit)))


FAMILIES = (kappas, alphas, spearmans, aucs, alt_tests, shares, iccs, margins, previews)


def run(options: argparse.Namespace) -> Json:
    """Measure all families, or the named ones, and print each line as it comes."""
    began, rows = time.process_time(), list[Json]()
    print(HEADER, flush=True)
    chosen = [f for f in FAMILIES if not options.only or f.__name__ in options.only]
    for family in chosen:
        for number, case in enumerate(family()):
            rows.append(measure(case, options.sets, 1000 * FAMILIES.index(family) + number))
            print(line(rows[-1]), flush=True)
    learned = policies(options.policies, 7)
    print(f"policies: {learned}")
    return {
        "benchmark": "audit_statistics", "sets": options.sets, "rows": rows, "policies": learned,
        "cpu_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


HEADER = f"{'':18}{'':56}{'truth':>8}{'covered':>9}{'width':>8}{'undefined':>11}{'alarm':>8}"


def line(row: Json) -> str:
    """Return one line of the table."""
    cells = [row.get("truth", ""), row.get("coverage", ""), row.get("width", "")]
    shown = "".join(f"{c:>{w}.3f}" if c != "" else " " * w for c, w in zip(cells, (8, 9, 8), strict=True))
    alarm = f"{row['alarm']:>8.4f}" if "alarm" in row else ""
    return f"{row['family']:18}{row['setting']:56}{shown}{row.get('undefined', ''):>11}{alarm}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--sets", type=int, default=2000)
    p.add_argument("--policies", type=int, default=300)
    p.add_argument("--only", nargs="*", choices=[f.__name__ for f in FAMILIES])
    p.add_argument("--out", type=Path)
    options = p.parse_args(arguments)
    document = run(options)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
