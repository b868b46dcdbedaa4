"""A tiny model that has learned a handful of episodes by heart: it calls its tool, then answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tiny import tiny_model

from strop.models.llama import Llama, load_llama
from strop.models.render import Renderer
from strop.records import Curated, Episode, Message, Tool, ToolCall, Trace, trace_hash
from strop.train.data import Row, episode_row
from strop.train.optimizer import MasterAdamW
from strop.train.sft import sft_step

torch.set_num_threads(1)  # for so small a model a second thread only waits

TOOL = Tool("t", "", {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]})


def episode(n: int, *, result: str | None = None, asked: str | None = None) -> Curated:
    """Parcel n is asked about, looked up and answered."""
    messages = (
        Message("user", asked or f"{n:02d}?"),
        Message("assistant", None, (ToolCall("call_0", "t", f'{{"id": "{n:02d}"}}'),)),
        Message("tool", result or f"s{n % 2}", tool_call_id="call_0", name="t"),
        Message("assistant", f'{{"s": "{n % 2}"}}'),
    )
    trace = Trace(
        source="otlp",
        source_id=f"run{n}",
        episodes=(Episode(messages, (TOOL,)),),
        customer=f"c{n % 5}",
        workflow_id=f"w{n}",
        started_at=n * 10**9,
        ended_at=n * 10**9 + 1,
        model="teacher",
    )
    return Curated(
        trace_hash=trace_hash(trace),
        trace=trace,
        kept=True,
        reason="",
        group=f"w{n}",
        split="train",
        ground_truth={"s": str(n % 2)},
    )


@dataclass
class Taught:
    folder: Path
    model: Llama
    renderer: Renderer
    episodes: list[Curated]
    losses: list[float]


def taught(folder: Path, *, count: int = 2, steps: int = 150, lr: float = 0.02) -> Taught:
    """Overfit the tiny model on `count` episodes."""
    torch.manual_seed(0)
    model, renderer = load_llama(tiny_model(folder), torch.float32), Renderer(folder)
    episodes = [episode(n) for n in range(1, count + 1)]
    rows: list[Row] = [row for row in (episode_row(renderer, e) for e in episodes) if row is not None]
    optimizer = MasterAdamW(model)
    losses = [
        sft_step(model, optimizer, rows, step=step, steps=steps, lr=lr)["loss"] for step in range(steps)
    ]
    return Taught(folder, model, renderer, episodes, losses)
