"""What the rollouts of an arm show beside their scores: tools, misses, tokens, latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from strop.records import Grade, JsonObject, Rollout, tool_calls_of
from strop.stats.proportion import clopper_pearson


def ordered_tools(rollout: Rollout) -> tuple[str, ...]:
    """Return the names of the called tools in the order of the calls."""
    return tuple(call.name for call in tool_calls_of(rollout.messages))


def tool_rates(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return for each tool the share of the rollouts that call it at least once."""
    counts = Counter(name for r in rollouts for name in set(ordered_tools(r)))
    return {name: count / len(rollouts) for name, count in sorted(counts.items())}


def tool_order(rollouts: Sequence[Rollout], grades: Sequence[Grade]) -> tuple[str, ...]:
    """Return the most frequent sequence of tools among the best-graded rollouts.

    Best-graded: at the highest score that occurs. Empty where nothing is graded.
    """
    scores = [g.score for g in grades if g.score is not None]
    if not scores:
        return ()
    best = [ordered_tools(r) for r, g in zip(rollouts, grades, strict=True) if g.score == max(scores)]
    return Counter(best).most_common(1)[0][0]


def miss_rate(rollouts: Sequence[Rollout]) -> JsonObject:
    """Return how many rollouts called what no recorded result answers, and their share.

    ci95: exact binomial interval; a miss is the replay table's gap, not a customer's habit.
    """
    missed = sum(r.misses > 0 for r in rollouts)
    return {
        "ci95": list(clopper_pearson(missed, len(rollouts))),
        "rollouts": missed,
        "calls": sum(r.misses for r in rollouts),
        "rate": missed / len(rollouts) if rollouts else 0.0,
    }


def latency(rollouts: Sequence[Rollout]) -> JsonObject:
    """Return p50, p95 and mean seconds of a whole rollout; None where there is none."""
    if not rollouts:
        return {"p50_s": None, "p95_s": None, "mean_s": None}
    seconds_N = np.array([r.latency_s for r in rollouts])
    p50, p95 = np.percentile(seconds_N, [50, 95])
    return {"p50_s": float(p50), "p95_s": float(p95), "mean_s": float(seconds_N.mean())}


def tokens(rollouts: Sequence[Rollout]) -> JsonObject:
    """Return prompt and completion tokens, summed and per rollout."""
    prompt = sum(r.usage.prompt_tokens for r in rollouts)
    completion = sum(r.usage.completion_tokens for r in rollouts)
    n = max(len(rollouts), 1)
    return {
        "prompt": prompt,
        "completion": completion,
        "prompt_per_task": prompt / n,
        "completion_per_task": completion / n,
    }
