"""What is minimised. All losses see only the scored tokens of a batch (N of them)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor

from strop.train.data import Batch

if TYPE_CHECKING:
    from strop.models.llama import Llama


_ROWS = (
    64  # of the vocabulary's width at a time: large temporaries cost more in fresh memory than in arithmetic
)


@dataclass(frozen=True)
class Scored:
    """Log-probabilities and entropies (nats) of the scored tokens, `(N,)` each."""

    logprobs_N: Tensor
    entropies_N: Tensor


def score(model: Llama, batch: Batch, temperature: float = 1.0) -> Scored:
    """Run the model over a batch; the vocabulary projection runs at scored tokens only.

    temperature: that of the policy whose log-probabilities are asked for.
    """
    logits_N_V = model.logits(model(batch.ids_B_T, batch.prefix_P)[batch.at_N])
    if temperature != 1.0:
        logits_N_V = logits_N_V / temperature
    logprobs = -F.cross_entropy(logits_N_V, batch.targets_N, reduction="none")
    with torch.no_grad():
        entropies = torch.cat([_entropies(rows) for rows in logits_N_V.split(_ROWS)])
    return Scored(logprobs, entropies)


def _entropies(logits_R_V: Tensor) -> Tensor:
    total_R = logits_R_V.logsumexp(-1)
    mass_R_V = (logits_R_V - total_R[:, None]).exp_()
    return total_R - mass_R_V.mul_(logits_R_V).sum(-1)


def imitation(logprobs_N: Tensor, batch: Batch, tokens: int) -> Tensor:
    """Return the negative log-likelihood, averaged over the whole step's scored tokens."""
    return -(batch.counts_N * logprobs_N).sum() / tokens


def policy_gradient(
    logprobs_N: Tensor, batch: Batch, reference_N: Tensor | None, *, kl_coef: float, tokens: int
) -> Tensor:
    """Return GRPO's loss for one update per batch of rollouts.

    Advantages are rewards minus their group's mean, not divided by its deviation (Dr. GRPO, Liu et al.
    2025, 2503.20783), averaged over the step's tokens (DAPO, Yu et al. 2025, 2503.14476). The weight
    corrects for sampling kernels that round otherwise than training ones (truncated importance
    sampling at 2); the KL term is Schulman's k3 against the frozen warm start.
    """
    weight = (logprobs_N.detach() - batch.logprobs_N).exp().clamp(max=2.0)
    loss = -(weight * batch.weights_N * logprobs_N).sum()
    if reference_N is not None and kl_coef > 0:
        loss = loss + kl_coef * (batch.counts_N * k3(logprobs_N, reference_N)).sum()
    return loss / tokens


def k3(logprobs_N: Tensor, reference_N: Tensor) -> Tensor:
    """Return the k3 estimate of KL(policy || reference) at each token: unbiased and never negative."""
    gap = reference_N - logprobs_N
    return gap.expm1() - gap  # exact near 0, where almost all tokens are
