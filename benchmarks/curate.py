"""Pull and curate traces of 20 KB that this file makes up: seconds and memory by stage.

    python benchmarks/curate.py [--traces 10000] [--scale 200000] [--scale-kb 20] [--out FILE]

Each stage is a process of its own, so that its peak resident memory is its own: `pull` reads a JSONL file,
redacts (structured fields and patterns) and stores, `curate` looks for
copies and near-duplicates, splits and stores. Memory of worker processes is reported beside their parent's.
Then both again with the model that finds names in sentences. --scale repeats the first for more traces and
writes memory over traces as a line: it should be flat.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

COPIES, NEAR, RETRIES = 0.01, 0.02, 0.02  # shares that are planted
LIMIT_S, LIMIT_MB = 60.0, 600.0

TOML = """
[[sources]]
name = "desk"
kind = "openai-chat"
path = "traces.jsonl"
customer_key = "customer"
[redact]
names = "{names}"
[curate]
min_rows = 100
"""
_SYLLABLES = ("ka", "lo", "mi", "ter", "sun", "ra", "vel", "to", "ne", "bri", "gan", "pos", "du", "fel", "wi")
_FIRST = ("Anna", "Ben", "Clara", "David", "Eva", "Felix", "Greta", "Ida", "Jonas", "Maria")
_LAST = ("Albrecht", "Bauer", "Engel", "Fischer", "Graf", "Jansen", "Keller", "Lorenz", "Meier", "Otto")
_TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up an order.",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
    },
}


def write_traces(path: Path, count: int, seed: int = 0, kb: float = 20) -> dict[str, int]:
    """Write chat logs of about `kb`; return what was planted: copies, near-duplicates, retries."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(_SYLLABLES, k=draw.randint(1, 4))) for _ in range(4000)]
    sentences = [" ".join(draw.choices(words, k=14)) for _ in range(10_000)]
    planted = {"copies": 0, "near": 0, "retries": 0}
    originals: list[dict[str, Any]] = []
    with path.open("w", encoding="utf-8") as out:
        for n in range(count):
            chance = draw.random()
            old = draw.choice(originals) if len(originals) > 50 else None
            if old is not None and chance < COPIES + NEAR + RETRIES:
                kind = "copies" if chance < COPIES else "near" if chance < COPIES + NEAR else "retries"
                planted[kind] += 1
                line = _again(old, kind, n)
            else:
                line = _line(draw, words, sentences, n, kb)
                if len(originals) < 2000:
                    originals.append(line)
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return planted


def _line(draw: random.Random, words: list[str], sentences: list[str], n: int, kb: float) -> dict[str, Any]:
    person = f"{draw.choice(_FIRST)} {draw.choice(_LAST)}"
    mail = f"{person.lower().replace(' ', '.')}@example.org"
    order = f"A{n:08d}"
    contact = {"order": order, "recipient": person, "email": mail}
    events = [
        {"at": f"2026-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}T{draw.randint(0, 23):02d}:00:00Z",
         "place": draw.choice(words).title(), "text": draw.choice(sentences)}
        for _ in range(round(kb * 4.6))
    ]  # fmt: skip
    question = " ".join(draw.choices(sentences, k=round(kb / 2)))
    return {
        "id": f"run-{n}",
        "workflow_id": f"ticket-{n}",
        "session_id": f"session-{n // 3}",
        "customer": f"shop-{int(draw.paretovariate(0.7)) % 400}",
        "started_at": 1_767_225_600 + n * 60,
        "messages": [
            {"role": "system", "content": "You answer questions about orders. " * round(kb * 3)},
            {"role": "user", "content": f"{person} here ({mail}), order {order}. {question}?"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function",
                 "function": {"name": "look_up", "arguments": json.dumps({"order": order})}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "name": "look_up",
             "content": json.dumps({"contact": contact, "events": events})},
            {"role": "assistant", "content": json.dumps({"status": draw.choice(words), "order": order})},
        ],
        "tools": [_TOOL],
    }  # fmt: skip


def _again(old: dict[str, Any], kind: str, n: int) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(json.dumps(old))
    line["id"] = f"run-{n}"
    line["started_at"] = 1_767_225_600 + n * 60
    if kind == "near":
        line["messages"][1]["content"] += " Thank you very much in advance."
    elif kind == "retries":
        line["messages"][-1]["content"] = json.dumps({"status": f"other {n}", "order": "?"})
    if kind != "copies":
        line["workflow_id"], line["session_id"] = f"ticket-{n}", f"session-again-{n}"
    return line


def stage(name: str, root: Path) -> None:
    """Run one stage in this process; print its figures and points of its memory as JSON."""
    from strop.config import load
    from strop.loop.curate import curate
    from strop.loop.pull import pull
    from strop.store import open_database

    config = load(root, environ={})
    db = open_database(config.store_url, config.project.name)
    line: list[tuple[int, float]] = []
    parts: dict[str, float] = defaultdict(float)
    begun = last = time.perf_counter()

    def tell(done: int, total: int, text: str) -> None:
        nonlocal last
        now = time.perf_counter()
        part = name if name == "pull" else text
        parts[part] += now - last
        last = now
        if not line or done - line[-1][0] >= 1000:
            line.append((done, _resident_mb()))

    def told_before(done: int, total: int, text: str) -> None:
        """Curation says what it begins, so the time until then belongs to what went before."""
        nonlocal current
        tell(done, total, current)
        current = text

    current = "traces read"
    if name == "pull":  # which counts bytes, and traces in its words
        result = pull(config, db, on_progress=lambda _, size, text: tell(int(text.split()[-2]), size, text))
    else:
        result = curate(config, db, on_progress=told_before)
    tell(0, 0, current)
    db.close()
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime,
        "peak_mb": own.ru_maxrss / 1024,
        "worker_peak_mb": workers.ru_maxrss / 1024,
        "parts": {k: round(v, 3) for k, v in parts.items()},
        "line": line,
        "result": {k: v for k, v in result.items() if k not in ("sources", "unseen_customers")},
    }))  # fmt: skip


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def measure(count: int, folder: Path, kb: float = 20, names: str = "off") -> dict[str, Any]:
    """Make traces, pull and curate them; return the figures by stage. names: `redact.names`."""
    root = folder / f"{count}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / "strop.toml").write_text(TOML.format(names=names))
    planted = write_traces(root / "traces.jsonl", count, kb=kb)
    size = (root / "traces.jsonl").stat().st_size
    stages: dict[str, Any] = {}
    for name in ("pull", "curate"):
        argv = [sys.executable, __file__, "--stage", name, "--folder", str(root)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        stages[name] = one = json.loads(done.stdout)
        one["mb_per_100k_traces"] = growth(one["line"])
        one["line"] = one["line"][:: max(1, len(one["line"]) // 50)]
        print(
            f"{count} traces, names {names}, {name}: {one['seconds']:.1f} s, {one['peak_mb']:.0f} MB and"
            f" {one['worker_peak_mb']:.0f} MB a worker"
        )
    shutil.rmtree(root)
    workers = min(len(os.sched_getaffinity(0)), 8)
    return {
        "traces": count,
        "kb_each": size / count / 1000,
        "planted": planted,
        "seconds": sum(s["seconds"] for s in stages.values()),
        "peak_mb": max(s["peak_mb"] + workers * s["worker_peak_mb"] for s in stages.values()),
        "stages": stages,
    }


def growth(line: list[tuple[int, float]]) -> float:
    """Return how many MB memory grows over 100,000 traces, by least squares over the later half."""
    points = [p for p in line if p[0] >= max(done for done, _ in line) / 2]
    n = len(points)
    if n < 2:
        return 0.0
    x, y = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    return 1e5 * sum((a - x) * (b - y) for a, b in points) / max(1e-9, sum((a - x) ** 2 for a, _ in points))


def main() -> None:
    """Measure and write the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--scale", type=int, default=0)
    parser.add_argument("--scale-kb", type=float, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stage", choices=("pull", "curate"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        stage(given.stage, given.folder)
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="strop-curate."))
    report: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "limits": {"seconds": LIMIT_S, "mb": LIMIT_MB},
        "measured": measure(given.traces, folder),
        "with_names": measure(given.traces, folder, names="builtin"),
    }
    report["within_limits"] = (
        report["measured"]["seconds"] <= LIMIT_S and report["measured"]["peak_mb"] <= LIMIT_MB
    )
    if given.scale:
        report["scaled"] = measure(given.scale, folder, given.scale_kb)
    for name in ("measured", "with_names", "scaled"):
        if name in report:
            print(f"{name}: {report[name]['seconds']:.1f} s, {report[name]['peak_mb']:.0f} MB in all")
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
