"""Sample many conversations at once over one preallocated cache, each at its own pace.

Shape suffixes: R rows, T tokens, V vocabulary, C chunks of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from strop.models.llama import Cache, Llama

_TOGETHER = 8  # rows whose tool results are fed at once: fewer cost more a token, more keep rows waiting
_DENSE = 0.8  # share of active rows among the computed ones, below which rows are moved

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
    """Rows of conversations that grow by turns; what is in the cache is never computed again.

    A row keeps its number while its place in the cache moves: those that are still sampled lie in
    front, so that a step costs what its active rows cost, without gathering the cache.
    """

    def __init__(self, model: Llama, rows: int, tokens: int) -> None:
        self.model = model
        self.cache = Cache(model.shape, rows, tokens, model.dtype)
        self._lengths: list[int] = []
        self._pending: list[int] = []
        self._place: list[int] = []

    def room(self, row: int) -> int:
        """Return how many more tokens a row can take."""
        return self.cache.tokens - 1 - self._lengths[row]

    @torch.inference_mode()
    def start(self, prompts: Sequence[Sequence[int]], copies: int = 1) -> None:
        """Prefill each prompt once and copy it to the rows of its group (row = prompt * copies + i).

        What all prompts begin with (system turn, tools) is computed once for all of them. The prompt's
        last token stays pending: `converse` feeds it and samples what follows.
        """
        n = len(prompts)
        self._place = [i * n + p for p in range(n) for i in range(copies)]
        self._lengths = [0] * (n * copies)
        self._pending = [prompt[-1] for prompt in prompts for _ in range(copies)]
        firsts = [p * copies for p in range(n)]
        shared = common_prefix(prompts)
        self._feed(firsts[:1], [prompts[0][:shared]])
        self.cache.copy_rows(slice(0, 1), slice(1, n), shared)
        for row in firsts:
            self._lengths[row] = shared
        self._feed(firsts, [prompt[shared:-1] for prompt in prompts])
        longest = max(len(prompt) for prompt in prompts)
        for i in range(1, copies):
            self.cache.copy_rows(slice(0, n), slice(i * n, (i + 1) * n), longest)
        for row in range(n * copies):
            self._lengths[row] = len(prompts[row // copies]) - 1

    @torch.inference_mode()
    def converse(
        self,
        rows: Sequence[int],
        max_new: int,
        stop: int,
        reply: Callable[[int, Sampled], list[int] | None],
        *,
        temperature: float = 0.0,
        uniforms: Callable[[int], Floats] | None = None,
    ) -> None:
        """Sample turns of up to `max_new` tokens, until `stop` or the end of the cache.

        reply: is given each row's turn and returns the tokens that follow it (tool results, the next
        header), or None where the row's conversation is over. No row waits for the others' turns.
        uniforms: gives `max_new` uniform numbers for a row's next turn, so that its draws depend on its
        own generator alone; None with temperature 0 (greedy).
        """
        turns: dict[int, Sampled] = {}
        numbers: dict[int, Floats] = {}
        waiting: dict[int, list[int]] = {}
        active: list[int] = []

        def begin(new: Iterable[int]) -> None:
            for row in new:
                turns[row] = Sampled()
                if uniforms is not None:
                    numbers[row] = uniforms(row)
                if self.room(row) > 0:
                    active.append(row)
                else:
                    finish(row)

        def finish(row: int) -> None:
            follows = reply(row, turns.pop(row))
            if follows is not None:
                waiting[row] = follows

        begin(rows)
        while active or waiting:
            if len(waiting) >= _TOGETHER or not active:
                ready, waiting = waiting, {}
                self._extend(ready)
                begin(ready)
                continue
            # A row that waits is computed along, where it lies among active ones: what that writes behind
            # its end is written again when it goes on, and moving rows costs more.
            span = self._span(active)
            tokens = torch.tensor([[self._pending[row]] for row in span])
            starts = torch.tensor([self._lengths[row] for row in span])
            hidden = self.model.step(tokens, starts, self.cache)[:, -1]
            at = [i for i, row in enumerate(span) if row in turns]
            active = [span[i] for i in at]
            logits = self.model.logits(hidden[at])
            if temperature == 0 or uniforms is None:
                chosen, logprobs, entropies = greedy(logits)
            else:
                drawn_R = [numbers[row][len(turns[row].ids)] for row in active]
                chosen, logprobs, entropies = draw(
                    logits / temperature, torch.tensor(drawn_R, dtype=torch.float64)
                )
            for row, token, logprob, entropy in zip(
                active, chosen.tolist(), logprobs.tolist(), entropies.tolist(), strict=True
            ):
                self._lengths[row] += 1
                self._pending[row] = token
                turn = turns[row]
                turn.ids.append(token)
                turn.logprobs.append(logprob)
                turn.entropies.append(entropy)
                turn.stopped = token == stop
                if turn.stopped or len(turn.ids) == max_new or self.room(row) <= 0:
                    finish(row)
            active = [row for row in active if row in turns]

    def _extend(self, row_tokens: dict[int, list[int]]) -> None:
        """Append tokens to some rows; the last one stays pending."""
        rows = sorted(row_tokens)
        fed = [[self._pending[row], *row_tokens[row][:-1]] for row in rows]
        for row in rows:
            self._pending[row] = row_tokens[row][-1]
        self._feed(rows, fed)

    def _span(self, active: Sequence[int]) -> list[int]:
        """Return the rows in the first places that hold all active ones, close together."""
        last = max(self._place[row] for row in active)
        if len(active) < _DENSE * (last + 1):
            return self._to_front(active)
        return sorted(
            (r for r in range(len(self._place)) if self._place[r] <= last), key=self._place.__getitem__
        )

    def _to_front(self, rows: Sequence[int]) -> list[int]:
        """Move rows to the first places of the cache; return them in the order of their places."""
        n = len(rows)
        occupant = {place: row for row, place in enumerate(self._place)}
        wanted = set(rows)
        free = [place for place in range(n) if occupant[place] not in wanted]
        tokens = max(self._lengths)
        for row in rows:
            if self._place[row] >= n:
                place, other_place = free.pop(), self._place[row]
                other = occupant[place]
                self.cache.swap_rows(place, other_place, tokens)
                self._place[row], self._place[other] = place, other_place
                occupant[place], occupant[other_place] = row, other
        return sorted(rows, key=lambda row: self._place[row])

    def _feed(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        given = dict(zip(rows, tokens, strict=True))
        longest = max(map(len, tokens))
        if longest == 0:
            return
        ordered = self._to_front(rows)
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(ordered):
            ids[i, : len(given[row])] = torch.tensor(given[row], dtype=torch.long)
        starts = torch.tensor([self._lengths[row] for row in ordered])
        self.model.step(ids, starts, self.cache)
        for row in rows:
            self._lengths[row] += len(given[row])


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all prompts begin with, at most all but the last of the shortest."""
    # What the first and the last in lexical order share, all between them share too.
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    most = min(len(prompt) for prompt in prompts) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def greedy(logits_R_V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the likeliest tokens with their log-probabilities; entropies are not computed (zeros)."""
    top, chosen = logits_R_V.max(-1)
    return chosen, top - logits_R_V.logsumexp(-1), torch.zeros_like(top)


def draw(logits_R_V: Tensor, uniforms_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sample by inverting the cumulative distribution, in two levels.

    Exact over the whole vocabulary without its cumulative sum: first the chunk of 256 tokens, then the
    token inside it. Returns tokens, log-probabilities, entropies.
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
