"""The loop stops, resumes, averages, and rejects losses that are not finite."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldsim.core.errors import NonFiniteError
from worldsim.training.config import OptimizerConfig
from worldsim.training.loop import Trainer


class LineRecipe:
    """Learns y = 2 x. At update `break_at` the loss is NaN."""

    frames_per_update = 4
    updates_per_sequence = 1

    def __init__(self, break_at: int = -1) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Linear(1, 1)
        self.average: nn.Module = copy.deepcopy(self.network).requires_grad_(False)
        self.break_at = break_at
        self.exports = 0

    def loss(self, num_updates: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.tensor([[1.0], [2.0]]) + num_updates % 3
        error = (self.network(x) - 2 * x).square().mean()
        return error * float("nan") if num_updates == self.break_at else error, {"figure": 1.0}

    def export(self, folder: Path, num_updates: int, num_frames: int) -> dict[str, float]:
        self.exports += 1
        return {"exported": 1.0}


def quiet(row: dict[str, float | int | str]) -> None:
    """Ignores the row."""


OPTIMIZER = OptimizerConfig(learning_rate=0.05, warmup_steps=1)


def test_a_phase_learns_logs_and_ends_with_a_checkpoint(tmp_path: Path) -> None:
    recipe = LineRecipe()
    trainer = Trainer(recipe, OPTIMIZER, tmp_path, on_log=quiet)
    assert trainer.run(updates=200) == "updates"
    weight = next(recipe.network.parameters()).item()
    assert abs(weight - 2) < 0.5, weight
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert recipe.exports == 1 and rows[-1]["exported"] == 1.0
    assert rows[0]["loss"] > rows[-2]["loss"] and rows[0]["frames_per_s"] > 0


def test_the_same_command_resumes_where_the_last_phase_ended(tmp_path: Path) -> None:
    first = Trainer(LineRecipe(), OPTIMIZER, tmp_path, on_log=quiet)
    first.run(updates=30)
    recipe = LineRecipe()
    second = Trainer(recipe, OPTIMIZER, tmp_path, on_log=quiet)
    assert second.resume()
    assert (second.num_updates, second.num_frames) == (first.num_updates, first.num_frames)
    stored = first._recipe.network.state_dict()
    assert all(torch.equal(stored[n], t) for n, t in recipe.network.state_dict().items())
    assert not Trainer(LineRecipe(), OPTIMIZER, tmp_path / "other", on_log=quiet).resume()


def test_a_loss_that_is_not_a_number_stops_before_the_weights_change(tmp_path: Path) -> None:
    recipe = LineRecipe(break_at=0)
    before = copy.deepcopy(recipe.network.state_dict())
    with pytest.raises(NonFiniteError, match="update 0"):
        Trainer(recipe, OPTIMIZER, tmp_path, on_log=quiet).run(minutes=1)
    assert all(torch.equal(before[n], t) for n, t in recipe.network.state_dict().items())


def test_a_phase_of_minutes_ends_on_time(tmp_path: Path) -> None:
    trainer = Trainer(LineRecipe(), OPTIMIZER, tmp_path, on_log=quiet)
    assert trainer.run(minutes=0.002) == "time"
    assert trainer.num_updates > 0


def test_the_average_follows_the_network(tmp_path: Path) -> None:
    recipe = LineRecipe()
    Trainer(recipe, OPTIMIZER, tmp_path, on_log=quiet).run(updates=200)
    network, average = (next(m.parameters()).item() for m in (recipe.network, recipe.average))
    assert network != average and abs(network - average) < 0.3
