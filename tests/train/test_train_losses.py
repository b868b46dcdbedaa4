"""Losses against the plain formulas, and against transformers' own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model
from transformers import AutoModelForCausalLM

from strop.models.llama import Llama, load_llama
from strop.train.data import Row, collate, microbatches
from strop.train.losses import imitation, k3, policy_gradient, score

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def rows(count: int = 5, *, sampled_by: Llama | None = None) -> list[Row]:
    draw = torch.Generator().manual_seed(7)
    made: list[Row] = []
    for i in range(count):
        length = 6 + 3 * i
        ids = torch.randint(3, 250, (length,), generator=draw).tolist()
        on = [False, False, *(torch.rand(length - 2, generator=draw) < 0.6).tolist()]
        on[-1] = True
        row = Row(ids, on, weight=(-1.0) ** i * (0.2 + 0.1 * i))
        if sampled_by is not None:
            with torch.no_grad():
                own = score(sampled_by, collate([row])).logprobs_N
            # As if other kernels had rounded otherwise, once by more than the weight may correct.
            noise = torch.randn(own.shape, generator=draw) * 0.05
            noise[0] = -1.5
            row = Row(ids, on, row.weight, tuple((own + noise).tolist()))
        made.append(row)
    return made


def gradient(model: Llama) -> torch.Tensor:
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return flat


def test_imitation_is_transformers_cross_entropy(folder: Path) -> None:
    ours = load_llama(folder, torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    batch_rows = rows()
    longest = max(len(row.ids) for row in batch_rows)
    ids = torch.zeros((len(batch_rows), longest), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(batch_rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        mask[i, : len(row.ids)] = 1
        labels[i, : len(row.ids)] = torch.tensor(
            [t if on else -100 for t, on in zip(row.ids, row.scored, strict=True)]
        )
    expected = theirs(input_ids=ids, attention_mask=mask, labels=labels).loss
    tokens = sum(sum(row.scored) for row in batch_rows)
    batch = collate(batch_rows)
    got = imitation(score(ours, batch).logprobs_N, batch, tokens)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_entropies_are_those_of_the_distribution(folder: Path) -> None:
    model = load_llama(folder, torch.float32)
    row = Row([5, 6, 7, 8], [False, True, False, True])
    with torch.no_grad():
        got = score(model, collate([row])).entropies_N
        p = model.logits(model(torch.tensor([row.ids])))[[0, 2]].softmax(-1)
    assert torch.allclose(got, -(p * p.log()).sum(-1), atol=1e-4)


def group(sampled_by: Llama) -> list[Row]:
    """Rollouts of one task as they come: a long common beginning with scored tokens, twins, one cut short."""
    draw = torch.Generator().manual_seed(11)
    begin = torch.randint(3, 250, (40,), generator=draw).tolist()
    chosen = [False] * 20 + [True] * 15 + [False] * 5
    ends = [torch.randint(3, 250, (n,), generator=draw).tolist() for n in (9, 4, 12)]
    texts = [begin + ends[i] for i in (0, 1, 0, 2, 1)] + [begin]
    made: list[Row] = []
    for i, ids in enumerate(texts):
        on = (chosen + [True] * (len(ids) - 40))[: len(ids)]
        with torch.no_grad():
            own = score(sampled_by, collate([Row(ids, on)])).logprobs_N
        made.append(Row(ids, on, 0.5 - 0.2 * i, tuple((own - 0.02).tolist())))
    return made


@pytest.mark.parametrize("kind", ["different rows", "a group"])
def test_the_policy_gradient_is_the_plain_formulas(folder: Path, kind: str) -> None:
    model = load_llama(folder, torch.float32)
    warm = load_llama(folder, torch.float32)
    with torch.no_grad():
        warm.norm += 0.05
    batch_rows = rows(sampled_by=model) if kind == "different rows" else group(model)
    tokens = sum(sum(row.scored) for row in batch_rows)
    batch = collate(batch_rows)
    assert batch.counts_N.sum() == tokens
    if kind == "a group":
        assert batch.prefix_P is not None
        assert (len(batch.prefix_P), len(batch.ids_B_T)) == (39, 4)
        assert len(batch.at_N) < tokens
    with torch.no_grad():
        warm_N = score(warm, batch).logprobs_N
    policy_gradient(score(model, batch).logprobs_N, batch, warm_N, kl_coef=0.3, tokens=tokens).backward()
    got = gradient(model)
    # Token by token: -min(2, ratio) * advantage * grad logp + kl * (1 - exp(ref - logp)) * grad logp.
    total = torch.zeros(())
    for row in batch_rows:
        logits = model.logits(model(torch.tensor([row.ids]))).log_softmax(-1)
        reference = warm.logits(warm(torch.tensor([row.ids]))).log_softmax(-1).detach()
        behind = list(row.logprobs)
        for t, on in enumerate(row.scored):
            if not on:
                continue
            logp = logits[t - 1, row.ids[t]]
            ratio = min(2.0, float((logp.detach() - behind.pop(0)).exp()))
            pull = 1 - float((reference[t - 1, row.ids[t]] - logp.detach()).exp())
            total = total + (-ratio * row.weight + 0.3 * pull) * logp / tokens
    total.backward()
    expected = gradient(model)
    assert torch.allclose(got, expected, atol=1e-5)
    assert float(expected.norm()) > 0.01


@pytest.mark.parametrize("tokens_a_piece", [1, 30, 60])
def test_micro_batches_do_not_change_the_gradient(folder: Path, tokens_a_piece: int) -> None:
    model = load_llama(folder, torch.float32)
    batch_rows = rows(8, sampled_by=model)
    tokens = sum(sum(row.scored) for row in batch_rows)

    def whole(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        for group in microbatches(batch_rows, size):
            batch = collate(group)
            imitation(score(model, batch).logprobs_N, batch, tokens).backward()
        imitated = gradient(model)
        for group in microbatches(batch_rows, size):
            batch = collate(group)
            logprobs = score(model, batch).logprobs_N
            policy_gradient(logprobs, batch, batch.logprobs_N, kl_coef=0.1, tokens=tokens).backward()
        return imitated, gradient(model)

    for small, big in zip(whole(tokens_a_piece), whole(10**6), strict=True):
        assert torch.allclose(small, big, atol=1e-5)


@given(st.lists(st.tuples(st.floats(-30, 0), st.floats(-30, 0)), min_size=1, max_size=20))
def test_k3_is_never_negative_and_zero_where_nothing_moved(pairs: list[tuple[float, float]]) -> None:
    own, reference = torch.tensor(pairs, dtype=torch.float64).T
    assert bool((k3(own, reference) >= 0).all())
    assert bool((k3(own, own) == 0).all())


def test_k3_is_unbiased() -> None:
    draw = torch.Generator().manual_seed(1)
    p = torch.randn(12, generator=draw, dtype=torch.float64).softmax(-1)
    q = (p.log() + 0.4 * torch.randn(12, generator=draw, dtype=torch.float64)).softmax(-1)
    exact = float((p * (p / q).log()).sum())
    assert float((p * k3(p.log(), q.log())).sum()) == pytest.approx(exact, abs=1e-12)
    n = 50_000
    tokens = torch.multinomial(p, n, replacement=True, generator=draw)
    estimates = k3(p.log()[tokens], q.log()[tokens])
    error = float(estimates.std()) / n**0.5
    assert float(estimates.mean()) == pytest.approx(exact, abs=4 * error)
