"""AdamW over float32 master weights, with the model itself in bfloat16.

The forward and backward pass run on the bfloat16 weights as they are (no cast a step); the update
happens in float32 and is rounded once into the model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strop.errors import StropError


class MasterAdamW:
    """AdamW (Loshchilov and Hutter, 2019) with gradient clipping by global norm.

    beta2: how long squared gradients are remembered; 0.95 forgets the large first ones of imitation in
    some 40 steps, 0.99 suits the sparser ones of reward.
    """

    def __init__(
        self, model: nn.Module, *, beta2: float = 0.95, weight_decay: float = 0.0, clip: float = 1.0
    ) -> None:
        self._model = dict(model.named_parameters())
        self.masters = {name: p.detach().float().clone() for name, p in self._model.items()}
        self._clip = clip
        self._adam = torch.optim.AdamW(
            list(self.masters.values()), lr=0.0, betas=(0.9, beta2), weight_decay=weight_decay, fused=True
        )

    def step(self, lr: float) -> float:
        """Update with the gradients that the model holds, and drop them; return their norm.

        Raises StropError where the norm is not finite.
        """
        for name, p in self._model.items():
            self.masters[name].grad = None if p.grad is None else p.grad.float()
            p.grad = None
        norm = torch.nn.utils.clip_grad_norm_(list(self.masters.values()), self._clip)
        if not torch.isfinite(norm):
            raise StropError(
                f"the gradient is not finite (norm {float(norm)}): the weights stay as they were",
                fix="lower train.sft_lr or train.grpo_lr, or set train.dtype to float32",
            )
        for group in self._adam.param_groups:
            group["lr"] = lr
        self._adam.step()
        self._round()
        return float(norm)

    @torch.no_grad()
    def _round(self) -> None:
        for name, p in self._model.items():
            p.copy_(self.masters[name])

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that a resumed run needs."""
        out = {f"master.{name}": tensor for name, tensor in self.masters.items()}
        for name, tensor in self.masters.items():
            for key, value in self._adam.state.get(tensor, {}).items():
                out[f"adam.{key}.{name}"] = value
        return out

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned, into the model too."""
        for name, tensor in self.masters.items():
            tensor.copy_(state[f"master.{name}"])
            entry = {
                key.split(".", 2)[1]: value.clone()
                for key, value in state.items()
                if key.startswith("adam.") and key.split(".", 2)[2] == name
            }
            if entry:
                self._adam.state[tensor] = entry
        self._round()
