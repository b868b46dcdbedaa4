"""GRPO: advantages, and that reward teaches what imitation did not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taught import taught

from strop.config import Train
from strop.environments import Limits, ReplayTable, task_of
from strop.environments.replay import recorded_results
from strop.models.llama import load_llama, save_llama
from strop.records import Grade, Rollout, Task
from strop.train.grpo import Grpo, advantages, rewards
from strop.train.optimizer import MasterAdamW

LIMITS = Limits(3, 64, 320, 64)
graded = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.6, 1.0]), st.floats(0, 1))


@given(st.lists(st.lists(graded, min_size=4, max_size=4), min_size=1, max_size=5))
def test_advantages(groups: list[list[float | None]]) -> None:
    grades = [Grade(error="timeout") if s is None else Grade(score=s) for group in groups for s in group]
    found = advantages(rewards(grades, 4))
    assert not np.isnan(found).any()
    for group, row in zip(groups, found, strict=True):
        scores = [s for s in group if s is not None]
        assert sum(row) == pytest.approx(0, abs=1e-9)
        assert all(a == 0 for s, a in zip(group, row, strict=True) if s is None)
        if not scores or max(scores) - min(scores) < 1e-6:
            assert not row.any()
        else:
            mean = sum(scores) / len(scores)
            expected = [0.0 if s is None else s - mean for s in group]
            assert row.tolist() == pytest.approx(expected)


def lower_case(pairs: Sequence[tuple[Task, Rollout]]) -> list[Grade]:
    """Reward the share of lower-case letters in what a policy says."""
    said = [rollout.messages[0].content or "" for _, rollout in pairs]
    return [Grade(score=sum("a" <= c <= "z" for c in text) / max(1, len(text))) for text in said]


def trainer(folder: Path, limits: Limits = LIMITS, steps: int = 45, **settings: Any) -> Grpo:
    """A policy with two tasks, after some steps of imitation."""
    start = taught(folder / "tiny", count=2, steps=steps, lr=0.01)
    save_llama(start.model, folder / "warm", start.folder)
    warm = load_llama(folder / "warm", start.model.dtype)
    model = load_llama(folder / "warm", start.model.dtype)
    tasks = [task for task in map(task_of, start.episodes) if task is not None]
    return Grpo(
        model=model, warm=warm, base=warm, renderer=start.renderer, optimizer=MasterAdamW(model, beta2=0.99),
        table=ReplayTable(recorded_results(start.episodes, {"train"})), reward=lower_case, limits=limits,
        settings=Train.model_validate(
            {"grpo_prompts": 2, "grpo_group": 8, "grpo_lr": 1e-2, "kl_coef": 0.0, **settings}
        ),
        tasks=tasks, hard=tasks[1:],
    )  # fmt: skip


def test_reward_teaches(tmp_path: Path) -> None:
    grpo = trainer(tmp_path, Limits(1, 12, 200, 64), steps=0)
    reports = [grpo.step(step)[0] for step in range(25)]
    first, last = (float(np.mean([r["reward"] for r in part])) for part in (reports[:3], reports[-3:]))
    assert first < 0.3
    assert last > first + 0.3
    assert reports[0]["sampling_mismatch"] < 1e-3  # sampling and training read one model alike
    assert reports[0]["kl_warm"] == pytest.approx(0, abs=1e-6)
    assert reports[-1]["kl_warm"] > 0


def test_a_step_is_the_same_twice(tmp_path: Path) -> None:
    one, other = trainer(tmp_path / "a"), trainer(tmp_path / "b")
    (first, log), (second, other_log) = one.step(5), other.step(5)
    assert {k: v for k, v in first.items() if not k.startswith("seconds")} == {
        k: v for k, v in second.items() if not k.startswith("seconds")
    }
    assert [r.messages for r, _ in log] == [r.messages for r, _ in other_log]


def test_without_a_difference_there_is_nothing_to_learn(tmp_path: Path) -> None:
    grpo = trainer(tmp_path)
    before = {name: p.clone() for name, p in grpo.model.named_parameters()}
    grpo.reward = lambda pairs: [Grade(score=1.0)] * len(pairs)
    report, _ = grpo.step(0)
    assert (report["zero_advantage_groups"], report["trained_rollouts"], report["loss"]) == (1.0, 0, 0.0)
    grpo.reward = lambda pairs: [Grade(error="timeout")] * len(pairs)
    report, _ = grpo.step(1)
    assert (report["reward"], report["errors"], report["trained_rollouts"]) == (None, 16, 0)
    assert all((p == before[name]).all() for name, p in grpo.model.named_parameters())


def test_hard_tasks_have_their_share(tmp_path: Path) -> None:
    grpo = trainer(tmp_path, grpo_prompts=1, grpo_hard_share=1.0, grpo_group=2)
    _, log = grpo.step(0)
    assert {r.task_id for r, _ in log} == {grpo.hard[0].task_id}
