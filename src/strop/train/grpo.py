"""GRPO against replayed tools (Shao et al. 2024, 2402.03300, section 4.1), one update a batch.

A step: pick tasks, sample a group of rollouts for each, grade them, take each group's mean as the
baseline, drop the groups in which all rewards are equal, update. Shape suffixes: P prompts, G group.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from strop.config import Train
from strop.environments import Limits, ReplayTable, Trajectory, roll_out
from strop.records import Grade, Rollout, Task, tool_calls_of
from strop.train.data import Batch, Row, collate, microbatches
from strop.train.losses import k3, policy_gradient, score
from strop.train.optimizer import MasterAdamW
from strop.train.order import mixed
from strop.train.sft import MICRO_TOKENS

if TYPE_CHECKING:
    from strop.models.llama import Llama
    from strop.models.render import Renderer

Reward = Callable[[Sequence[tuple[Task, Rollout]]], list[Grade]]


@dataclass
class Grpo:
    """What a GRPO step needs: the policy, its frozen warm start, the frozen base, world and grader.

    hard: tasks that the warm start fails, or whose recorded episode was graded badly. weights: by task
    id, how likely a task is drawn, relative to the others.
    """

    model: Llama
    warm: Llama
    base: Llama
    renderer: Renderer
    optimizer: MasterAdamW
    table: ReplayTable
    reward: Reward
    limits: Limits
    settings: Train
    tasks: Sequence[Task]
    hard: Sequence[Task]
    weights: Mapping[str, float] | None = None

    def step(self, step: int) -> tuple[dict[str, Any], list[tuple[Rollout, Grade]]]:
        """Take one step; return its telemetry and the graded rollouts."""
        s = self.settings
        started = time.perf_counter()
        tasks = mixed(
            self.hard, self.tasks, s.grpo_prompts, s.grpo_hard_share, f"{s.seed}/tasks/{step}", self.weights
        )
        seed = f"{s.seed}/grpo/{step}"
        trajectories = list(
            roll_out(
                self.model, self.renderer, tasks, self.table, self.limits,
                group=s.grpo_group, temperature=s.temperature, seed=seed,
            )
        )  # fmt: skip
        sampled_at = time.perf_counter()
        rollouts = [t.rollout("policy") for t in trajectories]
        grades = self.reward([(t.task, r) for t, r in zip(trajectories, rollouts, strict=True)])
        graded_at = time.perf_counter()
        rewards_P_G = rewards(grades, s.grpo_group)
        advantages_P_G = advantages(rewards_P_G)
        groups = [
            _rows(trajectories[i * s.grpo_group : (i + 1) * s.grpo_group], advantages_G)
            for i, advantages_G in enumerate(advantages_P_G)
        ]
        update = self._update(groups, trajectories)
        report = {
            **summarise(trajectories, rollouts, grades),
            **update,
            "zero_advantage_groups": float(np.mean(np.all(advantages_P_G == 0, axis=1))),
            "trained_rollouts": sum(len(rows) for rows in groups),
            "tokens": sum(len(t.ids) for t in trajectories),
            "sampled_tokens": sum(sum(t.sampled) for t in trajectories),
            "seconds_sample": sampled_at - started,
            "seconds_grade": graded_at - sampled_at,
            "seconds_train": time.perf_counter() - graded_at,
            "seconds": time.perf_counter() - started,
        }
        return report, list(zip(rollouts, grades, strict=True))

    def _update(self, groups: Sequence[list[Row]], trajectories: Sequence[Trajectory]) -> dict[str, Any]:
        # One group a piece: what its rollouts have in common is computed once.
        pieces = [collate(piece) for rows in groups for piece in microbatches(rows, MICRO_TOKENS)]
        if not pieces:
            # Nothing to learn from: measure the divergence all the same, on one rollout a task.
            group = self.settings.grpo_group
            return {"loss": 0.0, "gradient_norm": 0.0, **self._drift(_rows(trajectories[::group]))}
        tokens = sum(sum(row.scored) for rows in groups for row in rows)
        t = self.settings.temperature
        loss_sum, kl_warm, mismatch = 0.0, 0.0, 0.0
        kl_base = self._kl_base(pieces[0])
        for batch in pieces:
            with torch.no_grad():
                warm_N = score(self.warm, batch, t).logprobs_N
            scored = score(self.model, batch, t)
            loss = policy_gradient(
                scored.logprobs_N, batch, warm_N, kl_coef=self.settings.kl_coef, tokens=tokens
            )
            loss.backward()
            own_N = scored.logprobs_N.detach()
            loss_sum += loss.item()
            kl_warm += float((batch.counts_N * k3(own_N, warm_N)).sum()) / tokens
            mismatch += float((batch.counts_N * (own_N - batch.logprobs_N).abs()).sum()) / tokens
        norm = self.optimizer.step(self.settings.grpo_lr)
        return {
            "loss": loss_sum, "gradient_norm": norm, "kl_warm": kl_warm, "kl_base": kl_base,
            "sampling_mismatch": mismatch,
        }  # fmt: skip

    @torch.no_grad()
    def _drift(self, rows: Sequence[Row]) -> dict[str, float]:
        batch = collate(rows)
        t = self.settings.temperature
        gap = k3(score(self.model, batch, t).logprobs_N, score(self.warm, batch, t).logprobs_N)
        return {"kl_warm": _mean(gap, batch), "kl_base": self._kl_base(batch)}

    @torch.no_grad()
    def _kl_base(self, batch: Batch) -> float:
        """Estimate KL(policy || base) in nats a token, on one piece of the step: it is only watched."""
        t = self.settings.temperature
        gap = score(self.model, batch, t).logprobs_N - score(self.base, batch, t).logprobs_N
        return _mean(gap, batch)


def _mean(values_N: torch.Tensor, batch: Batch) -> float:
    return float((batch.counts_N * values_N).sum() / batch.counts_N.sum())


def rewards(grades: Sequence[Grade], group: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return rewards `(P, G)`; NaN where the machinery failed: an error is never a score."""
    flat = [float("nan") if g.score is None else g.score for g in grades]
    return np.array(flat, dtype=np.float64).reshape(-1, group)


def advantages(
    rewards_P_G: np.ndarray[Any, np.dtype[np.float64]],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return rewards minus their group's mean; 0 for ungraded rollouts and for groups without spread."""
    graded = ~np.isnan(rewards_P_G)
    count = graded.sum(axis=1, keepdims=True)
    mean = np.where(graded, rewards_P_G, 0.0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
    centred = np.where(graded, rewards_P_G - mean, 0.0)
    flat = np.abs(centred).max(axis=1, keepdims=True) < 1e-6
    return np.where(flat, 0.0, centred)


def _rows(trajectories: Sequence[Trajectory], advantages_G: np.ndarray[Any, Any] | None = None) -> list[Row]:
    weights = np.ones(len(trajectories)) if advantages_G is None else advantages_G
    return [
        Row(t.ids, t.sampled, float(weight), tuple(t.logprobs))
        for t, weight in zip(trajectories, weights, strict=True)
        if weight != 0 and any(t.sampled)
    ]


def summarise(
    trajectories: Sequence[Trajectory], rollouts: Sequence[Rollout], grades: Sequence[Grade]
) -> dict[str, Any]:
    """Return a step's behaviour: reward and components, calls per rollout and tool, length, entropy."""
    scored = [g for g in grades if g.score is not None]
    names = sorted({name for g in scored for name in g.components})
    calls = Counter(c.name for r in rollouts for c in tool_calls_of(r.messages))
    offered = sorted({tool.name for t in trajectories for tool in t.task.tools} | set(calls))
    entropies = [e for t in trajectories for e in t.entropies]
    n = len(rollouts)
    return {
        "reward": float(np.mean([g.score for g in scored if g.score is not None])) if scored else None,
        "components": {k: float(np.mean([g.components.get(k, 0.0) for g in scored])) for k in names},
        "tools": {name: calls[name] / n for name in offered},
        "length": sum(sum(t.sampled) for t in trajectories) / n,
        "entropy": float(np.mean(entropies)) if entropies else 0.0,
        "misses": sum(r.misses > 0 for r in rollouts) / n,
        "ended_early": sum(r.problem is not None for r in rollouts) / n,
        "errors": sum(g.error is not None for g in grades),
        "floored": sum(g.floored for g in grades),
        "forged": sum(g.forged for g in grades),
    }
