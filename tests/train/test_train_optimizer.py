"""AdamW over float32 masters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from strop.train.optimizer import MasterAdamW

torch.set_num_threads(1)


def net(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)


def backward(model: nn.Module, step: int) -> None:
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
    model(x.to(next(model.parameters()).dtype)).float().square().sum().backward()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_in_float32_it_is_torchs_own(weight_decay: float) -> None:
    ours, theirs = net(), net()
    optimizer = MasterAdamW(ours, weight_decay=weight_decay)
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=weight_decay)
    for step in range(10):
        backward(ours, step)
        backward(theirs, step)
        norm = optimizer.step(0.01)
        assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)), rel=1e-5)
        reference.step()
        reference.zero_grad()
        assert all(p.grad is None for p in ours.parameters())
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(dtype: torch.dtype) -> None:
    calm, first = net(dtype), net(dtype)
    straight, before = MasterAdamW(calm), MasterAdamW(first)
    for step in range(3):
        for model, optimizer in ((calm, straight), (first, before)):
            backward(model, step)
            optimizer.step(0.01)
    saved = {name: tensor.clone() for name, tensor in before.state().items()}
    resumed = net(dtype)
    after = MasterAdamW(resumed)
    after.load(saved)
    for step in range(3, 6):
        for model, optimizer in ((calm, straight), (resumed, after)):
            backward(model, step)
            optimizer.step(0.02)
    for a, b in zip(calm.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(t, after.state()[name]) for name, t in straight.state().items())


def test_small_updates_are_not_lost_to_rounding() -> None:
    model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        model.weight.fill_(1.0)
    optimizer = MasterAdamW(model)
    for _ in range(100):  # each update is a tenth of what bfloat16 can tell apart near 1
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step(0.0004)
    assert float(optimizer.masters["weight"]) == pytest.approx(0.96, abs=1e-4)
    assert model.weight.dtype == torch.bfloat16
    assert torch.equal(model.weight, optimizer.masters["weight"].to(torch.bfloat16))


def test_gradients_are_clipped_by_their_global_norm() -> None:
    model = net()
    optimizer = MasterAdamW(model, clip=0.5)
    backward(model, 0)
    plain = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert optimizer.step(0.01) == pytest.approx(float(plain.norm()), rel=1e-5)
    clipped = torch.cat([m.grad.flatten() for m in optimizer.masters.values() if m.grad is not None])
    assert float(clipped.norm()) == pytest.approx(0.5, rel=1e-4)
