"""A job for tests: counts to 10 with a checkpoint, one progress line a step. Its parent is below."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from strop.loop.jobs import run_job
from strop.store.files import write_atomically


def child() -> None:
    folder = Path(os.environ["STROP_JOB_DIR"])
    with (folder / "starts").open("a") as out:
        out.write(f"{os.getpid()}\n")
    if (folder / "fail").exists():
        sys.exit("no good")
    checkpoint = folder / "checkpoint"
    step = int(checkpoint.read_text()) if checkpoint.exists() else 0
    while step < 10:
        time.sleep(float(os.environ.get("PACE", "0.01")))
        step += 1
        with (folder / "progress.jsonl").open("a") as out:
            out.write(json.dumps({"step": step}) + "\n")
        write_atomically(checkpoint, step)
    write_atomically(folder / "result.json", {"steps": step})


def parent(folder: str) -> None:
    print(json.dumps(run_job(Path(folder), [sys.executable, __file__, "child"])))


if __name__ == "__main__":
    child() if sys.argv[1] == "child" else parent(sys.argv[2])
