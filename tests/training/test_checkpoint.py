"""Training state survives, in shards, or says that it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from worldsim.core.errors import PresetError
from worldsim.training import checkpoint
from worldsim.training.checkpoint import (
    load_training_state,
    optimiser_tensors,
    restore_optimiser,
    save_training_state,
)


def test_tensors_and_counters_come_back_from_shards_under_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 1000)
    tensors = {f"t{i}": torch.randn(10 * (i + 1)) for i in range(12)}
    save_training_state(tmp_path / "state", tensors, {"num_updates": 3})
    shards = list((tmp_path / "state").glob("shard-*"))
    assert len(shards) > 2 and all(s.stat().st_size < 1000 + 1000 for s in shards)
    loaded = load_training_state(tmp_path / "state")
    assert loaded is not None and loaded[1] == {"num_updates": 3}
    assert all(torch.equal(loaded[0][name], tensor) for name, tensor in tensors.items())


def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    save_training_state(tmp_path / "state", {"t": torch.ones(2)}, {})
    (tmp_path / "state").rename(tmp_path / "state.old")
    loaded = load_training_state(tmp_path / "state")
    assert loaded is not None and torch.equal(loaded[0]["t"], torch.ones(2))


def test_no_state_is_none_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert load_training_state(tmp_path / "state") is None
    save_training_state(tmp_path / "state", {"t": torch.ones(200)}, {})
    shard = tmp_path / "state" / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(PresetError, match="damaged"):
        load_training_state(tmp_path / "state")


def test_a_restored_optimiser_takes_the_same_steps() -> None:
    def train(model: torch.nn.Linear, optimiser: torch.optim.Optimizer, steps: int) -> None:
        for i in range(steps):
            optimiser.zero_grad()
            model(torch.full((1, 3), float(i + 1))).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    train(model, optimiser, 5)
    twin = torch.nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    twin_optimiser = torch.optim.AdamW(twin.parameters(), lr=0.1)
    restore_optimiser(twin_optimiser, twin, {k: v.clone() for k, v in optimiser_tensors(optimiser, model).items()})
    train(model, optimiser, 3)
    train(twin, twin_optimiser, 3)
    assert torch.equal(model.weight, twin.weight)
