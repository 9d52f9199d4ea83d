"""A learned motion model: the pose one tick later, given the action and features of the walls nearby.

`fixed_map` and `map_tracker` provide those features. Letters: B batch, P pose size, A action, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.models.mlp import ResidualMLP
from worldsim.models.pose import heading_rad, move_by, rotate, turn_between

MotionFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(pose, the pose a tick before, action) -> the pose a tick later. Shapes: [B, P], [B, P], [B, A] -> [B, P]."""

TRANSLATION_SCALE = 0.05
"""Typical motion of one tick, in scaled units; it normalizes the networks' inputs and outputs."""
ROTATION_SCALE = 0.17
"""Typical rotation of one tick, in radians."""
REST_SCALE = 0.05
"""Motion below about this fraction of a tick's typical motion is damped to zero when there is no input."""


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


def motion_loss(move: MotionFunction, pose_BTP: Tensor, action_BTA: Tensor, *, position_noise: float) -> Tensor:
    """Error of poses predicted from actions only, from frame 1 on, as at play.

    The start position gets noise (up to about `position_noise`, scaled units), so that small errors decay. Mean smooth
    L1 over all ticks, in units of a tick's motion.
    """
    noise_scale_B1 = position_noise * torch.rand_like(pose_BTP[:, 0, :1]) ** 2
    noise_BP = F.pad(noise_scale_B1 * torch.randn_like(pose_BTP[:, 0, :2]), (0, 2))
    previous_BP, now_BP = pose_BTP[:, 0] + noise_BP, pose_BTP[:, 1] + noise_BP
    losses = []
    for t in range(2, pose_BTP.shape[1]):
        previous_BP, now_BP = now_BP, move(now_BP, previous_BP, action_BTA[:, t])
        error_BP = now_BP - pose_BTP[:, t]
        error_BP = torch.cat((error_BP[:, :2] / TRANSLATION_SCALE, error_BP[:, 2:] / ROTATION_SCALE), -1)
        losses.append(F.smooth_l1_loss(error_BP, torch.zeros_like(error_BP), beta=0.1))
    return torch.stack(losses).mean()
