from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_model

from strop.models.llama import Llama, load_llama
from strop.models.sampler import Sampler, draw

STOP = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    return load_llama(tiny_model(tmp_path_factory.mktemp("tiny")), torch.float32)


def _plain_greedy(model: Llama, ids: list[int], most: int) -> list[int]:
    out: list[int] = []
    with torch.no_grad():
        while len(out) < most:
            logits = model.logits(model(torch.tensor([ids + out]))[:, -1])
            out.append(int(logits.argmax()))
            if out[-1] == STOP:
                break
    return out


def test_rows_of_any_length_continue_as_if_alone(model: Llama) -> None:
    prompts = [[1, 40, 50, 60], [1, 70], [1, 5, 6, 7, 8, 9, 10]]
    sampler = Sampler(model, 3, 64)
    sampler.start(prompts)
    out = sampler.decode([0, 1, 2], 12, STOP, 0.0, None)
    for row, prompt in enumerate(prompts):
        assert out[row].ids == _plain_greedy(model, prompt, 12)


def test_a_second_turn_sees_the_first(model: Llama) -> None:
    prompts = [[1, 40, 50], [1, 70, 71, 72]]
    sampler = Sampler(model, 2, 64)
    sampler.start(prompts)
    first = sampler.decode([0, 1], 5, STOP, 0.0, None)
    sampler.extend({1: [30, 31, 32]})
    second = sampler.decode([1], 5, STOP, 0.0, None)
    assert second[1].ids == _plain_greedy(model, [*prompts[1], *first[1].ids, 30, 31, 32], 5)
    sampler.extend({0: [33]})
    third = sampler.decode([0], 5, STOP, 0.0, None)
    assert third[0].ids == _plain_greedy(model, [*prompts[0], *first[0].ids, 33], 5)


def test_a_group_shares_its_prompt_and_a_row_depends_on_its_own_numbers(model: Llama) -> None:
    uniforms = np.random.default_rng(0).random((4, 10))
    grouped = Sampler(model, 4, 64)
    grouped.start([[1, 40, 50], [1, 60, 61, 62]], copies=2)
    out = grouped.decode([0, 1, 2, 3], 10, STOP, 1.0, uniforms)
    alone = Sampler(model, 1, 64)
    alone.start([[1, 60, 61, 62]])
    single = alone.decode([0], 10, STOP, 1.0, uniforms[3:])
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
