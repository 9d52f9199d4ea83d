"""A multilayer perceptron with residual blocks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualMLP(nn.Module):
    """Shapes: [..., size_in] -> [..., size_out]."""

    def __init__(self, size_in: int, width: int, size_out: int, num_blocks: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(size_in, width)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
                for _ in range(num_blocks)
            ]
        )
        self.project_out = nn.Linear(width, size_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project_in(x)
        for block in self.blocks:
            x = x + block(x)
        projected: Tensor = self.project_out(F.silu(x))
        return projected
