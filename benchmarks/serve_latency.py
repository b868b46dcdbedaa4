"""How long one chat completion of the agent takes: p50 and p95 over HTTP, warm, one at a time.

    python benchmarks/serve_latency.py PROJECT [--candidate ID] [--turns 120] [--out FILE]

PROJECT is a folder with strop.toml after `strop demo` or `strop run`. The turns are those of the
recorded runs, in their order, so that a later turn of a run finds its beginning as it would in service;
placeholders are filled with surrogates. The server is the real one, without capture, on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from strop.config import load
from strop.curate.surrogates import fill
from strop.serve.open import open_app
from strop.serve.run import running
from strop.store import open_database
from strop.store.traces import iter_traces

WARM_UP = 6


def turns(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the requests of recorded runs: what the agent had said and heard before each of its turns."""
    db = open_database(config.store_url, config.project.name)
    for trace_hash, trace in iter_traces(db):
        for episode in trace.episodes:
            messages = fill(episode.messages, trace_hash)
            for i, message in enumerate(messages):
                if message.role == "assistant" and i:
                    yield {
                        "messages": [m.to_openai() for m in messages[:i]],
                        "tools": [t.to_openai() for t in episode.tools],
                    }


def measure(config: Any, candidate: str | None, count: int) -> dict[str, Any]:
    """Serve the project's model and time `count` calls."""
    db = open_database(config.store_url, config.project.name)
    app = open_app(config, db, candidate_id=candidate, no_key=True, environ={})
    calls: list[dict[str, Any]] = []
    with running(app) as url, httpx2.Client(base_url=url, timeout=120, trust_env=False) as client:
        model = client.get("/models").json()["data"]
        if not model:
            sys.exit("nothing is promoted yet: name a --candidate")
        for i, request in enumerate(turns(config)):
            if i == WARM_UP + count:
                break
            started = time.perf_counter()
            response = client.post(
                "/chat/completions", json={"model": model[0]["id"], "temperature": 0, **request}
            )
            seconds = time.perf_counter() - started
            response.raise_for_status()
            if i >= WARM_UP:
                calls.append({"ms": seconds * 1000, **response.json()["usage"]})
    if len(calls) < count:
        sys.exit(f"the project has {len(calls)} turns beside the warm-up; {count} were asked for")
    return {"model": model[0]["id"], **summary(calls)}


def summary(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return percentiles of milliseconds and token counts."""

    def spread(key: str) -> dict[str, float]:
        cuts = statistics.quantiles([c[key] for c in calls], n=20, method="inclusive")
        return {
            "p50": round(cuts[9], 1),
            "p95": round(cuts[18], 1),
            "max": round(max(c[key] for c in calls), 1),
        }

    milliseconds = spread("ms")
    return {
        "n": len(calls),
        "p50_ms": milliseconds["p50"],
        "p95_ms": milliseconds["p95"],
        "max_ms": milliseconds["max"],
        "prompt_tokens": spread("prompt_tokens"),
        "completion_tokens": spread("completion_tokens"),
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine()},
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--candidate")
    parser.add_argument("--turns", type=int, default=120)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    config = load(given.project, overrides={"serve.capture": False, "serve.host": "127.0.0.1"})
    report = json.dumps(measure(config, given.candidate, given.turns), indent=2)
    print(report)
    if given.out:
        given.out.write_text(report + "\n")


if __name__ == "__main__":
    main()
