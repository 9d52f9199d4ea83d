"""The pose one tick later, of somebody who holds keys: what is learned of walking, turning, and walls in the way.

Owns: what a motion is made of, and the loss it learns by. Does not own: what is known of the walls around (`fixed_map`
has tables of a fixed world, `map_tracker` what was seen so far). Letters: B batch, P pose size, A action, F features.
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
"""About how far a pose moves in one tick, in scaled units: brings motions to the size that networks like."""
ROTATION_SCALE = 0.17
"""About how far it turns in one tick, radians."""
REST_SCALE = 0.05
"""What is no more than such a share of a tick's usual motion dies away, where nothing is done."""


class Motion(nn.Module):
    """What it says is in the frame of who moves, so that walking is the same everywhere.

    The pose before gives the speed. Who is at rest and does nothing stays where they are: the least creep would, in a
    minute on the spot, be a room. At first nothing is in the way.
    """

    def __init__(self, around_size: int, action_size: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 + action_size, 3)
        self.collision = ResidualMLP(around_size + 3 + action_size, width, 3, 2)
        nn.init.zeros_(self.collision.project_out.weight)
        nn.init.zeros_(self.collision.project_out.bias)

    def step(self, pose_BP: Tensor, previous_BP: Tensor, action_BA: Tensor, around_BF: Tensor) -> Tensor:
        """`around_BF` tells of the walls. Shapes: returns [B, P]."""
        own = torch.cat((ego_motion(pose_BP, previous_BP), action_BA), -1)
        motion_B3 = motion_gate(own)[:, None] * (self.linear(own) + self.collision(torch.cat((around_BF, own), -1)))
        step_B2 = rotate(motion_B3[:, :2], heading_rad(pose_BP)) * TRANSLATION_SCALE
        return move_by(pose_BP, torch.cat((step_B2, motion_B3[:, 2:] * ROTATION_SCALE), -1))


def motion_gate(own_BF: Tensor) -> Tensor:
    """From 0, at rest, to 1, of what adds up to more than `REST_SCALE`. Shapes: returns [B]."""
    return 1 - torch.exp(-(own_BF / REST_SCALE).square().sum(-1))


def speed(pose_BP: Tensor, previous_BP: Tensor) -> Tensor:
    """How far it went in the last tick, in ticks' usual motions. Shapes: returns [B, 2]."""
    return (pose_BP - previous_BP)[:, :2] / TRANSLATION_SCALE


def ego_motion(pose_BP: Tensor, previous_BP: Tensor) -> Tensor:
    """Of the last tick, ahead, aside and turned, in ticks' usual motions. Shapes: returns [B, 3]."""
    moved_B2 = rotate(speed(pose_BP, previous_BP), -heading_rad(pose_BP))
    return torch.cat((moved_B2, turn_between(previous_BP, pose_BP)[:, None] / ROTATION_SCALE), -1)


def motion_loss(move: MotionFunction, pose_BTP: Tensor, action_BTA: Tensor, *, position_noise: float) -> Tensor:
    """Poses walked by actions alone from frame 1 on, against the true ones: what play does for hours.

    The start is a little off (`position_noise`, scaled units, at most), so that small errors die away. Mean smooth L1
    over all ticks, in units of a tick's motion.
    """
    off_B1 = position_noise * torch.rand_like(pose_BTP[:, 0, :1]) ** 2
    off_BP = F.pad(off_B1 * torch.randn_like(pose_BTP[:, 0, :2]), (0, 2))
    previous_BP, now_BP = pose_BTP[:, 0] + off_BP, pose_BTP[:, 1] + off_BP
    losses = []
    for t in range(2, pose_BTP.shape[1]):
        previous_BP, now_BP = now_BP, move(now_BP, previous_BP, action_BTA[:, t])
        error_BP = now_BP - pose_BTP[:, t]
        error_BP = torch.cat((error_BP[:, :2] / TRANSLATION_SCALE, error_BP[:, 2:] / ROTATION_SCALE), -1)
        losses.append(F.smooth_l1_loss(error_BP, torch.zeros_like(error_BP), beta=0.1))
    return torch.stack(losses).mean()
