"""Training state: shards, interrupted swaps, damage, and models that do not match."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from worldsim.core.errors import PresetError, StateError
from worldsim.training import checkpoint
from worldsim.training.checkpoint import (
    TrainedModules,
    load_training_state,
    make_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_training_state,
)
from worldsim.training.distributed import DistributedContext


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


class Saved(nn.Module):
    """One linear layer with or without bias, or two."""

    def __init__(self, width: int = 4, *, bias: bool = True, more: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(3, width, bias=bias)
        if more:
            self.second = nn.Linear(width, 1)


CHANGED = [
    (Saved(width=6), "first.weight has shape [4, 3] in the checkpoint, shape [6, 3] in the model"),
    (Saved(more=True), "second.weight has none in the checkpoint, shape [1, 4] in the model"),
    (Saved(bias=False), "first.bias has shape [4] in the checkpoint, none in the model"),
]


@pytest.mark.parametrize("is_sharded", [False, True])
@pytest.mark.parametrize(("changed", "words"), CHANGED)
def test_a_run_whose_recipe_changed_reports_the_difference_and_is_left_unchanged(
    changed: Saved, words: str, is_sharded: bool, tmp_path: Path
) -> None:
    with one_process(tmp_path) if is_sharded else nullcontext():
        distributed = DistributedContext(device="cpu")
        stored = make_checkpoint(tmp_path / "state", distributed, fsdp=is_sharded)
        same = Saved()
        stored.save(modules_of(same), {"num_updates": 3})
        stored.finish()
        with pytest.raises(StateError) as caught:
            stored.load(modules_of(changed))
        assert words in caught.value.message and str(tmp_path / "state") in caught.value.message
        assert "--out" in caught.value.hint
        assert stored.load(modules_of(same)) == {"num_updates": 3}


@pytest.mark.parametrize("was_sharded", [False, True])
def test_a_state_of_the_other_layout_names_the_setting(was_sharded: bool, tmp_path: Path) -> None:
    network, distributed = Saved(), DistributedContext(device="cpu")
    with one_process(tmp_path):
        stored = make_checkpoint(tmp_path / "state", distributed, fsdp=was_sharded)
        stored.save(modules_of(network), {})
        stored.finish()
        with pytest.raises(StateError, match=f"saved with fsdp = {str(was_sharded).lower()}"):
            make_checkpoint(tmp_path / "state", distributed, fsdp=not was_sharded).load(modules_of(network))


def modules_of(network: nn.Module) -> TrainedModules:
    return TrainedModules(network, copy.deepcopy(network), torch.optim.AdamW(network.parameters()))


@contextmanager
def one_process(folder: Path) -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), 1), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("prefix", ["optimizer.", "optimiser."])
def test_a_restored_optimizer_takes_the_same_steps(prefix: str) -> None:
    """Also from states of earlier versions, which spell the prefix differently."""

    def train(model: torch.nn.Linear, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for i in range(steps):
            optimizer.zero_grad()
            model(torch.full((1, 3), float(i + 1))).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    train(model, optimizer, 5)
    twin = torch.nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    twin_optimizer = torch.optim.AdamW(twin.parameters(), lr=0.1)
    tensors = optimizer_tensors(optimizer, model)
    restore_optimizer(twin_optimizer, twin, {k.replace("optimizer.", prefix): v.clone() for k, v in tensors.items()})
    train(model, optimizer, 3)
    train(twin, twin_optimizer, 3)
    assert torch.equal(model.weight, twin.weight)
