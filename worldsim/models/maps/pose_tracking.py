"""Pose tracking: a learned motion model predicts the pose one tick later, and true frames refine it.

The motion model reads the action and features of the walls nearby, which `fixed_map` and `map_tracker` provide.
Refinement makes the map's rendering match a true frame by Gauss-Newton steps. Only true frames may correct a pose:
generated ones were rendered at the estimated pose and carry no information about it.
Source: Gauss-Newton with a prior, as in iterated extended Kalman filters (Thrun et al. 2005, "Probabilistic Robotics",
section 3.3). Letters: B batch, P pose size, A action, F features, C H W of the latent, L its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from worldsim.models.maps.networks import ResidualMLP
from worldsim.models.pose import heading_rad, move_by, rotate, turn_between, unit_heading

TRANSLATION_SCALE = 0.05
"""Typical motion of one tick, in scaled units; it normalizes the networks' inputs and outputs."""
ROTATION_SCALE = 0.17
"""Typical rotation of one tick, in radians."""
REST_SCALE = 0.05
"""Motion below about this fraction of a tick's typical motion is damped to zero when there is no input."""


MapReader: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Poses [N, P], those of a batch row adjacent -> the rendering [N, C, H, W], and the precision of its values (one over
the variance; any shape that broadcasts with it)."""
FINITE_DIFFERENCE_STEP = 0.01
"""Step of the finite differences, in scaled units and in radians."""
MAX_STEP = 0.1
"""Largest step, in scaled units and in radians: the linearization holds only locally."""
SOLID_OPACITY = 0.5
"""Positions whose walls are more opaque than this cannot be entered."""
WallReader: TypeAlias = Callable[[Tensor], Tensor]
"""Positions [B, K, 2] -> how opaque the walls are there, 0 to 1 [B, K]."""


class Motion(nn.Module):
    """Predicts the motion in the camera's own frame, so that it is the same everywhere.

    The previous pose gives the speed. At rest and without input the pose does not change: any drift per tick would add
    up to a room's width within a minute. Before training no wall has an effect.
    """

    def __init__(self, around_size: int, action_size: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 + action_size, 3)
        self.collision = ResidualMLP(around_size + 3 + action_size, width, 3, 2)
        nn.init.zeros_(self.collision.project_out.weight)
        nn.init.zeros_(self.collision.project_out.bias)

    def step(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor, around_BF: Tensor) -> Tensor:
        """`around_BF`: features of the walls nearby. Shapes: returns [B, P]."""
        own = torch.cat((ego_motion(pose_BP, previous_BP), action_BA), -1)
        motion_B3 = motion_gate(own)[:, None] * (self.linear(own) + self.collision(torch.cat((around_BF, own), -1)))
        step_B2 = rotate(motion_B3[:, :2], heading_rad(pose_BP)) * TRANSLATION_SCALE
        return move_by(pose_BP, torch.cat((step_B2, motion_B3[:, 2:] * ROTATION_SCALE), -1))


def stop_at_walls(wall_at: WallReader, pose_BP: Tensor, moved_BP: Tensor, *, radius: float = 0.0) -> Tensor:
    """The moved pose without the part of its translation that leads into a wall: along a wall it slides, in a corner it
    stays. Turning is free, and a pose inside a wall may leave it.

    `radius`: distance that a wall ahead keeps, along each axis. Shapes: returns [B, P].
    """
    here_B2, there_B2 = pose_BP[:, :2], moved_BP[:, :2]
    along_x_B2 = torch.stack((there_B2[:, 0], here_B2[:, 1]), -1)
    along_y_B2 = torch.stack((here_B2[:, 0], there_B2[:, 1]), -1)
    target_BK2 = torch.stack((there_B2, along_x_B2, along_y_B2, here_B2), 1)
    step_BK2 = target_BK2 - here_B2[:, None]
    ahead_BK22 = torch.diag_embed(step_BK2.sign() * radius)  # one row for each axis
    halfway_BK12 = target_BK2[:, :, None] - step_BK2[:, :, None] / 2
    probe_BKS2 = torch.cat((target_BK2[:, :, None] + ahead_BK22, halfway_BK12), 2)
    before_BKS2 = here_B2[:, None, None] + ahead_BK22
    wall_BK, before_BK = (
        wall_at(probe.flatten(1, 2)).unflatten(1, probe.shape[1:3]).amax(2) for probe in (probe_BKS2, before_BKS2)
    )
    is_free_BK = (wall_BK <= before_BK.clamp_min(SOLID_OPACITY)) | (step_BK2 == 0).all(-1)
    best_B = torch.where(is_free_BK, step_BK2.norm(dim=-1), -1.0).argmax(1)
    chosen_B2 = target_BK2[torch.arange(len(pose_BP), device=pose_BP.device), best_B]
    return torch.cat((chosen_B2, moved_BP[:, 2:]), -1)


def motion_gate(own_BF: Tensor) -> Tensor:
    """0 at rest, close to 1 for any motion or input above `REST_SCALE`. Shapes: returns [B]."""
    return 1 - torch.exp(-(own_BF / REST_SCALE).square().sum(-1))


def speed(pose_BP: Tensor, previous_BP: Tensor) -> Tensor:
    """Translation of the last tick, in the map's frame, in units of `TRANSLATION_SCALE`. Shapes: returns [B, 2]."""
    return (pose_BP - previous_BP)[:, :2] / TRANSLATION_SCALE


def ego_motion(pose_BP: Tensor, previous_BP: Tensor) -> Tensor:
    """Motion of the last tick (forward, left, rotation) in units of a typical tick. Shapes: returns [B, 3]."""
    moved_B2 = rotate(speed(pose_BP, previous_BP), -heading_rad(pose_BP))
    return torch.cat((moved_B2, turn_between(previous_BP, pose_BP)[:, None] / ROTATION_SCALE), -1)


def fit_pose(
    look: MapReader, start_BP: Tensor, latent_BCHW: Tensor, *, precision: tuple[float, float, float], num_steps: int
) -> Tensor:
    """Gauss-Newton steps on the rendering error, with a prior at the start: `precision` of x, y and heading.

    Shapes: returns [B, P].
    """
    probe_33 = FINITE_DIFFERENCE_STEP * torch.eye(3, dtype=start_BP.dtype, device=start_BP.device)
    prior_33 = torch.diag(start_BP.new_tensor(precision))
    pose_BP, moved_B3 = start_BP, torch.zeros_like(start_BP[:, :3])
    for _ in range(num_steps):
        nearby = [pose_BP, *(move_by(pose_BP, step.expand(len(pose_BP), 3)) for step in probe_33)]
        rendered, weight = look(torch.stack(nearby, 1).flatten(0, 1))
        rendered_B4L = rendered.flatten(1).unflatten(0, (-1, 4))
        weight_BL = weight.expand_as(rendered).flatten(1).unflatten(0, (-1, 4))[:, 0]
        here_BL = rendered_B4L[:, 0]
        slope_B3L = (rendered_B4L[:, 1:] - here_BL[:, None]) / FINITE_DIFFERENCE_STEP
        weighted_B3L = slope_B3L * weight_BL[:, None]
        error_BL1 = (latent_BCHW.flatten(1) - here_BL)[..., None]
        normal_B33 = weighted_B3L @ slope_B3L.transpose(1, 2) + prior_33
        gradient_B31 = weighted_B3L @ error_BL1 - prior_33 @ moved_B3[..., None]
        step_B3 = torch.linalg.solve(normal_B33, gradient_B31)[..., 0]
        moved_B3 = moved_B3 + step_B3.clamp(-MAX_STEP, MAX_STEP)
        pose_BP = move_by(start_BP, moved_B3)
    return pose_BP


def shift_previous(previous_BP: Tensor, pose_BP: Tensor, corrected_BP: Tensor) -> Tensor:
    """The previous pose, shifted by a correction of the pose, so that the correction does not count as speed."""
    return unit_heading(previous_BP + corrected_BP - pose_BP)
