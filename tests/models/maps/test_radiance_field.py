"""The radiance field: walls occlude, and what is learned from one pose holds for all."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from worldsim.models.maps import fixed_map
from worldsim.models.maps.fixed_map import RadianceField

SHAPE = (3, 2, 4)


def painted(wall_at: float) -> RadianceField:
    """Empty space and one thick wall for x >= `wall_at` (plane coordinates)."""
    torch.manual_seed(0)
    field = RadianceField(SHAPE, 16, math.pi / 2)
    for table in field.walls.levels:
        x = torch.linspace(-1, 1, table.shape[-1])
        table.data[0] = torch.where(x >= wall_at, 1.0, -1.0)
    return field


def look(field: RadianceField, x: float, degrees: float) -> Tensor:
    angle = torch.tensor(math.radians(degrees))
    seen: Tensor = field(torch.stack((torch.tensor(x), torch.tensor(0.1), angle.cos(), angle.sin()))[None])[0]
    return seen


def test_a_wall_hides_what_is_behind_it() -> None:
    field = painted(0.2)
    before, away = look(field, 0.0, 0.0), look(field, 0.0, 180.0)
    with torch.no_grad():
        for table in (*field.walls.levels, *field.floor.levels):
            table[1:, :, int(0.7 * table.shape[-1]) :] += 1.0  # another paint, behind the front of the wall
    assert torch.allclose(look(field, 0.0, 0.0), before, atol=1e-3)
    with torch.no_grad():
        for table in field.walls.levels:
            table[1:, :, : table.shape[-1] // 2] += 1.0
            table[0] = 1.0  # now there are walls everywhere, and those in front are painted
    assert not torch.allclose(look(field, 0.0, 180.0), away, atol=1e-2)


def test_a_flat_wall_has_the_same_depth_in_every_column() -> None:
    field = painted(0.2)
    points = field._points(torch.tensor([[0.0, 0.0, 1.0, 0.0]]))
    assert torch.allclose(
        points[0, :, :, 0] * fixed_map.FIELD_REACH, field.depth_S.expand(len(field.ray_angle_R), -1), atol=1e-6
    )
    left, right = points[0, 0, -1, 1], points[0, -1, -1, 1]
    assert left > 0 > right, "the first column looks to the left, which is counter-clockwise"


def test_a_wall_learned_from_one_position_is_known_from_another() -> None:
    """Paint differs along y; seen from x = 0 in training, asked for from x = -0.4."""

    def truth(pose: Tensor) -> Tensor:
        angle = torch.atan2(pose[:, 3], pose[:, 2])[:, None] - torch.atan((torch.arange(4) + 0.5) / 4 * 2 - 1)
        depth = 0.8 - pose[:, :1]
        hit_y = pose[:, 1:2] + depth * angle.tan()
        return torch.stack((torch.sin(4 * hit_y), torch.cos(4 * hit_y), torch.sin(2 * hit_y)), 1)[:, :, None].expand(
            -1, -1, 2, -1
        )

    def poses(x: float, x_range: float) -> Tensor:
        angle = (torch.rand(32) - 0.5) * 0.4
        at = torch.stack((x + x_range * (torch.rand(32) - 0.5), (torch.rand(32) - 0.5) * 0.8), -1)
        return torch.cat((at, angle.cos()[:, None], angle.sin()[:, None]), -1)

    torch.manual_seed(0)
    field = RadianceField(SHAPE, 32, math.pi / 2)
    optimizer = torch.optim.AdamW(field.parameters(), lr=3e-3)
    for _ in range(200):
        pose = poses(0.1, 0.5)
        loss = (field(pose) - truth(pose)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pose = poses(-0.35, 0.1)
    with torch.no_grad():
        error = (field(pose) - truth(pose)).square().mean() / truth(pose).var()
    assert error < 0.3, f"{error:.2f} of the variance, from places never looked from"
