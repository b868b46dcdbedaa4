"""Grades per second of the example grader in the sandbox, after warm-up.

python benchmarks/grade_speed.py [results.json]
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox

GRADER = Path(__file__).parents[1] / "examples" / "logistics" / "grader.py"
ITEMS, ROUNDS = 2000, 5
ROLLOUT = {
    "final_status": "delivered",
    "tool_calls": [{"name": "lookup_tracking", "arguments": {}}, {"name": "lookup_eta", "arguments": {}}],
    "llm_judge": {"tone_pass": True},
    "messages": [{"role": "user", "content": "Where is my parcel? " * 20}] * 8,
}


def measure(workers: int) -> dict[str, float]:
    items = [(ROLLOUT, {"status": "delivered"})] * ITEMS
    started = time.perf_counter()
    with Sandbox(load_grader(GRADER), Limits(workers=workers)) as sandbox:
        start_s = time.perf_counter() - started
        sandbox.run(items[:100])
        rates: list[float] = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            grades = sandbox.run(items)
            rates.append(ITEMS / (time.perf_counter() - began))
            assert all(grade.score == 1.0 for grade in grades)
    median = statistics.median(rates)
    return {"workers": workers, "start_s": start_s, "median": median, "min": min(rates), "max": max(rates)}


def main() -> None:
    rows = [measure(workers) for workers in (1, 2)]
    print(f"{'workers':>8}{'start s':>10}{'grades/s':>10}{'min':>10}{'max':>10}   n = {ROUNDS} x {ITEMS}")
    for row in rows:
        print(
            f"{row['workers']:>8.0f}{row['start_s']:>10.2f}"
            f"{row['median']:>10.0f}{row['min']:>10.0f}{row['max']:>10.0f}"
        )
    if len(sys.argv) > 1:
        report = {"benchmark": "grade_speed", "cores": os.cpu_count(), "items": ITEMS, "rounds": ROUNDS}
        Path(sys.argv[1]).write_text(json.dumps({**report, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
