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
from strop.records import Curated, Message

if TYPE_CHECKING:
    from strop.models.render import Renderer

Item = TypeVar("Item")


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
    """Right-padded rows. ids_B_T: tokens; positions (row, column) of the N scored tokens' predecessors.

    targets_N: the scored tokens; rows_N: their row; logprobs_N: under the sampling policy, zeros for
    imitation; weights_B: advantages.
    """

    ids_B_T: Tensor
    rows_N: Tensor
    columns_N: Tensor
    targets_N: Tensor
    logprobs_N: Tensor
    weights_B: Tensor


def collate(rows: Sequence[Row]) -> Batch:
    """Pad rows on the right and index their scored tokens."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    where: list[tuple[int, int, int]] = []
    logprobs: list[float] = []
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        scored = [t for t, on in enumerate(row.scored) if on]
        where += [(i, t - 1, row.ids[t]) for t in scored]
        logprobs += row.logprobs or [0.0] * len(scored)
    at = torch.tensor(where, dtype=torch.long)
    weights = torch.tensor([row.weight for row in rows])
    return Batch(ids, at[:, 0], at[:, 1], at[:, 2], torch.tensor(logprobs), weights)


def microbatches(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """Cut rows into groups of similar length whose padded size is at most `tokens` (one row at least)."""
    group: list[Row] = []
    for row in sorted(rows, key=lambda r: len(r.ids), reverse=True):
        if group and len(group[0].ids) * (len(group) + 1) > tokens:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


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
