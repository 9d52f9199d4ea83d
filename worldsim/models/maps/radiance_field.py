"""A two-dimensional radiance field of a fixed world: renders the latent seen from a pose.

A maze seen at eye level is two-dimensional: a column of the frame depends on what its rays hit in the floor plan. So
density and features are grids over the floor plan, integrated along rays as in a radiance field, with two differences:
the field has two dimensions, and the result is a column of the autoencoder's latent, not a color. A wall learned from
one position is known from every other; an MLP from pose to frame would have to learn it for each position. The pose
comes from `fixed_map`.

Letters: B batch, P pose size, C H W channels, rows and columns of the latent, R rays of all columns, S samples along a
ray, F features, K slices of depth.
Source: Mildenhall et al. 2020, "NeRF", equation 3; grids: see `feature_grid`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.maps.feature_grid import FeatureGrid
from worldsim.models.mlp import ResidualMLP
from worldsim.models.pose import heading_rad

RAYS_PER_COLUMN = 2
NUM_SAMPLES = 40
NEAREST, FARTHEST = 0.02, 2.9
"""Range of depths at which a ray is sampled, evenly in the logarithm; in scaled units (the map is 2 wide)."""
FIELD_REACH = 1.08
"""Half the width of the plane: the outer walls are outside the walkable map."""

WALL_CELLS, WALL_FEATURES = (64, 128), 12
FLOOR_CELLS, FLOOR_FEATURES = (32,), 6
"""The floor in front of a wall is rendered too, in a few slices of depth."""
NUM_SLICES = 8
COLUMN_FEATURES = 16
DENSITY_GAIN, DENSITY_START, DENSITY_SCALE = 4.0, -2.0, 20.0
"""Density is scale * softplus(gain * grid + start): initially a thin fog, through which gradients reach all samples."""
INIT_GAIN = 2.0
"""Grids are initialized this much larger than elsewhere: an even fog has a symmetry that training would not break."""


class RadianceField(nn.Module):
    """`view_rad` is the camera's horizontal field of view."""

    ray_angle_R: Tensor
    depth_S: Tensor
    spacing_S: Tensor
    slice_SK: Tensor

    def __init__(self, latent_shape: tuple[int, int, int], width: int, view_rad: float) -> None:
        super().__init__()
        self.latent_shape = channels, rows, columns = latent_shape
        self.walls = FeatureGrid(WALL_CELLS, 1 + WALL_FEATURES)
        self.floor = FeatureGrid(FLOOR_CELLS, FLOOR_FEATURES)
        for parameter in (*self.walls.parameters(), *self.floor.parameters()):
            parameter.data.mul_(INIT_GAIN)
        size = RAYS_PER_COLUMN * (2 * WALL_FEATURES + 2 + NUM_SLICES * (FLOOR_FEATURES + 1))
        self.column_WF = nn.Parameter(torch.randn(columns, COLUMN_FEATURES) * 0.1)
        self.decoder = ResidualMLP(size + COLUMN_FEATURES, width, channels * rows, 2)

        num_rays = columns * RAYS_PER_COLUMN
        across_R = (torch.arange(num_rays) + 0.5) / num_rays * 2 - 1
        edges = torch.logspace(math.log10(NEAREST), math.log10(FARTHEST), NUM_SAMPLES + 1)
        slices_S = torch.arange(NUM_SAMPLES) * NUM_SLICES // NUM_SAMPLES
        share = NUM_SLICES / NUM_SAMPLES
        for name, fixed in {
            "ray_angle_R": -torch.atan(across_R * math.tan(view_rad / 2)),
            "depth_S": (edges[1:] * edges[:-1]).sqrt(),
            "spacing_S": edges.diff(),
            "slice_SK": F.one_hot(slices_S, NUM_SLICES) * share,
        }.items():
            self.register_buffer(name, fixed, persistent=False)

    def forward(self, pose_BP: Tensor) -> Tensor:
        """Shapes: [B, P] -> [B, C, H, W]."""
        (channels, rows, columns), batch = self.latent_shape, len(pose_BP)
        rays_BRF = self._march(self._points(pose_BP))
        rays_BWF = rays_BRF.reshape(batch, columns, -1)
        columns_BWF = torch.cat((rays_BWF, self.column_WF.expand(batch, -1, -1)), -1)
        latent_BWCH: Tensor = self.decoder(columns_BWF).unflatten(2, (channels, rows))
        return latent_BWCH.permute(0, 2, 3, 1)

    def _points(self, pose_BP: Tensor) -> Tensor:
        """Sample points of the rays, with the plane scaled to [-1, 1]. Shapes: [B, P] -> [B, R, S, 2].

        Depth is measured along the camera's axis, not along the ray: points of equal depth appear at equal height.
        """
        angle_BR = heading_rad(pose_BP)[:, None] + self.ray_angle_R
        along_BR2 = torch.stack((angle_BR.cos(), angle_BR.sin()), -1) / self.ray_angle_R.cos()[:, None]
        points: Tensor = pose_BP[:, None, None, :2] + along_BR2[:, :, None] * self.depth_S[:, None]
        return points / FIELD_REACH

    def _march(self, points_BRS2: Tensor) -> Tensor:
        """Integrates walls, their depth, and the floor in front of them along rays. Shapes: [B, R, features]."""
        walls_FBRS = torch.stack(self.walls.read(points_BRS2)).sum(0)
        density_BRS = DENSITY_SCALE * F.softplus(DENSITY_GAIN * walls_FBRS[0] + DENSITY_START)
        transmitted_BRS = torch.exp(-density_BRS * self.spacing_S)
        reached_BRS = torch.cumprod(F.pad(transmitted_BRS[..., :-1] + 1e-6, (1, 0), value=1.0), -1)
        weight_BRS = reached_BRS * (1 - transmitted_BRS)
        remaining_BR = reached_BRS[..., -1] * transmitted_BRS[..., -1]

        wall_FBR = (walls_FBRS[1:] * weight_BRS).sum(-1)
        log_depth_BR = (weight_BRS * self.depth_S.log()).sum(-1) + remaining_BR
        nearness_BR = 0.1 * (weight_BRS / self.depth_S).sum(-1)
        floor_FBRS = torch.stack(self.floor.read(points_BRS2)).sum(0)
        slices_FBRK = (floor_FBRS * reached_BRS) @ self.slice_SK
        reached_BRK = reached_BRS @ self.slice_SK
        features = (
            wall_FBR.movedim(0, -1),
            (wall_FBR * nearness_BR).movedim(0, -1),
            log_depth_BR[..., None],
            nearness_BR[..., None],
            slices_FBRK.movedim(0, -2).flatten(-2),
            reached_BRK,
        )
        return torch.cat(features, -1)
