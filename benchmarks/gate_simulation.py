"""How often the gate promotes what it must not, and what it should: measured on simulated comparisons.

    python benchmarks/gate_simulation.py [--null 2000] [--power 500] [--out benchmarks/results/gate.json]

Scores are 0.60 answer + 0.25 tools + 0.15 tone, each right or wrong. The ICC is the intraclass
correlation of each component of each arm within a customer (beta-distributed rates). `shared` is the
share of tasks on which both arms meet the same difficulty: at 1.0 they differ only where one of them
lost something. The null is the worst permitted to be refused: a true difference of exactly -margin,
all of it in the answer.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strop.config import Promote
from strop.promote.compare import as_json
from strop.promote.gate import decide
from strop.stats.cluster import cluster_mean

Floats = NDArray[np.float64]
COMPONENTS = (("answer_ok", 0.60, 0.78), ("tool_ok", 0.25, 0.90), ("tone_ok", 0.15, 0.90))
SETTINGS = Promote()


@dataclass(frozen=True)
class World:
    """Customers with their shares of the traffic, and how their scores vary."""

    name: str
    customers: int
    largest: float
    n: int
    icc: float
    shared: float = 0.3

    def sizes(self) -> NDArray[np.int64]:
        tail = 1.0 / np.arange(1, self.customers) ** 0.7
        share = np.r_[self.largest, tail / tail.sum() * (1 - self.largest)]
        if self.largest * self.customers <= 1.0:
            share = np.full(self.customers, 1.0 / self.customers)
        return np.maximum(1, np.round(share * self.n)).astype(np.int64)


def rates(rng: np.random.Generator, rate: float, icc: float, customers: int) -> Floats:
    if icc == 0.0:
        return np.full(customers, rate)
    return rng.beta(rate * (1 - icc) / icc, (1 - rate) * (1 - icc) / icc, customers)


def draw(rng: np.random.Generator, world: World, effect: float) -> tuple[Any, dict[str, Floats]]:
    """Draw one comparison; returns the customer index and candidate - teacher by component and score."""
    sizes = world.sizes()
    index_N = np.repeat(np.arange(sizes.size), sizes)
    n, out = index_N.size, {"score": np.zeros(index_N.size)}
    for name, weight, rate in COMPONENTS:
        shift = effect / weight if name == "answer_ok" else 0.0
        teacher_N = rates(rng, rate, world.icc, sizes.size)[index_N]
        candidate_N = rates(rng, rate + shift, world.icc, sizes.size)[index_N]
        luck_N = rng.random(n)
        other_N = np.where(rng.random(n) < world.shared, luck_N, rng.random(n))
        out[name] = (other_N < candidate_N).astype(float) - (luck_N < teacher_N)
        out["score"] = out["score"] + weight * out[name]
    return index_N, out


def judge(index_N: Any, differences: dict[str, Floats]) -> tuple[str, bool]:
    names = [f"c{i}" for i in index_N]
    rows = {k: as_json(cluster_mean(v, names, bounds=(-1.0, 1.0))) for k, v in differences.items()}
    score = rows.pop("score")
    pair = {
        "pairs": score["n"],
        "excluded": 0,
        "unpaired": 0,
        "errors": {"candidate": 0, "teacher": 0},
        "score": score,
        "components": rows,
    }
    arm = {"misses": {"rate": 0.0}, "tools": {"lookup_tracking": 1.0}}
    report = {
        "arms": {"candidate": arm, "teacher": arm},
        "paired": {"candidate-teacher": pair},
        "limits": {"failure_budget": 0.05, "max_misses": 0.02, "max_miss_gap": 0.01},
    }
    verdict = decide(report, SETTINGS, candidate_id="simulated")
    return verdict.decision, score["low"] > -SETTINGS.margin


def measure(world: World, effect: float, repeats: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    outcomes = [judge(*draw(rng, world, effect)) for _ in range(repeats)]
    return {
        "promote": sum(d == "promote" for d, _ in outcomes) / repeats,
        "reject": sum(d == "reject" for d, _ in outcomes) / repeats,
        "score_passes": sum(passed for _, passed in outcomes) / repeats,
    }


def worlds() -> list[World]:
    third = [World("largest a third", 40, 1 / 3, n, icc) for n in (250, 500) for icc in (0, 0.05, 0.1, 0.3)]
    equal = [World("equal", 40, 0.0, 400, icc) for icc in (0, 0.1, 0.3)]
    alike = [World("largest a third", 40, 1 / 3, n, 0, shared=1.0) for n in (250, 500)]
    few = [World("few", 14, 0.25, 400, icc) for icc in (0, 0.1)]
    return third + equal + alike + few


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--null", type=int, default=2000, help="repeats at a true difference of -margin")
    parser.add_argument("--power", type=int, default=500, help="repeats at 0 and at +0.05")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gate.json"))
    options = parser.parse_args()
    began, rows = time.perf_counter(), []
    print("| customers | n | ICC | shared | false promote | score test alone | power at 0 | power at +0.05 |")
    print("|---|---|---|---|---|---|---|---|")
    for seed, world in enumerate(worlds()):
        null = measure(world, -SETTINGS.margin, options.null, seed)
        equal = measure(world, 0.0, options.power, 1000 + seed)
        better = measure(world, 0.05, options.power, 2000 + seed)
        rows.append({"world": asdict(world), "null": null, "equal": equal, "better": better})
        print(
            f"| {world.customers}, {world.name} | {world.n} | {world.icc} | {world.shared} "
            f"| {null['promote']:.3f} | {null['score_passes']:.3f} "
            f"| {equal['promote']:.2f} | {better['promote']:.2f} |",
            flush=True,
        )
    error = 1.96 * (SETTINGS.alpha * (1 - SETTINGS.alpha) / options.null) ** 0.5
    print(f"alpha {SETTINGS.alpha}, simulation error of the null columns +-{error:.4f}")
    document = {
        "alpha": SETTINGS.alpha,
        "margin": SETTINGS.margin,
        "component_margin": SETTINGS.component_margin,
        "repeats": {"null": options.null, "power": options.power},
        "simulation_error": error,
        "seconds": round(time.perf_counter() - began, 1),
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
