"""A tiny loop in its own process, for tests that kill it: engine_child.py STATE RUN_ID [OPTIONS]."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from strop.errors import AnswerIsNo, OutsideServiceError, StropError
from strop.loop.engine.dbos_engine import open_engine
from strop.loop.engine.protocol import Json, Loop, Run, StepContext

STATE = Path(sys.argv[1])


def note(line: str) -> None:
    with (STATE / "calls.txt").open("a") as out:
        out.write(line + "\n")
        out.flush()
        os.fsync(out.fileno())


def count(arg: Json, context: StepContext) -> Json:
    """Note the call, then die, fail or return, as files in the state folder say."""
    name = str(arg["name"])
    note(f"begin {name}")
    for kind in ("kill", "slow"):
        flag = STATE / f"{kind}-{name}"
        if flag.exists():
            flag.unlink()
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
    for kind in (AnswerIsNo, OutsideServiceError, ValueError):
        flag = STATE / f"{kind.__name__}-{name}"
        if flag.exists():
            raise (
                kind(f"{name} says no")
                if kind is ValueError
                else kind(f"{name} says no", where="here", fix="now")
            )
    context.progress({"name": name})
    note(f"end {name}")
    return {"sum": int(arg["sum"]) + 1, "pair": [1, 2]}


async def body(run: Run, options: Json) -> Json:
    total = 0
    for name in ("a", "b", "c"):
        total = int((await run.step("count", {"name": name, "sum": total}))["sum"])
        if (STATE / f"kill-after-{name}").exists():
            (STATE / f"kill-after-{name}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    if options.get("approval"):
        await run.publish("waiting", {"for": "approval"})
        answer = await run.wait("approval", timeout_s=3600)
        return {"sum": total, "approved": answer}
    return {"sum": total}


def main() -> int:
    run_id, options = sys.argv[2], json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    try:
        engine = open_engine(STATE, Loop(body, {"count": count}))
    except StropError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    try:
        latest = engine.latest()
        if latest is None or latest.state in ("done", "cancelled"):
            engine.start(run_id, "inputs", options)
        else:
            run_id = latest.run_id
            engine.resume(run_id)
        print(json.dumps(engine.result(run_id)))
        return 0
    except StropError as error:
        print(type(error).__name__, error, file=sys.stderr)
        return error.exit_code
    finally:
        engine.close()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
