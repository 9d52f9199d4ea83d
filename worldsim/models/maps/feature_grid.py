"""Functions of a place, learned where the place is: features on grids over a plane, read between their points.

A coarse and a fine table together learn a function of place far faster than an MLP of sines does: an update changes
what was seen there and nothing elsewhere. The plane is [-1, 1] x [-1, 1]; beyond it the edge goes on.
Source: Mueller et al. 2022, "Instant Neural Graphics Primitives", without the hashing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TABLE_GAIN = 5.0
"""A table learns this many times as fast as a matrix: each update touches few of its cells."""


class FeatureGrid(nn.Module):
    """`cells` are the tables' sizes along x and y; each has `num_features` numbers per point."""

    def __init__(self, cells: tuple[int, ...], num_features: int) -> None:
        super().__init__()
        self.levels = nn.ParameterList([nn.Parameter(torch.randn(num_features, n, n) * 0.01) for n in cells])
        self.size = num_features * len(cells)

    def read(self, place_2: Tensor) -> list[Tensor]:
        """Of every table. Shapes: [..., 2] (x, y) -> [num_features, ...] each."""
        at_1M12 = place_2.reshape(1, -1, 1, 2)
        found = [
            F.grid_sample(table[None].to(at_1M12), at_1M12, align_corners=True, padding_mode="border")
            for table in self.levels
        ]
        return [TABLE_GAIN * f.reshape(-1, *place_2.shape[:-1]) for f in found]

    def forward(self, place_B2: Tensor) -> Tensor:
        """Shapes: [B, 2] (x, y) -> [B, size]."""
        return torch.cat(self.read(place_B2)).T
