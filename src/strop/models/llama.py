"""A Llama decoder in one page, for training and for sampling alike.

transformers' own forward costs several times the arithmetic while decoding on a CPU: it grows its
cache by copying and launches hundreds of small operations a token. Here projections are fused, the
cache is allocated once, and the vocabulary projection runs only where a token is scored. Weights
are read from and written to the ordinary Hugging Face layout; parity with transformers is tested.

Shape suffixes: B rows, T tokens, D model width, H query heads, K key/value heads, E head width,
F hidden width of the MLP, V vocabulary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from strop.errors import ConfigError

SUPPORTED = ("llama", "mistral", "qwen2")


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder."""

    vocab: int
    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    rope_theta: float
    eps: float
    tied: bool
    qkv_bias: bool

    @classmethod
    def from_config(cls, raw: dict[str, Any], where: str) -> Shape:
        """Read a transformers `config.json`. Raises ConfigError for other architectures."""
        kind = raw.get("model_type")
        rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
        scaled = rope.get("rope_type", rope.get("type", "default")) != "default"
        if kind not in SUPPORTED or scaled or raw.get("use_sliding_window"):
            raise ConfigError(
                f"the local engine runs {', '.join(SUPPORTED)} models with plain positions, not {kind}",
                where=where,
                fix="set train.base to a supported model",
            )
        heads = raw["num_attention_heads"]
        return cls(
            vocab=raw["vocab_size"],
            width=raw["hidden_size"],
            hidden=raw["intermediate_size"],
            layers=raw["num_hidden_layers"],
            heads=heads,
            kv_heads=raw.get("num_key_value_heads") or heads,
            head_width=raw.get("head_dim") or raw["hidden_size"] // heads,
            rope_theta=rope.get("rope_theta") or raw.get("rope_theta") or 10000.0,
            eps=raw["rms_norm_eps"],
            tied=raw.get("tie_word_embeddings", False),
            qkv_bias=raw.get("attention_bias", kind == "qwen2"),
        )


class Cache:
    """Keys and values of up to `rows` sequences of up to `tokens` tokens, allocated once."""

    def __init__(self, shape: Shape, rows: int, tokens: int, dtype: torch.dtype) -> None:
        lead = (shape.layers, rows, shape.kv_heads)
        # Keys lie transposed, so that the product with the queries reads them in memory order:
        # measured 1.5 to 2.5 times as fast as scaled_dot_product_attention for one query a row.
        self.keys = torch.zeros((*lead, shape.head_width, tokens), dtype=dtype)
        self.values = torch.zeros((*lead, tokens, shape.head_width), dtype=dtype)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.keys.shape[1]

    @property
    def tokens(self) -> int:
        """Capacity of a row in tokens."""
        return self.keys.shape[-1]

    def copy_rows(self, source: slice, target: slice, tokens: int) -> None:
        """Copy the first tokens of some rows over others."""
        self.keys[:, target, :, :, :tokens] = self.keys[:, source, :, :, :tokens]
        self.values[:, target, :, :tokens] = self.values[:, source, :, :tokens]

    def swap_rows(self, a: int, b: int, tokens: int) -> None:
        """Exchange the first tokens of two rows."""
        for rows in (self.keys[:, :, :, :, :tokens], self.values[:, :, :, :tokens]):
            held = rows[:, a].clone()
            rows[:, a] = rows[:, b]
            rows[:, b] = held


class Layer(nn.Module):
    """Attention and MLP with fused projections."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        s = shape
        self.norm1 = nn.Parameter(torch.ones(s.width))
        self.qkv = nn.Linear(s.width, (s.heads + 2 * s.kv_heads) * s.head_width, bias=s.qkv_bias)
        self.out = nn.Linear(s.heads * s.head_width, s.width, bias=False)
        self.norm2 = nn.Parameter(torch.ones(s.width))
        self.gate_up = nn.Linear(s.width, 2 * s.hidden, bias=False)
        self.down = nn.Linear(s.hidden, s.width, bias=False)
        self.shape = s

    def project(self, x_B_T_D: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries and keys, and values: `(B, T, heads, E)` each."""
        s = self.shape
        qkv = self.qkv(F.rms_norm(x_B_T_D, (s.width,), self.norm1, s.eps))
        qkv = qkv.unflatten(-1, (s.heads + 2 * s.kv_heads, s.head_width))
        qk, v = qkv.split((s.heads + s.kv_heads, s.kv_heads), dim=-2)
        cos, sin = rope
        left, right = qk.chunk(2, dim=-1)
        qk = qk * cos + torch.cat((-right, left), dim=-1) * sin
        q, k = qk.split((s.heads, s.kv_heads), dim=-2)
        return q, k, v

    def finish(self, x_B_T_D: Tensor, attended_B_T_HE: Tensor) -> Tensor:
        """Add attention's output and the MLP's to the residual stream."""
        x = x_B_T_D + self.out(attended_B_T_HE)
        gate, up = self.gate_up(F.rms_norm(x, (self.shape.width,), self.norm2, self.shape.eps)).chunk(
            2, dim=-1
        )
        return x + self.down(F.silu(gate) * up)


def attend(q_B_H_T_E: Tensor, k_B_G_S_E: Tensor, v_B_G_S_E: Tensor, hidden_T_S: Tensor) -> Tensor:
    """Return causal attention `(B, T, H * E)`; G key heads, each shared by H / G query heads.

    hidden_T_S: True where a query must not look.
    """
    b, heads, t, width = q_B_H_T_E.shape
    groups = k_B_G_S_E.shape[1]
    if q_B_H_T_E.dtype == torch.float32:
        seen = F.scaled_dot_product_attention(
            q_B_H_T_E, k_B_G_S_E, v_B_G_S_E, attn_mask=~hidden_T_S, enable_gqa=groups != heads
        )
    else:
        # In bfloat16 the fused kernel's backward pass takes twice as long as these plain products.
        q = (q_B_H_T_E * width**-0.5).reshape(b, groups, -1, width)
        scores = (q @ k_B_G_S_E.transpose(-1, -2)).view(b, heads, t, -1)
        weights = scores.masked_fill(hidden_T_S, float("-inf")).softmax(-1)
        seen = (weights.view(b, groups, -1, weights.shape[-1]) @ v_B_G_S_E).view(b, heads, t, width)
    return seen.transpose(1, 2).flatten(2)


class Llama(nn.Module):
    """The decoder. `forward` for training, `step` with a cache for sampling."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))
        self.head = None if shape.tied else nn.Linear(shape.width, shape.vocab, bias=False)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and activations."""
        return self.embed.weight.dtype

    def forward(self, ids_B_T: Tensor, prefix_P: Tensor | None = None) -> Tensor:
        """Return the last hidden states `(P + B * T, D)`: the prefix's, then row after row.

        ids_B_T: right-padded rows under a causal mask. prefix_P: tokens that stand before every row and
        are computed once for all of them. Padding stands behind every real token, so the causal mask
        alone keeps it out.
        """
        s = self.shape
        p, t = 0 if prefix_P is None else prefix_P.shape[0], ids_B_T.shape[1]
        x = self.embed(ids_B_T)
        rope = self._rope(torch.arange(p, p + t)[None])
        head = None if prefix_P is None else self.embed(prefix_P[None])
        head_rope = self._rope(torch.arange(p)[None])
        hidden = torch.ones(t, p + t, dtype=torch.bool).triu(p + 1)
        head_hidden = torch.ones(p, p, dtype=torch.bool).triu(1)
        for layer in self._layers():
            q, k, v = (h.transpose(1, 2) for h in layer.project(x, rope))
            if head is not None:
                qp, kp, vp = (h.transpose(1, 2) for h in layer.project(head, head_rope))
                head = layer.finish(head, attend(qp, kp, vp, head_hidden))
                k = torch.cat((kp.expand(k.shape[0], -1, -1, -1), k), dim=2)
                v = torch.cat((vp.expand(v.shape[0], -1, -1, -1), v), dim=2)
            x = layer.finish(x, attend(q, k, v, hidden))
        flat = x.flatten(0, 1) if head is None else torch.cat((head[0], x.flatten(0, 1)))
        return F.rms_norm(flat, (s.width,), self.norm, s.eps)

    def step(self, ids_B_T: Tensor, starts_B: Tensor, cache: Cache) -> Tensor:
        """Feed T new tokens per row, from position `starts_B`, and return hidden states `(B, T, D)`.

        A row shorter than T is padded on the right: what padding writes lies behind the row's end,
        is masked there, and is overwritten by the next real token. The cache's last place is nobody's:
        padding that would pass the end lands there. The rows are the cache's first B.
        """
        s = self.shape
        group = s.heads // s.kv_heads
        positions_B_T = starts_B[:, None] + torch.arange(ids_B_T.shape[1])[None]
        positions_B_T = positions_B_T.clamp(max=cache.tokens - 1)
        end = int(positions_B_T.max()) + 1
        rope = self._rope(positions_B_T)
        # Query heads that share a key head are laid side by side as queries: no copy of the keys.
        hidden_B_1_T_N = (torch.arange(end)[None, None] > positions_B_T[:, :, None])[:, None]
        hidden_B_1_T_N = hidden_B_1_T_N.repeat_interleave(group, dim=2)
        rows = ids_B_T.shape[0]
        index = torch.arange(rows)[:, None]
        x = self.embed(ids_B_T)
        for i, layer in enumerate(self._layers()):
            q, k, v = layer.project(x, rope)
            keys, values = cache.keys[i], cache.values[i]
            keys[index, :, :, positions_B_T] = k
            values[index, :, positions_B_T] = v
            q = q.unflatten(2, (s.kv_heads, group)).permute(0, 2, 1, 3, 4).flatten(2, 3)
            scores = (q @ keys[:rows, :, :, :end]).float() * s.head_width**-0.5
            weights = scores.masked_fill_(hidden_B_1_T_N, float("-inf")).softmax(-1).to(x.dtype)
            attended = weights @ values[:rows, :, :end]
            attended = attended.unflatten(2, (-1, group)).permute(0, 2, 1, 3, 4).flatten(2)
            x = layer.finish(x, attended)
        return F.rms_norm(x, (s.width,), self.norm, s.eps)

    def logits(self, hidden_N_D: Tensor) -> Tensor:
        """Return float32 logits `(N, V)` for the given hidden states only."""
        weight = self.embed.weight if self.head is None else self.head.weight
        return F.linear(hidden_N_D, weight).float()

    def _layers(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def _rope(self, positions_B_T: Tensor) -> tuple[Tensor, Tensor]:
        half = self.shape.head_width // 2
        inverse = self.shape.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
        angles = positions_B_T[..., None].float() * inverse
        angles = torch.cat((angles, angles), dim=-1)[:, :, None]
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)


def load_llama(folder: Path, dtype: torch.dtype) -> Llama:
    """Load a Hugging Face folder (config.json, *.safetensors) in the given dtype."""
    shape = Shape.from_config(json.loads((folder / "config.json").read_text()), str(folder))
    raw: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        raw.update(load_file(file))
    model = Llama.__new__(Llama)
    with torch.device("meta"):
        model.__init__(shape)
    state = {name: tensor.to(dtype) for name, tensor in _fused(raw, shape).items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model


def save_llama(model: Llama, folder: Path, template: Path) -> None:
    """Write weights in the Hugging Face layout, beside config and tokenizer copied from `template`."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in template.iterdir():
        if file.suffix in (".json", ".jinja", ".txt", ".model"):
            (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(model.dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    state = {k: v.detach().clone() for k, v in _split(model).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


_ATTENTION = ("q_proj", "k_proj", "v_proj")
_MLP = ("gate_proj", "up_proj")


def _fused(raw: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    state = {"embed.weight": raw["model.embed_tokens.weight"], "norm": raw["model.norm.weight"]}
    if not shape.tied:
        state["head.weight"] = raw["lm_head.weight"]
    for i in range(shape.layers):
        old, new = f"model.layers.{i}.", f"layers.{i}."
        state[new + "norm1"] = raw[old + "input_layernorm.weight"]
        state[new + "norm2"] = raw[old + "post_attention_layernorm.weight"]
        state[new + "qkv.weight"] = torch.cat([raw[f"{old}self_attn.{p}.weight"] for p in _ATTENTION])
        if shape.qkv_bias:
            state[new + "qkv.bias"] = torch.cat([raw[f"{old}self_attn.{p}.bias"] for p in _ATTENTION])
        state[new + "out.weight"] = raw[old + "self_attn.o_proj.weight"]
        state[new + "gate_up.weight"] = torch.cat([raw[f"{old}mlp.{p}.weight"] for p in _MLP])
        state[new + "down.weight"] = raw[old + "mlp.down_proj.weight"]
    return state


def _split(model: Llama) -> dict[str, Tensor]:
    s, state = model.shape, model.state_dict()
    raw = {"model.embed_tokens.weight": state["embed.weight"], "model.norm.weight": state["norm"]}
    if not s.tied:
        raw["lm_head.weight"] = state["head.weight"]
    sizes = (s.heads * s.head_width, s.kv_heads * s.head_width, s.kv_heads * s.head_width)
    for i in range(s.layers):
        old, new = f"model.layers.{i}.", f"layers.{i}."
        raw[old + "input_layernorm.weight"] = state[new + "norm1"]
        raw[old + "post_attention_layernorm.weight"] = state[new + "norm2"]
        for kind in ("weight", "bias") if s.qkv_bias else ("weight",):
            parts = state[f"{new}qkv.{kind}"].split(sizes)
            raw |= {f"{old}self_attn.{p}.{kind}": part for p, part in zip(_ATTENTION, parts, strict=True)}
        raw[old + "self_attn.o_proj.weight"] = state[new + "out.weight"]
        halves = state[new + "gate_up.weight"].chunk(2)
        raw |= {f"{old}mlp.{p}.weight": half for p, half in zip(_MLP, halves, strict=True)}
        raw[old + "mlp.down_proj.weight"] = state[new + "down.weight"]
    return raw
