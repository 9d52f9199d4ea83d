"""Poses as the networks get them: (x, y, cos, sin), with x and y scaled so that a fixed map covers [-1, 1].

Letters: B batch, P pose size (4).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POSE_SIZE = 4


def unit_heading(pose_BP: Tensor) -> Tensor:
    """The same pose with a heading of length one."""
    return torch.cat((pose_BP[..., :2], F.normalize(pose_BP[..., 2:], dim=-1)), -1)


def heading_rad(pose_BP: Tensor) -> Tensor:
    """Shapes: [..., P] -> [...]; from -pi to pi."""
    return torch.atan2(pose_BP[..., 3], pose_BP[..., 2])


def move_by(pose_BP: Tensor, step_B3: Tensor) -> Tensor:
    """A pose moved by (dx, dy) in the map's frame and turned by an angle. Shapes: step [B, 3]."""
    return torch.cat((pose_BP[..., :2] + step_B3[..., :2], rotate(pose_BP[..., 2:], step_B3[..., 2])), -1)


def rotate(vector_B2: Tensor, angle_B: Tensor) -> Tensor:
    """Counter-clockwise. Shapes: vector [..., 2], angle [...]."""
    (x, y), cos, sin = vector_B2.unbind(-1), angle_B.cos(), angle_B.sin()
    return torch.stack((x * cos - y * sin, y * cos + x * sin), -1)


def turn_between(before_BP: Tensor, after_BP: Tensor) -> Tensor:
    """The angle from one heading to the other. Shapes: [..., P] twice -> [...]; from -pi to pi."""
    (cos, sin), (after_cos, after_sin) = before_BP[..., 2:].unbind(-1), after_BP[..., 2:].unbind(-1)
    return torch.atan2(after_sin * cos - after_cos * sin, after_cos * cos + after_sin * sin)


def scale_poses(
    pose_BT3: Tensor, *, origin_units: tuple[float, float], scale_units: float, is_relative: bool
) -> Tensor:
    """World poses as networks see them; relative poses are in the coordinate frame of the clip's first frame.

    Shapes: [B, T, 3] (x, y, angle) -> [B, T, 4] (x, y, cos, sin).
    """
    xy = (pose_BT3[..., :2] - pose_BT3.new_tensor(origin_units)) / scale_units
    angle = pose_BT3[..., 2]
    if is_relative:
        cos, sin = angle[:, :1].cos(), angle[:, :1].sin()
        dx, dy = (xy - xy[:, :1]).unbind(-1)
        xy = torch.stack((cos * dx + sin * dy, cos * dy - sin * dx), -1)
        angle = angle - angle[:, :1]
    return torch.cat((xy, angle.cos()[..., None], angle.sin()[..., None]), -1)
