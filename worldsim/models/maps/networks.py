"""What maps are built from: multi-resolution feature grids over a plane, a residual MLP, and volume rendering.

A coarse and a fine level together learn a function of position far faster than an MLP of sines does: an update changes
the features near that position only. The plane is [-1, 1] x [-1, 1], padded with the values of its border.
Source: Mueller et al. 2022, "Instant Neural Graphics Primitives", without the hashing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVEL_GAIN = 5.0
"""Grids learn this many times as fast as matrices, because an update touches few of their cells."""


class FeatureGrid(nn.Module):
    """One level per entry of `cells`, its size along x and y, with `num_features` features per grid point."""

    def __init__(self, cells: tuple[int, ...], num_features: int) -> None:
        super().__init__()
        self.levels = nn.ParameterList([nn.Parameter(torch.randn(num_features, n, n) * 0.01) for n in cells])
        self.size = num_features * len(cells)

    def read(self, position_2: Tensor) -> list[Tensor]:
        """The features of every level. Shapes: [..., 2] (x, y) -> [num_features, ...] each."""
        at_1M12 = position_2.reshape(1, -1, 1, 2)
        sampled = [
            F.grid_sample(level[None].to(at_1M12), at_1M12, align_corners=True, padding_mode="border")
            for level in self.levels
        ]
        return [LEVEL_GAIN * f.reshape(-1, *position_2.shape[:-1]) for f in sampled]

    def forward(self, position_B2: Tensor) -> Tensor:
        """Shapes: [B, 2] (x, y) -> [B, size]."""
        return torch.cat(self.read(position_B2)).T


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


def volume_weights(transmitted_NRS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For the transmittance of every sample of rays: that up to the sample, the sample's weight, and that of the ray.

    Shapes: [..., R, S] -> [..., R, S] twice, [..., R]. Source: Mildenhall et al. 2020, "NeRF", equation 3.
    """
    reached_NRS = torch.cumprod(F.pad(transmitted_NRS[..., :-1] + 1e-6, (1, 0), value=1.0), -1)
    return reached_NRS, reached_NRS * (1 - transmitted_NRS), reached_NRS[..., -1] * transmitted_NRS[..., -1]
