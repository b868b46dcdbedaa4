"""`strop run`: continue what is unfinished under the same inputs, else begin anew.

The newest run decides:
- unfinished, same inputs: continued;
- failed by a crash or a silent service, same inputs: continued at the step that failed;
- unfinished, other inputs (strop.toml, a flag or the grader changed): set aside, a new run begins;
- done, set aside, or failed with an answer (no, wrong configuration): a new run begins. What its early
  steps find unchanged is cached, so that this is cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from strop.config import Config
from strop.loop.body import loop
from strop.loop.engine.protocol import Engine, Json, Loop, Watcher
from strop.loop.jobs import stop_all
from strop.loop.steps import inputs_digest, steps

if TYPE_CHECKING:
    from strop.store import Database


def run(
    config: Config,
    db: Database,
    options: Json,
    *,
    watch: Watcher = lambda step, news: None,
    say: Callable[[str], None] = lambda text: None,
) -> Json:
    """Run the loop to its end and return its result. Raises the StropError of the step that failed.

    A KeyboardInterrupt ends the training child and leaves the run to be continued.
    """
    from strop.loop.engine.dbos_engine import open_engine

    engine = open_engine(config.state, Loop(loop, steps(config, db), watch))
    try:
        run_id = begin(engine, inputs_digest(config), {**options, "approval": config.promote.approval}, say)
        try:
            return engine.result(run_id)
        except KeyboardInterrupt:
            stop_all(config.state / "runs" / run_id)
            raise
    finally:
        engine.close()


def begin(engine: Engine, inputs: str, options: Json, say: Callable[[str], None]) -> str:
    """Continue or start a run as the rules above say, and return its id."""
    latest = engine.latest()
    if latest is not None:
        same = latest.inputs == inputs
        if same and (latest.state == "unfinished" or latest.retryable):
            done = ", ".join(s.name for s in latest.steps if s.error is None) or "nothing"
            say(f"continuing run {latest.run_id} (done: {done})")
            engine.resume(latest.run_id)
            return latest.run_id
        if latest.state == "unfinished":
            say(f"run {latest.run_id} is set aside: strop.toml, a flag or the grader changed since it began")
            engine.cancel(latest.run_id)
    run_id = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    say(f"run {run_id}")
    engine.start(run_id, inputs, options)
    return run_id
