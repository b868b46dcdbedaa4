"""Sample many conversations in lock-step over one preallocated cache.

Shape suffixes: R rows, T tokens, V vocabulary, C chunks of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from strop.models.llama import Cache, Llama

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass
class Sampled:
    """One sampled turn: token ids (stop token included), their log-probabilities, whether it stopped.

    entropies: of the distribution each token was drawn from, in nats.
    """

    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    entropies: list[float] = field(default_factory=list[float])
    stopped: bool = False


class Sampler:
    """Rows of conversations that grow by turns; what is in the cache is never computed again."""

    def __init__(self, model: Llama, rows: int, tokens: int) -> None:
        self.model = model
        self.cache = Cache(model.shape, rows, tokens, model.dtype)
        self.lengths_R = np.zeros(rows, dtype=np.int64)
        self._pending: list[list[int]] = [[] for _ in range(rows)]

    @property
    def room(self) -> int:
        """Tokens that every row can still take."""
        return int(self.cache.tokens - self.lengths_R.max())

    @torch.inference_mode()
    def start(self, prompts: Sequence[Sequence[int]], copies: int = 1) -> None:
        """Prefill each prompt once and copy it to the rows of its group (row = prompt * copies + i).

        The prompt's last token stays pending: `decode` feeds it and samples what follows.
        """
        rows = np.arange(len(prompts)) * copies
        self.lengths_R[:] = 0
        self._feed([list(p[:-1]) for p in prompts], rows)
        for i, prompt in enumerate(prompts):
            first, n = int(rows[i]), len(prompt) - 1
            if copies > 1:
                self.cache.copy_row(first, slice(first + 1, first + copies), n)
            self.lengths_R[first : first + copies] = n
            for row in range(first, first + copies):
                self._pending[row] = [prompt[-1]]

    @torch.inference_mode()
    def extend(self, row_tokens: dict[int, list[int]]) -> None:
        """Append tokens (tool results, next header) to some rows; the last one stays pending."""
        rows = np.array(sorted(row_tokens), dtype=np.int64)
        fed: list[list[int]] = []
        for row in rows:
            tokens = self._pending[row] + row_tokens[int(row)]
            fed.append(tokens[:-1])
            self._pending[row] = tokens[-1:]
        self._feed(fed, rows)
        self.lengths_R[rows] += [len(t) for t in fed]

    @torch.inference_mode()
    def decode(
        self, rows: Sequence[int], max_new: int, stop: int, temperature: float, uniforms_R_T: Floats | None
    ) -> dict[int, Sampled]:
        """Sample up to `max_new` tokens for the given rows until `stop`.

        uniforms_R_T: one uniform number a row and token, so that a row's draw depends on its own
        generator alone; None with temperature 0 (greedy).
        """
        out = {row: Sampled() for row in rows}
        active = list(rows)
        order = {row: i for i, row in enumerate(rows)}
        for t in range(min(max_new, self.room)):
            if not active:
                break
            index = np.array(active, dtype=np.int64)
            tokens = torch.tensor([self._pending[row] for row in active])
            starts = torch.from_numpy(self.lengths_R[index])
            hidden = self.model.step(tokens, starts, self.cache, torch.from_numpy(index))
            self.lengths_R[index] += 1
            logits = self.model.logits(hidden[:, -1])
            if temperature == 0 or uniforms_R_T is None:
                chosen, logprobs, entropies = greedy(logits)
            else:
                uniforms = torch.tensor([uniforms_R_T[order[row], t] for row in active], dtype=torch.float64)
                chosen, logprobs, entropies = draw(logits / temperature, uniforms)
            for i, row in enumerate(active):
                token = int(chosen[i])
                self._pending[row] = [token]
                sampled = out[row]
                sampled.ids.append(token)
                sampled.logprobs.append(float(logprobs[i]))
                sampled.entropies.append(float(entropies[i]))
                sampled.stopped = token == stop
            active = [row for row in active if not out[row].stopped]
        return out

    def _feed(self, tokens: list[list[int]], rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
        longest = max((len(t) for t in tokens), default=0)
        if longest == 0:
            return
        ids = torch.zeros((len(tokens), longest), dtype=torch.long)
        for i, row_tokens in enumerate(tokens):
            ids[i, : len(row_tokens)] = torch.tensor(row_tokens, dtype=torch.long)
        starts = torch.from_numpy(self.lengths_R[rows])
        # Rows near the cache's end: what padding would write past it has no place, so feed them alone.
        fits = starts + longest <= self.cache.tokens
        if bool(fits.all()):
            self.model.step(ids, starts, self.cache, torch.from_numpy(rows))
            return
        for i, row in enumerate(rows):
            one = ids[i : i + 1, : len(tokens[i])]
            if one.shape[1]:
                self.model.step(one, starts[i : i + 1], self.cache, torch.tensor([int(row)]))


def greedy(logits_R_V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the likeliest tokens with their log-probabilities; entropies are not computed (zeros)."""
    top, chosen = logits_R_V.max(-1)
    return chosen, top - logits_R_V.logsumexp(-1), torch.zeros_like(top)


def draw(logits_R_V: Tensor, uniforms_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sample by inverting the cumulative distribution, in two levels.

    Exact over the whole vocabulary, and a tenth of the price of a full cumulative sum: first the
    chunk of 256 tokens, then the token inside it. Returns tokens, log-probabilities, entropies.
    """
    rows, vocab = logits_R_V.shape
    shifted = logits_R_V - logits_R_V.amax(-1, keepdim=True)
    mass_R_V = shifted.exp()
    total_R = mass_R_V.sum(-1, dtype=torch.float64)
    entropies = total_R.log() - (mass_R_V * shifted).sum(-1, dtype=torch.float64) / total_R
    width = 256
    padded = torch.nn.functional.pad(mass_R_V, (0, -vocab % width))
    chunks_R_C_W = padded.view(rows, -1, width)
    ends_R_C = chunks_R_C_W.sum(-1, dtype=torch.float64).cumsum(-1)
    target_R = uniforms_R * ends_R_C[:, -1]
    chunk_R = torch.searchsorted(ends_R_C, target_R[:, None], right=True).squeeze(-1)
    chunk_R = chunk_R.clamp(max=ends_R_C.shape[1] - 1)
    before_R = torch.where(
        chunk_R > 0, ends_R_C.gather(1, (chunk_R - 1).clamp(min=0)[:, None]).squeeze(-1), torch.zeros(())
    )
    inside = chunks_R_C_W[torch.arange(rows), chunk_R].to(torch.float64)
    ends = inside.cumsum(-1)
    offset = torch.searchsorted(ends, (target_R - before_R)[:, None], right=True).squeeze(-1)
    # Rounding can point one past the last token with mass: step back to it.
    last = (inside > 0).to(torch.int64).cumsum(-1).argmax(-1)
    chosen = chunk_R * width + torch.minimum(offset, last)
    logprobs = shifted.gather(1, chosen[:, None]).squeeze(-1) - total_R.log()
    return chosen, logprobs, entropies
