"""Token rows from recorded episodes, and batches of them.

Shape suffixes: B rows, T tokens, N scored tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from strop.curate.surrogates import fill
from strop.models.sampler import common_prefix
from strop.records import Curated, Message

if TYPE_CHECKING:
    from strop.models.render import Renderer

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
    """Right-padded rows behind what they all begin with; equal rows stand there once.

    prefix_P: that beginning, None where it is short. ids_B_T: the different rows without it. For each
    of the N scored tokens: at_N, where its predecessor stands in the model's hidden states; targets_N,
    the token; counts_N, how many rows it stands for; weights_N, the sum of their advantages; logprobs_N,
    the mean of its log-probabilities under the sampling policy (0 for imitation).
    """

    prefix_P: Tensor | None
    ids_B_T: Tensor
    at_N: Tensor
    targets_N: Tensor
    counts_N: Tensor
    weights_N: Tensor
    logprobs_N: Tensor


def collate(rows: Sequence[Row]) -> Batch:
    """Merge what rows have in common, pad the rest on the right and index the scored tokens.

    A group's rollouts mostly share prompt, calls and results: each is computed once. Nothing is left
    out by that: gradients are those of the rows one by one (tested).
    """
    different = _distinct(rows)
    shared = _shared(different)
    longest = max(len(row.ids) for row in different) - shared
    ids = torch.zeros((len(different), longest), dtype=torch.long)
    place = {_key(row): i for i, row in enumerate(different)}
    for i, row in enumerate(different):
        ids[i, : len(row.ids) - shared] = torch.tensor(row.ids[shared:])
    scored: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
    for row in rows:
        i = place[_key(row)]
        places = [t for t, on in enumerate(row.scored) if on]
        logprobs = row.logprobs or (0.0,) * len(places)
        for t, logprob in zip(places, logprobs, strict=True):
            # A scored token of the common beginning belongs to all rows.
            scored.setdefault((0 if t < shared else i, t), []).append((row.ids[t], row.weight, logprob))
    at = [t - 1 if t <= shared and shared else shared + i * longest + t - 1 - shared for i, t in scored]
    return Batch(
        prefix_P=torch.tensor(different[0].ids[:shared]) if shared else None,
        ids_B_T=ids,
        at_N=torch.tensor(at, dtype=torch.long),
        targets_N=torch.tensor([hits[0][0] for hits in scored.values()], dtype=torch.long),
        counts_N=torch.tensor([float(len(hits)) for hits in scored.values()]),
        weights_N=torch.tensor([sum(weight for _, weight, _ in hits) for hits in scored.values()]),
        logprobs_N=torch.tensor([sum(lp for *_, lp in hits) / len(hits) for hits in scored.values()]),
    )


def _key(row: Row) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    return tuple(row.ids), tuple(row.scored)


def _distinct(rows: Sequence[Row]) -> list[Row]:
    return list({_key(row): row for row in rows}.values())


def _shared(different: Sequence[Row]) -> int:
    """Return the length of the common beginning; each row has at least one token behind it."""
    if len(different) == 1:
        return 0
    shared = min(
        common_prefix([row.ids for row in different]),
        common_prefix([row.scored for row in different]),
        min(len(row.ids) for row in different) - 1,
    )
    return shared if shared >= _WORTH_SHARING else 0


def microbatches(rows: Sequence[Row], tokens: int) -> Iterator[list[Row]]:
    """Cut rows, in order, into pieces that `collate` makes at most `tokens` of (one row at least)."""
    piece: list[Row] = []
    for row in rows:
        if piece and _size([*piece, row]) > tokens:
            yield piece
            piece = []
        piece.append(row)
    if piece:
        yield piece


def _size(rows: Sequence[Row]) -> int:
    different = _distinct(rows)
    shared = _shared(different)
    return shared + len(different) * (max(len(row.ids) for row in different) - shared)
