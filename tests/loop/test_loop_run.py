"""Which run `strop run` continues, and what the body does with the steps' answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from strop.errors import AnswerIsNo, ConfigError, OutsideServiceError, StropError
from strop.loop.body import loop
from strop.loop.engine.failure import from_json, retryable, to_json
from strop.loop.engine.protocol import Json, RunStatus
from strop.loop.run import begin


class FakeEngine:
    """Remembers what it was told."""

    def __init__(self, latest: RunStatus | None) -> None:
        self._latest, self.told = latest, list[str]()

    def latest(self) -> RunStatus | None:
        return self._latest

    def start(self, run_id: str, inputs: str, options: Json) -> None:
        self.told.append("start")

    def resume(self, run_id: str) -> None:
        self.told.append(f"resume {run_id}")

    def cancel(self, run_id: str) -> None:
        self.told.append(f"cancel {run_id}")

    def result(self, run_id: str) -> Json:
        raise AssertionError("not asked here")

    def close(self) -> None:
        pass


def status(state: Any, inputs: str = "same", retryable: bool = False) -> RunStatus:
    return RunStatus("old", state, inputs, 0, retryable=retryable)


@pytest.mark.parametrize(
    ("latest", "told"),
    [
        (None, ["start"]),
        (status("unfinished"), ["resume old"]),
        (status("unfinished", "other"), ["cancel old", "start"]),
        (status("failed", retryable=True), ["resume old"]),
        (status("failed", "other", retryable=True), ["start"]),
        (status("failed"), ["start"]),
        (status("done"), ["start"]),
        (status("cancelled"), ["start"]),
    ],
)
def test_the_newest_run_decides(latest: RunStatus | None, told: list[str]) -> None:
    engine = FakeEngine(latest)
    begin(engine, "same", {}, lambda text: None)
    assert engine.told == told


class FakeRun:
    """Answers each step from a table and remembers the calls."""

    run_id = "r"

    def __init__(self, decision: str, answer: Json | None = None) -> None:
        self.calls: list[str] = []
        self._decision, self._answer = decision, answer

    async def step(self, name: str, arg: Json | None = None) -> Json:
        self.calls.append(name)
        return {
            "curate": {"pulled": 3, "kept": 2, "dropped": {}},
            "grade": {"distribution": {}},
            "train": {"candidate_id": "c"},
            "compare": {"report": "report.json"},
            "judge": {"decision": self._decision},
        }.get(name, {})

    async def publish(self, key: str, value: Json) -> None:
        self.calls.append(key)

    async def wait(self, topic: str, timeout_s: float) -> Json | None:
        return self._answer


STEPS = ["pull", "curate", "grade", "audit", "train", "compare", "judge"]


def test_the_body_is_the_loop_in_order() -> None:
    run = FakeRun("promote")
    assert asyncio.run(loop(run, {}))["promoted"]
    assert run.calls == [*STEPS, "promote"]


@pytest.mark.parametrize("decision", ["reject", "inconclusive"])
def test_a_verdict_other_than_promote_waits_for_nobody_and_is_kept(decision: str) -> None:
    run = FakeRun(decision)
    assert not asyncio.run(loop(run, {"approval": True}))["promoted"]
    assert run.calls == [*STEPS, "promote"]


@pytest.mark.parametrize(
    ("answer", "promoted"), [({"approved": True}, True), ({"approved": False}, False), (None, False)]
)
def test_only_an_approval_promotes_where_one_is_asked_for(answer: Json | None, promoted: bool) -> None:
    run = FakeRun("promote", answer)
    assert asyncio.run(loop(run, {"approval": True}))["promoted"] is promoted
    assert run.calls == [*STEPS, "waiting", *(["promote"] if promoted else [])]


class Particular(AnswerIsNo):
    """A class that only its own module knows."""


@pytest.mark.parametrize("kind", [StropError, AnswerIsNo, ConfigError, OutsideServiceError])
def test_an_error_survives_as_json(kind: type[StropError]) -> None:
    error = kind("what", where="where", fix="fix")
    back = from_json(to_json(error))
    assert (type(back), str(back), back.exit_code) == (kind, str(error), kind.exit_code)


def test_a_particular_error_survives_as_its_nearest_known_class() -> None:
    back = from_json(to_json(Particular("no")))
    assert (type(back), retryable(back)) == (AnswerIsNo, False)
