from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_model

from strop.models.llama import Llama, load_llama
from strop.models.sampler import Sampled, Sampler, draw

STOP = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    return load_llama(tiny_model(tmp_path_factory.mktemp("tiny")), torch.float32)


def _plain_greedy(model: Llama, ids: list[int], most: int) -> list[int]:
    out: list[int] = []
    with torch.no_grad():
        while len(out) < most:
            logits = model.logits(model(torch.tensor([ids + out]))[-1:])
            out.append(int(logits.argmax()))
            if out[-1] == STOP:
                break
    return out


def one_turn(sampler: Sampler, most: int, **how: Any) -> dict[int, Sampled]:
    out: dict[int, Sampled] = {}

    def reply(row: int, turn: Sampled) -> None:
        out[row] = turn

    sampler.converse(range(sampler.cache.rows), most, STOP, reply, **how)
    return out


def test_rows_of_any_length_continue_as_if_alone(model: Llama) -> None:
    prompts = [[1, 40, 50, 60], [1, 70], [1, 5, 6, 7, 8, 9, 10]]
    sampler = Sampler(model, 3, 64)
    sampler.start(prompts)
    out = one_turn(sampler, 12)
    for row, prompt in enumerate(prompts):
        assert out[row].ids == _plain_greedy(model, prompt, 12)


@settings(max_examples=25)
@given(st.data())
def test_each_row_goes_on_as_if_alone_whatever_the_others_do(model: Llama, data: st.DataObject) -> None:
    token = st.integers(3, 200)
    prompts = data.draw(st.lists(st.lists(token, min_size=1, max_size=6), min_size=1, max_size=12))
    said = st.lists(st.lists(token, min_size=1, max_size=9), max_size=3)
    replies = [data.draw(said) for _ in prompts]
    left = [list(r) for r in replies]
    turns: list[list[Sampled]] = [[] for _ in prompts]

    def reply(row: int, turn: Sampled) -> list[int] | None:
        turns[row].append(turn)
        return left[row].pop(0) if left[row] else None

    sampler = Sampler(model, len(prompts), 96)
    sampler.start(prompts)
    sampler.converse(range(len(prompts)), 5, STOP, reply)
    for prompt, row_replies, row_turns in zip(prompts, replies, turns, strict=True):
        assert len(row_turns) == len(row_replies) + 1
        ids = list(prompt)
        for turn, follows in zip(row_turns, [*row_replies, []], strict=True):
            assert turn.ids == _plain_greedy(model, ids, 5)
            ids += turn.ids + follows


def test_a_full_cache_ends_a_row(model: Llama) -> None:
    sampler = Sampler(model, 2, 16)
    sampler.start([[1] * 12, [1, 70]])
    out = one_turn(sampler, 40)
    assert [len(out[row].ids) for row in (0, 1)] == [4, 14]
    assert not out[0].stopped
    assert sampler.room(0) == sampler.room(1) == 0


def test_a_group_shares_its_prompt_and_a_row_depends_on_its_own_numbers(model: Llama) -> None:
    uniforms = np.random.default_rng(0).random((4, 10))
    grouped = Sampler(model, 4, 64)
    grouped.start([[1, 40, 50], [1, 60, 61, 62]], copies=2)
    out = one_turn(grouped, 10, temperature=1.0, uniforms=lambda row: uniforms[row])
    alone = Sampler(model, 1, 64)
    alone.start([[1, 60, 61, 62]])
    single = one_turn(alone, 10, temperature=1.0, uniforms=lambda row: uniforms[3])
    assert single[0].ids == out[3].ids
    assert np.allclose(single[0].logprobs, out[3].logprobs, atol=1e-5)


def test_draws_follow_the_distribution() -> None:
    logits = torch.randn(1, 1000, generator=torch.Generator().manual_seed(3)) * 2
    n = 20_000
    uniforms = torch.rand(n, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    chosen, logprobs, entropies = draw(logits.expand(n, -1), uniforms)
    p = logits.softmax(-1)[0].double()
    seen = torch.bincount(chosen, minlength=1000).double() / n
    # Total variation of n draws from a known distribution is below sqrt(k/n)/2 with great certainty.
    assert float((seen - p).abs().sum() / 2) < 0.5 * (1000 / n) ** 0.5
    assert torch.allclose(logprobs.double(), p.log()[chosen], atol=1e-4)
    assert abs(float(entropies[0]) + float((p * p.log()).sum())) < 1e-4


@pytest.mark.parametrize("u", [0.0, 0.5, 1.0 - 2**-53])
def test_a_draw_never_leaves_the_support(u: float) -> None:
    logits = torch.full((1, 700), -1e9)
    logits[0, [300, 512]] = 0.0
    chosen, _, _ = draw(logits, torch.tensor([u], dtype=torch.float64))
    assert int(chosen) in (300, 512)
