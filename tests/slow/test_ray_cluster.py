"""Chunks on a real Ray cluster of two nodes: redacted, hashed and signed as they are in this process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import strop

pytestmark = pytest.mark.slow

SCRIPT = """
import hashlib, json, sys
from functools import partial
import msgspec
import numpy
import ray
from ray.cluster_utils import Cluster
from strop.config import Redact
from strop.loop.clean import clean
from strop.loop.parallel import HERE, Processes, Ray, map_chunks
from strop.loop.sketch import Wanted, in_chunks, sketch
from strop.records import Episode, Message, Skipped, ToolCall, Trace, trace_hash

numpy.set_printoptions(threshold=sys.maxsize)

def trace(n):
    look = ToolCall("c", "look", json.dumps({"order": f"A{n}", "recipient": f"Anna Meier{n % 5}"}))
    said = (Message("user", f"I am Anna Meier{n % 5}, anna{n}@example.org, where is order A{n}? " * 3),
            Message("assistant", None, (look,)), Message("tool", "{}", tool_call_id="c"),
            Message("assistant", "there"))
    return Trace(source="s", source_id=str(n), episodes=(Episode(said),), customer=f"c{n % 7}",
                 started_at=n, ended_at=n + 1)

def digest(results):
    whole = hashlib.sha256()
    for result in results:
        whole.update(repr(result).encode())
    return whole.hexdigest()

def both(engine, settings):
    items = [(str(n), trace(n) if n % 50 else Skipped("pull", f"line {n}", "no chat")) for n in range(400)]
    chunks = [items[at:at + 37] for at in range(0, len(items), 37)]
    cleaned = list(map_chunks(partial(clean, settings, b"k" * 16), chunks, engine))
    bodies = [(trace_hash(t), msgspec.json.encode(t)) for c in cleaned for t in c.traces]
    signed = list(map_chunks(partial(sketch, Wanted(None, None, True)), in_chunks(bodies), engine))
    return [digest(cleaned), digest(signed), len(bodies), sum(len(c.skipped) for c in cleaned)]

fields = {"names": "off"} if "names" in Redact.model_fields else {}
settings = Redact(**fields)
here = both(HERE, settings)
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
nodes = set()
try:
    there = both(Ray(cluster.address), settings)
    again = ray.is_initialized()
    try:
        list(map_chunks(partial(int, base=10), ["1", "x"], Ray(cluster.address)))
        error = ""
    except ValueError as raised:
        error = str(raised)
    ray.init(address=cluster.address, log_to_driver=False)
    alive = sum(node["Alive"] for node in ray.nodes())
    ray.shutdown()
finally:
    cluster.shutdown()
print(json.dumps({"here": here, "there": there, "left open": again, "error": error, "nodes": alive}))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    python = os.environ.get("STROP_RAY")
    if not python:
        pytest.skip("STROP_RAY names no python with ray: make test-slow")
    folder = tmp_path_factory.mktemp("ray")
    script = folder / "cluster.py"
    script.write_text(SCRIPT)
    source = str(Path(strop.__file__).resolve().parents[1])
    env = {**os.environ, "PYTHONPATH": source, "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    argv = [python, str(script)]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_two_nodes_give_what_one_process_gives(report: dict[str, object]) -> None:
    assert report["nodes"] == 2
    assert report["there"] == report["here"]
    assert report["here"][2:] == [392, 8]  # type: ignore[index]


def test_the_functions_own_error_arrives_and_the_cluster_is_left(report: dict[str, object]) -> None:
    assert "invalid literal for int()" in str(report["error"])
    assert report["left open"] is False
