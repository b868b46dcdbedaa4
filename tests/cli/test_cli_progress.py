"""What a training step prints while it works."""

from __future__ import annotations

import io

from rich.console import Console

from strop.cli.progress import Progressing


def test_a_training_step_is_a_row_under_the_names_of_its_columns() -> None:
    out = io.StringIO()
    with Progressing(Console(file=out, width=200)) as watch:
        watch(
            "train", {"phase": "sft", "step": 1, "loss": 1.5, "entropy": 0.25, "length": 12, "seconds": 3.0}
        )
        watch("train", {
            "phase": "grpo", "step": 1, "loss": -0.5, "reward": 0.75, "kl_warm": 0.0125, "entropy": 0.5,
            "length": 14, "seconds": 2.0, "components": {"tone_ok": 0.6}, "tools": {"lookup": 1.0},
        })  # fmt: skip
    rows = [line.split() for line in out.getvalue().splitlines()]
    first, sft, second, grpo = rows
    assert dict(zip(first, sft, strict=True))["kl"] == "-"
    names = [*first, "tone_ok", "tool lookup"]
    assert second == [word for name in names for word in name.split()]
    assert dict(zip(names, grpo, strict=True)) == {
        "phase": "grpo", "step": "1", "loss": "-0.5", "reward": "0.75", "kl": "0.0125", "entropy": "0.5",
        "length": "14", "seconds": "2", "tone_ok": "0.6", "tool lookup": "1",
    }  # fmt: skip
