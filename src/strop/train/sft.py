"""Warm start: imitate the teacher's well-graded episodes (rejection-sampled SFT)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from strop.train.data import Row, collate, microbatches
from strop.train.losses import imitation, score
from strop.train.optimizer import MasterAdamW

if TYPE_CHECKING:
    from strop.models.llama import Llama

# Activations of a piece are what training holds beside the weights: small pieces keep that small.
MICRO_TOKENS = 1536
WARMUP = 5


def sft_step(
    model: Llama, optimizer: MasterAdamW, rows: Sequence[Row], *, step: int, steps: int, lr: float
) -> dict[str, Any]:
    """Take one step on a batch of episodes; linear warm-up, then linear decay to a tenth.

    Returns telemetry: loss and entropy (nats a scored token), gradient norm, tokens, seconds.
    """
    started = time.perf_counter()
    tokens = sum(sum(row.scored) for row in rows)
    total, entropy = 0.0, 0.0
    for group in microbatches(sorted(rows, key=lambda row: len(row.ids)), MICRO_TOKENS):
        batch = collate(group)
        scored = score(model, batch)
        loss = imitation(scored.logprobs_N, batch, tokens)
        loss.backward()
        total += loss.item()
        entropy += float((batch.counts_N * scored.entropies_N).sum()) / tokens
    rate = lr * min(1.0, (step + 1) / WARMUP) * (1 - 0.9 * step / max(1, steps))
    norm = optimizer.step(rate)
    return {
        "loss": total,
        "entropy": entropy,
        "gradient_norm": norm,
        "lr": rate,
        "length": tokens / len(rows),
        "tokens": sum(len(row.ids) for row in rows),
        "seconds": time.perf_counter() - started,
    }
