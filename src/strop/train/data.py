"""Token rows from recorded episodes, and batches of them.

Shape suffixes: B rows, T tokens, N scored tokens of a batch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from strop.curate.surrogates import fill
from strop.models.sampler import common_prefix
from strop.records import Curated, Message

if TYPE_CHECKING:
    from strop.models.render import Renderer

Item = TypeVar("Item")
_WORTH_SHARING = 16  # tokens: below that, the second pass over the beginning costs more than it saves


@dataclass(frozen=True)
class Row:
    """One conversation as tokens; scored: True where the policy chose the token.

    weight: the row's advantage (1 for imitation); logprobs: of the scored tokens under the policy
    that sampled them (empty for imitation).
    """

    ids: list[int]
    scored: list[bool]
    weight: float = 1.0
    logprobs: tuple[float, ...] = ()


def episode_row(renderer: Renderer, curated: Curated) -> Row | None:
    """Encode a recorded episode for imitation; only the assistant's tokens are scored.

    Returns None for an episode that doesn't end with an assistant's answer.
    """
    episode = curated.trace.episodes[0]
    messages = fill(episode.messages, curated.trace_hash)
    start = len(episode.prompt())
    turns = messages[start:]
    if not turns or turns[-1].role != "assistant" or turns[-1].tool_calls:
        return None
    ids = renderer.prompt(messages[:start], episode.tools)
    scored = [False] * len(ids)
    for i, message in enumerate(turns):
        if message.role != "assistant":
            continue
        reply = renderer.reply(message)
        ids += reply
        scored += [True] * len(reply)
        between = _until_assistant(turns[i + 1 :])
        if i + 1 < len(turns):
            after = renderer.after_reply(between)
            ids += after
            scored += [False] * len(after)
    return Row(ids, scored)


def _until_assistant(messages: Sequence[Message]) -> list[Message]:
    found: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            break
        found.append(message)
    return found


@dataclass(frozen=True)
class Batch:
    """Right-padded rows behind what they all begin with.

    prefix_P: that beginning, None where it is short. ids_B_T: the rows without it. rows_N, columns_N:
    where the predecessors of the N scored tokens stand; targets_N: the scored tokens; logprobs_N: under
    the sampling policy, zeros for imitation; weights_B: advantages.
    """

    prefix_P: Tensor | None
    ids_B_T: Tensor
    rows_N: Tensor
    columns_N: Tensor
    targets_N: Tensor
    logprobs_N: Tensor
    weights_B: Tensor


def collate(rows: Sequence[Row]) -> Batch:
    """Pad rows on the right, cut off their common beginning and index their scored tokens."""
    shared = _shared(rows)
    longest = max(len(row.ids) for row in rows) - shared
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    where: list[tuple[int, int, int]] = []
    logprobs: list[float] = []
    for i, row in enumerate(rows):
        ids[i, : len(row.ids) - shared] = torch.tensor(row.ids[shared:])
        scored = [t for t, on in enumerate(row.scored) if on]
        where += [(i, t - 1 - shared, row.ids[t]) for t in scored]
        logprobs += row.logprobs or [0.0] * len(scored)
    at = torch.tensor(where, dtype=torch.long)
    weights = torch.tensor([row.weight for row in rows])
    prefix = torch.tensor(rows[0].ids[:shared]) if shared else None
    return Batch(prefix, ids, at[:, 0], at[:, 1], at[:, 2], torch.tensor(logprobs), weights)


def _shared(rows: Sequence[Row]) -> int:
    """Return the length of the common beginning, which ends before any scored token's predecessor."""
    if len(rows) == 1:
        return 0
    shared = min(common_prefix([row.ids for row in rows]), *(row.scored.index(True) - 1 for row in rows))
    return shared if shared >= _WORTH_SHARING else 0


def microbatches(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """Cut rows, in order, into pieces whose padded size is at most `tokens` (one row at least)."""
    piece: list[Row] = []
    longest = 0
    for row in rows:
        longest = max(longest, len(row.ids))
        if piece and longest * (len(piece) + 1) > tokens:
            yield piece
            piece, longest = [], len(row.ids)
        piece.append(row)
    if piece:
        yield piece


def pick(items: Sequence[Item], count: int, seed: str, step: int) -> list[Item]:
    """Return the `count` items of a step: shuffled epochs, each a function of the seed alone."""
    picked: list[Item] = []
    at = step * count
    while len(picked) < count:
        epoch, offset = divmod(at + len(picked), len(items))
        order = list(range(len(items)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        picked += [items[i] for i in order[offset : offset + count - len(picked)]]
    return picked
