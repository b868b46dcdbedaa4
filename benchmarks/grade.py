"""The sandbox's price: 10,000 graded rollouts, start-up, memory over a million, other libraries beside it.

python benchmarks/grade.py [--libraries .venv-bench/bin/python] [--out benchmarks/results/grade.json]

A graded rollout begins as a record and ends as a grade: the grader's view of it, the way into a confined
worker, the example's grader, the way back. The libraries get what the grader gets, as plain dictionaries,
and call the same function in their own process, without isolation (benchmarks/grade_libraries.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from strop.grade.extract import view_of_rollout
from strop.grade.load import load_grader
from strop.grade.sandbox import Limits, Sandbox
from strop.records import Grade, Message, Rollout, Task, Tool, ToolCall, Usage

GRADER = Path(__file__).parents[1] / "examples" / "logistics" / "grader.py"
FIELDS = ("final_status", "eta", "message")
STATUSES = ("delivered", "delayed", "in_transit", "lost")
TOOLS = tuple(
    Tool(
        name,
        f"Look up {what} of a shipment.",
        {"type": "object", "properties": {"tracking": {"type": "string"}}},
    )
    for name, what in (("lookup_tracking", "the events"), ("lookup_eta", "the arrival"))
)
WORKERS = 2
CHUNK = 10_000

Json = dict[str, Any]
Pair = tuple[Task, Rollout]


def attempt(number: int, choose: random.Random) -> Pair:
    """Return one task and an attempt at it, right or wrong, about 2.5 kB as JSON."""
    tracking = f"{choose.randrange(10**12):020d}"
    called = choose.choice((("lookup_tracking", "lookup_eta"), ("lookup_tracking",), ()))
    calls = tuple(
        ToolCall(f"call_{n}", name, json.dumps({"tracking": tracking})) for n, name in enumerate(called)
    )
    events = [{"at": f"2024-05-{day:02d}", "place": "Hamburg", "event": "scanned"} for day in range(10, 16)]
    results = tuple(Message("tool", json.dumps({"events": events}), tool_call_id=c.id) for c in calls)
    message = f"Your shipment {tracking} is on its way; we are sorry for the wait."
    final = json.dumps({"final_status": choose.choice(STATUSES), "eta": "2024-05-20", "message": message})
    turns = (Message("assistant", None, calls), *results) if calls else ()
    task = Task(
        task_id=f"task-{number}",
        messages=(Message("system", "You answer customers. " * 20), Message("user", f"Where is {tracking}?")),
        tools=TOOLS,
        customer="acme",
        group=f"g{number}",
        split="train",
        at=number,
        ground_truth={"status": choose.choice(STATUSES)},
    )
    rollout = Rollout(
        task_id=task.task_id,
        policy="benchmark",
        messages=(*turns, Message("assistant", final)),
        final=final,
        usage=Usage(300, 50),
    )
    return task, rollout


def attempts(count: int) -> list[Pair]:
    choose = random.Random(20240520)
    return [attempt(number, choose) for number in range(count)]


def arguments(pairs: Sequence[Pair]) -> list[tuple[Json, Json]]:
    """Return what the grader is called with; the judge's verdicts are fixed, as it costs what it costs."""
    found: list[tuple[Json, Json]] = []
    for number, (task, rollout) in enumerate(pairs):
        truth = task.ground_truth or {}
        view = view_of_rollout(task, rollout, FIELDS)
        found.append(view.arguments("rollout", truth, {"tone_pass": number % 3 > 0}))
    return found


def graded(sandbox: Sandbox, items: Sequence[tuple[Json, Json]]) -> list[float]:
    return [_score(grade) for grade in sandbox.run(items)]


def _score(grade: Grade) -> float:
    assert grade.score is not None, grade.error
    return grade.score


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def opened() -> Sandbox:
    return Sandbox(load_grader(GRADER), Limits(workers=WORKERS)).__enter__()


def startup(rounds: int) -> list[float]:
    """Return the seconds until both workers are ready, grader loaded."""
    found: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        sandbox = opened()
        found.append(time.perf_counter() - began)
        sandbox.close()
    return found


def speed(sandbox: Sandbox, pairs: Sequence[Pair], rounds: int) -> Json:
    """Time rollouts from record to grade, warm; each round grades all of them."""
    graded(sandbox, arguments(pairs[:500]))
    all_s = [seconds(lambda: graded(sandbox, arguments(pairs))) for _ in range(rounds)]
    items = arguments(pairs)
    run_s = [seconds(lambda: graded(sandbox, items)) for _ in range(rounds)]
    here = load_function()
    return {
        "median": statistics.median(all_s),
        "min": min(all_s),
        "max": max(all_s),
        "sandbox_alone": statistics.median(run_s),
        "function_alone": seconds(lambda: [here(*item) for item in items]),
    }


def load_function() -> Callable[[Json, Json], float]:
    names: Json = {}
    exec(GRADER.read_text(), names)
    return names["grade"]


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(sandbox: Sandbox, pairs: Sequence[Pair], total: int) -> Json:
    """Grade `total` rollouts and look at the memory of parent and workers on the way."""
    items = arguments(pairs)
    graded(sandbox, items)
    workers = sandbox.workers
    points: list[Json] = []

    def look(done: int) -> None:
        points.append(
            {"graded": done, "parent_mb": rss_mb(os.getpid()), "worker_mb": [rss_mb(p) for p in workers]}
        )

    look(0)
    began = time.perf_counter()
    for done in range(len(items), total + 1, len(items)):
        graded(sandbox, items)
        look(done)
    assert sandbox.workers == workers, "a worker was replaced"
    start, end = points[0], points[-1]
    return {
        "graded": end["graded"],
        "seconds": time.perf_counter() - began,
        "start": start,
        "middle": points[len(points) // 2],
        "end": end,
        "most_parent_mb": max(p["parent_mb"] for p in points),
        "most_worker_mb": max(max(p["worker_mb"]) for p in points),
        "growth_mb": max(
            end["parent_mb"] - start["parent_mb"],
            *(b - a for a, b in zip(start["worker_mb"], end["worker_mb"], strict=True)),
        ),
    }


def cpu_seconds(workers: Sequence[int]) -> float:
    """Return the CPU time of this process and of the workers, threads and system included."""
    ticks = 0
    for pid in workers:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def compare(sandbox: Sandbox, pairs: Sequence[Pair], python: Path, full: int) -> Json:
    """Grade the same rollouts with strop and with each library, in turn.

    Ratios are their seconds over strop's, by rollout: of the clock, which other work on the machine
    distorts, and of the CPU, which it doesn't.
    """
    items = arguments(pairs)
    expected = sum(graded(sandbox, items))
    rows: list[Json] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "items.json").write_text(json.dumps(items))
        for library in ("mlflow", "eval-protocol", "openevals"):
            used = cpu_seconds(sandbox.workers)
            before = seconds(lambda: graded(sandbox, items))
            used = cpu_seconds(sandbox.workers) - used
            # mlflow writes a trace a rollout and takes minutes for thousands: fewer, and by the rollout.
            row = run_library(library, python, home, full if library == "mlflow" else len(items))
            after = seconds(lambda: graded(sandbox, items))
            for way in ("full", "bare"):
                share = row[way]["rollouts"] / len(items)
                assert share < 1 or abs(row[way]["sum"] - expected) < 1e-6, f"{library} graded otherwise"
                row[way]["ratio"] = row[way]["seconds"] / share / ((before + after) / 2)
                row[way]["ratio_cpu"] = row[way]["cpu_seconds"] / share / used
            rows.append({**row, "strop_seconds": [before, after], "strop_cpu_seconds": used})
    return {"rollouts": len(items), "rows": rows}


def run_library(library: str, python: Path, home: Path, full: int) -> Json:
    script = Path(__file__).with_name("grade_libraries.py")
    command = [str(python), str(script), library, str(GRADER), str(home / "items.json"), str(full)]
    nowhere = "http://127.0.0.1:9"  # telemetry is off; what tries all the same, fails
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "PYTHONHASHSEED": "0",
        "http_proxy": nowhere, "https_proxy": nowhere, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere,
    }  # fmt: skip
    done = subprocess.run(command, env=environment, cwd=home, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{library} failed under {python}; make bench-grade installs what it needs")
    return json.loads(done.stdout.splitlines()[-1])


def report(results: Json) -> str:
    lines = [
        f"10,000 graded rollouts  {results['seconds_10k']:.2f} s [{results['min']:.2f}, {results['max']:.2f}]"
        f"   n = {results['rounds']} rounds of {results['rollouts']}, {WORKERS} workers, isolation on",
        f"start-up of the pool    {results['startup_s']:.2f} s",
    ]
    if "memory" in results:
        m = results["memory"]
        lines += [f"{'graded':>10}{'parent MB':>12}{'worker MB':>22}"]
        for point in (m["start"], m["middle"], m["end"]):
            workers = ", ".join(f"{mb:.1f}" for mb in point["worker_mb"])
            lines.append(f"{point['graded']:>10}{point['parent_mb']:>12.1f}{workers:>22}")
    if "libraries" in results:
        one_way = f"{'n':>9}{'s':>8}{'ratio':>8}{'of CPU':>8}"
        lines += [f"{'':<22}{'full evaluation':>33}{'barest call':>33}", f"{'library':<22}{one_way}{one_way}"]
        for row in results["libraries"]["rows"]:
            cells = "".join(
                f"{way['rollouts']:>9}{way['seconds']:>8.2f}{way['ratio']:>8.2f}{way['ratio_cpu']:>8.2f}"
                for way in (row["full"], row["bare"])
            )
            lines.append(f"{row['library'] + ' ' + row['version']:<22}{cells}")
    return "\n".join(lines)


def main(arguments_: Sequence[str] | None = None) -> Json:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--libraries", type=Path, help="a Python that has mlflow, eval-protocol and openevals"
    )
    parser.add_argument("--rollouts", type=int, default=CHUNK)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, default=1_000_000, help="rollouts; 0 for none")
    parser.add_argument("--compared", type=int, default=20_000)
    parser.add_argument("--full", type=int, default=2_000, help="rollouts of mlflow's full evaluation")
    given = parser.parse_args(arguments_)
    pairs = attempts(max(given.rollouts, given.compared if given.libraries else 0))
    results: Json = {
        "benchmark": "grade",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "startup_s": statistics.median(startup(given.rounds)),
        "rollouts": given.rollouts,
        "rounds": given.rounds,
    }
    sandbox = opened()
    try:
        results["isolation"] = sandbox.layers
        found = speed(sandbox, pairs[: given.rollouts], given.rounds)
        results |= {"seconds_10k": found.pop("median") * CHUNK / given.rollouts, **found}
        if given.libraries:
            results["libraries"] = found = compare(
                sandbox, pairs[: given.compared], given.libraries, given.full
            )
            results["ratio"] = {row["library"]: row["full"]["ratio"] for row in found["rows"]}
            results["ratio_cpu"] = {row["library"]: row["full"]["ratio_cpu"] for row in found["rows"]}
            results["ratio_bare"] = {row["library"]: row["bare"]["ratio"] for row in found["rows"]}
            results["ratio_bare_cpu"] = {row["library"]: row["bare"]["ratio_cpu"] for row in found["rows"]}
        if given.memory:
            results["memory"] = memory(sandbox, pairs[: given.rollouts], given.memory)
    finally:
        sandbox.close()
    print(report(results))
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
