"""The optimizer of a run: AdamW, or Muon for the matrices of the layers and AdamW for everything else.

Source of Muon: Jordan et al. 2024, "Muon: an optimizer for hidden layers"; this is torch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import ParamsT

from worldsim.training.config import OptimizerConfig

BETAS = (0.9, 0.97)
MUON_MOMENTUM = 0.95
RATE_SCALE = "rate_scale"
"""Key of a parameter group: its learning rate over that of the schedule."""


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; with `config.muon_learning_rate`, Muon for the weight matrices inside `layers`."""
    if not config.muon_learning_rate:
        return _adamw(network.parameters(), config)
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_matrix = parameter.dim() == 2 and "layers." in name
        (matrices if is_matrix else others).append(parameter)
    return MuonAdamW(matrices, others, config)


class MuonAdamW(torch.optim.Optimizer):
    """Both as one optimizer with one state, so that a checkpoint holds it like any other."""

    def __init__(self, matrices: list[nn.Parameter], others: list[nn.Parameter], config: OptimizerConfig) -> None:
        super().__init__([{"params": matrices}, {"params": others}], {})
        self._muon = torch.optim.Muon(
            matrices, lr=config.muon_learning_rate, momentum=MUON_MOMENTUM, weight_decay=config.weight_decay
        )
        self._adamw = _adamw(others, config)
        self._muon.state = self._adamw.state = self.state
        self._muon.param_groups[0][RATE_SCALE] = config.muon_learning_rate / config.learning_rate
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's overloads
        assert closure is None, "a closure would run twice"
        self._muon.step()
        self._adamw.step()
        return None


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    group: dict[str, Any]
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get(RATE_SCALE, 1.0)


def _adamw(parameters: ParamsT, config: OptimizerConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=BETAS, weight_decay=config.weight_decay, fused=True
    )
