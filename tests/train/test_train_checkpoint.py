"""Checkpoints: whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strop.train.checkpoint import Checkpoint, Checkpoints


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint("sft", step, {"steps": [{"loss": 0.5}]}, {"a": torch.full((3,), float(step))})


def test_the_newest_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", 0)
    assert checkpoints.latest() is None
    for step in range(1, 12):
        checkpoints.save(checkpoint(step))
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["10", "11"]
    found = Checkpoints(tmp_path / "c", 0).latest()
    assert found is not None
    assert (found.phase, found.step, found.notes) == ("sft", 11, {"steps": [{"loss": 0.5}]})
    assert torch.equal(found.tensors["a"], torch.full((3,), 11.0))


def test_what_a_kill_left_half_written_is_not_read(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 0).save(checkpoint(1))
    draft = tmp_path / "2.draft"
    draft.mkdir()
    (draft / "state.safetensors").write_bytes(b"half of")
    checkpoints = Checkpoints(tmp_path, 0)
    found = checkpoints.latest()
    assert found is not None
    assert found.step == 1
    checkpoints.save(checkpoint(2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    found = checkpoints.latest()
    assert found is not None
    assert found.step == 2


def test_a_failing_write_leaves_the_last_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 0)
    checkpoints.save(checkpoint(1))
    with pytest.raises(TypeError):
        checkpoints.save(Checkpoint("sft", 2, {"steps": [object()]}, {"a": torch.zeros(1)}))
    found = checkpoints.latest()
    assert found is not None
    assert found.step == 1


def test_one_is_due_when_its_time_has_come(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, 0).due()
    assert not Checkpoints(tmp_path, 3600).due()
