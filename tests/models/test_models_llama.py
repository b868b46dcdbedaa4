from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import tiny_model
from transformers import AutoModelForCausalLM

from strop.errors import ConfigError
from strop.models.llama import Cache, Shape, attend, load_llama, save_llama


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_logits_equal_transformers_own(tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path, kind=kind)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours = load_llama(folder, torch.float32)
    ids = torch.randint(0, 200, (3, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(ours.logits(ours(ids)), theirs(ids).logits.flatten(0, 1), atol=1e-5)


def test_cached_steps_equal_one_forward_pass_for_ragged_rows(tmp_path: Path) -> None:
    model = load_llama(tiny_model(tmp_path), torch.float32)
    ids = torch.randint(0, 200, (2, 30), generator=torch.Generator().manual_seed(2))
    cache = Cache(model.shape, 2, 40, torch.float32)
    with torch.no_grad():
        whole = model(ids).view(2, 30, -1)
        # Row 0 has 10 tokens so far and row 1 has 4: what pads row 1 must leave no trace.
        padded = ids[:, :10].clone()
        padded[1, 4:] = 7
        model.step(padded, torch.tensor([0, 0]), cache)
        second = torch.stack([ids[0, 10:20], ids[1, 4:14]])
        hidden = model.step(second, torch.tensor([10, 4]), cache)
    assert torch.allclose(hidden[0], whole[0, 10:20], atol=1e-5)
    assert torch.allclose(hidden[1], whole[1, 4:14], atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_saved_weights_load_in_transformers_and_here(tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / "a", kind=kind)
    model = load_llama(folder, torch.float32)
    save_llama(model, tmp_path / "b", folder)
    again = load_llama(tmp_path / "b", torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "b", dtype=torch.float32)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        want = model.logits(model(ids))
        assert torch.equal(again.logits(again(ids)), want)
        assert torch.allclose(theirs(ids).logits[0], want, atol=1e-5)


def test_other_architectures_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="gpt2"):
        Shape.from_config({"model_type": "gpt2"}, "somewhere")


def test_a_shared_prefix_changes_neither_states_nor_gradients(tmp_path: Path) -> None:
    model = load_llama(tiny_model(tmp_path), torch.float32)
    ids = torch.randint(0, 200, (3, 40), generator=torch.Generator().manual_seed(5))
    ids[:, :17] = ids[0, :17]
    whole = model(ids).view(3, 40, -1)
    # The prefix's states count once, whichever row they are read from.
    whole = torch.cat((whole[0, :17], whole[:, 17:].flatten(0, 1)))
    whole.pow(2).sum().backward()
    want = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    split = model(ids[:, 17:], ids[0, :17])
    split.pow(2).sum().backward()
    assert torch.allclose(split, whole, atol=1e-5)
    for name, p in model.named_parameters():
        assert p.grad is not None
        assert torch.allclose(p.grad, want[name], rtol=1e-4, atol=1e-4), name


def test_attention_in_bfloat16_is_the_one_in_float32_but_for_rounding() -> None:
    draw = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(2, heads, 12, 8, generator=draw).bfloat16() for heads in (6, 2, 2))
    hidden = torch.ones(12, 12, dtype=torch.bool).triu(1)
    plain = attend(q, k, v, hidden).float()
    assert torch.allclose(plain, attend(q.float(), k.float(), v.float(), hidden), atol=0.03)
